//! `/`: the page for people. It is made here, and fetched again every two seconds; nothing in it comes from elsewhere.

mod chart;
mod checks;
mod escaped;
mod picture;

use std::{fmt::Write, time::Duration};

use crate::{
    graph::drawn::Drawing,
    health::budget::{Bytes, roughly},
    metrics::{Recent, Sample, Snapshot},
    report::{Partition, Report, State},
};

use super::report::report;
use chart::hour;
use escaped::Escaped;
use picture::{LABELS_MAX, picture};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");
/// Tables that are shown; the others are in `/status`.
const TABLES_MAX: usize = 50;

/// The page.
pub fn html(snapshot: &Snapshot, recent: Recent) -> String {
    let Recent { drawing, samples, activity } = recent;
    let report = report(snapshot, activity);
    let sections = [
        why(&report),
        copy(&report),
        lag(&report, &samples),
        throughput(&report, &samples),
        positions(&report),
        slot(&report),
        waiting(&report),
        checked(&report),
        requests(&report),
        partitions(&report),
        tables(&report),
        model(&drawing),
        last_error(&report),
    ];
    let (name, state) = (Escaped(&report.pipeline), report.state);
    let ready = match report.ready {
        Some(true) => "<span class=good>ready</span>",
        _ => "<span class=warn>not ready</span>",
    };
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width,initial-scale=1\"><link rel=icon href=\"data:,\">\
         <noscript><meta http-equiv=refresh content=5></noscript>\
         <title>{state}: {name}</title><style>{STYLE}</style><body>\
         <div id=silent role=alert>wal2graph does not answer. What follows is what it said last.</div>\
         <main><header><h1>{name}</h1><span role=status class=\"state {}\">{state}</span>{ready}</header>\
         <div class=grid>{}</div>\
         <footer><a href=/status>status</a> · <a href=/metrics>metrics</a> · <a href=/ready>ready</a> · \
         <a href=/live>live</a> · wal2graph {}</footer></main><script>{SCRIPT}</script>\n",
        colour(state),
        sections.concat(),
        report.version
    )
}

fn colour(state: State) -> &'static str {
    match state {
        State::Streaming => "good",
        State::Stopped => "bad",
        _ => "warn",
    }
}

fn section(class: &str, title: &str, body: &str) -> String {
    format!("<section class=\"{class}\"><h2>{title}</h2>{body}</section>")
}

/// Names and values, side by side.
fn list(rows: &[(&str, String)]) -> String {
    let mut list = "<dl>".to_owned();
    for (name, value) in rows {
        let _ = write!(list, "<dt>{name}<dd>{}", Escaped(value));
    }
    list + "</dl>"
}

/// A table with names of columns; those that end in `#` hold numbers.
fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let class = |column: &str| if column.ends_with('#') { " class=number" } else { "" };
    let mut table = "<table><thead><tr>".to_owned();
    for column in columns {
        let _ = write!(table, "<th scope=col{}>{}", class(column), column.trim_end_matches('#'));
    }
    table += "<tbody>";
    for row in rows {
        table += "<tr>";
        for (cell, column) in row.iter().zip(columns) {
            let _ = write!(table, "<td{}>{}", class(column), Escaped(cell));
        }
    }
    table + "</table>"
}

fn or_unknown<T>(value: Option<T>, shown: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "not known".to_owned(), shown)
}

fn seconds(time: f64) -> String {
    match time {
        ..60.0 => format!("{time:.1} s"),
        _ => roughly(Duration::try_from_secs_f64(time).unwrap_or_default()),
    }
}

fn bytes(bytes: u64) -> String {
    Bytes(bytes).to_string()
}

/// Why it is not ready, and what helps.
fn why(report: &Report) -> String {
    // Why it has stopped is the only reason then.
    let whys = match &report.stopped_because {
        Some(why) => vec![why.clone()],
        None => report.unready.clone().unwrap_or_default(),
    };
    if whys.is_empty() {
        return String::new();
    }
    let class = if report.stopped_because.is_some() { "wide why stopped" } else { "wide why" };
    let said: String = whys.iter().map(|why| format!("<p>{}</p>", Escaped(why))).collect();
    section(class, "Not ready because", &said)
}

fn lag(report: &Report, history: &[Sample]) -> String {
    let lags: Vec<Option<f64>> = history.iter().map(|sample| sample.lag).collect();
    let most = lags.iter().flatten().copied().fold(0.0, f64::max);
    let says = format!("lag in the last hour, {} at most", seconds(most));
    let now = or_unknown(report.lag.seconds, seconds);
    let behind = or_unknown(report.lag.applied_bytes, bytes);
    let body = format!(
        "<div class=big>{now}</div>{}<div class=soft>{behind} of log behind; {} at most in the last hour</div>",
        hour(&lags, &says),
        seconds(most)
    );
    section("", "Lag of the graph", &body)
}

fn throughput(report: &Report, history: &[Sample]) -> String {
    let rates: Vec<Option<f64>> = history.iter().map(|sample| Some(sample.rate)).collect();
    let now = history.last().map_or(0.0, |sample| sample.rate);
    let most = history.iter().map(|sample| sample.rate).fold(0.0, f64::max);
    let all: u64 = report.tables.iter().flatten().map(|(_, table)| table.changes).sum();
    let says = format!("changes a second in the last hour, {most:.0} at most");
    let body = format!(
        "<div class=big>{now:.1} /s</div>{}<div class=soft>{all} since the start; {most:.0} /s at most in the last \
         hour</div>",
        hour(&rates, &says)
    );
    section("", "Changes into the graph", &body)
}

fn positions(report: &Report) -> String {
    let (positions, lag) = (&report.positions, &report.lag);
    let at = |position: &Option<String>, behind: Option<u64>| {
        let behind =
            behind.filter(|behind| *behind > 0).map(|it| format!(", {} behind", bytes(it)));
        format!("{}{}", or_unknown(position.clone(), |it| it), behind.unwrap_or_default())
    };
    let rows = [
        ("source", at(&positions.source, None)),
        ("received", at(&positions.received, lag.received_bytes)),
        ("graph", at(&positions.applied, lag.applied_bytes)),
        ("acknowledged", at(&positions.acknowledged, lag.acknowledged_bytes)),
    ];
    section("", "Positions in the log", &list(&rows))
}

fn slot(report: &Report) -> String {
    let Some(slot) = &report.slot else {
        return section("", "Replication slot", "<p class=soft>not known</p>");
    };
    let size = |bytes: i64| self::bytes(bytes.unsigned_abs());
    let mut rows = vec![
        ("state", or_unknown(slot.wal_status.clone(), |it| it)),
        ("keeps", or_unknown(slot.retained_bytes, |it| format!("{} of log", size(it)))),
    ];
    rows.extend(slot.safe_bytes.map(|it| ("room", format!("{} until it can be lost", size(it)))));
    rows.extend(
        slot.safe_seconds
            .map(|it| ("time", format!("{} at the rate of the last minutes", seconds(it)))),
    );
    section("", "Replication slot", &list(&rows))
}

/// What waits for rows, for a person, or for Neo4j.
fn waiting(report: &Report) -> String {
    let mut rows = vec![("placeholders", or_unknown(report.placeholders, |it| it.to_string()))];
    let incomplete = report.incomplete.filter(|nodes| *nodes > 0);
    rows.extend(incomplete.map(|nodes| ("incomplete", format!("{nodes} lack values"))));
    rows.extend(report.dead_letters.map(|waiting| {
        let look = if waiting > 0 { ": wal2graph dead-letters list" } else { "" };
        ("dead letters", format!("{waiting}{look}"))
    }));
    for (table, paused) in &report.paused {
        rows.push(("paused", format!("{table}: {paused}")));
    }
    rows.extend(report.planning.as_ref().map(|planning| {
        let time = seconds(planning.seconds);
        ("Neo4j plans", format!("{} statements, for {time} now", planning.statements))
    }));
    rows.extend(
        report.changes_at_once.map(|changes| {
            ("changes at once", format!("at most {changes}: Neo4j has refused more"))
        }),
    );
    rows.extend(report.rebalances.map(|count| ("rebalances", count.to_string())));
    section("", "Waiting", &list(&rows))
}

fn checked(report: &Report) -> String {
    let (Some(findings), Some(at)) = (&report.checks, &report.checked_at) else {
        return String::new();
    };
    section("wide", "Checks", &checks::checks(findings, at))
}

fn copy(report: &Report) -> String {
    let Some(copy) = report.copy.as_ref().filter(|_| report.state == State::Copying) else {
        return String::new();
    };
    let mut rows = String::new();
    for (table, copied) in &copy.tables {
        // The expected number is an estimate.
        let expected = copied.expected.max(copied.rows).max(1);
        let _ = write!(
            rows,
            "<tr><td>{}<td class=number>{} of about {}\
             <td><progress max={expected} value={} aria-label=\"{}\"></progress>",
            Escaped(table),
            copied.rows,
            copied.expected,
            copied.rows,
            Escaped(table)
        );
    }
    let head = "<thead><tr><th scope=col>table<th scope=col class=number>rows<th scope=col>copied";
    section("wide", "First copy", &format!("<table>{head}<tbody>{rows}</table>"))
}

fn requests(report: &Report) -> String {
    let requests: Vec<String> = report.requests.iter().flatten().map(ToString::to_string).collect();
    if requests.is_empty() {
        return String::new();
    }
    let said: String = requests.iter().map(|it| format!("<p>{}</p>", Escaped(it))).collect();
    section("wide", "verify and repair", &said)
}

fn partitions(report: &Report) -> String {
    if report.partitions.is_empty() {
        return String::new();
    }
    let number = |number: Option<u64>| or_unknown(number, |it| it.to_string());
    let rows = report.partitions.iter().map(|it| {
        let Partition { topic, partition, applied, end, lag, lag_seconds, .. } = it;
        let at = format!("{topic}/{partition}");
        vec![at, number(*applied), number(*end), number(*lag), or_unknown(*lag_seconds, seconds)]
    });
    let columns = ["partition", "applied to#", "end#", "records behind#", "lag#"];
    section("wide", "Partitions that are applied here", &table(&columns, rows))
}

fn tables(report: &Report) -> String {
    let mut tables: Vec<_> = report.tables.iter().flatten().collect();
    if tables.is_empty() {
        return String::new();
    }
    tables.sort_by(|a, b| b.1.changes.cmp(&a.1.changes).then(a.0.cmp(b.0)));
    let rows = tables.iter().take(TABLES_MAX).map(|(name, table)| {
        vec![(*name).clone(), table.changes.to_string(), format!("{:.1}", table.rate)]
    });
    let mut body = self::table(&["table", "changes since the start#", "a second#"], rows);
    if tables.len() > TABLES_MAX {
        let _ = write!(body, "<p class=soft>and {} more in /status</p>", tables.len() - TABLES_MAX);
    }
    section("wide", "Tables", &body)
}

fn model(drawing: &Drawing) -> String {
    let (labels, types) = (drawing.labels.len(), drawing.arrows.len());
    let body = match labels {
        0 => return String::new(),
        1..=LABELS_MAX => picture(drawing),
        _ => "<p>Too many for a picture here: <code>wal2graph plan --format dot</code> draws them all</p>".to_owned(),
    };
    let body = format!(
        "<details id=model open><summary>{labels} labels, {types} kinds of relationships</summary>{body}</details>"
    );
    section("wide", "The graph", &body)
}

fn last_error(report: &Report) -> String {
    let Some(last) = report.last_error.as_ref().filter(|_| report.stopped_because.is_none()) else {
        return String::new();
    };
    let again =
        if last.transient { "it tries again by itself" } else { "a person has to do something" };
    let body = format!(
        "<p>{}: {} <span class=soft>({again})</span></p>",
        Escaped(&last.at),
        Escaped(&last.error)
    );
    section("wide", "Last error", &body)
}
