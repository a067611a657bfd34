//! The pages' contents.

use hyper::StatusCode;

use crate::{
    health::TURN_LIMIT,
    metrics::{Metrics, Snapshot, now},
};

use super::{page::html, report::report};

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
        "/" => ok(HTML, html(&metrics.snapshot(now), metrics.recent())),
        "/metrics" => ok(METRICS, metrics.text(now)),
        "/status" => {
            let report = report(&metrics.snapshot(now), metrics.recent().activity);
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
