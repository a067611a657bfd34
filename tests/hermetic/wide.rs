//! Schemas of many tables: how much of a stream can be planned in advance, and the size of a graph
//! transaction while its statements are new to Neo4j.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use wal2graph::{
    change::{Before, Begin, Cell, Change, Commit, Event, Relation, ReplicaIdentity},
    checkpoint::{Part, Position},
    engine::{Batch, Engine, Input, Limits, Output},
    graph::{
        self, Circumstances, Key, Model, Mutations, Reference, Row, TableIndex,
        model::{
            Direction, NodeShape, ReferenceBy, ReferenceShape, RelationshipKey, RelationshipShape,
            Shape, Table,
        },
    },
    lsn::Lsn,
    neo4j::{
        cypher::{likely_texts, render},
        schema,
    },
    value::Value,
};

const KINDS: usize = 3;

fn engine() -> Engine {
    let limits = Limits { narrow_kinds: KINDS, ..Limits::DEFAULT };
    Engine::new(limits, Position::at(Lsn(1)))
}

fn delete(table: u32) -> Change {
    let relation = Relation {
        oid: table,
        schema: "public".to_owned(),
        name: format!("t{table}"),
        replica_identity: ReplicaIdentity::Default,
        columns: Vec::new(),
        leaf: None,
    };
    Change::Delete { relation: Arc::new(relation), before: Before::Key(Vec::<Cell>::new().into()) }
}

fn transaction(at: u64, tables: &[u32]) -> Vec<Event> {
    let (commit_lsn, end_lsn) = (Lsn(at * 10), Lsn(at * 10 + 5));
    let committed_at = Default::default();
    let begin = Begin { xid: at as u32, commit_lsn, committed_at, stamp: None };
    let commit = Commit { commit_lsn, end_lsn, source_lsn: end_lsn, committed_at };
    let changes = tables.iter().map(|table| Event::Change(delete(*table)));
    let begin = std::iter::once(Event::Begin(begin));
    begin.chain(changes).chain([Event::Commit(commit)]).collect()
}

/// A message of a transaction.
fn message() -> Event {
    Event::Change(Change::Message { prefix: "p".to_owned(), content: Default::default() })
}

fn receive(engine: &mut Engine, events: Vec<Event>) {
    for event in events {
        engine.handle(Input::Event(event)).unwrap();
    }
}

/// The batches, each applied before the next: the number of changes, and the position that it leads
/// to.
fn applied(engine: &mut Engine) -> Vec<(usize, Position)> {
    let mut batches = Vec::new();
    while let Some(output) = engine.poll(Duration::ZERO) {
        if let Output::Apply(Batch { changes, advance, .. }) = output {
            batches.push((changes.len(), advance.to));
            engine.handle(Input::Applied).unwrap();
        }
    }
    batches
}

fn sizes(engine: &mut Engine) -> Vec<usize> {
    applied(engine).into_iter().map(|(changes, _)| changes).collect()
}

#[test]
fn a_transaction_that_changes_many_tables_is_not_one_long_graph_transaction() {
    let mut engine = engine();
    engine.handle(Input::Narrow(Some(1))).unwrap();
    receive(&mut engine, transaction(1, &[1, 1, 2, 3, 1, 4, 5, 4, 6, 7]));
    let batches = applied(&mut engine);
    let sizes: Vec<usize> = batches.iter().map(|(changes, _)| *changes).collect();
    assert_eq!(sizes, [5, 4, 1], "three tables each, and what is left");
    let events = batches.iter().map(|(_, to)| to.part.map(|part| part.events));
    assert_eq!(events.collect::<Vec<_>>(), [Some(5), Some(9), None], "each moves the checkpoint");
    assert_eq!(batches[2].1, Position::at(Lsn(15)));
}

#[test]
fn messages_count_for_no_part_of_a_transaction_and_move_no_events_place() {
    let mut events = transaction(1, &[1, 1, 2, 3]);
    for at in [5, 3, 1] {
        events.insert(at, message());
    }
    let engine = |parts: usize, from| {
        let limits = Limits { part_changes: parts, ..Limits::DEFAULT };
        Engine::new(limits, from)
    };
    let shares = |mut engine: Engine, events: Vec<Event>| {
        receive(&mut engine, events);
        let mut shares = Vec::new();
        while let Some(output) = engine.poll(Duration::ZERO) {
            if let Output::Apply(batch) = output {
                let part = batch.advance.to.part.map(|part| part.events);
                shares.extend(batch.shares.iter().map(|it| (it.first_event, it.changes, part)));
                engine.handle(Input::Applied).unwrap();
            }
        }
        shares
    };
    let begin = Position::at(Lsn(1));
    assert_eq!(shares(engine(100, begin), events.clone()), [(0, 7, None)]);
    let parts = shares(engine(3, begin), events.clone());
    assert_eq!(parts, [(0, 3, Some(2)), (2, 3, Some(4)), (4, 1, None)]);
    // A stream that goes on within the transaction skips as many events.
    let part = Part { commit_lsn: Lsn(10), events: 2 };
    let within = Position { part: Some(part), ..begin };
    assert_eq!(shares(engine(100, within), events), [(2, 4, None)]);
}

#[test]
fn a_transaction_of_as_many_kinds_as_are_allowed_stays_whole() {
    let mut engine = engine();
    engine.handle(Input::Narrow(Some(1))).unwrap();
    receive(&mut engine, transaction(1, &[1, 2, 3, 2, 1]));
    assert_eq!(applied(&mut engine), [(5, Position::at(Lsn(15)))]);
}

#[test]
fn transactions_are_grouped_only_until_they_bring_too_many_new_kinds() {
    let mut engine = engine();
    engine.handle(Input::Narrow(Some(1))).unwrap();
    for (at, tables) in [(1, [1, 2]), (2, [2, 3]), (3, [4, 5]), (4, [5, 4])] {
        receive(&mut engine, transaction(at, &tables));
    }
    assert_eq!(sizes(&mut engine), [4, 4]);
}

#[test]
fn what_was_met_before_makes_no_batch_small_until_neo4j_is_started_again() {
    let mut engine = engine();
    engine.handle(Input::Narrow(Some(1))).unwrap();
    let tables = [1, 2, 3, 4, 5, 6];
    receive(&mut engine, transaction(1, &tables));
    assert_eq!(sizes(&mut engine), [3, 3]);
    receive(&mut engine, transaction(2, &tables));
    assert_eq!(sizes(&mut engine), [6], "all of them are met");
    engine.handle(Input::Narrow(Some(1))).unwrap();
    receive(&mut engine, transaction(3, &tables));
    assert_eq!(sizes(&mut engine), [6], "said once more, it is the same");
    engine.handle(Input::Narrow(Some(2))).unwrap();
    receive(&mut engine, transaction(4, &tables));
    assert_eq!(sizes(&mut engine), [3, 3], "the plans are lost");
    engine.handle(Input::Narrow(None)).unwrap();
    receive(&mut engine, transaction(5, &[11, 12, 13, 14, 15]));
    assert_eq!(sizes(&mut engine), [5], "everything is planned");
}

fn reference(name: &str, target: usize) -> ReferenceShape {
    ReferenceShape {
        relationship_type: name.to_owned(),
        direction: Direction::Outgoing,
        target: TableIndex(target),
        by: ReferenceBy::Key,
    }
}

fn node(label: &str, references: Vec<ReferenceShape>) -> Table {
    let shape = NodeShape {
        label: label.to_owned(),
        extra_labels: Vec::new(),
        key: vec!["id".to_owned()],
        properties: vec!["a".to_owned(), "code".to_owned()],
        references,
    };
    Table { name: format!("public.{label}"), shape: Shape::Node(shape) }
}

fn join(name: &str, key: RelationshipKey, properties: &[&str]) -> Table {
    let shape = RelationshipShape {
        relationship_type: name.to_owned(),
        from: TableIndex(0),
        to: TableIndex(1),
        key,
        properties: properties.iter().map(|it| (*it).to_owned()).collect(),
    };
    Table { name: format!("public.{name}"), shape: Shape::Relationship(shape) }
}

/// A self reference, a reference by a unique column, a reference that is not enforced, and three
/// kinds of join tables.
fn model() -> Model {
    let unique = ReferenceBy::Unique {
        owner_properties: vec!["a".to_owned()],
        target_properties: vec!["code".to_owned()],
    };
    let by_code = ReferenceShape { by: unique, ..reference("BY_CODE", 0) };
    Model {
        tables: vec![
            node("A", vec![reference("PARENT", 0)]),
            node("B", vec![reference("OF", 0), by_code, reference("AT", 0)]),
            join("PLAIN", RelationshipKey::Ends, &[]),
            join("WITH", RelationshipKey::Ends, &["qty"]),
            join("OWN", RelationshipKey::Own(vec!["id".to_owned()]), &["qty"]),
        ],
    }
}

fn key(values: &[i64]) -> Key {
    Key(values.iter().map(|value| Value::Integer(*value)).collect())
}

/// An inserted, an updated and a deleted row of each table.
fn every_change(model: &Model) -> Vec<graph::Event> {
    let mut events = Vec::new();
    for (table, shape) in model.iter() {
        let (width, properties, references) = match &shape.shape {
            Shape::Node(node) => (1, node.properties.len(), node.references.len()),
            Shape::Relationship(join) => {
                let width = if join.key == RelationshipKey::Ends { 2 } else { 1 };
                (width, join.properties.len(), 2)
            }
        };
        let row = || Row {
            properties: vec![graph::Cell::Value(Value::String("x".to_owned())); properties],
            references: vec![Reference::To(key(&[7])); references],
        };
        let at = |value: i64| key(&vec![value; width]);
        events.push(graph::Event::Insert { table, key: at(1), row: row() });
        events.push(graph::Event::Update { table, key: at(2), row: row() });
        events.push(graph::Event::Delete { table, key: at(3) });
    }
    events
}

/// The texts of a batch with all of that, without the fallback texts.
fn texts(model: &Model, circumstances: Circumstances) -> BTreeSet<Arc<str>> {
    let statements = graph::plan(model, Mutations::fold(every_change(model)), circumstances);
    let statements = graph::in_few_texts(statements);
    let rendered = statements.into_iter().flat_map(|statement| render(model, statement));
    rendered.filter(|query| !query.rows.is_empty()).map(|query| query.text).collect()
}

#[test]
fn what_is_planned_ahead_is_what_a_stream_sends() {
    let model = model();
    for circumstances in [Circumstances::Settled, Circumstances::Unsettled] {
        let likely: BTreeSet<_> = likely_texts(&model, circumstances).into_iter().collect();
        let sent = texts(&model, circumstances);
        let missing: Vec<_> = sent.difference(&likely).collect();
        assert!(missing.is_empty(), "{circumstances:?}: {missing:#?}");
        let never: Vec<_> = likely.difference(&sent).collect();
        assert!(never.is_empty(), "{circumstances:?}: planned for nothing: {never:#?}");
    }
}

#[test]
fn a_few_new_rows_need_no_text_that_changed_rows_do_not_need() {
    let model = model();
    let circumstances = Circumstances::Settled;
    let texts = |kind: fn(&graph::Event) -> bool| -> BTreeSet<Arc<str>> {
        let nodes = |event: &graph::Event| match event {
            graph::Event::Insert { table, .. } | graph::Event::Update { table, .. } => table.0 < 2,
            _ => false,
        };
        let events = every_change(&model).into_iter().filter(|event| nodes(event) && kind(event));
        let statements = graph::plan(&model, Mutations::fold(events), circumstances);
        let statements = graph::in_few_texts(statements);
        let rendered = statements.into_iter().flat_map(|statement| render(&model, statement));
        rendered.map(|query| query.text).collect()
    };
    let new = texts(|event| matches!(event, graph::Event::Insert { .. }));
    let changed = texts(|event| matches!(event, graph::Event::Update { .. }));
    assert!(new.is_subset(&changed), "{:#?}", new.difference(&changed));
}

/// Three texts for a table that refers to others, two for any other: rows that come or change, rows
/// that change their references, deleted rows.
#[test]
fn the_statements_of_three_hundred_tables_fit_the_plans_that_neo4j_keeps_by_default() {
    let three = || (0..3).map(|at| reference(&format!("R{at}"), at)).collect();
    let mut tables: Vec<Table> = (0..240).map(|at| node(&format!("N{at}"), three())).collect();
    tables.extend((0..60).map(|at| join(&format!("J{at}"), RelationshipKey::Ends, &["qty"])));
    let texts = likely_texts(&Model { tables }, Circumstances::Settled).len();
    assert_eq!(texts, 240 * 3 + 60 * 2);
    assert!(texts + schema::OTHERS_PLANS <= schema::PLAN_CACHE_ENTRIES);
}

#[test]
fn new_rows_are_planned_for_before_rows_that_go() {
    let texts = likely_texts(&model(), Circumstances::Settled);
    let first = |word: &str| texts.iter().position(|text| text.contains(word)).unwrap();
    let last = |word: &str| texts.iter().rposition(|text| text.contains(word)).unwrap();
    assert!(last("MERGE (n:") < first("BY_CODE"), "{texts:#?}");
    assert!(first("DETACH DELETE n") > first("BY_CODE"), "{texts:#?}");
    assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), texts.len(), "each once");
}
