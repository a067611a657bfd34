//! Offsets of a partition that bring no record.
//!
//! ```text
//! offset   52  53  --  --  56       54 and 55 do not come
//! ```
//!
//! A publisher of ours writes without transactions, so each of its offsets has a record. One that does not come is
//! the marker of a stranger's transaction, or a record of one that was aborted. Or it was a change that is gone
//! unread: compaction takes what a later record of the same key, or none, has replaced, and leaves no other trace.
//! So reading stops before such offsets until somebody has looked at them.

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What becomes of a partition's holes. A clone is the same value.
#[derive(Clone, Debug)]
pub struct Holes(Arc<Mutex<State>>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// They are passed.
    Passed,
    /// Reading stops at them. Those before this offset were looked at, and are passed.
    Watched(u64),
    /// Reading has stopped before these offsets. Those before the number were looked at.
    Met(Range<u64>, u64),
}

impl Holes {
    /// Somebody else's publisher writes the topic: they mean nothing.
    pub fn passed() -> Self {
        Holes(Arc::new(Mutex::new(State::Passed)))
    }

    /// A publisher of ours writes the topic: reading stops at them.
    pub fn watched() -> Self {
        Holes(Arc::new(Mutex::new(State::Watched(0))))
    }

    /// The records at these offsets do not come. Returns whether reading goes on behind them.
    pub fn meet(&self, missing: Range<u64>) -> bool {
        let mut state = self.state();
        match *state {
            State::Passed => true,
            State::Watched(before) | State::Met(_, before) if missing.end <= before => true,
            State::Watched(before) | State::Met(_, before) => {
                *state = State::Met(missing, before);
                false
            }
        }
    }

    /// The offsets before which reading has stopped.
    pub fn met(&self) -> Option<Range<u64>> {
        match &*self.state() {
            State::Met(missing, _) => Some(missing.clone()),
            State::Passed | State::Watched(_) => None,
        }
    }

    /// What is missing before this offset is taken care of: reading goes on.
    pub fn go_on(&self, before: u64) {
        let mut state = self.state();
        if let State::Met(missing, looked_at) = &*state {
            *state = State::Watched(missing.end.max(*looked_at).max(before));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Holes;

    #[test]
    fn reading_stops_at_a_hole_until_it_was_looked_at() {
        let holes = Holes::watched();
        assert!(!holes.meet(4..6) && holes.met() == Some(4..6));
        holes.go_on(0);
        assert!(holes.met().is_none() && holes.meet(4..6), "it was looked at");
        assert!(!holes.meet(5..7), "it has grown");
        holes.go_on(8);
        assert!(holes.meet(7..8), "so was this");
        assert!(!holes.meet(9..10));
        holes.go_on(0);
        assert!(holes.meet(9..10) && holes.met().is_none());
        assert!(Holes::passed().meet(0..9));
    }
}
