//! What the run, the pipeline and the looks have told.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{sync::watch, time::Instant};

use crate::{
    change::Timestamp,
    graph::drawn::Drawing,
    health::{Answers, Positions, Side, Silent, State, Tracker, budget::Growth, since},
    pipeline::Status,
    start::rules::Paused,
};

use super::{
    CHECK_LIFE, CheckLook, Copying, DEAD_LETTER_LIFE, DeadLetterLook, GraphLook, LastError,
    RequestLook, SOURCE_LIFE, SlotLook, SourceLook, TopicLook, compared::Compared,
    history::History, now, partitions::Partitions,
};

/// All of it, at the last moment that it was told.
pub(super) struct Watched {
    pub life: Life,
    /// How many pipelines have begun.
    pub lives: u64,
    /// It has been a standby.
    pub was_standby: bool,
    pub stopping: bool,
    pub status: Option<watch::Receiver<Status>>,
    pub partitions: Partitions,
    /// The sides that are in use.
    pub sides: BTreeMap<Side, Answers>,
    /// Since when the status says that it is copying.
    pub copying_since: Option<Timestamp>,
    pub copying: Option<Copying>,
    pub source: Option<SourceLook>,
    pub growth: Growth,
    pub last_error: Option<LastError>,
    /// When this run took hold of the slot last.
    pub held_at: Option<Timestamp>,
    pub graph: Option<GraphLook>,
    pub requests: Option<RequestLook>,
    pub compared: Compared,
    pub topic: Option<TopicLook>,
    pub dead_letters: Option<DeadLetterLook>,
    pub checks: Option<CheckLook>,
    pub paused: BTreeMap<String, Paused>,
    pub drawing: Arc<Drawing>,
    pub history: History,
    /// Since when a batch waits for plans, and for how many.
    pub planning: Option<(Instant, usize)>,
    pub tracker: Tracker,
}

/// What the run does.
pub(super) enum Life {
    Starting,
    Running,
    Waiting { why: String },
    Standby { why: String },
    Stopped { why: String },
}

impl Watched {
    /// The position that the pipeline publishes.
    pub fn status(&self) -> Option<Status> {
        let status = || self.status.as_ref().map(|status| *status.borrow());
        self.partitions.status().or_else(status)
    }

    /// The positions in it.
    pub fn positions(&self) -> Option<Positions> {
        self.status().map(|status| Positions {
            received: status.received,
            applied: status.complete,
            committed_at: status.committed_at,
            oldest_unapplied: status.oldest_unapplied,
        })
    }

    /// The last look at the source. The slot may have been made after it.
    pub fn source(&self) -> Option<SourceLook> {
        let mut look = self.source.clone()?;
        if look.slot.is_none() && self.held_at.is_some_and(|held| look.at <= held) {
            look.slot = Some(SlotLook::default());
        }
        Some(look)
    }

    /// A life has ended.
    pub fn failed(&mut self, why: &str, is_transient: bool) {
        self.last_error = Some(LastError { at: now(), text: why.to_owned(), is_transient });
    }

    /// What waits in the graph and in a topic; `None` where neither is known.
    pub fn dead_letters(&self, now: Timestamp) -> Option<u64> {
        let records = self.dead_letters.filter(|look| since(now, look.at) <= DEAD_LETTER_LIFE);
        match (records.map(|look| look.waiting), self.dead_letter_rows(now)) {
            (None, None) => None,
            (records, rows) => Some(records.unwrap_or(0) + rows.unwrap_or(0)),
        }
    }

    /// What waits in the graph, if that is known.
    pub fn dead_letter_rows(&self, now: Timestamp) -> Option<u64> {
        let rows = self.requests.as_ref().filter(|look| since(now, look.at) <= SOURCE_LIFE);
        rows.map(|look| look.letters)
    }

    /// What the checks have found, unless that is long ago, or the program has stopped since.
    pub fn checks(&self, now: Timestamp) -> Option<CheckLook> {
        let is_fresh = |look: &CheckLook| since(now, look.at) <= CHECK_LIFE;
        let has_stopped = matches!(self.life, Life::Stopped { .. });
        self.checks.clone().filter(|look| !has_stopped && is_fresh(look))
    }

    /// The last look at the topics, if recent.
    pub fn fresh_topic(&self, now: Timestamp) -> Option<&TopicLook> {
        self.topic.as_ref().filter(|look| since(now, look.at) <= SOURCE_LIFE)
    }

    /// What the run does.
    pub fn state(&self) -> State {
        let copying = self.status().is_some_and(|status| status.copying);
        match &self.life {
            _ if self.stopping => State::Stopping,
            Life::Starting => match self.sides.get(&Side::Kafka) {
                Some(Answers::No { why, .. }) => State::Waiting { why: why.clone() },
                _ => State::Starting,
            },
            Life::Running if self.partitions.why_waiting().is_some() => {
                let why = self.partitions.why_waiting().unwrap_or_default().to_owned();
                State::Waiting { why }
            }
            Life::Running if copying => State::Copying,
            Life::Running => State::Streaming,
            Life::Waiting { why } => State::Waiting { why: why.clone() },
            Life::Standby { why } => State::Standby { why: why.clone() },
            Life::Stopped { why } => State::Stopped { why: why.clone() },
        }
    }

    /// Sides that do not answer.
    pub fn silent(&self, now: Timestamp) -> Vec<Silent> {
        self.sides.iter().filter_map(|(side, answers)| Silent::of(*side, answers, now)).collect()
    }

    /// Observes the state at this moment.
    pub fn observe(&mut self) {
        let state = self.state();
        match state {
            State::Copying => self.copying_since = self.copying_since.or_else(|| Some(now())),
            State::Streaming => self.copying_since = None,
            // A copy that waits for a server is still one.
            State::Starting
            | State::Waiting { .. }
            | State::Standby { .. }
            | State::Stopping
            | State::Stopped { .. } => {}
        }
        let connected = state.is_connected();
        let look = self.source.as_ref().map(SourceLook::position);
        if let Some(positions) = self.positions() {
            self.tracker.observe(connected, &positions, look);
        }
        self.partitions.observe(self.topic.as_ref());
    }
}
