//! Why `publish` does not go on with its topics.

use std::fmt;

use crate::{checkpoint::TopicPartition, lsn::Lsn};

use super::{
    again::{NEW_SLOT, Written},
    origin::forked_before,
    slot::Lost,
};

/// What follows for a graph where a topic is made again.
const GRAPHS_STOP: &str =
    "An `apply` that has read the old one stops then: it fills an empty graph from the new one";

/// What it takes to publish everything again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anew(pub Written);

/// A cluster and its timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its system identifier.
    pub identifier: String,
    /// The timeline.
    pub timeline: i64,
}

/// Why a topic is not gone on with. Each has its fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicRefusal {
    /// Another pipeline writes to it.
    #[error(
        "the topic {} belongs to the pipeline {other:?}, and this one is {own:?}: the record at offset {offset} of \
         {at} is of that one. Name another topic (kafka.topic); or, if it is the same pipeline, keep its name",
        .at.topic
    )]
    OtherPipeline {
        /// The partition.
        at: TopicPartition,
        /// The record that says so.
        offset: i64,
        /// Its pipeline.
        other: String,
        /// This one.
        own: String,
    },
    /// Its rows are of another database.
    #[error(
        "the topic {} has rows of the database {other:?}, and the source is {own:?}: the record at offset {offset} of \
         {at} is of that one. If the database was renamed, give it the name back. Pipelines of one name on \
         two databases need two topics: name another topic (kafka.topic)",
        .at.topic
    )]
    OtherDatabase {
        /// The partition.
        at: TopicPartition,
        /// The record that says so.
        offset: i64,
        /// Its database.
        other: String,
        /// The source.
        own: String,
    },
    /// Its publisher reads through another slot.
    #[error(
        "the topic {topic} is published through the slot {other:?}, and this pipeline reads {own:?}: what one has \
         published is not what the other one still has to publish. Name that slot (source.slot), if it is this \
         pipeline's. Else name another topic (kafka.topic): it begins with a copy of the tables"
    )]
    OtherSlot {
        /// The topic that says positions.
        topic: String,
        /// The slot that its last heartbeat names.
        other: String,
        /// This pipeline's.
        own: String,
    },
    /// Its records are of another cluster or timeline.
    #[error(
        "the topic {topic} has the history of the cluster {} on timeline {}, the source is {} on timeline {}: it \
         was restored, failed over, or is another one{}. To go on, {anew}",
        .other.identifier, .other.timeline, .own.identifier, .own.timeline, forked_before(*.ended, *.at, "topic")
    )]
    OtherHistory {
        /// The topic that says positions.
        topic: String,
        /// The records'.
        other: Cluster,
        /// The source's.
        own: Cluster,
        /// Where the records' timeline ended in the source's log, if it is known as a part of it.
        ended: Option<Lsn>,
        /// Up to where the topics may have something of it.
        at: Lsn,
        /// The fix.
        anew: Anew,
    },
    /// None of its records says where it is.
    #[error(
        "{at} has records, as at offset {offset}, and none of the topic says where it is: somebody else writes to it, \
         and ours were never there, or are older than its retention. Name another topic (kafka.topic): it begins with \
         a copy of the tables"
    )]
    NoPosition {
        /// A partition with records.
        at: TopicPartition,
        /// The last one.
        offset: i64,
    },
    /// It has another number of partitions than when it was written.
    #[error(
        "the topic {topic} has {count} partitions, and had {before} when it was written last: keys would go on in \
         other partitions, out of order. To go on, {anew}"
    )]
    OtherCount {
        /// The topic.
        topic: String,
        /// Now.
        count: usize,
        /// When it was written.
        before: usize,
        /// The fix.
        anew: Anew,
    },
    /// The server has removed what the slot needs.
    #[error(
        "the slot {slot} is lost: {why}. To go on, {NEW_SLOT}. Or SELECT pg_drop_replication_slot('{slot}'), and {anew}"
    )]
    SlotLost {
        /// The slot.
        slot: String,
        /// Why.
        why: Lost,
        /// The fix.
        anew: Anew,
    },
    /// There is no slot.
    #[error(
        "the slot {slot} is gone, and with it the changes since {end}. To go on, {NEW_SLOT}. Or {anew}"
    )]
    SlotGone {
        /// The slot.
        slot: String,
        /// The topic's end.
        end: Lsn,
        /// The fix.
        anew: Anew,
    },
    /// The slot has released changes that the topic lacks.
    #[error(
        "the slot {slot} is at {confirmed}, ahead of the topic {topic} at {end}: the changes between are gone \
         (the slot was re-created or advanced, or records were deleted). To go on, {NEW_SLOT}. Or {anew}"
    )]
    SlotAhead {
        /// The slot.
        slot: String,
        /// What it has confirmed.
        confirmed: Lsn,
        /// The topic that says positions.
        topic: String,
        /// Its end.
        end: Lsn,
        /// The fix.
        anew: Anew,
    },
    /// Its records are gone, and with them the position.
    #[error(
        "the topic {topic} has had records, and has none any more: they were deleted, or are older than its \
         retention. So nobody knows how far it was, nor which changes are missing since then. To go on, {anew}"
    )]
    Emptied {
        /// The topic that says positions.
        topic: String,
        /// The fix.
        anew: Anew,
    },
    /// A table's topic lost its last records, which the last heartbeat came after.
    #[error(
        "{at} ends at offset {end}, and had records up to {ended} when the last heartbeat was written: they were lost \
         (a broker went down before they were on disk, or a replica without them became the leader). They are not \
         published again: what they changed would be missing, and rows that they deleted would stay in the graph. \
         To go on, {anew}"
    )]
    Lost {
        /// The partition.
        at: TopicPartition,
        /// Where it ended.
        ended: u64,
        /// Where it ends now.
        end: u64,
        /// The fix.
        anew: Anew,
    },
    /// It was never written, and a table's topic was.
    #[error(
        "the topic {topic} has never had records, and {other} has: heartbeats say how far both are, and those were \
         deleted. So nobody knows which changes are missing since then. To go on, {anew}"
    )]
    Remains {
        /// The topic that says positions.
        topic: String,
        /// A topic that was written.
        other: String,
        /// The fix.
        anew: Anew,
    },
    /// Tables without a key go to several partitions.
    #[error(
        "the topic {topic} has several partitions, and records of {tables} have no key that says to which they go. \
         Add a primary key, or ALTER PUBLICATION {publication} DROP TABLE {tables}, or name a topic of one partition \
         (kafka.topic)"
    )]
    Keyless {
        /// The topic.
        topic: String,
        /// The tables, as SQL takes them.
        tables: String,
        /// The publication, as SQL takes it.
        publication: String,
    },
    /// The brokers give topics no ids.
    #[error(
        "kafka.topics_by: table needs brokers that give topics ids (Kafka 2.8 or newer): heartbeats name topics by \
         them, so that one that is made again is not taken for the one before. Set topics_by: pipeline"
    )]
    NoIds,
    /// A topic was made again while it was written.
    #[error(
        "somebody deleted the topic {topic} and made it again while `publish` wrote to it: its records are gone. \
         Delete it and publish again: it then begins with a copy of the tables. {GRAPHS_STOP}"
    )]
    MadeAgain {
        /// The topic.
        topic: String,
    },
    /// A topic has gone while it was written.
    #[error(
        "the topic {topic} is gone, and with it the records that nobody has read. To go on with a new one, start \
         again: `publish` makes it, and it begins with a copy of the tables. {GRAPHS_STOP}"
    )]
    Gone {
        /// The topic.
        topic: String,
    },
}

impl fmt::Display for Anew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "delete {} (or name another one with kafka.topic) and publish again: it begins with a copy of the \
             tables. {GRAPHS_STOP}",
            self.0
        )
    }
}
