//! Gauges: computed from a new snapshot at every scrape, so that none is ever stale.

use prometheus::{CounterVec, GaugeVec, Registry, proto::MetricFamily};

use crate::{health::State, request::RequestStatus};

use super::{
    PartitionLag, Snapshot,
    counts::{options, register},
};

/// PostgreSQL's values of `wal_status`, and two more: no slot, and no answer.
const SLOT_STATUSES: [&str; 6] = ["reserved", "extended", "unreserved", "lost", "none", "unknown"];

/// The gauges at the snapshot's moment.
pub(super) fn gather(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let gauges = Gauges(Registry::new());
    gauges.lag(snapshot);
    gauges.slot(snapshot);
    gauges.copy(snapshot);
    gauges.topics(snapshot);
    gauges.requests(snapshot);
    let state = snapshot.facts.state.name();
    gauges.one_of(
        "state",
        "What the program does: 1 for that, 0 for the others",
        "state",
        &State::NAMES,
        state,
    );
    let sides =
        snapshot.sides.iter().map(|(side, it)| (vec![side.name()], f64::from(it.is_there())));
    gauges.labelled(
        "connected",
        "Whether a server answers looks at it: 1, or 0 if it does not, or was not reached yet",
        &["side"],
        sides,
    );
    let placeholders = snapshot.graph.and_then(|graph| graph.placeholders).map(|it| it as f64);
    gauges.plain(
        "placeholders",
        "Nodes of the pipeline that are there only because a relationship points at them",
        placeholders,
    );
    let paused = snapshot.paused.keys().map(|table| (vec![table.as_str()], 1.0));
    gauges.labelled(
        "table_paused",
        "Tables that have changed and are paused: their rows stay in the graph as they are",
        &["table"],
        paused,
    );
    let version = [(vec![env!("CARGO_PKG_VERSION")], 1.0)];
    gauges.labelled("build_info", "The program's version", &["version"], version);
    gauges.0.gather()
}

struct Gauges(Registry);

impl Gauges {
    /// Series with labels. A metric without any series is omitted.
    fn labelled<'a>(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        series: impl IntoIterator<Item = (Vec<&'a str>, f64)>,
    ) {
        let family = register(&self.0, GaugeVec::new(options(name, help), labels));
        for (values, value) in series {
            family.with_label_values(&values).set(value);
        }
    }

    /// A metric without labels. An unknown value is omitted.
    fn plain(&self, name: &str, help: &str, value: Option<f64>) {
        self.labelled(name, help, &[], value.map(|value| (Vec::new(), value)));
    }

    /// A series for each name: 1 for the current one, 0 for the others.
    fn one_of(&self, name: &str, help: &str, label: &str, names: &[&str], current: &str) {
        let series = names.iter().map(|name| (vec![*name], f64::from(*name == current)));
        self.labelled(name, help, &[label], series);
    }

    fn lag(&self, snapshot: &Snapshot) {
        let lag = snapshot.facts.lag();
        self.plain(
            "lag_seconds",
            "For how long the graph has not been known to have everything that was committed; 0: it has it now; left \
             out where topics name no positions of the source",
            lag.time.map(|time| time.as_secs_f64()),
        );
        let stages = [
            ("received", lag.received_bytes),
            ("applied", lag.applied_bytes),
            ("acknowledged", snapshot.unacknowledged_bytes()),
        ];
        let known =
            stages.into_iter().filter_map(|(stage, bytes)| Some((vec![stage], bytes? as f64)));
        self.labelled(
            "lag_bytes",
            "The source's log beyond what was received, applied to the graph, acknowledged to the slot; left out \
             while the source is away",
            &["stage"],
            known,
        );
    }

    fn slot(&self, snapshot: &Snapshot) {
        let slot = snapshot.source.as_ref().and_then(|source| source.slot.as_ref());
        let status = match (&snapshot.source, slot) {
            (None, _) => "unknown",
            (Some(_), None) => "none",
            (Some(_), Some(slot)) => slot.status.as_deref().unwrap_or("unknown"),
        };
        let help =
            "The slot's wal_status; none: there is no slot; unknown: the source has not said it";
        self.one_of("slot_status", help, "status", &SLOT_STATUSES, status);
        let bytes = |value: Option<i64>| value.map(|bytes| bytes as f64);
        self.plain(
            "slot_retained_bytes",
            "Log that the source keeps for the slot",
            bytes(slot.and_then(|slot| slot.retained_bytes)),
        );
        self.plain(
            "slot_safe_bytes",
            "Log that may still be written before the slot can be lost; left out without max_slot_wal_keep_size",
            bytes(slot.and_then(|slot| slot.safe_bytes)),
        );
        self.plain(
            "slot_safe_seconds",
            "When the slot can be lost, if nothing more is acknowledged and the source's log grows as in the last five \
             minutes; left out without max_slot_wal_keep_size, and while the log does not grow",
            snapshot.slot_safe_for.map(|time| time.as_secs_f64()),
        );
    }

    fn topics(&self, snapshot: &Snapshot) {
        let labelled = |lag: &PartitionLag| (lag.at.topic.clone(), lag.at.partition.to_string());
        let named: Vec<_> = snapshot.partitions.iter().map(labelled).collect();
        let of = |value: fn(&PartitionLag) -> Option<f64>| {
            let lags = snapshot.partitions.iter().zip(&named);
            lags.filter_map(move |(lag, (topic, partition))| {
                Some((vec![topic.as_str(), partition.as_str()], value(lag)?))
            })
        };
        let labels = ["topic", "partition"];
        self.labelled(
            "kafka_consumer_lag",
            "Records of a partition that is applied here which the graph does not have; left out while Kafka is away",
            &labels,
            of(|lag| lag.records().map(|records| records as f64)),
        );
        self.labelled(
            "kafka_consumer_lag_seconds",
            "For how long the graph has not been known to have everything that was in the partition; 0: it has it now",
            &labels,
            of(|lag| Some(lag.time.as_secs_f64())),
        );
        self.plain(
            "dead_letters",
            "Rows and records that wait for a person as dead letters; left out while neither the graph nor Kafka \
             answers",
            snapshot.dead_letters.map(|count| count as f64),
        );
    }

    fn requests(&self, snapshot: &Snapshot) {
        let counted = &snapshot.compared;
        let help = "Rows and entities that verify and repair have compared: rows of tables with the graph, and \
                    entities of the graph with tables";
        let rows =
            register(&self.0, CounterVec::new(options("reconcile_rows_total", help), &["table"]));
        for (table, count) in &counted.rows {
            rows.with_label_values(&[table]).inc_by(*count as f64);
        }
        let help = "Differences between tables and graph that verify and repair have found, by kind; a row may have \
                    several";
        let labels = ["table", "kind"];
        let differences =
            register(&self.0, CounterVec::new(options("differences_total", help), &labels));
        for ((table, kind), count) in &counted.differences {
            differences.with_label_values(&[table.as_str(), *kind]).inc_by(*count as f64);
        }
        let Some(requests) = &snapshot.requests else { return };
        let in_state = |state: &'static str| {
            let count = requests.iter().filter(|request| request.state == state).count();
            (vec![state], count as f64)
        };
        self.labelled(
            "requests",
            "Requests of verify and repair that wait or run; left out while the graph is away",
            &["state"],
            ["asked", "running"].map(in_state),
        );
        let running = requests.iter().find(|request| request.state == "running");
        self.plain(
            "request_progress_ratio",
            "The share of the rows of the request that runs which is compared; left out where none runs",
            running.map(RequestStatus::progress),
        );
    }

    fn copy(&self, snapshot: &Snapshot) {
        let help =
            "Rows that the copy has written: into a graph once for nodes, once for relationships";
        let rows = register(&self.0, CounterVec::new(options("copy_rows_total", help), &["table"]));
        let tables = || snapshot.copy.iter().flat_map(|copy| &copy.tables);
        for (table, copied) in tables() {
            rows.with_label_values(&[table]).inc_by(copied.rows as f64);
        }
        let expected =
            tables().map(|(table, copied)| (vec![table.as_str()], copied.expected as f64));
        self.labelled(
            "copy_rows_expected",
            "Rows that the copy will have written, as far as the source's statistics say",
            &["table"],
            expected,
        );
    }
}
