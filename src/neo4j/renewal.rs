//! A pipeline begins anew with what its graph has: the checkpoint of a slot becomes that of a new one.

use chrono::Utc;
use neo4rs::Query;

use crate::{
    checkpoint::{Checkpoint, Epoch, Identity, NewCheckpoint, Newest},
    copy::Progress,
};

use super::{
    checkpoint::{self, ONE, integer_of, newest_at, of, passed},
    connect::Connection,
    copy_progress,
    error::Error,
    names::CHECKPOINT,
    retry,
};

/// Replaces checkpoint and progress, under the next epoch. False when the checkpoint is not as it was read:
/// then nothing is written.
pub async fn renew(
    connection: &Connection,
    from: &Identity,
    as_read: &Checkpoint,
    new: &NewCheckpoint,
    progress: &[Progress],
) -> Result<bool, Error> {
    let pipeline = &from.pipeline;
    let move_on = move_query(from, as_read, new);
    let created = copy_progress::create_query(pipeline, next(as_read.epoch), progress);
    let once = async || {
        let mut transaction = connection.begin().await?;
        if !passed(&transaction.run(move_on.clone()).await?) {
            transaction.rollback().await;
            return Ok(false);
        }
        transaction.run(copy_progress::end_query(pipeline)).await?;
        transaction.run(created.clone()).await?;
        transaction.commit().await?;
        Ok(true)
    };
    retry::while_transient(once).await
}

fn next(epoch: Epoch) -> Epoch {
    Epoch(epoch.0 + 1)
}

fn move_query(from: &Identity, as_read: &Checkpoint, new: &NewCheckpoint) -> Query {
    let text = format!(
        "MATCH {ONE} SET c:{CHECKPOINT} WITH c, properties(c) AS now \
         WHERE now.epoch = $epoch AND now.lsn = $from_lsn \
         SET c.log = $to, c.slot = $slot, {}, c.epoch = $next, c.lsn = $lsn, c.lsn_text = $lsn_text, \
         c.newest = $newest, c.updated_at = $now \
         REMOVE c.part_commit_lsn, c.part_events, c.committed_at, c.stopped_because, c.stopped_at",
        checkpoint::OF_A_SOURCE
    );
    checkpoint::of_a_source(of(Query::new(text), from), new)
        .param("epoch", as_read.epoch.0)
        .param("next", next(as_read.epoch).0)
        .param("from_lsn", integer_of(as_read.lsn))
        .param("to", new.origin.log.name())
        .param("slot", new.origin.log.name())
        .param("lsn", integer_of(new.start))
        .param("lsn_text", new.start.to_string())
        .param("newest", newest_at(new.start, Newest::Nothing))
        .param("now", Utc::now())
}
