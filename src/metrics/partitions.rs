//! The partitions that a run applies, taken together.
//!
//! Together they are as far as the one that is furthest behind, and a run of which one partition
//! waits is waiting: nobody is to be told that the graph is complete when a part of it is not.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::{checkpoint::TopicPartition, copy::LogCopy, pipeline::Status};

/// What is known of the partitions of this run.
#[derive(Default)]
pub(super) struct Partitions(BTreeMap<TopicPartition, Partition>);

#[derive(Default)]
struct Partition {
    /// What its pipeline says, or said last.
    status: Option<watch::Receiver<Status>>,
    /// What its log says of the copy.
    copied: Option<watch::Receiver<LogCopy>>,
    /// Why it does not run.
    waiting: Option<String>,
}

impl Partitions {
    pub fn connected(
        &mut self,
        at: &TopicPartition,
        status: watch::Receiver<Status>,
        copied: watch::Receiver<LogCopy>,
    ) {
        let (status, copied) = (Some(status), Some(copied));
        self.0.insert(at.clone(), Partition { status, copied, waiting: None });
    }

    pub fn waiting(&mut self, at: &TopicPartition, why: String) {
        self.0.entry(at.clone()).or_default().waiting = Some(why);
    }

    /// True if it was the last one.
    pub fn gone(&mut self, at: &TopicPartition) -> bool {
        self.0.remove(at).is_some() && self.0.is_empty()
    }

    /// Why one of them does not run.
    pub fn why_waiting(&self) -> Option<&str> {
        self.0.values().find_map(|it| it.waiting.as_deref())
    }

    /// Where they are together; `None` before any was anywhere.
    pub fn status(&self) -> Option<Status> {
        self.0.values().filter_map(Partition::status).reduce(together)
    }

    /// How many records there are that the graph does not have; `None` unless that is known of all.
    pub fn records_behind(&self, ends: &BTreeMap<TopicPartition, u64>) -> Option<u64> {
        if self.0.is_empty() {
            return None;
        }
        let behind = |(at, partition): (&TopicPartition, &Partition)| {
            let applied = partition.status.as_ref()?.borrow().applied.lsn.0;
            Some(ends.get(at)?.saturating_sub(applied))
        };
        self.0.iter().map(behind).sum()
    }
}

impl Partition {
    fn status(&self) -> Option<Status> {
        let status = *self.status.as_ref()?.borrow();
        let copied = self.copied.as_ref().map(|it| *it.borrow()).unwrap_or_default();
        let copying = status.copying || copied.is_under_way(status.applied.lsn);
        Some(Status { copying, ..status })
    }
}

/// As far as the one that is behind. `applied` is in a log of each one's own, and means nothing
/// together; it stays the first one's, as its portion does.
fn together(one: Status, other: Status) -> Status {
    let earliest = |one: Option<_>, other: Option<_>| match (one, other) {
        (Some(one), Some(other)) => Some(std::cmp::min(one, other)),
        (one, other) => one.or(other),
    };
    // What has nothing to do may stand still.
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
    use crate::{change::Timestamp, checkpoint::Position, lsn::Lsn};

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
        let (copy, copied) = watch::channel(LogCopy::Unknown);
        partitions.connected(&at(0), one, copied.clone());
        partitions.connected(&at(1), other, copied);
        let status = partitions.status().expect("there are two");
        assert_eq!((status.received, status.complete), (Lsn(85), Lsn(40)));
        assert_eq!((status.committed_at, status.oldest_unapplied), (moment(4), moment(5)));
        let is_copying = |said| {
            copy.send_replace(said);
            partitions.status().expect("there are two").copying
        };
        assert!(is_copying(LogCopy::Unfinished) && !is_copying(LogCopy::Unknown));
        // The first has its log before 5, the second before 7.
        assert!(is_copying(LogCopy::FinishedBefore(Lsn(7))));
        assert!(!is_copying(LogCopy::FinishedBefore(Lsn(5))));
        assert_eq!(partitions.records_behind(&BTreeMap::from([(at(0), 5), (at(1), 17)])), Some(10));
        assert_eq!(
            partitions.records_behind(&BTreeMap::from([(at(0), 5)])),
            None,
            "one is unknown"
        );
        partitions.waiting(&at(1), "the graph is away".to_owned());
        assert_eq!(partitions.why_waiting(), Some("the graph is away"));
        assert_eq!(partitions.status().expect("its last word").complete, Lsn(40));
        assert!(!partitions.gone(&at(1)));
        assert_eq!(partitions.why_waiting(), None);
        assert!(partitions.gone(&at(0)), "it was the last");
    }
}
