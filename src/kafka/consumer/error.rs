//! Why a partition is not read any more.

use crate::{checkpoint::TopicPartition, pipeline::Failure};

use super::super::{Error, transactions::RecordError};

/// Why a partition is not read any more.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// Kafka says no.
    #[error(transparent)]
    Kafka(#[from] Error),
    /// The partition went to another member, or we were too late for the group.
    #[error(
        "the group {group} took {at} away, for another member or because the broker did not hear of us"
    )]
    Lost {
        /// The group.
        group: String,
        /// The partition.
        at: TopicPartition,
    },
    /// The group did not hear of us in time.
    #[error("the group {group} took all partitions away, because nobody asked for records in time")]
    Expelled {
        /// The group.
        group: String,
    },
    /// Records are gone.
    #[error(
        "the records of {at} at offsets {}..{} are gone and were never applied: its retention is shorter than the \
         graph was behind, or they were deleted. Copy again through a new topic and pipeline; or, to go on without \
         them: wal2graph replay --from earliest --yes", .missing.start, .missing.end
    )]
    Gap {
        /// The partition.
        at: TopicPartition,
        /// The offsets.
        missing: std::ops::Range<u64>,
    },
    /// The topic ends before what was read of it.
    #[error(
        "{at} ends at offset {end}, but was read up to {read}: it was re-created, or its records were lost. If it \
         begins with a copy, apply it from there: wal2graph replay --from earliest --yes"
    )]
    Truncated {
        /// The partition.
        at: TopicPartition,
        /// What was read.
        read: u64,
        /// Where it ends.
        end: u64,
    },
    /// A record can not be applied.
    #[error("the record at offset {offset} of {at} can not be applied: {error}")]
    Record {
        /// The partition.
        at: TopicPartition,
        /// Its offset.
        offset: u64,
        /// Why.
        error: RecordError,
    },
}

impl Failure for ConsumeError {
    fn is_transient(&self) -> bool {
        match self {
            ConsumeError::Kafka(error) => error.is_transient(),
            ConsumeError::Lost { .. } | ConsumeError::Expelled { .. } => true,
            ConsumeError::Gap { .. }
            | ConsumeError::Truncated { .. }
            | ConsumeError::Record { .. } => false,
        }
    }
}
