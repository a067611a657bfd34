//! Where a partition is read from when it is assigned: offsets in, a decision out.
//!
//! ```text
//! the group's offset, and who committed it --+
//! the graph's checkpoint --------------------+--> decide --> go on | begin | apply again | refuse
//! what the topic still has ------------------+
//! ```
//!
//! The graph's checkpoint is what is true: it moves in the transactions that apply the records. The
//! group's offset follows it, for Kafka's tools to show, and carries our metadata. Whoever resets it
//! with those tools erases the metadata, and that is how a reset is told from a crash: after a crash
//! the offset is ours and may be behind, and records are not applied twice; after a reset it is not
//! ours, and they are applied again.
//!
//! Why no record is lost that was never applied: reading begins at the checkpoint or before it, or
//! where a copy of all rows begins, and never where records are gone in between. What would skip records
//! that are there is refused, with what would be lost, until somebody confirms it.
//!
//! Why no other topic is taken for the one that was applied: Kafka gives each topic an id, which is in
//! the checkpoint. Where nobody names one, the records before the checkpoint have to show that they are
//! those that were applied. A topic that was made again is never applied to a graph of the one before:
//! a row that was deleted in between is in neither, and would stay.

use std::{fmt, ops::Range};

use crate::{
    checkpoint::{Epoch, TopicId, TopicPartition},
    lsn::Lsn,
};

/// What our commits of group offsets begin with. It and all that follows stay far below the 4,096
/// bytes that a broker takes.
const MARK: &str = "wal2graph/1";
/// Stands where an epoch would when `wal2graph replay` reset the offset.
const REQUESTED: &str = "replay";
/// The same, when its user confirmed what may be lost.
const CONFIRMED: &str = "replay-confirmed";

/// The metadata of an offset that is committed after the graph has everything before it.
pub fn applied_metadata(pipeline: &str, epoch: Epoch) -> String {
    format!("{MARK}/{pipeline}/{}", epoch.0)
}

/// The metadata of an offset that is to be read from, as `wal2graph replay` leaves it.
pub fn requested_metadata(pipeline: &str, confirmed: bool) -> String {
    format!("{MARK}/{pipeline}/{}", if confirmed { CONFIRMED } else { REQUESTED })
}

/// The offset that the group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffset {
    /// The next record that the group would read.
    pub offset: u64,
    /// What was committed with it. Resets by Kafka's tools leave it empty.
    pub metadata: String,
}

/// Whose word an offset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// Ours: it follows the checkpoint.
    Follows,
    /// Somebody's who wants to read from there.
    Reset { confirmed: bool },
}

impl GroupOffset {
    fn word(&self, pipeline: &str) -> Word {
        let ours = self.metadata.strip_prefix(MARK).and_then(|rest| rest.strip_prefix('/'));
        match ours.and_then(|rest| rest.rsplit_once('/')) {
            Some((name, CONFIRMED)) => Word::Reset { confirmed: name == pipeline },
            Some((name, epoch)) if name == pipeline && epoch.parse::<i64>().is_ok() => {
                Word::Follows
            }
            _ => Word::Reset { confirmed: false },
        }
    }
}

/// How far a partition is in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Everything before it is in the graph, as far as it is not to be applied again.
    pub offset: u64,
    /// Everything before it was applied once; more than `offset` while it is applied again.
    pub highest: u64,
}

/// Whether the topic is the one that the graph was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// It has the id that the checkpoint names.
    Same,
    /// It has another one: it was deleted and made again under its name.
    Another {
        /// The id that the checkpoint names.
        was: TopicId,
        /// The one that the topic has.
        is: TopicId,
    },
    /// The checkpoint or the brokers name none: the records have to show it.
    Untold,
}

impl Identity {
    /// Of the ids that the checkpoint and the brokers name.
    pub fn of(was: Option<TopicId>, is: Option<TopicId>) -> Self {
        match (was, is) {
            (Some(was), Some(is)) if was == is => Identity::Same,
            (Some(was), Some(is)) => Identity::Another { was, is },
            _ => Identity::Untold,
        }
    }
}

/// What the records before the checkpoint say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordBefore {
    /// They carry what the graph reached with them, or there never were any.
    Fits,
    /// They carry nothing that could be compared, or are gone.
    Silent,
    /// They carry something else.
    Other {
        /// What the graph reached.
        expected: Mark,
        /// What is there.
        found: Mark,
    },
}

/// A place in the source's history that a record names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// A position in its log.
    Lsn(Lsn),
    /// When its transaction committed, in microseconds since 1970: all there is in records of a single
    /// topic of Debezium's.
    Committed(i64),
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mark::Lsn(lsn) => write!(f, "{lsn}"),
            Mark::Committed(micros) => write!(f, "{micros} microseconds since 1970"),
        }
    }
}

impl RecordBefore {
    /// How many records before the checkpoint are looked at first: tombstones name no LSN.
    pub const LOOKED_AT: u64 = 4;
    /// How many are looked at where brokers do not tell topics apart: our publishers name a position
    /// far more often.
    pub const LOOKED_AT_MAX: u64 = 100_000;

    /// Of the furthest LSN that they name, where the graph has reached `expected`; zero: none yet.
    pub fn of(found: Option<Lsn>, expected: Lsn, partitions: u32) -> Self {
        let other = |found| {
            let (expected, found) = (Mark::Lsn(expected), Mark::Lsn(found));
            RecordBefore::Other { expected, found }
        };
        match found {
            _ if expected == Lsn::ZERO => RecordBefore::Silent,
            Some(found) if found == expected => RecordBefore::Fits,
            Some(found) if found > expected => other(found),
            // Of several partitions, a publisher that goes back to where the last of them is names
            // earlier positions again.
            Some(found) if partitions == 1 => other(found),
            Some(_) | None => RecordBefore::Silent,
        }
    }
}

/// All there is to know when a partition is assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned<'a> {
    /// The pipeline's name, which our metadata carries.
    pub pipeline: &'a str,
    /// What the group committed; `None`: nothing, or it expired.
    pub group: Option<GroupOffset>,
    /// What the graph has; `None`: nothing of this pipeline.
    pub applied: Option<Applied>,
    /// The records that the partition has.
    pub log: Range<u64>,
    /// Its first records have all rows that there were when it was made.
    pub begins_with_copy: bool,
    /// Whether it is the topic that the graph was made from.
    pub identity: Identity,
    /// What is known of the records before the checkpoint.
    pub before: RecordBefore,
}

/// Where to read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Where the graph is.
    FromCheckpoint,
    /// At `from`: the graph has nothing yet.
    Begin {
        /// The first offset.
        from: u64,
    },
    /// At `from`, which the graph has: it is applied again.
    Replay {
        /// The first offset.
        from: u64,
        /// What is before this one was applied before.
        until: u64,
    },
    /// At `to`, which is beyond the graph: confirmed.
    Skip {
        /// The first offset.
        to: u64,
    },
    /// Nowhere, until somebody does something.
    Refuse(Refusal),
}

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
/// and only an empty graph is without it.
pub struct Ways {
    /// Empties the graph, and fills it from the topic.
    pub refill: String,
    /// Has the topic begin with a copy.
    pub republish: String,
}

impl Refusal {
    /// What happened to this partition, and what to do: each command works as it stands here.
    pub fn text(&self, at: &TopicPartition, ways: &Ways) -> String {
        let topic = &at.topic;
        let Ways { refill, republish } = ways;
        let replay = |from: &str| {
            format!("wal2graph replay --from {from} --partition {topic}/{}", at.partition)
        };
        match self {
            Refusal::NoCopy { from, start } => format!(
                "the graph has no checkpoint for {at}, and reading would begin at offset {from}, where no copy of the \
                 tables begins (the topic starts at {start}): rows that did not change since would be missing. If they \
                 may be missing: {} --yes. Else: {republish}",
                replay(&format!("offset {from}"))
            ),
            Refusal::GraphEmptied { committed } => format!(
                "the group has applied the records of {at} up to offset {committed}, but the graph has no checkpoint \
                 for it: it was emptied, or is another graph. To fill it from the topic: {}",
                replay("earliest")
            ),
            Refusal::Gap { missing } => format!(
                "the records of {at} at offsets {}..{} are gone and were never applied: the topic starts at {} \
                 (retention, or its records were deleted). What they changed would be missing, and rows that they \
                 deleted would stay in the graph. To go on, {republish}\nThen {refill}",
                missing.start, missing.end, missing.end
            ),
            Refusal::OtherTopic { applied, was, is } => format!(
                "the topic {topic} was deleted and made again: the graph has the records of {at} before offset \
                 {applied} of the topic with the id {was}, and the one that is there has the id {is}. {ANEW}{refill}"
            ),
            Refusal::Truncated { applied, end } => format!(
                "the graph has the records of {at} before offset {applied}, but it ends at {end}: the topic was \
                 deleted and made again, or its records were lost. {ANEW}{refill}"
            ),
            Refusal::OtherRecords { applied, expected, found } => format!(
                "the graph is at {expected} with the records of {at} before offset {applied}, but those are of \
                 {found}: the topic was deleted and made again, or the graph is another one. {ANEW}{refill}"
            ),
            Refusal::Unproven { applied } => format!(
                "nothing shows that {at} is the one whose records before offset {applied} the graph has: the brokers \
                 give topics no ids, or the checkpoint has none yet, and those records are gone or name no position. \
                 If the topic was not made again since: {} --yes. Else: {ANEW}{refill}",
                replay(&format!("offset {applied}"))
            ),
            Refusal::WouldSkip { skipped: Range { start, end } } => format!(
                "the group's offset in {at} was set to {end}, but the graph has the records before {start} only: those \
                 between were never applied and would be skipped. Set it to {start} or less. Only if they do not \
                 belong to this topic: {} --yes. If they do, what they changed is missing then, and rows that they \
                 deleted stay in the graph",
                replay(&format!("offset {end}"))
            ),
            Refusal::BeyondEnd { offset, end } => format!(
                "the group's offset in {at} was set to {offset}, but it ends at {end}: set it within the topic, as {}",
                replay("earliest")
            ),
        }
    }
}

/// Where a topic does not continue what the graph has.
pub const ANEW: &str = "Applied to the graph as it is, the topic would leave rows that were deleted in between. To go \
                        on with it, ";

/// Decides where a partition is read from.
pub fn decide(assigned: &Assigned<'_>) -> Decision {
    let word = assigned.group.as_ref().map(|group| (group.offset, group.word(assigned.pipeline)));
    match (word, assigned.applied) {
        (None | Some((_, Word::Follows)), Some(applied)) => match fits(assigned, applied) {
            Ok(()) => Decision::FromCheckpoint,
            Err(refusal) => Decision::Refuse(refusal),
        },
        (None, None) => begin(assigned, assigned.log.start, false),
        (Some((committed, Word::Follows)), None) => {
            Decision::Refuse(Refusal::GraphEmptied { committed })
        }
        (Some((offset, _)), _) if offset > assigned.log.end => {
            let end = assigned.log.end;
            Decision::Refuse(Refusal::BeyondEnd { offset, end })
        }
        (Some((offset, Word::Reset { confirmed })), None) => begin(assigned, offset, confirmed),
        (Some((offset, Word::Reset { confirmed })), Some(applied)) => {
            reset(assigned, applied, offset, confirmed)
        }
    }
}

/// The topic still has what follows the checkpoint, and it is the topic that was applied.
fn fits(assigned: &Assigned<'_>, applied: Applied) -> Result<(), Refusal> {
    continues(assigned, applied)?;
    match (assigned.before, assigned.identity) {
        (RecordBefore::Silent, Identity::Untold) => {
            Err(Refusal::Unproven { applied: applied.offset })
        }
        _ => Ok(()),
    }
}

/// Nothing shows that the topic is another one, or has other records, than those that were applied; and
/// it has what follows them.
fn continues(assigned: &Assigned<'_>, applied: Applied) -> Result<(), Refusal> {
    let (applied, end) = (applied.offset, assigned.log.end);
    if let Identity::Another { was, is } = assigned.identity {
        return Err(Refusal::OtherTopic { applied, was, is });
    }
    if applied > end {
        return Err(Refusal::Truncated { applied, end });
    }
    match assigned.before {
        RecordBefore::Other { expected, found } => {
            Err(Refusal::OtherRecords { applied, expected, found })
        }
        RecordBefore::Fits | RecordBefore::Silent => match applied < assigned.log.start {
            true => Err(Refusal::Gap { missing: applied..assigned.log.start }),
            false => Ok(()),
        },
    }
}

fn begin(assigned: &Assigned<'_>, from: u64, confirmed: bool) -> Decision {
    let start = assigned.log.start;
    let complete = assigned.begins_with_copy && from <= start;
    match complete || confirmed {
        true => Decision::Begin { from: from.max(start) },
        false => Decision::Refuse(Refusal::NoCopy { from, start }),
    }
}

fn reset(assigned: &Assigned<'_>, applied: Applied, offset: u64, confirmed: bool) -> Decision {
    let log = &assigned.log;
    let from = offset.max(log.start);
    // No word of the user's makes another topic the one that was applied, or rows go whose deletes are
    // gone.
    if let Err(refusal) = continues(assigned, applied) {
        return Decision::Refuse(refusal);
    }
    if !confirmed {
        if offset > applied.offset {
            return Decision::Refuse(Refusal::WouldSkip { skipped: applied.offset..offset });
        }
        if let Err(refusal) = fits(assigned, applied) {
            return Decision::Refuse(refusal);
        }
    }
    if from > applied.offset {
        return Decision::Skip { to: from };
    }
    Decision::Replay { from, until: applied.highest.min(log.end) }
}
