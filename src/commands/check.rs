//! `check`: everything that would keep `run` from working, each with its fix.

mod follows;
mod kafka;

use std::{fmt, time::Duration};

use serde::Serialize;
use tokio_postgres::Client;

use crate::{
    catalog::Catalog,
    cli::{CheckArgs, IntoExistingGraph},
    config::Config,
    health::budget::roughly,
    kafka::Ack,
    mapping::{Mapping, Warning},
    pipeline::{Remark, Store, Weight},
    postgres::setup::{SlotLimits, slot_limits},
    report::Stopped,
    service::{
        ServiceError,
        facts::{self, Made, Source},
        following::{self, Tables},
        graph::{Graph, Wait, open},
        looked::Followed,
    },
    start::{Refusal, Server, Slot},
};

use super::{print, print_json};

/// How much more is advised where all of something is in use.
const CAPACITY_STEP: i32 = 10;

/// What was looked at, in order.
#[derive(Debug, Default, Serialize)]
struct Report {
    findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Finding {
    verdict: Verdict,
    what: String,
    /// What to do about it: SQL, a setting, a change of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Failure,
}

/// Prints the report; a failure in it is one of the command.
pub async fn execute(config: &Config, args: &CheckArgs) -> Result<(), ServiceError> {
    let mut report = Report::default();
    let source = match look(config, &mut report).await {
        Ok(source) => Some(source),
        Err(error) => {
            let fix = match &error {
                ServiceError::NotYet(_) => Some(
                    "wait for that process, or end it: SELECT pg_terminate_backend(ITS NUMBER)",
                ),
                ServiceError::Connect(_) => {
                    Some("see that --source-url is right and the role may log in")
                }
                // It says so itself.
                _ => None,
            };
            report.failed(error.to_string(), fix.map(str::to_owned));
            None
        }
    };
    let named = named(config, source.as_ref(), &mut report).await;
    let config = named.as_ref().unwrap_or(config);
    let topics = named.is_some() && kafka::topics(config, &mut report).await;
    // A publisher that acknowledges what Kafka has needs no graph.
    let needs_graph = config.kafka().map_or(true, |kafka| kafka.ack == Ack::Graph);
    let looked = match needs_graph || config.graph().is_ok() {
        true => graph(config, args, source.as_ref(), &mut report).await,
        false => {
            if let Some(source) = &source {
                source.judge(config, &Made::nothing(), &mut report);
            }
            Ok(())
        }
    };
    if let Err(error) = looked {
        let text = error.to_string();
        let fix = match &error {
            ServiceError::Graph(_) if text.contains("ALTER CURRENT USER") => Some(
                "change the password by the statement that Neo4j names, and set NEO4J_PASSWORD to the new one",
            ),
            ServiceError::Graph(_) => {
                Some("see that --graph-url, user, password (NEO4J_PASSWORD) and database are right")
            }
            // Of the configuration, or of the source.
            _ => None,
        };
        report.failed(text, fix.map(str::to_owned));
    } else if let (Some(looked @ Looked { mapping: Some(mapping), .. }), true) = (&source, topics) {
        kafka::apply(config, mapping, looked, &mut report).await;
    }
    if let (Some(looked), true) = (&source, topics) {
        kafka::publish(config, looked, &mut report).await;
    }
    match args.json {
        true => print_json(&report)?,
        false => print(&report.to_string())?,
    }
    let failures = report.findings.iter().filter(|it| it.verdict == Verdict::Failure).count();
    match failures {
        0 => Ok(()),
        _ => Err(ServiceError::Definite(format!("{failures} of the checks failed"))),
    }
}

/// The configuration with the topics, where the file does not name them. `None`: nobody knows which those are.
async fn named(config: &Config, source: Option<&Looked>, report: &mut Report) -> Option<Config> {
    if !config.kafka().is_ok_and(|kafka| kafka.is_by_table() || kafka.pattern.is_some()) {
        return Some(config.clone());
    }
    let mapping = source.and_then(|source| source.mapping.as_ref())?;
    match kafka::named(config, mapping).await {
        Ok(config) => Some(config),
        Err(error) => {
            report.failure("which topics are read is not known", error.to_string());
            None
        }
    }
}

/// The source, as far as it answers.
struct Looked {
    catalog: Catalog,
    mapping: Option<Mapping>,
    source: Source,
    client: Client,
}

async fn look(config: &Config, report: &mut Report) -> Result<Looked, ServiceError> {
    let (sql, catalog) = crate::service::read_catalog(config).await?;
    let Tables { followed, not_added } = following::tables(config, &sql.client, catalog).await?;
    let Followed { catalog, mapping, left_out } = followed;
    let (mapping, refusals) = match mapping {
        Ok(mapping) => (Some(mapping), Vec::new()),
        Err(ServiceError::Refused(refusals)) => (None, refusals),
        Err(error) => return Err(error),
    };
    let source = Source::look(config, &sql.client, mapping.as_ref()).await?;
    report.ok(format!("PostgreSQL {} answers", source.server.version / 10_000));
    for refusal in refusals {
        report.failure("a table can not be mapped", refusal.to_string());
    }
    for refusal in left_out {
        report.warning(format!("a new table is left out: {refusal}"));
    }
    not_added.into_iter().for_each(|text| report.warning(text));
    if let Some(mapping) = &mapping {
        report.ok(format!("{} tables are mapped", mapping.model.tables.len()));
        let is_skipped = |warning: &&Warning| match warning {
            Warning::LeftOut { why, .. } => why.is_of_file(),
            _ => false,
        };
        let skipped = mapping.warnings.iter().filter(is_skipped).count();
        if skipped > 0 {
            report.ok(format!("{skipped} tables are left out, as the file says"));
        }
        let others = mapping.warnings.iter().filter(|warning| !is_skipped(warning));
        others.for_each(|warning| report.warning(warning.to_string()));
    }
    capacity(&source.server, source.slot.is_some(), report);
    limits(slot_limits(&sql.client).await?, report);
    if let Some(slot) = source.slot.as_ref().filter(|slot| config.failover && !slot.failover) {
        without_failover(config, slot, report);
    }
    if let Some(pid) = source.slot.as_ref().and_then(|slot| slot.active_pid) {
        let slot = &config.slot;
        report
            .warning(format!("process {pid} streams from the slot {slot}: run would wait for it"));
    }
    Ok(Looked { catalog, mapping, source, client: sql.client })
}

impl Looked {
    /// What `run` would refuse, and where the graph is.
    fn judge(&self, config: &Config, made: &Made, report: &mut Report) {
        let mapped = self.mapping.as_ref().map(|mapping| (&self.catalog, mapping));
        let again = facts::again(config, self.mapping.as_ref(), &made.checkpoints);
        let refusals = self.source.facts(mapped, made, &again).refusals();
        if refusals.is_empty() {
            // `apply` alone reads what somebody else publishes.
            let are_foreign = config.kafka().is_ok_and(|kafka| kafka.are_foreign);
            if !self.source.is_published() && !made.through_topic && !are_foreign {
                report.ok(format!("the publication {} will be created", config.publication));
            }
            if let Some(checkpoint) = made.checkpoint().filter(|_| !made.through_topic) {
                report.ok(format!("the graph is at {}", checkpoint.lsn));
            }
        }
        refusals.iter().for_each(|refusal| report.refused(refusal));
    }

    /// What `run` would find out from the slot.
    async fn compare(&self, config: &Config, made: &Made, report: &mut Report) {
        let looked = (&self.client, self.source.slot.as_ref());
        match facts::history(config, looked, self.mapping.as_ref(), &made.checkpoints).await {
            Ok(()) => {}
            Err(ServiceError::NeedsCopy { cause, again }) => {
                report.failure(cause.to_string(), format!("to go on, {again}"));
            }
            Err(error) => report.warning(format!(
                "what the slot {} has not confirmed can not be looked at: {error}. `run` looks at it before it goes on",
                config.slot
            )),
        }
    }
}

fn capacity(server: &Server, has_slot: bool, report: &mut Report) {
    let (allowed, used) = server.slots;
    if !has_slot && used >= i64::from(allowed) {
        report.failure(
            format!("all {allowed} replication slots are in use"),
            format!(
                "ALTER SYSTEM SET max_replication_slots = {}, then restart the source; or drop one that nobody \
                 needs: SELECT slot_name, active FROM pg_replication_slots lists them, and \
                 SELECT pg_drop_replication_slot('NAME') drops one. `wal2graph destroy` drops that of a pipeline that \
                 is given up, with all else that it made",
                allowed + CAPACITY_STEP
            ),
        );
    }
    let (allowed, used) = server.senders;
    if used >= i64::from(allowed) {
        report.failure(
            format!("all {allowed} walsenders are in use"),
            format!(
                "ALTER SYSTEM SET max_wal_senders = {}, then restart the source",
                allowed + CAPACITY_STEP
            ),
        );
    }
}

/// The slot was made before the file asked for failover.
fn without_failover(config: &Config, slot: &Slot, report: &mut Report) {
    let name = &config.slot;
    let stop = slot.active_pid.map_or("", |_| "stop the program, then ");
    report.advice(
        format!("source.failover: the slot {name} is no failover slot, since it was made without that"),
        format!(
            "{stop}psql \"dbname={} replication=database\" -c 'ALTER_REPLICATION_SLOT {name} (FAILOVER true)'",
            config.source.database()
        ),
    );
}

/// What becomes of the slot, or of the source's disk, while nobody reads.
fn limits(limits: SlotLimits, report: &mut Report) {
    if limits.keep_mb.is_none() {
        report.advice(
            "max_slot_wal_keep_size is -1: while the pipeline or the graph is away, the source's log grows until its \
             disk is full",
            "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB' (a part of the free disk), then SELECT \
             pg_reload_conf(). A slot that falls further behind is lost, and `wal2graph repair --new-slot` comes back \
             from that. source.wal_budget in the file warns before",
        );
    }
    if let Some(seconds) = limits.idle_seconds {
        let time = roughly(Duration::from_secs(seconds.unsigned_abs()));
        report.advice(
            format!("idle_replication_slot_timeout is {time}: a slot that nobody reads for longer is lost"),
            "ALTER SYSTEM SET idle_replication_slot_timeout = 0, then SELECT pg_reload_conf(); or see that the \
             program is never away for so long. `wal2graph repair --new-slot` comes back from a lost slot",
        );
    }
}

async fn graph(
    config: &Config,
    args: &CheckArgs,
    source: Option<&Looked>,
    report: &mut Report,
) -> Result<(), ServiceError> {
    let graph = match graph_answers(config, report).await {
        Ok(graph) => graph,
        Err(error) => {
            if let Some(source) = source {
                source.judge(config, &Made::nothing(), report);
            }
            return Err(error);
        }
    };
    let Some(source) = source else { return Ok(()) };
    let mut made = Made::look(config, &source.client, &graph).await?;
    made.through_topic |= kafka::takes_over(config, &source.catalog, &graph).await;
    source.judge(config, &made, report);
    source.compare(config, &made, report).await;
    // A graph that goes over to a topic is judged by `apply`, once it has.
    let is_of_topic = made.checkpoints.iter().any(|it| it.partition().is_some());
    if report.is_well() && (!made.through_topic || is_of_topic) {
        follows::follows(config, source, report).await?;
    }
    made.checkpoints.iter().filter_map(Stopped::of).for_each(|last| report.stopped(&last));
    let Some(mapping) = &source.mapping else { return Ok(()) };
    graph.remarks(&mapping.model).await?.into_iter().for_each(|remark| report.remark(remark));
    let (is_first, into_existing) =
        (made.checkpoints.is_empty(), args.into_existing_graph == IntoExistingGraph::Adopt);
    let refusals =
        facts::graph_refusals(&graph, &config.pipeline, mapping, is_first, into_existing).await?;
    refusals.iter().for_each(|refusal| report.refused(refusal));
    for checkpoint in made.checkpoints.iter().filter(|it| it.partition().is_some()) {
        kafka::checkpoint(config, mapping, checkpoint, report);
    }
    Ok(())
}

async fn graph_answers(config: &Config, report: &mut Report) -> Result<Graph, ServiceError> {
    let graph = open(config, Wait::Usual)?;
    graph.describe().await?.into_iter().for_each(|remark| report.remark(remark));
    Ok(graph)
}

impl Report {
    /// Why the last run ended.
    fn stopped(&mut self, Stopped { log, at, because }: &Stopped) {
        self.warning(format!(
            "the last run stopped at {at}, reading {log}, and stops again until its cause is mended: {because}"
        ));
    }

    /// What the graph's server is found to be like.
    fn remark(&mut self, Remark { weight, what, fix }: Remark) {
        let verdict = match weight {
            Weight::Fine => Verdict::Ok,
            Weight::Warning => Verdict::Warning,
            Weight::Failure => Verdict::Failure,
        };
        self.findings.push(Finding { verdict, what, fix });
    }

    /// What `run` would refuse.
    fn refused(&mut self, refusal: &Refusal) {
        let verdict = match refusal.is_transient() {
            true => Verdict::Warning,
            false => Verdict::Failure,
        };
        let (what, fix) = refusal.parts();
        self.findings.push(Finding { verdict, what, fix });
    }

    fn ok(&mut self, what: impl Into<String>) {
        self.findings.push(Finding { verdict: Verdict::Ok, what: what.into(), fix: None });
    }

    fn warning(&mut self, what: impl Into<String>) {
        self.findings.push(Finding { verdict: Verdict::Warning, what: what.into(), fix: None });
    }

    /// A warning with something to do about it.
    fn advice(&mut self, what: impl Into<String>, fix: impl Into<String>) {
        let (what, fix) = (what.into(), Some(fix.into()));
        self.findings.push(Finding { verdict: Verdict::Warning, what, fix });
    }

    fn failure(&mut self, what: impl Into<String>, fix: impl Into<String>) {
        self.failed(what, Some(fix.into()));
    }

    /// Nothing has failed so far.
    fn is_well(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict != Verdict::Failure)
    }

    /// A failure; without a fix it says itself what to do.
    fn failed(&mut self, what: impl Into<String>, fix: Option<String>) {
        self.findings.push(Finding { verdict: Verdict::Failure, what: what.into(), fix });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { verdict, what, fix } in &self.findings {
            let verdict = match verdict {
                Verdict::Ok => "ok      ",
                Verdict::Warning => "warning ",
                Verdict::Failure => "FAILURE ",
            };
            writeln!(f, "{verdict} {what}")?;
            if let Some(fix) = fix {
                writeln!(f, "         fix: {fix}")?;
            }
        }
        Ok(())
    }
}
