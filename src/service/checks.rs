//! What keeps a pipeline from working, or will: as `check` says it, and as the page shows it while a program runs.
//!
//! ```text
//! wal2graph check:    source, topics, graph + what only the next start finds out (`commands::check`)
//! once a minute:      source, topics, graph, for the page (`watch::checks`)
//! ```
//!
//! Beside a program that runs nothing is asked that would be in its way: it has found out itself what its slot
//! sends, whether the tables have changed and where its partitions begin. A look at these would take the slot, or
//! lock tables, and a try to change the schema would hold the graph's writers.

pub mod topics;

use std::time::Duration;

use tokio_postgres::Client;

use crate::{
    catalog::Catalog,
    config::Config,
    health::budget::roughly,
    kafka::Ack,
    mapping::{Mapping, Warning},
    pipeline::{Remark, Store, Weight},
    postgres::setup::{SlotLimits, slot_limits},
    report::{Findings, Stopped, Verdict},
    start::{Server, Slot},
};

use super::{
    ServiceError,
    facts::{self, Made, Source},
    following::{self, Tables},
    graph::{Graph, Wait, open},
    looked::Followed,
};

/// How much more is advised where all of something is in use.
const CAPACITY_STEP: i32 = 10;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A person, of the next start.
    Person,
    /// The program, beside what it does.
    Program,
}

/// The source, as far as it answers.
pub struct Looked {
    /// Its tables.
    pub catalog: Catalog,
    /// What they become; `None`: some can not be mapped.
    pub mapping: Option<Mapping>,
    /// What a start would go by.
    pub source: Source,
    /// The connection.
    pub client: Client,
}

/// All checks that go beside a program that runs.
pub async fn beside(config: &Config, found: &mut Findings) {
    let looked = source(config, Asker::Program, found).await;
    let mapping = looked.as_ref().and_then(|looked| looked.mapping.as_ref());
    topics::beside(config, mapping, found).await;
    if needs_graph(config) {
        let answer = graph(config, looked.as_ref(), found).await;
        graph_answered(answer, found);
    } else if let Some(looked) = &looked {
        looked.judge(config, Asker::Program, &Made::nothing(), found);
    }
}

/// A publisher that acknowledges what Kafka has needs no graph.
pub fn needs_graph(config: &Config) -> bool {
    config.kafka().map_or(true, |kafka| kafka.ack == Ack::Graph) || config.graph().is_ok()
}

async fn graph(
    config: &Config,
    looked: Option<&Looked>,
    found: &mut Findings,
) -> Result<(), ServiceError> {
    let graph = open(config, Wait::Usual)?;
    let Some(looked) = looked else {
        graph.positions(&config.pipeline).await?;
        return Ok(());
    };
    let made = Made::look(config, &looked.client, &graph).await?;
    found.ok("Neo4j answers");
    looked.judge(config, Asker::Program, &made, found);
    // Rows that are there are those of the copy that is on its way.
    looked.compare_graph(config, &graph, &made, true, found).await
}

/// What the graph does not answer is a failure.
pub fn graph_answered(answer: Result<(), ServiceError>, found: &mut Findings) -> bool {
    let Err(error) = answer else { return true };
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
    found.failed(text, fix.map(str::to_owned));
    false
}

/// The source. `None`: it does not answer, which is a failure.
pub async fn source(config: &Config, asker: Asker, found: &mut Findings) -> Option<Looked> {
    match look(config, asker, found).await {
        Ok(looked) => Some(looked),
        Err(error) => {
            let fix = match &error {
                ServiceError::NotYet(_) => Some(
                    "wait for that process, or end it: SELECT pg_terminate_backend(ITS NUMBER)",
                ),
                ServiceError::Connect(_) => {
                    Some("see that --source-url is right and the role may log in")
                }
                // The error has its own fix.
                _ => None,
            };
            found.failed(error.to_string(), fix.map(str::to_owned));
            None
        }
    }
}

async fn look(config: &Config, asker: Asker, found: &mut Findings) -> Result<Looked, ServiceError> {
    let (sql, catalog) = super::read_catalog(config).await?;
    let Tables { followed, not_added } = following::tables(config, &sql.client, catalog).await?;
    let Followed { catalog, mapping, left_out } = followed;
    let (mapping, refusals) = match mapping {
        Ok(mapping) => (Some(mapping), Vec::new()),
        Err(ServiceError::Refused(refusals)) => (None, refusals),
        Err(error) => return Err(error),
    };
    let source = Source::look(config, &sql.client, mapping.as_ref()).await?;
    found.ok(format!("PostgreSQL {} answers", source.server.version / 10_000));
    for refusal in refusals {
        found.failure("a table can not be mapped", refusal.to_string());
    }
    for refusal in left_out {
        found.warning(format!("a new table is left out: {refusal}"));
    }
    not_added.into_iter().for_each(|text| found.warning(text));
    if let Some(mapping) = &mapping {
        mapped(mapping, found);
    }
    // A program that runs has its slot and its walsender.
    if asker == Asker::Person {
        capacity(&source.server, source.slot.is_some(), found);
    }
    limits(slot_limits(&sql.client).await?, found);
    if let Some(slot) = source.slot.as_ref().filter(|slot| config.failover && !slot.failover) {
        without_failover(config, slot, found);
    }
    let active = source.slot.as_ref().and_then(|slot| slot.active_pid);
    if let Some(pid) = active.filter(|_| asker == Asker::Person) {
        let slot = &config.slot;
        found.warning(format!("process {pid} streams from the slot {slot}: run would wait for it"));
    }
    Ok(Looked { catalog, mapping, source, client: sql.client })
}

fn mapped(mapping: &Mapping, found: &mut Findings) {
    found.ok(format!("{} tables are mapped", mapping.model.tables.len()));
    let is_skipped = |warning: &&Warning| match warning {
        Warning::LeftOut { why, .. } => why.is_of_file(),
        _ => false,
    };
    let skipped = mapping.warnings.iter().filter(is_skipped).count();
    if skipped > 0 {
        found.ok(format!("{skipped} tables are left out, as the file says"));
    }
    let others = mapping.warnings.iter().filter(|warning| !is_skipped(warning));
    others.for_each(|warning| found.warning(warning.to_string()));
}

impl Looked {
    /// What a start would refuse, and where the graph is.
    pub fn judge(&self, config: &Config, asker: Asker, made: &Made, found: &mut Findings) {
        let mapped = self.mapping.as_ref().map(|mapping| (&self.catalog, mapping));
        let again = facts::again(config, self.mapping.as_ref(), &made.checkpoints);
        let mut refusals = self.source.facts(mapped, made, &again).refusals();
        // What goes away by itself is what the program does.
        refusals.retain(|it| asker == Asker::Person || !it.is_transient());
        if refusals.is_empty() {
            // `apply` alone reads what somebody else publishes.
            let are_foreign = config.kafka().is_ok_and(|kafka| kafka.are_foreign);
            let is_new = !self.source.is_published() && asker == Asker::Person;
            if is_new && !made.through_topic && !are_foreign {
                found.ok(format!("the publication {} will be created", config.publication));
            }
            if let Some(checkpoint) = made.checkpoint().filter(|_| !made.through_topic) {
                found.ok(format!("the graph is at {}", checkpoint.lsn));
            }
        }
        refusals.iter().for_each(|refusal| found.refused(refusal));
    }

    /// What stands in the graph against a start, or will. A first copy may be told to go into rows that are there.
    pub async fn compare_graph(
        &self,
        config: &Config,
        graph: &Graph,
        made: &Made,
        into_existing: bool,
        found: &mut Findings,
    ) -> Result<(), ServiceError> {
        made.checkpoints.iter().filter_map(Stopped::of).for_each(|last| stopped(&last, found));
        let Some(mapping) = &self.mapping else { return Ok(()) };
        let remarks = graph.remarks(&mapping.model).await?;
        remarks.into_iter().for_each(|it| remark(it, found));
        let (pipeline, is_first) = (&config.pipeline, made.checkpoints.is_empty());
        let refusals = facts::graph_refusals(graph, pipeline, mapping, is_first, into_existing);
        refusals.await?.iter().for_each(|refusal| found.refused(refusal));
        Ok(())
    }
}

/// Why the last run ended.
fn stopped(Stopped { log, at, because }: &Stopped, found: &mut Findings) {
    found.warning(format!(
        "the last run stopped at {at}, reading {log}, and stops again until its cause is mended: {because}"
    ));
}

/// What the graph's server is found to be like.
pub fn remark(Remark { weight, what, fix }: Remark, found: &mut Findings) {
    let verdict = match weight {
        Weight::Fine => Verdict::Ok,
        Weight::Warning => Verdict::Warning,
        Weight::Failure => Verdict::Failure,
    };
    found.add(verdict, what, fix);
}

fn capacity(server: &Server, has_slot: bool, found: &mut Findings) {
    let (allowed, used) = server.slots;
    if !has_slot && used >= i64::from(allowed) {
        found.failure(
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
        found.failure(
            format!("all {allowed} walsenders are in use"),
            format!(
                "ALTER SYSTEM SET max_wal_senders = {}, then restart the source",
                allowed + CAPACITY_STEP
            ),
        );
    }
}

/// The slot was made before the file asked for failover.
fn without_failover(config: &Config, slot: &Slot, found: &mut Findings) {
    let name = &config.slot;
    let stop = slot.active_pid.map_or("", |_| "stop the program, then ");
    found.advice(
        format!("source.failover: the slot {name} is no failover slot, since it was made without that"),
        format!(
            "{stop}psql \"dbname={} replication=database\" -c 'ALTER_REPLICATION_SLOT {name} (FAILOVER true)'",
            config.source().database()
        ),
    );
}

/// What becomes of the slot, or of the source's disk, while nobody reads.
fn limits(limits: SlotLimits, found: &mut Findings) {
    if limits.keep_mb.is_none() {
        found.advice(
            "max_slot_wal_keep_size is -1: while the pipeline or the graph is away, the source's log grows until its \
             disk is full",
            "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB' (a part of the free disk), then SELECT \
             pg_reload_conf(). A slot that falls further behind is lost, and `wal2graph repair --new-slot` comes back \
             from that. source.wal_budget in the file warns before",
        );
    }
    if let Some(seconds) = limits.idle_seconds {
        let time = roughly(Duration::from_secs(seconds.unsigned_abs()));
        found.advice(
            format!("idle_replication_slot_timeout is {time}: a slot that nobody reads for longer is lost"),
            "ALTER SYSTEM SET idle_replication_slot_timeout = 0, then SELECT pg_reload_conf(); or see that the \
             program is never away for so long. `wal2graph repair --new-slot` comes back from a lost slot",
        );
    }
}
