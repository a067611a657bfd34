//! Debezium's own topics: one for each table, in every mode, applied through the mapping.

mod begins;
mod connector;
mod rows;
pub mod topics;

use fastrand::Rng;
use neo4rs::Query;
use serde_json::Value;
use wal2graph::envelope::{DecimalHandling, TimePrecision};

use super::kafka;
use crate::support::{Pipeline, graph};
use connector::{Connector, Modes};

/// How many changes there are after the copy.
const CHANGES: usize = 60;

/// Two tables, one that refers to the other.
fn schema(prefix: &str) -> String {
    format!(
        "CREATE TABLE {prefix}_customers (id int PRIMARY KEY, name text, balance numeric(12,2), \
         born date, seen timestamp, at timestamptz); \
         CREATE TABLE {prefix}_orders (id int PRIMARY KEY, \
         customer_id int REFERENCES {prefix}_customers ON UPDATE CASCADE, note text)"
    )
}

/// What the tables have, as the graph should.
async fn expected(pipeline: &Pipeline, prefix: &str) -> (Vec<Value>, Vec<(i64, Option<i64>)>) {
    let rows = format!(
        "SELECT json_build_object('id', id, 'name', name, 'balance', balance::float8, \
         'born', to_char(born, 'YYYYMMDD')::int, 'seen', (extract(epoch FROM seen) * 1e6)::int8, \
         'at', (extract(epoch FROM at) * 1e6)::int8)::text FROM {prefix}_customers ORDER BY id"
    );
    let rows = pipeline.sql.query(&rows, &[]).await.unwrap();
    let customers = rows.iter().map(|row| floating(serde_json::from_str(row.get(0)).unwrap()));
    let customers = customers.collect();
    let rows = format!("SELECT id, customer_id FROM {prefix}_orders ORDER BY id");
    let rows = pipeline.sql.query(&rows, &[]).await.unwrap();
    let id = |row: &tokio_postgres::Row| {
        (i64::from(row.get::<_, i32>(0)), row.get::<_, Option<i32>>(1).map(i64::from))
    };
    (customers, rows.iter().map(id).collect())
}

/// A whole number of money is one with decimals, too.
fn floating(mut customer: Value) -> Value {
    customer["balance"] = customer["balance"].as_f64().into();
    customer
}

/// What the graph has.
async fn found(prefix: &str) -> (Vec<Value>, Vec<(i64, Option<i64>)>) {
    let label = format!("{}{}", prefix[..1].to_uppercase(), &prefix[1..]);
    // Neo4j reads a label and a property one after the other: of a row that goes meanwhile there is nothing,
    // which `datetime` would refuse.
    let seen = "duration.inSeconds(localdatetime({year: 1970}), n.seen).seconds * 1000000 + n.seen.microsecond";
    let text = format!(
        "MATCH (n:{label}Customer) WHERE NOT n:_Placeholder RETURN n {{.id, .name, \
         balance: toFloat(n.balance), born: n.born.year * 10000 + n.born.month * 100 + n.born.day, \
         seen: {seen}, at: n.at.epochSeconds * 1000000 + n.at.microsecond}} AS it ORDER BY n.id"
    );
    let rows = graph().rows(Query::new(text)).await.unwrap();
    let customers = rows.iter().map(|row| floating(row.get("it").unwrap())).collect();
    let text = format!(
        "MATCH (n:{label}Order) OPTIONAL MATCH (n)-[:CUSTOMER]->(c:{label}Customer) \
         RETURN n.id AS id, c.id AS customer ORDER BY id"
    );
    let rows = graph().rows(Query::new(text)).await.unwrap();
    let order = |row: &neo4rs::Row| (row.get("id").unwrap(), row.get("customer").unwrap());
    (customers, rows.iter().map(order).collect())
}

/// A copy, then changes of both tables in any order, all through the connector's topics.
async fn history(pipeline: &Pipeline, connector: &Connector, prefix: &str, rng: &mut Rng) {
    let sql = &pipeline.sql;
    for id in 1..=6 {
        sql.batch_execute(&connector.modes.customer(prefix, id, rng)).await.unwrap();
        let order = format!("INSERT INTO {prefix}_orders VALUES ({id}, {id}, 'copied')");
        sql.batch_execute(&order).await.unwrap();
    }
    connector.copy(pipeline).await;
    let mut next = 100;
    for _ in 0..CHANGES {
        let id = rng.i32(1..=6);
        match rng.u8(..6) {
            0 => {
                sql.batch_execute(&connector.modes.customer(prefix, next, rng)).await.unwrap();
                connector.created(pipeline, "customers", next).await;
                let order =
                    format!("INSERT INTO {prefix}_orders VALUES ({next}, {next}, 'streamed')");
                sql.batch_execute(&order).await.unwrap();
                connector.created(pipeline, "orders", next).await;
                next += 1;
            }
            1 | 2 => {
                let update = format!(
                    "UPDATE {prefix}_customers SET name = 'n{}', balance = {} WHERE id = {id}",
                    rng.u16(..),
                    connector.modes.balance(rng)
                );
                if sql.execute(&update, &[]).await.unwrap() == 1 {
                    connector.updated(pipeline, "customers", id).await;
                }
            }
            3 => {
                let update = format!(
                    "UPDATE {prefix}_orders SET customer_id = \
                     (SELECT id FROM {prefix}_customers ORDER BY md5(id || '{}') LIMIT 1) \
                     WHERE id = {id}",
                    rng.u32(..)
                );
                if sql.execute(&update, &[]).await.unwrap() == 1 {
                    connector.updated(pipeline, "orders", id).await;
                }
            }
            4 => {
                let delete = format!("DELETE FROM {prefix}_orders WHERE id = {id}");
                if sql.execute(&delete, &[]).await.unwrap() == 1 {
                    connector.deleted("orders", id).await;
                }
            }
            _ => {
                let move_to = format!("UPDATE {prefix}_orders SET id = {next} WHERE id = {id}");
                if sql.execute(&move_to, &[]).await.unwrap() == 1 {
                    connector.moved(pipeline, "orders", id, next).await;
                    next += 1;
                }
            }
        }
    }
}

async fn is_applied(prefix: &str, modes: Modes) {
    let seed =
        std::env::var("SEED").map_or_else(|_| fastrand::u64(..10_000), |it| it.parse().unwrap());
    println!("SEED={seed} {modes:?}");
    let mut rng = Rng::with_seed(seed);
    let pipeline = Pipeline::new(prefix, &schema(prefix)).await;
    let connector = Connector::new(kafka(), &pipeline.name, prefix, modes);
    history(&pipeline, &connector, prefix, &mut rng).await;
    let mut apply = pipeline.command(&["apply", "--until", "current"]);
    apply.arg("-c").arg(connector.config());
    let output = crate::support::output(apply).await;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{log}");
    assert!(output.status.success(), "{log}");
    let ((customers, orders), (nodes, relationships)) =
        (expected(&pipeline, prefix).await, found(prefix).await);
    assert!(customers.len() >= 6 && !orders.is_empty());
    assert_eq!(nodes, customers);
    assert_eq!(relationships, orders);
}

#[tokio::test]
async fn a_topic_for_each_table_with_schema_blocks() {
    let modes = Modes {
        with_schema: true,
        decimal: DecimalHandling::Precise,
        time: TimePrecision::Adaptive,
    };
    is_applied("kda", modes).await;
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_topic_for_each_table_without_schema_blocks() {
    for (prefix, decimal, time) in [
        ("kdb", DecimalHandling::Precise, TimePrecision::Adaptive),
        ("kdc", DecimalHandling::String, TimePrecision::Isostring),
        ("kdd", DecimalHandling::Double, TimePrecision::Connect),
        ("kde", DecimalHandling::Precise, TimePrecision::Nanoseconds),
    ] {
        is_applied(prefix, Modes { with_schema: false, decimal, time }).await;
    }
}
