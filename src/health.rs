//! The graph's lag behind the source, and the health verdicts: facts in, verdicts out.
//!
//! ```text
//! the pipeline's positions ──┐
//! a look at the source ──────┼──> Tracker ──> through: the graph has all that was committed before
//! (every few seconds)        │                        that moment; it only goes forward
//! now ───────────────────────┴──> lag = now - through
//! ```
//!
//! Why the lag never freezes: it is the time since the graph was last *known* to be complete, and
//! only knowledge moves `through`. If the graph is down, nothing is applied; if the source is down,
//! nothing is seen. In both cases `through` stops and the lag grows. It is zero only if a recent
//! look at the source saw nothing that the graph lacks.

mod answers;
pub mod budget;

use std::{collections::BTreeSet, fmt, time::Duration};

pub use answers::{Answers, Side, Silent};

use crate::{change::Timestamp, lsn::Lsn};

/// The program's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It prepares and has not streamed yet.
    Starting,
    /// Tables are being copied beside the stream.
    Copying,
    /// The graph follows the source.
    Streaming,
    /// Source or graph is unreachable; the program reconnects soon.
    Waiting {
        /// The cause.
        why: String,
    },
    /// Another instance has the slot, or others have all partitions: it takes over when they go.
    Standby {
        /// The cause, with the process or the group.
        why: String,
    },
    /// It was asked to stop and finishes the batch in flight.
    Stopping,
    /// It does nothing any more until a person has changed something, and started it again.
    Stopped {
        /// The cause, with the fix.
        why: String,
    },
}

impl State {
    /// The name of every state.
    pub const NAMES: [&str; 7] =
        ["starting", "copying", "streaming", "waiting", "standby", "stopping", "stopped"];

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Copying => "copying",
            State::Streaming => "streaming",
            State::Waiting { .. } => "waiting",
            State::Standby { .. } => "standby",
            State::Stopping => "stopping",
            State::Stopped { .. } => "stopped",
        }
    }

    /// Whether a pipeline runs: its received positions are in order and on their way to the graph.
    pub fn is_connected(&self) -> bool {
        matches!(self, State::Copying | State::Streaming | State::Stopping)
    }
}

/// The pipeline's positions, now or when its connection ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// The furthest position that the source has named to the stream.
    pub received: Lsn,
    /// The graph is complete up to here.
    pub applied: Lsn,
    /// The commit time of the last applied source transaction.
    pub committed_at: Option<Timestamp>,
    /// The commit time of the oldest source transaction that is received but not applied.
    pub oldest_unapplied: Option<Timestamp>,
}

/// One observation of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Its time. Everything committed earlier is at or before `flushed`.
    pub at: Timestamp,
    /// The end of the source's log.
    pub flushed: Lsn,
}

/// The time until which the graph is known to be complete.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    through: Option<Timestamp>,
    /// The oldest look that the graph has not caught up with.
    awaited: Option<Look>,
}

impl Tracker {
    /// Records the pipeline's positions and the last look at the source.
    pub fn observe(&mut self, connected: bool, positions: &Positions, look: Option<Look>) {
        // Transactions are applied in the order of their commits.
        self.reached(positions.committed_at);
        self.reached(positions.oldest_unapplied);
        let has = |look: &Look| has_all(connected, positions, look.flushed);
        if let Some(awaited) = self.awaited.take_if(|awaited| has(awaited)) {
            self.reached(Some(awaited.at));
        }
        match look {
            Some(look) if has(&look) => self.reached(Some(look.at)),
            Some(look) => self.awaited = self.awaited.or(Some(look)),
            None => {}
        }
    }

    fn reached(&mut self, moment: Option<Timestamp>) {
        self.through = self.through.max(moment);
    }

    /// The graph has everything committed before this time; `None` while nothing is known.
    pub fn through(&self) -> Option<Timestamp> {
        self.through
    }
}

/// Whether the graph has everything that the source has logged up to `flushed`. If a running
/// pipeline has nothing unapplied, the log before its received position holds nothing for the
/// graph.
fn has_all(connected: bool, positions: &Positions, flushed: Lsn) -> bool {
    let idle = connected && positions.oldest_unapplied.is_none();
    positions.applied >= flushed || (idle && positions.received >= flushed)
}

/// The inputs of lag and verdicts, at one moment.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The moment.
    pub now: Timestamp,
    /// When the program started.
    pub started: Timestamp,
    /// Its state.
    pub state: State,
    /// Its positions; `None` before it has read the checkpoint.
    pub positions: Option<Positions>,
    /// The last look at the source, if recent; `None` when the source is unreachable.
    pub look: Option<Look>,
    /// The previously known `through`.
    pub through: Option<Timestamp>,
    /// The time since a change last reached the graph, or since the pipeline connected.
    pub since_moved: Duration,
    /// The time since the loop of a running pipeline last turned.
    pub since_turned: Duration,
    /// Set while changes wait because Neo4j plans statements.
    pub planning: Option<Planning>,
    /// The sides that do not answer.
    pub silent: Vec<Silent>,
    /// Since when rows are copied or compared that the graph lacks; `None`: it is not copying.
    pub copying_since: Option<Timestamp>,
    /// The tables that are left to compare with the graph after a change of them.
    pub comparing: BTreeSet<String>,
    /// What is read names no positions of the source. For how long the graph has not been known to have
    /// all of that; `None`: it names them.
    pub unplaced: Option<Duration>,
}

/// Changes wait for statements that Neo4j plans for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planning {
    /// The number of statements still to plan.
    pub statements: usize,
    /// The time that changes have waited.
    pub time: Duration,
}

/// A shorter wait for plans is not worth reporting.
const PLANNING_LIMIT: Duration = Duration::from_secs(3);

impl fmt::Display for Planning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "planning: changes wait for {:.1} s while Neo4j plans statements that are new to it, {} to go",
            self.time.as_secs_f64(),
            self.statements
        )
    }
}

/// The graph's lag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// For how long it has not been known to be complete; `None`: nothing can tell.
    pub time: Option<Duration>,
    /// Bytes of log that the stream has not received; `None`: not known.
    pub received_bytes: Option<u64>,
    /// Bytes of log that are not in the graph; `None`: unknown.
    pub applied_bytes: Option<u64>,
}

impl Facts {
    /// The graph's lag behind the source.
    pub fn lag(&self) -> Lag {
        if self.unplaced.is_some() {
            return Lag { time: None, received_bytes: None, applied_bytes: None };
        }
        let behind = |position: fn(&Positions) -> Lsn| {
            let end = self.look?.flushed;
            Some(end.bytes_since(position(self.positions.as_ref()?)))
        };
        let received = match self.state.is_connected() {
            true => |positions: &Positions| positions.received,
            // The next stream starts at the graph's position.
            false => |positions: &Positions| positions.applied,
        };
        let copying = self.copying_since.map(|began| since(self.now, began));
        Lag {
            time: Some(self.lag_time().max(copying.unwrap_or_default())),
            received_bytes: behind(received),
            applied_bytes: behind(|positions| positions.applied),
        }
    }

    /// The lag of the stream: that of a copy is told as such.
    fn lag_time(&self) -> Duration {
        if let Some(time) = self.unplaced {
            return time;
        }
        if self.is_complete() {
            return Duration::ZERO;
        }
        since(self.now, self.through.unwrap_or(self.started))
    }

    fn is_complete(&self) -> bool {
        let (Some(positions), Some(look)) = (&self.positions, &self.look) else { return false };
        let has_all = has_all(self.state.is_connected(), positions, look.flushed);
        has_all && positions.oldest_unapplied.is_none()
    }

    /// The reasons why the graph is not ready; empty when it is.
    pub fn unready(&self, limits: &Limits) -> Vec<Unready> {
        let lag = self.lag_time();
        let stuck_for = lag.min(self.since_moved);
        let of_state = match &self.state {
            State::Starting => Some(Unready::Starting),
            State::Copying => Some(Unready::Copying { comparing: self.comparing.clone() }),
            State::Streaming => None,
            State::Waiting { why } => Some(Unready::NotConnected { why: why.clone() }),
            State::Stopping => Some(Unready::Stopping),
            // The graph is another instance's work.
            State::Standby { .. } if limits.standby_is_ready => return Vec::new(),
            State::Standby { why } => return vec![Unready::Standby { why: why.clone() }],
            // Nothing else counts any more.
            State::Stopped { why } => return vec![Unready::Stopped { why: why.clone() }],
        };
        let behind = Unready::Behind { lag, limit: limits.ready_lag };
        let stuck = Unready::Stuck { time: stuck_for, limit: limits.progress_timeout };
        let is_stuck = self.state.is_connected() && stuck_for > limits.progress_timeout;
        let is_behind = lag > limits.ready_lag;
        let planning = self.planning.filter(|it| it.time >= PLANNING_LIMIT).map(Unready::Planning);
        // A pipeline that waits for a side names it.
        let waits = matches!(self.state, State::Waiting { .. } | State::Stopping);
        let silent = self.silent.iter().filter(|_| !waits).cloned().map(Unready::Silent);
        let others = [planning, is_behind.then_some(behind), is_stuck.then_some(stuck)];
        of_state.into_iter().chain(silent).chain(others.into_iter().flatten()).collect()
    }

    /// Whether the program is alive. A pipeline that waits for a server is; one whose loop has
    /// stopped turning is not.
    pub fn is_alive(&self) -> bool {
        !self.state.is_connected() || self.since_turned <= TURN_LIMIT
    }
}

/// A running pipeline's loop turns every second, even while it waits.
pub const TURN_LIMIT: Duration = Duration::from_secs(30);

/// The time between two moments; zero if the clocks disagree.
pub fn since(now: Timestamp, then: Timestamp) -> Duration {
    let micros = now.unix_micros.saturating_sub(then.unix_micros);
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// The limits of readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A graph with more lag is not ready.
    pub ready_lag: Duration,
    /// A graph that has not moved for this long, although work waits, is not ready.
    pub progress_timeout: Duration,
    /// An instance that waits for another one is ready.
    pub standby_is_ready: bool,
}

/// The reason why the graph is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unready {
    /// Nothing has been streamed yet.
    Starting,
    /// Not all rows are in the graph yet.
    Copying {
        /// The tables that are left to compare after a change of them; empty in a first copy.
        comparing: BTreeSet<String>,
    },
    /// Source or graph is unreachable.
    NotConnected {
        /// The cause.
        why: String,
    },
    /// Another instance has the slot, or others have all partitions.
    Standby {
        /// The cause, with the process or the group.
        why: String,
    },
    /// A side does not answer, whether or not there is anything to do.
    Silent(Silent),
    /// The program is about to end.
    Stopping,
    /// The program has stopped for good, and stays to say why.
    Stopped {
        /// The cause, with the fix.
        why: String,
    },
    /// Changes wait for plans.
    Planning(Planning),
    /// The graph is too far behind.
    Behind {
        /// How far.
        lag: Duration,
        /// The limit.
        limit: Duration,
    },
    /// Work waits, but nothing reaches the graph.
    Stuck {
        /// For how long.
        time: Duration,
        /// The limit.
        limit: Duration,
    },
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unready::Starting => write!(f, "starting"),
            Unready::Copying { comparing } if comparing.is_empty() => {
                write!(f, "copying: not all rows are in the graph yet")
            }
            Unready::Copying { comparing } => {
                let tables: Vec<&str> = comparing.iter().map(String::as_str).collect();
                write!(
                    f,
                    "copying: tables have changed, and are compared with the graph: {}",
                    tables.join(", ")
                )
            }
            Unready::NotConnected { why } => write!(f, "not connected: {why}"),
            Unready::Standby { why } => {
                write!(f, "standby (http.standby_ready: false): {why}")
            }
            Unready::Silent(silent) => write!(f, "{silent}"),
            Unready::Stopping => write!(f, "stopping"),
            Unready::Stopped { why } => write!(f, "stopped: {why}"),
            Unready::Planning(planning) => write!(f, "{planning}"),
            Unready::Behind { lag, limit } => write!(
                f,
                "behind: the graph was last known to be complete {:.1} s ago, more than {} s (http.ready_lag)",
                lag.as_secs_f64(),
                limit.as_secs_f64()
            ),
            Unready::Stuck { time, limit } => write!(
                f,
                "stuck: there is work, and nothing got into the graph for {:.1} s, more than {} s \
                 (http.progress_timeout)",
                time.as_secs_f64(),
                limit.as_secs_f64()
            ),
        }
    }
}
