//! `/status`: what the program knows of itself.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    health::State,
    metrics::{Activity, PartitionLag, Snapshot},
    request::RequestStatus,
    start::rules::Paused,
};

/// `/status`. Unknown values are null. Positions are LSNs in PostgreSQL's text form; sizes are
/// bytes.
#[derive(Debug, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub pipeline: String,
    pub state: &'static str,
    /// The reason for waiting.
    pub waiting_for: Option<String>,
    /// Why it does nothing any more, with the fix.
    pub stopped_because: Option<String>,
    /// Why a life ended last, whether or not that is over.
    pub last_error: Option<LastError>,
    pub ready: bool,
    /// Statements that Neo4j plans while changes wait for them.
    pub planning: Option<Planning>,
    /// The reasons why it is not ready.
    pub unready: Vec<String>,
    pub positions: Positions,
    pub lag: Lag,
    /// `None`: the slot does not exist, or the source is unreachable.
    pub slot: Option<Slot>,
    pub copy: BTreeMap<String, Copied>,
    pub placeholders: Option<u64>,
    /// Requests of verify and repair: those that are open, and the one that was done last. `None`: the
    /// graph is unreachable.
    pub requests: Option<Vec<RequestStatus>>,
    /// The limit of changes in one transaction, if Neo4j has refused more.
    pub changes_at_once: Option<usize>,
    /// The partitions that are applied here.
    pub partitions: Vec<Partition>,
    /// How often the group assigned or revoked partitions.
    pub rebalances: Option<u64>,
    /// How many dead letters wait.
    pub dead_letters: Option<u64>,
    /// Tables that have changed and are paused, with what lets them go on.
    pub paused: Vec<PausedTable>,
    /// The tables that this program has changes of, or could have.
    pub tables: BTreeMap<String, Activity>,
}

/// A paused table.
#[derive(Debug, Serialize)]
pub struct PausedTable {
    /// The table.
    pub table: String,
    /// Why, and what lets it go on.
    #[serde(flatten)]
    pub paused: Paused,
}

/// A partition's progress in the graph. Positions are offsets.
#[derive(Debug, Serialize)]
pub struct Partition {
    pub topic: String,
    pub partition: i32,
    pub applied: Option<u64>,
    pub end: Option<u64>,
    pub lag: Option<u64>,
    pub lag_seconds: f64,
}

impl Partition {
    fn of(lag: &PartitionLag) -> Self {
        Partition {
            topic: lag.at.topic.clone(),
            partition: lag.at.partition,
            applied: lag.applied,
            end: lag.end,
            lag: lag.records(),
            lag_seconds: lag.time.as_secs_f64(),
        }
    }
}

/// What Neo4j plans.
#[derive(Debug, Serialize)]
pub struct Planning {
    pub statements: usize,
    pub seconds: f64,
}

/// Positions in the source's log.
#[derive(Debug, Serialize)]
pub struct Positions {
    pub source: Option<String>,
    pub received: Option<String>,
    pub applied: Option<String>,
    pub acknowledged: Option<String>,
}

/// How far the graph is behind the source.
#[derive(Debug, Serialize)]
pub struct Lag {
    pub seconds: Option<f64>,
    pub received_bytes: Option<u64>,
    pub applied_bytes: Option<u64>,
    pub acknowledged_bytes: Option<u64>,
}

/// The slot.
#[derive(Debug, Serialize)]
pub struct Slot {
    pub wal_status: Option<String>,
    pub retained_bytes: Option<i64>,
    pub safe_bytes: Option<i64>,
    /// When it can be lost, if nothing more is acknowledged and the log grows as in the last minutes.
    pub safe_seconds: Option<f64>,
}

/// Why a life ended.
#[derive(Debug, Serialize)]
pub struct LastError {
    /// In UTC.
    pub at: String,
    pub error: String,
    /// The run tries again by itself.
    pub transient: bool,
}

/// How far a table's copy is.
#[derive(Debug, Serialize)]
pub struct Copied {
    pub rows: u64,
    pub expected: u64,
}

impl Report {
    /// What a snapshot says, and what its tables do.
    pub fn of(snapshot: &Snapshot, tables: BTreeMap<String, Activity>) -> Self {
        let facts = &snapshot.facts;
        let reasons = facts.unready(&snapshot.limits);
        let lag = facts.lag();
        let source = snapshot.source.as_ref();
        // The zero of what names none is no position.
        let positions = facts.positions.as_ref().filter(|_| facts.unplaced.is_none());
        let slot = source.and_then(|source| source.slot.as_ref());
        let copied = snapshot.copied.iter();
        Report {
            version: env!("CARGO_PKG_VERSION"),
            pipeline: snapshot.pipeline.clone(),
            state: facts.state.name(),
            waiting_for: match &facts.state {
                State::Waiting { why } | State::Standby { why } => Some(why.clone()),
                _ => None,
            },
            stopped_because: match &facts.state {
                State::Stopped { why } => Some(why.clone()),
                _ => None,
            },
            last_error: snapshot.last_error.as_ref().map(|last| LastError {
                at: last.at.shown(),
                error: last.text.clone(),
                transient: last.is_transient,
            }),
            ready: reasons.is_empty(),
            planning: facts.planning.map(|planning| Planning {
                statements: planning.statements,
                seconds: planning.time.as_secs_f64(),
            }),
            unready: reasons.iter().map(ToString::to_string).collect(),
            positions: Positions {
                source: source.map(|source| source.flushed.to_string()),
                received: positions.map(|positions| positions.received.to_string()),
                applied: positions.map(|positions| positions.applied.to_string()),
                acknowledged: slot.and_then(|slot| slot.acknowledged).map(|lsn| lsn.to_string()),
            },
            lag: Lag {
                seconds: lag.time.map(|time| time.as_secs_f64()),
                received_bytes: lag.received_bytes,
                applied_bytes: lag.applied_bytes,
                acknowledged_bytes: snapshot.unacknowledged_bytes(),
            },
            slot: slot.map(|slot| Slot {
                wal_status: slot.status.clone(),
                retained_bytes: slot.retained_bytes,
                safe_bytes: slot.safe_bytes,
                safe_seconds: snapshot.slot_safe_for.map(|time| time.as_secs_f64()),
            }),
            copy: copied
                .map(|(table, copied)| {
                    let copied = Copied { rows: copied.rows, expected: copied.expected };
                    (table.clone(), copied)
                })
                .collect(),
            placeholders: snapshot.graph.and_then(|graph| graph.placeholders),
            requests: snapshot.requests.clone(),
            changes_at_once: snapshot.changes_at_once,
            partitions: snapshot.partitions.iter().map(Partition::of).collect(),
            rebalances: snapshot.rebalances,
            dead_letters: snapshot.dead_letters,
            paused: snapshot
                .paused
                .iter()
                .map(|(table, paused)| PausedTable { table: table.clone(), paused: paused.clone() })
                .collect(),
            tables,
        }
    }
}
