//! What a person sees while tables and graph are compared.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    checkpoint::Log,
    request::{Request, State},
    shown::shown_list,
};

/// How often progress is told.
const TELL_INTERVAL: Duration = Duration::from_secs(5);
/// A comparison that does not move for so long waits for something.
const STILL: Duration = Duration::from_secs(20);

/// What a person sees meanwhile: a bar on a terminal, a log line now and then elsewhere.
pub struct Shown {
    bar: Option<ProgressBar>,
    told: Instant,
}

impl Shown {
    /// Nothing is shown yet.
    pub fn new() -> Self {
        let bar = stderr().is_terminal().then(|| {
            let template =
                "{spinner} comparing [{bar:30}] {pos}/{len} rows, {per_sec}, {eta} left, {msg}";
            let style = ProgressStyle::with_template(template);
            let bar = ProgressBar::new(0);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Shown { bar, told: Instant::now() }
    }

    /// Shows how far a request is. `still`: for how long nothing has changed.
    pub fn show(&mut self, now: &Request, logs: &[Log], still: Duration) {
        let findings = &now.findings;
        let (compared, expected) = (findings.compared(), findings.expected());
        let differing = findings.differing();
        let waits = now.state == State::Asked;
        let waits_for = waits_for(now, logs, still);
        if let Some(bar) = &self.bar {
            if waits || bar.length() == Some(0) {
                // The rate is that of the comparison.
                bar.reset_elapsed();
            }
            bar.set_length(expected);
            bar.set_position(compared);
            bar.set_message(match &waits_for {
                Some(what) => format!("waits for {what}"),
                None => format!("{differing} differ so far"),
            });
        } else if self.told.elapsed() >= TELL_INTERVAL {
            self.told = Instant::now();
            match waits_for {
                Some(what) => tracing::info!("the request waits for {what}"),
                None => tracing::info!(compared, expected, differing, "comparing"),
            }
        }
    }

    /// Nothing more comes.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What keeps a request from going on, as far as that shows.
fn waits_for(now: &Request, logs: &[Log], still: Duration) -> Option<String> {
    let is_still = now.state == State::Running && still >= STILL;
    match (&now.state, logs) {
        (State::Asked, []) => Some("the pipeline".to_owned()),
        (State::Asked, _) => Some(
            "`wal2graph apply`, and for a copy to be complete. Start it, if none runs".to_owned(),
        ),
        (_, []) => None,
        (_, logs) if is_still => {
            let open = logs.iter().filter(|log| !now.shares_over.contains(&log.name()));
            let open: Vec<String> = open.map(ToString::to_string).collect();
            Some(format!(
                "{}: `wal2graph publish` has to run, and a `wal2graph apply` for each partition",
                shown_list(&open)
            ))
        }
        _ => None,
    }
}
