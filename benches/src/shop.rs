//! The workload: a shop whose orders are placed, changed twice and sometimes deleted.

use std::{fs, process::Command};

use tokio_postgres::Client;
use wal2graph_servers::tool;

use crate::{Result, lab::Lab, program::Pipeline};

/// The tables, empty.
pub const SCHEMA: &str = "
    CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, email text, city text);
    CREATE TABLE products (id int PRIMARY KEY, sku text NOT NULL, name text NOT NULL, price numeric(10, 2));
    CREATE TABLE orders (
        id int PRIMARY KEY,
        customer_id int REFERENCES customers,
        status text NOT NULL,
        total numeric(10, 2),
        placed_at timestamptz NOT NULL
    );
    CREATE TABLE order_items (
        order_id int REFERENCES orders ON DELETE CASCADE,
        product_id int REFERENCES products,
        qty int NOT NULL,
        price numeric(10, 2) NOT NULL,
        PRIMARY KEY (order_id, product_id)
    );
    CREATE SEQUENCE order_ids;";

/// 20,000 customers and 1,000 products.
const PRELOAD: &str = "
    INSERT INTO customers SELECT n, 'Customer ' || n, 'c' || n || '@example.com', 'City ' || n % 50
        FROM generate_series(1, 20000) n;
    INSERT INTO products SELECT n, 'SKU-' || n, 'Product ' || n, n % 90 + 0.99 FROM generate_series(1, 1000) n;
    ANALYZE;";

/// So many rows are in `rows(1)`.
pub const ROW_COUNT: f64 = 451_000.0;

/// Rows of all tables, as many times [`ROW_COUNT`].
pub fn rows(times: u32) -> String {
    let (customers, orders) = (50_000 * times, 100_000 * times);
    format!(
        "INSERT INTO customers SELECT n, 'Customer ' || n, 'c' || n || '@example.com', 'City ' || n % 50
            FROM generate_series(1, {customers}) n;
        INSERT INTO products SELECT n, 'SKU-' || n, 'Product ' || n, n % 90 + 0.99
            FROM generate_series(1, 1000 * {times}) n;
        INSERT INTO orders SELECT n, 1 + n::int8 * 7919 % {customers}, 'new', n % 500,
            timestamptz '2026-01-01' + n * interval '1 minute' FROM generate_series(1, {orders}) n;
        INSERT INTO order_items SELECT n, 1 + (n * 17 + m * 333) % 1000, m, m + 0.99
            FROM generate_series(1, {orders}) n, generate_series(1, 3) m;
        SELECT setval('order_ids', {orders});
        ANALYZE;"
    )
}

/// An order and three lines.
pub const PLACE: &str = "
\\set customer random(1, 20000)
\\set product random(1, 1000)
BEGIN;
INSERT INTO orders VALUES (nextval('order_ids'), :customer, 'new', 10 + :product, now());
INSERT INTO order_items
    SELECT currval('order_ids'), 1 + (:product + n * 333) % 1000, n, 9.99 + n FROM generate_series(1, 3) n;
COMMIT;
";

/// An order twice, the second time sometimes with another customer or none, and its lines.
const CHANGE: &str = "
\\set order random(1, 20000)
\\set customer random(1, 20000)
\\set chance random(1, 100)
BEGIN;
UPDATE orders SET status = 'paid' WHERE id = :order;
UPDATE orders SET status = 'shipped', customer_id = CASE
    WHEN :chance <= 10 THEN NULL WHEN :chance <= 30 THEN :customer ELSE customer_id END WHERE id = :order;
UPDATE order_items SET qty = qty + 1 WHERE order_id = :order;
COMMIT;
";

/// An order, with its lines by cascade.
const DELETE: &str = "
\\set order random(1, 20000)
DELETE FROM orders WHERE id = :order;
";

/// Creates a database `name` with the tables and their first rows.
pub async fn database(lab: &Lab, name: &str) -> Result<Client> {
    let client = lab.new_database(name).await?;
    client.batch_execute(SCHEMA).await?;
    client.batch_execute(PRELOAD).await?;
    Ok(client)
}

/// The whole workload, always the same: 20,000 orders, 10,000 changes, 500 deletes.
pub fn run(lab: &Lab, database: &str) -> Result<()> {
    for (script, transactions) in [(PLACE, 20_000), (CHANGE, 10_000), (DELETE, 500)] {
        pgbench(lab, database, script, &["-c", "1", "-t", &transactions.to_string()])?.status()?;
    }
    Ok(())
}

/// The command of pgbench with a script and a fixed seed.
pub fn pgbench(lab: &Lab, database: &str, script: &str, arguments: &[&str]) -> Result<Command> {
    let folder = tempfile::tempdir()?.keep();
    let path = folder.join("script.sql");
    fs::write(&path, script)?;
    let mut command = Command::new(tool("pgbench")?);
    command.args(["-n", "--random-seed=42", "-f"]).arg(path).args(arguments);
    command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &lab.postgres.port().to_string()]);
    command.arg(database).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    Ok(command)
}

/// Fails unless the graph has the same orders, lines and customers as the tables.
pub async fn check(pipeline: &Pipeline<'_>, sql: &Client) -> Result<()> {
    let expected = "SELECT (SELECT count(*) FROM orders), (SELECT coalesce(sum(id), 0)::int8 FROM orders), \
        (SELECT count(*) FROM orders WHERE status = 'shipped'), (SELECT count(*) FROM order_items), \
        (SELECT coalesce(sum(qty), 0)::int8 FROM order_items), \
        (SELECT coalesce(sum(id::int8 * customer_id), 0)::int8 FROM orders)";
    let row = sql.query_one(expected, &[]).await?;
    let expected: Vec<i64> = (0..6).map(|column| row.get(column)).collect();
    let found = "MATCH (o:Order) WHERE o.id > 0 WITH count(o) AS orders, sum(o.id) AS ids, \
        sum(CASE o.status WHEN 'shipped' THEN 1 ELSE 0 END) AS shipped \
        CALL () { MATCH (o:Order)-[x:ORDER_ITEMS]->(:Product) WHERE o.id > 0 \
                  RETURN count(x) AS items, sum(x.qty) AS qty } \
        CALL () { MATCH (o:Order)-[:CUSTOMER]->(c:Customer) WHERE o.id > 0 RETURN sum(o.id * c.id) AS placed } \
        RETURN [orders, ids, shipped, items, qty, placed] AS found";
    let rows = pipeline.lab.ask(found).await?;
    let found: Vec<i64> = rows.first().ok_or("no answer")?.get("found")?;
    match found == expected {
        true => Ok(()),
        false => Err(format!("the graph has {found:?}, the tables {expected:?}").into()),
    }
}
