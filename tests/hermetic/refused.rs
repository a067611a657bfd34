//! One change that the sink refuses among many: it is found by halves, in one life of the pipeline.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex},
};

use tokio::sync::watch;
use wal2graph::{
    change::{Begin, Cell, Change, Commit, Event, Relation, RelationColumn, ReplicaIdentity},
    checkpoint::{Advance, Log, Position},
    engine::{Engine, Limits, Refused},
    graph::{
        self, Key, Model, Statement, TableIndex,
        model::{NodeShape, Shape, Table},
    },
    lsn::Lsn,
    pipeline::{
        Ended, Failure, KnownLetter, LetterRules, Letters, Named, NoCopy, Observed, Pipeline,
        PipelineError, Sink, Source, Status, Translate, Translated, Until, Verdict,
    },
    value::Value,
};

/// Brings all at once, and then nothing.
struct Once(Vec<Event>);

impl Source for Once {
    type Error = Infallible;

    async fn next(&mut self) -> Result<Vec<Event>, Infallible> {
        match self.0.is_empty() {
            true => pending().await,
            false => Ok(std::mem::take(&mut self.0)),
        }
    }

    fn acknowledge(&mut self, _: Lsn) {}
}

struct Rows(Model);

impl Translate for Rows {
    type Error = Infallible;

    fn translate(&mut self, change: &Change, _: Lsn) -> Result<Option<graph::Event>, Infallible> {
        let table = TableIndex(0);
        let key = |cells: &[Cell]| match &cells[0] {
            Cell::Text(text) => {
                Key([Value::Integer(String::from_utf8_lossy(text).parse().unwrap())].into())
            }
            other => panic!("{other:?}"),
        };
        Ok(match change {
            Change::Insert { new, .. } => Some(graph::Event::Insert {
                table,
                key: key(new),
                row: graph::Row { properties: Vec::new(), references: Vec::new() },
            }),
            Change::Truncate { .. } => Some(graph::Event::Truncate { tables: vec![table] }),
            _ => None,
        })
    }

    fn model(&self) -> &Model {
        &self.0
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?}")]
struct No(Refused);

impl Failure for No {
    fn verdict(&self) -> Verdict {
        Verdict::Stop
    }

    fn refused(&self) -> Option<Refused> {
        Some(self.0)
    }

    fn is_of_a_row(&self) -> bool {
        self.0 == Refused::Wrong
    }
}

/// What a graph that refuses some keys has taken.
#[derive(Default)]
struct Taken {
    wrong: BTreeSet<i64>,
    /// The most rows that it takes at once.
    most: usize,
    position: Position,
    /// How often it was asked.
    asked: usize,
    rows: Vec<i64>,
    set_aside: BTreeSet<i64>,
    /// The letters that went.
    removed: usize,
    /// The transactions of which it has taken a part, by the position before them.
    parts: BTreeSet<Lsn>,
}

#[derive(Clone)]
struct Graph(Arc<Mutex<Taken>>);

fn number(key: &Key) -> i64 {
    match &*key.0 {
        [Value::Integer(number)] => *number,
        other => panic!("{other:?}"),
    }
}

impl Sink<Vec<Statement>> for Graph {
    type Error = No;

    async fn write(&mut self, advance: Advance, batch: Vec<Statement>) -> Result<(), No> {
        let mut taken = self.0.lock().unwrap();
        taken.asked += 1;
        assert_eq!(advance.from, taken.position, "batches follow each other");
        let (mut rows, mut letters, mut removed) = (Vec::new(), Vec::new(), 0);
        for statement in batch {
            match statement {
                Statement::UpsertNodes { rows: more, .. } => {
                    rows.extend(more.iter().map(|row| number(&row.key)));
                }
                Statement::FillNodes { rows: more, .. } => {
                    rows.extend(more.iter().map(|(row, _)| number(&row.key)));
                }
                Statement::KeepLetters { letters: more, .. } => {
                    letters.extend(more.iter().map(|letter| number(&letter.key)));
                }
                Statement::RemoveLetters { letters } => removed += letters.len(),
                _ => {}
            }
        }
        if rows.len() > taken.most {
            return Err(No(Refused::TooLarge));
        }
        if rows.iter().any(|row| taken.wrong.contains(row)) {
            return Err(No(Refused::Wrong));
        }
        taken.rows.extend(rows);
        taken.set_aside.extend(letters);
        taken.removed += removed;
        taken.position = advance.to;
        if advance.to.part.is_some() {
            taken.parts.insert(advance.to.lsn);
        }
        Ok(())
    }
}

fn model() -> Model {
    let shape = NodeShape {
        label: "Row".to_owned(),
        extra_labels: Vec::new(),
        key: vec!["id".to_owned()],
        properties: Vec::new(),
        references: Vec::new(),
    };
    Model { tables: vec![Table { name: "public.rows".to_owned(), shape: Shape::Node(shape) }] }
}

fn relation() -> Arc<Relation> {
    let id =
        RelationColumn { name: "id".to_owned(), type_oid: 20, type_modifier: -1, identity: true };
    Arc::new(Relation {
        oid: 1,
        schema: "public".to_owned(),
        name: "rows".to_owned(),
        replica_identity: ReplicaIdentity::Default,
        columns: vec![id],
        leaf: None,
    })
}

fn inserts(ids: impl IntoIterator<Item = i64>) -> Vec<Change> {
    let relation = relation();
    let new = |id: i64| Box::new([Cell::Text(id.to_string().into_bytes().into())]);
    ids.into_iter().map(|id| Change::Insert { relation: relation.clone(), new: new(id) }).collect()
}

fn transactions(all: Vec<Vec<Change>>) -> Vec<Event> {
    let mut events = Vec::new();
    for (at, changes) in (1u64..).zip(all) {
        let (commit_lsn, end_lsn) = (Lsn(at * 10), Lsn(at * 10 + 5));
        let committed_at = Default::default();
        events.push(Event::Begin(Begin { xid: at as u32, commit_lsn, committed_at, stamp: None }));
        events.extend(changes.into_iter().map(Event::Change));
        events.push(Event::Commit(Commit {
            commit_lsn,
            end_lsn,
            source_lsn: end_lsn,
            committed_at,
        }));
    }
    events
}

/// One life: until everything is taken.
async fn live(
    all: Vec<Vec<Change>>,
    taken: Taken,
    sets_aside: bool,
    known: Vec<KnownLetter>,
) -> (Result<Ended, PipelineError>, Taken) {
    let begin = Position::at(Lsn(1));
    let end = Lsn(all.len() as u64 * 10 + 5);
    let graph = Graph(Arc::new(Mutex::new(Taken { position: begin, ..taken })));
    let rules = LetterRules { sets_aside, ..LetterRules::NONE };
    let letters = Letters::new(rules, "p", &Log::Slot("s".to_owned()), known);
    let finish = |_: &Model, statements: Vec<Statement>| statements;
    let pipeline = Pipeline {
        source: &mut Once(transactions(all)),
        preparer: Translated {
            translator: Rows(model()),
            named: Named::default(),
            letters,
            finish,
        },
        sink: Observed { sink: graph.clone(), observer: () },
        copier: None::<NoCopy>,
        engine: Engine::new(Limits::DEFAULT, begin),
        until: Until::Applied(end),
        status: watch::Sender::new(Status::default()),
    };
    let ended = pipeline.run(pending()).await;
    let taken = std::mem::take(&mut *graph.0.lock().unwrap());
    (ended, taken)
}

fn refusing(wrong: impl IntoIterator<Item = i64>) -> Taken {
    Taken { wrong: wrong.into_iter().collect(), most: usize::MAX, ..Taken::default() }
}

/// Each cost a life of the pipeline, with new connections to both servers.
#[tokio::test]
async fn many_refused_rows_of_one_transaction_are_found_in_one_life() {
    let (rows, wrong) = (10_000, 300);
    let is_wrong = |row: &i64| row % 33 == 0 && *row < 33 * wrong;
    let all = vec![inserts(0..rows)];
    let (ended, taken) = live(all, refusing((0..rows).filter(is_wrong)), true, Vec::new()).await;
    assert_eq!(ended.unwrap(), Ended::Reached);
    assert_eq!(taken.set_aside.len(), wrong as usize);
    assert!(taken.set_aside.iter().all(is_wrong));
    let expected = (0..rows).filter(|row| !is_wrong(row)).collect::<Vec<_>>();
    assert!(taken.rows == expected, "each once, and in their order");
    let log = (Limits::DEFAULT.part_changes as f64).log2().ceil() as usize;
    // One more each: its letter.
    let most = wrong as usize * (log + 1);
    println!("{} transactions of the graph for {wrong} refused rows", taken.asked);
    assert!(taken.asked <= most, "{} transactions, more than {most}", taken.asked);
}

#[tokio::test]
async fn only_the_transaction_with_the_refused_row_is_seen_in_parts() {
    let all = (0..100).map(|at| inserts(at * 10..at * 10 + 10)).collect();
    let (ended, taken) = live(all, refusing([503]), true, Vec::new()).await;
    ended.unwrap();
    assert_eq!((taken.set_aside.len(), taken.rows.len()), (1, 999));
    assert_eq!(
        taken.parts.into_iter().collect::<Vec<_>>(),
        [Lsn(505)],
        "that of the rows 500 to 509"
    );
    assert!(taken.asked <= 2 * 10 + 2, "{}", taken.asked);
}

#[tokio::test]
async fn what_is_too_large_is_cut_in_the_same_life() {
    let taken = Taken { most: 700, ..refusing([4_711]) };
    let (ended, taken) = live(vec![inserts(0..20_000)], taken, true, Vec::new()).await;
    ended.unwrap();
    assert_eq!((taken.set_aside.len(), taken.rows.len()), (1, 19_999));
}

#[tokio::test]
async fn what_a_refused_batch_has_set_aside_or_put_back_is_as_it_was_before_it() {
    let mut changes = inserts(0..20);
    changes.push(Change::Truncate { relations: vec![relation()] });
    changes.extend(inserts(20..40));
    let key = |key: i64| Key([Value::Integer(key)].into());
    let known =
        |id| KnownLetter { name: format!("letter {id}"), table: TableIndex(0), key: key(id) };
    let (ended, taken) = live(vec![changes], refusing([30]), true, vec![known(7), known(8)]).await;
    ended.unwrap();
    assert_eq!(taken.removed, 2, "the letters of the rows that went");
    assert!(taken.set_aside.contains(&30), "{:?}", taken.set_aside);
    assert!(taken.rows.ends_with(&[38, 39]), "{:?}", taken.rows);
}

#[tokio::test]
async fn without_letters_the_search_ends_with_the_change() {
    let (ended, taken) = live(vec![inserts(0..1_000)], refusing([503]), false, Vec::new()).await;
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("INSERT into public.rows (id = 503), change 504 of"), "{error}");
    assert_eq!(taken.rows, (0..503).collect::<Vec<_>>(), "everything before it is there");
}

/// A message has no place of its own: parts that only it tells apart would be at one position.
#[tokio::test]
async fn messages_beside_a_refused_change_stay_with_it() {
    let message = || Change::Message { prefix: "p".to_owned(), content: Default::default() };
    let mut changes = vec![message(), message()];
    for change in inserts(0..9) {
        changes.extend([change, message(), message(), message()]);
    }
    let (ended, taken) = live(vec![changes], refusing([0, 4, 8]), true, Vec::new()).await;
    ended.unwrap();
    assert_eq!(taken.set_aside.into_iter().collect::<Vec<_>>(), [0, 4, 8]);
    assert_eq!(taken.rows, [1, 2, 3, 5, 6, 7]);
}
