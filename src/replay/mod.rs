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
//! the checkpoint. A topic may lose its last records, too, and keep its id: the machine of a broker went down
//! before they were on disk, or a replica without them became the leader. So the checkpoint has the digest of
//! the last record before it, which has to be there still, and no other one behind it. A checkpoint of an
//! earlier build has none: there the records have to show by their positions that they are those that were
//! applied. A topic that was made again is never applied to a graph of the one before:
//! a row that was deleted in between is in neither, and would stay.
//!
//! Why two pipelines, or two graphs of one, do not share a group unnoticed: the metadata names pipeline and
//! graph, and the offset of another one is no reset.

mod beginning;
mod refusal;

use std::{fmt, ops::Range};

use crate::{
    checkpoint::{Epoch, TopicId},
    lsn::Lsn,
};

pub use beginning::{Beginning, Unshown};
pub use refusal::{ANEW, Refill, Refusal, Ways, pass_over, pass_over_within, skipped};

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

/// The same, of this graph. An earlier build named none, and some products have no name for a graph.
pub fn in_graph(metadata: String, graph: Option<&str>) -> String {
    graph.map_or(metadata.clone(), |graph| format!("{metadata}/{graph}"))
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
enum Word<'a> {
    /// Ours: it follows the checkpoint.
    Follows,
    /// Somebody's who wants to read from there.
    Reset { confirmed: bool },
    /// Another pipeline's, which uses the same group.
    Others(&'a str),
    /// Another graph's, which has the same pipeline.
    OtherGraph,
}

impl GroupOffset {
    fn word(&self, pipeline: &str, graph: Option<&str>) -> Word<'_> {
        let marked = self.metadata.strip_prefix(MARK).and_then(|rest| rest.strip_prefix('/'));
        let mut parts = marked.into_iter().flat_map(|rest| rest.splitn(3, '/'));
        let (Some(name), Some(what)) = (parts.next(), parts.next()) else {
            return Word::Reset { confirmed: false };
        };
        let is_other = graph.zip(parts.next()).is_some_and(|(own, of)| own != of);
        let is_epoch = what.parse::<i64>().is_ok();
        match what {
            _ if !is_epoch && what != REQUESTED && what != CONFIRMED => {
                Word::Reset { confirmed: false }
            }
            _ if name != pipeline => Word::Others(name),
            _ if is_other => Word::OtherGraph,
            _ if is_epoch => Word::Follows,
            _ => Word::Reset { confirmed: what == CONFIRMED },
        }
    }

    /// Another pipeline has committed it, or this one for another graph.
    pub fn others(&self, pipeline: &str, graph: Option<&str>) -> Option<Refusal> {
        let committed = self.offset;
        match self.word(pipeline, graph) {
            Word::Others(other) => {
                Some(Refusal::OthersGroup { other: other.to_owned(), committed })
            }
            Word::OtherGraph => Some(Refusal::OtherGraph { committed }),
            Word::Follows | Word::Reset { .. } => None,
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
    /// The last of them is not the one that was read there.
    Replaced {
        /// Its offset.
        offset: u64,
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
    /// The graph's id, if it has one.
    pub graph: Option<&'a str>,
    /// What the group committed; `None`: nothing, or it expired.
    pub group: Option<GroupOffset>,
    /// What the graph has; `None`: nothing of this pipeline.
    pub applied: Option<Applied>,
    /// The records that the partition has.
    pub log: Range<u64>,
    /// What its first records show of the rows from before it. Only an empty graph asks for it.
    pub beginning: Beginning,
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
        /// Nothing shows that the rows from before are in the partition, and nothing that they are not.
        unshown: Option<Unshown>,
    },
    /// At `from`, which the graph has: it is applied again.
    Replay {
        /// The first offset.
        from: u64,
        /// What is before this one was applied before.
        until: u64,
    },
    /// Behind the graph: confirmed.
    Skip {
        /// The offsets that are never applied. Reading begins at their end.
        skipped: Range<u64>,
    },
    /// Nowhere, until somebody does something.
    Refuse(Refusal),
}

/// Decides where a partition is read from.
pub fn decide(assigned: &Assigned<'_>) -> Decision {
    let group = assigned.group.as_ref();
    let (pipeline, graph) = (assigned.pipeline, assigned.graph);
    if let Some(refusal) = group.and_then(|group| group.others(pipeline, graph)) {
        return Decision::Refuse(refusal);
    }
    let word = group.map(|group| (group.offset, group.word(pipeline, graph)));
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
        (Some((offset, word)), None) => begin(assigned, offset, word.is_confirmed()),
        (Some((offset, word)), Some(applied)) => {
            reset(assigned, applied, offset, word.is_confirmed())
        }
    }
}

impl Word<'_> {
    fn is_confirmed(self) -> bool {
        self == Word::Reset { confirmed: true }
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
    let Applied { offset: applied, highest } = applied;
    let end = assigned.log.end;
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
        RecordBefore::Replaced { offset } => Err(Refusal::Replaced { applied, offset }),
        RecordBefore::Fits | RecordBefore::Silent => {
            let (start, missing) = (assigned.log.start, applied..assigned.log.start);
            match (missing.is_empty(), start <= highest) {
                (true, _) => Ok(()),
                (false, true) => Err(Refusal::ReplayGap { missing }),
                (false, false) => Err(Refusal::Gap { missing }),
            }
        }
    }
}

fn begin(assigned: &Assigned<'_>, from: u64, confirmed: bool) -> Decision {
    let start = assigned.log.start;
    let begin = |unshown| Decision::Begin { from: from.max(start), unshown };
    if confirmed {
        return begin(None);
    }
    match &assigned.beginning {
        Beginning::Copy | Beginning::NoRows if from <= start => begin(None),
        Beginning::Unshown(unshown) if from <= start => begin(Some(*unshown)),
        Beginning::Unreadable { offset, why } if from <= *offset => {
            Decision::Refuse(Refusal::Unreadable { offset: *offset, why: why.clone() })
        }
        _ => Decision::Refuse(Refusal::NoCopy { from, start }),
    }
}

fn reset(assigned: &Assigned<'_>, applied: Applied, offset: u64, confirmed: bool) -> Decision {
    let log = &assigned.log;
    let from = offset.max(log.start);
    // No word of the user's makes another topic the one that was applied, or rows go whose deletes are
    // gone.
    match continues(assigned, applied) {
        Ok(()) => {}
        // All of them were applied once.
        Err(Refusal::ReplayGap { .. }) if confirmed && from <= applied.highest => {
            return Decision::Replay { from, until: applied.highest.min(log.end) };
        }
        Err(refusal) => return Decision::Refuse(refusal),
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
        return Decision::Skip { skipped: applied.offset..from };
    }
    Decision::Replay { from, until: applied.highest.min(log.end) }
}
