//! The first copy of the tables, against the bare loader with as many lanes.

use std::time::Instant;

use neo4rs::BoltType;
use tokio_postgres::{Client, types::FromSql};
use wal2graph::neo4j::{Connection, parameter};

use crate::{
    Result,
    figures::Taken,
    lab::Lab,
    loader::{self, Transaction},
    program::Pipeline,
    shop,
};

/// The number of rows in one transaction of the loader.
const BATCH: usize = 2_000;

pub async fn measure(lab: &Lab) -> Result<Taken> {
    let mut taken = Taken::default();
    let sql = lab.new_database("copied").await?;
    sql.batch_execute(shop::SCHEMA).await?;
    sql.batch_execute(&shop::rows(1)).await?;
    let lanes = std::thread::available_parallelism()?.get().min(4);
    // The loader needs the constraints that the program creates.
    for round in 0..=lab.rounds {
        for turn in 0..2 {
            lab.wipe("(n)").await?;
            if (round + turn) % 2 == 0 {
                let name = format!("copied_{round}");
                let base = Pipeline::new(lab, "copied");
                let pipeline = Pipeline { publication: format!("wal2graph_{name}"), name, ..base };
                let run = pipeline.catch_up()?;
                shop::check(&pipeline, &sql).await?;
                if round > 0 {
                    taken.value(
                        "copy",
                        "wal2graph",
                        "rows/s",
                        shop::ROW_COUNT / run.work.as_secs_f64(),
                    );
                    taken.value("copy", "wal2graph: memory peak", "MiB", run.cost.memory_peak_mib);
                }
            } else if round > 0 {
                let seconds = by_loader(lab, &sql, lanes).await?;
                shop::check(&Pipeline::new(lab, "copied"), &sql).await?;
                taken.value("copy", "bare loader", "rows/s", shop::ROW_COUNT / seconds);
            }
        }
    }
    taken.ratio("copy", "wal2graph / bare loader", "wal2graph", "bare loader", Some(0.9));
    Ok(taken)
}

/// Nodes in all lanes, then relationships in all lanes.
async fn by_loader(lab: &Lab, sql: &Client, lanes: usize) -> Result<f64> {
    let customers = "UNWIND $rows[0] AS r MERGE (n:Customer {id: r[0]}) SET n.name = r[1], n.email = r[2], n.city = r[3]";
    let products = "UNWIND $rows[0] AS r MERGE (n:Product {id: r[0]}) SET n.sku = r[1], n.name = r[2], n.price = r[3]";
    let orders = "UNWIND $rows[0] AS r MERGE (n:Order {id: r[0]}) SET n.customer_id = r[1], n.status = r[2], n.total = r[3], \
         n.placed_at = datetime(r[4])";
    let mut nodes =
        batches(sql, customers, "SELECT id::int8, name, email, city FROM customers").await?;
    nodes.extend(
        batches(sql, products, "SELECT id::int8, sku, name, price::text FROM products").await?,
    );
    let select = "SELECT id::int8, customer_id::int8, status, total::text, \
        to_char(placed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM orders";
    nodes.extend(batches(sql, orders, select).await?);
    let select = "SELECT id::int8, customer_id::int8 FROM orders ORDER BY id / 2000, customer_id";
    let mut relationships = batches(sql, loader::ADD_PLACED, select).await?;
    let select = "SELECT order_id::int8, product_id::int8, qty::int8, price::text FROM order_items \
        ORDER BY order_id / 666, product_id";
    relationships.extend(batches(sql, loader::ADD_ITEMS, select).await?);
    let mut connections = Vec::new();
    for _ in 0..lanes {
        let connection = lab.connect()?;
        connection.begin().await?.rollback().await;
        connections.push(connection);
    }
    let started = Instant::now();
    in_lanes(&connections, nodes).await?;
    in_lanes(&connections, relationships).await?;
    Ok(started.elapsed().as_secs_f64())
}

async fn in_lanes(connections: &[Connection], transactions: Vec<Transaction>) -> Result<()> {
    let size = transactions.len().div_ceil(connections.len());
    let mut tasks = Vec::new();
    for (connection, share) in connections.iter().zip(transactions.chunks(size)) {
        let (connection, share) = (connection.clone(), share.to_vec());
        tasks.push(tokio::spawn(async move { loader::load(&connection, share).await }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

async fn batches(sql: &Client, cypher: &str, select: &str) -> Result<Vec<Transaction>> {
    let rows: Vec<BoltType> = sql.query(select, &[]).await?.iter().map(row).collect();
    let batch = |rows: &[BoltType]| vec![(cypher.to_owned(), rows.to_vec())];
    Ok(rows.chunks(BATCH).map(batch).collect())
}

/// Numbers first, then texts, by the column's type.
fn row(row: &tokio_postgres::Row) -> BoltType {
    let value = |index: usize| match <i64 as FromSql>::accepts(row.columns()[index].type_()) {
        true => row.get::<_, i64>(index).into(),
        false => row.get::<_, String>(index).into(),
    };
    parameter::list((0..row.len()).map(value))
}
