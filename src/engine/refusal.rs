//! What becomes of batches that the sink has not taken: their changes wait again.
//!
//! ```text
//! refused, as too large   the portion is halved
//! refused, as wrong       halves, each a batch of its own, until one change is left:
//!                         first of transactions, then of the only one
//! ```
//!
//! So one wrong change among n costs about 2 log n batches, and readers see no transaction in parts but the one that it
//! is in.

use crate::checkpoint::Newest;

use super::{Batch, Engine, Refused, piece::Piece};

/// What a batch was made of.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub pieces: Vec<Ordered>,
    /// It is a group of [`Engine::search`].
    pub is_of_search: bool,
    /// The newest transaction that was ordered before it.
    pub before: Option<Newest>,
}

/// A piece whose changes are in a batch.
#[derive(Debug)]
pub(super) struct Ordered {
    pub piece: Piece,
    /// How many.
    pub changes: usize,
}

impl Engine {
    /// Takes back all that is in flight: `batches`, of which the first was refused.
    pub(super) fn take_back(&mut self, refused: Option<Refused>, mut batches: Vec<Batch>) {
        assert!(batches.len() == self.flights.len(), "each batch in flight comes back");
        let first = self.flights.front().expect("a refused batch was in flight");
        let (pieces, changes) = (first.content.pieces.len(), first.changes);
        let is_of_search = first.content.is_of_search;
        while let Some((flight, batch)) = self.flights.pop_back().zip(batches.pop()) {
            self.newest = flight.content.before;
            if flight.content.is_of_search {
                self.search.push_front(flight.content.pieces.len());
            }
            let mut rest = batch.changes;
            for Ordered { piece, changes } in flight.content.pieces.into_iter().rev() {
                let changes = rest.split_off(rest.len() - changes);
                self.waits_first(Piece { changes, ..piece });
            }
        }
        self.ordered = self.applied;
        match refused {
            Some(Refused::TooLarge) => {
                self.portion = self.portion.after(Refused::TooLarge, changes);
            }
            Some(Refused::Wrong) => {
                if is_of_search {
                    self.search.pop_front();
                }
                self.halve(pieces);
            }
            None => {}
        }
    }

    /// The first pieces that wait become two groups.
    fn halve(&mut self, pieces: usize) {
        if pieces > 1 {
            self.search.push_front(pieces - pieces / 2);
            self.search.push_front(pieces / 2);
            return;
        }
        let Some(mut first) = self.waiting_first() else { return };
        let second = first.split_off(first.changes.len() / 2);
        for part in second.into_iter().chain([first]) {
            self.waits_first(part);
            self.search.push_front(1);
        }
    }

    /// The first piece that waits, no larger than the sink takes it.
    pub(super) fn first_piece(&mut self) -> Option<Piece> {
        let mut first = self.waiting.pop_front()?;
        let most = self.portion.bound(usize::MAX);
        if first.changes.len() > most {
            self.waiting_bytes -= first.bytes;
            let rest = first.split_off(most);
            self.waiting_bytes += first.bytes;
            if let Some(rest) = rest {
                self.waiting_bytes += rest.bytes;
                self.waiting.push_front(rest);
                if let Some(group) = self.search.front_mut() {
                    *group += 1;
                }
            }
        }
        Some(first)
    }

    fn waiting_first(&mut self) -> Option<Piece> {
        let first = self.waiting.pop_front()?;
        self.waiting_changes -= first.changes.len();
        self.waiting_bytes -= first.bytes;
        Some(first)
    }

    fn waits_first(&mut self, piece: Piece) {
        self.waiting_changes += piece.changes.len();
        self.waiting_bytes += piece.bytes;
        self.waiting.push_front(piece);
    }
}
