//! Applications that write into the source, and change its tables, whatever happens to it.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use super::World;

/// Accounts, between which money goes.
pub const ACCOUNTS: i64 = 40;
/// What is on all of them together.
pub const SUM: i64 = ACCOUNTS * 100;

pub const SCHEMA: &str = "
    CREATE TABLE cha_accounts (id int PRIMARY KEY, balance int NOT NULL);
    CREATE TABLE cha_commits (id int PRIMARY KEY, n int NOT NULL);
    CREATE TABLE cha_customers (id int PRIMARY KEY, name text, note text);
    CREATE TABLE cha_orders (id int PRIMARY KEY, customer_id int REFERENCES cha_customers ON DELETE CASCADE ON UPDATE CASCADE,
        total numeric, note text);
    CREATE TABLE cha_tags (order_id int REFERENCES cha_orders ON DELETE CASCADE, tag text, weight int, PRIMARY KEY (order_id, tag));
    INSERT INTO cha_accounts SELECT g, 100 FROM generate_series(1, 40) g;
    INSERT INTO cha_commits VALUES (1, 0);
    INSERT INTO cha_customers SELECT g, 'c' || g, repeat('n', 100) FROM generate_series(1, 3000) g;
    INSERT INTO cha_orders SELECT g, 1 + g % 3000, g, 'o' FROM generate_series(1, 5000) g;
    INSERT INTO cha_tags SELECT g, 't' || g % 3, g FROM generate_series(1, 5000) g";

/// Writes until it is dropped. Returns nothing: what is in the tables is what counts.
pub async fn write(world: World, mut rng: Rng) {
    let mut sql = None;
    loop {
        let client = match sql.take() {
            Some(client) => client,
            None => match timeout(Duration::from_secs(5), world.source()).await {
                Ok(Some(client)) => client,
                _ => {
                    sleep(Duration::from_millis(200)).await;
                    continue;
                }
            },
        };
        let statements = statements(&mut rng, world.has_refused_rows());
        let done = timeout(Duration::from_secs(10), client.batch_execute(&statements)).await;
        match done {
            Ok(Ok(())) => world.counted("transactions"),
            // Keys that are there or not, deadlocks with DDL, and a server that is away.
            Ok(Err(_)) => {}
            Err(_) => continue,
        }
        if !client.is_closed() {
            let _ = timeout(Duration::from_secs(5), client.batch_execute("ROLLBACK")).await;
            sql = Some(client);
        }
        sleep(Duration::from_millis(rng.u64(0..60))).await;
    }
}

fn statements(rng: &mut Rng, may_be_refused: bool) -> String {
    let (one, other) = (rng.i64(1..=ACCOUNTS), rng.i64(1..=ACCOUNTS));
    let (amount, customer, order) = (rng.i64(1..20), rng.i64(1..4000), rng.i64(1..7000));
    let body = match rng.u8(0..14) {
        0..=4 => format!(
            "UPDATE cha_accounts SET balance = balance - {amount} WHERE id = {one}; \
             UPDATE cha_accounts SET balance = balance + {amount} WHERE id = {other}; \
             UPDATE cha_commits SET n = n + 1"
        ),
        5 => format!(
            "INSERT INTO cha_customers (id, name) VALUES ({customer}, 'new') ON CONFLICT DO NOTHING"
        ),
        6 => {
            format!(
                "UPDATE cha_customers SET name = 'u{amount}' WHERE id % 500 = {}",
                customer % 500
            )
        }
        7 => format!("DELETE FROM cha_customers WHERE id = {customer}"),
        8 => format!("UPDATE cha_customers SET id = {} WHERE id = {customer}", rng.i64(4000..5000)),
        9 => format!(
            "INSERT INTO cha_orders (id, customer_id, total) SELECT {order}, id, {amount} FROM cha_customers \
             ORDER BY id LIMIT 1 ON CONFLICT DO NOTHING; \
             INSERT INTO cha_tags VALUES ({order}, 't{}', {amount}) ON CONFLICT DO NOTHING",
            rng.u8(0..5)
        ),
        10 => format!("DELETE FROM cha_orders WHERE id = {order}"),
        11 => format!("UPDATE cha_tags SET tag = 'k{}' WHERE order_id = {order}", rng.u8(0..9)),
        12 => format!("UPDATE cha_orders SET total = total + 1 WHERE id % 700 = {}", order % 700),
        // Now and then a row that the graph refuses.
        13 if !may_be_refused || rng.u8(0..20) > 0 => "UPDATE cha_commits SET n = n + 1".to_owned(),
        _ => format!(
            "INSERT INTO cha_tags SELECT id, repeat('x', 9000) || {amount}, 1 FROM cha_orders \
             WHERE id = {order} ON CONFLICT DO NOTHING"
        ),
    };
    let end = if rng.u8(0..12) == 0 { "ROLLBACK" } else { "COMMIT" };
    format!("SET lock_timeout = '2s'; BEGIN; {body}; {end}")
}

/// Changes tables that no invariant is about.
pub async fn alter(client: &Client, rng: &mut Rng) -> &'static str {
    let (name, sql) = match rng.u8(0..8) {
        0 => (
            "add column",
            "ALTER TABLE cha_customers ADD COLUMN IF NOT EXISTS more text DEFAULT 'm'",
        ),
        1 => ("drop column", "ALTER TABLE cha_customers DROP COLUMN IF EXISTS more"),
        2 => ("rewrite", "ALTER TABLE cha_orders ALTER total TYPE numeric USING total + 1"),
        3 => (
            "new table",
            "CREATE TABLE IF NOT EXISTS cha_extra AS SELECT g AS id, 'e' AS v FROM generate_series(1, 50) g; \
                           ALTER TABLE cha_extra ADD PRIMARY KEY (id)",
        ),
        4 => ("drop table", "DROP TABLE IF EXISTS cha_extra"),
        5 => ("truncate", "TRUNCATE cha_tags"),
        6 => ("vacuum full", "VACUUM FULL cha_orders"),
        _ => (
            "rename column",
            "DO $$ BEGIN ALTER TABLE cha_orders RENAME note TO remark; \
              EXCEPTION WHEN undefined_column THEN ALTER TABLE cha_orders RENAME remark TO note; END $$",
        ),
    };
    let _ = client.batch_execute("SET lock_timeout = '3s'").await;
    let _ = timeout(Duration::from_secs(15), client.batch_execute(sql)).await;
    name
}
