//! What the records before a checkpoint say: whether they are those that were applied.
//!
//! ```text
//! offset          52   53   54 | 55          the checkpoint is at 55, with the digest of 54
//! the topic now   u    d    t  | u           54 has another digest: 53 and 54 were never applied
//! ```
//!
//! A record never changes, and what a publisher wrote before it neither, while it is there: a topic loses its last
//! records, or its first ones. So the last record before the checkpoint answers for all of them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    change::{Event, Timestamp},
    checkpoint::{Checkpoint, LastRecord},
    envelope::{Decoded, Digest, Record},
    lsn::{Lsn, Stamp},
    replay::{Identity, Mark, RecordBefore},
};

/// The last records before the positions that a partition's events lead to, for the checkpoint. A clone has the same
/// ones.
#[derive(Clone, Debug, Default)]
pub struct LastRecords(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    /// The record that came last.
    last: Option<(u64, Record)>,
    /// Those that positions are behind, in their order.
    ends: VecDeque<LastRecord>,
}

impl LastRecords {
    /// Of a partition that is read behind this one.
    pub fn behind(known: Option<LastRecord>) -> Self {
        let noted = Noted { last: None, ends: known.into_iter().collect() };
        LastRecords(Arc::new(Mutex::new(noted)))
    }

    /// The record at `offset`, with the events that it led to.
    pub fn record(&self, offset: u64, record: &Record, events: &[Event]) {
        let mut noted = self.noted();
        let ends_at = |end: u64| events.iter().any(|event| leads_to(event) == Some(Lsn(end)));
        // It may end what was held before it.
        if let Some((before, its)) = noted.last.take()
            && ends_at(offset)
        {
            noted.end(before, &its);
        }
        if ends_at(offset + 1) {
            noted.end(offset, record);
        }
        noted.last = Some((offset, record.clone()));
    }

    /// The last record before a position that they led to.
    pub fn before(&self, position: Lsn) -> Option<LastRecord> {
        let noted = self.noted();
        let before = noted.ends.partition_point(|it| it.offset < position.0);
        before.checked_sub(1).and_then(|last| noted.ends.get(last)).copied()
    }

    /// Nothing is written any more that leads to an earlier position: what is before its last record goes.
    pub fn forget_before(&self, position: Lsn) {
        let ends = &mut self.noted().ends;
        while ends.get(1).is_some_and(|next| next.offset < position.0) {
            ends.pop_front();
        }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Noted {
    fn end(&mut self, offset: u64, record: &Record) {
        if self.ends.back().is_none_or(|last| last.offset < offset) {
            self.ends.push_back(LastRecord { offset, digest: Digest::of(record).0 });
        }
    }
}

/// The position that an event leads to.
fn leads_to(event: &Event) -> Option<Lsn> {
    match event {
        Event::Commit(commit) => Some(commit.end_lsn),
        Event::Keepalive { wal_end, .. } => Some(*wal_end),
        _ => None,
    }
}

/// What the records from the last one on say, which end at the checkpoint: there was none between the two.
pub fn compare(last: LastRecord, records: &BTreeMap<u64, Record>) -> RecordBefore {
    let is_there = |(offset, record): (&u64, &Record)| {
        *offset == last.offset && Digest::of(record).0 == last.digest
    };
    match records.iter().find(|it| !is_there(*it)) {
        Some((offset, _)) => RecordBefore::Replaced { offset: *offset },
        None if records.is_empty() => RecordBefore::Silent,
        None => RecordBefore::Fits,
    }
}

/// What a graph has reached in a partition, as far as records could name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The position through which it is complete, in the order of the topic.
    pub lsn: Lsn,
    /// The last change, where each is applied for itself.
    pub last_change: Option<Stamp>,
    /// When the last transaction committed.
    pub committed_at: Option<Timestamp>,
    /// How many partitions the topic has.
    pub partitions: u32,
    /// `wal2graph publish` has written the topic.
    pub is_ours: bool,
}

impl Reached {
    /// What a checkpoint says.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let Checkpoint { lsn, replaying, last_change, committed_at, partitions, .. } = *checkpoint;
        Reached {
            lsn: replaying.map_or(lsn, |replaying| replaying.source_lsn),
            last_change,
            committed_at,
            partitions,
            is_ours: !checkpoint.origin.system_identifier.is_empty(),
        }
    }
}

/// What these records, which end at the checkpoint, say.
pub fn judge(said: &[Decoded], reached: &Reached, identity: Identity) -> RecordBefore {
    let found = said.iter().filter_map(Decoded::end_lsn).max();
    let before = RecordBefore::of(found, reached.lsn, reached.partitions);
    if before != RecordBefore::Silent || identity == Identity::Same {
        return before;
    }
    match reached.is_ours {
        true => beyond(said, reached),
        false => by_time(said, reached),
    }
}

/// A record of ours beyond what the graph has reached is none that was applied.
fn beyond(said: &[Decoded], reached: &Reached) -> RecordBefore {
    let last = reached.last_change.map_or(Lsn::ZERO, |stamp| stamp.lsn);
    let expected = reached.lsn.max(last);
    let found = said.iter().filter_map(position).max();
    match found {
        Some(found) if found > expected && expected > Lsn::ZERO => {
            let (expected, found) = (Mark::Lsn(expected), Mark::Lsn(found));
            RecordBefore::Other { expected, found }
        }
        _ => RecordBefore::Silent,
    }
}

fn position(said: &Decoded) -> Option<Lsn> {
    match said {
        Decoded::Change { source, .. } | Decoded::Foreign { source, .. } => {
            source.place.as_ref().map(|place| place.commit_lsn)
        }
        Decoded::Read { source, .. } => source.lsn,
        _ => None,
    }
}

/// The last of Debezium's changes that was applied says when it was committed, by the source's clock.
fn by_time(said: &[Decoded], reached: &Reached) -> RecordBefore {
    let committed = |said: &Decoded| match said {
        Decoded::Change { source, .. } | Decoded::Foreign { source, .. } => source.at,
        _ => None,
    };
    let found = said.iter().rev().find_map(committed);
    match (reached.committed_at, found) {
        (Some(expected), Some(found)) if expected == found => RecordBefore::Fits,
        (Some(expected), Some(found)) => RecordBefore::Other {
            expected: Mark::Committed(expected.unix_micros),
            found: Mark::Committed(found.unix_micros),
        },
        _ => RecordBefore::Silent,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::change::{Begin, Commit};

    fn record(value: &str) -> Record {
        Record { value: Some(value.to_owned().into()), ..Record::default() }
    }

    fn idle(end: u64) -> Event {
        let (wal_end, source_lsn) = (Lsn(end), Lsn::ZERO);
        Event::Keepalive { wal_end, source_lsn, reply_requested: false }
    }

    fn commit(end: u64) -> Event {
        let (commit_lsn, source_lsn, committed_at) = (Lsn(5), Lsn::ZERO, Timestamp::default());
        Event::Commit(Commit { commit_lsn, end_lsn: Lsn(end), source_lsn, committed_at })
    }

    fn begin(commit_lsn: u64) -> Event {
        let (xid, commit_lsn, committed_at) = (0, Lsn(commit_lsn), Timestamp::default());
        Event::Begin(Begin { xid, commit_lsn, committed_at, stamp: None })
    }

    #[test]
    fn the_records_that_positions_are_behind_are_noted_and_no_others() {
        let last = LastRecords::behind(None);
        let offset = |position| last.before(Lsn(position)).map(|it| it.offset);
        assert_eq!(offset(4), None);
        last.record(4, &record("heartbeat"), &[idle(5)]);
        last.record(5, &record("first"), &[begin(5)]);
        last.record(6, &record("held"), &[]);
        // It begins what is next, and so ends what was before it.
        last.record(7, &record("next"), &[commit(7), begin(7)]);
        last.record(8, &record("last"), &[commit(9)]);
        assert_eq!(last.noted().ends.len(), 3);
        assert_eq!((offset(5), offset(7)), (Some(4), Some(6)));
        assert_eq!(offset(12), Some(8), "markers of transactions are passed by position");
        last.forget_before(Lsn(7));
        assert_eq!(
            (offset(5), offset(7), offset(12)),
            (None, Some(6), Some(8)),
            "those before are forgotten"
        );
        let known = last.before(Lsn(12));
        assert_eq!(LastRecords::behind(known).before(Lsn(12)), known);
    }

    #[test]
    fn the_last_record_answers_for_all_before_it() {
        let last = LastRecord { offset: 8, digest: Digest::of(&record("last")).0 };
        let said = |records: &[(u64, &str)]| {
            let records = records.iter().map(|(offset, value)| (*offset, record(value)));
            compare(last, &records.collect())
        };
        assert_eq!(said(&[(8, "last")]), RecordBefore::Fits);
        assert_eq!(said(&[]), RecordBefore::Silent, "compaction or retention has taken it");
        assert_eq!(said(&[(8, "other")]), RecordBefore::Replaced { offset: 8 });
        // There was none between it and the position.
        assert_eq!(said(&[(8, "last"), (9, "new")]), RecordBefore::Replaced { offset: 9 });
        assert_eq!(said(&[(9, "new")]), RecordBefore::Replaced { offset: 9 });
    }
}
