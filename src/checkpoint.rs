//! How far the graph is: the position that is written with the data, in the same transaction.
//!
//! ```text
//! (lsn)                      everything that ended at or before `lsn` is in the graph
//! (lsn, part)                and the first `part.events` changes of the transaction at
//!                            `part.commit_lsn`
//! ```

use crate::{change::Timestamp, lsn::Lsn};

/// A position of the graph in the source's history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The end LSN through which the graph is complete.
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
    /// The replication slot.
    pub slot: String,
}

/// The checkpoint node of a pipeline, as it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// How far the graph is.
    pub position: Position,
    /// The writer that may write.
    pub epoch: Epoch,
    /// When the last applied source transaction committed.
    pub committed_at: Option<Timestamp>,
    /// When the checkpoint was written last.
    pub updated_at: Timestamp,
    /// The source it belongs to.
    pub origin: Origin,
    /// The digest of the mapping that made the graph.
    pub mapping_digest: String,
}

/// One step of the checkpoint, compared and set in the transaction of the data it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advance {
    /// The position that must be there.
    pub from: Position,
    /// The position that is written.
    pub to: Position,
    /// When the last source transaction in the step committed; `None` leaves what is there.
    pub committed_at: Option<Timestamp>,
}
