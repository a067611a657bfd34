//! How far the graph is: the position that is written with the data, in the same transaction.
//!
//! ```text
//! (lsn)                      everything that ended at or before `lsn` is in the graph
//! (lsn, part)                and the first `part.events` changes of the transaction at
//!                            `part.commit_lsn`
//! ```
//!
//! `lsn` is a position in the log that the pipeline reads: the write-ahead log, or a partition of a
//! topic, whose positions are offsets ([`crate::lsn`] says why). The source's LSN through which the
//! graph is complete is kept beside it. It stays while a partition is read again from an earlier
//! offset.

mod put_back;

use std::{collections::BTreeSet, fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    change::Timestamp,
    lsn::{Lsn, Stamp},
};

pub use put_back::{PutBack, place};

/// A position of the graph in the log that is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The end of the last transaction that the graph has.
    pub lsn: Lsn,
    /// The part that is done of the one transaction after it, when that is applied in parts.
    pub part: Option<Part>,
}

impl Position {
    /// A position between two source transactions.
    pub fn at(lsn: Lsn) -> Self {
        Position { lsn, part: None }
    }
}

/// How much of a source transaction is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    /// Which transaction: the position of its commit record.
    pub commit_lsn: Lsn,
    /// How many of its changes, counted as [`crate::change::Change`] counts them.
    pub events: u64,
}

/// A source transaction, so that it is told from any other, also from one of another history of the
/// same source in the same place of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// The position of its commit record.
    pub commit_lsn: Lsn,
    /// Its id, modulo 2^32.
    pub xid: u32,
    /// When it committed.
    pub committed_at: Timestamp,
}

/// The newest source transaction of which the graph has changes, all or a part. While it is in the
/// source's log, everything before it is there too: the histories are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Newest {
    /// There was none since the slot was made.
    Nothing,
    /// This one.
    Transaction(Mark),
}

impl fmt::Display for Newest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Newest::Nothing => f.write_str("nothing"),
            Newest::Transaction(Mark { commit_lsn, xid, committed_at }) => {
                write!(f, "{commit_lsn} {xid} {}", committed_at.unix_micros)
            }
        }
    }
}

/// The text is not what [`Newest`] is written as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no transaction: expected an LSN, an id and microseconds, or \"nothing\"")]
pub struct ParseNewestError(String);

impl FromStr for Newest {
    type Err = ParseNewestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "nothing" {
            return Ok(Newest::Nothing);
        }
        let mark = || {
            let mut words = text.split(' ');
            let commit_lsn = words.next()?.parse().ok()?;
            let xid = words.next()?.parse().ok()?;
            let committed_at = Timestamp { unix_micros: words.next()?.parse().ok()? };
            words.next().is_none().then_some(Mark { commit_lsn, xid, committed_at })
        };
        mark().map(Newest::Transaction).ok_or_else(|| ParseNewestError(text.to_owned()))
    }
}

/// The writer's generation. A checkpoint with another epoch refuses the write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub i64);

/// Where the source's history comes from. A graph that was filled from one never goes on with
/// another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The database cluster's identifier (IDENTIFY_SYSTEM).
    pub system_identifier: String,
    /// Its timeline.
    pub timeline: i64,
    /// What is read.
    pub log: Log,
}

/// The log that a pipeline reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Log {
    /// The write-ahead log, through this replication slot.
    Slot(String),
    /// A partition of a topic.
    Partition(TopicPartition),
}

impl Log {
    /// A position in it, for people: an LSN, or an offset.
    pub fn place(&self, at: Lsn) -> String {
        match self {
            Log::Slot(_) => at.to_string(),
            Log::Partition(_) => format!("offset {}", at.0),
        }
    }
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: String,
    /// The partition's number, from 0.
    pub partition: i32,
}

/// The identity that Kafka gives a topic when it is made. A topic that is made again under the same
/// name has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub u128);

impl fmt::Display for TopicId {
    /// As Kafka's own tools write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0.to_be_bytes()))
    }
}

/// The text is not a topic id as Kafka's own tools write it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a topic id: expected 22 characters of base64")]
pub struct ParseTopicIdError(String);

impl FromStr for TopicId {
    type Err = ParseTopicIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|it| it.try_into().ok());
        let bytes = bytes.ok_or_else(|| ParseTopicIdError(text.to_owned()))?;
        Ok(TopicId(u128::from_be_bytes(bytes)))
    }
}

/// Which checkpoint: a pipeline has one for each log that it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The pipeline's name.
    pub pipeline: String,
    /// The log.
    pub log: Log,
}

impl Log {
    /// The slot, if it is one.
    pub fn slot(&self) -> Option<&str> {
        match self {
            Log::Slot(name) => Some(name),
            Log::Partition(_) => None,
        }
    }

    /// The name that, with the pipeline's, identifies the checkpoint: the slot's, or
    /// `topic/partition`. Neither a slot's nor a topic's name has a slash.
    pub fn name(&self) -> String {
        match self {
            Log::Slot(name) => name.clone(),
            Log::Partition(TopicPartition { topic, partition }) => format!("{topic}/{partition}"),
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {} of {}", self.partition, self.topic)
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Log::Slot(name) => write!(f, "the slot {name}"),
            Log::Partition(partition) => write!(f, "{partition}"),
        }
    }
}

/// Records that are applied again, because the offsets were reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaying {
    /// Before this offset everything was applied once.
    pub until: Lsn,
    /// The source's position that it has reached again; zero at its beginning.
    pub source_lsn: Lsn,
}

/// The checkpoint node of a pipeline, as it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// How far the graph is in the log that is read.
    pub position: Position,
    /// The source's end LSN through which the graph is complete. While it replays, the one it was
    /// complete through before.
    pub lsn: Lsn,
    /// What is being applied again.
    pub replaying: Option<Replaying>,
    /// The last change that was applied, where transactions are spread over partitions: a position
    /// within one does not say what of it was seen.
    pub last_change: Option<Stamp>,
    /// The last record that was read of a partition; `None` in a checkpoint of an earlier build, and behind a reset.
    pub last_record: Option<LastRecord>,
    /// The newest transaction in it; `None` where it is not known: in a checkpoint of an earlier
    /// build, in one of a partition, and until one comes after the publication was changed.
    pub newest: Option<Newest>,
    /// The publication that it was read through; `None` for a partition's.
    pub publication: Option<String>,
    /// The writer that may write.
    pub epoch: Epoch,
    /// When the last applied source transaction committed.
    pub committed_at: Option<Timestamp>,
    /// When the checkpoint was written last.
    pub updated_at: Timestamp,
    /// The source it belongs to.
    pub origin: Origin,
    /// How many partitions the topic has that it is of; 1 for a slot.
    pub partitions: u32,
    /// Which topic it is of; `None` for a slot, and where the brokers do not say.
    pub topic_id: Option<TopicId>,
    /// The pipeline that publishes to the topic, if the records named it when the checkpoint was created.
    pub publisher: Option<String>,
    /// It belongs to the heartbeats of topics that each have a table: its `lsn` is the `lsn` of all topics. The
    /// tables' own checkpoints say nothing of the graph: a topic whose table stands still brings no position.
    pub is_whole: bool,
    /// The digest of the mapping that made the graph.
    pub mapping_digest: String,
    /// The labels of its nodes: also those of tables that have gone since. Empty in checkpoints that
    /// were made before this was kept.
    pub labels: Vec<String>,
    /// The source's tables as `start::tables` keeps them; `None` for a partition's, and in a checkpoint of
    /// an earlier build.
    pub table_facts: Option<String>,
    /// What its mapping has in the graph, as [`crate::graph::Outlines`]; `None` as for `table_facts`.
    pub outlines: Option<String>,
    /// Which file a partition's rows are made by: see `start::one_file`. `None` for a slot, and as for `table_facts`.
    pub mapping_file: Option<String>,
    /// Why the last writer stopped for good, if nobody has claimed it since.
    pub stopped: Option<Stopped>,
}

/// The last record before a position in a partition. A record never changes: while it is there, everything before the
/// position is what was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRecord {
    /// Its offset. There was no record between it and the position.
    pub offset: u64,
    /// The digest of its bytes.
    pub digest: u64,
}

/// What a new pipeline begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct NewCheckpoint {
    /// Where in the log it begins.
    pub start: Lsn,
    /// The source it belongs to.
    pub origin: Origin,
    /// The publication that a slot is read through; `None` for a partition.
    pub publication: Option<String>,
    /// How many partitions its topic has; 1 for a slot.
    pub partitions: u32,
    /// Which topic it is, if the brokers say.
    pub topic_id: Option<TopicId>,
    /// Its `lsn` is that of all topics of the pipeline.
    pub is_whole: bool,
    /// The pipeline that publishes to the topic, if its records name one.
    pub publisher: Option<String>,
    /// The digest of the mapping.
    pub mapping_digest: String,
    /// The labels of its nodes.
    pub labels: Vec<String>,
    /// The tables of the source that a slot is of; `None` for a partition.
    pub table_facts: Option<String>,
    /// What the mapping has in the graph; `None` for a partition.
    pub outlines: Option<String>,
}

/// A checkpoint that was claimed: who writes for its log from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which checkpoint.
    pub identity: Identity,
    /// The epoch that the claim gave it.
    pub epoch: Epoch,
}

/// Under which claims something goes that no single checkpoint is about.
#[derive(Clone, Copy, Debug)]
pub enum Claims<'a> {
    /// All checkpoints of the pipeline: nobody else writes meanwhile.
    All(&'a [Claim]),
    /// One of several: others may be written meanwhile.
    One(&'a Claim),
}

impl Claims<'_> {
    /// Whether they still hold, with these checkpoints: their logs, by name, and epochs.
    pub fn hold(&self, found: &[(String, Epoch)]) -> bool {
        let named = |claim: &Claim| (claim.identity.log.name(), claim.epoch);
        match self {
            Claims::All(claims) => {
                let all: BTreeSet<_> = claims.iter().map(named).collect();
                claims.len() == found.len() && found.iter().all(|it| all.contains(it))
            }
            Claims::One(claim) => found.contains(&named(claim)),
        }
    }
}

/// Why a pipeline stopped for good, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Why, without a row's values.
    pub because: String,
    /// When.
    pub at: Timestamp,
}

impl Checkpoint {
    /// Its newest transaction, if this publication shows it. Another one may leave out what this one
    /// sends.
    pub fn newest_through(&self, publication: &str) -> Option<Newest> {
        self.newest.filter(|_| self.publication.as_deref() == Some(publication))
    }

    /// Whether its writer left it further on: then the graph is at an older state, as after a restore. A writer
    /// never goes back by itself, and another one has a later epoch.
    pub fn is_older_than(&self, epoch: Epoch, position: &Position) -> bool {
        (self.epoch, self.position) < (epoch, *position)
    }

    /// The partition that it is of; `None` for a slot's.
    pub fn partition(&self) -> Option<&TopicPartition> {
        match &self.origin.log {
            Log::Slot(_) => None,
            Log::Partition(partition) => Some(partition),
        }
    }
}

/// The source's end LSN through which the graph is complete in all logs of a pipeline: the lowest of
/// its checkpoints', or that of the one that speaks for all. `None` if it has none, or if a partition of a
/// topic has none yet.
pub fn complete_through(checkpoints: &[Checkpoint]) -> Option<Lsn> {
    if let Some(whole) = checkpoints.iter().find(|it| it.is_whole) {
        return Some(whole.lsn);
    }
    let of = |topic: &str| {
        checkpoints
            .iter()
            .filter_map(Checkpoint::partition)
            .filter(|partition| partition.topic == topic)
            .count()
    };
    let is_whole = |checkpoint: &Checkpoint| {
        checkpoint.partition().is_none_or(|it| of(&it.topic) >= checkpoint.partitions as usize)
    };
    let is_whole = checkpoints.iter().all(is_whole);
    checkpoints.iter().map(|checkpoint| checkpoint.lsn).min().filter(|_| is_whole)
}

/// One step of the checkpoint, compared and set in the transaction of the data it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advance {
    /// The position that must be there.
    pub from: Position,
    /// The position that is written.
    pub to: Position,
    /// The source's position there; zero when it is not known, and where a part ends.
    pub source_lsn: Lsn,
    /// When the last source transaction in the step committed; `None` leaves what is there.
    pub committed_at: Option<Timestamp>,
    /// The last change in the step, where each is a transaction of its own; `None` leaves what is
    /// there.
    pub last_change: Option<Stamp>,
    /// The last record of the partition before `to`, if it is known.
    pub last_record: Option<LastRecord>,
    /// The newest transaction that the graph has something of then; `None` if it is not known.
    pub newest: Option<Newest>,
}
