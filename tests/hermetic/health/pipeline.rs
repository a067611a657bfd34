//! What engine and pipeline say of themselves to whoever watches.

use std::{convert::Infallible, sync::Arc, sync::Mutex, time::Duration};

use wal2graph::{
    change::{Begin, Change, Commit, Event},
    checkpoint::{Advance, Position},
    engine::{Batch, Engine, Input, Limits, Output},
    graph::{self, Model, Statement},
    lsn::Lsn,
    pipeline::{Failure, Observed, Observer, Prepare, Sink, Translate, Translated, Written},
};

use super::second;

fn change() -> Change {
    Change::Truncate { relations: Vec::new() }
}

/// A transaction that committed at that second, with so many changes.
fn transaction(committed: i64, changes: usize) -> Vec<Event> {
    let (commit_lsn, committed_at) = (Lsn(committed as u64 * 10), second(committed));
    let begin = Begin { xid: committed as u32, commit_lsn, committed_at };
    let commit = Commit { commit_lsn, end_lsn: Lsn(commit_lsn.0 + 5), committed_at };
    let mut events = vec![Event::Begin(begin)];
    events.extend((0..changes).map(|_| Event::Change(change())));
    events.push(Event::Commit(commit));
    events
}

fn engine(part_changes: usize) -> Engine {
    let limits = Limits { part_changes, ..Limits::DEFAULT };
    let mut engine = Engine::new(limits, Position::at(Lsn(1)));
    assert!(batch(&mut engine).is_none());
    engine
}

fn receive(engine: &mut Engine, events: Vec<Event>) {
    for event in events {
        engine.handle(Input::Event(event)).unwrap();
    }
}

fn batch(engine: &mut Engine) -> Option<Batch> {
    loop {
        match engine.poll(Duration::ZERO)? {
            Output::Apply(batch) => return Some(batch),
            Output::Acknowledge(_) | Output::Held => {}
        }
    }
}

#[test]
fn the_oldest_unapplied_transaction_is_known_wherever_it_is() {
    let mut engine = engine(100);
    assert_eq!(engine.oldest_unapplied(), None);
    receive(&mut engine, transaction(7, 1)[..1].to_vec());
    assert_eq!(engine.oldest_unapplied(), Some(second(7)), "it is arriving");
    receive(&mut engine, transaction(7, 1)[1..].to_vec());
    receive(&mut engine, transaction(8, 1));
    assert_eq!(engine.oldest_unapplied(), Some(second(7)), "it waits");
    let first = batch(&mut engine).unwrap();
    assert_eq!(first.commits, [second(7), second(8)]);
    receive(&mut engine, transaction(9, 1));
    assert_eq!(engine.oldest_unapplied(), Some(second(7)), "it is on its way");
    engine.handle(Input::Applied).unwrap();
    assert_eq!(engine.oldest_unapplied(), Some(second(9)));
    batch(&mut engine).unwrap();
    engine.handle(Input::Applied).unwrap();
    assert_eq!(engine.oldest_unapplied(), None);
    // An idle position on its way holds nothing.
    let idle = Event::Keepalive { wal_end: Lsn(500), reply_requested: false };
    receive(&mut engine, vec![idle]);
    assert!(batch(&mut engine).is_some_and(|batch| batch.commits.is_empty()));
    assert_eq!(engine.oldest_unapplied(), None);
}

#[test]
fn a_transaction_in_parts_is_committed_with_its_last_part() {
    let mut engine = engine(2);
    receive(&mut engine, transaction(7, 5));
    let mut commits = Vec::new();
    while let Some(batch) = batch(&mut engine) {
        assert_eq!(engine.oldest_unapplied(), Some(second(7)));
        commits.push(batch.commits);
        engine.handle(Input::Applied).unwrap();
    }
    assert_eq!(commits, [vec![], vec![], vec![second(7)]]);
}

/// Maps nothing.
struct Unmapped(Model);

impl Translate for Unmapped {
    type Error = Infallible;

    fn translate(&mut self, _: &[Change], _: impl FnMut(graph::Event)) -> Result<(), Infallible> {
        Ok(())
    }

    fn model(&self) -> &Model {
        &self.0
    }
}

#[derive(Debug, thiserror::Error)]
#[error("away")]
struct Away;

impl Failure for Away {
    fn is_transient(&self) -> bool {
        true
    }
}

/// Is away from a position on.
struct AwayFrom(Lsn);

impl Sink<usize> for AwayFrom {
    type Error = Away;

    async fn write(&mut self, advance: Advance, _: usize) -> Result<(), Away> {
        if advance.to.lsn < self.0 { Ok(()) } else { Err(Away) }
    }
}

struct Told(Arc<Mutex<Vec<usize>>>);

impl Observer for Told {
    fn written(&mut self, written: &Written<'_>) {
        assert_eq!(written.commits, [second(1)]);
        self.0.lock().unwrap().push(written.changes);
    }
}

#[tokio::test]
async fn the_observer_is_told_once_a_batch_of_what_is_in_the_graph() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let translator = Unmapped(Model { tables: Vec::new() });
    let finish = |_: &Model, statements: Vec<Statement>| statements.len();
    let mut preparer = Translated { translator, finish };
    let mut sink = Observed { sink: AwayFrom(Lsn(30)), observer: Told(told.clone()) };
    let mut write = async |changes: usize, to: u64| {
        let to = Position::at(Lsn(to));
        let advance = Advance { from: Position::at(Lsn(1)), to, committed_at: None };
        let (changes, commits) = (vec![change(); changes], vec![second(1)]);
        let batch = Batch { changes, advance, whole_transactions: true, xids: vec![], commits };
        let ready = preparer.prepare(batch, true).unwrap();
        sink.write(advance, ready).await
    };
    write(3, 10).await.unwrap();
    write(0, 20).await.unwrap();
    write(5, 30).await.unwrap_err();
    let told = told.lock().unwrap().clone();
    assert_eq!(told, [3], "nothing of an idle position, nor of what failed");
}
