//! The source transaction that is arriving, and how it becomes pieces.

use crate::{
    change::{Begin, Change},
    checkpoint::Part,
};

use super::{
    EngineError,
    kinds::Kinds,
    piece::{Piece, PieceEnd},
};

/// The source transaction that is arriving.
#[derive(Debug)]
pub(super) struct Open {
    pub begin: Begin,
    /// Changes that the graph has already, still to be skipped.
    pub skip: Skip,
    pub changes: Vec<Change>,
    pub bytes: usize,
    /// Of the changes.
    pub kinds: Kinds,
    /// Changes of this transaction in the graph or in pieces.
    pub events: u64,
    /// A part of it was cut off, here or before a restart.
    pub split: bool,
    /// What is wrong if it has a change.
    pub denied: Option<EngineError>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Skip {
    Nothing,
    First(u64),
    Everything,
}

impl Open {
    pub fn cut_part(&mut self) -> Piece {
        self.split = true;
        self.cut(PieceEnd::Part(Part { commit_lsn: self.begin.commit_lsn, events: self.events }))
    }

    pub fn cut(&mut self, end: PieceEnd) -> Piece {
        let changes = std::mem::take(&mut self.changes);
        let events = changes.iter().filter(|change| change.is_event()).count() as u64;
        let first_event = self.events - events;
        // Of many small transactions, what is around the changes is most of it.
        let around =
            size_of::<Piece>() + (changes.capacity() - changes.len()) * size_of::<Change>();
        let bytes = std::mem::take(&mut self.bytes) + around;
        let kinds = std::mem::take(&mut self.kinds);
        Piece { changes, bytes, kinds, begin: self.begin, first_event, end }
    }
}
