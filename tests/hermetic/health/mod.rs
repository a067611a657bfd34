//! Lag and verdicts from facts, and the metrics derived from them.

mod budget;
mod metrics;
mod pipeline;
mod random;

use std::{collections::BTreeSet, time::Duration};

use wal2graph::{
    change::Timestamp,
    health::{
        Answers, Facts, Limits, Look, Planning, Positions, Side, Silent, State, TURN_LIMIT,
        Tracker, Unready,
    },
    lsn::Lsn,
};

const LIMITS: Limits = Limits {
    ready_lag: Duration::from_secs(60),
    progress_timeout: Duration::from_secs(30),
    standby_is_ready: false,
};

fn second(second: i64) -> Timestamp {
    Timestamp { unix_micros: second * 1_000_000 }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn waiting() -> State {
    State::Waiting { why: "the cause".to_owned() }
}

/// A run that began at second 0, with its facts.
struct Run {
    tracker: Tracker,
    state: State,
    positions: Option<Positions>,
    look: Option<Look>,
}

impl Run {
    /// Everything up to 100 is applied, and at second 10 the source had no more.
    fn caught_up() -> Self {
        let at = Lsn(100);
        let positions = Positions { received: at, applied: at, ..Positions::default() };
        let mut run = Run {
            tracker: Tracker::default(),
            state: State::Streaming,
            positions: Some(positions),
            look: None,
        };
        run.look(10, 100);
        run
    }

    fn look(&mut self, at: i64, flushed: u64) {
        self.look = Some(Look { at: second(at), flushed: Lsn(flushed) });
    }

    /// The facts at a second.
    fn at(&mut self, now: i64) -> Facts {
        if let Some(positions) = &self.positions {
            self.tracker.observe(self.state.is_connected(), positions, self.look);
        }
        Facts {
            now: second(now),
            started: second(0),
            state: self.state.clone(),
            positions: self.positions,
            look: self.look,
            through: self.tracker.through(),
            since_moved: Duration::ZERO,
            since_turned: Duration::ZERO,
            planning: None,
            silent: Vec::new(),
            copying_since: None,
            comparing: BTreeSet::new(),
            unplaced: None,
        }
    }

    fn lag(&mut self, now: i64) -> Duration {
        self.at(now).lag().time.unwrap()
    }

    fn positions(&mut self) -> &mut Positions {
        self.positions.as_mut().unwrap()
    }
}

#[test]
fn a_quiet_source_shows_no_lag() {
    let mut run = Run::caught_up();
    assert_eq!(run.lag(12), Duration::ZERO);
    // Unrelated changes move the log. The stream names the position, which holds nothing for us.
    run.look(20, 300);
    run.positions().received = Lsn(300);
    assert_eq!(run.lag(21), Duration::ZERO);
    assert_eq!(run.at(21).lag().applied_bytes, Some(200));
    assert_eq!(run.at(21).lag().received_bytes, Some(0));
}

#[test]
fn lag_grows_while_the_graph_is_away() {
    let mut run = Run::caught_up();
    run.lag(10);
    run.look(20, 200);
    run.positions().received = Lsn(200);
    run.positions().oldest_unapplied = Some(second(15));
    assert_eq!(run.lag(20), seconds(5));
    run.look(30, 400);
    run.positions().received = Lsn(400);
    assert_eq!((run.lag(30), run.at(30).lag().applied_bytes), (seconds(15), Some(300)));
    // The connection is dropped and opened again, several times.
    run.state = waiting();
    run.look(90, 500);
    assert_eq!((run.lag(90), run.at(90).lag().received_bytes), (seconds(75), Some(400)));
    // It comes back: one transaction is applied, then all.
    run.state = State::Streaming;
    *run.positions() = Positions {
        received: Lsn(500),
        applied: Lsn(200),
        committed_at: Some(second(15)),
        oldest_unapplied: Some(second(85)),
    };
    assert_eq!(run.lag(91), seconds(6));
    run.positions().applied = Lsn(500);
    run.positions().oldest_unapplied = None;
    assert_eq!(run.lag(92), Duration::ZERO);
}

#[test]
fn lag_grows_while_the_source_is_away_although_nothing_is_known_to_be_missing() {
    let mut run = Run::caught_up();
    assert_eq!(run.lag(10), Duration::ZERO);
    run.look = None;
    for now in [11, 20, 500] {
        assert_eq!(run.lag(now), seconds(now as u64 - 10));
    }
    let lag = run.at(500).lag();
    assert_eq!((lag.received_bytes, lag.applied_bytes), (None, None), "not known is not 0");
    run.state = waiting();
    assert_eq!(run.lag(501), seconds(491));
    run.look(502, 100);
    assert_eq!(run.lag(502), Duration::ZERO, "it came back with nothing new");
}

#[test]
fn lag_grows_while_nobody_streams_what_the_source_has_more() {
    let mut run = Run::caught_up();
    run.lag(10);
    run.state = waiting();
    // Positions received by an earlier stream do not count.
    run.positions().received = Lsn(300);
    run.look(20, 300);
    assert_eq!(run.lag(20), seconds(10));
    run.look(40, 300);
    assert_eq!(run.lag(40), seconds(30));
    // The graph reaches the end that the first of these looks saw.
    run.state = State::Streaming;
    run.positions().applied = Lsn(300);
    run.look(50, 400);
    assert_eq!(run.lag(51), seconds(31), "complete through the look at 20");
}

#[test]
fn a_commit_between_two_looks_is_lag_at_once() {
    let mut run = Run::caught_up();
    run.positions().oldest_unapplied = Some(second(11));
    assert_eq!(run.lag(12), seconds(1));
}

#[test]
fn before_anything_is_known_lag_counts_from_the_start() {
    let mut run = Run::caught_up();
    (run.state, run.positions) = (State::Starting, None);
    let lag = run.at(30).lag();
    assert_eq!((lag.time, lag.applied_bytes), (Some(seconds(30)), None));
}

#[test]
fn clocks_that_disagree_give_no_lag_below_zero() {
    let mut run = Run::caught_up();
    run.positions().oldest_unapplied = Some(second(99));
    assert_eq!(run.lag(50), Duration::ZERO);
}

#[test]
fn ready_says_every_reason() {
    let facts = Run::caught_up().at(11);
    assert_eq!(facts.unready(&LIMITS), []);
    let of_state = |state| Facts { state, ..facts.clone() }.unready(&LIMITS);
    assert_eq!(of_state(State::Starting), [Unready::Starting]);
    assert_eq!(of_state(State::Copying), [Unready::Copying { comparing: BTreeSet::new() }]);
    assert_eq!(of_state(State::Stopping), [Unready::Stopping]);
    assert_eq!(of_state(waiting()), [Unready::NotConnected { why: "the cause".to_owned() }]);
    let away = Facts { state: waiting(), look: None, now: second(100), ..facts.clone() };
    let texts: Vec<_> = away.unready(&LIMITS).iter().map(ToString::to_string).collect();
    assert_eq!(texts[0], "not connected: the cause");
    assert!(texts[1].starts_with("behind: ") && texts[1].contains("90.0 s ago"), "{texts:?}");
    assert_eq!(texts.len(), 2);
}

#[test]
fn ready_fails_when_there_is_work_and_nothing_moves() {
    let mut run = Run::caught_up();
    run.lag(10);
    let idle = Facts { since_moved: seconds(9_999), ..run.at(11) };
    assert_eq!(idle.unready(&LIMITS), [], "no work");
    run.look(40, 200);
    run.positions().oldest_unapplied = Some(second(40));
    let new_work = Facts { since_moved: seconds(9_999), ..run.at(41) };
    assert_eq!(new_work.unready(&LIMITS), [], "the work is new");
    let moving = Facts { since_moved: seconds(1), ..run.at(80) };
    assert_eq!(moving.unready(&LIMITS), [], "slow, not stuck");
    let stuck = Facts { since_moved: seconds(9_999), ..run.at(80) };
    let expected = Unready::Stuck { time: seconds(40), limit: seconds(30) };
    assert_eq!(stuck.unready(&LIMITS), [expected]);
}

#[test]
fn a_loop_that_does_not_go_round_is_dead_and_one_that_waits_is_not() {
    let facts = Run::caught_up().at(11);
    assert!(facts.is_alive());
    let still = Facts { since_turned: TURN_LIMIT + seconds(1), ..facts };
    assert!(!still.is_alive());
    assert!(Facts { state: waiting(), ..still }.is_alive());
}

#[test]
fn where_what_is_read_names_no_positions_the_lag_is_not_known_and_readiness_goes_by_what_is_read() {
    let mut run = Run::caught_up();
    *run.positions() = Positions::default();
    run.look(20, 500);
    let at = |run: &mut Run, unplaced| Facts { unplaced: Some(unplaced), ..run.at(900) };
    let lag = at(&mut run, seconds(0)).lag();
    assert_eq!((lag.time, lag.received_bytes, lag.applied_bytes), (None, None, None));
    assert_eq!(at(&mut run, seconds(0)).unready(&LIMITS), []);
    let behind = at(&mut run, LIMITS.ready_lag + seconds(1)).unready(&LIMITS);
    assert!(matches!(behind[..], [Unready::Behind { .. }]), "{behind:?}");
}

#[test]
fn an_instance_that_waits_for_another_one_is_ready_where_that_is_wanted() {
    let standby = State::Standby { why: "slot is active for PID 7".to_owned() };
    let facts = Facts { state: standby, ..Run::caught_up().at(900) };
    let reasons = facts.unready(&LIMITS);
    assert!(matches!(&reasons[..], [Unready::Standby { why }] if why.contains("PID 7")));
    assert!(reasons[0].to_string().contains("http.standby_ready"), "{}", reasons[0]);
    assert_eq!(facts.unready(&Limits { standby_is_ready: true, ..LIMITS }), []);
    assert!(facts.is_alive() && !facts.state.is_connected());
}

#[test]
fn a_side_is_silent_once_two_looks_in_a_row_fail() {
    let failed = |answers: Answers, at| answers.after(second(at), Err("refused".to_owned()));
    let silent = |answers: &Answers| Silent::of(Side::Graph, answers, second(20));
    let once = failed(Answers::Yes, 10);
    assert!(once.is_there() && silent(&once).is_none());
    let twice = failed(once, 12);
    let expected = Silent { side: Side::Graph, why: "refused".to_owned(), time: seconds(10) };
    assert_eq!(silent(&twice), Some(expected.clone()));
    assert!(!twice.is_there() && !Answers::Unknown.is_there());
    assert!(twice.after(second(14), Ok(())).is_there());

    let facts = Facts { silent: vec![expected.clone()], ..Run::caught_up().at(11) };
    let reasons = facts.unready(&LIMITS);
    assert_eq!(reasons, [Unready::Silent(expected)]);
    assert_eq!(reasons[0].to_string(), "the graph has not answered for 10 s: refused");
    let named = Facts { state: waiting(), ..facts };
    assert_eq!(named.unready(&LIMITS).len(), 1, "a pipeline that waits names the side itself");
}

/// The stream beside a copy may have all changes: the graph still lacks rows.
#[test]
fn the_lag_during_a_copy_is_the_time_since_it_began() {
    let facts =
        Facts { state: State::Copying, copying_since: Some(second(3)), ..Run::caught_up().at(11) };
    assert_eq!(facts.lag().time, Some(seconds(8)));
    assert_eq!(facts.unready(&LIMITS), [Unready::Copying { comparing: BTreeSet::new() }]);
}

#[test]
fn changes_that_wait_for_plans_are_named_once_it_takes_long() {
    let planning = |seconds| {
        let planning = Planning { statements: 7, time: Duration::from_secs(seconds) };
        let facts = Facts { planning: Some(planning), ..Run::caught_up().at(10) };
        facts.unready(&LIMITS).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(planning(1).is_empty(), "{:?}", planning(1));
    let [said] = &planning(4)[..] else { panic!("{:?}", planning(4)) };
    assert!(said.contains("wait for 4.0 s") && said.contains("7 to go"), "{said}");
}
