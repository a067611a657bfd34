//! Two writers at one placeholder, two lanes at one reference, and join rows that move.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use neo4rs::Query;
use wal2graph::{
    graph::{
        Cell, Key, Model, Pass, Reference, Row, Statement, TableIndex,
        model::RelationshipKey,
        plan_copied,
        statement::{Beside, Completeness, Known, NodeRow, Presence, RelationshipRow},
    },
    neo4j::{Error, connect::Transaction, cypher::render, parameter},
    value::Value,
};

use super::{
    Real,
    shapes::{self, join, key, node, reference},
};
use crate::support;

const PARENTS: TableIndex = TableIndex(0);
const CHILDREN: TableIndex = TableIndex(1);
const LINKS: TableIndex = TableIndex(2);
/// Of [`shapes::by_code`].
const CODES: TableIndex = TableIndex(0);
const OWNERS: TableIndex = TableIndex(1);
/// So many relationships that taking one no longer locks the node it points at.
const MANY: i64 = 100;
/// The pause between two looks whether a statement waits.
const PAUSE: Duration = Duration::from_millis(20);

/// Children with a soft reference to parents, and links between parents with a key of their own.
fn model(prefix: &str) -> Arc<Model> {
    let label = |name: &str| format!("{prefix}{name}");
    let own = RelationshipKey::Own(vec!["id".to_owned()]);
    Arc::new(Model {
        tables: vec![
            node(label("Parent"), &["id"], &["name"], vec![]),
            node(label("Child"), &["id"], &[], vec![reference("PARENT", 0)]),
            join(label("LINK"), 0, 0, own, &["weight"]),
        ],
    })
}

/// The row of parent 1.
fn fill() -> Statement {
    let rows = vec![NodeRow { key: key(&[1]), values: vec![Some(Value::Integer(7))], stamp: None }];
    let (known, completeness) = (Known([true].into()), Completeness::Complete);
    Statement::UpsertNodes { table: PARENTS, known, completeness, new: false, rows }
}

/// Rows of children, and one more.
fn children() -> Statement {
    let rows =
        (1..=MANY + 1).map(|id| NodeRow { key: key(&[id]), values: vec![], stamp: None }).collect();
    let (known, completeness) = (Known([].into()), Completeness::Complete);
    Statement::UpsertNodes { table: CHILDREN, known, completeness, new: false, rows }
}

/// These children point at parent 1.
fn refer(children: RangeInclusive<i64>) -> Statement {
    let rows = children.map(|id| (key(&[id]), key(&[1]))).collect();
    Statement::AddReferences {
        table: CHILDREN,
        reference: 0,
        presence: Presence::Unknown(Beside::Anybody),
        rows,
    }
}

/// The references of the many become NULL.
fn leave() -> Statement {
    let rows = (1..=MANY).map(|id| (key(&[id]), None)).collect();
    Statement::RemoveReferences { table: CHILDREN, reference: 0, rows }
}

async fn run(
    transaction: &mut Transaction,
    model: &Model,
    statement: Statement,
) -> Result<(), Error> {
    for query in render(model, statement) {
        transaction.run_rendered(parameter::query(&query), &query).await?;
    }
    Ok(())
}

/// All children but one point at parent 1, which has no row.
async fn placeholder(prefix: &str) -> Real {
    let real = Real::new(model(prefix)).await;
    for statement in [children(), refer(1..=MANY)] {
        real.apply(&statement).await;
    }
    // Others' relationships of the same type: taking ours does not lock the node then.
    let others = format!(
        "MATCH (p:{prefix}Parent) UNWIND range(1, {MANY}) AS x CREATE (:{prefix}Other)-[:PARENT]->(p)"
    );
    real.connection.run(Query::new(others)).await.unwrap();
    real
}

/// Runs `second` while `first` is done but not committed; `second` must wait for a lock of it.
/// Neo4j may ask for `second` again, as a writer would do.
async fn one_after_the_other(real: &Real, first: Statement, second: Statement) {
    let label = real.model.node(PARENTS).label.clone();
    let (a, b) = (support::graph(), support::graph());
    let mut before = a.begin().await.unwrap();
    run(&mut before, &real.model, first).await.unwrap();
    let model = real.model.clone();
    let after = tokio::spawn(async move {
        loop {
            let mut transaction = b.begin().await.unwrap();
            match run(&mut transaction, &model, second.clone()).await {
                Ok(()) => return transaction.commit().await.unwrap(),
                Err(error) => assert!(matches!(error, Error::Transient(_)), "{error}"),
            }
        }
    });
    // A look at the clock would not do: it may still be planned.
    while !is_blocked(&label).await {
        assert!(!after.is_finished(), "it does not wait");
        tokio::time::sleep(PAUSE).await;
    }
    before.commit().await.unwrap();
    after.await.unwrap();
}

/// Whether a statement about the label waits for a lock.
async fn is_blocked(label: &str) -> bool {
    let text = "SHOW TRANSACTIONS YIELD currentQuery, status \
         WHERE status STARTS WITH 'Blocked by' AND currentQuery CONTAINS $label RETURN status";
    let query = Query::new(text.to_owned()).param("label", format!("`{label}`"));
    !support::graph().rows(query).await.unwrap().is_empty()
}

/// The placeholder labels and names of parent 1: none when there is none.
async fn parent(prefix: &str) -> Vec<(bool, Option<i64>, i64)> {
    let text = format!(
        "MATCH (p:{prefix}Parent {{id: 1}}) \
         RETURN p:_Placeholder AS placeholder, p.name AS name, COUNT {{ (p)<-[:PARENT]-(:{prefix}Child) }} AS children"
    );
    let rows = support::graph().rows(Query::new(text)).await.unwrap();
    let of = |row: &neo4rs::Row| {
        let (placeholder, name) = (row.get("placeholder").unwrap(), row.get("name").unwrap());
        (placeholder, name, row.get("children").unwrap())
    };
    rows.iter().map(of).collect()
}

#[tokio::test]
async fn a_row_that_fills_a_placeholder_survives_a_sweep_meanwhile() {
    let real = placeholder("SweepFill").await;
    one_after_the_other(&real, fill(), leave()).await;
    assert_eq!(parent("SweepFill").await, [(false, Some(7), 0)]);
}

#[tokio::test]
async fn a_row_that_comes_while_its_placeholder_is_swept_is_there() {
    let real = placeholder("FillSweep").await;
    one_after_the_other(&real, leave(), fill()).await;
    assert_eq!(parent("FillSweep").await, [(false, Some(7), 0)]);
}

#[tokio::test]
async fn a_placeholder_that_gets_another_relationship_survives_a_sweep_meanwhile() {
    let real = placeholder("SweepRefer").await;
    one_after_the_other(&real, refer(MANY + 1..=MANY + 1), leave()).await;
    assert_eq!(parent("SweepRefer").await, [(true, None, 1)]);
}

#[tokio::test]
async fn a_relationship_that_comes_while_its_placeholder_is_swept_is_there() {
    let real = placeholder("ReferSweep").await;
    one_after_the_other(&real, leave(), refer(MANY + 1..=MANY + 1)).await;
    assert_eq!(parent("ReferSweep").await, [(true, None, 1)]);
}

fn link(id: i64, from: i64, to: i64) -> RelationshipRow {
    let values = vec![Some(Value::Integer(id * 10))];
    RelationshipRow { key: key(&[id]), from: key(&[from]), to: key(&[to]), values, stamp: None }
}

fn links(known: bool, rows: Vec<RelationshipRow>) -> Statement {
    let (known, completeness) = (Known([known].into()), Completeness::Complete);
    let presence = Presence::Unknown(Beside::Anybody);
    Statement::UpsertRelationships { table: LINKS, known, completeness, presence, rows }
}

/// Every link: its key, ends and weight. Parents without a link are none.
async fn found(prefix: &str) -> Vec<[i64; 4]> {
    let text = format!(
        "MATCH (a:{prefix}Parent) OPTIONAL MATCH (a)-[x:{prefix}LINK]->(b) WITH a, x, b \
         WHERE x IS NOT NULL OR NOT EXISTS {{ (a)--() }} \
         RETURN [coalesce(x.id, -1), a.id, coalesce(b.id, -1), coalesce(x.weight, -1)] AS link ORDER BY link"
    );
    let rows = support::graph().rows(Query::new(text)).await.unwrap();
    let link = |row: &neo4rs::Row| -> [i64; 4] {
        row.get::<Vec<i64>>("link").unwrap().try_into().expect("four numbers")
    };
    rows.iter().map(link).collect()
}

#[tokio::test]
async fn relationships_that_swap_their_ends_keep_what_they_have() {
    let real = Real::new(model("Again")).await;
    real.apply(&links(true, vec![link(1, 1, 2), link(2, 2, 3)])).await;
    // Weights did not come, and stay.
    let mut rows = vec![link(1, 2, 3), link(2, 1, 2)];
    rows.iter_mut().for_each(|row| row.values.clear());
    real.apply(&links(false, rows)).await;
    assert_eq!(found("Again").await, [[1, 2, 3, 10], [2, 1, 2, 20]]);
}

/// It was found by its type and key alone: an insert made nothing, and a delete took it.
#[tokio::test]
async fn a_relationship_of_others_with_the_type_and_key_of_ours_is_left_alone() {
    let real = Real::new(model("Theirs")).await;
    let theirs =
        "CREATE (:TheirsRobot {theirs: 1})-[:TheirsLINK {id: 7, theirs: true}]->(:TheirsClub)";
    real.connection.run(Query::new(theirs.to_owned())).await.unwrap();
    let count = "MATCH (:TheirsRobot)-[x:TheirsLINK {id: 7, theirs: true}]->(:TheirsClub) \
        WHERE x.weight IS NULL RETURN count(x) AS count";
    let is_there = async || {
        let rows = real.connection.rows(Query::new(count.to_owned())).await.unwrap();
        rows[0].get::<i64>("count").unwrap() == 1
    };
    real.apply(&links(true, vec![link(7, 1, 2)])).await;
    assert_eq!(found("Theirs").await, [[7, 1, 2, 70]]);
    real.apply(&links(true, vec![link(7, 1, 3)])).await;
    let moves = vec![(key(&[7]), key(&[8])), (key(&[8]), key(&[7]))];
    real.apply(&Statement::MoveRelationships { table: LINKS, moves }).await;
    assert_eq!(found("Theirs").await, [[7, 1, 3, 70]]);
    assert!(is_there().await);
    real.apply(&Statement::DropRelationships {
        table: LINKS,
        keys: vec![key(&[7])],
        beside: Beside::Anybody,
    })
    .await;
    assert_eq!(found("Theirs").await, Vec::<[i64; 4]>::new());
    assert!(is_there().await);
}

#[tokio::test]
async fn a_moved_join_row_leaves_the_end_that_another_row_comes_to() {
    let real = Real::new(model("Comes")).await;
    real.apply(&links(true, vec![link(1, 1, 2)])).await;
    // The first leaves 2, a placeholder without another relationship; the second leads there.
    real.apply(&links(true, vec![link(1, 1, 3), link(2, 1, 2)])).await;
    assert_eq!(found("Comes").await, [[1, 1, 3, 10], [2, 1, 2, 20]]);
}

/// A row that was copied, with its unique value as a property, and as what it refers to.
fn with_code(id: i64, code: i64, properties: usize, references: Vec<Reference>) -> (Key, Row) {
    let mut cells = vec![Cell::Null; properties];
    cells[properties - 1] = Cell::Value(Value::Integer(code));
    (key(&[id]), Row { properties: cells, references })
}

/// One lane had the owner, another the target: both looked for the relationship before the other had
/// committed.
#[tokio::test]
async fn two_lanes_of_a_copy_make_a_reference_to_a_unique_column_once() {
    let model = Arc::new(shapes::by_code("Twice"));
    let real = Real::new(model.clone()).await;
    let rows = |table: TableIndex| {
        let references = vec![Reference::To(key(&[5]))];
        let references = if table == OWNERS { references } else { Vec::new() };
        vec![with_code(1, 5, 1, references)]
    };
    let of = |table, pass| plan_copied(&model, table, pass, rows(table));
    for statement in [CODES, OWNERS].into_iter().flat_map(|table| of(table, Pass::Nodes)) {
        real.apply(&statement).await;
    }
    let (a, b) = (support::graph(), support::graph());
    let mut owners = a.begin().await.unwrap();
    for statement in of(OWNERS, Pass::Relationships) {
        run(&mut owners, &model, statement).await.unwrap();
    }
    let (statements, shapes) = (of(CODES, Pass::Relationships), model.clone());
    let targets = tokio::spawn(async move {
        let mut transaction = b.begin().await.unwrap();
        for statement in statements {
            run(&mut transaction, &shapes, statement).await.unwrap();
        }
        transaction.commit().await.unwrap();
    });
    while !targets.is_finished() && !is_blocked("TwiceCode").await {
        tokio::time::sleep(PAUSE).await;
    }
    owners.commit().await.unwrap();
    targets.await.unwrap();
    let made: usize = real.contents().await.relationships.values().sum();
    assert_eq!(made, 1);
}
