//! The pages' contents.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use hyper::StatusCode;
use serde::Serialize;

use crate::{
    health::{State, TURN_LIMIT, budget::roughly},
    metrics::{Metrics, PartitionLag, Snapshot, now},
    request::RequestStatus,
    start::rules::Paused,
};

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
/// The version of Prometheus' text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// An answer.
pub struct Page {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: String,
}

impl Page {
    pub fn text(status: StatusCode, body: String) -> Self {
        Page { status, content_type: TEXT, body }
    }
}

/// The current page of a path.
pub fn page(path: &str, metrics: &Metrics) -> Option<Page> {
    let now = now();
    let ok = |content_type, body| Page { status: StatusCode::OK, content_type, body };
    Some(match path {
        "/" => ok(HTML, html(&Report::of(&metrics.snapshot(now)))),
        "/metrics" => ok(METRICS, metrics.text(now)),
        "/status" => {
            let report = Report::of(&metrics.snapshot(now));
            let json = serde_json::to_string_pretty(&report).expect("numbers, texts and names");
            ok(JSON, json + "\n")
        }
        "/live" => live(&metrics.snapshot(now)),
        "/ready" => ready(&metrics.snapshot(now)),
        _ => return None,
    })
}

fn live(snapshot: &Snapshot) -> Page {
    match snapshot.facts.is_alive() {
        true => Page::text(StatusCode::OK, "alive\n".to_owned()),
        false => {
            let seconds = TURN_LIMIT.as_secs();
            let body = format!("the pipeline's loop has not gone round for {seconds} s\n");
            Page::text(StatusCode::SERVICE_UNAVAILABLE, body)
        }
    }
}

fn ready(snapshot: &Snapshot) -> Page {
    let reasons = snapshot.facts.unready(&snapshot.limits);
    if reasons.is_empty() {
        return Page::text(StatusCode::OK, "ready\n".to_owned());
    }
    let body = reasons.iter().map(|reason| format!("{reason}\n")).collect();
    Page::text(StatusCode::SERVICE_UNAVAILABLE, body)
}

/// `/status`. Unknown values are null. Positions are LSNs in PostgreSQL's text form; sizes are
/// bytes.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    pipeline: String,
    state: &'static str,
    /// The reason for waiting.
    waiting_for: Option<String>,
    /// Why it does nothing any more, with the fix.
    stopped_because: Option<String>,
    /// Why a life ended last, whether or not that is over.
    last_error: Option<LastError>,
    ready: bool,
    /// Statements that Neo4j plans while changes wait for them.
    planning: Option<Planning>,
    /// The reasons why it is not ready.
    unready: Vec<String>,
    positions: Positions,
    lag: Lag,
    /// `None`: the slot does not exist, or the source is unreachable.
    slot: Option<Slot>,
    copy: BTreeMap<String, Copied>,
    placeholders: Option<u64>,
    /// Requests of verify and repair: those that are open, and the one that was done last. `None`: the
    /// graph is unreachable.
    requests: Option<Vec<RequestStatus>>,
    /// The limit of changes in one transaction, if Neo4j has refused more.
    changes_at_once: Option<usize>,
    /// The partitions that are applied here.
    partitions: Vec<Partition>,
    /// How often the group assigned or revoked partitions.
    rebalances: Option<u64>,
    /// How many dead letters wait.
    dead_letters: Option<u64>,
    /// Tables that have changed and are paused, with what lets them go on.
    paused: Vec<PausedTable>,
}

/// A paused table.
#[derive(Debug, Serialize)]
struct PausedTable {
    table: String,
    why: Vec<String>,
    fix: String,
}

/// A partition's progress in the graph. Positions are offsets.
#[derive(Debug, Serialize)]
struct Partition {
    topic: String,
    partition: i32,
    applied: Option<u64>,
    end: Option<u64>,
    lag: Option<u64>,
    lag_seconds: f64,
}

impl Partition {
    fn of(lag: &PartitionLag) -> Self {
        Partition {
            topic: lag.at.topic.clone(),
            partition: lag.at.partition,
            applied: lag.applied,
            end: lag.end,
            lag: lag.records(),
            lag_seconds: lag.time.as_secs_f64(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Planning {
    statements: usize,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Positions {
    source: Option<String>,
    received: Option<String>,
    applied: Option<String>,
    acknowledged: Option<String>,
}

#[derive(Debug, Serialize)]
struct Lag {
    seconds: Option<f64>,
    received_bytes: Option<u64>,
    applied_bytes: Option<u64>,
    acknowledged_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Slot {
    wal_status: Option<String>,
    retained_bytes: Option<i64>,
    safe_bytes: Option<i64>,
    /// When it can be lost, if nothing more is acknowledged and the log grows as in the last minutes.
    safe_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
struct LastError {
    /// In UTC.
    at: String,
    error: String,
    /// The run tries again by itself.
    transient: bool,
}

#[derive(Debug, Serialize)]
struct Copied {
    rows: u64,
    expected: u64,
}

impl Report {
    fn of(snapshot: &Snapshot) -> Self {
        let facts = &snapshot.facts;
        let reasons = facts.unready(&snapshot.limits);
        let lag = facts.lag();
        let source = snapshot.source.as_ref();
        // The zero of what names none is no position.
        let positions = facts.positions.as_ref().filter(|_| facts.unplaced.is_none());
        let slot = source.and_then(|source| source.slot.as_ref());
        let copied = snapshot.copied.iter();
        Report {
            version: env!("CARGO_PKG_VERSION"),
            pipeline: snapshot.pipeline.clone(),
            state: facts.state.name(),
            waiting_for: match &facts.state {
                State::Waiting { why } | State::Standby { why } => Some(why.clone()),
                _ => None,
            },
            stopped_because: match &facts.state {
                State::Stopped { why } => Some(why.clone()),
                _ => None,
            },
            last_error: snapshot.last_error.as_ref().map(|last| LastError {
                at: last.at.shown(),
                error: last.text.clone(),
                transient: last.is_transient,
            }),
            ready: reasons.is_empty(),
            planning: facts.planning.map(|planning| Planning {
                statements: planning.statements,
                seconds: planning.time.as_secs_f64(),
            }),
            unready: reasons.iter().map(ToString::to_string).collect(),
            positions: Positions {
                source: source.map(|source| source.flushed.to_string()),
                received: positions.map(|positions| positions.received.to_string()),
                applied: positions.map(|positions| positions.applied.to_string()),
                acknowledged: slot.and_then(|slot| slot.acknowledged).map(|lsn| lsn.to_string()),
            },
            lag: Lag {
                seconds: lag.time.map(|time| time.as_secs_f64()),
                received_bytes: lag.received_bytes,
                applied_bytes: lag.applied_bytes,
                acknowledged_bytes: snapshot.unacknowledged_bytes(),
            },
            slot: slot.map(|slot| Slot {
                wal_status: slot.status.clone(),
                retained_bytes: slot.retained_bytes,
                safe_bytes: slot.safe_bytes,
                safe_seconds: snapshot.slot_safe_for.map(|time| time.as_secs_f64()),
            }),
            copy: copied
                .map(|(table, copied)| {
                    let copied = Copied { rows: copied.rows, expected: copied.expected };
                    (table.clone(), copied)
                })
                .collect(),
            placeholders: snapshot.graph.and_then(|graph| graph.placeholders),
            requests: snapshot.requests.clone(),
            changes_at_once: snapshot.changes_at_once,
            partitions: snapshot.partitions.iter().map(Partition::of).collect(),
            rebalances: snapshot.rebalances,
            dead_letters: snapshot.dead_letters,
            paused: snapshot
                .paused
                .iter()
                .map(|(table, Paused { why, fix })| PausedTable {
                    table: table.clone(),
                    why: why.clone(),
                    fix: fix.clone(),
                })
                .collect(),
        }
    }
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:44rem;padding:0 1rem}\
    table{border-collapse:collapse}td{padding:.2rem 1.5rem .2rem 0;vertical-align:top}\
    td:first-child{color:#666}";

/// The page for people. It reloads itself every few seconds.
fn html(report: &Report) -> String {
    let unknown = || "not known".to_owned();
    let bytes = |bytes: Option<u64>| bytes.map_or_else(unknown, |bytes| format!("{bytes} bytes"));
    let seconds = |time: Option<f64>| time.map_or_else(unknown, |time| format!("{time:.1} s"));
    let text = |text: &Option<String>| text.clone().unwrap_or_else(unknown);
    let ready = match report.ready {
        true => "yes".to_owned(),
        false => format!("no: {}", report.unready.join("; ")),
    };
    let slot = match &report.slot {
        Some(slot) => {
            let retained = slot.retained_bytes.map(|bytes| format!(", retains {bytes} bytes"));
            let left = slot.safe_seconds.and_then(|it| Duration::try_from_secs_f64(it).ok());
            let left = left.map(|time| format!(", safe for {}", roughly(time)));
            let (retained, left) = (retained.unwrap_or_default(), left.unwrap_or_default());
            format!("{}{retained}{left}", text(&slot.wal_status))
        }
        None => unknown(),
    };
    let mut rows = vec![
        ("state", report.state.to_owned()),
        ("ready", ready),
        ("lag", format!("{}, {}", seconds(report.lag.seconds), bytes(report.lag.applied_bytes))),
        ("source", text(&report.positions.source)),
        ("graph", text(&report.positions.applied)),
        ("slot", slot),
        ("placeholders", report.placeholders.map_or_else(unknown, |count| count.to_string())),
    ];
    if let Some(changes) = report.changes_at_once {
        rows.push(("changes at once", format!("at most {changes}: Neo4j has refused more")));
    }
    for Partition { topic, partition, lag, lag_seconds, .. } in &report.partitions {
        let behind = lag.map_or_else(unknown, |lag| format!("{lag} records behind"));
        rows.push(("partition", format!("{topic}/{partition}: {behind}, {lag_seconds:.1} s")));
    }
    for PausedTable { table, why, fix } in &report.paused {
        rows.push(("paused", format!("{table}: {}. {fix}", why.join("; "))));
    }
    if let Some(waiting) = report.dead_letters {
        rows.push(("dead letters", waiting.to_string()));
    }
    if report.state == "copying" {
        let (rows_done, expected) =
            report.copy.values().fold((0, 0), |sum, it| (sum.0 + it.rows, sum.1 + it.expected));
        rows.push(("copied", format!("{rows_done} of about {expected} rows")));
    }
    for request in report.requests.iter().flatten() {
        rows.push(("request", request.to_string()));
    }
    let mut cells = String::new();
    for (name, value) in rows {
        let _ = write!(cells, "<tr><td>{name}<td>{}", escaped(&value));
    }
    let (name, version) = (escaped(&report.pipeline), report.version);
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=5>\
         <title>wal2graph: {name}</title><style>{STYLE}</style><h1>{name}</h1><table>{cells}</table>\
         <p><a href=/metrics>metrics</a> · <a href=/status>status</a> · <a href=/ready>ready</a> · \
         <a href=/live>live</a> · wal2graph {version}\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
