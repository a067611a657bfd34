//! Proves that the stream belongs to the graph's history.
//!
//! ```text
//!   confirmed                       the graph's position
//! ------|---- [newest] --------------------|------------------
//!               ^ must come, as it was     ^ before it, nothing else has changes
//! ```
//!
//! A source can be restored to an older state, like a disk or a virtual machine. It keeps its
//! identifier and its timeline, and once its log has grown again, its own facts show no difference.
//! But its slot was restored with it. So the slot has confirmed only what both histories share, and
//! everything after that can be read again.
//!
//! Why the proof is enough: a log is a chain. If the graph's newest transaction is in it, with the
//! same place, id and commit time, everything before it is the same. The graph has nothing after
//! it, so no transaction with changes may follow it before the graph's position. If the slot has
//! already confirmed the newest transaction, both histories have it.
//!
//! Why it is never a false alarm: the server sends everything again that committed after the
//! confirmed position, whatever happened to the server or to our acknowledgements. It decodes it
//! with the catalog of its own time. PostgreSQL 14 also sends transactions without changes: those
//! prove nothing.

use crate::{
    change::{Begin, Event},
    checkpoint::{Mark, Newest, Position},
    lsn::Lsn,
};

use super::{Difference, EngineError};

/// The proof that the stream still owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nothing.
    Made,
    /// That it is the graph's history up to this position.
    Wanted {
        at: Lsn,
        /// The newest transaction of the graph.
        mark: Option<Mark>,
        /// It must come, and has not come yet.
        is_awaited: bool,
    },
}

/// The properties that identify the transaction.
pub(super) fn mark(begin: &Begin) -> Mark {
    let Begin { commit_lsn, xid, committed_at, .. } = *begin;
    Mark { commit_lsn, xid, committed_at }
}

impl Proof {
    /// The proof for a stream that continues at `position`, from a slot that has confirmed
    /// `confirmed`. None is needed if the newest transaction is unknown.
    pub fn of(position: Position, newest: Option<Newest>, confirmed: Lsn) -> Self {
        let mark = match newest {
            None => return Proof::Made,
            Some(Newest::Nothing) => None,
            Some(Newest::Transaction(mark)) => Some(mark),
        };
        let at = position.lsn;
        let is_awaited = mark.is_some_and(|mark| mark.commit_lsn >= confirmed);
        match !is_awaited && is_past(confirmed, at) {
            true => Proof::Made,
            false => Proof::Wanted { at, mark, is_awaited },
        }
    }

    pub fn is_made(&self) -> bool {
        *self == Proof::Made
    }

    /// A transaction begins. Returns the error that applies if it has changes. Fails if it is wrong
    /// even without changes.
    pub fn begins(&mut self, begin: &Begin) -> Result<Option<EngineError>, EngineError> {
        let Proof::Wanted { at, mark: newest, is_awaited } = *self else { return Ok(None) };
        let found = mark(begin);
        let is_newest = newest == Some(found);
        if let Some(newest) = newest.filter(|_| !is_newest) {
            let is_passed = is_awaited && found.commit_lsn > newest.commit_lsn;
            if is_passed || found.commit_lsn == newest.commit_lsn {
                return Err(EngineError::OtherHistory(Difference::Gone(newest)));
            }
        }
        let is_before = found.commit_lsn < at;
        match (is_newest, is_awaited) {
            // Also the transaction of which the graph has a part: everything before it is the same.
            (true, _) if is_before => *self = Proof::Wanted { at, mark: newest, is_awaited: false },
            (true, _) => *self = Proof::Made,
            // The newest one is still to come.
            (false, true) => {}
            (false, false) if is_before => {
                let is_behind = newest.is_none_or(|newest| found.commit_lsn > newest.commit_lsn);
                let added = Difference::Added { added: found, before: at };
                return Ok(is_behind.then_some(EngineError::OtherHistory(added)));
            }
            (false, false) => *self = Proof::Made,
        }
        Ok(None)
    }

    /// Between transactions, the stream is at `lsn`.
    pub fn passes(&mut self, lsn: Lsn) -> Result<(), EngineError> {
        let Proof::Wanted { at, mark, is_awaited } = *self else { return Ok(()) };
        let gone = mark.filter(|mark| is_awaited && lsn > mark.commit_lsn);
        if let Some(mark) = gone {
            return Err(EngineError::OtherHistory(Difference::Gone(mark)));
        }
        if !is_awaited && is_past(lsn, at) {
            *self = Proof::Made;
        }
        Ok(())
    }
}

/// Whether an event shows that a log has a transaction, which the slot has not confirmed: `None`, if that is still to
/// come. What has something of it beyond its own position asks this before it goes on.
pub fn shows(newest: Mark, event: &Event) -> Option<Result<(), EngineError>> {
    let gone = || Some(Err(EngineError::OtherHistory(Difference::Gone(newest))));
    match event {
        Event::Begin(begin) if mark(begin) == newest => Some(Ok(())),
        Event::Begin(begin) if begin.commit_lsn >= newest.commit_lsn => gone(),
        Event::Keepalive { wal_end, .. } if *wal_end > newest.commit_lsn => gone(),
        _ => None,
    }
}

/// A position just behind a page's header is the page's start.
fn is_past(lsn: Lsn, at: Lsn) -> bool {
    lsn.without_page_header() >= at.without_page_header()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_transaction_is_shown_by_itself_alone() {
        let newest = Mark { commit_lsn: Lsn(70), xid: 7, ..Mark::default() };
        let begin = |commit: u64, xid| {
            let (commit_lsn, committed_at) = (Lsn(commit), newest.committed_at);
            Event::Begin(Begin { xid, commit_lsn, committed_at, stamp: None })
        };
        let keepalive = |end| Event::Keepalive {
            wal_end: Lsn(end),
            source_lsn: Lsn(end),
            reply_requested: false,
        };
        for before in [begin(60, 7), begin(69, 6), keepalive(70)] {
            assert!(shows(newest, &before).is_none(), "{before:?}");
        }
        assert_eq!(shows(newest, &begin(70, 7)), Some(Ok(())));
        for other in [begin(70, 8), begin(71, 7), keepalive(71)] {
            assert!(shows(newest, &other).unwrap().is_err(), "{other:?}");
        }
    }
}
