//! What shell and engine say to each other.

use std::{fmt, time::Duration};

use crate::{
    change::{Change, Event, Timestamp},
    checkpoint::{Advance, Log, Mark},
    lsn::{Lsn, Stamp},
};

/// How much goes into one graph transaction, and how much waits.
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
    /// While batches are to be narrow, one brings at most this many kinds of changes, by table and
    /// operation, that none before it had.
    pub narrow_kinds: usize,
    /// No input is wanted while this many bytes wait.
    pub waiting_bytes: usize,
    /// An idle position is written to the checkpoint at most once in this time.
    pub idle_interval: Duration,
}

impl Limits {
    /// From about two thousand changes on a single Neo4j lane gains little more by itself, but what a
    /// transaction costs besides is halved; the byte limits keep wide rows from filling memory. A Neo4j
    /// that was just started plans the statements of 24 kinds within some seconds.
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

/// What the shell tells the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The source delivered something.
    Event(Event),
    /// The batch that was ordered first, of those not applied, is in the graph, checkpoint included.
    Applied,
    /// Order nothing more until [`Input::Release`].
    Hold,
    /// Go on.
    Release,
    /// Batches are to be narrow from now on, or need not be: the sink makes the statements of each
    /// kind of changes for the first time, which takes long, and nobody sees a batch before its end.
    /// Another number: the sink has lost what it had made.
    Narrow(Option<u64>),
}

/// What the engine asks of the shell.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Write the batch, with its checkpoint, in one graph transaction, after those that were ordered
    /// before it; then say [`Input::Applied`].
    Apply(Batch),
    /// The graph is complete through this position: the source may forget what is before it.
    Acknowledge(Lsn),
    /// The hold has begun: nothing is in flight.
    Held,
}

/// What is written together.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The changes, in source order. Empty when only the position moves.
    pub changes: Vec<Change>,
    /// The step of the checkpoint.
    pub advance: Advance,
    /// Whose the changes are, in source order.
    pub shares: Vec<Share>,
}

impl Batch {
    /// The transactions in it, by id modulo 2^32.
    pub fn xids(&self) -> Vec<u32> {
        self.shares.iter().map(|share| share.xid).collect()
    }

    /// What each of its changes was stamped with, in their order.
    pub fn stamps(&self) -> impl Iterator<Item = Option<Stamp>> + use<> {
        let shares: Vec<_> = self.shares.iter().map(|it| (it.stamp, it.changes)).collect();
        shares.into_iter().flat_map(|(stamp, changes)| std::iter::repeat_n(stamp, changes))
    }

    /// When each transaction that it completes was committed, in source order, as far as that is
    /// known.
    pub fn commits(&self) -> Vec<Timestamp> {
        let completed = self.shares.iter().filter(|share| share.end.is_some());
        completed.filter_map(|share| share.committed_at.known()).collect()
    }
}

/// What a batch has of one source transaction: all of it, or a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The transaction's id, modulo 2^32.
    pub xid: u32,
    /// The position of its commit record.
    pub commit_lsn: Lsn,
    /// When it committed.
    pub committed_at: Timestamp,
    /// How many of its events come before these.
    pub first_event: u64,
    /// How many of the batch's changes are its own, after those of the shares before. A last part
    /// may have none.
    pub changes: usize,
    /// Its end LSN, if these are its last changes.
    pub end: Option<Lsn>,
    /// What [`crate::change::Begin::stamp`] said.
    pub stamp: Option<Stamp>,
}

/// The stream does not fit the checkpoint it was started from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// A transaction was applied in parts, and the stream goes on with another one.
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
        /// The one that came.
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
