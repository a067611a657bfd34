//! Whether the copy that a topic begins with has come: what its records say of it.
//!
//! ```text
//! heartbeat: tables 1, 2    rows of table 3 ...    heartbeat: tables 1, 2, 3
//!            unfinished     unfinished                        finished before here
//! ```
//!
//! A publisher names in every heartbeat the tables whose rows are in the topic, by their object ids: they
//! mean these tables in its own cluster alone, which the heartbeat names too. Debezium's records say
//! nothing of the kind that could be relied on: a table that nobody changes ends with any of its rows.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    copy::LogCopy,
    envelope::{Decoded, History, Record, Source},
    lsn::Lsn,
};

/// The header of a heartbeat that says which tables are in the topic: object ids with commas
/// between.
pub const COPIED_HEADER: &str = "wal2graph.copied";

/// The header of a heartbeat that says up to which position rows of a copy may be, where that is behind its own: the
/// snapshot that they were read under saw what is committed before.
pub const READ_THROUGH_HEADER: &str = "wal2graph.read_through";

/// What a publisher says of its copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The tables that are in the topic, by object id.
    pub tables: Vec<u32>,
    /// Rows in the topic are of nothing behind this position.
    pub read_through: Lsn,
}

/// The tables that a graph is made of.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Their object ids.
    pub oids: BTreeSet<u32>,
    /// The cluster whose ids they are; `None` if it does not say which it is.
    pub cluster: Option<String>,
}

impl Tables {
    /// A heartbeat of this history names all of them as copied; `None` if it does not say.
    fn are_copied(&self, heartbeat: &Record, history: &History) -> Option<bool> {
        let copied = copied(heartbeat)?;
        let is_ours = self.cluster.as_ref() == Some(&history.system_identifier);
        is_ours.then(|| self.oids.is_subset(&copied))
    }

    /// A heartbeat of this history says that none of them is copied.
    pub fn are_to_come(&self, heartbeat: &Record, history: &History) -> bool {
        let is_ours = self.cluster.as_ref() == Some(&history.system_identifier);
        let none_is = |copied: BTreeSet<u32>| {
            copied.is_empty() || (is_ours && copied.is_disjoint(&self.oids))
        };
        copied(heartbeat).is_some_and(none_is)
    }
}

/// The copy's state as the records of a partition tell it. A clone shows the same partition.
#[derive(Clone, Debug, Default)]
pub struct CopyState(Arc<Mutex<LogCopy>>);

impl CopyState {
    /// The state now.
    pub fn get(&self) -> LogCopy {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the state.
    pub fn set(&self, now: LogCopy) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

/// Derives the state of the copy from a partition's records.
#[derive(Debug)]
pub struct CopyWatch {
    wanted: Tables,
    state: CopyState,
}

impl CopyWatch {
    /// For a graph of these tables.
    pub fn new(wanted: Tables) -> Self {
        CopyWatch { wanted, state: CopyState::default() }
    }

    /// The state that this value keeps up to date.
    pub fn state(&self) -> CopyState {
        self.state.clone()
    }

    /// The record before offset `after`.
    pub fn record(&self, after: u64, record: &Record, decoded: &Decoded) {
        let said = match decoded {
            Decoded::Heartbeat { history: Some(history), .. } => {
                self.wanted.are_copied(record, history)
            }
            Decoded::Read { source: Source { history: Some(history), .. }, .. } => {
                // Where the end can not be known, nothing waits for it.
                let is_ours = self.wanted.cluster.as_ref() == Some(&history.system_identifier);
                is_ours.then_some(false)
            }
            _ => None,
        };
        let Some(has_come) = said else { return };
        self.state.set(match (has_come, self.state.get()) {
            (false, _) => LogCopy::Unfinished,
            (true, LogCopy::FinishedBefore(before)) => LogCopy::FinishedBefore(before),
            (true, _) => LogCopy::FinishedBefore(Lsn(after)),
        });
    }
}

/// Which tables topics had rows of before, by the object ids that their heartbeats name. A table that is dropped and
/// made again gets another one, and what was dropped with it is in no record: no delete comes of those rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// Those that the source has no more.
    pub gone: BTreeSet<u32>,
    /// Those that are there, and whose rows are not in all partitions any more.
    pub lost: BTreeSet<u32>,
}

impl Before {
    /// Of the tables that any heartbeat names, those whose rows are in the topics, and those that the source has.
    pub fn new(
        named: impl IntoIterator<Item = u32>,
        copied: &[u32],
        there: impl Fn(u32) -> bool,
    ) -> Self {
        let (there, gone): (BTreeSet<u32>, BTreeSet<u32>) =
            named.into_iter().partition(|oid| there(*oid));
        let lost = there.into_iter().filter(|oid| !copied.contains(oid)).collect();
        Before { gone, lost }
    }

    /// A copy of this table may find rows of it in the topic, and in graphs. `written`: the topic of this table alone
    /// has had records, if it has one.
    pub fn may_have(&self, table: u32, written: Option<bool>) -> bool {
        self.lost.contains(&table) || (!self.gone.is_empty() && written.unwrap_or(true))
    }
}

/// The tables that a heartbeat names as copied; `None` if it names no list.
fn copied(record: &Record) -> Option<BTreeSet<u32>> {
    let (_, list) = record.headers.iter().find(|(name, _)| name == COPIED_HEADER)?;
    let list = std::str::from_utf8(list).ok()?;
    list.split(',').filter(|oid| !oid.is_empty()).map(|oid| oid.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{change::Timestamp, envelope::History};

    fn heartbeat(copied: &'static str) -> (Record, Decoded) {
        let headers = vec![(COPIED_HEADER.to_owned(), Bytes::from_static(copied.as_bytes()))];
        let history = Arc::new(History { system_identifier: "7".to_owned(), timeline: 1 });
        let at = Timestamp::default();
        let decoded = Decoded::Heartbeat { end_lsn: None, history: Some(history), at };
        (Record { headers, ..Record::default() }, decoded)
    }

    fn tables(cluster: &str) -> Tables {
        Tables { oids: BTreeSet::from([1, 2]), cluster: Some(cluster.to_owned()) }
    }

    #[test]
    fn a_table_that_was_made_again_has_rows_in_the_topic_from_before() {
        let before = |named: &[u32], copied: &[u32]| {
            Before::new(named.iter().copied(), copied, |oid| oid < 10)
        };
        assert_eq!(before(&[1, 2], &[1, 2]), Before::default());
        assert!(!before(&[1], &[1]).may_have(2, None), "it joined, or its first copy was cut off");
        assert!(before(&[1, 11], &[1, 11]).may_have(2, None), "11 may have been called so");
        assert!(!before(&[1, 11], &[1, 11]).may_have(2, Some(false)), "its own topic is new");
        assert!(before(&[1, 11], &[1, 11]).may_have(2, Some(true)));
        assert!(before(&[1, 2], &[1]).may_have(2, None), "a partition lost its records");
    }

    #[test]
    fn object_ids_of_another_cluster_say_nothing() {
        let watch = CopyWatch::new(tables("8"));
        for copied in ["", "1,2", "5"] {
            let (record, decoded) = heartbeat(copied);
            watch.record(1, &record, &decoded);
            assert_eq!(watch.state.get(), LogCopy::Unknown, "{copied:?}");
        }
    }

    #[test]
    fn the_rows_are_to_come_where_no_table_is_copied_or_none_of_the_same_clusters() {
        for (cluster, copied, expected) in [
            ("7", "", true),
            ("7", "3", true),
            ("7", "2,3", false),
            ("8", "", true),
            ("8", "3", false),
            ("8", "2", false),
        ] {
            let (record, decoded) = heartbeat(copied);
            let Decoded::Heartbeat { history: Some(history), .. } = decoded else { panic!() };
            let found = tables(cluster).are_to_come(&record, &history);
            assert_eq!(found, expected, "{copied:?} for {cluster}");
        }
    }

    #[test]
    fn the_copy_has_come_when_a_heartbeat_names_every_table() {
        let watch = CopyWatch::new(tables("7"));
        assert_eq!(watch.state.get(), LogCopy::Unknown);
        for (after, copied, expected) in [
            (1, "", LogCopy::Unfinished),
            (5, "1", LogCopy::Unfinished),
            (9, "1,2,3", LogCopy::FinishedBefore(Lsn(9))),
            (12, "1,2,3", LogCopy::FinishedBefore(Lsn(9))),
            (15, "3", LogCopy::Unfinished),
        ] {
            let (record, decoded) = heartbeat(copied);
            watch.record(after, &record, &decoded);
            assert_eq!(watch.state.get(), expected, "{copied:?}");
        }
        let finished = LogCopy::FinishedBefore(Lsn(9));
        assert!(finished.is_under_way(Lsn(8)) && !finished.is_under_way(Lsn(9)));
    }
}
