//! The checkpoint node: how far the graph is, and who may write.
//!
//! ```text
//! (:_Wal2GraphCheckpoint {pipeline, log, lsn, epoch, ...})   one a log, under a uniqueness constraint
//!                         {topic, partition, offset}          beside, when the log is a partition
//!
//! advance:  lock, then: is it where I left it, under my epoch? -> move it     first statement of every transaction
//! ```
//!
//! The lock comes first, because Neo4j reads what is committed at the moment of reading: two
//! writers that compare before they lock could both pass. Setting the label that the node has is
//! what locks it, changes nothing and leaves nothing behind. (Removing a property locks only if the
//! database has ever seen a property of that name: in a new database `SET c._lock = null` is a
//! silent nothing. Measured on 5.26 and 2026.07.)

use chrono::{DateTime, Utc};
use neo4rs::{Query, summary::Counters};

use crate::{
    change::Timestamp,
    checkpoint::{
        Advance, Checkpoint, Epoch, Identity, LastRecord, Log, NewCheckpoint, Newest, Position,
        TopicId, TopicPartition,
    },
    copy::Progress,
    graph::{letter::DEAD_LETTER, statement::STAMP},
    lsn::Lsn,
};

use super::{
    checkpoint_row::checkpoint_of,
    connect::Connection,
    copy_progress,
    error::Error,
    names::{CHECKPOINT, COPY, REQUEST},
    parameter::{self, KEEP_PLAN},
    retry,
};

/// Statements on rows lock a node by `SET n._lock = null`. That locks nothing while the database
/// has never seen a property of this name, so [`prepare`] makes the name known.
pub const LOCK: &str = "_lock";

pub(super) const RETURNED: &str = "c.lsn AS lsn, c.part_commit_lsn AS part_commit_lsn, c.part_events AS part_events, \
     c.topic AS topic, c.partition AS partition, c.offset AS offset, c.part_offset AS part_offset, \
     c.replay_until AS replay_until, c.replay_lsn AS replay_lsn, \
     c.epoch AS epoch, c.committed_at AS committed_at, c.updated_at AS updated_at, \
     c.system_identifier AS system_identifier, c.timeline AS timeline, c.slot AS slot, \
     c.partitions AS partitions, c.topic_id AS topic_id, c.whole AS whole, c.publisher AS publisher, \
     c.last_change AS last_change, c.last_record AS last_record, \
     c.mapping_digest AS mapping_digest, c.labels AS labels, c.newest AS newest, \
     c.publication AS publication, c.table_facts AS table_facts, c.outlines AS outlines, \
     c.mapping_file AS mapping_file, c.stopped_because AS stopped_because, c.stopped_at AS stopped_at";

/// The checkpoint of one log.
pub(super) const ONE: &str = "(c:_Wal2GraphCheckpoint {pipeline: $pipeline, log: $log})";

/// The log whose positions a checkpoint's compare-and-set goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// The source's own: `lsn`.
    Slot,
    /// A partition of a topic: `offset`. `lsn` follows, and never goes back.
    Partition,
}

impl Follows {
    /// What the checkpoints of this log go by.
    pub(super) fn of(log: &Log) -> Self {
        match log {
            Log::Slot(_) => Follows::Slot,
            Log::Partition(_) => Follows::Partition,
        }
    }

    /// The property that holds the position.
    fn position(self) -> &'static str {
        match self {
            Follows::Slot => "lsn",
            Follows::Partition => "offset",
        }
    }

    /// The property that holds where a transaction begins that is applied in part.
    fn part(self) -> &'static str {
        match self {
            Follows::Slot => "part_commit_lsn",
            Follows::Partition => "part_offset",
        }
    }
}

/// Makes sure that there can be one checkpoint a log of a pipeline, and one progress node a range of a copy,
/// and that the database knows the property names [`LOCK`] and [`STAMP`].
pub async fn prepare(connection: &Connection) -> Result<(), Error> {
    for (name, label, key) in [
        ("_wal2graph_checkpoint_log", CHECKPOINT, "c.pipeline, c.log"),
        ("_wal2graph_copy", COPY, "c.pipeline, c.table, c.pass, c.part"),
        ("_wal2graph_request", REQUEST, "c.pipeline, c.id"),
        ("_wal2graph_dead_letter", DEAD_LETTER, "c.pipeline, c.name"),
    ] {
        let text = format!(
            "CREATE CONSTRAINT {name} IF NOT EXISTS FOR (c:{label}) REQUIRE ({key}) IS UNIQUE"
        );
        connection.run(Query::new(text)).await?;
    }
    for name in [LOCK, STAMP] {
        connection.rows(Query::new(format!("CALL db.createProperty('{name}')"))).await?;
    }
    Ok(())
}

/// Reads the pipeline's checkpoint, of several logs the one that speaks for all, or is furthest behind;
/// `None` when it has none.
pub async fn read(connection: &Connection, pipeline: &str) -> Result<Option<Checkpoint>, Error> {
    let all = read_all(connection, pipeline).await?;
    Ok(all.into_iter().min_by_key(|checkpoint| (!checkpoint.is_whole, checkpoint.lsn)))
}

/// Reads the checkpoints of all logs of the pipeline, in the order of their names.
pub async fn read_all(connection: &Connection, pipeline: &str) -> Result<Vec<Checkpoint>, Error> {
    read_several(connection, pipeline, RETURNED).await
}

/// The same without what they say of tables and mapping: long texts.
pub async fn read_positions(
    connection: &Connection,
    pipeline: &str,
) -> Result<Vec<Checkpoint>, Error> {
    let returned =
        RETURNED.replace("c.table_facts AS", "null AS").replace("c.outlines AS", "null AS");
    read_several(connection, pipeline, &returned).await
}

async fn read_several(
    connection: &Connection,
    pipeline: &str,
    returned: &str,
) -> Result<Vec<Checkpoint>, Error> {
    let text = format!(
        "MATCH (c:{CHECKPOINT} {{pipeline: $pipeline}}) RETURN {returned} \
         ORDER BY c.topic, c.partition, c.log"
    );
    let rows = connection.rows(Query::new(text).param("pipeline", pipeline)).await?;
    rows.iter().map(checkpoint_of).collect()
}

/// Reads the checkpoint of one log; `None` when it has none.
pub async fn read_one(
    connection: &Connection,
    identity: &Identity,
) -> Result<Option<Checkpoint>, Error> {
    let text = format!("MATCH {ONE} RETURN {RETURNED}");
    let rows = connection.rows(of(Query::new(text), identity)).await?;
    rows.first().map(checkpoint_of).transpose()
}

/// Makes the log's checkpoint and the progress nodes of its first copy, together. False when
/// there is a checkpoint already: then nothing is written. Needs [`prepare`].
pub async fn create(
    connection: &Connection,
    pipeline: &str,
    new: &NewCheckpoint,
    copy: &[Progress],
) -> Result<bool, Error> {
    let query = create_query(pipeline, new);
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

fn create_query(pipeline: &str, new: &NewCheckpoint) -> Query {
    let (log, lsn) = match new.origin.log {
        Log::Slot(_) => ("c.slot = $slot, c.newest = $newest", new.start),
        Log::Partition { .. } => {
            let set = "c.topic = $topic, c.partition = $partition, c.partitions = $partitions, c.offset = $offset, \
                       c.topic_id = $topic_id, c.whole = $whole, c.publisher = $publisher";
            (set, Lsn::ZERO)
        }
    };
    let text = format!(
        "MERGE {ONE} ON CREATE SET c.lsn = $lsn, c.lsn_text = $lsn_text, c.epoch = 0, \
         c.updated_at = $now, {OF_A_SOURCE}, {log}"
    );
    let query = of_a_source(Query::new(text), new)
        .param("pipeline", pipeline)
        .param("log", new.origin.log.name())
        .param("partitions", i64::from(new.partitions))
        .param("lsn", integer_of(lsn))
        .param("lsn_text", lsn.to_string())
        .param("now", Utc::now());
    match &new.origin.log {
        Log::Slot(slot) => query
            .param("slot", slot.as_str())
            .param("newest", newest_at(new.start, Newest::Nothing)),
        Log::Partition(TopicPartition { topic, partition }) => query
            .param("topic", topic.as_str())
            .param("partition", i64::from(*partition))
            .param("offset", integer_of(new.start))
            .param("topic_id", new.topic_id.map(|id| id.to_string()))
            // A property that is null is none.
            .param("whole", new.is_whole.then_some(true))
            .param("publisher", new.publisher.clone()),
    }
}

/// What a checkpoint says of its source, and of what the graph is made of. A property that is null is none.
pub(super) const OF_A_SOURCE: &str = "c.system_identifier = $system_identifier, c.timeline = $timeline, \
     c.mapping_digest = $mapping_digest, c.labels = $labels, c.publication = $publication, \
     c.table_facts = $table_facts, c.outlines = $outlines";

/// The parameters of [`OF_A_SOURCE`].
pub(super) fn of_a_source(query: Query, new: &NewCheckpoint) -> Query {
    query
        .param("system_identifier", new.origin.system_identifier.as_str())
        .param("timeline", new.origin.timeline)
        .param("mapping_digest", new.mapping_digest.as_str())
        .param("labels", new.labels.clone())
        .param("publication", new.publication.clone())
        .param("table_facts", new.table_facts.clone())
        .param("outlines", new.outlines.clone())
}

/// The checkpoint of a slot becomes that of a topic's only partition, at its first record, with a new
/// epoch. False when it is not as it was read: then nothing is written.
pub async fn hand_over(
    connection: &Connection,
    from: &Identity,
    as_read: &Checkpoint,
    to: &TopicPartition,
    topic_id: Option<TopicId>,
) -> Result<bool, Error> {
    let text = format!(
        "MATCH {ONE} SET c:{CHECKPOINT} WITH c, properties(c) AS now \
         WHERE now.epoch = $epoch AND now.lsn = $lsn \
         SET c.log = $to, c.topic = $topic, c.partition = $partition, c.partitions = 1, c.offset = 0, \
         c.topic_id = $topic_id, c.epoch = c.epoch + 1, c.updated_at = $now \
         REMOVE c.slot, c.publication, c.newest, c.table_facts, c.outlines \
         WITH c OPTIONAL MATCH (d:{DEAD_LETTER} {{pipeline: $pipeline}}) SET d.log = $to"
    );
    let query = of(Query::new(text), from)
        .param("epoch", as_read.epoch.0)
        .param("lsn", integer_of(as_read.lsn))
        .param("to", Log::Partition(to.clone()).name())
        .param("topic", to.topic.as_str())
        .param("partition", i64::from(to.partition))
        .param("topic_id", topic_id.map(|id| id.to_string()))
        .param("now", Utc::now());
    connection.run(query).await.map(|did| passed(&did))
}

/// Takes down which topic a checkpoint is of that does not say it. False when another writer has
/// claimed it since: then nothing is written.
pub async fn name_topic(
    connection: &Connection,
    identity: &Identity,
    epoch: Epoch,
    topic_id: TopicId,
) -> Result<bool, Error> {
    let query = under_epoch(identity, epoch, "c.topic_id = $topic_id");
    let query = query.param("topic_id", topic_id.to_string());
    connection.run(query).await.map(|did| passed(&did))
}

/// Takes down on which timeline the source's log goes on. False when another writer has claimed the
/// checkpoint since: then nothing is written.
pub async fn name_timeline(
    connection: &Connection,
    identity: &Identity,
    epoch: Epoch,
    timeline: i64,
) -> Result<bool, Error> {
    let query = under_epoch(identity, epoch, "c.timeline = $timeline");
    let query = query.param("timeline", timeline);
    connection.run(query).await.map(|did| passed(&did))
}

/// Sets properties beside the position, unless another writer has claimed the checkpoint since:
/// then the statement has not [`passed`].
pub(super) fn under_epoch(identity: &Identity, epoch: Epoch, set: &str) -> Query {
    let text = format!(
        "MATCH {ONE} SET c:{CHECKPOINT} WITH c, properties(c) AS now WHERE now.epoch = $epoch SET {set}"
    );
    of(Query::new(text), identity).param("epoch", epoch.0)
}

pub(super) fn of(query: Query, identity: &Identity) -> Query {
    query.param("pipeline", identity.pipeline.as_str()).param("log", identity.log.name())
}

/// Removes the pipeline's checkpoints and progress nodes. Whoever writes for it is fenced from then
/// on.
pub async fn destroy(connection: &Connection, pipeline: &str) -> Result<(), Error> {
    let text = format!(
        "MATCH (c:{CHECKPOINT} {{pipeline: $pipeline}}) DETACH DELETE c \
         WITH count(*) AS gone MATCH (p:{} {{pipeline: $pipeline}}) DETACH DELETE p",
        COPY
    );
    connection.run(Query::new(text).param("pipeline", pipeline)).await?;
    Ok(())
}

/// Locks the checkpoint node until the transaction ends, in a statement that can be found in SHOW
/// TRANSACTIONS by a comment.
pub(super) fn marked_lock_query(mark: &str, identity: &Identity) -> Query {
    of(Query::new(format!("/* {mark} */ MATCH {ONE} SET c:{CHECKPOINT}")), identity)
}

/// Raises the epoch and returns the checkpoint as it then is. The node must be locked. `publication`
/// is what a slot is read through from now on: through another one than before the newest
/// transaction may not be seen again.
pub(super) fn raise_query(identity: &Identity, publication: Option<&str>) -> Query {
    let through = match publication {
        None => "",
        Some(_) => {
            ", c.newest = CASE WHEN c.publication = $publication THEN c.newest END, \
             c.publication = $publication"
        }
    };
    let text = format!(
        "MATCH {ONE} SET c.epoch = c.epoch + 1, c.updated_at = $now{through} \
         REMOVE c.stopped_because, c.stopped_at RETURN {RETURNED}"
    );
    of(Query::new(text), identity).param("now", Utc::now()).param("publication", publication)
}

/// Locks the checkpoint node and returns it.
pub(super) fn locked_read_query(identity: &Identity) -> Query {
    of(Query::new(format!("MATCH {ONE} SET c:{CHECKPOINT} WITH c RETURN {RETURNED}")), identity)
}

/// What follows the lock. `properties(c)` reads what is committed by then: a property that is named
/// may be one that was read with the node, before the lock.
fn guard(follows: Follows) -> String {
    let (position, part) = (follows.position(), follows.part());
    format!(
        "WITH c, properties(c) AS now WHERE now.epoch = $from.epoch AND now.{position} = $from.position \
         AND coalesce(now.{part}, -1) = $from.part AND coalesce(now.part_events, -1) = $from.events"
    )
}

/// How `lsn` moves with an offset. It never goes back: what is before it is in the graph, also while
/// it is applied again, and an application that waits for it has waited.
const LSN_OF_A_PARTITION: &str = "\
    c.lsn_text = CASE WHEN c.lsn < $to.source THEN $to.source_text ELSE c.lsn_text END, \
    c.lsn = CASE WHEN c.lsn < $to.source THEN $to.source ELSE c.lsn END, \
    c.last_change = coalesce($to.last_change, c.last_change), c.last_record = $to.last_record, \
    c.replay_lsn = CASE WHEN $to.position < c.replay_until THEN coalesce($to.replayed, c.replay_lsn) END, \
    c.replay_until = CASE WHEN $to.position < c.replay_until THEN c.replay_until END";

/// The compare-and-set: moves the checkpoint if it is where `advance` begins, under this epoch. What
/// is `then` to be done runs in the same statement, unless it is refused.
pub(super) fn advance_query(
    identity: &Identity,
    epoch: Epoch,
    advance: &Advance,
    then: &str,
) -> Query {
    let follows = Follows::of(&identity.log);
    let (guard, position, part) = (guard(follows), follows.position(), follows.part());
    let lsn = match follows {
        Follows::Slot => "c.lsn_text = $to.text, c.newest = $to.newest",
        Follows::Partition => LSN_OF_A_PARTITION,
    };
    let text = format!(
        "{KEEP_PLAN}MATCH {ONE} SET c:{CHECKPOINT} {guard} \
         SET c.{position} = $to.position, c.{part} = $to.part, c.part_events = $to.events, {lsn}, \
         c.committed_at = coalesce($to.committed_at, c.committed_at), c.updated_at = $to.now{then}"
    );
    let (to, source) = (&advance.to, advance.source_lsn);
    let to = parameter::map([
        ("position", integer_of(to.lsn).into()),
        ("text", to.lsn.to_string().into()),
        ("part", to.part.map(|part| integer_of(part.commit_lsn)).into()),
        ("events", to.part.map(|part| part.events as i64).into()),
        ("committed_at", advance.committed_at.and_then(date_time_of).into()),
        ("now", Utc::now().into()),
        ("source", integer_of(source).into()),
        ("source_text", source.to_string().into()),
        ("replayed", (source > Lsn::ZERO).then(|| integer_of(source)).into()),
        ("last_change", advance.last_change.map(|stamp| stamp.to_string()).into()),
        ("last_record", advance.last_record.map(|record| last_record_at(to.lsn, record)).into()),
        ("newest", advance.newest.map(|newest| newest_at(to.lsn, newest)).into()),
    ]);
    expect(Query::new(text).param("to", to), identity, epoch, &advance.from)
}

/// The text of [`advance_query`], refused by every checkpoint: no epoch is negative.
pub(super) fn planned_query(identity: &Identity) -> Query {
    let nowhere = Position::at(Lsn::ZERO);
    let advance = Advance {
        from: nowhere,
        to: nowhere,
        source_lsn: Lsn::ZERO,
        committed_at: None,
        last_change: None,
        last_record: None,
        newest: None,
    };
    advance_query(identity, Epoch(-1), &advance, "")
}

/// What is before `until` is applied again. Comes after [`advance_query`], in its transaction.
pub(super) fn replay_query(identity: &Identity, until: Lsn) -> Query {
    let text = format!(
        "MATCH {ONE} \
         SET c.replay_until = CASE WHEN c.offset < $until THEN $until END, c.replay_lsn = 0, \
         c.last_change = null"
    );
    of(Query::new(text), identity).param("until", integer_of(until))
}

/// Compares as [`advance_query`] does and moves nothing.
pub(super) fn hold_query(identity: &Identity, epoch: Epoch, at: &Position) -> Query {
    let guard = guard(Follows::of(&identity.log));
    let text = format!("MATCH {ONE} SET c:{CHECKPOINT} {guard} SET c.updated_at = $now");
    expect(Query::new(text).param("now", Utc::now()), identity, epoch, at)
}

fn expect(query: Query, identity: &Identity, epoch: Epoch, from: &Position) -> Query {
    let from = parameter::map([
        ("epoch", epoch.0.into()),
        ("position", integer_of(from.lsn).into()),
        ("part", from.part.map_or(-1, |part| integer_of(part.commit_lsn)).into()),
        ("events", from.part.map_or(-1, |part| part.events as i64).into()),
    ]);
    of(query, identity).param("from", from)
}

/// Whether a compare-and-set found what it expected. One that did not sets no property: its lock is
/// a label.
pub(super) fn passed(counters: &Counters) -> bool {
    counters.properties_set > 0
}

/// A log position as a property. PostgreSQL's positions stay far below 2^63.
pub(super) fn integer_of(lsn: Lsn) -> i64 {
    lsn.0 as i64
}

fn date_time_of(timestamp: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(timestamp.unix_micros)
}

/// The newest transaction as a property: with the position that it was written with.
pub(super) fn newest_at(at: Lsn, newest: Newest) -> String {
    format!("{at} {newest}")
}

/// The last record as a property: with the position that it was written with.
fn last_record_at(at: Lsn, record: LastRecord) -> String {
    let LastRecord { offset, digest } = record;
    format!("{} {offset} {digest:016x}", at.0)
}
