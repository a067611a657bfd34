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
//! where a copy of all rows begins, and never where records are gone in between. Everything else is
//! refused, with what would be lost, until somebody confirms it.

use std::ops::Range;

use crate::{checkpoint::Epoch, lsn::Lsn};

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

/// What the records just before the checkpoint say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordBefore {
    /// They carry the LSN that the graph reached with them.
    Fits,
    /// They carry none, or are gone.
    Silent,
    /// They carry another one.
    Other {
        /// The LSN that the graph reached.
        expected: Lsn,
        /// The one that is there.
        found: Lsn,
    },
}

impl RecordBefore {
    /// How many records before the checkpoint are looked at: tombstones name no LSN.
    pub const LOOKED_AT: u64 = 4;

    /// Of the furthest LSN that they name, where the graph has reached `expected`; zero: none yet.
    pub fn of(found: Option<Lsn>, expected: Lsn, partitions: u32) -> Self {
        match found {
            _ if expected == Lsn::ZERO => RecordBefore::Silent,
            Some(found) if found == expected => RecordBefore::Fits,
            Some(found) if found > expected => RecordBefore::Other { expected, found },
            // Of several partitions, a publisher that goes back to where the last of them is names
            // earlier positions again.
            Some(found) if partitions == 1 => RecordBefore::Other { expected, found },
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
    /// The first of them begins a copy of all rows.
    pub begins_with_copy: bool,
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

/// Why nothing is read, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The topic's beginning is gone, and the graph has nothing.
    #[error(
        "the graph has no checkpoint of this pipeline, and reading would begin at offset {from}, where no copy of \
         the tables begins (the topic starts at {start}): rows that did not change since would be missing. Publish \
         to a new topic, which begins with a copy; or confirm it: wal2graph replay --from offset {from} --yes"
    )]
    NoCopy {
        /// Where reading would begin.
        from: u64,
        /// The first offset that the topic has.
        start: u64,
    },
    /// The group is ahead of an empty graph.
    #[error(
        "the group has applied records up to offset {committed}, but the graph has no checkpoint of this pipeline: it \
         was emptied, or is another graph. To fill it from the topic: wal2graph replay --from earliest"
    )]
    GraphEmptied {
        /// What the group committed.
        committed: u64,
    },
    /// Records between the graph and the topic's start are gone.
    #[error(
        "the records at offsets {missing:?} are gone and were never applied: the topic starts at {} (retention, or \
         its records were deleted). Copy again through a new topic and pipeline; or, to go on without them: \
         wal2graph replay --from earliest --yes", .missing.end
    )]
    Gap {
        /// The offsets.
        missing: Range<u64>,
    },
    /// The topic ends before the graph.
    #[error(
        "the graph has the records before offset {applied}, but the topic ends at {end}: it was re-created, or its \
         records were lost. If it begins with a copy, apply it from there: wal2graph replay --from earliest --yes"
    )]
    Truncated {
        /// Where the graph is.
        applied: u64,
        /// Where the topic ends.
        end: u64,
    },
    /// The topic has other records than those that were applied.
    #[error(
        "the graph is at {expected} with the records before offset {applied}, but those are of {found}: the topic was \
         re-created, or the graph is another one. If it begins with a copy, apply it from there: wal2graph \
         replay --from earliest --yes"
    )]
    OtherRecords {
        /// Where the graph is.
        applied: u64,
        /// The LSN that it reached.
        expected: Lsn,
        /// The LSN that the topic has there.
        found: Lsn,
    },
    /// A reset beyond the graph.
    #[error(
        "the group's offset was set to {}, but the graph has the records before {} only: those between were never \
         applied and would be skipped. Set it to {} or less; or confirm: wal2graph replay --from offset {} --yes",
        .skipped.end, .skipped.start, .skipped.start, .skipped.end
    )]
    WouldSkip {
        /// The records that would be skipped.
        skipped: Range<u64>,
    },
    /// A reset beyond the topic.
    #[error(
        "the group's offset was set to {offset}, but the topic ends at {end}: set it within the topic"
    )]
    BeyondEnd {
        /// What was committed.
        offset: u64,
        /// Where the topic ends.
        end: u64,
    },
}

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
    let log = &assigned.log;
    if applied.offset < log.start {
        return Err(Refusal::Gap { missing: applied.offset..log.start });
    }
    if applied.offset > log.end {
        return Err(Refusal::Truncated { applied: applied.offset, end: log.end });
    }
    match assigned.before {
        RecordBefore::Fits | RecordBefore::Silent => Ok(()),
        RecordBefore::Other { expected, found } => {
            Err(Refusal::OtherRecords { applied: applied.offset, expected, found })
        }
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
