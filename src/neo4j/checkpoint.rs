//! The checkpoint node: how far the graph is, and who may write.
//!
//! ```text
//! (:_Wal2GraphCheckpoint {pipeline, lsn, epoch, ...})      one a pipeline, under a uniqueness constraint
//!
//! advance:  lock -> is it where I left it, under my epoch? -> move it     first statement of every transaction
//! ```
//!
//! The lock comes first, because Neo4j reads what is committed at the moment of reading: two
//! writers that compare before they lock could both pass. Setting the label that the node has is
//! what locks it, changes nothing and leaves nothing behind. (Removing a property locks only if the
//! database has ever seen a property of that name: in a new database `SET c._lock = null` is a
//! silent nothing. Measured on 5.26 and 2026.07.)

use chrono::{DateTime, FixedOffset, Utc};
use neo4rs::{Query, Row, summary::Counters};

use crate::{
    change::Timestamp,
    checkpoint::{Advance, Checkpoint, Epoch, Origin, Part, Position},
    copy::Progress,
    lsn::Lsn,
};

use super::{connect::Connection, copy_progress, error::Error, retry};

/// The checkpoint's label.
pub const LABEL: &str = "_Wal2GraphCheckpoint";

/// Statements on rows lock a node by `SET n._lock = null`. That locks nothing while the database
/// has never seen a property of this name, so [`prepare`] makes the name known.
pub const LOCK: &str = "_lock";

const RETURNED: &str = "c.lsn AS lsn, c.part_commit_lsn AS part_commit_lsn, c.part_events AS part_events, \
     c.epoch AS epoch, c.committed_at AS committed_at, c.updated_at AS updated_at, \
     c.system_identifier AS system_identifier, c.timeline AS timeline, c.slot AS slot, \
     c.mapping_digest AS mapping_digest";

/// What a new pipeline begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct NewCheckpoint {
    /// Where the stream begins.
    pub lsn: Lsn,
    /// The source it belongs to.
    pub origin: Origin,
    /// The digest of the mapping.
    pub mapping_digest: String,
}

/// Makes sure that there can be one checkpoint a pipeline, and one progress node a range of a copy,
/// and that the database knows the property name [`LOCK`].
pub async fn prepare(connection: &Connection) -> Result<(), Error> {
    for (name, label, key) in [
        ("_wal2graph_checkpoint", LABEL, "c.pipeline"),
        ("_wal2graph_copy", copy_progress::LABEL, "c.pipeline, c.table, c.pass, c.part"),
    ] {
        let text = format!(
            "CREATE CONSTRAINT {name} IF NOT EXISTS FOR (c:{label}) REQUIRE ({key}) IS UNIQUE"
        );
        connection.run(Query::new(text)).await?;
    }
    connection.rows(Query::new(format!("CALL db.createProperty('{LOCK}')"))).await?;
    Ok(())
}

/// Reads the pipeline's checkpoint; `None` when it has none.
pub async fn read(connection: &Connection, pipeline: &str) -> Result<Option<Checkpoint>, Error> {
    let text = format!("MATCH (c:{LABEL} {{pipeline: $pipeline}}) RETURN {RETURNED}");
    let rows = connection.rows(Query::new(text).param("pipeline", pipeline)).await?;
    rows.first().map(checkpoint_of).transpose()
}

/// Makes the pipeline's checkpoint and the progress nodes of its first copy, together. False when
/// there is a checkpoint already: then nothing is written. Needs [`prepare`].
pub async fn create(
    connection: &Connection,
    pipeline: &str,
    new: &NewCheckpoint,
    copy: &[Progress],
) -> Result<bool, Error> {
    let text = format!(
        "MERGE (c:{LABEL} {{pipeline: $pipeline}}) ON CREATE SET c.lsn = $lsn, c.lsn_text = $lsn_text, c.epoch = 0, \
         c.updated_at = $now, c.system_identifier = $system_identifier, c.timeline = $timeline, c.slot = $slot, \
         c.mapping_digest = $mapping_digest"
    );
    let query = Query::new(text)
        .param("pipeline", pipeline)
        .param("lsn", integer_of(new.lsn))
        .param("lsn_text", new.lsn.to_string())
        .param("now", Utc::now())
        .param("system_identifier", new.origin.system_identifier.as_str())
        .param("timeline", new.origin.timeline)
        .param("slot", new.origin.slot.as_str())
        .param("mapping_digest", new.mapping_digest.as_str());
    let once = |query| async {
        let mut transaction = connection.begin().await?;
        if transaction.run(query).await?.nodes_created == 0 {
            transaction.rollback().await;
            return Ok(false);
        }
        transaction.run(copy_progress::create_query(pipeline, Epoch(0), copy)).await?;
        transaction.commit().await?;
        Ok(true)
    };
    retry::while_transient(|| once(query.clone())).await
}

/// Removes the pipeline's checkpoint and progress nodes. Whoever writes for it is fenced from then
/// on.
pub async fn destroy(connection: &Connection, pipeline: &str) -> Result<(), Error> {
    let text = format!(
        "MATCH (c:{LABEL} {{pipeline: $pipeline}}) DETACH DELETE c \
         WITH count(*) AS gone MATCH (p:{} {{pipeline: $pipeline}}) DETACH DELETE p",
        copy_progress::LABEL
    );
    connection.run(Query::new(text).param("pipeline", pipeline)).await?;
    Ok(())
}

/// Locks the checkpoint node until the transaction ends. A statement of its own, so that nothing
/// the compare-and-set reads can have been read before.
pub(super) fn lock_query(pipeline: &str) -> Query {
    let text = format!("MATCH (c:{LABEL} {{pipeline: $pipeline}}) SET c:{LABEL}");
    Query::new(text).param("pipeline", pipeline)
}

/// Raises the epoch and returns the checkpoint as it then is. The node must be locked.
pub(super) fn raise_query(pipeline: &str) -> Query {
    let text = format!(
        "MATCH (c:{LABEL} {{pipeline: $pipeline}}) SET c.epoch = c.epoch + 1, c.updated_at = $now RETURN {RETURNED}"
    );
    Query::new(text).param("pipeline", pipeline).param("now", Utc::now())
}

/// Locks the checkpoint node and returns it.
pub(super) fn locked_read_query(pipeline: &str) -> Query {
    let text =
        format!("MATCH (c:{LABEL} {{pipeline: $pipeline}}) SET c:{LABEL} WITH c RETURN {RETURNED}");
    Query::new(text).param("pipeline", pipeline)
}

const GUARD: &str = "WITH c WHERE c.epoch = $epoch AND c.lsn = $from \
     AND coalesce(c.part_commit_lsn, -1) = $from_part AND coalesce(c.part_events, -1) = $from_events";

/// The compare-and-set: moves the checkpoint if it is where `advance` begins, under this epoch.
pub(super) fn advance_query(pipeline: &str, epoch: Epoch, advance: &Advance) -> Query {
    let text = format!(
        "MATCH (c:{LABEL} {{pipeline: $pipeline}}) SET c:{LABEL} {GUARD} \
         SET c.lsn = $to, c.lsn_text = $to_text, c.part_commit_lsn = $to_part, c.part_events = $to_events, \
         c.committed_at = coalesce($committed_at, c.committed_at), c.updated_at = $now"
    );
    let query = Query::new(text)
        .param("to", integer_of(advance.to.lsn))
        .param("to_text", advance.to.lsn.to_string())
        .param("to_part", advance.to.part.map(|part| integer_of(part.commit_lsn)))
        .param("to_events", advance.to.part.map(|part| part.events as i64))
        .param("committed_at", advance.committed_at.and_then(date_time_of))
        .param("now", Utc::now());
    expect(query, pipeline, epoch, &advance.from)
}

/// Compares as [`advance_query`] does and moves nothing.
pub(super) fn hold_query(pipeline: &str, epoch: Epoch, at: &Position) -> Query {
    let text = format!(
        "MATCH (c:{LABEL} {{pipeline: $pipeline}}) SET c:{LABEL} {GUARD} \
         SET c.updated_at = $now"
    );
    expect(Query::new(text).param("now", Utc::now()), pipeline, epoch, at)
}

fn expect(query: Query, pipeline: &str, epoch: Epoch, from: &Position) -> Query {
    query
        .param("pipeline", pipeline)
        .param("epoch", epoch.0)
        .param("from", integer_of(from.lsn))
        .param("from_part", from.part.map_or(-1, |part| integer_of(part.commit_lsn)))
        .param("from_events", from.part.map_or(-1, |part| part.events as i64))
}

/// Whether a compare-and-set found what it expected. One that did not sets no property: its lock is
/// a label.
pub(super) fn passed(counters: &Counters) -> bool {
    counters.properties_set > 0
}

/// A log position as a property. PostgreSQL's positions stay far below 2^63.
fn integer_of(lsn: Lsn) -> i64 {
    lsn.0 as i64
}

fn date_time_of(timestamp: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(timestamp.unix_micros)
}

pub(super) fn checkpoint_of(row: &Row) -> Result<Checkpoint, Error> {
    let part_commit_lsn: Option<i64> = get(row, "part_commit_lsn")?;
    let part_events: Option<i64> = get(row, "part_events")?;
    let part = part_commit_lsn
        .zip(part_events)
        .map(|(lsn, events)| Part { commit_lsn: Lsn(lsn as u64), events: events as u64 });
    let timestamp = |name| {
        get::<Option<DateTime<FixedOffset>>>(row, name)
            .map(|at| at.map(|at| Timestamp { unix_micros: at.timestamp_micros() }))
    };
    Ok(Checkpoint {
        position: Position { lsn: Lsn(get::<i64>(row, "lsn")? as u64), part },
        epoch: Epoch(get(row, "epoch")?),
        committed_at: timestamp("committed_at")?,
        updated_at: timestamp("updated_at")?.unwrap_or_default(),
        origin: Origin {
            system_identifier: get(row, "system_identifier")?,
            timeline: get(row, "timeline")?,
            slot: get(row, "slot")?,
        },
        mapping_digest: get(row, "mapping_digest")?,
    })
}

/// A field of a row that only this program writes.
pub(super) fn get<'a, T: serde::Deserialize<'a>>(row: &'a Row, name: &str) -> Result<T, Error> {
    row.get(name).map_err(|_| {
        Error::Fatal(format!(
            "`{name}` of a {LABEL} or {} node is missing or of another type: somebody edited it. \
             Restore it, or run `wal2graph destroy` and copy again",
            copy_progress::LABEL
        ))
    })
}
