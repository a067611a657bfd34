//! How far behind the graph is, and whether that is well: facts in, verdicts out.
//!
//! ```text
//! the pipeline's positions ──┐
//! a look at the source ──────┼──> Tracker ──> through: the graph has all that was committed before
//! (every few seconds)        │                        that moment; it only goes forward
//! now ───────────────────────┴──> lag = now - through
//! ```
//!
//! Why the lag never freezes: it is the time since the graph was last *known* to be complete, and
//! only knowledge moves `through`. A graph that is away applies nothing; a source that is away shows
//! nothing; so `through` stands still and the lag grows, whoever died. It is zero only if a look at
//! the source that is still fresh saw nothing that the graph does not have.

use std::{fmt, time::Duration};

use crate::{change::Timestamp, lsn::Lsn};

/// What the program does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It prepares, and has not streamed yet.
    Starting,
    /// Tables are being copied beside the stream.
    Copying,
    /// The graph follows the source.
    Streaming,
    /// Source or graph is away; everything is connected again soon.
    Waiting {
        /// What happened.
        why: String,
    },
    /// It was asked to stop, and finishes what is in flight.
    Stopping,
}

impl State {
    /// The name of every state.
    pub const NAMES: [&str; 5] = ["starting", "copying", "streaming", "waiting", "stopping"];

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Copying => "copying",
            State::Streaming => "streaming",
            State::Waiting { .. } => "waiting",
            State::Stopping => "stopping",
        }
    }

    /// A pipeline runs: what it has received is in order, and on its way.
    pub fn is_connected(&self) -> bool {
        matches!(self, State::Copying | State::Streaming | State::Stopping)
    }
}

/// How far the pipeline is, or was when its connection ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// The furthest position the source has named to the stream.
    pub received: Lsn,
    /// The graph is complete up to here.
    pub applied: Lsn,
    /// When the last applied source transaction committed.
    pub committed_at: Option<Timestamp>,
    /// When the oldest source transaction committed that was received and is not applied.
    pub oldest_unapplied: Option<Timestamp>,
}

/// A look at the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// When it was taken: everything committed before is at or before `flushed`.
    pub at: Timestamp,
    /// The end of the source's log.
    pub flushed: Lsn,
}

/// Until when the graph is known to be complete.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    through: Option<Timestamp>,
    /// The oldest look that the graph has not caught up with.
    awaited: Option<Look>,
}

impl Tracker {
    /// Takes note of where the pipeline is, and of the last look at the source.
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

    /// The graph has everything that was committed before this; `None` before anything is known.
    pub fn through(&self) -> Option<Timestamp> {
        self.through
    }
}

/// Whether the graph has everything that the source has logged up to `flushed`. A position that a
/// running pipeline has received, with nothing unapplied before it, holds nothing for the graph.
fn has_all(connected: bool, positions: &Positions, flushed: Lsn) -> bool {
    let idle = connected && positions.oldest_unapplied.is_none();
    positions.applied >= flushed || (idle && positions.received >= flushed)
}

/// What the lag and the verdicts are made of, at one moment.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The moment.
    pub now: Timestamp,
    /// When the program started.
    pub started: Timestamp,
    /// What it does.
    pub state: State,
    /// Where it is; `None` before the checkpoint was read.
    pub positions: Option<Positions>,
    /// The last look at the source, if that is fresh: `None` when the source is away.
    pub look: Option<Look>,
    /// What was known of the graph before.
    pub through: Option<Timestamp>,
    /// How long ago something got into the graph last, or the pipeline was connected.
    pub since_moved: Duration,
    /// How long ago the loop of a running pipeline went round last.
    pub since_turned: Duration,
    /// Changes wait because Neo4j plans statements.
    pub planning: Option<Planning>,
    /// What is read names no positions of the source. For how long the graph has not been known to have
    /// all of that; `None`: it names them.
    pub unplaced: Option<Duration>,
}

/// Changes wait for statements that Neo4j plans for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planning {
    /// How many are still to be planned.
    pub statements: usize,
    /// For how long changes have waited.
    pub time: Duration,
}

/// A shorter wait for plans is none to speak of.
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

/// How far the graph is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// For how long it has not been known to be complete; `None`: nothing can tell.
    pub time: Option<Duration>,
    /// Bytes of log that the stream has not received; `None`: not known.
    pub received_bytes: Option<u64>,
    /// Bytes of log that are not in the graph; `None`: not known.
    pub applied_bytes: Option<u64>,
}

impl Facts {
    /// How far the graph is behind the source.
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
            // Another stream begins where the graph is.
            false => |positions: &Positions| positions.applied,
        };
        Lag {
            time: Some(self.lag_time()),
            received_bytes: behind(received),
            applied_bytes: behind(|positions| positions.applied),
        }
    }

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

    /// Why the graph is not to be relied on now; nothing: it is ready.
    pub fn unready(&self, limits: &Limits) -> Vec<Unready> {
        let lag = self.lag_time();
        let stuck_for = lag.min(self.since_moved);
        let of_state = match &self.state {
            State::Starting => Some(Unready::Starting),
            State::Copying => Some(Unready::Copying),
            State::Streaming => None,
            State::Waiting { why } => Some(Unready::NotConnected { why: why.clone() }),
            State::Stopping => Some(Unready::Stopping),
        };
        let behind = Unready::Behind { lag, limit: limits.ready_lag };
        let stuck = Unready::Stuck { time: stuck_for, limit: limits.progress_timeout };
        let is_stuck = self.state.is_connected() && stuck_for > limits.progress_timeout;
        let is_behind = lag > limits.ready_lag;
        let planning = self.planning.filter(|it| it.time >= PLANNING_LIMIT).map(Unready::Planning);
        [of_state, planning, is_behind.then_some(behind), is_stuck.then_some(stuck)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Whether the program still works: waiting for somebody is work, a loop that no longer goes
    /// round is none.
    pub fn is_alive(&self) -> bool {
        !self.state.is_connected() || self.since_turned <= TURN_LIMIT
    }
}

/// The loop of a running pipeline looks around every second, whatever it waits for.
pub const TURN_LIMIT: Duration = Duration::from_secs(30);

/// How long from one moment to another; zero where clocks disagree.
pub fn since(now: Timestamp, then: Timestamp) -> Duration {
    let micros = now.unix_micros.saturating_sub(then.unix_micros);
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// What is still well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A graph that is further behind is not ready.
    pub ready_lag: Duration,
    /// Nor is one that has not moved for so long although there is work.
    pub progress_timeout: Duration,
}

/// Why the graph is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unready {
    /// Nothing has been streamed yet.
    Starting,
    /// Not all rows are in the graph yet.
    Copying,
    /// Source or graph is away.
    NotConnected {
        /// What happened.
        why: String,
    },
    /// The program is about to end.
    Stopping,
    /// Changes wait for plans.
    Planning(Planning),
    /// The graph is too far behind.
    Behind {
        /// How far.
        lag: Duration,
        /// What is allowed.
        limit: Duration,
    },
    /// There is work, and nothing gets into the graph.
    Stuck {
        /// For how long.
        time: Duration,
        /// What is allowed.
        limit: Duration,
    },
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unready::Starting => write!(f, "starting"),
            Unready::Copying => write!(f, "copying: not all rows are in the graph yet"),
            Unready::NotConnected { why } => write!(f, "not connected: {why}"),
            Unready::Stopping => write!(f, "stopping"),
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
