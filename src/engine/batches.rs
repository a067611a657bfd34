//! Turns waiting pieces into batches.

use std::time::Duration;

use crate::{
    change::Timestamp,
    checkpoint::{Advance, Newest, Position},
    lsn::Lsn,
};

use super::{
    Batch, Content, Engine, Flight, Ordered,
    piece::{End, Piece, PieceEnd},
    proof,
};

impl Engine {
    /// The next batch can not grow by waiting.
    pub(super) fn has_full_batch(&self) -> bool {
        let part = self.waiting.front().is_some_and(|it| !matches!(it.end, PieceEnd::Whole(_)));
        let changes = self.waiting_changes >= self.portion.bound(self.limits.batch_changes);
        let is_of_search = !self.search.is_empty();
        part || changes || is_of_search || self.waiting_bytes >= self.limits.batch_bytes
    }

    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        let mut first = self.first_piece()?;
        let group = self.search.pop_front();
        let mut left = group.unwrap_or(usize::MAX).saturating_sub(1);
        let whole_transactions = matches!(first.end, PieceEnd::Whole(_));
        let mut bytes = first.bytes;
        let mut shares = vec![first.share()];
        let mut last = (first.end, first.begin.committed_at.known());
        let mut newest = first.begin;
        let mut oldest = last.1;
        let mut changes = std::mem::take(&mut first.changes);
        let mut kinds = first.kinds.clone();
        let mut pieces = vec![Ordered { changes: changes.len(), piece: first }];
        while whole_transactions
            && left > 0
            && changes.len() < self.limits.batch_changes
            && bytes < self.limits.batch_bytes
        {
            let room = self.portion.bound(usize::MAX).saturating_sub(changes.len());
            let fits = |piece: &mut Piece| {
                let is_narrow = self.narrow.is_none()
                    || kinds.count_with_all(&piece.kinds, &self.met) <= self.limits.narrow_kinds;
                is_narrow && matches!(piece.end, PieceEnd::Whole(_)) && piece.changes.len() <= room
            };
            let Some(mut next) = self.waiting.pop_front_if(fits) else { break };
            left -= 1;
            kinds.merge(&next.kinds);
            bytes += next.bytes;
            let committed_at = next.begin.committed_at.known();
            shares.push(next.share());
            last = (next.end, committed_at.or(last.1));
            newest = next.begin;
            oldest = oldest.or(committed_at);
            let count = next.changes.len();
            changes.append(&mut next.changes);
            pieces.push(Ordered { changes: count, piece: next });
        }
        let is_of_search = group.is_some();
        if is_of_search && left > 0 {
            self.search.push_front(left);
        }
        self.waiting_bytes -= bytes;
        self.waiting_changes -= changes.len();
        if self.narrow.is_some() {
            self.met.merge(&kinds);
        }
        let (to, source) = match last.0 {
            PieceEnd::Part(part) => (Position { part: Some(part), ..self.ordered }, Lsn::ZERO),
            PieceEnd::Whole(end) | PieceEnd::LastPart(end) => {
                let end = self.further(end);
                (Position::at(end.lsn), end.source)
            }
        };
        let before = self.newest.replace(Newest::Transaction(proof::mark(&newest)));
        let stamps = shares.iter().filter_map(|share| share.stamp);
        let last_change = stamps.filter(|stamp| stamp.change().is_some()).max();
        let advance = Advance { last_change, ..self.order(to, source, last.1, oldest) };
        if let Some(flight) = self.flights.back_mut() {
            flight.changes = changes.len();
            flight.content = Content { pieces, is_of_search, before };
        }
        Some(Batch { changes, advance, shares })
    }

    /// If nothing follows a transaction, its end may be written as the idle position after it.
    fn further(&self, end: End) -> End {
        if self.waiting.is_empty() && self.open.is_none() {
            end.later(self.idle.position)
        } else {
            end
        }
    }

    pub(super) fn idle_batch(&mut self, now: Duration) -> Option<Batch> {
        let due = self.idle.urgent || now >= self.idle_write_at();
        if !self.idle_is_ahead() || !due {
            return None;
        }
        self.idle.urgent = false;
        self.idle.written_at = Some(now);
        let End { lsn, source } = self.idle.position;
        let advance = self.order(Position::at(lsn), source, None, None);
        let (changes, shares) = (Vec::new(), Vec::new());
        Some(Batch { changes, advance, shares })
    }

    /// The idle position may be written. It is ahead of the graph, and no transaction is applied in
    /// part: the write would erase the record of its part.
    pub(super) fn idle_is_ahead(&self) -> bool {
        self.idle.position.lsn > self.ordered.lsn
            && self.open.is_none()
            && self.ordered.part.is_none()
    }

    pub(super) fn idle_write_at(&self) -> Duration {
        self.idle.written_at.map_or(Duration::ZERO, |at| at + self.limits.idle_interval)
    }

    fn order(
        &mut self,
        to: Position,
        source: Lsn,
        committed_at: Option<Timestamp>,
        oldest: Option<Timestamp>,
    ) -> Advance {
        let advance = Advance {
            from: self.ordered,
            to,
            source_lsn: source,
            committed_at,
            last_change: None,
            last_record: None,
            newest: self.newest,
        };
        self.ordered = to;
        let content = Content { before: self.newest, ..Content::default() };
        self.flights.push_back(Flight { to, source, oldest, changes: 0, content });
        advance
    }
}
