//! What a person sees while it copies: a bar on a terminal, a log line now and then elsewhere.

use std::{
    io::{IsTerminal, stderr},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{
    metrics::{Comparing, Copying},
    pipeline::Status,
    report,
    shown::seconds,
};

/// How often a log line is written where there is no terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// How often the bar moves.
const BAR_INTERVAL: Duration = Duration::from_millis(200);

/// Shows the copy, if there is one, until it is settled or the pipeline has ended.
pub fn watch(status: watch::Receiver<Status>, copy: Option<Copying>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let Some(copy) = copy else { return };
        let started = Instant::now();
        if stderr().is_terminal() {
            bar(&status, &copy).await;
        } else {
            lines(&status, &copy).await;
        }
        if !is_under_way(&status, &copy) {
            let rows = rows(&copy);
            tracing::info!(rows, seconds = seconds(started.elapsed()), "copied");
        }
    })
}

/// Tells of a comparison that a change of tables needs, until it is done or the pipeline has ended.
pub fn compared(status: watch::Receiver<Status>, owed: Comparing) -> JoinHandle<()> {
    tokio::spawn(async move {
        let (started, mut logged) = (Instant::now(), Instant::now());
        let mut left = owed.lacking();
        while !left.is_empty() && status.has_changed().is_ok() {
            sleep(BAR_INTERVAL).await;
            left = owed.lacking();
            if logged.elapsed() >= LOG_INTERVAL {
                logged = Instant::now();
                let rows = owed.reported.get().compared.values().sum::<u64>();
                tracing::info!(?left, rows, "comparing tables with the graph");
            }
        }
        if left.is_empty() {
            let report = owed.reported.get();
            let rows = report.compared.values().sum::<u64>();
            let differences = report.kinds.values().sum::<u64>();
            let seconds = seconds(started.elapsed());
            tracing::info!(
                rows,
                differences,
                seconds,
                "compared the changed tables with the graph"
            );
        }
    })
}

fn is_under_way(status: &watch::Receiver<Status>, copy: &Copying) -> bool {
    status.borrow().copying || current(copy).is_some()
}

fn is_to_be_shown(status: &watch::Receiver<Status>, copy: &Copying) -> bool {
    let pipeline_runs = status.has_changed().is_ok();
    pipeline_runs && is_under_way(status, copy)
}

fn rows(copy: &Copying) -> u64 {
    copy.copied().map_or(0, |copied| copied.rows)
}

fn expected(copy: &Copying) -> u64 {
    copy.copied().map_or(0, |copied| copied.expected)
}

fn current(copy: &Copying) -> Option<String> {
    report::current(&copy.ranges.borrow())
}

async fn bar(status: &watch::Receiver<Status>, copy: &Copying) {
    let template = "{spinner} copying {msg} [{bar:30}] {pos}/{len} rows, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template);
    let bar = ProgressBar::new(expected(copy));
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    while is_to_be_shown(status, copy) {
        bar.set_length(expected(copy));
        bar.set_position(rows(copy));
        bar.set_message(current(copy).unwrap_or_else(|| "the last changes".to_owned()));
        sleep(BAR_INTERVAL).await;
    }
    bar.finish_and_clear();
}

async fn lines(status: &watch::Receiver<Status>, copy: &Copying) {
    let mut logged = Instant::now();
    while is_to_be_shown(status, copy) {
        sleep(BAR_INTERVAL).await;
        if logged.elapsed() >= LOG_INTERVAL {
            logged = Instant::now();
            let (rows, expected) = (rows(copy), expected(copy));
            let at = current(copy).unwrap_or_else(|| "the last changes".to_owned());
            tracing::info!(rows, expected, at, "copying");
        }
    }
}
