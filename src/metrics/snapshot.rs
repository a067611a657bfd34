//! All facts about a run at one moment.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    change::Timestamp,
    health::{Answers, Facts, Limits, Side},
    report::Copied,
    request::RequestStatus,
    start::rules::Paused,
};

use super::{
    compared::Counted,
    looks::{CheckLook, GraphLook, SourceLook},
    partitions::PartitionLag,
};

/// Why a life of the run ended last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// When.
    pub at: Timestamp,
    /// The error, with its fix if a person has to do something.
    pub text: String,
    /// It goes away by itself, so the run tries again.
    pub is_transient: bool,
}

/// The facts at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The pipeline's name.
    pub pipeline: String,
    /// The inputs of lag and verdicts.
    pub facts: Facts,
    /// The limits of readiness.
    pub limits: Limits,
    /// The last look at the source, if recent.
    pub source: Option<SourceLook>,
    /// How long it takes until the slot can be lost, if nothing more is acknowledged and the log grows as in the
    /// last minutes.
    pub slot_safe_for: Option<Duration>,
    /// The last error, whether or not it is over.
    pub last_error: Option<LastError>,
    /// The last look at the graph, if recent.
    pub graph: Option<GraphLook>,
    /// The sides that are in use, and whether they answer.
    pub sides: BTreeMap<Side, Answers>,
    /// The partitions that this run applies.
    pub partitions: Vec<PartitionLag>,
    /// How often the group assigned or revoked partitions; `None` if no topics are read.
    pub rebalances: Option<u64>,
    /// The number of waiting dead letters, if the last look at them is recent.
    pub dead_letters: Option<u64>,
    /// How many of them are rows that the graph refuses.
    pub dead_letter_rows: Option<u64>,
    /// What the checks have found, if that is not long ago.
    pub checks: Option<CheckLook>,
    /// Tables that have changed, and whose rows are not written.
    pub paused: BTreeMap<String, Paused>,
    /// How far the copy is, if this run copies or has copied.
    pub copy: Option<Copied>,
    /// The requests to compare and repair, if the last look at them is recent.
    pub requests: Option<Vec<RequestStatus>>,
    /// What this run has compared.
    pub compared: Counted,
    /// The limit of changes in one transaction, because Neo4j refused more as too large; `None`: no
    /// limit.
    pub changes_at_once: Option<usize>,
}

impl Snapshot {
    /// Bytes of log that the program has not acknowledged to the slot.
    pub fn unacknowledged_bytes(&self) -> Option<u64> {
        let source = self.source.as_ref()?;
        Some(source.flushed.bytes_since(source.slot.as_ref()?.acknowledged?))
    }
}
