//! Whether a slot's stream is of the history that the graph is of: what the engine demands of it, and
//! what it does not.

use std::{sync::Arc, time::Duration};

use wal2graph::{
    change::{Before, Begin, Change, Commit, Event, Relation, ReplicaIdentity, Timestamp},
    checkpoint::{Mark, Newest, Part, Position},
    engine::{Difference, Engine, EngineError, Input, Limits, Output},
    lsn::Lsn,
};

/// Positions are behind this one: a page begins with a header.
const BASE: u64 = 1_000;

/// The transaction committed at 20, which ends at 25.
const NEWEST: Mark =
    Mark { commit_lsn: lsn(20), xid: 2, committed_at: Timestamp { unix_micros: 2_000 } };
/// An idle position behind it.
const GRAPH: Lsn = lsn(40);

const fn lsn(at: u64) -> Lsn {
    Lsn(BASE + at)
}

fn delete() -> Change {
    let relation = Relation {
        oid: 1,
        schema: "public".to_owned(),
        name: "t".to_owned(),
        replica_identity: ReplicaIdentity::Default,
        columns: Vec::new(),
        leaf: None,
    };
    Change::Delete { relation: Arc::new(relation), before: Before::Key([].into()) }
}

fn transaction(mark: Mark, changes: usize) -> Vec<Event> {
    let Mark { commit_lsn, xid, committed_at } = mark;
    let end_lsn = Lsn(commit_lsn.0 + 5);
    let begin = Begin { xid, commit_lsn, committed_at, stamp: None };
    let commit = Commit { commit_lsn, end_lsn, source_lsn: end_lsn, committed_at };
    let changes = std::iter::repeat_n(Event::Change(delete()), changes);
    [Event::Begin(begin)].into_iter().chain(changes).chain([Event::Commit(commit)]).collect()
}

/// A transaction of the same history.
fn at(commit_lsn: u64, changes: usize) -> Vec<Event> {
    let committed_at = Timestamp { unix_micros: commit_lsn as i64 * 100 };
    transaction(
        Mark { commit_lsn: lsn(commit_lsn), xid: commit_lsn as u32 / 10, committed_at },
        changes,
    )
}

fn keepalive(wal_end: u64) -> Vec<Event> {
    let (wal_end, source_lsn) = (lsn(wal_end), lsn(wal_end));
    vec![Event::Keepalive { wal_end, source_lsn, reply_requested: false }]
}

fn engine(position: Position, newest: Option<Newest>, confirmed: u64) -> Engine {
    Engine::new(Limits::DEFAULT, position).continuing(newest, lsn(confirmed))
}

/// A graph at 40, whose newest transaction is the one of 20.
fn continuing(confirmed: u64) -> Engine {
    engine(Position::at(GRAPH), Some(Newest::Transaction(NEWEST)), confirmed)
}

/// Takes events, one after the other; before the proof nothing may be asked for.
fn take(
    engine: &mut Engine,
    events: impl IntoIterator<Item = Vec<Event>>,
) -> Result<(), EngineError> {
    for event in events.into_iter().flatten() {
        if !engine.is_proven() {
            assert_eq!(engine.poll(Duration::ZERO), None, "before the proof");
            assert_eq!(engine.take_acknowledgement(), None, "before the proof");
        }
        engine.handle(Input::Event(event))?;
    }
    Ok(())
}

/// What it does then: what it acknowledges, and what it applies.
fn done(engine: &mut Engine) -> (Vec<Lsn>, Vec<(usize, Option<Newest>)>) {
    let (mut acknowledged, mut applied) = (Vec::new(), Vec::new());
    while let Some(output) = engine.poll(Duration::ZERO) {
        match output {
            Output::Acknowledge(lsn) => acknowledged.push(lsn),
            Output::Apply(batch) => {
                applied.push((batch.changes.len(), batch.advance.newest));
                engine.handle(Input::Applied).unwrap();
            }
            Output::Held => {}
        }
    }
    (acknowledged, applied)
}

#[track_caller]
fn refused(mut engine: Engine, events: impl IntoIterator<Item = Vec<Event>>) -> Difference {
    let refused = take(&mut engine, events);
    assert_eq!(done(&mut engine), (vec![], vec![]), "nothing is done");
    match refused {
        Err(EngineError::OtherHistory(difference)) => difference,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_slot_that_has_confirmed_the_position_has_nothing_to_show() {
    let mut engine = continuing(40);
    assert!(engine.is_proven());
    take(&mut engine, [at(50, 2)]).unwrap();
    let newest =
        Mark { commit_lsn: lsn(50), xid: 5, committed_at: Timestamp { unix_micros: 5_000 } };
    let (acknowledged, applied) = done(&mut engine);
    assert_eq!(acknowledged, [GRAPH, lsn(55)]);
    assert_eq!(applied, [(2, Some(Newest::Transaction(newest)))]);
}

#[test]
fn an_older_slot_of_the_same_history_is_taken_once_the_newest_transaction_has_come() {
    for events in [
        // Sent again with what is before it, which may be in parts and empty ones.
        vec![at(10, 1), at(20, 3), keepalive(40)],
        vec![at(20, 3), keepalive(30), keepalive(41)],
        vec![at(20, 1), at(30, 0), at(50, 1)],
        // The position is just behind a keepalive that comes before the transaction.
        vec![keepalive(20), at(20, 1), keepalive(60)],
    ] {
        let mut engine = continuing(8);
        take(&mut engine, events.clone()).unwrap();
        assert!(engine.is_proven(), "{events:?}");
        assert_eq!(done(&mut engine).0[0], GRAPH);
    }
}

#[test]
fn nothing_is_acknowledged_or_held_before_the_proof() {
    let mut engine = continuing(8);
    engine.handle(Input::Hold).unwrap();
    take(&mut engine, [at(20, 3), keepalive(39)]).unwrap();
    assert!(!engine.is_proven());
    assert_eq!(done(&mut engine), (vec![], vec![]));
    take(&mut engine, [keepalive(40)]).unwrap();
    assert_eq!(engine.poll(Duration::ZERO), Some(Output::Acknowledge(GRAPH)));
    assert_eq!(engine.poll(Duration::ZERO), Some(Output::Held));
}

#[test]
fn a_source_without_the_newest_transaction_is_another_history() {
    let gone = Difference::Gone(NEWEST);
    // Its log is past, by a keepalive or by another transaction, before or behind the position.
    assert_eq!(refused(continuing(8), [keepalive(21)]), gone);
    assert_eq!(refused(continuing(8), [at(10, 1), keepalive(100)]), gone);
    assert_eq!(refused(continuing(8), [at(10, 1), at(30, 1)]), gone);
    assert_eq!(refused(continuing(8), [at(50, 1)]), gone);
    // Another one stands in its place.
    let later = Timestamp { unix_micros: 2_001 };
    for other in [Mark { xid: 3, ..NEWEST }, Mark { committed_at: later, ..NEWEST }] {
        assert_eq!(refused(continuing(8), [transaction(other, 1)]), gone, "{other:?}");
        assert_eq!(refused(continuing(20), [transaction(other, 0)]), gone, "{other:?}");
    }
}

#[test]
fn a_transaction_that_the_graph_passed_without_seeing_it_is_another_history() {
    let added = |difference| match difference {
        Difference::Added { added, before } => (added.commit_lsn, before),
        other => panic!("{other:?}"),
    };
    assert_eq!(added(refused(continuing(8), [at(20, 1), at(30, 1)])), (lsn(30), GRAPH));
    // The slot has confirmed the newest one.
    assert_eq!(added(refused(continuing(25), [at(30, 1)])), (lsn(30), GRAPH));
    let none_yet = engine(Position::at(GRAPH), Some(Newest::Nothing), 8);
    assert_eq!(added(refused(none_yet, [at(10, 1)])), (lsn(10), GRAPH));
}

#[test]
fn a_graph_that_no_transaction_came_to_goes_on_where_none_is_in_the_log() {
    let mut engine = engine(Position::at(GRAPH), Some(Newest::Nothing), 8);
    take(&mut engine, [at(10, 0), keepalive(30), at(50, 1)]).unwrap();
    assert_eq!(done(&mut engine).0, [GRAPH, lsn(55)]);
}

#[test]
fn of_a_transaction_in_parts_the_rest_is_taken_only_from_the_same_one() {
    let part = Some(Part { commit_lsn: lsn(20), events: 2 });
    let position = Position { lsn: lsn(15), part };
    let newest = Some(Newest::Transaction(NEWEST));
    let mut same = engine(position, newest, 8);
    // An empty one, as PostgreSQL 14 sends it, may precede it.
    take(&mut same, [at(10, 1), keepalive(15), at(15, 0), at(20, 5)]).unwrap();
    let (acknowledged, applied) = done(&mut same);
    assert_eq!((acknowledged, applied), (vec![lsn(15), lsn(25)], vec![(3, newest)]));
    let other = Mark { committed_at: Timestamp { unix_micros: 1 }, ..NEWEST };
    let gone = Difference::Gone(NEWEST);
    assert_eq!(refused(engine(position, newest, 8), [transaction(other, 5)]), gone);
    assert_eq!(refused(engine(position, newest, 15), [at(30, 1)]), gone);
    assert_eq!(refused(engine(position, newest, 15), [keepalive(30)]), gone);
    // Without its identity the position of its commit has to do.
    for (between, is_refused) in [(0, false), (1, true)] {
        let mut unknown = engine(position, None, 8);
        let taken = take(&mut unknown, [at(15, between), at(20, 5)]);
        assert_eq!(taken.is_err(), is_refused, "{between} changes before the part");
    }
}

#[test]
fn without_a_known_transaction_the_stream_goes_on_as_it_is() {
    let mut engine = engine(Position::at(GRAPH), None, 8);
    take(&mut engine, [at(30, 1), keepalive(45)]).unwrap();
    assert_eq!(done(&mut engine), (vec![GRAPH, lsn(45)], vec![(0, None)]), "nor is one named");
    take(&mut engine, [at(50, 1)]).unwrap();
    assert!(done(&mut engine).1[0].1.is_some(), "the next one is");
}

#[test]
fn the_newest_transaction_is_read_as_it_was_written() {
    let of_now = Mark {
        commit_lsn: Lsn(0x16_B374_D848),
        xid: u32::MAX,
        committed_at: Timestamp { unix_micros: 1_764_398_765_123_456 },
    };
    for newest in [Newest::Nothing, Newest::Transaction(of_now)] {
        assert_eq!(newest.to_string().parse(), Ok(newest));
    }
    let text = "16/B374D848 4294967295 1764398765123456";
    assert_eq!(Newest::Transaction(of_now).to_string(), text);
    for wrong in ["", "0/1", "0/1 2", "0/1 2 3 4", "0/1 2 x", "0/1 -2 3", "Nothing"] {
        assert!(wrong.parse::<Newest>().is_err(), "{wrong}");
    }
}
