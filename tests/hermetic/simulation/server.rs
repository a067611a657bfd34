//! The simulated source: its log, its slot, and the effects of a crash or an older disk.

use wal2graph::{
    change::{Begin, Change, Commit, Timestamp},
    checkpoint::{Mark, Position},
    lsn::Lsn,
};

use super::schema::Tables;

/// A committed transaction in the log.
pub struct Logged {
    pub begin: Begin,
    pub changes: Vec<Change>,
    pub commit: Commit,
}

pub struct Server {
    pub log: Vec<Logged>,
    /// `states[n]`: the tables after the first `n` transactions.
    pub states: Vec<Tables>,
    pub end: u64,
    pub next_xid: u64,
    /// The transactions that new snapshots see. One may be in the log, and streamed, before it is
    /// visible.
    pub visible: usize,
    pub relfilenodes: Vec<u32>,
    pub slot: Slot,
    /// It never goes back, even if the log does.
    pub clock: i64,
}

/// An earlier state of the source; of its log only the length.
pub struct Kept {
    transactions: usize,
    tables: Tables,
    end: u64,
    next_xid: u64,
    relfilenodes: Vec<u32>,
    persisted: Lsn,
}

#[derive(Default)]
pub struct Slot {
    pub confirmed: Lsn,
    /// The value to which a crash of the server resets `confirmed`.
    pub persisted: Lsn,
    pub holder: Option<u32>,
}

impl Server {
    pub fn latest(&self) -> &Tables {
        self.states.last().expect("there is always a state")
    }

    /// The tables as they were at this position.
    pub fn at(&self, lsn: Lsn) -> &Tables {
        &self.states[self.log.iter().filter(|logged| logged.commit.end_lsn <= lsn).count()]
    }

    pub fn commit(&mut self, tables: Tables, changes: Vec<Change>, gap: u64) {
        let (commit_lsn, end_lsn) = (Lsn(self.end + gap), Lsn(self.end + gap + 16));
        self.clock += 1;
        let committed_at = Timestamp { unix_micros: self.clock };
        let begin = Begin { xid: self.next_xid as u32, commit_lsn, committed_at, stamp: None };
        let commit = Commit { commit_lsn, end_lsn, source_lsn: end_lsn, committed_at };
        self.log.push(Logged { begin, changes, commit });
        self.states.push(tables);
        self.end = end_lsn.0;
        self.next_xid += 1;
    }

    /// The full id of the transaction with this index, or of the next one.
    pub fn xid_of(&self, index: usize) -> u64 {
        self.next_xid - (self.log.len() - index) as u64
    }

    /// The newest transaction in its log with something in a graph at this position.
    pub fn newest_at(&self, position: Position) -> Option<Mark> {
        let is_there = |logged: &&Logged| {
            let part = position.part.map(|part| part.commit_lsn);
            let is_there = logged.commit.end_lsn <= position.lsn;
            (is_there || part == Some(logged.begin.commit_lsn)) && !logged.changes.is_empty()
        };
        let Begin { commit_lsn, xid, committed_at, .. } =
            self.log.iter().rev().find(is_there)?.begin;
        Some(Mark { commit_lsn, xid, committed_at })
    }

    pub fn keep(&self) -> Kept {
        Kept {
            transactions: self.log.len(),
            tables: self.latest().clone(),
            end: self.end,
            next_xid: self.next_xid,
            relfilenodes: self.relfilenodes.clone(),
            persisted: self.slot.persisted,
        }
    }

    pub fn put_back(&mut self, kept: Kept) {
        let Kept { transactions, tables, end, next_xid, relfilenodes, persisted } = kept;
        self.log.truncate(transactions);
        self.states.truncate(transactions);
        self.states.push(tables);
        (self.end, self.next_xid, self.relfilenodes) = (end, next_xid, relfilenodes);
        self.slot.persisted = persisted;
        self.crash();
    }

    /// kill -9 of the server: the slot loses what it had not persisted.
    pub fn crash(&mut self) {
        self.slot.confirmed = self.slot.persisted;
        self.slot.holder = None;
        self.visible = self.log.len();
    }
}
