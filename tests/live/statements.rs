//! Every Cypher statement on a real Neo4j, against the in-memory graph.
//!
//! Random batches of events are folded and planned; the statements go to both graphs, and both must
//! hold the same after each batch. `SEED=n` repeats one run.

mod concurrent;
#[allow(dead_code)]
mod damages;
mod keys;
mod names;
mod repair;
pub mod shapes;

use std::{collections::BTreeMap, sync::Arc};

use fastrand::Rng;
use neo4rs::{BoltType, Query, Row};
use wal2graph::{
    graph::{
        Circumstances, Event, Key, Model, Mutations, Statement, TableIndex,
        memory::{Contents, Memory, NodeContent, NodeIdentity, OTHERS, RelationshipContent},
        model::Shape,
        plan,
    },
    lsn::{Lsn, Stamp},
    neo4j::{
        Connection, checkpoint,
        cypher::{quote, render},
        parameter, schema,
        sink::cleared_nothing,
    },
    pipeline::Failure,
    value::Value,
};

use crate::support;
use shapes::Generator;

/// Batches of one run, each compared: few, and all.
const BATCHES: (usize, usize) = (60, 120);

/// One graph in Neo4j, told from others by its labels.
struct Real {
    connection: Connection,
    model: Arc<Model>,
}

impl Real {
    async fn new(model: Arc<Model>) -> Self {
        let connection = support::graph();
        checkpoint::prepare(&connection).await.unwrap();
        schema::establish(&connection, &schema::requirements(&model)).await.unwrap();
        Real { connection, model }
    }

    async fn apply(&self, statement: &Statement) {
        let clears = is_clearing(statement);
        for query in render(&self.model, statement.clone()) {
            if query.rows.is_empty() && !clears {
                continue;
            }
            loop {
                let mut transaction = self.connection.begin().await.unwrap();
                let ran = transaction.run_rendered(parameter::query(&query), &query).await;
                if matches!(&ran, Err(error) if error.is_transient()) {
                    // Another test's statement waits for this one.
                    transaction.rollback().await;
                    continue;
                }
                let did = ran.unwrap_or_else(|error| panic!("{error}\n{}", query.text));
                transaction.commit().await.unwrap();
                if !clears || cleared_nothing(&did) {
                    break;
                }
            }
        }
    }

    /// All of a batch in one transaction, as the writer has it; what clears runs before it.
    async fn apply_as_one(&self, statements: &[Statement]) {
        let mut transaction = None;
        for statement in statements {
            if is_clearing(statement) {
                assert!(transaction.is_none(), "clearing comes first");
                self.apply(statement).await;
                continue;
            }
            if transaction.is_none() {
                transaction = Some(self.connection.begin().await.unwrap());
            }
            let transaction = transaction.as_mut().expect("it has begun");
            for query in render(&self.model, statement.clone()) {
                let ran = transaction.run_rendered(parameter::query(&query), &query).await;
                ran.unwrap_or_else(|error| panic!("{error}\n{}\n{statements:?}", query.text));
            }
        }
        if let Some(transaction) = transaction {
            transaction.commit().await.unwrap();
        }
    }

    /// Others put a property and a label on a row's node, and lead a relationship from it to another.
    async fn put_others(&self, at: (TableIndex, &Key), value: i64, to: (TableIndex, &Key)) {
        let node = |variable: &str, (table, key): (TableIndex, &Key)| {
            let shape = self.model.node(table);
            let pairs = shape.key.iter().zip(&key.0).map(|(name, value)| match value {
                Value::Integer(value) => format!("{}: {value}", quote(name)),
                other => panic!("a key of the shapes is of integers: {other:?}"),
            });
            let pairs = pairs.collect::<Vec<_>>().join(", ");
            format!("({variable}:{} {{{pairs}}})", quote(&shape.label))
        };
        let text = format!(
            "MATCH {}, {} SET n.{OTHERS} = {value}, n:{OTHERS} CREATE (n)-[:{OTHERS}]->(m)",
            node("n", at),
            node("m", to),
        );
        self.connection.run(Query::new(text)).await.unwrap();
    }

    /// What the graph holds of the model's labels.
    async fn contents(&self) -> Contents {
        let mut contents = Contents::default();
        let labels: Vec<&str> = self
            .model
            .tables
            .iter()
            .filter_map(|table| match &table.shape {
                Shape::Node(node) => Some(node.label.as_str()),
                Shape::Relationship(_) => None,
            })
            .collect();
        // By label: other tests' graphs are large.
        let any = labels.iter().map(|label| quote(label)).collect::<Vec<_>>().join("|");
        let nodes =
            format!("MATCH (n:{any}) RETURN labels(n) AS labels, properties(n) AS properties");
        for row in self.connection.rows(Query::new(nodes)).await.unwrap() {
            let labels: Vec<String> = row.get("labels").unwrap();
            let properties = properties(&row, "properties");
            contents.nodes.insert(NodeContent { labels: labels.into_iter().collect(), properties });
        }
        let relationships = format!(
            "MATCH (a:{any})-[x]->(b) RETURN type(x) AS type, \
             properties(x) AS properties, labels(a) AS la, properties(a) AS pa, labels(b) AS lb, properties(b) AS pb"
        );
        for row in self.connection.rows(Query::new(relationships)).await.unwrap() {
            let content = RelationshipContent {
                relationship_type: row.get("type").unwrap(),
                from: self.identity(&row, "la", "pa"),
                to: self.identity(&row, "lb", "pb"),
                properties: properties(&row, "properties"),
            };
            *contents.relationships.entry(content).or_default() += 1;
        }
        contents
    }

    fn identity(&self, row: &Row, labels: &str, of: &str) -> NodeIdentity {
        let labels: Vec<String> = row.get(labels).unwrap();
        let properties = properties(row, of);
        let shape = self.model.tables.iter().find_map(|table| match &table.shape {
            Shape::Node(node) if labels.contains(&node.label) => Some(node),
            _ => None,
        });
        let shape = shape.expect("a node of the model");
        // Others may have taken a key.
        let key = shape.key.iter().filter_map(|name| properties.get(name).cloned()).collect();
        NodeIdentity { label: shape.label.clone(), key }
    }
}

fn is_clearing(statement: &Statement) -> bool {
    matches!(statement, Statement::ClearNodes { .. } | Statement::ClearRelationships { .. })
}

pub fn properties(row: &Row, name: &str) -> BTreeMap<String, Value> {
    let BoltType::Map(map) = row.get::<BoltType>(name).unwrap() else { panic!("a map") };
    let pairs = map.value.into_iter();
    pairs.map(|(name, value)| (name.value, parameter::value_of(value).unwrap())).collect()
}

fn seed() -> u64 {
    match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number"),
        Err(_) => fastrand::u64(0..1_000_000),
    }
}

/// Random batches against both graphs.
async fn differential(model: Model) {
    differential_of(model, seed(), false).await;
}

/// `stamped`: each event stands somewhere in a log, and truncates reach what is older.
async fn differential_of(model: Model, seed: u64, stamped: bool) {
    println!("SEED={seed}");
    let model = Arc::new(model);
    let real = Real::new(model.clone()).await;
    let mut memory = Memory::default();
    let mut generator = Generator::new(model.clone(), Rng::with_seed(seed));
    for batch in 0..support::rounds(BATCHES.0, BATCHES.1) {
        if let (true, Some(at), Some(to)) =
            (generator.rng.bool(), generator.any_node(), generator.any_node())
        {
            let (at, to) = ((at.0, &at.1), (to.0, &to.1));
            // By stamps, a row may have gone with a truncate that its table has not seen.
            if memory.has_node(at.0, at.1) && memory.has_node(to.0, to.1) {
                memory.put_others(at.0, at.1, batch as i64);
                memory.connect_others(at, to);
                real.put_others(at, batch as i64, to).await;
            }
        }
        let events: Vec<Event> = generator.batch();
        // What a truncate does not reach is there, and in no table.
        let circumstances = match generator.rng.bool() && !stamped {
            true => Circumstances::Settled,
            false => Circumstances::Unsettled,
        };
        let mut mutations = Mutations::default();
        for event in events.clone() {
            // Some stand further on, as what another partition brought would.
            let at = 100 * batch as u64 + generator.rng.u64(0..300);
            let stamp = stamped.then(|| Stamp::of_change(Lsn(at), 0));
            mutations.push_at(event, stamp);
        }
        let statements = plan(&model, mutations, circumstances);
        for statement in &statements {
            memory.apply(&model, statement);
        }
        real.apply_as_one(&statements).await;
        let (expected, found) = (memory.contents(&model), real.contents().await);
        assert!(
            expected == found,
            "SEED={seed}: after batch {batch} of {events:?}\nnodes {:?}\nrelationships missing {:?}\nextra {:?}",
            expected.nodes.symmetric_difference(&found.nodes).collect::<Vec<_>>(),
            expected
                .relationships
                .iter()
                .filter(|(it, n)| found.relationships.get(it) != Some(n))
                .collect::<Vec<_>>(),
            found
                .relationships
                .iter()
                .filter(|(it, n)| expected.relationships.get(it) != Some(n))
                .collect::<Vec<_>>(),
        );
    }
    assert!(generator.rows() > 0, "the last batch leaves something to compare");
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn single_keys_soft_references_and_joins() {
    differential(shapes::soft("St")).await;
}

#[tokio::test]
async fn truncates_reach_what_is_older_than_they_are() {
    differential_of(shapes::soft("Sl"), seed(), true).await;
}

#[tokio::test]
async fn composite_keys_odd_names_and_incoming_references() {
    differential(shapes::composite("Sc `x`")).await;
}

#[tokio::test]
async fn owners_and_targets_that_go_in_one_batch_leave_nothing() {
    let model = Arc::new(shapes::chain("Se"));
    let real = Real::new(model.clone()).await;
    let mut memory = Memory::default();
    for (events, circumstances) in shapes::chain_history() {
        let statements = plan(&model, Mutations::fold(events), circumstances);
        statements.iter().for_each(|statement| memory.apply(&model, statement));
        real.apply_as_one(&statements).await;
        assert_eq!(memory.contents(&model), real.contents().await);
    }
    assert_eq!(real.contents().await, Contents::default());
}

/// One statement may do that under a plain foreign key, which is checked at its end: nothing is said
/// of the rows that refer to the target.
#[tokio::test]
async fn a_target_that_is_deleted_and_inserted_again_keeps_what_points_at_it() {
    let model = Arc::new(shapes::chain("Sa"));
    let real = Real::new(model.clone()).await;
    let mut memory = Memory::default();
    let again = shapes::targets_deleted_and_inserted_again();
    for events in [shapes::chain_rows(), again] {
        let statements = plan(&model, Mutations::fold(events), Circumstances::Settled);
        statements.iter().for_each(|statement| memory.apply(&model, statement));
        real.apply_as_one(&statements).await;
        assert_eq!(memory.contents(&model), real.contents().await);
    }
    let kept = real.contents().await.relationships.values().sum::<usize>();
    assert_eq!(kept, 6, "of S to Q and P, of Q to P");
}

#[tokio::test]
async fn a_chain_of_three_key_changes_is_one_statement() {
    let model = Arc::new(shapes::chain("Sm"));
    let real = Real::new(model.clone()).await;
    let mut memory = Memory::default();
    let table = wal2graph::graph::TableIndex(0);
    let inserts = (1..=3).map(|key| shapes::insert(table, key));
    let mut statements = plan(&model, Mutations::fold(inserts), Circumstances::Settled);
    let moves =
        [(3, 4), (2, 3), (1, 2)].map(|(from, to)| (shapes::key(&[from]), shapes::key(&[to])));
    statements.push(Statement::MoveNodes { table, moves: moves.to_vec() });
    for statement in &statements {
        memory.apply(&model, statement);
        real.apply(statement).await;
    }
    let contents = real.contents().await;
    assert_eq!(contents, memory.contents(&model));
    let keys: Vec<_> = contents.nodes.iter().map(|node| node.properties["id"].clone()).collect();
    assert_eq!(keys, [2, 3, 4].map(Value::Integer));
}
