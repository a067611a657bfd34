//! A run's knowledge of itself, for Prometheus and for people.
//!
//! ```text
//! pipeline --Status (a watch channel)----+
//! looks at the source and the graph -----+--> Watched --snapshot(now)--> gauges, /status, /ready, /live
//! the run: connected, waiting, stopping -+
//! pipeline --Observer, once a batch----------> Counts -----------------> counters, histograms
//! ```
//!
//! Counters live as long as the run and survive reconnections. Gauges are computed at each scrape,
//! from facts with a time. An outdated fact is omitted, never shown.

mod compared;
mod counts;
mod gauges;
mod looks;
mod partitions;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{
    change::Timestamp,
    checkpoint::TopicPartition,
    copy::{CopiedRows, Progress, copied_rows},
    health::{Facts, Limits, Planning, Positions, State, Tracker, since},
    lsn::Lsn,
    pipeline::{Status, Witness},
    request::RequestStatus,
    topic::copied::CopyState,
};

pub use compared::{Comparing, Counted};
pub use counts::{Counts, TableCounts};
pub use looks::{DeadLetterLook, GraphLook, RequestLook, SlotLook, SourceLook, TopicLook};

use compared::Compared;
use partitions::Partitions;

/// The interval of looks at source and slot.
pub const SOURCE_INTERVAL: Duration = Duration::from_secs(2);
/// An older look at the source is outdated: three tries to replace it have failed.
const SOURCE_LIFE: Duration = Duration::from_secs(8);
/// The interval of looks at the graph.
pub const GRAPH_INTERVAL: Duration = Duration::from_secs(10);
/// The same for dead letters: reading many of them takes a while.
const DEAD_LETTER_LIFE: Duration = Duration::from_secs(40);
/// The same for the graph.
const GRAPH_LIFE: Duration = Duration::from_secs(40);

pub use crate::pipeline::now;

/// All facts about a run.
pub struct Metrics {
    pipeline: String,
    limits: Limits,
    started: Timestamp,
    counts: Counts,
    watched: Mutex<Watched>,
}

impl Witness for Metrics {
    fn retried(&self, reason: &'static str) {
        self.counts.retried(reason);
    }

    fn waits_for(&self, statements: usize) {
        self.planning(statements);
    }
}

struct Watched {
    life: Life,
    stopping: bool,
    status: Option<watch::Receiver<Status>>,
    partitions: Partitions,
    /// The reason why Kafka does not answer, if so.
    kafka_is_away: Option<String>,
    copying: Option<Copying>,
    source: Option<SourceLook>,
    /// When this run took hold of the slot last.
    held_at: Option<Timestamp>,
    graph: Option<GraphLook>,
    requests: Option<RequestLook>,
    compared: Compared,
    topic: Option<TopicLook>,
    dead_letters: Option<DeadLetterLook>,
    /// Since when a batch waits for plans, and for how many.
    planning: Option<(Instant, usize)>,
    tracker: Tracker,
}

enum Life {
    Starting,
    Running,
    Waiting { why: String },
}

/// A partition's progress in the graph. Positions are offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLag {
    /// The partition.
    pub at: TopicPartition,
    /// The graph has everything before it; `None` before the checkpoint is read.
    pub applied: Option<u64>,
    /// The offset of the next record to be produced; `None` while Kafka is unreachable.
    pub end: Option<u64>,
    /// The time since the graph was last known to have everything in the partition.
    pub time: Duration,
}

impl PartitionLag {
    /// The number of records that the graph lacks.
    pub fn records(&self) -> Option<u64> {
        Some(self.end?.saturating_sub(self.applied?))
    }
}

/// A copy that can be watched.
#[derive(Clone, Debug)]
pub struct Copying {
    /// How far its ranges are.
    pub ranges: watch::Receiver<Vec<Progress>>,
    /// The source's estimate of the tables' rows.
    pub expected: BTreeMap<String, u64>,
}

impl Copying {
    /// The written rows, by table.
    pub fn rows(&self) -> BTreeMap<String, CopiedRows> {
        copied_rows(&self.ranges.borrow(), &self.expected)
    }
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
    /// The last look at the graph, if recent.
    pub graph: Option<GraphLook>,
    /// The partitions that this run applies.
    pub partitions: Vec<PartitionLag>,
    /// How often the group assigned or revoked partitions; `None` if no topics are read.
    pub rebalances: Option<u64>,
    /// The number of waiting dead letters, if the last look at them is recent.
    pub dead_letters: Option<u64>,
    /// The copied tables, if this run has copied any.
    pub copied: BTreeMap<String, CopiedRows>,
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

impl Metrics {
    /// The metrics of a run that starts now.
    pub fn new(pipeline: &str, limits: Limits) -> Self {
        let watched = Watched {
            life: Life::Starting,
            stopping: false,
            status: None,
            partitions: Partitions::default(),
            kafka_is_away: None,
            copying: None,
            source: None,
            held_at: None,
            graph: None,
            requests: None,
            compared: Compared::default(),
            topic: None,
            dead_letters: None,
            planning: None,
            tracker: Tracker::default(),
        };
        Metrics {
            pipeline: pipeline.to_owned(),
            limits,
            started: now(),
            counts: Counts::new(),
            watched: Mutex::new(watched),
        }
    }

    /// The counters and histograms.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// A pipeline runs and publishes its position through `status`. Its last value stays until the
    /// next attempt connects.
    pub fn connected(&self, status: watch::Receiver<Status>, copying: Option<Copying>) {
        let mut watched = self.watched();
        watched.life = Life::Running;
        watched.status = Some(status);
        if copying.is_some() {
            watched.copying = copying;
        }
        watched.observe();
    }

    /// The pipeline of one partition runs and publishes its position. Its log tells whether the
    /// copy is complete.
    pub fn partition_connected(
        &self,
        at: &TopicPartition,
        status: watch::Receiver<Status>,
        copied: CopyState,
    ) {
        let mut watched = self.watched();
        watched.life = Life::Running;
        watched.partitions.connected(at, status, copied);
        watched.observe();
    }

    /// The records of a partition name no positions of the source: nothing tells how far behind the source
    /// the graph is.
    pub fn partition_is_unplaced(&self, at: &TopicPartition) {
        self.watched().partitions.is_unplaced(at);
    }

    /// A partition's pipeline waits for a side that is away. What it said last stays.
    pub fn partition_waiting(&self, at: &TopicPartition, why: String) {
        let mut watched = self.watched();
        watched.observe();
        watched.partitions.waiting(at, why);
    }

    /// The partition no longer belongs to this run.
    pub fn partition_gone(&self, at: &TopicPartition) {
        let mut watched = self.watched();
        watched.observe();
        if watched.partitions.gone(at) {
            watched.life = Life::Starting;
        }
    }

    /// A side is away.
    pub fn waiting(&self, why: String) {
        let mut watched = self.watched();
        watched.observe();
        watched.life = Life::Waiting { why };
    }

    /// A batch waits until this many statements are planned; 0: no batch waits.
    pub fn planning(&self, statements: usize) {
        let mut watched = self.watched();
        let since = watched.planning.map_or_else(Instant::now, |(since, _)| since);
        watched.planning = (statements > 0).then_some((since, statements));
    }

    /// Kafka does not answer, with the reason; `None`: it does.
    pub fn kafka_is_away(&self, why: Option<String>) {
        let mut watched = self.watched();
        watched.observe();
        watched.kafka_is_away = why;
    }

    /// The run was asked to stop.
    pub fn stopping(&self) {
        self.watched().stopping = true;
    }

    /// Records a look at the source; `None`: it does not answer.
    pub fn looked_at_source(&self, look: Option<SourceLook>) {
        let mut watched = self.watched();
        watched.source = look;
        watched.observe();
    }

    /// This run holds the slot: a look that began before it did can not say that there is none.
    pub fn slot_is_held(&self) {
        self.watched().held_at = Some(now());
    }

    /// The graph was looked at; `None`: it does not answer.
    pub fn looked_at_graph(&self, look: Option<GraphLook>) {
        self.watched().graph = look;
    }

    /// The requests were looked at; `None`: the graph does not answer.
    pub fn looked_at_requests(&self, look: Option<RequestLook>) {
        self.watched().requests = look;
    }

    /// A life of this run compares tables and graph.
    pub fn compares(&self, comparing: Comparing) {
        self.watched().compared.begins(comparing);
    }

    /// Records a look at the topic; `None`: it does not answer.
    pub fn looked_at_topic(&self, look: Option<TopicLook>) {
        let mut watched = self.watched();
        watched.topic = look;
        watched.observe();
    }

    /// The graph was looked at: the position that it is complete through, where a partition that is applied here
    /// does not say it. `None`: there is none yet.
    pub fn looked_at_position(&self, whole: Option<Lsn>) {
        let mut watched = self.watched();
        watched.partitions.complete_through(whole);
        watched.observe();
    }

    /// The dead-letter topic was looked at; `None`: it does not answer.
    pub fn looked_at_dead_letters(&self, look: Option<DeadLetterLook>) {
        self.watched().dead_letters = look;
    }

    /// The facts at this moment.
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        let mut watched = self.watched();
        watched.observe();
        let status = watched.status();
        let fresh = |at: Timestamp, life: Duration| since(now, at) <= life;
        let source = watched.source().filter(|look| fresh(look.at, SOURCE_LIFE));
        let elapsed = |moment: Option<Instant>| moment.map(|it| it.elapsed()).unwrap_or_default();
        let facts = Facts {
            now,
            started: self.started,
            state: watched.state(),
            positions: watched.positions(),
            look: source.as_ref().map(SourceLook::position),
            through: watched.tracker.through(),
            since_moved: elapsed(status.and_then(|status| status.moved_at)),
            since_turned: elapsed(status.and_then(|status| status.turned_at)),
            planning: watched
                .planning
                .map(|(since, statements)| Planning { statements, time: since.elapsed() }),
            unplaced: watched.partitions.unplaced_lag(now, watched.fresh_topic(now)),
        };
        Snapshot {
            pipeline: self.pipeline.clone(),
            facts,
            limits: self.limits,
            source,
            graph: watched.graph.filter(|look| fresh(look.at, GRAPH_LIFE)),
            partitions: watched.partitions.lags(now, watched.fresh_topic(now)),
            rebalances: self.counts.rebalances(),
            dead_letters: watched
                .dead_letters
                .filter(|look| fresh(look.at, DEAD_LETTER_LIFE))
                .map(|look| look.waiting),
            copied: watched.copying.as_ref().map(Copying::rows).unwrap_or_default(),
            requests: watched
                .requests
                .clone()
                .filter(|look| fresh(look.at, SOURCE_LIFE))
                .map(|look| look.requests),
            compared: watched.compared.counted(),
            changes_at_once: status.and_then(|status| status.portion.limit()),
        }
    }

    /// All metrics at this moment, in Prometheus' text format.
    pub fn text(&self, now: Timestamp) -> String {
        let mut families = self.counts.gather();
        families.extend(gauges::gather(&self.snapshot(now)));
        families.sort_by(|a, b| a.name().cmp(b.name()));
        prometheus::TextEncoder::new()
            .encode_to_string(&families)
            .expect("metrics with names and values can be written")
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn status(&self) -> Option<Status> {
        let status = || self.status.as_ref().map(|status| *status.borrow());
        self.partitions.status().or_else(status)
    }

    fn positions(&self) -> Option<Positions> {
        self.status().map(|status| Positions {
            received: status.received,
            applied: status.complete,
            committed_at: status.committed_at,
            oldest_unapplied: status.oldest_unapplied,
        })
    }

    /// The last look at the source. The slot may have been made after it.
    fn source(&self) -> Option<SourceLook> {
        let mut look = self.source.clone()?;
        if look.slot.is_none() && self.held_at.is_some_and(|held| look.at <= held) {
            look.slot = Some(SlotLook::default());
        }
        Some(look)
    }

    fn fresh_topic(&self, now: Timestamp) -> Option<&TopicLook> {
        self.topic.as_ref().filter(|look| since(now, look.at) <= SOURCE_LIFE)
    }

    fn state(&self) -> State {
        let copying = self.status().is_some_and(|status| status.copying);
        match &self.life {
            _ if self.stopping => State::Stopping,
            Life::Starting => match &self.kafka_is_away {
                Some(why) => State::Waiting { why: why.clone() },
                None => State::Starting,
            },
            Life::Running if self.partitions.why_waiting().is_some() => {
                let why = self.partitions.why_waiting().unwrap_or_default().to_owned();
                State::Waiting { why }
            }
            Life::Running if copying => State::Copying,
            Life::Running => State::Streaming,
            Life::Waiting { why } => State::Waiting { why: why.clone() },
        }
    }

    fn observe(&mut self) {
        let connected = self.state().is_connected();
        let look = self.source.as_ref().map(SourceLook::position);
        if let Some(positions) = self.positions() {
            self.tracker.observe(connected, &positions, look);
        }
        self.partitions.observe(self.topic.as_ref());
    }
}
