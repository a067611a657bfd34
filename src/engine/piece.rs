//! What waits: whole source transactions, and parts of large ones.

use crate::{
    change::{Begin, Change},
    checkpoint::Part,
    lsn::Lsn,
};

use super::{Share, kinds::Kinds};

/// A place between two transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    /// In the log that is read.
    pub lsn: Lsn,
    /// In the source's own; zero when it is not known.
    pub source: Lsn,
}

/// A whole transaction, or a part of one.
#[derive(Debug)]
pub(super) struct Piece {
    pub changes: Vec<Change>,
    pub bytes: usize,
    pub kinds: Kinds,
    pub begin: Begin,
    /// How many changes of its transaction come before these.
    pub first_event: u64,
    pub end: PieceEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PieceEnd {
    /// A transaction that is here as a whole.
    Whole(End),
    /// The last part of a transaction.
    LastPart(End),
    /// Any other part.
    Part(Part),
}

impl End {
    /// The one that is later in the log that is read.
    pub fn later(self, other: End) -> End {
        if other.lsn > self.lsn { other } else { self }
    }

    /// The furthest of both, each for itself: what is read again goes back in the source's log.
    pub fn furthest(self, other: End) -> End {
        End { lsn: self.lsn.max(other.lsn), source: self.source.max(other.source) }
    }
}

impl Piece {
    /// What a batch says of it.
    pub fn share(&self) -> Share {
        Share {
            xid: self.begin.xid,
            commit_lsn: self.begin.commit_lsn,
            committed_at: self.begin.committed_at,
            first_event: self.first_event,
            changes: self.changes.len(),
            stamp: self.begin.stamp,
            end: match self.end {
                PieceEnd::Whole(end) | PieceEnd::LastPart(end) => Some(end.lsn),
                PieceEnd::Part(_) => None,
            },
        }
    }
}
