//! Why a partition is not read, and what to do.

use std::ops::Range;

use crate::checkpoint::{TopicId, TopicPartition};

use super::Mark;

/// Why nothing is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No copy of the rows is where reading would begin, and the graph has nothing.
    NoCopy {
        /// Where reading would begin.
        from: u64,
        /// The first offset that the topic has.
        start: u64,
    },
    /// The first record can not be read.
    Unreadable {
        /// Its offset.
        offset: u64,
        /// Why.
        why: String,
    },
    /// The group is another pipeline's.
    OthersGroup {
        /// The pipeline.
        other: String,
        /// What it committed.
        committed: u64,
    },
    /// The group is one of this pipeline's, for another graph.
    OtherGraph {
        /// What it committed.
        committed: u64,
    },
    /// The group is ahead of an empty graph.
    GraphEmptied {
        /// What the group committed.
        committed: u64,
    },
    /// Records between the graph and the topic's start are gone.
    Gap {
        /// The offsets.
        missing: Range<u64>,
    },
    /// Records that were to be applied again are gone. All of them were applied once.
    ReplayGap {
        /// The offsets.
        missing: Range<u64>,
    },
    /// The topic is another one of the same name.
    OtherTopic {
        /// Where the graph is in the one that it was made from.
        applied: u64,
        /// The id of that.
        was: TopicId,
        /// The id of the topic that is there.
        is: TopicId,
    },
    /// The topic ends before the graph.
    Truncated {
        /// Where the graph is.
        applied: u64,
        /// Where the topic ends.
        end: u64,
    },
    /// The topic has other records than those that were applied.
    OtherRecords {
        /// Where the graph is.
        applied: u64,
        /// What it reached there.
        expected: Mark,
        /// What the topic has there.
        found: Mark,
    },
    /// The topic lost records that were applied, and others have come in their place.
    Replaced {
        /// Where the graph is.
        applied: u64,
        /// Of the first record that is known to be another one.
        offset: u64,
    },
    /// Nothing shows that the topic is the one that the graph was made from.
    Unproven {
        /// Where the graph is.
        applied: u64,
    },
    /// A reset beyond the graph.
    WouldSkip {
        /// The records that would be skipped.
        skipped: Range<u64>,
    },
    /// A reset beyond the topic.
    BeyondEnd {
        /// What was committed.
        offset: u64,
        /// Where the topic ends.
        end: u64,
    },
}

/// What ends well where a graph can not go on as it is. A row that was deleted meanwhile is in no record,
/// and only an emptied graph is without it.
pub struct Ways {
    /// How the graph is filled again.
    pub refill: Refill,
    /// What another graph's file has to say, to have a group of its own.
    pub another: String,
    /// The consumer group.
    pub group: String,
    /// The brokers.
    pub brokers: String,
}

/// How a graph is filled again.
pub enum Refill {
    /// From a topic that `publish` writes.
    Ours {
        /// Empties the graph, and fills it from the topic.
        again: String,
        /// Has the topic begin with a copy.
        republish: String,
    },
    /// From a topic that another pipeline publishes: it is not this one's to delete.
    Anothers {
        /// That pipeline.
        pipeline: String,
        /// Empties the graph, and fills it from the topic.
        again: String,
    },
    /// From a topic that somebody else writes.
    Others {
        /// Empties the graph of what the topic brought, has the publisher snapshot it, and fills the graph.
        again: String,
        /// Has the topic begin with a snapshot.
        republish: String,
    },
}

impl Refill {
    /// Where the topic does not continue what the graph has.
    fn anew(&self) -> String {
        let (Refill::Ours { again, .. }
        | Refill::Anothers { again, .. }
        | Refill::Others { again, .. }) = self;
        format!("{ANEW}{again}")
    }

    /// Where records are gone before they were applied.
    fn after_gap(&self) -> String {
        match self {
            Refill::Ours { again, republish } => format!("{republish}\nThen {again}"),
            Refill::Anothers { again, pipeline } => format!(
                "let the pipeline {pipeline:?}, which publishes the topic, publish a new one, and name that here \
                 (kafka.topic).\nThen {again}"
            ),
            Refill::Others { again, .. } => again.clone(),
        }
    }

    /// Where no copy begins; `confirm` is the command that begins all the same.
    fn without_copy(&self, confirm: &str) -> String {
        match self {
            Refill::Ours { republish, .. } => {
                format!("If they may be missing: {confirm} --yes. Else: {republish}")
            }
            Refill::Anothers { pipeline, .. } => format!(
                "The topic belongs to the pipeline {pipeline:?}: name another one (kafka.topic), unless this graph \
                 is to follow that pipeline and rows may be missing: {confirm} --yes"
            ),
            Refill::Others { republish, .. } => format!(
                "If they may be missing, or once the publisher has snapshotted the table into this topic again (with \
                 Debezium, by the signal execute-snapshot): {confirm} --yes. Else: {republish}"
            ),
        }
    }
}

/// The command that sets the group's offset in a partition.
fn replay(at: &TopicPartition, from: &str) -> String {
    format!("wal2graph replay --from {from} --partition {}/{}", at.topic, at.partition)
}

/// How one record that does not belong to the topic is passed over.
pub fn pass_over(at: &TopicPartition, offset: u64) -> String {
    format!(
        ". Nothing behind it is applied. If it does not belong to this topic, keep who wrote it away, and pass it \
         over: {} --yes; or let such records become dead letters: kafka.unreadable: park",
        replay(at, &format!("offset {}", offset + 1))
    )
}

/// The same of one between records that are applied together, the first of them at `began`: to read on behind it
/// would lose those before it.
pub fn pass_over_within(began: u64) -> String {
    format!(
        ". It stands within a change or a transaction that begins at offset {began}. Nothing from there on is \
         applied. If it does not belong to this topic, keep who wrote it away, and let such records become dead \
         letters: kafka.unreadable: park. `wal2graph replay` to the offset behind it would lose what comes before it"
    )
}

/// What is lost where records are skipped that were never applied.
pub fn skipped(at: &TopicPartition, skipped: &Range<u64>) -> String {
    let Range { start, end } = skipped;
    let which = match end - start {
        1 => format!("the record at offset {start} is"),
        _ => format!("the records at offsets {start}..{end} are"),
    };
    format!(
        "{which} never applied: if they belong to {at}, what they changed is missing then, and rows that they deleted \
         stay in the graph. Before the next `wal2graph apply` this takes it back: {}",
        replay(at, &format!("offset {start}"))
    )
}

impl Refusal {
    /// What happened to this partition, and what to do: each command works as it stands here.
    pub fn text(&self, at: &TopicPartition, ways: &Ways) -> String {
        let topic = &at.topic;
        let Ways { refill, another, group, brokers } = ways;
        let anew = || refill.anew();
        match self {
            Refusal::NoCopy { from, start } => {
                let gone = match start {
                    0 => "",
                    _ => ", what came before is gone by retention or deletion",
                };
                format!(
                    "the graph has no checkpoint for {at}, and reading would begin at offset {from}, where no copy of \
                     the tables begins (the topic starts at {start}{gone}): rows that did not change since would be \
                     missing. {}",
                    refill.without_copy(&replay(at, &format!("offset {from}")))
                )
            }
            Refusal::Unreadable { offset, why } => format!(
                "the record at offset {offset} of {at} can not be applied: {why}{}",
                pass_over(at, *offset)
            ),
            Refusal::OthersGroup { other, committed } => format!(
                "the group {group} is one of the pipeline {other:?}, which has committed offset {committed} of {at}: \
                 two pipelines in one group take partitions and offsets away from each other. Name another group for \
                 this one (kafka.group). Only if {other:?} has another group now, or was this pipeline's name before: \
                 stop every `wal2graph apply` of the group, and delete its offsets: \
                 kafka-consumer-groups --bootstrap-server {brokers} --delete-offsets --group {group} --topic {topic}"
            ),
            Refusal::OtherGraph { committed } => format!(
                "the group {group} fills another graph of this pipeline: that one has committed offset {committed} of \
                 {at}. Two graphs in one group get a part of the changes each. {another}. Only if the other graph is \
                 gone, and this one was restored from it: stop every `wal2graph apply` of the group, and delete its \
                 offsets: kafka-consumer-groups --bootstrap-server {brokers} --delete-offsets --group {group} --topic \
                 {topic}"
            ),
            Refusal::GraphEmptied { committed } => format!(
                "the group has applied the records of {at} up to offset {committed}, but the graph has no checkpoint \
                 for it: it was emptied, or is another graph than the group's. {another}. An emptied one is filled \
                 from the topic: {}",
                match refill {
                    Refill::Ours { .. } | Refill::Anothers { .. } =>
                        "wal2graph replay --from earliest".to_owned(),
                    Refill::Others { .. } => replay(at, "earliest"),
                }
            ),
            Refusal::Gap { missing } => format!(
                "the records of {at} at offsets {}..{} are gone and were never applied: the topic starts at {} \
                 (retention, or its records were deleted). What they changed would be missing, and rows that they \
                 deleted would stay in the graph. To go on, {}",
                missing.start,
                missing.end,
                missing.end,
                refill.after_gap()
            ),
            Refusal::ReplayGap { missing } => format!(
                "the records of {at} at offsets {}..{} were to be applied again, and are gone: the topic starts at \
                 {} (retention, or its records were deleted). All were applied before, but rows are as they were \
                 then. To go on behind them, {} --yes; `wal2graph repair` makes the rows right",
                missing.start,
                missing.end,
                missing.end,
                replay(at, &format!("offset {}", missing.end))
            ),
            Refusal::OtherTopic { applied, was, is } => format!(
                "the topic {topic} was deleted and made again: the graph has the records of {at} before offset \
                 {applied} of the topic with the id {was}, and the one that is there has the id {is}. {}",
                anew()
            ),
            Refusal::Truncated { applied, end } => format!(
                "the graph has the records of {at} before offset {applied}, but it ends at {end}: the topic was \
                 deleted and made again, or its records were lost. {}",
                anew()
            ),
            Refusal::OtherRecords { applied, expected, found } => format!(
                "the graph is at {expected} with the records of {at} before offset {applied}, but those are of \
                 {found}: the topic was deleted and made again, or the graph is another one. {}",
                anew()
            ),
            Refusal::Replaced { applied, offset } => format!(
                "the graph has the records of {at} before offset {applied}, but the one at offset {offset} is not the \
                 one that it has: the topic lost its last records, and others came in their place (a broker went down \
                 before they were on disk, a replica without them became the leader, or the topic was deleted and \
                 made again). {}",
                anew()
            ),
            Refusal::Unproven { applied } => format!(
                "nothing shows that {at} is the one whose records before offset {applied} the graph has: the brokers \
                 give topics no ids, or the checkpoint has none yet, and those records are gone or name no position. \
                 If the topic was not made again since: {} --yes. Else: {}",
                replay(at, &format!("offset {applied}")),
                anew()
            ),
            Refusal::WouldSkip { skipped: Range { start, end } } => format!(
                "the group's offset in {at} was set to {end}, but the graph has the records before {start} only: those \
                 between were never applied and would be skipped. Set it to {start} or less. Only if they do not \
                 belong to this topic: {} --yes. If they do, what they changed is missing then, and rows that they \
                 deleted stay in the graph",
                replay(at, &format!("offset {end}"))
            ),
            Refusal::BeyondEnd { offset, end } => format!(
                "the group's offset in {at} was set to {offset}, but it ends at {end}: set it within the topic, as {}",
                replay(at, "earliest")
            ),
        }
    }
}

/// Where a topic does not continue what the graph has.
pub const ANEW: &str = "Applied to the graph as it is, the topic would leave rows that were deleted in between. To go \
                        on with it, ";
