//! Whether the copy that a topic begins with has come: what its records say of it.
//!
//! ```text
//! heartbeat: tables 1, 2    rows of table 3 ...    heartbeat: tables 1, 2, 3
//!            unfinished     unfinished                        finished before here
//! ```
//!
//! A publisher names in every heartbeat the tables whose rows are in the topic. Debezium's records say
//! nothing of the kind that could be relied on: a table that nobody changes ends with any of its rows.

use std::collections::BTreeSet;

use tokio::sync::watch;

use crate::{
    copy::LogCopy,
    envelope::{Decoded, Record},
    lsn::Lsn,
};

/// The header of a heartbeat that says which tables are in the topic: object ids with commas
/// between.
pub const COPIED_HEADER: &str = "wal2graph.copied";

/// Takes note of what a partition's records say of the copy.
#[derive(Debug)]
pub struct CopyWatch {
    wanted: BTreeSet<u32>,
    said: watch::Sender<LogCopy>,
}

impl CopyWatch {
    /// For a graph of these tables, by object id.
    pub fn new(wanted: BTreeSet<u32>) -> (Self, watch::Receiver<LogCopy>) {
        let (said, receiver) = watch::channel(LogCopy::Unknown);
        (CopyWatch { wanted, said }, receiver)
    }

    /// The record before offset `after`.
    pub fn record(&self, after: u64, record: &Record, decoded: &Decoded) {
        let has_come = match decoded {
            Decoded::Heartbeat { history: Some(_), .. } => match copied(record) {
                Some(copied) => self.wanted.is_subset(&copied),
                None => return,
            },
            Decoded::Read { source, .. } if source.history.is_some() => false,
            _ => return,
        };
        self.said.send_if_modified(|said| {
            let now = match (has_come, *said) {
                (false, _) => LogCopy::Unfinished,
                (true, LogCopy::FinishedBefore(before)) => LogCopy::FinishedBefore(before),
                (true, _) => LogCopy::FinishedBefore(Lsn(after)),
            };
            std::mem::replace(said, now) != now
        });
    }
}

/// The tables that a heartbeat names as copied; `None` if it names no list.
pub fn copied(record: &Record) -> Option<BTreeSet<u32>> {
    let (_, list) = record.headers.iter().find(|(name, _)| name == COPIED_HEADER)?;
    let list = std::str::from_utf8(list).ok()?;
    list.split(',').filter(|oid| !oid.is_empty()).map(|oid| oid.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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

    #[test]
    fn the_copy_has_come_when_a_heartbeat_names_every_table() {
        let (watch, said) = CopyWatch::new(BTreeSet::from([1, 2]));
        assert_eq!(*said.borrow(), LogCopy::Unknown);
        for (after, copied, expected) in [
            (1, "", LogCopy::Unfinished),
            (5, "1", LogCopy::Unfinished),
            (9, "1,2,3", LogCopy::FinishedBefore(Lsn(9))),
            (12, "1,2,3", LogCopy::FinishedBefore(Lsn(9))),
            (15, "3", LogCopy::Unfinished),
        ] {
            let (record, decoded) = heartbeat(copied);
            watch.record(after, &record, &decoded);
            assert_eq!(*said.borrow(), expected, "{copied:?}");
        }
        let finished = LogCopy::FinishedBefore(Lsn(9));
        assert!(finished.is_under_way(Lsn(8)) && !finished.is_under_way(Lsn(9)));
    }
}
