//! `status`: how far the graph is, whether or not `run` is up.

pub mod ready;
mod topic;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use serde::Serialize;

use crate::{
    change::Timestamp,
    checkpoint::{Checkpoint, Stopped, complete_through},
    cli::StatusArgs,
    config::Config,
    copy::Progress,
    graph::statement::{INCOMPLETE, PLACEHOLDER},
    health::budget::{roughly, safe_time},
    lsn::Lsn,
    pipeline::Store,
    postgres::setup::wal_rate,
    request::RequestStatus,
    service::{
        ServiceError,
        facts::{self, Made, Source},
        following::{self, Tables},
        graph::{Wait, open},
        looked::Followed,
    },
    shown::{Shown, on_one_line},
    start::{Slot, TableFacts, rules::Paused, tables::TableIs},
};

use super::{print, print_json};

use self::topic::TopicStatus;

/// Nobody reads the log.
const NOT_RUNNING: &str = "not running";

/// What there is to know. Positions are LSNs in PostgreSQL's text form; sizes are bytes.
#[derive(Debug, Serialize)]
struct Status {
    pipeline: String,
    /// `streaming`, `copying`, `replaying`, `not running` or `not started`; `refused` if it does not
    /// run and could not; `unknown` if a topic is read, and Kafka does not say by whom.
    state: &'static str,
    slot: Option<SlotStatus>,
    topic: Option<TopicStatus>,
    positions: Positions,
    lag: Lag,
    copy: Option<CopyStatus>,
    /// Requests of verify and repair: those that are open, and the one that was done last.
    requests: Vec<RequestStatus>,
    /// Nodes that are there only because a relationship points at them, by label.
    /// Unknown where the graph has other pipelines too, and very many such nodes.
    placeholders: Option<u64>,
    /// Nodes whose rows lack values, by label; unknown like placeholders.
    incomplete: Option<u64>,
    /// Rows that the graph refuses, and that are set aside.
    dead_letters: u64,
    /// Tables that are not in the publication: their rows stay as they are.
    frozen: Vec<String>,
    /// New tables that are left out because they are not in the publication, each with the statement that adds it.
    new_tables: Vec<String>,
    /// Tables that have changed and are paused, with what differs and what lets them go on.
    paused: BTreeMap<String, Paused>,
    mapping_digest: Option<String>,
    epoch: Option<i64>,
    /// Why `run` or `apply` stopped for good, if nobody has begun again since: one a log.
    stopped: Vec<StoppedStatus>,
    /// Why a start would be refused, each with its fix.
    refused: Vec<String>,
    /// What the topics have of tables that were dropped, perhaps to be made again; `check` has the fix.
    #[serde(skip_serializing_if = "Option::is_none")]
    from_before: Option<String>,
    /// The topics' records name no position of the source: somebody else publishes them.
    #[serde(skip)]
    is_unplaced: bool,
}

/// Why the last writer of a log stopped.
#[derive(Debug, Serialize)]
pub(super) struct StoppedStatus {
    /// The slot, or the partition.
    pub log: String,
    /// When, in UTC.
    pub at: String,
    pub because: String,
}

#[derive(Debug, Serialize)]
struct SlotStatus {
    name: String,
    active_pid: Option<i32>,
    wal_status: Option<String>,
    retained_bytes: Option<i64>,
    /// How much more log may be written before the slot can be lost.
    safe_bytes: Option<i64>,
    /// How long that takes if nothing more is acknowledged, and the log grows as it did on average since the
    /// server's statistics began.
    safe_seconds: Option<f64>,
}

/// From the source's end to the graph.
#[derive(Debug, Serialize)]
struct Positions {
    /// The source's log is flushed up to here; unknown for a standby.
    source: Option<String>,
    /// The graph is complete up to here; unknown where the records of a topic name no position.
    applied: Option<String>,
    /// The slot was told so up to here.
    acknowledged: Option<String>,
    /// The part that is done of a source transaction that is applied in parts: its commit, and
    /// changes done.
    part: Option<(String, u64)>,
}

#[derive(Debug, Serialize)]
struct Lag {
    /// Unknown where the records of a topic name no position of the source.
    bytes: Option<u64>,
    /// Since the checkpoint was written, if the source is ahead of it. Where no position is known, the age of the
    /// first record that the graph does not have.
    seconds: Option<f64>,
    /// Of the topics, if there are any.
    records: Option<u64>,
}

#[derive(Debug, Serialize)]
struct CopyStatus {
    rows: u64,
    ranges_done: usize,
    ranges: usize,
    current: Option<String>,
}

/// Prints the status. A source that is not the graph's is a failure, after it was printed.
pub async fn execute(config: &Config, args: &StatusArgs) -> Result<(), ServiceError> {
    let status = read(config).await?;
    match args.json {
        true => print_json(&status)?,
        false => print(&status.to_string())?,
    }
    let runs = ["streaming", "copying", "replaying"].contains(&status.state);
    let what = if runs { "it runs, and its next start is refused" } else { "its start is refused" };
    match status.refused.len() {
        0 => Ok(()),
        1 => Err(ServiceError::Definite(format!("{what}: the reason stands above"))),
        reasons => Err(ServiceError::Definite(format!("{what}: {reasons} reasons stand above"))),
    }
}

async fn read(config: &Config) -> Result<Status, ServiceError> {
    let (sql, catalog) = crate::service::read_catalog(config).await?;
    let Tables { followed, not_added } = following::tables(config, &sql.client, catalog).await?;
    let Followed { catalog, mapping, .. } = followed;
    let (mapping, unmapped) = match mapping {
        Ok(mapping) => (Some(mapping), Vec::new()),
        Err(ServiceError::Refused(refusals)) => (None, refusals),
        Err(error) => return Err(error),
    };
    let source = Source::look(config, &sql.client, mapping.as_ref()).await?;
    let graph = open(config, Wait::Usual)?;
    let made = Made::look(config, &sql.client, &graph).await?;
    let (checkpoint, checkpoints) = (made.checkpoint(), &made.checkpoints);
    // The progress of a repair is its request's.
    let mut copied = graph.copy_progress(&config.pipeline).await?;
    copied.retain(Progress::lacks_rows);
    // Records of somebody else's publisher name no position of the source.
    let is_unplaced = !checkpoints.is_empty()
        && checkpoints.iter().all(|it| it.origin.system_identifier.is_empty());
    let applied = complete_through(checkpoints).filter(|_| !is_unplaced);
    let part = checkpoint.and_then(|checkpoint| checkpoint.position.part);
    let again = facts::again(config, mapping.as_ref(), checkpoints);
    let mapped = mapping.as_ref().map(|mapping| (&catalog, mapping));
    let mut refused = source.facts(mapped, &made, &again).refusals();
    if let Some(mapping) = &mapping {
        let of_graph =
            facts::graph_refusals(&graph, &config.pipeline, mapping, checkpoints.is_empty(), false);
        refused.extend(of_graph.await?);
    }
    // What goes away by itself is waited for by a start.
    let definite = refused.iter().filter(|refusal| !refusal.is_transient());
    let mut refused: Vec<String> =
        unmapped.iter().map(ToString::to_string).chain(definite.map(ToString::to_string)).collect();
    let looked = (&sql.client, source.slot.as_ref());
    let history = facts::history(config, looked, mapping.as_ref(), checkpoints).await;
    // What can not be looked at says nothing.
    if let Err(error @ ServiceError::NeedsCopy { .. }) = history {
        refused.push(error.to_string());
    }
    if let Some(mapped) = mapped {
        refused.extend(topic::refusals(config, mapped, &sql.client, &graph, checkpoints).await);
    }
    let flushed = made.system.as_ref().map(|system| system.flushed.without_page_header());
    let from_before = match mapped {
        Some(mapped) => topic::from_before(config, mapped, &sql.client, checkpoints).await,
        None => None,
    };
    // A log that has never been where the graph is has no distance to it.
    let flushed_after = |lsn: Lsn| flushed.filter(|end| *end >= lsn.without_page_header());
    let behind = applied.and_then(|lsn| Some(flushed_after(lsn)?.bytes_since(lsn)));
    let now = Timestamp { unix_micros: chrono::Utc::now().timestamp_micros() };
    let since = checkpoint
        .map(|checkpoint| (now.unix_micros - checkpoint.updated_at.unix_micros) as f64 / 1e6);
    let slot = source.slot;
    let rate = wal_rate(&sql.client).await?;
    let running = slot.as_ref().is_some_and(|slot| slot.active_pid.is_some());
    let topic = TopicStatus::read(config, mapping.as_ref(), checkpoints).await;
    let (records, waited) = topic.as_ref().map_or((None, None), TopicStatus::lag);
    let seconds = match is_unplaced {
        true => waited,
        false => behind.and_then(|bytes| if bytes == 0 { Some(0.0) } else { since }),
    };
    let lag = Lag { bytes: behind, seconds, records };
    Ok(Status {
        pipeline: config.pipeline.clone(),
        state: match (&checkpoint, &topic, running, copied.is_empty()) {
            (None, ..) => "not started",
            (_, Some(topic), ..) if topic.state() == NOT_RUNNING && !refused.is_empty() => {
                "refused"
            }
            (_, Some(topic), ..) => topic.state(),
            (_, None, false, _) if !refused.is_empty() => "refused",
            (_, None, false, _) => NOT_RUNNING,
            (_, None, true, false) => "copying",
            (_, None, true, true) => "streaming",
        },
        topic,
        positions: Positions {
            source: flushed.map(|lsn| lsn.to_string()),
            applied: applied.map(|lsn| lsn.to_string()),
            acknowledged: slot.as_ref().and_then(|slot| slot.confirmed).map(|lsn| lsn.to_string()),
            part: part.map(|part| (part.commit_lsn.to_string(), part.events)),
        },
        slot: slot.map(|slot| slot_status(config, slot, rate)),
        lag,
        copy: copy_status(&copied),
        requests: RequestStatus::all(&graph.requests(&config.pipeline).await?),
        dead_letters: graph.letter_count(&config.pipeline).await?,
        placeholders: graph.marked(&config.pipeline, PLACEHOLDER).await?,
        incomplete: graph.marked(&config.pipeline, INCOMPLETE).await?,
        epoch: checkpoint.map(|checkpoint| checkpoint.epoch.0),
        frozen: frozen(checkpoints),
        new_tables: not_added,
        paused: TableFacts::paused_in(&TableFacts::of_all(checkpoints)),
        mapping_digest: checkpoint.map(|checkpoint| checkpoint.mapping_digest.clone()),
        stopped: checkpoints.iter().filter_map(stopped).collect(),
        refused,
        from_before,
        is_unplaced,
    })
}

/// Where a graph is made from several partitions, each says it of its tables.
fn frozen(checkpoints: &[Checkpoint]) -> Vec<String> {
    let all = TableFacts::of_all(checkpoints);
    let tables = all.iter().flat_map(|facts| &facts.tables);
    let frozen = tables.filter(|table| table.by.is_empty());
    frozen.map(TableIs::shown).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Why the last writer of this log stopped for good, unless another has begun since.
pub(super) fn stopped(checkpoint: &Checkpoint) -> Option<StoppedStatus> {
    let Stopped { because, at } = checkpoint.stopped.as_ref()?;
    Some(StoppedStatus {
        log: checkpoint.origin.log.to_string(),
        at: at.shown(),
        because: on_one_line(because).into_owned(),
    })
}

fn slot_status(config: &Config, slot: Slot, rate: Option<f64>) -> SlotStatus {
    SlotStatus {
        safe_seconds: safe_time(slot.safe_bytes, rate).map(|time| time.as_secs_f64()),
        name: config.slot.clone(),
        active_pid: slot.active_pid,
        wal_status: slot.wal_status,
        retained_bytes: slot.retained_bytes,
        safe_bytes: slot.safe_bytes,
    }
}

fn copy_status(progress: &[Progress]) -> Option<CopyStatus> {
    let current = progress.iter().find(|range| !range.done);
    (!progress.is_empty()).then(|| CopyStatus {
        rows: progress.iter().map(|range| range.rows).sum(),
        ranges_done: progress.iter().filter(|range| range.done).count(),
        ranges: progress.len(),
        current: current.map(|range| format!("{} ({})", Shown(&range.table), range.pass)),
    })
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = || "-".to_owned();
        writeln!(f, "pipeline      {}: {}", self.pipeline, self.state)?;
        match &self.slot {
            None => writeln!(f, "slot          there is none")?,
            Some(slot) => {
                let status = slot.wal_status.clone().unwrap_or_else(unknown);
                write!(f, "slot          {}, {status}", slot.name)?;
                if let Some(pid) = slot.active_pid {
                    write!(f, ", streamed by process {pid}")?;
                }
                if let Some(bytes) = slot.retained_bytes {
                    write!(f, ", retains {bytes} bytes")?;
                }
                if let Some(bytes) = slot.safe_bytes {
                    write!(f, ", safe for {bytes} more")?;
                }
                let safe = slot.safe_seconds.and_then(|it| Duration::try_from_secs_f64(it).ok());
                if let Some(time) = safe {
                    write!(f, ", which take about {}", roughly(time))?;
                }
                writeln!(f)?;
            }
        }
        if let Some(topic) = &self.topic {
            write!(f, "{topic}")?;
        }
        let Positions { source, applied, acknowledged, part } = &self.positions;
        writeln!(f, "source        {}", source.clone().unwrap_or_else(unknown))?;
        if !self.is_unplaced {
            writeln!(f, "graph         {}", applied.clone().unwrap_or_else(unknown))?;
        }
        if let Some((commit, events)) = part {
            writeln!(f, "              and {events} changes of the transaction at {commit}")?;
        }
        writeln!(f, "acknowledged  {}", acknowledged.clone().unwrap_or_else(unknown))?;
        match &self.lag {
            Lag { bytes: Some(bytes), seconds: Some(seconds), .. } => {
                writeln!(f, "lag           {bytes} bytes, {seconds:.1} s")?;
            }
            Lag { bytes: None, records: Some(records), seconds } if self.is_unplaced => {
                let seconds = seconds.unwrap_or_default();
                writeln!(f, "lag           {records} records, {seconds:.1} s")?;
            }
            _ => {}
        }
        if let Some(copy) = &self.copy {
            let current = copy.current.clone().unwrap_or_else(|| "the last changes".to_owned());
            let CopyStatus { rows, ranges_done, ranges, .. } = copy;
            writeln!(
                f,
                "copy          {rows} rows, {ranges_done} of {ranges} ranges done, at {current}"
            )?;
        }
        for request in &self.requests {
            writeln!(f, "request       {request}")?;
        }
        let count = |count: Option<u64>| count.map_or_else(unknown, |count| count.to_string());
        writeln!(f, "placeholders  {}", count(self.placeholders))?;
        if self.incomplete != Some(0) {
            writeln!(f, "incomplete    {}", count(self.incomplete))?;
        }
        if self.dead_letters > 0 {
            let rows = self.dead_letters;
            writeln!(f, "set aside     {rows} rows: `wal2graph dead-letters list` shows them")?;
        }
        for table in &self.frozen {
            writeln!(f, "frozen        {}: it is not in the publication", Shown(table))?;
        }
        self.new_tables.iter().try_for_each(|it| writeln!(f, "new table     {it}"))?;
        for (table, paused) in &self.paused {
            writeln!(f, "paused        {}: {}", Shown(table), on_one_line(&paused.to_string()))?;
        }
        writeln!(f, "mapping       {}", self.mapping_digest.clone().unwrap_or_else(unknown))?;
        for StoppedStatus { log, at, because } in &self.stopped {
            writeln!(f, "stopped       at {at}, reading {log}: {because}")?;
        }
        if let Some(what) = &self.from_before {
            writeln!(f, "warning       {what}. `wal2graph check` says what to do")?;
        }
        self.refused.iter().try_for_each(|refusal| writeln!(f, "refused       {refusal}"))
    }
}
