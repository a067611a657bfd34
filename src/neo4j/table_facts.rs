//! The tables that a graph follows, on its checkpoint: see [`crate::start::tables`].

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
