//! Counters and histograms of events since the run started.

use std::{collections::BTreeMap, sync::OnceLock};

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry, core::Collector,
    local::LocalHistogram, process_collector::ProcessCollector, proto::MetricFamily,
};

use crate::{
    engine::Refused,
    health::since,
    pipeline::{Observer, Operation, Written},
};

/// From a millisecond to half an hour: normal streaming, and the backlog after an outage.
const LATENCY_SECONDS: [f64; 17] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0, 1800.0,
];
const TRANSACTION_SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const TRANSACTION_CHANGES: [f64; 10] =
    [1.0, 10.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0];

/// Counters and histograms of a run.
pub struct Counts {
    registry: Registry,
    changes: IntCounterVec,
    commit_to_graph: Histogram,
    transaction_seconds: Histogram,
    transaction_changes: Histogram,
    retries: IntCounterVec,
    unmapped_values: IntCounterVec,
    /// Exists only in a run that reads topics.
    of_topics: OnceLock<TopicCounts>,
}

/// The counters of a topic reader.
struct TopicCounts {
    unreadable: IntCounter,
    rebalances: IntCounter,
}

/// The reasons for retries. Their series begin at zero.
const RETRY_REASONS: [&str; 8] =
    ["deadlock", "transient", "lost", "terminated", "settled", "too_large", "refused", "reconnect"];

const VALID: &str = "names and labels of metrics are constants, each used once";

impl Counts {
    pub(super) fn new() -> Self {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self())).expect(VALID);
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntCounterVec::new(options(name, help), labels))
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let options = HistogramOpts::from(options(name, help)).buckets(buckets.to_vec());
            register(&registry, Histogram::with_opts(options))
        };
        let retries = counter("retries_total", "What had to be done again, and why", &["reason"]);
        for reason in RETRY_REASONS {
            retries.with_label_values(&[reason]);
        }
        Counts {
            changes: counter(
                "changes_total",
                "Changes of mapped tables that the stream brought into the graph",
                &["table", "op"],
            ),
            commit_to_graph: histogram(
                "commit_to_graph_seconds",
                "From a source transaction's commit until it was committed in the graph",
                &LATENCY_SECONDS,
            ),
            transaction_seconds: histogram(
                "graph_transaction_seconds",
                "How long graph transactions of the stream took, retries included",
                &TRANSACTION_SECONDS,
            ),
            transaction_changes: histogram(
                "graph_transaction_changes",
                "How many changes graph transactions of the stream held",
                &TRANSACTION_CHANGES,
            ),
            retries,
            unmapped_values: counter(
                "unmapped_values_total",
                "Values that were kept as text, for they can not be held as their column's type",
                &["table", "column"],
            ),
            of_topics: OnceLock::new(),
            registry,
        }
    }

    /// An observer for these tables, named in the order of their index. Their series begin at zero.
    pub fn of_tables<'a>(&self, tables: impl Iterator<Item = &'a str>) -> TableCounts {
        let of_table =
            |table| Operation::ALL.map(|op| self.changes.with_label_values(&[table, op.name()]));
        TableCounts {
            changes: tables.map(of_table).collect(),
            commit_to_graph: self.commit_to_graph.local(),
            transaction_seconds: self.transaction_seconds.clone(),
            transaction_changes: self.transaction_changes.clone(),
            retries: self.retries.clone(),
        }
    }

    /// The changes so far, by table.
    pub fn changes_by_table(&self) -> BTreeMap<String, u64> {
        let mut tables = BTreeMap::new();
        for family in self.changes.collect() {
            for metric in family.get_metric() {
                let table = metric.get_label().iter().find(|label| label.name() == "table");
                let Some(table) = table else { continue };
                let changes = metric.get_counter().get_value() as u64;
                *tables.entry(table.value().to_owned()).or_default() += changes;
            }
        }
        tables
    }

    /// Something was done again.
    pub fn retried(&self, reason: &str) {
        self.retries.with_label_values(&[reason]).inc();
    }

    /// Values were kept as text.
    pub fn unmapped(&self, table: &str, column: &str, count: u64) {
        self.unmapped_values.with_label_values(&[table, column]).inc_by(count);
    }

    /// Starts the counters of a topic reader at zero.
    pub fn reads_topics(&self) {
        self.of_topics();
    }

    /// Counts a record that could not be read and became a dead letter.
    pub fn unreadable(&self) {
        self.of_topics().unreadable.inc();
    }

    /// Counts that the group has assigned or revoked partitions.
    pub fn rebalanced(&self) {
        self.of_topics().rebalances.inc();
    }

    /// The number of rebalances; `None` if no topics are read.
    pub fn rebalances(&self) -> Option<u64> {
        self.of_topics.get().map(|counts| counts.rebalances.get())
    }

    fn of_topics(&self) -> &TopicCounts {
        self.of_topics.get_or_init(|| {
            let counter = |name: &str, help: &str| {
                register(&self.registry, IntCounter::with_opts(options(name, help)))
            };
            TopicCounts {
                unreadable: counter(
                    "unreadable_records_total",
                    "Records of the topics that are no envelopes and became dead letters",
                ),
                rebalances: counter(
                    "kafka_rebalances_total",
                    "How often the group gave this member partitions, or took some away",
                ),
            }
        })
    }

    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

/// Every name begins with `wal2graph_`.
pub(super) fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("wal2graph")
}

/// Puts a metric into a registry.
pub(super) fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<C>,
) -> C {
    let metric = metric.expect(VALID);
    registry.register(Box::new(metric.clone())).expect(VALID);
    metric
}

/// Counts a pipeline's writes. It looks labels up once for each table.
pub struct TableCounts {
    changes: Vec<[IntCounter; Operation::ALL.len()]>,
    commit_to_graph: LocalHistogram,
    transaction_seconds: Histogram,
    transaction_changes: Histogram,
    retries: IntCounterVec,
}

impl Observer for TableCounts {
    fn written(&mut self, written: &Written<'_>) {
        for (table, operation, count) in written.tally.iter() {
            self.changes[table.0][operation as usize].inc_by(count);
        }
        let now = super::now();
        for committed_at in written.commits {
            self.commit_to_graph.observe(since(now, *committed_at).as_secs_f64());
        }
        self.commit_to_graph.flush();
        self.transaction_seconds.observe(written.took.as_secs_f64());
        self.transaction_changes.observe(written.changes as f64);
    }

    fn refused(&mut self, refused: Refused) {
        self.retries.with_label_values(&[refused.name()]).inc();
    }
}
