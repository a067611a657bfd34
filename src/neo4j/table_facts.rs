//! The tables that a graph follows, and what they have in it, on its checkpoint: see [`crate::start::tables`]
//! and [`crate::graph::Outlines`].

use crate::checkpoint::{Epoch, Identity};

use super::{checkpoint, connect::Connection, error::Error};

/// Keeps what the tables are. False when another writer has claimed the checkpoint since: then nothing
/// is written.
pub async fn keep(
    connection: &Connection,
    identity: &Identity,
    epoch: Epoch,
    facts: &str,
) -> Result<bool, Error> {
    let query = checkpoint::under_epoch(identity, epoch, "c.table_facts = $facts");
    let query = query.param("facts", facts);
    connection.run(query).await.map(|did| checkpoint::passed(&did))
}

/// Keeps what the mapping has in the graph. False as for [`keep`].
pub async fn keep_outlines(
    connection: &Connection,
    identity: &Identity,
    epoch: Epoch,
    outlines: &str,
    labels: &[String],
) -> Result<bool, Error> {
    let set = "c.outlines = $outlines, c.labels = $labels";
    let query = checkpoint::under_epoch(identity, epoch, set);
    let query = query.param("outlines", outlines).param("labels", labels.to_vec());
    connection.run(query).await.map(|did| checkpoint::passed(&did))
}
