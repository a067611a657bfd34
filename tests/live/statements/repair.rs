//! What others do to a graph: Neo4j reads, compares and mends it as the graph in memory does.

use std::{collections::BTreeSet, sync::Arc};

use fastrand::Rng;
use neo4rs::Query;
use wal2graph::{
    graph::{
        Circumstances, Difference, Found, Key, Model, Mutations, Statement, TableIndex,
        found::Entity,
        memory::{Damage, Memory, ToJoined, ToNode},
        model::{Direction, NodeShape, RelationshipKey, RelationshipShape, Shape},
        plan, plan_repaired,
        statement::{INCOMPLETE, INCOMPLETE_PROPERTY, PLACEHOLDER},
    },
    neo4j::{cypher::quote, reader::Reader},
    pipeline::GraphReader,
    value::Value,
};

use super::{
    Real,
    damages::{Tables, damage},
    seed,
    shapes::{self, Generator},
};
use crate::support;

const BATCHES: (usize, usize) = (25, 120);
const ROUNDS: usize = 4;

/// All of a table, page by page. Every key is on one page.
async fn read(reader: &mut Reader, table: TableIndex, limit: usize) -> Vec<Found> {
    let (mut all, mut after, mut seen) = (Vec::new(), None::<Key>, BTreeSet::new());
    loop {
        let page = reader.page(table, after.as_ref(), limit).await.unwrap();
        let Some(last) = page.last() else { return all };
        assert!(page.len() <= limit, "{} of {limit}", page.len());
        after = Some(last.key.clone());
        for found in page {
            assert!(seen.insert(found.key.clone()), "{:?} is on two pages", found.key);
            all.push(found);
        }
    }
}

/// By key, and doubles in some order: they have none.
fn sorted(mut found: Vec<Found>) -> Vec<Found> {
    for Found { entity, .. } in &mut found {
        if let Entity::Relationships(doubles) = entity {
            doubles.sort_by_cached_key(|double| format!("{double:?}"));
        }
    }
    found.sort_by(|left, right| left.key.cmp(&right.key));
    found
}

/// How many entities these queries return.
async fn shown(queries: &[String]) -> u64 {
    let mut count = 0;
    for query in queries {
        count += support::graph().rows(Query::new(query.clone())).await.unwrap().len() as u64;
    }
    count
}

async fn both_repaired(
    model: &Model,
    tables: &Tables,
    memory: &mut Memory,
    (real, reader): (&Real, &mut Reader),
    rng: &mut Rng,
) -> Vec<Difference> {
    let mut left = Vec::new();
    for _ in 0..ROUNDS {
        left.clear();
        for (table, _) in model.iter() {
            let expected = sorted(memory.page(model, table, None, usize::MAX));
            let found = sorted(read(reader, table, rng.usize(1..6)).await);
            assert_eq!(expected, found, "of {}", model.table(table).name);
            let keys: Vec<Key> = expected.iter().map(|found| found.key.clone()).collect();
            assert_eq!(sorted(reader.found(table, &keys).await.unwrap()), found);
            let strays = memory.strays(model, table);
            let found_strays = reader.strays(table).await.unwrap();
            assert_eq!(found_strays.count, strays, "{}", model.table(table).name);
            assert_eq!(shown(&found_strays.queries).await, strays, "{found_strays:?}");
            let (repair, differences) = tables.repair(model, table, found);
            left.extend(differences);
            let statements = plan_repaired(model, table, repair);
            statements.iter().for_each(|statement| memory.apply(model, statement));
            real.apply_as_one(&statements).await;
        }
    }
    left
}

async fn damaged_and_repaired(model: Model) {
    let seed = seed();
    println!("SEED={seed}");
    let model = Arc::new(model);
    let real = Real::new(model.clone()).await;
    let mut reader = Reader::new(support::graph(), model.clone());
    let mut rng = Rng::with_seed(seed);
    let mut generator = Generator::new(model.clone(), Rng::with_seed(seed));
    let (mut memory, mut tables) = (Memory::default(), Tables::new(&model));
    for batch in 0..support::rounds(BATCHES.0, BATCHES.1) {
        let events = generator.batch();
        events.iter().for_each(|event| tables.apply(event));
        let statements = plan(&model, Mutations::fold(events), Circumstances::Unsettled);
        statements.iter().for_each(|statement| memory.apply(&model, statement));
        real.apply_as_one(&statements).await;
        let mut harm = Vec::new();
        for _ in 0..rng.usize(0..5) {
            let damage = damage(&mut rng, &model, &memory);
            memory.damage(&model, &damage);
            real.damage(&damage).await;
            harm.push(damage);
        }
        let with = (&real, &mut reader);
        let left = both_repaired(&model, &tables, &mut memory, with, &mut rng).await;
        assert!(left.is_empty(), "SEED={seed}, batch {batch}: {harm:?} leaves {left:?}");
        let (expected, found) = (memory.contents(&model), real.contents().await);
        assert_eq!(expected, found, "SEED={seed}, batch {batch}: {harm:?}");
    }
}

impl Real {
    /// Others do what the graph in memory does.
    async fn damage(&self, damage: &Damage) {
        let model = &self.model;
        let texts = match damage {
            Damage::Node { table, key, what } => vec![to_node(model.node(*table), key, what)],
            Damage::Connect { table, reference, owner, target } => {
                let shape = model.node(*table);
                let reference = &shape.references[*reference];
                let ends =
                    [node("n", shape, owner), node("m", model.node(reference.target), target)];
                vec![format!(
                    "MERGE {} MERGE {} CREATE {}",
                    ends[0],
                    ends[1],
                    directed(reference.direction, "n", &reference.relationship_type, "m")
                )]
            }
            Damage::Disconnect { table, reference, owner } => {
                let shape = model.node(*table);
                let reference = &shape.references[*reference];
                let far = format!("m:{}", quote(&model.node(reference.target).label));
                let kind = &reference.relationship_type;
                let pattern = directed(reference.direction, "n", kind, &far);
                vec![format!("MATCH {} MATCH {pattern} DELETE o", node("n", shape, owner))]
            }
            Damage::Joined { table, key, what } => {
                let Shape::Relationship(join) = &model.table(*table).shape else {
                    panic!("a join")
                };
                vec![to_joined(model, join, key, what)]
            }
            Damage::Join { table, own, from, to } => {
                let Shape::Relationship(join) = &model.table(*table).shape else {
                    panic!("a join")
                };
                let set = match (own, &join.key) {
                    (Some(own), RelationshipKey::Own(names)) => map(names, own),
                    _ => String::new(),
                };
                vec![format!(
                    "MERGE {} MERGE {} CREATE (n)-[:{} {{{set}}}]->(m)",
                    node("n", model.node(from.0), &from.1),
                    node("m", model.node(to.0), &to.1),
                    quote(&join.relationship_type)
                )]
            }
        };
        for text in texts {
            self.connection.run(Query::new(text)).await.unwrap();
        }
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::Integer(value) => value.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::String(value) => format!("'{value}'"),
        other => panic!("no damage has it: {other:?}"),
    }
}

fn map(names: &[String], key: &Key) -> String {
    let pairs = names
        .iter()
        .zip(&key.0)
        .map(|(name, value)| format!("{}: {}", quote(name), literal(value)));
    pairs.collect::<Vec<_>>().join(", ")
}

fn node(variable: &str, shape: &NodeShape, key: &Key) -> String {
    format!("({variable}:{} {{{}}})", quote(&shape.label), map(&shape.key, key))
}

fn directed(direction: Direction, near: &str, kind: &str, far: &str) -> String {
    match direction {
        Direction::Outgoing => format!("({near})-[o:{}]->({far})", quote(kind)),
        Direction::Incoming => format!("({near})<-[o:{}]-({far})", quote(kind)),
    }
}

fn to_node(shape: &NodeShape, key: &Key, what: &ToNode) -> String {
    let found = format!("MATCH {}", node("n", shape, key));
    let label = |label: &str, has_it: bool| match has_it {
        true => format!("{found} SET n:{}", quote(label)),
        false => format!("{found} REMOVE n:{}", quote(label)),
    };
    let set = |values: Vec<String>| {
        let pairs = shape.key.iter().zip(values);
        let pairs = pairs.map(|(name, value)| format!("n.{} = {value}", quote(name)));
        format!("{found} SET {}", pairs.collect::<Vec<_>>().join(", "))
    };
    match what {
        ToNode::Delete => format!("{found} DETACH DELETE n"),
        ToNode::Make => format!("MERGE {}", node("n", shape, key)),
        ToNode::Property(index, value) => {
            let value = value.as_ref().map_or_else(|| "null".to_owned(), literal);
            format!("{found} SET n.{} = {value}", quote(&shape.properties[*index]))
        }
        ToNode::ExtraLabel(index, has_it) => label(&shape.extra_labels[*index], *has_it),
        ToNode::Placeholder(is_one) => label(PLACEHOLDER, *is_one),
        ToNode::Incomplete(is_so) => label(INCOMPLETE, *is_so),
        ToNode::LoseKey => set(vec!["null".to_owned(); shape.key.len()]),
        ToNode::Key(key) => set(key.0.iter().map(literal).collect()),
    }
}

fn to_joined(model: &Model, join: &RelationshipShape, key: &Key, what: &ToJoined) -> String {
    let (from, to) = (model.node(join.from), model.node(join.to));
    let kind = quote(&join.relationship_type);
    let found = match &join.key {
        RelationshipKey::Own(names) => format!(
            "MATCH (n:{})-[x:{kind} {{{}}}]->(m:{})",
            quote(&from.label),
            map(names, key),
            quote(&to.label)
        ),
        RelationshipKey::Ends => {
            let (start, end) = join.split_ends(model, key);
            format!("MATCH {}-[x:{kind}]->{}", node("n", from, &start), node("m", to, &end))
        }
    };
    match what {
        ToJoined::Delete => format!("{found} DELETE x"),
        ToJoined::Double => {
            format!(
                "{found} WITH n, m, properties(x) AS kept CREATE (n)-[y:{kind}]->(m) SET y = kept"
            )
        }
        ToJoined::Property(index, value) => {
            let value = value.as_ref().map_or_else(|| "null".to_owned(), literal);
            format!("{found} SET x.{} = {value}", quote(&join.properties[*index]))
        }
        ToJoined::Incomplete(is_so) => {
            let value = if *is_so { "true" } else { "null" };
            format!("{found} SET x.{INCOMPLETE_PROPERTY} = {value}")
        }
    }
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn soft_references_and_joins_are_mended() {
    damaged_and_repaired(shapes::soft("Rs")).await;
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn composite_keys_and_odd_names_are_mended() {
    damaged_and_repaired(shapes::composite("Rc `x`")).await;
}

#[tokio::test]
async fn references_by_unique_columns_are_mended() {
    damaged_and_repaired(shapes::by_code("Ru")).await;
}

/// The stream brings a key change of a row that a copy has written under its new key before.
#[tokio::test]
async fn a_key_change_onto_a_row_hands_over_what_others_put_on_the_old_node() {
    let model = Arc::new(shapes::soft("Rh"));
    let real = Real::new(model.clone()).await;
    let mut memory = Memory::default();
    let mut generator = Generator::new(model.clone(), Rng::with_seed(7));
    let table = TableIndex(0);
    let keys = [1, 2, 3].map(|id| shapes::key(&[id]));
    for batch in 0..40 {
        let events = generator.batch();
        let statements = plan(&model, Mutations::fold(events), Circumstances::Unsettled);
        statements.iter().for_each(|statement| memory.apply(&model, statement));
        real.apply_as_one(&statements).await;
        let (from, to, other) = (&keys[batch % 3], &keys[(batch + 1) % 3], &keys[(batch + 2) % 3]);
        for key in &keys {
            let make = Damage::Node { table, key: key.clone(), what: ToNode::Make };
            memory.damage(&model, &make);
            real.damage(&make).await;
        }
        for (at, to) in [(from, other), (other, from), (from, from), (from, to)] {
            memory.put_others(table, at, batch as i64);
            memory.connect_others((table, at), (table, to));
            real.put_others((table, at), batch as i64, (table, to)).await;
        }
        let moves = vec![(from.clone(), to.clone())];
        let statement = Statement::MoveNodes { table, moves };
        memory.apply(&model, &statement);
        real.apply(&statement).await;
        let (expected, found) = (memory.contents(&model), real.contents().await);
        assert_eq!(expected, found, "batch {batch}, {from:?} to {to:?}");
    }
}
