//! `status`: how far the graph is, whether or not `run` is up, as a [`Report`].

pub mod ready;
mod text;
mod topic;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    catalog::{Catalog, Table},
    change::Timestamp,
    checkpoint::{Checkpoint, complete_through},
    cli::StatusArgs,
    config::Config,
    copy::Progress,
    graph::statement::{INCOMPLETE, PLACEHOLDER},
    health::budget::safe_time,
    lsn::Lsn,
    mapping::Mapping,
    pipeline::Store,
    postgres::{connect::Sql, setup::wal_rate},
    report::{Copied, Lag, Positions, Report, Slot, State, Stopped},
    request::RequestStatus,
    service::{
        ServiceError,
        facts::{self, Made, Source},
        following::{self, Tables},
        graph::{Graph, Wait, open},
        looked::Followed,
    },
    start::{TableFacts, tables::TableIs},
};

use super::{print, print_json};

use self::topic::TopicStatus;

/// The document, and what its text for people needs beside it.
struct Status {
    report: Report,
    topic: Option<TopicStatus>,
    /// The topics' records name no position of the source: somebody else publishes them.
    is_unplaced: bool,
}

/// What was looked at.
struct Looked {
    sql: Sql,
    catalog: Catalog,
    mapping: Option<Mapping>,
    /// New tables that are not in the publication.
    not_added: Vec<String>,
    source: Source,
    graph: Graph,
    made: Made,
    /// Why the next start would be refused.
    refused: Vec<String>,
}

/// Prints the status. A source that is not the graph's is a failure, after it was printed.
pub async fn execute(config: &Config, args: &StatusArgs) -> Result<(), ServiceError> {
    let status = read(config).await?;
    match args.json {
        true => print_json(&status.report)?,
        false => print(&status.to_string())?,
    }
    let runs = status.report.state.runs();
    let what = if runs { "it runs, and its next start is refused" } else { "its start is refused" };
    match status.report.refused.unwrap_or_default().len() {
        0 => Ok(()),
        1 => Err(ServiceError::Definite(format!("{what}: the reason stands above"))),
        reasons => Err(ServiceError::Definite(format!("{what}: {reasons} reasons stand above"))),
    }
}

async fn look(config: &Config) -> Result<Looked, ServiceError> {
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
    let refused = unmapped.iter().map(ToString::to_string).collect();
    Ok(Looked { sql, catalog, mapping, not_added, source, graph, made, refused })
}

impl Looked {
    fn mapped(&self) -> Option<(&Catalog, &Mapping)> {
        self.mapping.as_ref().map(|mapping| (&self.catalog, mapping))
    }

    /// Why the next start would be refused, each with its fix.
    async fn refused(&self, config: &Config) -> Result<Vec<String>, ServiceError> {
        let (checkpoints, mapping) = (&self.made.checkpoints, self.mapping.as_ref());
        let again = facts::again(config, mapping, checkpoints);
        let mut refused = self.source.facts(self.mapped(), &self.made, &again).refusals();
        if let Some(mapping) = mapping {
            let (pipeline, is_first) = (&config.pipeline, checkpoints.is_empty());
            let of_graph = facts::graph_refusals(&self.graph, pipeline, mapping, is_first, false);
            refused.extend(of_graph.await?);
        }
        // What goes away by itself is waited for by a start.
        let definite = refused.iter().filter(|refusal| !refusal.is_transient());
        let definite = definite.map(ToString::to_string);
        let mut refused: Vec<String> = self.refused.iter().cloned().chain(definite).collect();
        let looked = (&self.sql.client, self.source.slot.as_ref());
        // What can not be looked at says nothing.
        if let Err(error @ ServiceError::NeedsCopy { .. }) =
            facts::history(config, looked, mapping, checkpoints).await
        {
            refused.push(error.to_string());
        }
        if let Some(mapped) = self.mapped() {
            let client = &self.sql.client;
            refused.extend(topic::refusals(config, mapped, client, &self.graph, checkpoints).await);
        }
        Ok(refused)
    }

    /// Positions and lag. Records that name no position say nothing of it.
    fn behind(&self, is_unplaced: bool) -> (Positions, Lag) {
        let checkpoint = self.made.checkpoint();
        let applied = complete_through(&self.made.checkpoints).filter(|_| !is_unplaced);
        let flushed = self.made.system.as_ref().map(|it| it.flushed.without_page_header());
        // A log that has never been where the graph is has no distance to it.
        let behind = |lsn: Lsn| {
            let end = flushed.filter(|end| *end >= lsn.without_page_header())?;
            Some(end.bytes_since(lsn))
        };
        let acknowledged = self.source.slot.as_ref().and_then(|slot| slot.confirmed);
        let part = checkpoint.and_then(|checkpoint| checkpoint.position.part);
        let now = Timestamp { unix_micros: chrono::Utc::now().timestamp_micros() };
        let since = checkpoint
            .map(|checkpoint| (now.unix_micros - checkpoint.updated_at.unix_micros) as f64 / 1e6);
        let applied_bytes = applied.and_then(behind);
        let positions = Positions {
            source: flushed.map(|lsn| lsn.to_string()),
            received: None,
            applied: applied.map(|lsn| lsn.to_string()),
            acknowledged: acknowledged.map(|lsn| lsn.to_string()),
            part: part.map(|part| (part.commit_lsn.to_string(), part.events)),
        };
        let lag = Lag {
            seconds: applied_bytes.and_then(|bytes| if bytes == 0 { Some(0.0) } else { since }),
            received_bytes: None,
            applied_bytes,
            bytes: applied_bytes,
            acknowledged_bytes: acknowledged.and_then(behind),
            records: None,
        };
        (positions, lag)
    }

    fn slot(&self, config: &Config, rate: Option<f64>) -> Option<Slot> {
        let slot = self.source.slot.clone()?;
        Some(Slot {
            safe_seconds: safe_time(slot.safe_bytes, rate).map(|time| time.as_secs_f64()),
            name: Some(config.slot.clone()),
            active_pid: slot.active_pid,
            wal_status: slot.wal_status,
            retained_bytes: slot.retained_bytes,
            safe_bytes: slot.safe_bytes,
        })
    }

    async fn copy(&self, config: &Config) -> Result<Option<Copied>, ServiceError> {
        let mut copied = self.graph.copy_progress(&config.pipeline).await?;
        // The progress of a repair is its request's.
        copied.retain(Progress::lacks_rows);
        let estimate = |table: &Table| Some((table.name.in_file(), table.estimated_rows?));
        let estimates: BTreeMap<_, _> = self.catalog.tables.iter().filter_map(estimate).collect();
        Ok(Copied::of(&copied, &estimates))
    }

    /// What the pipeline does.
    fn state(&self, topic: Option<&TopicStatus>, copies: bool, is_refused: bool) -> State {
        let running = self.source.slot.as_ref().is_some_and(|slot| slot.active_pid.is_some());
        let state = match (topic, running) {
            _ if self.made.checkpoints.is_empty() => State::NotStarted,
            (Some(topic), _) => topic.state(),
            (None, false) => State::NotRunning,
            (None, true) if copies => State::Copying,
            (None, true) => State::Streaming,
        };
        if state == State::NotRunning && is_refused { State::Refused } else { state }
    }
}

async fn read(config: &Config) -> Result<Status, ServiceError> {
    let looked = look(config).await?;
    let refused = looked.refused(config).await?;
    let (graph, checkpoints) = (&looked.graph, &looked.made.checkpoints);
    let checkpoint = looked.made.checkpoint();
    // Records of somebody else's publisher name no position of the source.
    let is_unplaced = !checkpoints.is_empty()
        && checkpoints.iter().all(|it| it.origin.system_identifier.is_empty());
    let from_before = match looked.mapped() {
        Some(mapped) => topic::from_before(config, mapped, &looked.sql.client, checkpoints).await,
        None => None,
    };
    let rate = wal_rate(&looked.sql.client).await?;
    let topic = TopicStatus::read(config, looked.mapping.as_ref(), checkpoints).await;
    let (positions, mut lag) = looked.behind(is_unplaced);
    lag.records = topic.as_ref().and_then(TopicStatus::records);
    let copy = looked.copy(config).await?;
    let rows = graph.letter_count(&config.pipeline).await?;
    let records = topic.as_ref().and_then(|topic| topic.dead_letters).unwrap_or(0);
    let stopped: Vec<Stopped> = checkpoints.iter().filter_map(Stopped::of).collect();
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        pipeline: config.pipeline.clone(),
        state: looked.state(topic.as_ref(), copy.is_some(), !refused.is_empty()),
        waiting_for: None,
        stopped_because: stopped.first().map(|stopped| stopped.because.clone()),
        stopped: Some(stopped),
        last_error: None,
        ready: None,
        unready: None,
        refused: Some(refused),
        positions,
        lag,
        slot: looked.slot(config, rate),
        copy,
        requests: Some(RequestStatus::all(&graph.requests(&config.pipeline).await?)),
        placeholders: graph.marked(&config.pipeline, PLACEHOLDER).await?,
        incomplete: graph.marked(&config.pipeline, INCOMPLETE).await?,
        dead_letters: Some(rows + records),
        dead_letter_rows: Some(rows),
        partitions: topic.as_ref().map(|topic| topic.partitions.clone()).unwrap_or_default(),
        members: topic.as_ref().and_then(|topic| topic.members),
        rebalances: None,
        from_before,
        paused: TableFacts::paused_in(&TableFacts::of_all(checkpoints)),
        frozen: Some(frozen(checkpoints)),
        new_tables: Some(looked.not_added.clone()),
        tables: None,
        checks: None,
        checked_at: None,
        planning: None,
        changes_at_once: None,
        mapping_digest: checkpoint.map(|checkpoint| checkpoint.mapping_digest.clone()),
        epoch: checkpoint.map(|checkpoint| checkpoint.epoch.0),
    };
    Ok(Status { report, topic, is_unplaced })
}

/// Where a graph is made from several partitions, each says it of its tables.
fn frozen(checkpoints: &[Checkpoint]) -> Vec<String> {
    let all = TableFacts::of_all(checkpoints);
    let tables = all.iter().flat_map(|facts| &facts.tables);
    let frozen = tables.filter(|table| table.by.is_empty());
    frozen.map(TableIs::shown).collect::<BTreeSet<_>>().into_iter().collect()
}
