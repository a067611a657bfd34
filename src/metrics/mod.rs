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
mod history;
mod looks;
mod partitions;
mod snapshot;
mod watched;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{
    change::Timestamp,
    checkpoint::TopicPartition,
    copy::Progress,
    graph::drawn::Drawing,
    health::{
        Facts, Limits, Planning, Side, Tracker,
        budget::{Growth, safe_time},
        since,
    },
    lsn::Lsn,
    pipeline::{Status, Witness},
    report::Copied,
    start::rules::Paused,
    topic::copied::CopyState,
};

pub use compared::{Comparing, Counted};
pub use counts::{Counts, TableCounts};
pub use history::{INTERVAL as SAMPLE_INTERVAL, Recent, Sample};
pub use looks::{
    CheckLook, DeadLetterLook, GraphLook, RequestLook, SlotLook, SourceLook, TopicLook,
};

use compared::Compared;
use history::History;
pub use partitions::PartitionLag;
use partitions::Partitions;
pub use snapshot::{LastError, Snapshot};
use watched::{Life, Watched};

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

/// The interval of checks.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// Checks that are older are outdated.
const CHECK_LIFE: Duration = Duration::from_secs(200);

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

/// A copy that can be watched.
#[derive(Clone, Debug)]
pub struct Copying {
    /// How far its ranges are.
    pub ranges: watch::Receiver<Vec<Progress>>,
    /// The source's estimate of the tables' rows.
    pub expected: BTreeMap<String, u64>,
}

impl Copying {
    /// How far it is; `None` before it has ranges.
    pub fn copied(&self) -> Option<Copied> {
        Copied::of(&self.ranges.borrow(), &self.expected)
    }
}

impl Metrics {
    /// The metrics of a run that starts now.
    pub fn new(pipeline: &str, limits: Limits) -> Self {
        let watched = Watched {
            life: Life::Starting,
            lives: 0,
            was_standby: false,
            stopping: false,
            status: None,
            partitions: Partitions::default(),
            sides: BTreeMap::new(),
            copying_since: None,
            copying: None,
            source: None,
            growth: Growth::default(),
            last_error: None,
            held_at: None,
            graph: None,
            requests: None,
            compared: Compared::default(),
            topic: None,
            dead_letters: None,
            checks: None,
            paused: BTreeMap::new(),
            drawing: Arc::default(),
            history: History::default(),
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
        watched.lives += 1;
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
        watched.lives += 1;
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
        watched.failed(&why, true);
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

    /// How many pipelines have begun in this run.
    pub fn lives(&self) -> u64 {
        self.watched().lives
    }

    /// A pipeline has begun in this run, or would have but for another instance: all log-ins have succeeded once.
    pub fn has_begun(&self) -> bool {
        let watched = self.watched();
        watched.lives > 0 || watched.was_standby
    }

    /// A run prepares its next life.
    pub fn prepares(&self) {
        let mut watched = self.watched();
        watched.observe();
        watched.life = Life::Starting;
    }

    /// A side is away.
    pub fn waiting(&self, why: String) {
        let mut watched = self.watched();
        watched.observe();
        watched.failed(&why, true);
        watched.life = Life::Waiting { why };
    }

    /// Another instance has the slot, or others have all partitions.
    pub fn standby(&self, why: String) {
        let mut watched = self.watched();
        watched.observe();
        watched.was_standby = true;
        watched.life = Life::Standby { why };
    }

    /// The run has ended with an error that a person has to do something about, and the program stays to say so.
    pub fn stopped(&self, why: String) {
        let mut watched = self.watched();
        watched.observe();
        watched.failed(&why, false);
        watched.planning = None;
        watched.life = Life::Stopped { why };
    }

    /// A batch waits until this many statements are planned; 0: no batch waits.
    pub fn planning(&self, statements: usize) {
        let mut watched = self.watched();
        let since = watched.planning.map_or_else(Instant::now, |(since, _)| since);
        watched.planning = (statements > 0).then_some((since, statements));
    }

    /// A side that is looked at from now on.
    pub fn uses(&self, side: Side) {
        self.watched().sides.entry(side).or_default();
    }

    /// A look at a side has ended, which began at this moment.
    pub fn looked_at(&self, side: Side, at: Timestamp, look: Result<(), String>) {
        let mut watched = self.watched();
        watched.observe();
        let answers = watched.sides.entry(side).or_default();
        *answers = answers.after(at, look);
    }

    /// The run was asked to stop.
    pub fn stopping(&self) {
        self.watched().stopping = true;
    }

    /// Records a look at the source; `None`: it does not answer.
    pub fn looked_at_source(&self, look: Option<SourceLook>) {
        let mut watched = self.watched();
        if let Some(look) = &look {
            watched.growth.looked(look.position());
        }
        watched.source = look;
        watched.observe();
    }

    /// The last look at the source, however old.
    pub fn last_look_at_source(&self) -> Option<SourceLook> {
        self.watched().source.clone()
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

    /// The tables that are paused in this life, by name.
    pub fn pauses(&self, tables: BTreeMap<String, Paused>) {
        self.watched().paused = tables;
    }

    /// What the graph of this life looks like.
    pub fn draws(&self, drawing: Drawing) {
        self.watched().drawing = Arc::new(drawing);
    }

    /// Takes a sample for the last hour's drawing: once every [`SAMPLE_INTERVAL`].
    pub fn sample(&self, now: Timestamp) {
        let lag = self.snapshot(now).facts.lag().time.map(|time| time.as_secs_f64());
        let changes = self.counts.changes_by_table();
        self.watched().history.take(lag, changes);
    }

    /// What people see of this run beside the facts.
    pub fn recent(&self) -> Recent {
        let changes = self.counts.changes_by_table();
        let watched = self.watched();
        Recent {
            drawing: watched.drawing.clone(),
            samples: watched.history.samples(),
            activity: watched.history.activity(changes),
        }
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

    /// The checks were made.
    pub fn checked(&self, look: CheckLook) {
        self.watched().checks = Some(look);
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
            silent: watched.silent(now),
            copying_since: watched.copying_since,
            comparing: watched.compared.lacking(),
            unplaced: watched.partitions.unplaced_lag(now, watched.fresh_topic(now)),
        };
        let slot = source.as_ref().and_then(|source| source.slot.as_ref());
        let safe_bytes = slot.and_then(|slot| slot.safe_bytes);
        Snapshot {
            pipeline: self.pipeline.clone(),
            slot_safe_for: safe_time(safe_bytes, watched.growth.rate()),
            last_error: watched.last_error.clone(),
            facts,
            limits: self.limits,
            source,
            graph: watched.graph.filter(|look| fresh(look.at, GRAPH_LIFE)),
            sides: watched.sides.clone(),
            partitions: watched.partitions.lags(now, watched.fresh_topic(now)),
            rebalances: self.counts.rebalances(),
            dead_letters: watched.dead_letters(now),
            dead_letter_rows: watched.dead_letter_rows(now),
            paused: watched.paused.clone(),
            checks: watched.checks(now),
            copy: watched.copying.as_ref().and_then(Copying::copied),
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
