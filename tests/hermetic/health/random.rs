//! Random histories: the shown state is never better than the truth.

use std::{collections::BTreeSet, time::Duration};

use fastrand::Rng;
use wal2graph::{
    change::Timestamp,
    health::{Facts, Look, Positions, State, Tracker},
    lsn::Lsn,
};

const HISTORIES: u64 = 300;
const STEPS: usize = 400;

/// A source with its log, a stream and a graph. `commits[..received]` are received;
/// `commits[..applied]` are in the graph.
struct World {
    now: i64,
    /// The commit time and end of each transaction.
    commits: Vec<(i64, u64)>,
    end: u64,
    received: usize,
    applied: usize,
    /// The position that a keepalive named after everything received.
    idle: u64,
    connected: bool,
    source_is_up: bool,
    graph_is_up: bool,
}

impl World {
    fn step(&mut self, rng: &mut Rng) {
        self.now += rng.i64(1..2_000);
        match rng.u8(0..12) {
            0..3 if self.source_is_up => {
                self.end += rng.u64(1..100);
                self.commits.push((self.now, self.end));
            }
            // Unrelated changes.
            3 if self.source_is_up => self.end += rng.u64(1..100),
            4..7 if self.connected && self.source_is_up => {
                self.received = rng.usize(self.received..=self.commits.len());
                if self.received == self.commits.len() {
                    self.idle = self.end;
                }
            }
            7..10 if self.connected && self.graph_is_up => {
                self.applied = rng.usize(self.applied..=self.received);
            }
            10 => match rng.u8(0..3) {
                0 => self.source_is_up = rng.bool(),
                1 => self.graph_is_up = rng.bool(),
                _ => self.connect(rng.bool()),
            },
            _ => {}
        }
    }

    fn connect(&mut self, connected: bool) {
        if connected != self.connected {
            (self.connected, self.received) = (connected, self.applied);
            self.idle = self.applied_end();
        }
    }

    fn applied_end(&self) -> u64 {
        self.applied.checked_sub(1).map_or(0, |last| self.commits[last].1)
    }

    fn positions(&self) -> Positions {
        let unapplied = self.commits[self.applied..self.received].first();
        let moment = |at: i64| Timestamp { unix_micros: at };
        Positions {
            received: Lsn(self
                .idle
                .max(self.received.checked_sub(1).map_or(0, |it| self.commits[it].1))),
            applied: Lsn(self.applied_end()),
            committed_at: self.applied.checked_sub(1).map(|last| moment(self.commits[last].0)),
            oldest_unapplied: unapplied.map(|(at, _)| moment(*at)),
        }
    }

    fn state(&self) -> State {
        match self.connected {
            true => State::Streaming,
            false => State::Waiting { why: String::new() },
        }
    }
}

#[test]
fn the_graph_is_never_shown_as_more_complete_than_it_is() {
    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |it| it.parse().unwrap());
    println!("SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let mut zeros = 0;
    for _ in 0..HISTORIES {
        let mut world = World {
            now: 1_000,
            commits: Vec::new(),
            end: 10,
            received: 0,
            applied: 0,
            idle: 0,
            connected: true,
            source_is_up: true,
            graph_is_up: true,
        };
        let (mut tracker, mut look) = (Tracker::default(), None);
        for _ in 0..STEPS {
            world.step(&mut rng);
            if rng.u8(0..3) == 0 {
                let at = Timestamp { unix_micros: world.now };
                look = world.source_is_up.then_some(Look { at, flushed: Lsn(world.end) });
                world.now += 1;
            }
            let (positions, state) = (world.positions(), world.state());
            tracker.observe(state.is_connected(), &positions, look);
            zeros += usize::from(is_honest(&world, &tracker, look));
        }
    }
    assert!(zeros > 1_000, "only {zeros} times without lag");
}

/// Whether the lag is zero; panics if it is less than the truth.
fn is_honest(world: &World, tracker: &Tracker, look: Option<Look>) -> bool {
    let facts = Facts {
        now: Timestamp { unix_micros: world.now },
        started: Timestamp { unix_micros: 0 },
        state: world.state(),
        positions: Some(world.positions()),
        look,
        through: tracker.through(),
        since_moved: Duration::ZERO,
        since_turned: Duration::ZERO,
        planning: None,
        silent: Vec::new(),
        copying_since: None,
        comparing: BTreeSet::new(),
        unplaced: None,
    };
    let missing = world.commits.get(world.applied).map(|(at, _)| *at);
    if let (Some(through), Some(missing)) = (facts.through, missing) {
        assert!(
            through.unix_micros <= missing,
            "{through:?}, but the commit at {missing} is missing"
        );
    }
    let lag = facts.lag().time.unwrap();
    if lag.is_zero() {
        let look = look.expect("without a look at the source nobody knows");
        assert!(missing.is_none_or(|at| at >= look.at.unix_micros), "{missing:?} is missing");
    }
    lag.is_zero()
}
