//! `apply`: topic to graph; connects again when a side was away.
//!
//! ```text
//! catalog -> mapping -> constraints -> member of the group --assigned--> partition: decided -> claim -> pipeline
//!    ^                                     |                \--taken away--> its pipeline ends
//!    +--- what concerns all has failed ----+
//! ```
//!
//! The order is that of `run`, with a partition in the slot's place: it is held before the epoch of
//! its checkpoint is claimed, so that a waiting second instance can not fence a healthy first one.
//! Where it is read from is decided by [`crate::replay`].
//!
//! A process is one member of the group, with a pipeline for each partition that it is assigned; a
//! topic with one partition is no special case of that. Only what a record means is: see
//! [`crate::topic::transactions`].
//!
//! What goes to the graph is planned as if tables were being copied, always: a record may be in the
//! graph already, in any state, when it is a row that was read, or applied again after a reset. So
//! an insert may not skip the removal of what its row owned before, and a delete looks who points at
//! its node.

mod before;
mod beginning;
mod claims;
mod files;
mod following;
mod gate;
mod kept;
mod looked;
mod lost;
pub mod named;
mod partition;
mod promoted;
mod requests;
mod seen;
mod share;
mod shared;
pub mod standing;
pub mod start;
pub mod take_over;
mod together;
mod tombstones;
pub mod topology;
mod written;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::{
    catalog::Catalog,
    checkpoint::{Checkpoint, TopicPartition},
    cli::{ApplyArgs, UntilOffset},
    config::{Config, ConfigError},
    graph::{Circumstances, drawn::Drawing},
    kafka::{
        consumer::{ConsumeError, Member},
        dead_letters::DeadLetters,
        offsets::Asking,
    },
    mapping::Mapping,
    metrics::Metrics,
    pipeline::{Ended, Failure, Store},
    postgres::{self, connect::Sql},
    start::{Refusals, TableFacts, paused::kept, rules::Paused},
};

use super::{
    ServiceError,
    attempts::{Service, unless_stopped},
    facts,
    following::while_reshaped,
    graph::{self, Wait},
    left_out::LeftOut,
    notices::Notices,
    trace,
    watch::{serve, topics},
};

use claims::Claims;
use looked::Looked;
use named::Named;
use seen::{Seen, Unexplained};
use shared::{File, Missing, Shared};
use together::Together;
use topology::Topology;

/// Runs until it is stopped, or `--until` is reached, or something has to be changed first.
pub async fn execute(config: &Config, args: &ApplyArgs) -> Result<(), ServiceError> {
    config.graph()?;
    config.kafka()?;
    if super::rules::rules(config).may_pause() && config.kafka()?.are_foreign {
        return Err(ConfigError::PauseOfForeign.into());
    }
    let apply = Apply::new(config, args.into_existing_graph);
    let mut serving = serve::start(config, &apply.metrics).await?;
    if !serving.is_empty() {
        let topics = apply.topics.subscribe();
        serving.spawn(topics::at_topics(config.clone(), topics, apply.metrics.clone()));
        serving.spawn(topics::at_position(config.clone(), apply.metrics.clone()));
        serving.spawn(topics::at_dead_letters(config.clone(), apply.metrics.clone()));
    }
    let mut targets = None;
    let (metrics, ends) = (&apply.metrics, args.until.is_some());
    let attempt = async |stop: &watch::Receiver<bool>| {
        while_reshaped(async || {
            apply.attempt_as_it_is(args.until.as_ref(), &mut targets, stop).await
        })
        .await
    };
    let told = async |error: &ServiceError| apply.claims.tell_once(config, error).await;
    Service { config, metrics, holds_slot: false, ends }.live(attempt, told).await
}

/// What lasts from one connected life to the next.
struct Apply<'a> {
    config: &'a Config,
    metrics: Arc<Metrics>,
    notices: Arc<Notices>,
    into_existing: bool,
    left_out: LeftOut,
    /// The topics that are read, once they are known.
    topics: watch::Sender<Vec<String>>,
    /// Topics that the log has named as passed over.
    passed: Mutex<BTreeSet<String>>,
    claims: Arc<Claims>,
    file: Arc<File>,
    unexplained: Arc<Unexplained>,
    missing: Arc<Missing>,
    /// The catalog's trace, as the last life has seen it. Empty: the graph does not follow.
    trace: Mutex<String>,
}

/// Where partitions end. They are looked up once.
type Targets = Option<BTreeMap<TopicPartition, u64>>;

impl<'a> Apply<'a> {
    fn new(config: &'a Config, into_existing: bool) -> Self {
        let metrics = Arc::new(Metrics::new(&config.pipeline, config.http.limits));
        metrics.counts().reads_topics();
        let notices = Arc::new(Notices::new(metrics.clone()));
        let (left_out, topics) = (LeftOut::default(), watch::Sender::default());
        let (passed, claims, trace) = (Mutex::default(), Arc::default(), Mutex::default());
        let (unexplained, missing) = (Arc::default(), Arc::default());
        let file = Arc::new(File::new(config));
        Apply {
            config,
            metrics,
            notices,
            into_existing,
            left_out,
            topics,
            passed,
            claims,
            file,
            unexplained,
            missing,
            trace,
        }
    }

    /// One life. One that fails while the tables change is no failure: the next one looks at them.
    async fn attempt_as_it_is(
        &self,
        until: Option<&UntilOffset>,
        targets: &mut Targets,
        stop: &watch::Receiver<bool>,
    ) -> Result<Ended, ServiceError> {
        let ended = self.attempt(until, targets, stop).await;
        let trace = std::mem::take(&mut *self.trace.lock().unwrap_or_else(PoisonError::into_inner));
        trace::as_it_is(self.config, &trace, ended).await
    }

    /// One life as a member of the group.
    async fn attempt(
        &self,
        until: Option<&UntilOffset>,
        targets: &mut Targets,
        stop: &watch::Receiver<bool>,
    ) -> Result<Ended, ServiceError> {
        let prepared = unless_stopped(stop, self.prepare(until, targets)).await?;
        let Some(shared) = prepared else { return Ok(Ended::Stopped) };
        let own = graph::open(self.config, Wait::Long)?;
        let _constraints = graph::keep_constraints(own, shared.model.clone());
        Together::new(shared).run(stop).await
    }

    async fn prepare(
        &self,
        until: Option<&UntilOffset>,
        targets: &mut Targets,
    ) -> Result<Shared, ServiceError> {
        let config = self.config;
        let patient = graph::open(config, Wait::Long)?;
        let checkpoints = patient.checkpoints(&config.pipeline).await?;
        let Tables { client, catalog, mapping, seen, paused } = self.look(&checkpoints).await?;
        let database = postgres::setup::server(&client).await?.database;
        let tables = super::mapped_tables(&client, &catalog, &mapping).await?;
        drop(client);
        let asking = Asking::new(config.kafka()?)?;
        files::check(&self.file, &asking, &checkpoints).await?;
        let named = self.named(&mapping, &asking, &checkpoints).await;
        let named = named.map_err(|error| without_end(until, error))?;
        let config = &named.config;
        self.topics.send_replace(config.kafka()?.topic_names().map(str::to_owned).collect());
        let model = Arc::new(mapping.model.clone());
        self.metrics.draws(Drawing::of(&model));
        self.metrics.pauses(paused);
        self.left_out.tell(&mapping);
        self.admit(&mapping, &patient, checkpoints.is_empty()).await?;
        for topic in config.kafka()?.topic_names() {
            asking.decoder(&catalog, topic)?;
        }
        let graph = graph::open_counted(config, &self.metrics)?;
        match checkpoints.is_empty() {
            true => graph::establish(&graph, &model).await?,
            false => drop(graph::establish_again(&graph, &model).await?),
        }
        tombstones::warn(config, &mapping, &asking, &checkpoints).await?;
        let graph_id = graph.id().await?;
        let over = take_over::of_run(config, &catalog, &asking, &graph, &checkpoints).await;
        over.map_err(|error| without_end(until, error))?;
        // The graph may have gone over to the topic.
        let mut checkpoints = graph.checkpoints(&config.pipeline).await?;
        let kafka = config.kafka()?;
        checkpoints.retain(|it| !topology::is_of_gone_table(kafka, it));
        let mapped = (&catalog, &*mapping);
        let topology = Topology::look(config, &asking, &checkpoints, mapped).await;
        let topology = topology.map_err(|error| without_end(until, error))?;
        let topology = topology.and_later(named.matching);
        topology.check_compaction(config.kafka()?).await?;
        standing::check_empty(config, mapped, &asking, &topology, &checkpoints).await?;
        let refusals = topology.refusals(&catalog, &mapping);
        if !refusals.is_empty() {
            return Err(ServiceError::Refused(refusals));
        }
        let is_first = checkpoints.is_empty() && !config.kafka()?.are_foreign;
        if is_first && topology.is_spread() {
            standing::check_beginnings(config, mapped, &tables, &asking, &graph, &topology).await?;
        }
        if targets.is_none() {
            *targets = self::targets(until, &topology, &asking).await?;
        }
        let options = config.kafka()?;
        let topics: Vec<&str> = topology.topics.keys().map(String::as_str).collect();
        let metrics = self.metrics.clone();
        let told = move || metrics.counts().unreadable();
        let dead_letters = DeadLetters::open(options, topology.topics.clone(), told).await?;
        let metrics = self.metrics.clone();
        let rebalanced = move || metrics.counts().rebalanced();
        let member = Member::join(options, &topics, dead_letters, rebalanced).await?;
        // With stamps in its rows, the stream has other texts: those are planned when they are met.
        let stream = (!topology.is_spread()).then_some(Circumstances::Unsettled);
        let planner = graph.planner(&model, stream)?;
        Ok(Shared {
            config: config.clone(),
            metrics: self.metrics.clone(),
            notices: self.notices.clone(),
            catalog,
            database,
            tables,
            mapping,
            seen,
            model,
            asking,
            graph,
            graph_id,
            member,
            planner,
            topology,
            targets: targets.clone(),
            claims: self.claims.clone(),
            file: self.file.clone(),
            requests: Looked::new(config),
            missing: self.missing.clone(),
        })
    }
}

/// The tables, and what they become.
struct Tables {
    client: tokio_postgres::Client,
    catalog: Catalog,
    mapping: Arc<Mapping>,
    seen: Option<Seen>,
    /// Those that are paused, by name.
    paused: BTreeMap<String, Paused>,
}

impl Apply<'_> {
    /// Looks at the tables.
    async fn look(&self, checkpoints: &[Checkpoint]) -> Result<Tables, ServiceError> {
        let config = self.config;
        let known = super::following::known_of(checkpoints);
        if !following::follows(config)? {
            let (Sql { client, .. }, catalog) = super::read_catalog(config).await?;
            let keeping = super::following::keeping(config, known.as_ref());
            let mapping = Arc::new(super::mapping(&keeping, &catalog)?);
            let paused = BTreeMap::new();
            return Ok(Tables { client, catalog, mapping, seen: None, paused });
        }
        let new = super::looked::New::LeftOut;
        let looked = super::looked::look(config, known.as_ref(), new, &self.left_out).await?;
        let super::looked::Looked { sql, catalog, mapping, now, at, trace } = looked;
        let facts = known.map(|known| known.facts).unwrap_or_default();
        let kept = now.as_ref().map(|now| kept(&facts, &now.paused)).unwrap_or_default();
        let paused = TableFacts::new(None, kept.clone()).paused();
        let seen = Seen::new(now.as_ref(), kept, (at, trace.clone()), &self.unexplained);
        if seen.is_some() {
            *self.trace.lock().unwrap_or_else(PoisonError::into_inner) = trace;
        }
        Ok(Tables { client: sql.client, catalog, mapping: mapping?, seen, paused })
    }

    /// The topics that are read. The log names each other match of the pattern once.
    async fn named(
        &self,
        mapping: &Mapping,
        asking: &Asking,
        checkpoints: &[Checkpoint],
    ) -> Result<Named, ServiceError> {
        let named = named::topics(self.config, mapping, asking, checkpoints).await?;
        let mut told = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        for topic in named.passed.iter().filter(|topic| !told.contains(*topic)) {
            tracing::info!(topic, "skipping a topic: no mapped table has its name");
        }
        told.extend(named.passed.iter().cloned());
        drop(told);
        Ok(named)
    }

    /// Asks whether the graph can be written, before anything is made in it.
    async fn admit(
        &self,
        mapping: &Mapping,
        graph: &impl Store,
        is_first: bool,
    ) -> Result<(), ServiceError> {
        let refusals = facts::graph_refusals(
            graph,
            &self.config.pipeline,
            mapping,
            is_first,
            self.into_existing,
        )
        .await?;
        Refusals::check(refusals).map_err(ServiceError::Start)
    }
}

/// A topic that is not there yet is waited for, unless its end was to be reached.
fn without_end(until: Option<&UntilOffset>, error: ServiceError) -> ServiceError {
    match (until, error) {
        (Some(UntilOffset::Current), ServiceError::NotYet(what)) => ServiceError::Definite(
            format!("{what}. So --until current has no end to lead to: leave it out to wait"),
        ),
        (_, error) => error,
    }
}

/// Where `--until` leads; `current` is the topics' end when it is looked up first.
async fn targets(
    until: Option<&UntilOffset>,
    topology: &Topology,
    asking: &Asking,
) -> Result<Targets, ServiceError> {
    let mut targets = BTreeMap::new();
    // The last heartbeat speaks of nothing beyond the ends that are looked up after it.
    let (heartbeats, rows): (Vec<_>, Vec<_>) =
        topology.partitions().partition(|at| topology.is_of_heartbeats(at));
    for at in heartbeats.into_iter().chain(rows) {
        let target = match until {
            None => return Ok(None),
            Some(UntilOffset::Offset(_)) if topology.is_spread() => {
                return Err(ServiceError::Usage(
                    "--until names an offset of the only partition, and there are several: use \
                     `--until current`"
                        .to_owned(),
                ));
            }
            Some(UntilOffset::Offset(offset)) => *offset,
            Some(UntilOffset::Current) => asking.log(&at).await?.end,
        };
        targets.insert(at, target);
    }
    if until == Some(&UntilOffset::Current) && targets.values().all(|end| *end == 0) {
        let topics: Vec<&str> = topology.topics.keys().map(String::as_str).collect();
        return Err(ServiceError::Definite(format!(
            "{} has no records, so --until current has no end to lead to: start `wal2graph publish` first, or leave \
             --until out to wait for it",
            topics.join(", ")
        )));
    }
    Ok(Some(targets))
}

impl From<ConsumeError> for ServiceError {
    fn from(error: ConsumeError) -> Self {
        match (error.is_transient(), error) {
            (_, ConsumeError::Kafka(error)) => ServiceError::Kafka(error),
            (true, error) => ServiceError::NotYet(error.to_string()),
            (false, error) => ServiceError::Definite(error.to_string()),
        }
    }
}
