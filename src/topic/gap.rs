//! Changes that were never published, since the publisher has lost its slot.
//!
//! ```text
//! partition   ... change+end_lsn 0/16B3740 | heartbeat with the gap 0/16B3740 0/16C0000 | change ...
//! ```
//!
//! The publisher writes such a heartbeat to every partition of every topic before anything that comes behind the
//! gap. Reading stops before it until a comparison is asked for, which is kept in the graph. So nothing behind the
//! gap is applied to a graph that does not know of it.

use std::{
    convert::Infallible,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{envelope::Record, lsn::Lsn};

/// The header of a heartbeat that stands for changes that were never published: from where, up to where, and why.
pub const GAP_HEADER: &str = "wal2graph.gap";

/// Changes of the source that no record brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The topics have everything before this.
    pub from: Lsn,
    /// They have everything from here on.
    pub to: Lsn,
    /// Why.
    pub why: String,
}

impl Gap {
    /// The gap that a record stands for.
    pub fn of(record: &Record) -> Option<Self> {
        let (_, text) = record.headers.iter().find(|(name, _)| name == GAP_HEADER)?;
        let Ok(gap) = String::from_utf8_lossy(text).parse();
        Some(gap)
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gap { from, to, why } = self;
        write!(f, "{from} {to} {why}")
    }
}

impl FromStr for Gap {
    type Err = Infallible;

    /// Whatever the text is, there is a gap: a later build may say more of it.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let mut words = text.splitn(3, ' ');
        let mut position = || words.next().and_then(|word| word.parse().ok());
        Ok(match (position(), position()) {
            (Some(from), Some(to)) => {
                Gap { from, to, why: words.next().unwrap_or_default().to_owned() }
            }
            _ => Gap { from: Lsn::ZERO, to: Lsn::ZERO, why: text.to_owned() },
        })
    }
}

/// The gaps of a partition that is read. A clone is the same value.
#[derive(Clone, Debug, Default)]
pub struct Gaps(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Reading has stopped before the record at this offset.
    met: Option<(u64, Gap)>,
    /// A comparison was asked for, for each gap before this offset.
    asked_before: u64,
    /// The partition was read from here last.
    from: u64,
}

impl Gaps {
    /// The partition is read from here on. One that is read from further back than before is read again, for a
    /// graph that has to be compared again.
    pub fn read_from(&self, offset: u64) {
        let mut state = self.state();
        if offset < state.from {
            *state = State::default();
        }
        state.from = offset;
    }

    /// The record at this offset stands for a gap. Returns whether reading goes on with it.
    pub fn meet(&self, offset: u64, gap: Gap) -> bool {
        let mut state = self.state();
        if offset < state.asked_before {
            return true;
        }
        state.met = Some((offset, gap));
        false
    }

    /// The gap before which reading has stopped, with the offset of its record.
    pub fn met(&self) -> Option<(u64, Gap)> {
        self.state().met.clone()
    }

    /// A comparison is asked for: reading goes on with the record at this offset.
    pub fn go_on(&self, offset: u64) {
        let mut state = self.state();
        state.met = None;
        state.asked_before = state.asked_before.max(offset + 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn gap(from: u64, to: u64) -> Gap {
        Gap { from: Lsn(from), to: Lsn(to), why: "the slot was lost".to_owned() }
    }

    #[test]
    fn what_is_written_is_read_and_anything_else_is_a_gap_too() {
        let written = gap(0x16B_3740, 0x16C_0000);
        assert_eq!(written.to_string(), "0/16B3740 0/16C0000 the slot was lost");
        assert_eq!(written.to_string().parse(), Ok(written.clone()));
        let of = |text: &'static str| {
            let headers = vec![(GAP_HEADER.to_owned(), text.into())];
            Gap::of(&Record { headers, ..Record::default() })
        };
        assert_eq!(of("0/16B3740 0/16C0000 the slot was lost"), Some(written));
        let other = Gap { from: Lsn::ZERO, to: Lsn::ZERO, why: "{\"from\": 7}".to_owned() };
        assert_eq!(of("{\"from\": 7}"), Some(other), "of a later build");
        assert_eq!(Gap::of(&Record::default()), None);
    }

    #[test]
    fn reading_stops_at_a_gap_until_a_comparison_is_asked_for() {
        let gaps = Gaps::default();
        gaps.read_from(3);
        assert!(!gaps.meet(7, gap(1, 2)) && gaps.met() == Some((7, gap(1, 2))));
        assert!(!gaps.meet(7, gap(1, 2)), "nobody has asked yet");
        gaps.go_on(7);
        assert!(gaps.met().is_none() && gaps.meet(7, gap(1, 2)), "it is asked for");
        gaps.read_from(7);
        assert!(gaps.meet(7, gap(1, 2)), "another life goes on");
        assert!(!gaps.meet(9, gap(3, 4)), "that is the next one");
        gaps.go_on(9);
        gaps.read_from(2);
        assert!(!gaps.meet(7, gap(1, 2)), "the partition is read again");
    }
}
