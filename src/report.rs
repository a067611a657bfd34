//! What `/status` and `wal2graph status --json` say: one document, `schemas/status.schema.json`.
//!
//! ```text
//! the program: Snapshot, counters ------> http::report ------+
//!                                                            +--> Report --> JSON
//! the command: source, checkpoint, Kafka --> commands::status --+
//! ```
//!
//! A field has one name, one meaning and one unit on both sides. What one side can not know is null there: the
//! program does not read the checkpoint, and the command does not see into the program.

mod finding;
mod state;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    checkpoint::{self, Checkpoint},
    copy::{CopiedRows, Progress, copied_rows},
    request::RequestStatus,
    shown::{Shown, on_one_line},
    start::rules::Paused,
};

pub use finding::{Finding, Findings, Verdict};
pub use state::State;

/// How far the graph is, and what keeps it from being further: by a running program at `/status`, or by `wal2graph
/// status --json`, which asks source, graph and Kafka whether or not a program runs. What the one that answers can
/// not know is null. Positions are LSNs in PostgreSQL's text form, sizes are bytes, times are in UTC.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "Status")]
pub struct Report {
    /// The version of wal2graph that says this.
    pub version: &'static str,
    /// The pipeline's name.
    pub pipeline: String,
    /// What the pipeline does.
    pub state: State,
    /// Why it waits. The program's.
    pub waiting_for: Option<String>,
    /// Why it stopped for good, with the fix; null: it has not, or has begun again since.
    pub stopped_because: Option<String>,
    /// The same of each log that was read, as the graph has it. The command's.
    pub stopped: Option<Vec<Stopped>>,
    /// Why a connection ended last, whether or not that is over. The program's.
    pub last_error: Option<LastError>,
    /// What `/ready` says. The program's.
    pub ready: Option<bool>,
    /// Why it is not ready. The program's.
    pub unready: Option<Vec<String>>,
    /// Why the next start would be refused, each with its fix. The command's.
    pub refused: Option<Vec<String>>,
    /// Positions in the source's log.
    pub positions: Positions,
    /// How far the graph is behind.
    pub lag: Lag,
    /// The replication slot; null: there is none, or the source does not answer.
    pub slot: Option<Slot>,
    /// The copy that is on its way, or that the program has done since it was started.
    pub copy: Option<Copied>,
    /// Requests of verify and repair: those that are open, and the one that was done last; null: the graph does not
    /// answer.
    pub requests: Option<Vec<RequestStatus>>,
    /// Nodes that are there only because a relationship points at them; null: the graph does not answer, or has other
    /// pipelines too, and very many such nodes.
    pub placeholders: Option<u64>,
    /// Nodes and relationships whose rows lack values; null as for placeholders.
    pub incomplete: Option<u64>,
    /// Dead letters that wait: rows in the graph, and records in the topic of dead letters. Where one of the two does
    /// not answer, they are the other's.
    pub dead_letters: Option<u64>,
    /// Those of them that are rows: the graph refuses them, and keeps them aside.
    pub dead_letter_rows: Option<u64>,
    /// The partitions of topics: those that the program applies, or all that the graph is made from.
    pub partitions: Vec<Partition>,
    /// How many instances of `apply` are in the group. The command's.
    pub members: Option<usize>,
    /// How often the group assigned or revoked partitions. The program's.
    pub rebalances: Option<u64>,
    /// What the topics have of tables that were dropped, perhaps to be made again; `check` has the fix. The command's.
    pub from_before: Option<String>,
    /// Tables that have changed and are paused, with what differs and what lets them go on.
    pub paused: BTreeMap<String, Paused>,
    /// Tables that are not in the publication: their rows stay as they are. The command's.
    pub frozen: Option<Vec<String>>,
    /// New tables that are left out because they are not in the publication, each with the statement that adds it.
    /// The command's.
    pub new_tables: Option<Vec<String>>,
    /// The tables that the program has changes of, or could have. The program's.
    pub tables: Option<BTreeMap<String, Activity>>,
    /// What `wal2graph check` finds, as far as the program may look beside what it does: about once a minute. Null
    /// before the first time, and if the last one is long ago. The program's.
    pub checks: Option<Vec<Finding>>,
    /// When that was.
    pub checked_at: Option<String>,
    /// Statements that Neo4j plans while changes wait for them; null: none wait. The program's.
    pub planning: Option<Planning>,
    /// The limit of changes in one transaction, if Neo4j has refused more. The program's.
    pub changes_at_once: Option<usize>,
    /// The digest of the mapping that the graph was made with. The command's.
    pub mapping_digest: Option<String>,
    /// The generation of the graph's writer. The command's.
    pub epoch: Option<i64>,
}

/// Positions in the source's log.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Positions {
    /// The log is flushed up to here; null: the source does not answer, or is a standby.
    pub source: Option<String>,
    /// The stream has brought everything up to here. The program's.
    pub received: Option<String>,
    /// The graph is complete up to here; null also where the records of a topic name no position.
    pub applied: Option<String>,
    /// The slot was told so up to here.
    pub acknowledged: Option<String>,
    /// The part that is done of a source transaction that is applied in parts: its commit, and changes done. The
    /// command's.
    pub part: Option<(String, u64)>,
}

/// How far the graph is behind the source.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Lag {
    /// For how long the graph has not been known to have everything; 0: it has it now. The command goes by the time
    /// at which the checkpoint moved last. Null where records of a topic name no position: see the partitions then.
    pub seconds: Option<f64>,
    /// Log that the stream has not brought. The program's.
    pub received_bytes: Option<u64>,
    /// Log that is not in the graph.
    pub applied_bytes: Option<u64>,
    /// The same, under the name that `status --json` had for it.
    pub bytes: Option<u64>,
    /// Log that the slot was not told of.
    pub acknowledged_bytes: Option<u64>,
    /// Records of the partitions that the graph does not have; null: there are no partitions, or Kafka does not
    /// answer.
    pub records: Option<u64>,
}

/// The replication slot.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Slot {
    /// Its name; null until the program has looked at it.
    pub name: Option<String>,
    /// The process of the server that streams from it.
    pub active_pid: Option<i32>,
    /// PostgreSQL's word for it.
    pub wal_status: Option<String>,
    /// The log that it keeps.
    pub retained_bytes: Option<i64>,
    /// How much more log may be written before it can be lost; null: any amount.
    pub safe_bytes: Option<i64>,
    /// How long that takes if nothing more is acknowledged: the program goes by how the log grew in the last minutes,
    /// the command by how it grew since the server's statistics began.
    pub safe_seconds: Option<f64>,
}

/// How far a copy is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Copied {
    /// Rows that are written: into a graph once for nodes, once for relationships.
    pub rows: u64,
    /// About how many there will be, as far as the source's statistics say.
    pub expected: u64,
    /// Ranges of tables that are done.
    pub ranges_done: usize,
    /// All ranges, as far as they are known.
    pub ranges: usize,
    /// What is copied now.
    pub current: Option<String>,
    /// The same by table.
    pub tables: BTreeMap<String, CopiedRows>,
}

impl Copied {
    /// Of its ranges, and an estimate of the tables' rows. `None`: there are none.
    pub fn of(progress: &[Progress], estimates: &BTreeMap<String, u64>) -> Option<Self> {
        let tables = copied_rows(progress, estimates);
        (!progress.is_empty()).then(|| Copied {
            rows: tables.values().map(|it| it.rows).sum(),
            expected: tables.values().map(|it| it.expected).sum(),
            ranges_done: progress.iter().filter(|range| range.done).count(),
            ranges: progress.len(),
            current: current(progress),
            tables,
        })
    }
}

/// The first range that is not done.
pub fn current(progress: &[Progress]) -> Option<String> {
    let range = progress.iter().find(|range| !range.done)?;
    Some(format!("{} ({})", Shown(&range.table), range.pass))
}

/// A partition's progress in the graph. Positions are offsets.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Partition {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// Everything before it is in the graph; null before the checkpoint is read.
    pub applied: Option<u64>,
    /// The next record that is produced; null: Kafka does not answer.
    pub end: Option<u64>,
    /// Records that the graph does not have.
    pub lag: Option<u64>,
    /// For how long the graph has lacked some of them; 0: it has all.
    pub lag_seconds: Option<f64>,
    /// What is applied again. The command's.
    pub replaying: Option<Replaying>,
}

/// What is applied again.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Replaying {
    /// What is before this offset was applied before.
    pub until: u64,
    /// The source's position that it has reached again.
    pub lsn: String,
}

/// What a table does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Activity {
    /// Changes that the stream brought into the graph since the program was started.
    pub changes: u64,
    /// The same in a second, in the last minute.
    #[serde(rename = "changes_per_second")]
    pub rate: f64,
}

/// What Neo4j plans.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Planning {
    /// How many statements are left.
    pub statements: usize,
    /// For how long changes have waited.
    pub seconds: f64,
}

/// Why a connection ended.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LastError {
    /// When.
    pub at: String,
    /// The error, with its fix if a person has to do something.
    pub error: String,
    /// The program tries again by itself.
    pub transient: bool,
}

/// Why the last writer of a log stopped for good.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Stopped {
    /// The slot, or the partition.
    pub log: String,
    /// When.
    pub at: String,
    /// Why, with the fix.
    pub because: String,
}

impl Stopped {
    /// Why the last writer of this log stopped for good, unless another has begun since.
    pub fn of(checkpoint: &Checkpoint) -> Option<Self> {
        let checkpoint::Stopped { because, at } = checkpoint.stopped.as_ref()?;
        Some(Stopped {
            log: checkpoint.origin.log.to_string(),
            at: at.shown(),
            because: on_one_line(because).into_owned(),
        })
    }
}
