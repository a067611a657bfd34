//! What a person sees while it copies: a bar on a terminal, a log line now and then elsewhere.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, stderr},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{copy::Progress, graph::Pass, pipeline::Status};

/// How often a log line is written where there is no terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// How often the bar moves.
const BAR_INTERVAL: Duration = Duration::from_millis(200);

/// What is known of a copy.
pub struct CopyProgress {
    /// How far its ranges are.
    pub ranges: watch::Receiver<Vec<Progress>>,
    /// The tables, with the rows they are expected to have.
    pub tables: Vec<(String, Option<u64>)>,
}

/// Shows the copy, if there is one, until it is settled or the pipeline has ended.
pub fn watch(status: watch::Receiver<Status>, copy: Option<CopyProgress>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let Some(copy) = copy else { return };
        let started = Instant::now();
        if stderr().is_terminal() {
            bar(&status, &copy).await;
        } else {
            lines(&status, &copy).await;
        }
        if !copy.is_under_way(&status) {
            let rows = copy.rows();
            tracing::info!(rows, seconds = started.elapsed().as_secs_f32(), "copied");
        }
    })
}

impl CopyProgress {
    fn is_under_way(&self, status: &watch::Receiver<Status>) -> bool {
        status.borrow().copying || self.current().is_some()
    }

    fn is_to_be_shown(&self, status: &watch::Receiver<Status>) -> bool {
        let pipeline_runs = status.has_changed().is_ok();
        pipeline_runs && self.is_under_way(status)
    }

    fn rows(&self) -> u64 {
        self.ranges.borrow().iter().map(|range| range.rows).sum()
    }

    /// What both passes are expected to write. A table whose count is not known counts as what it
    /// has so far.
    fn expected(&self) -> u64 {
        let expected: BTreeMap<&str, u64> = self
            .tables
            .iter()
            .filter_map(|(table, rows)| Some((table.as_str(), (*rows)?)))
            .collect();
        let ranges = self.ranges.borrow();
        let mut passes: BTreeMap<(&str, Pass), (u64, bool)> = BTreeMap::new();
        for range in ranges.iter() {
            let (rows, done) = passes.entry((&range.table, range.pass)).or_insert((0, true));
            *rows += range.rows;
            *done &= range.done;
        }
        let of_pass = |((table, _), (rows, done)): (&(&str, Pass), &(u64, bool))| match done {
            true => *rows,
            false => (*rows).max(expected.get(table).copied().unwrap_or(0)),
        };
        passes.iter().map(of_pass).sum()
    }

    fn current(&self) -> Option<String> {
        let ranges = self.ranges.borrow();
        let range = ranges.iter().find(|range| !range.done)?;
        Some(format!("{} ({})", range.table, range.pass))
    }
}

async fn bar(status: &watch::Receiver<Status>, copy: &CopyProgress) {
    let template = "{spinner} copying {msg} [{bar:30}] {pos}/{len} rows, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template);
    let bar = ProgressBar::new(copy.expected());
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    while copy.is_to_be_shown(status) {
        bar.set_length(copy.expected());
        bar.set_position(copy.rows());
        bar.set_message(copy.current().unwrap_or_else(|| "the last changes".to_owned()));
        sleep(BAR_INTERVAL).await;
    }
    bar.finish_and_clear();
}

async fn lines(status: &watch::Receiver<Status>, copy: &CopyProgress) {
    let mut logged = Instant::now();
    while copy.is_to_be_shown(status) {
        sleep(BAR_INTERVAL).await;
        if logged.elapsed() >= LOG_INTERVAL {
            logged = Instant::now();
            let (rows, expected) = (copy.rows(), copy.expected());
            let at = copy.current().unwrap_or_else(|| "the last changes".to_owned());
            tracing::info!(rows, expected, at, "copying");
        }
    }
}
