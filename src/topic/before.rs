//! What the records before a checkpoint say: whether they are those that were applied.

use crate::{
    change::Timestamp,
    checkpoint::Checkpoint,
    envelope::Decoded,
    lsn::{Lsn, Stamp},
    replay::{Identity, Mark, RecordBefore},
};

/// What a graph has reached in a partition, as far as records could name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The position through which it is complete, in the order of the topic.
    pub lsn: Lsn,
    /// The last change, where each is applied for itself.
    pub last_change: Option<Stamp>,
    /// When the last transaction committed.
    pub committed_at: Option<Timestamp>,
    /// How many partitions the topic has.
    pub partitions: u32,
    /// `wal2graph publish` has written the topic.
    pub is_ours: bool,
}

impl Reached {
    /// What a checkpoint says.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let Checkpoint { lsn, replaying, last_change, committed_at, partitions, .. } = *checkpoint;
        Reached {
            lsn: replaying.map_or(lsn, |replaying| replaying.source_lsn),
            last_change,
            committed_at,
            partitions,
            is_ours: !checkpoint.origin.system_identifier.is_empty(),
        }
    }
}

/// What these records, which end at the checkpoint, say.
pub fn judge(said: &[Decoded], reached: &Reached, identity: Identity) -> RecordBefore {
    let found = said.iter().filter_map(Decoded::end_lsn).max();
    let before = RecordBefore::of(found, reached.lsn, reached.partitions);
    if before != RecordBefore::Silent || identity == Identity::Same {
        return before;
    }
    match reached.is_ours {
        true => beyond(said, reached),
        false => by_time(said, reached),
    }
}

/// A record of ours beyond what the graph has reached is none that was applied.
fn beyond(said: &[Decoded], reached: &Reached) -> RecordBefore {
    let last = reached.last_change.map_or(Lsn::ZERO, |stamp| stamp.lsn);
    let expected = reached.lsn.max(last);
    let found = said.iter().filter_map(position).max();
    match found {
        Some(found) if found > expected && expected > Lsn::ZERO => {
            let (expected, found) = (Mark::Lsn(expected), Mark::Lsn(found));
            RecordBefore::Other { expected, found }
        }
        _ => RecordBefore::Silent,
    }
}

fn position(said: &Decoded) -> Option<Lsn> {
    match said {
        Decoded::Change { source, .. } | Decoded::Foreign { source, .. } => {
            source.place.as_ref().map(|place| place.commit_lsn)
        }
        Decoded::Read { source, .. } => source.lsn,
        _ => None,
    }
}

/// The last of Debezium's changes that was applied says when it was committed, by the source's clock.
fn by_time(said: &[Decoded], reached: &Reached) -> RecordBefore {
    let committed = |said: &Decoded| match said {
        Decoded::Change { source, .. } | Decoded::Foreign { source, .. } => source.at,
        _ => None,
    };
    let found = said.iter().rev().find_map(committed);
    match (reached.committed_at, found) {
        (Some(expected), Some(found)) if expected == found => RecordBefore::Fits,
        (Some(expected), Some(found)) => RecordBefore::Other {
            expected: Mark::Committed(expected.unix_micros),
            found: Mark::Committed(found.unix_micros),
        },
        _ => RecordBefore::Silent,
    }
}
