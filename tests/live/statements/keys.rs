//! Keys that come and go within one transaction.
//!
//! Of a node or relationship whose key changed in a transaction and which is deleted in the same
//! one, Neo4j keeps the key in the transaction's own view of every index: the next one that is to
//! have it meets a node that is not there. So the key must go before it is deleted.

use std::sync::Arc;

use neo4rs::Query;
use wal2graph::{
    graph::{
        Cell, Circumstances, Event, Model, Mutations, Reference, Row, TableIndex, memory::Memory,
        plan,
    },
    value::Value,
};

use crate::support;

use super::{
    Real,
    shapes::{key, soft},
};

const NODES: TableIndex = TableIndex(1);
const LINKS: TableIndex = TableIndex(5);

/// The columns of a node's row.
fn node() -> Row {
    Row { properties: [7, 8].map(|it| Cell::Value(Value::Integer(it))).into(), references: vec![] }
}

/// The columns of a link's row that leads from 1 to a node.
fn link(to: i64) -> Row {
    let references = [1, to].map(|id| Reference::To(key(&[id]))).into();
    Row { properties: vec![Cell::Value(Value::Integer(9))], references }
}

fn insert(table: TableIndex, id: i64, row: Row) -> Event {
    Event::Insert { table, key: key(&[id]), row }
}

fn change(table: TableIndex, from: i64, to: i64, row: Row) -> Event {
    Event::Move { table, from: key(&[from]), to: key(&[to]), row }
}

fn delete(table: TableIndex, id: i64) -> Event {
    Event::Delete { table, key: key(&[id]) }
}

/// Each batch is one transaction, over what the one before left.
async fn in_one_transaction_each(prefix: &str, batches: Vec<Vec<Event>>) {
    let model: Arc<Model> = Arc::new(soft(prefix));
    let real = Real::new(model.clone()).await;
    let mut memory = Memory::default();
    for events in batches {
        let statements = plan(&model, Mutations::fold(events), Circumstances::Settled);
        statements.iter().for_each(|statement| memory.apply(&model, statement));
        real.apply_as_one(&statements).await;
        assert_eq!(memory.contents(&model), real.contents().await);
    }
}

#[tokio::test]
async fn a_key_that_a_row_got_and_took_along_is_free_for_an_insert() {
    let row = vec![insert(NODES, 1, node())];
    let batch = vec![change(NODES, 1, 5, node()), delete(NODES, 5), insert(NODES, 5, node())];
    in_one_transaction_each("KeyInsert", vec![row, batch]).await;
}

#[tokio::test]
async fn a_key_that_a_row_got_and_took_along_is_free_for_another_row() {
    let rows = vec![insert(NODES, 1, node()), insert(NODES, 2, node())];
    let batch = vec![change(NODES, 1, 5, node()), delete(NODES, 5), change(NODES, 2, 5, node())];
    in_one_transaction_each("KeyMove", vec![rows, batch]).await;
}

#[tokio::test]
async fn a_key_is_free_also_under_an_applications_own_constraint() {
    let constraint =
        "CREATE CONSTRAINT key_application FOR (n:KeyOwnBExtra) REQUIRE n.id IS UNIQUE";
    support::graph().run(Query::new(constraint.to_owned())).await.unwrap();
    let rows = vec![insert(NODES, 1, node()), insert(NODES, 2, node())];
    let batch = vec![change(NODES, 1, 5, node()), delete(NODES, 5), change(NODES, 2, 5, node())];
    in_one_transaction_each("KeyOwn", vec![rows, batch]).await;
}

#[tokio::test]
async fn a_key_of_a_placeholder_that_was_a_row_is_free_when_it_is_swept() {
    // The row takes over the placeholder's link, becomes a placeholder, and loses the link.
    let rows = vec![insert(NODES, 1, node()), insert(LINKS, 1, link(5))];
    let batch = vec![
        change(NODES, 1, 5, node()),
        delete(NODES, 5),
        delete(LINKS, 1),
        insert(NODES, 5, node()),
    ];
    in_one_transaction_each("KeySweep", vec![rows, batch]).await;
}

#[tokio::test]
async fn a_key_of_a_placeholder_that_was_a_row_is_free_for_another_row() {
    let rows = vec![insert(NODES, 1, node()), insert(NODES, 2, node()), insert(LINKS, 1, link(5))];
    let batch = vec![change(NODES, 1, 5, node()), delete(NODES, 5), change(NODES, 2, 5, node())];
    in_one_transaction_each("KeyTakeOver", vec![rows, batch]).await;
}

#[tokio::test]
async fn a_key_that_a_relationship_got_and_took_along_is_free_for_another() {
    let rows = vec![insert(LINKS, 1, link(1)), insert(LINKS, 2, link(2))];
    let batch = vec![change(LINKS, 1, 5, link(1)), delete(LINKS, 5), change(LINKS, 2, 5, link(2))];
    in_one_transaction_each("KeyLink", vec![rows, batch]).await;
}

#[tokio::test]
async fn a_relationship_that_got_another_key_is_made_again_at_other_ends() {
    let rows = vec![insert(LINKS, 1, link(1))];
    in_one_transaction_each("KeyEnds", vec![rows, vec![change(LINKS, 1, 5, link(2))]]).await;
}
