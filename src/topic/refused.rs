//! Records that are not applied.

use crate::{catalog::TableName, envelope::DecodeError, lsn::Lsn};

use super::whose::OtherPublisher;

/// A record that can not be applied. It is not passed over: what follows may rest on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It is no envelope.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// It is from another history.
    #[error(
        "it is from database cluster {found} on timeline {found_timeline}, the graph is from {expected} on timeline \
         {expected_timeline}: the source was restored, or two pipelines publish to one topic. Copy again through a \
         new topic and pipeline"
    )]
    OtherHistory {
        /// The graph's cluster.
        expected: String,
        /// Its timeline.
        expected_timeline: i64,
        /// The record's cluster.
        found: String,
        /// Its timeline.
        found_timeline: i64,
    },
    /// It names its history, and what the graph was made from named none.
    #[error(
        "the graph's checkpoint does not name its source, because the first records of this partition name none: they \
         are of another publisher. This record is of `wal2graph publish`, of database cluster {found} on timeline \
         {found_timeline}. Have each publisher write to topics of its own, and copy again through a new topic and \
         pipeline"
    )]
    SourceUnnamed {
        /// The record's cluster.
        found: String,
        /// Its timeline.
        found_timeline: i64,
    },
    /// A transaction has no end.
    #[error(
        "it is of the transaction committed at {found}, but the one at {open} has not ended: records are missing, or \
         two publishers write to the topic. Copy again through a new topic and pipeline"
    )]
    NoEnd {
        /// The transaction that was begun.
        open: Lsn,
        /// The one that came.
        found: Lsn,
    },
    /// It is another publisher's.
    #[error(transparent)]
    OtherPublisher(#[from] OtherPublisher),
    /// It empties a table, and is in one of several partitions.
    #[error(
        "it is the TRUNCATE of {table}, in one of {partitions} partitions. The rows of the others can not be told from \
         those that came later, so they would stay. Let the publisher write the table to a new topic with one \
         partition, and read that one; or publish with `wal2graph publish`, which sends it to all partitions"
    )]
    TruncateOfOne {
        /// The table.
        table: TableName,
        /// How many partitions its topic has.
        partitions: u32,
    },
    /// Its table has changed since the catalog was looked at.
    #[error("its table {table} has changed since it was looked at")]
    Reshaped {
        /// The table, as the record names it.
        table: TableName,
    },
    /// It is something else in the topic of heartbeats.
    #[error("it is no heartbeat of `wal2graph publish`, and nothing else belongs to this topic")]
    NoHeartbeat,
}

impl RecordError {
    /// The record is a stranger among the others: it may be put aside, and the others be applied.
    pub fn is_of_one_record(&self) -> bool {
        match self {
            RecordError::Malformed(_)
            | RecordError::NoHeartbeat
            | RecordError::TruncateOfOne { .. } => true,
            RecordError::OtherPublisher(error) => error.is_of_one_record(),
            RecordError::OtherHistory { .. }
            | RecordError::Reshaped { .. }
            | RecordError::SourceUnnamed { .. }
            | RecordError::NoEnd { .. } => false,
        }
    }
}
