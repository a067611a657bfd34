//! Whether the stream is of the history that the graph is of.
//!
//! ```text
//!   confirmed                       the graph's position
//! ------|---- [newest] --------------------|------------------
//!               ^ must come, as it was     ^ before it, nothing else has changes
//! ```
//!
//! A source that is put back to an older state, as a disk or a machine is, keeps its identifier and
//! its timeline, and once its log has grown again nothing that it says of itself is different. But
//! its slot was put back with it. So the slot has confirmed no more than what both histories share,
//! and everything behind that can be read again.
//!
//! Why it is enough: a log is a chain. Where the newest transaction of the graph stands in it, with
//! its place, its id and the time of its commit, everything before it is as it was. Behind it the graph
//! has nothing, so nothing with changes may stand there before the graph's position. If the slot
//! has confirmed the newest transaction already, both histories have it.
//!
//! Why it is no false alarm: what committed behind the confirmed position is sent again, whatever
//! became of the server or of our acknowledgements, and is decoded with the catalog of its own time.
//! PostgreSQL 14 also sends transactions without changes: those say nothing.

use crate::{
    change::Begin,
    checkpoint::{Mark, Newest, Position},
    lsn::Lsn,
};

use super::{Difference, EngineError};

/// What the stream has still to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nothing.
    Made,
    /// That it is the graph's history up to this position.
    Wanted {
        at: Lsn,
        /// The newest transaction of the graph.
        mark: Option<Mark>,
        /// It has to come, and has not.
        is_awaited: bool,
    },
}

/// What the transaction is told by.
pub(super) fn mark(begin: &Begin) -> Mark {
    let Begin { commit_lsn, xid, committed_at, .. } = *begin;
    Mark { commit_lsn, xid, committed_at }
}

impl Proof {
    /// What a stream has to show that goes on at `position`, from a slot that has confirmed
    /// `confirmed`. Nothing, if the newest transaction is not known.
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

    /// A transaction begins. What is wrong if it has changes, or the error that it is wrong at all.
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
            // Also the one that a part is there of: everything before it is as it was.
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

/// A position just behind a page's header is the page's start.
fn is_past(lsn: Lsn, at: Lsn) -> bool {
    lsn.without_page_header() >= at.without_page_header()
}
