//! On which timeline of the source's cluster a partition's records are.
//!
//! ```text
//! partition   change t1 | change t1 | heartbeat t2 | change t2       t2: a standby was promoted
//! ```
//!
//! `publish` goes over to another timeline only if that has everything of its topics. So a record of a later one says
//! that the log goes on there. Nothing leads back: what comes of an earlier timeline then is of a publisher that still
//! reads the old server.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{checkpoint::Checkpoint, envelope::History};

/// The timeline of a partition's records. A clone shows the same partition.
#[derive(Clone, Debug)]
pub struct Timeline(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// The latest one that a record was of; 0: none was.
    now: i64,
    /// That of the checkpoint.
    known: i64,
    /// One that the checkpoint does not name, and behind which record it is met.
    met: Option<(u64, i64)>,
}

/// How a record's timeline stands to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the same, or a later one.
    GoesOn,
    /// It is an earlier one.
    IsBefore,
}

impl Timeline {
    /// Of a partition that is read on from its checkpoint.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let known = checkpoint.origin.timeline;
        // Records that are applied again may be of earlier ones.
        let now = if checkpoint.replaying.is_some() { 0 } else { known };
        Timeline::new(known, now)
    }

    /// The checkpoint names this one.
    pub fn at(known: i64) -> Self {
        Timeline::new(known, known)
    }

    fn new(known: i64, now: i64) -> Self {
        Timeline(Arc::new(Mutex::new(State { now, known, met: None })))
    }

    /// Takes a record of this history, which ends before offset `end`.
    pub fn record(&self, history: &History, end: u64) -> Standing {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if history.timeline < state.now {
            return Standing::IsBefore;
        }
        state.now = history.timeline;
        let newest = state.met.map_or(state.known, |(_, timeline)| timeline);
        if history.timeline > newest {
            state.met = Some((end, history.timeline));
        }
        Standing::GoesOn
    }

    /// The timeline that the checkpoint does not name yet, though everything through its first record is applied.
    pub fn passed(&self, applied: u64) -> Option<i64> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.met.filter(|(end, _)| *end <= applied).map(|(_, timeline)| timeline)
    }

    /// The checkpoint names it now.
    pub fn is_named(&self, timeline: i64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.known = state.known.max(timeline);
        state.met = state.met.filter(|(_, met)| *met > timeline);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(timeline: i64) -> History {
        History { system_identifier: "7".to_owned(), timeline }
    }

    #[test]
    fn a_later_timeline_is_named_once_its_first_record_is_applied() {
        let timeline = Timeline::at(1);
        assert_eq!(timeline.record(&history(1), 5), Standing::GoesOn);
        assert_eq!(timeline.passed(9), None, "nothing has changed");
        assert_eq!(timeline.record(&history(2), 6), Standing::GoesOn);
        assert_eq!(timeline.record(&history(2), 7), Standing::GoesOn);
        assert_eq!((timeline.passed(5), timeline.passed(6)), (None, Some(2)));
        timeline.is_named(2);
        assert_eq!(timeline.passed(9), None);
        assert_eq!(timeline.record(&history(1), 8), Standing::IsBefore);
    }

    #[test]
    fn a_replay_passes_the_timelines_again() {
        let timeline = Timeline::new(3, 0);
        for (end, number) in [(1, 1), (2, 3)] {
            assert_eq!(timeline.record(&history(number), end), Standing::GoesOn, "{number}");
        }
        assert_eq!(timeline.passed(9), None, "the checkpoint names the last one");
        assert_eq!(timeline.record(&history(2), 3), Standing::IsBefore);
    }
}
