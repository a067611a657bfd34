//! Waiting pieces: whole source transactions, and parts of large ones.

use crate::{
    change::{Begin, Change},
    checkpoint::Part,
    lsn::Lsn,
};

use super::{Share, kinds::Kinds};

/// A position between two transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    /// The position in the log that the pipeline reads.
    pub lsn: Lsn,
    /// The position in the source's own log; zero when unknown.
    pub source: Lsn,
}

/// A whole transaction, or a part of one.
#[derive(Debug)]
pub(super) struct Piece {
    pub changes: Vec<Change>,
    pub bytes: usize,
    pub kinds: Kinds,
    pub begin: Begin,
    /// The number of the transaction's changes before these.
    pub first_event: u64,
    pub end: PieceEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PieceEnd {
    /// A whole transaction.
    Whole(End),
    /// The last part of a transaction.
    LastPart(End),
    /// Any other part.
    Part(Part),
}

impl End {
    /// The later of both in the log that the pipeline reads.
    pub fn later(self, other: End) -> End {
        if other.lsn > self.lsn { other } else { self }
    }

    /// The maximum of both, field by field: a second reading goes back in the source's log.
    pub fn furthest(self, other: End) -> End {
        End { lsn: self.lsn.max(other.lsn), source: self.source.max(other.source) }
    }
}

impl Piece {
    /// The bytes of a piece with these changes, without the changes: its own, and the unused capacity of the vector.
    pub fn around(changes: &Vec<Change>) -> usize {
        size_of::<Piece>() + (changes.capacity() - changes.len()) * size_of::<Change>()
    }

    /// Cuts off what follows the first `count` changes, or those after it up to an event: two parts without an
    /// event between them would be at one position. `None`: no event follows.
    pub fn split_off(&mut self, count: usize) -> Option<Piece> {
        let is_event = |change: &Change| change.is_event();
        let first = self.changes.iter().position(is_event)? + 1;
        let at = count.max(first);
        let last = self.changes.iter().rposition(is_event)?;
        if last < at {
            return None;
        }
        let changes = self.changes.split_off(at);
        let events = self.changes.iter().filter(|it| it.is_event()).count() as u64;
        let begin = self.begin;
        let first_event = self.first_event + events;
        let part = Part { commit_lsn: begin.commit_lsn, events: first_event };
        let end = match std::mem::replace(&mut self.end, PieceEnd::Part(part)) {
            PieceEnd::Whole(end) => PieceEnd::LastPart(end),
            other => other,
        };
        let (bytes, kinds) = measured(&changes);
        (self.bytes, self.kinds) = measured(&self.changes);
        Some(Piece { changes, bytes, kinds, begin, first_event, end })
    }

    /// What a batch records of it.
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

fn measured(changes: &Vec<Change>) -> (usize, Kinds) {
    let mut kinds = Kinds::default();
    changes.iter().for_each(|change| kinds.add(change));
    let bytes = changes.iter().map(Change::size_bytes).sum::<usize>();
    (bytes + Piece::around(changes), kinds)
}
