//! Why a partition is not read any more.

use crate::{
    checkpoint::TopicPartition,
    health::Side,
    pipeline::{Failure, Reshaped, Verdict},
    replay,
    topic::{gap::Gap, transactions::RecordError},
};

use super::super::Error;

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
    /// Records are gone. What to do, the next look at the topic says.
    #[error(
        "the records of {at} at offsets {}..{} are gone and were never applied: its retention is shorter than the \
         graph was behind, or they were deleted", .missing.start, .missing.end
    )]
    Gap {
        /// The partition.
        at: TopicPartition,
        /// The offsets.
        missing: std::ops::Range<u64>,
    },
    /// Records between others do not come. Why, a look says.
    #[error("the records of {at} at offsets {}..{} do not come", .missing.start, .missing.end)]
    Hole {
        /// The partition.
        at: TopicPartition,
        /// The offsets.
        missing: std::ops::Range<u64>,
    },
    /// Changes were never published. What that means for the graph, a look says.
    #[error(
        "the record at offset {offset} of {at} says that changes between {} and {} were never published",
        .gap.from, .gap.to
    )]
    Unpublished {
        /// The partition.
        at: TopicPartition,
        /// The record.
        offset: u64,
        /// The changes.
        gap: Gap,
    },
    /// The topic ends before what was read of it. Why, a look at the topic says.
    #[error("{at} ends at offset {end}, but was read up to {read}")]
    Truncated {
        /// The partition.
        at: TopicPartition,
        /// What was read.
        read: u64,
        /// Where it ends.
        end: u64,
    },
    /// A record can not be applied.
    #[error(
        "the record at offset {offset} of {at} can not be applied: {error}{}",
        pass_over(.error, .at, *.offset, *.within)
    )]
    Record {
        /// The partition.
        at: TopicPartition,
        /// Its offset.
        offset: u64,
        /// Where the records begin that are not applied without those behind it.
        within: Option<u64>,
        /// Why.
        error: Box<RecordError>,
    },
}

/// How one record that does not belong there is passed over.
fn pass_over(error: &RecordError, at: &TopicPartition, offset: u64, within: Option<u64>) -> String {
    match (error.is_of_one_record(), within) {
        (false, _) => String::new(),
        (true, None) => replay::pass_over(at, offset),
        (true, Some(began)) => replay::pass_over_within(began),
    }
}

impl Failure for ConsumeError {
    fn verdict(&self) -> Verdict {
        match self {
            ConsumeError::Kafka(error) => error.verdict(),
            // The next start looks what became of the topic.
            ConsumeError::Lost { .. }
            | ConsumeError::Expelled { .. }
            | ConsumeError::Gap { .. }
            | ConsumeError::Hole { .. }
            | ConsumeError::Unpublished { .. }
            | ConsumeError::Truncated { .. } => Verdict::Again,
            ConsumeError::Record { .. } => Verdict::again_if(self.reshaped().is_some()),
        }
    }

    fn refused_login(&self) -> Option<Side> {
        match self {
            ConsumeError::Kafka(error) => error.refused_login(),
            _ => None,
        }
    }

    fn reshaped(&self) -> Option<Reshaped> {
        let ConsumeError::Record { error, .. } = self else { return None };
        matches!(**error, RecordError::Reshaped { .. }).then_some(Reshaped::Since)
    }
}
