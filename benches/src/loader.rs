//! The upper bound: a loader that only sends the final rows of the shop, in the best known
//! statements.
//!
//! It reads no log, decodes nothing, keeps no position, repairs nothing, and is right only for this
//! workload. Rows are prepared before the clock starts, missing end points are ignored, and deleted
//! orders take all their relationships with them. It is the fastest way we know; a faster one
//! belongs here first.

use neo4rs::{BoltNull, BoltType, Query};
use wal2graph::{
    graph::{
        Cell, Key, Mutations, Reference,
        fold::{FoldedRow, Step, TableMutations},
        model::{Model, Shape},
    },
    neo4j::{Connection, Error, parameter},
    pipeline::Failure,
};

use crate::Result;

/// The statements of one transaction.
pub type Transaction = Vec<(String, Vec<BoltType>)>;

const REMOVE_PLACED: &str = "UNWIND $rows[0] AS r MATCH (o:Order {id: r[0]})-[x:CUSTOMER]->(c:Customer) \
    WHERE r[1] IS NULL OR c.id <> r[1] DELETE x";
/// Orders get their customer.
pub const ADD_PLACED: &str = "UNWIND $rows[0] AS r MATCH (o:Order {id: r[0]}) USING INDEX SEEK o:Order(id) \
    MATCH (c:Customer {id: r[1]}) USING INDEX SEEK c:Customer(id) \
    WITH o, c WHERE NOT EXISTS { (o)-[:CUSTOMER]->(c) } CREATE (o)-[:CUSTOMER]->(c)";
const CHANGE_ITEMS: &str = "UNWIND $rows[0] AS r MATCH (o:Order {id: r[0]}) USING INDEX SEEK o:Order(id) \
    MATCH (p:Product {id: r[1]}) USING INDEX SEEK p:Product(id) \
    MATCH (o)-[x:ORDER_ITEMS]->(p) SET x.qty = r[2], x.price = r[3]";
/// Orders get their lines.
pub const ADD_ITEMS: &str = "UNWIND $rows[0] AS r MATCH (o:Order {id: r[0]}) USING INDEX SEEK o:Order(id) \
    MATCH (p:Product {id: r[1]}) USING INDEX SEEK p:Product(id) \
    WITH o, p, r WHERE NOT EXISTS { (o)-[:ORDER_ITEMS]->(p) } \
    CREATE (o)-[x:ORDER_ITEMS]->(p) SET x.qty = r[2], x.price = r[3]";
const DELETE_ORDERS: &str = "UNWIND $rows[0] AS r MATCH (o:Order {id: r[0]}) DETACH DELETE o";

/// The transactions that have the same result as a backlog's batches.
pub fn transactions(model: &Model, batches: &[Mutations]) -> Vec<Transaction> {
    batches.iter().map(|batch| transaction(model, batch)).collect()
}

fn transaction(model: &Model, batch: &Mutations) -> Transaction {
    let mut statements = Vec::new();
    let mut placed = (Vec::new(), Vec::new());
    let mut items = (Vec::new(), Vec::new());
    for (index, table) in &batch.tables {
        match &model.table(*index).shape {
            Shape::Node(node) => {
                statements.push((DELETE_ORDERS.to_owned(), dropped(table)));
                let set: Vec<String> = node.properties.iter().zip(1..).map(set).collect();
                let text = format!(
                    "UNWIND $rows[0] AS r {{}} (n:{} {{id: r[0]}}) SET {}",
                    node.label,
                    set.join(", ")
                );
                for (verb, inserted) in [("MERGE", true), ("MATCH", false)] {
                    let rows = table.rows.iter().filter(|(_, row)| row.inserted == inserted);
                    statements.push((text.replace("{}", verb), rows.map(row).collect()));
                }
                for (key, row) in table.rows.iter().filter(|_| node.label == "Order") {
                    let target = target(row);
                    if !row.inserted {
                        placed.0.push(list([value(key), target.map_or(null(), value)]));
                    }
                    placed
                        .1
                        .extend(target.map(|target| (target, list([value(key), value(target)]))));
                }
            }
            Shape::Relationship(_) => {
                for (key, row) in &table.rows {
                    let rows = if row.inserted { &mut items.1 } else { &mut items.0 };
                    rows.push((&key.0[1], self::row((key, row))));
                }
            }
        }
    }
    placed.1.sort_by_key(|(target, _)| *target);
    items.1.sort_by_key(|(product, _)| *product);
    statements.push((REMOVE_PLACED.to_owned(), placed.0));
    statements.push((ADD_PLACED.to_owned(), placed.1.into_iter().map(|(_, row)| row).collect()));
    statements.push((CHANGE_ITEMS.to_owned(), items.0.into_iter().map(|(_, row)| row).collect()));
    statements.push((ADD_ITEMS.to_owned(), items.1.into_iter().map(|(_, row)| row).collect()));
    statements.retain(|(_, rows)| !rows.is_empty());
    statements
}

fn set((name, column): (&String, usize)) -> String {
    format!("n.{name} = r[{column}]")
}

fn dropped(table: &TableMutations) -> Vec<BoltType> {
    let drops = table.steps.iter().filter_map(|step| match step {
        Step::Drop(key) => Some(list([value(key)])),
        Step::Move { .. } => None,
    });
    drops.collect()
}

fn target(row: &FoldedRow) -> Option<&Key> {
    match row.row.references.first() {
        Some(Reference::To(target)) => Some(target),
        _ => None,
    }
}

fn row((key, folded): (&Key, &FoldedRow)) -> BoltType {
    let key = key.0.iter().map(parameter::value);
    parameter::list(key.chain(folded.row.properties.iter().map(cell)))
}

fn cell(cell: &Cell) -> BoltType {
    match cell {
        Cell::Value(it) => parameter::value(it),
        Cell::Null => null(),
        Cell::Unchanged => panic!("the shop has no TOASTed values"),
    }
}

fn value(key: &Key) -> BoltType {
    parameter::value(&key.0[0])
}

fn null() -> BoltType {
    BoltType::Null(BoltNull)
}

fn list<const N: usize>(values: [BoltType; N]) -> BoltType {
    parameter::list(values.into_iter())
}

/// Sends them, one after another.
pub async fn load(connection: &Connection, transactions: Vec<Transaction>) -> Result<()> {
    for statements in transactions {
        // Lanes deadlock now and then, and one of them has to start again.
        while let Err(error) = send(connection, &statements).await {
            if !error.is_transient() {
                return Err(error.into());
            }
        }
    }
    Ok(())
}

async fn send(connection: &Connection, statements: &Transaction) -> std::result::Result<(), Error> {
    let mut transaction = connection.begin().await?;
    for (text, rows) in statements {
        let rows = parameter::list(rows.iter().cloned());
        transaction.run(Query::new(text.clone()).param("rows", list([rows]))).await?;
    }
    transaction.commit().await
}
