//! Combines the partitions that a run applies.
//!
//! The combined progress is that of the slowest partition, and the run waits if one partition
//! waits: nobody may read that the graph is complete while a part of it is missing.

use std::{collections::BTreeMap, time::Duration};

use tokio::sync::watch;

use crate::{
    change::Timestamp,
    checkpoint::TopicPartition,
    health::{Look, Positions, Tracker, since},
    lsn::Lsn,
    pipeline::Status,
    topic::copied::CopyState,
};

use super::looks::TopicLook;

/// A partition's progress in the graph. Positions are offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLag {
    /// The partition.
    pub at: TopicPartition,
    /// The graph has everything before it; `None` before the checkpoint is read.
    pub applied: Option<u64>,
    /// The offset of the next record to be produced; `None` while Kafka is unreachable.
    pub end: Option<u64>,
    /// The time since the graph was last known to have everything in the partition.
    pub time: Duration,
}

impl PartitionLag {
    /// The number of records that the graph lacks.
    pub fn records(&self) -> Option<u64> {
        Some(self.end?.saturating_sub(self.applied?))
    }
}

/// The facts about the partitions of this run.
#[derive(Default)]
pub(super) struct Partitions {
    all: BTreeMap<TopicPartition, Partition>,
    /// The position that the graph is complete through, where heartbeats of a topic of their own say it: then no
    /// other partition does.
    whole: Option<Lsn>,
}

#[derive(Default)]
struct Partition {
    /// The status of its pipeline, or its last one.
    status: Option<watch::Receiver<Status>>,
    /// Its log's information about the copy.
    copied: Option<CopyState>,
    /// The reason why it does not run.
    waiting: Option<String>,
    /// The time until which the graph is known to have had all of it.
    tracker: Tracker,
    /// The time of its first report.
    since: Timestamp,
    /// Its records name no positions of the source.
    is_unplaced: bool,
}

impl Partitions {
    pub fn connected(
        &mut self,
        at: &TopicPartition,
        status: watch::Receiver<Status>,
        copied: CopyState,
    ) {
        let partition = self.entry(at);
        (partition.status, partition.copied) = (Some(status), Some(copied));
        partition.waiting = None;
    }

    pub fn waiting(&mut self, at: &TopicPartition, why: String) {
        self.entry(at).waiting = Some(why);
    }

    pub fn is_unplaced(&mut self, at: &TopicPartition) {
        self.entry(at).is_unplaced = true;
    }

    /// For how long the graph has not been known to have all of what is read, where the records of a
    /// partition name no positions of the source.
    pub fn unplaced_lag(&self, now: Timestamp, look: Option<&TopicLook>) -> Option<Duration> {
        let is_unplaced = self.all.values().any(|partition| partition.is_unplaced);
        let longest = || self.lags(now, look).iter().map(|lag| lag.time).max();
        is_unplaced.then(longest).flatten()
    }

    fn entry(&mut self, at: &TopicPartition) -> &mut Partition {
        let new = || Partition { since: super::now(), ..Partition::default() };
        self.all.entry(at.clone()).or_insert_with(new)
    }

    /// Returns true if it was the last one.
    pub fn gone(&mut self, at: &TopicPartition) -> bool {
        self.all.remove(at).is_some() && self.all.is_empty()
    }

    /// The reason why one of them does not run.
    pub fn why_waiting(&self) -> Option<&str> {
        self.all.values().find_map(|it| it.waiting.as_deref())
    }

    /// Their combined status; `None` before any partition has one.
    pub fn status(&self) -> Option<Status> {
        let status = self.all.values().filter_map(Partition::status).reduce(together)?;
        Some(match self.whole {
            None => status,
            Some(whole) => Status { received: whole, complete: whole, ..status },
        })
    }

    /// The graph is complete through this position; `None`: each partition speaks for itself.
    pub fn complete_through(&mut self, whole: Option<Lsn>) {
        self.whole = whole;
    }

    /// Records the progress of each, and the last look at the topics.
    pub fn observe(&mut self, look: Option<&TopicLook>) {
        for (at, partition) in &mut self.all {
            let end = look.and_then(|look| Some((look.at, *look.ends.get(at)?)));
            partition.observe(end);
        }
    }

    /// The lag of each. `look` is the last one at the topics, if recent.
    pub fn lags(&self, now: Timestamp, look: Option<&TopicLook>) -> Vec<PartitionLag> {
        let lag = |(at, partition): (&TopicPartition, &Partition)| {
            let end = look.and_then(|look| look.ends.get(at).copied());
            let applied = partition.applied();
            let has_all = end.is_some_and(|end| applied.is_some_and(|applied| applied >= end));
            let known = partition.tracker.through().unwrap_or(partition.since);
            let time = if has_all { Duration::ZERO } else { since(now, known) };
            PartitionLag { at: at.clone(), applied, end, time }
        };
        self.all.iter().map(lag).collect()
    }
}

impl Partition {
    /// The graph has everything before this offset.
    fn applied(&self) -> Option<u64> {
        Some(self.status.as_ref()?.borrow().applied.lsn.0)
    }

    /// Here a position is an offset, and the look is one at the partition's end.
    fn observe(&mut self, end: Option<(Timestamp, u64)>) {
        let Some(status) = self.status.as_ref().map(|status| *status.borrow()) else { return };
        let applied = status.applied.lsn;
        let positions = Positions {
            received: applied,
            applied,
            committed_at: status.committed_at,
            oldest_unapplied: status.oldest_unapplied,
        };
        let look = end.map(|(at, end)| Look { at, flushed: Lsn(end) });
        self.tracker.observe(false, &positions, look);
    }

    fn status(&self) -> Option<Status> {
        let status = *self.status.as_ref()?.borrow();
        let copied = self.copied.as_ref().map(CopyState::get).unwrap_or_default();
        let copying = status.copying || copied.is_under_way(status.applied.lsn);
        Some(Status { copying, ..status })
    }
}

/// The combined progress is that of the slower one. `applied` belongs to each one's own log and has
/// no combined meaning: it stays the first one's, like its portion.
fn together(one: Status, other: Status) -> Status {
    let earliest = |one: Option<_>, other: Option<_>| match (one, other) {
        (Some(one), Some(other)) => Some(std::cmp::min(one, other)),
        (one, other) => one.or(other),
    };
    // An idle partition need not move.
    let moved_at = match (one.oldest_unapplied, other.oldest_unapplied) {
        (Some(_), None) => one.moved_at,
        (None, Some(_)) => other.moved_at,
        (Some(_), Some(_)) => one.moved_at.min(other.moved_at),
        (None, None) => one.moved_at.max(other.moved_at),
    };
    Status {
        received: one.received.min(other.received),
        applied: one.applied,
        complete: one.complete.min(other.complete),
        committed_at: one.committed_at.min(other.committed_at),
        oldest_unapplied: earliest(one.oldest_unapplied, other.oldest_unapplied),
        copying: one.copying || other.copying,
        portion: one.portion,
        moved_at,
        turned_at: one.turned_at.min(other.turned_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{change::Timestamp, checkpoint::Position, copy::LogCopy, lsn::Lsn};

    fn at(partition: i32) -> TopicPartition {
        TopicPartition { topic: "t".to_owned(), partition }
    }

    #[test]
    fn together_they_are_as_far_as_the_last_one_and_wait_for_each() {
        let moment = |second: i64| Some(Timestamp { unix_micros: second });
        let ahead = Status {
            received: Lsn(90),
            applied: Position::at(Lsn(5)),
            complete: Lsn(80),
            committed_at: moment(8),
            ..Status::default()
        };
        let behind = Status {
            received: Lsn(85),
            applied: Position::at(Lsn(7)),
            complete: Lsn(40),
            committed_at: moment(4),
            oldest_unapplied: moment(5),
            ..Status::default()
        };
        let mut partitions = Partitions::default();
        assert_eq!(partitions.status(), None);
        let (_one, one) = watch::channel(ahead);
        let (_other, other) = watch::channel(behind);
        let copied = CopyState::default();
        partitions.connected(&at(0), one, copied.clone());
        partitions.connected(&at(1), other, copied.clone());
        let status = partitions.status().expect("there are two");
        assert_eq!((status.received, status.complete), (Lsn(85), Lsn(40)));
        assert_eq!((status.committed_at, status.oldest_unapplied), (moment(4), moment(5)));
        let is_copying = |said| {
            copied.set(said);
            partitions.status().expect("there are two").copying
        };
        assert!(is_copying(LogCopy::Unfinished) && !is_copying(LogCopy::Unknown));
        // The first partition has its log before 5, the second before 7.
        assert!(is_copying(LogCopy::FinishedBefore(Lsn(7))));
        assert!(!is_copying(LogCopy::FinishedBefore(Lsn(5))));
        partitions.waiting(&at(1), "the graph is away".to_owned());
        assert_eq!(partitions.why_waiting(), Some("the graph is away"));
        assert_eq!(partitions.status().expect("its last word").complete, Lsn(40));
        partitions.complete_through(Some(Lsn(90)));
        assert_eq!(partitions.status().expect("heartbeats").complete, Lsn(90));
        assert!(!partitions.gone(&at(1)));
        assert_eq!(partitions.why_waiting(), None);
        assert!(partitions.gone(&at(0)), "it was the last");
    }
}
