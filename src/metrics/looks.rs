//! What looks at source, graph and topics have found, each with the time when it began.

use std::collections::BTreeMap;

use crate::{
    change::Timestamp, checkpoint::TopicPartition, health::Look, lsn::Lsn, report::Finding,
    request::RequestStatus,
};

/// A look at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLook {
    /// Its start time.
    pub at: Timestamp,
    /// The log's flushed end.
    pub flushed: Lsn,
    /// The slot, if there is one.
    pub slot: Option<SlotLook>,
}

/// The slot in a [`SourceLook`]. The default one is there, and nothing else is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotLook {
    /// Its name.
    pub name: Option<String>,
    /// The process of the server that streams from it.
    pub active_pid: Option<i32>,
    /// PostgreSQL's `wal_status`.
    pub status: Option<String>,
    /// The acknowledged position.
    pub acknowledged: Option<Lsn>,
    /// How much log it keeps.
    pub retained_bytes: Option<i64>,
    /// The bytes of log that may still be written before the slot can be lost.
    pub safe_bytes: Option<i64>,
}

/// A look at the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphLook {
    /// Its start time.
    pub at: Timestamp,
    /// The pipeline's nodes that exist only because a relationship points at them; `None` if counting them takes too
    /// long.
    pub placeholders: Option<u64>,
    /// The same of those whose rows lack values.
    pub incomplete: Option<u64>,
}

/// A look at requests and dead letters in the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLook {
    /// Its start time.
    pub at: Timestamp,
    /// Those that are open, and the one that was done last.
    pub requests: Vec<RequestStatus>,
    /// How many rows are set aside as dead letters.
    pub letters: u64,
}

/// What the checks have found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckLook {
    /// When they began.
    pub at: Timestamp,
    /// All of it, in order.
    pub findings: Vec<Finding>,
}

/// A look at the topics in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicLook {
    /// Its start time.
    pub at: Timestamp,
    /// For each partition, the offset of the next record to be produced.
    pub ends: BTreeMap<TopicPartition, u64>,
}

/// A look at the dead-letter topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetterLook {
    /// Its start time.
    pub at: Timestamp,
    /// How many dead letters wait.
    pub waiting: u64,
}

impl SourceLook {
    pub(super) fn position(&self) -> Look {
        Look { at: self.at, flushed: self.flushed }
    }
}
