//! The status of engine and pipeline, for observers.

use std::{convert::Infallible, sync::Arc, sync::Mutex, time::Duration};

use wal2graph::{
    change::{Begin, Change, Commit, Event},
    checkpoint::{Advance, Position},
    engine::{Batch, Engine, Input, Limits, Output, Share},
    graph::{self, Model, Statement},
    lsn::Lsn,
    pipeline::{
        CopyError, Failure, Letters, Named, Observed, Observer, PipelineError, Prepare, Sink,
        Translate, Translated, Verdict, Written,
    },
    postgres::{replication::StreamError, unsent::WholeError},
};

use super::second;

fn change() -> Change {
    Change::Truncate { relations: Vec::new() }
}

/// A transaction with this commit time and number of changes.
fn transaction(committed: i64, changes: usize) -> Vec<Event> {
    let (commit_lsn, committed_at) = (Lsn(committed as u64 * 10), second(committed));
    let begin = Begin { xid: committed as u32, commit_lsn, committed_at, stamp: None };
    let end_lsn = Lsn(commit_lsn.0 + 5);
    let commit = Commit { commit_lsn, end_lsn, source_lsn: end_lsn, committed_at };
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
    assert_eq!(first.commits(), [second(7), second(8)]);
    receive(&mut engine, transaction(9, 1));
    assert_eq!(engine.oldest_unapplied(), Some(second(7)), "it is on its way");
    engine.handle(Input::Applied).unwrap();
    assert_eq!(engine.oldest_unapplied(), Some(second(9)));
    batch(&mut engine).unwrap();
    engine.handle(Input::Applied).unwrap();
    assert_eq!(engine.oldest_unapplied(), None);
    // An idle position on its way holds nothing.
    let idle = Event::Keepalive { wal_end: Lsn(500), source_lsn: Lsn(500), reply_requested: false };
    receive(&mut engine, vec![idle]);
    assert!(batch(&mut engine).is_some_and(|batch| batch.commits().is_empty()));
    assert_eq!(engine.oldest_unapplied(), None);
}

#[test]
fn a_transaction_in_parts_is_committed_with_its_last_part() {
    let mut engine = engine(2);
    receive(&mut engine, transaction(7, 5));
    let (mut commits, mut places) = (Vec::new(), Vec::new());
    while let Some(batch) = batch(&mut engine) {
        assert_eq!(engine.oldest_unapplied(), Some(second(7)));
        commits.push(batch.commits());
        let place = |share: &Share| (share.first_event, share.changes, share.end.is_some());
        places.extend(batch.shares.iter().map(place));
        engine.handle(Input::Applied).unwrap();
    }
    assert_eq!(commits, [vec![], vec![], vec![second(7)]]);
    assert_eq!(places, [(0, 2, false), (2, 2, false), (4, 1, true)]);
    receive(&mut engine, transaction(8, 2));
    let part = batch(&mut engine).unwrap();
    engine.handle(Input::Applied).unwrap();
    let rest = batch(&mut engine).unwrap();
    assert_eq!((part.shares[0].changes, part.shares[0].end), (2, None));
    assert_eq!((rest.shares[0].first_event, rest.shares[0].changes), (2, 0), "nothing but its end");
    assert!(rest.changes.is_empty() && rest.shares[0].end.is_some());
}

/// Maps nothing, and counts the ends of batches.
struct Unmapped(Model, Arc<Mutex<Vec<&'static str>>>);

impl Translate for Unmapped {
    type Error = Infallible;

    fn translate(&mut self, _: &Change, _: Lsn) -> Result<Option<graph::Event>, Infallible> {
        self.1.lock().unwrap().push("change");
        Ok(None)
    }

    fn batch_translated(&mut self) {
        self.1.lock().unwrap().push("translated");
    }

    fn model(&self) -> &Model {
        &self.0
    }
}

#[derive(Debug, thiserror::Error)]
#[error("away")]
struct Away;

impl Failure for Away {
    fn verdict(&self) -> Verdict {
        Verdict::Again
    }
}

/// Is away from a position on.
struct AwayFrom(Lsn);

impl Sink<Vec<Statement>> for AwayFrom {
    type Error = Away;

    async fn write(&mut self, advance: Advance, _: Vec<Statement>) -> Result<(), Away> {
        if advance.to.lsn < self.0 { Ok(()) } else { Err(Away) }
    }
}

struct Told(Arc<Mutex<Vec<&'static str>>>);

impl Observer for Told {
    fn written(&mut self, written: &Written<'_>) {
        assert_eq!((written.changes, written.commits.len()), (3, 1));
        self.0.lock().unwrap().push("written");
    }
}

#[tokio::test]
async fn the_observer_is_told_once_a_batch_of_what_is_in_the_graph() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let translator = Unmapped(Model { tables: Vec::new() }, told.clone());
    let mut translated = Translated {
        translator,
        named: Named::default(),
        letters: Letters::none(),
        finish: |_: &Model, statements: Vec<Statement>| statements,
    };
    let mut sink = Observed { sink: AwayFrom(Lsn(30)), observer: Told(told.clone()) };
    let batch = |changes: usize, to: u64| {
        let share = Share {
            xid: 1,
            commit_lsn: Lsn(to),
            committed_at: second(1),
            first_event: 0,
            changes,
            end: Some(Lsn(to)),
            stamp: None,
        };
        let shares = Vec::from_iter((changes > 0).then_some(share));
        let to = Position::at(Lsn(to));
        let advance = Advance {
            from: Position::at(Lsn(1)),
            to,
            source_lsn: to.lsn,
            committed_at: None,
            last_change: None,
            last_record: None,
            newest: None,
        };
        let changes = vec![change(); changes];
        Batch { changes, advance, shares }
    };
    let mut results = Vec::new();
    for batch in [batch(3, 10), batch(0, 20), batch(3, 30)] {
        let advance = batch.advance;
        let ready = translated.prepare(&batch, true).unwrap();
        results.push(sink.write(advance, ready).await.is_ok());
    }
    assert_eq!(results, [true, true, false]);
    let told = told.lock().unwrap().clone();
    let batch = ["change", "change", "change", "translated"];
    let expected: Vec<_> =
        batch.into_iter().chain(["written", "translated"]).chain(batch).collect();
    assert_eq!(told, expected, "nothing of an idle position, nor of what failed");
}

/// Since PostgreSQL 18 a stream begins, and ends with a warning.
#[test]
fn a_publication_that_the_log_lacks_takes_a_copy_also_after_the_stream_has_begun() {
    let missing = || StreamError::Missing { message: "the publication does not exist".to_owned() };
    let ended = PipelineError::Source(Box::new(WholeError::Source(missing())));
    assert!(ended.needs_copy());
    let read = CopyError::<_, StreamError>::Read(missing());
    assert!(!PipelineError::Copy(Box::new(read)).needs_copy(), "it reads the rows again");
}
