//! Why a partition is not read any more.

use crate::pipeline::Failure;

use super::super::{Error, offsets::PARTITION, transactions::RecordError};

/// Why a partition is not read any more.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// Kafka says no.
    #[error(transparent)]
    Kafka(#[from] Error),
    /// The partition went to another member, or we were too late for the group.
    #[error(
        "the group {group} took the partition away, for another member or because the broker did not hear of us"
    )]
    Lost {
        /// The group.
        group: String,
    },
    /// Records are gone.
    #[error(
        "the records of {topic} at offsets {}..{} are gone and were never applied: its retention is shorter than the \
         graph was behind, or they were deleted. Copy again through a new topic and pipeline; or, to go on without \
         them: wal2graph replay --from earliest --yes", .missing.start, .missing.end
    )]
    Gap {
        /// The topic.
        topic: String,
        /// The offsets.
        missing: std::ops::Range<u64>,
    },
    /// The topic ends before what was read of it.
    #[error(
        "{topic} ends at offset {end}, but was read up to {read}: it was re-created, or its records were lost. If it \
         begins with a copy, apply it from there: wal2graph replay --from earliest --yes"
    )]
    Truncated {
        /// The topic.
        topic: String,
        /// What was read.
        read: u64,
        /// Where it ends.
        end: u64,
    },
    /// A record can not be applied.
    #[error(
        "the record at offset {offset} of partition {PARTITION} of {topic} can not be applied: {error}"
    )]
    Record {
        /// The topic.
        topic: String,
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
            ConsumeError::Lost { .. } => true,
            ConsumeError::Gap { .. }
            | ConsumeError::Truncated { .. }
            | ConsumeError::Record { .. } => false,
        }
    }
}
