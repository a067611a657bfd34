//! The tables that a graph follows, on its checkpoint: see [`crate::start::tables`].

use neo4rs::Query;

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
    let text = format!(
        "MATCH {} SET c:{} WITH c, properties(c) AS now WHERE now.epoch = $epoch SET c.table_facts = $facts",
        checkpoint::ONE,
        checkpoint::LABEL
    );
    let query =
        checkpoint::of(Query::new(text), identity).param("epoch", epoch.0).param("facts", facts);
    connection.run(query).await.map(|did| checkpoint::passed(&did))
}
