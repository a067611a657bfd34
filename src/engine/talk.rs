//! The messages between shell and engine.

use std::{fmt, time::Duration};

use crate::{
    change::{Change, Event, Timestamp},
    checkpoint::{Advance, Log, Mark},
    lsn::{Lsn, Stamp},
};

use super::Refused;

/// Sizes of a graph transaction, and of what waits for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A batch takes no further source transaction once it has this many changes.
    pub batch_changes: usize,
    /// A batch takes no further source transaction once it has this many bytes.
    pub batch_bytes: usize,
    /// A source transaction with more changes is applied in parts of this many.
    pub part_changes: usize,
    /// A source transaction with more bytes is applied in parts of about this many.
    pub part_bytes: usize,
    /// While batches are narrow, each brings at most this many new kinds of changes (table and
    /// operation).
    pub narrow_kinds: usize,
    /// The engine wants no input while this many bytes wait.
    pub waiting_bytes: usize,
    /// The engine writes an idle position to the checkpoint at most once per interval.
    pub idle_interval: Duration,
}

impl Limits {
    /// Throughput of one Neo4j lane is flat above about 2,000 changes per transaction; 4,000 halves
    /// the fixed cost per change. The byte limits keep wide rows from filling memory. A freshly
    /// started Neo4j plans the statements of 24 kinds within some seconds.
    pub const DEFAULT: Limits = Limits {
        batch_changes: 4_000,
        batch_bytes: 4 << 20,
        part_changes: 5_000,
        part_bytes: 4 << 20,
        narrow_kinds: 24,
        waiting_bytes: 6 << 20,
        idle_interval: Duration::from_secs(1),
    };
}

/// An input from the shell to the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The source delivered something.
    Event(Event),
    /// The oldest ordered batch is in the graph, with its checkpoint.
    Applied,
    /// The oldest ordered batch is not in the graph. All ordered batches that are not come back, in their order, and
    /// are ordered again.
    Back {
        /// Why fewer changes may be taken; `None`: the same may be.
        refused: Option<Refused>,
        /// The batches.
        batches: Vec<Batch>,
    },
    /// Order nothing more until [`Input::Release`].
    Hold,
    /// Go on.
    Release,
    /// `Some`: keep batches narrow from now on; `None`: stop. The sink prepares its statements at
    /// the first change of each kind. That takes long, and nobody sees any of the batch before it
    /// ends. A new number means that the sink has lost its prepared statements.
    Narrow(Option<u64>),
}

/// A request from the engine to the shell.
#[expect(clippy::large_enum_variant, reason = "one is polled at a time, and most are batches")]
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Write the batch and its checkpoint in one graph transaction, after all batches ordered
    /// earlier. Then send [`Input::Applied`].
    Apply(Batch),
    /// The graph is complete through this position, so the source may discard its log before it.
    Acknowledge(Lsn),
    /// The hold has begun: nothing is in flight.
    Held,
}

/// Changes that are written together.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The changes, in source order. Empty when only the position moves.
    pub changes: Vec<Change>,
    /// The checkpoint's step.
    pub advance: Advance,
    /// The source transactions that the changes belong to, in source order.
    pub shares: Vec<Share>,
}

impl Batch {
    /// The transactions in it, by id modulo 2^32.
    pub fn xids(&self) -> Vec<u32> {
        self.shares.iter().map(|share| share.xid).collect()
    }

    /// The stamp of each change, in their order.
    pub fn stamps(&self) -> impl Iterator<Item = Option<Stamp>> + use<> {
        let shares: Vec<_> = self.shares.iter().map(|it| (it.stamp, it.changes)).collect();
        shares.into_iter().flat_map(|(stamp, changes)| std::iter::repeat_n(stamp, changes))
    }

    /// Where the transaction of each change committed, in their order.
    pub fn committed(&self) -> impl Iterator<Item = Lsn> + use<> {
        let shares: Vec<_> = self.shares.iter().map(|it| (it.commit_lsn, it.changes)).collect();
        shares.into_iter().flat_map(|(lsn, changes)| std::iter::repeat_n(lsn, changes))
    }

    /// The share of each change, in their order.
    pub fn share_of_each(&self) -> impl Iterator<Item = Share> {
        self.shares.iter().flat_map(|share| std::iter::repeat_n(*share, share.changes))
    }

    /// The number of changes that count as events.
    pub fn events(&self) -> usize {
        self.changes.iter().filter(|change| change.is_event()).count()
    }

    /// The place of each change in its log, in their order.
    pub fn places(&self) -> Vec<Place> {
        let mut places = Vec::with_capacity(self.changes.len());
        let mut changes = self.changes.iter();
        for share in &self.shares {
            let mut number = share.first_event;
            for change in changes.by_ref().take(share.changes) {
                places.push(Place { at: share.commit_lsn, number });
                number += u64::from(change.is_event());
            }
        }
        places
    }

    /// The known commit times of the transactions that it completes, in source order.
    pub fn commits(&self) -> Vec<Timestamp> {
        let completed = self.shares.iter().filter(|share| share.end.is_some());
        completed.filter_map(|share| share.committed_at.known()).collect()
    }
}

/// Where a change stands in its log: the position of its transaction, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The position of its transaction's commit record; in a partition, of its first record.
    pub at: Lsn,
    /// How many events of the transaction come before it.
    pub number: u64,
}

/// A batch's share of one source transaction: all of it, or a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The transaction's id, modulo 2^32.
    pub xid: u32,
    /// The position of its commit record.
    pub commit_lsn: Lsn,
    /// Its commit time.
    pub committed_at: Timestamp,
    /// How many of its events come before these.
    pub first_event: u64,
    /// The number of the batch's changes in this share. They follow those of the shares before it.
    /// A last part may have none.
    pub changes: usize,
    /// The transaction's end LSN, if the share has its last changes.
    pub end: Option<Lsn>,
    /// The value of [`crate::change::Begin::stamp`].
    pub stamp: Option<Stamp>,
}

/// The stream does not fit the checkpoint it started from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The graph has a part of one transaction, but the stream goes on with another one.
    #[error(
        "the checkpoint holds a part of the transaction committed at {}, but the stream goes on with the one at {}: {}",
        place(log, *.expected),
        place(log, *.found),
        match log {
            Some(Log::Partition(_)) => "the topic was made again, or has lost records",
            Some(Log::Slot(_)) | None => "the slot was made again, or the database restored",
        }
    )]
    PartOfAnotherTransaction {
        /// The transaction that is applied in part.
        expected: Lsn,
        /// The transaction that came instead.
        found: Lsn,
        /// The log that they are in, if that is known.
        log: Option<Log>,
    },
    /// The source's history is not the one that was followed.
    #[error(
        "the source was put back to an older state (a snapshot of its disk or its machine), and its log has gone on \
         from there, past the position that was reached before: {0}. Nothing of it was applied or acknowledged"
    )]
    OtherHistory(Difference),
}

/// In what the source's history is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A transaction that was applied is not in the log.
    Gone(Mark),
    /// A transaction stands before a position up to which everything was applied, and was not.
    Added {
        /// The transaction.
        added: Mark,
        /// The position.
        before: Lsn,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Gone(Mark { commit_lsn, xid, .. }) => {
                write!(
                    f,
                    "the transaction {xid}, committed at {commit_lsn}, which was read from it, is gone"
                )
            }
            Difference::Added { added: Mark { commit_lsn, xid, .. }, before } => {
                write!(
                    f,
                    "the transaction {xid}, committed at {commit_lsn}, was not there when everything before {before} \
                     was read"
                )
            }
        }
    }
}

fn place(log: &Option<Log>, at: Lsn) -> String {
    log.as_ref().map_or_else(|| at.to_string(), |log| log.place(at))
}
