//! The source transaction that is arriving, and its division into pieces.

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
    /// Changes to skip, because the graph has them already.
    pub skip: Skip,
    pub changes: Vec<Change>,
    pub bytes: usize,
    /// Of the changes.
    pub kinds: Kinds,
    /// The number of this transaction's changes that are in the graph or in pieces.
    pub events: u64,
    /// The engine has cut off a part of it, in this run or before a restart.
    pub split: bool,
    /// The error to return if it has a change.
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
        // In a batch of many small transactions, most bytes are around the changes.
        let bytes = std::mem::take(&mut self.bytes) + Piece::around(&changes);
        let kinds = std::mem::take(&mut self.kinds);
        Piece { changes, bytes, kinds, begin: self.begin, first_event, end }
    }
}
