//! The tables that a graph follows, and what they have in it, on its checkpoint: see [`crate::start::tables`]
//! and [`crate::graph::Outlines`].

use crate::{
    checkpoint::{Claim, Epoch, Identity},
    pipeline::NextShape,
};

use super::{checkpoint, connect::Connection, copy_progress, error::Error, retry};

/// Keeps what the tables are. False when another writer has claimed the checkpoint since: then nothing
/// is written.
pub async fn keep(
    connection: &Connection,
    identity: &Identity,
    epoch: Epoch,
    facts: &str,
) -> Result<bool, Error> {
    keep_text(connection, identity, epoch, "table_facts", facts).await
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

/// Keeps which file its rows are made by. False as for [`keep`].
pub async fn keep_file(
    connection: &Connection,
    identity: &Identity,
    epoch: Epoch,
    file: &str,
) -> Result<bool, Error> {
    keep_text(connection, identity, epoch, "mapping_file", file).await
}

async fn keep_text(
    connection: &Connection,
    identity: &Identity,
    epoch: Epoch,
    property: &str,
    text: &str,
) -> Result<bool, Error> {
    let query = checkpoint::under_epoch(identity, epoch, &format!("c.{property} = $text"));
    connection.run(query.param("text", text)).await.map(|did| checkpoint::passed(&did))
}

/// Replaces all of it, and what is left to do. False as for [`keep`].
pub async fn follow(
    connection: &Connection,
    Claim { identity, epoch }: &Claim,
    next: NextShape<'_>,
) -> Result<bool, Error> {
    let set = "c.mapping_digest = $digest, c.labels = $labels, c.table_facts = $facts, c.outlines = $outlines";
    let keep = checkpoint::under_epoch(identity, *epoch, set)
        .param("digest", next.digest)
        .param("labels", next.labels.to_vec())
        .param("facts", next.facts)
        .param("outlines", next.outlines);
    let pipeline = &identity.pipeline;
    let once = async || {
        let mut transaction = connection.begin().await?;
        if !checkpoint::passed(&transaction.run(keep.clone()).await?) {
            transaction.rollback().await;
            return Ok(false);
        }
        if let Some(progress) = next.progress {
            transaction.run(copy_progress::end_query(pipeline)).await?;
            transaction.run(copy_progress::create_query(pipeline, *epoch, progress)).await?;
        }
        transaction.commit().await?;
        Ok(true)
    };
    retry::while_transient(once).await
}
