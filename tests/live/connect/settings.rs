//! Settings of a role that would change what we do, and databases without an encoding.

use std::time::Duration;

use tokio_postgres::Client;
use wal2graph::postgres::connect::{SourceUrl, sql};
use wal2graph_servers::{Postgres, PostgresOptions};

use crate::support::{Pipeline, Running, client, eventually, output, unique};

/// Each makes something fail, wait or look different.
const HOSTILE: [(&str, &str); 20] = [
    ("default_transaction_read_only", "on"),
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_deferrable", "on"),
    ("statement_timeout", "1ms"),
    ("lock_timeout", "1ms"),
    ("idle_in_transaction_session_timeout", "1ms"),
    ("idle_session_timeout", "1ms"),
    ("row_security", "on"),
    ("search_path", "nowhere"),
    ("client_encoding", "LATIN1"),
    ("DateStyle", "German"),
    ("IntervalStyle", "sql_standard"),
    ("TimeZone", "Asia/Tokyo"),
    ("extra_float_digits", "-15"),
    ("bytea_output", "escape"),
    ("quote_all_identifiers", "on"),
    ("standard_conforming_strings", "off"),
    ("transform_null_equals", "on"),
    ("client_min_messages", "error"),
    ("role", "pg_monitor"),
];

async fn harm(client: &Client, role: &str, database: &str, more: &[(&str, &str)]) {
    for (name, value) in HOSTILE.iter().chain(more) {
        let text = format!("ALTER ROLE {role} IN DATABASE {database} SET {name} = '{value}'");
        client.batch_execute(&text).await.unwrap();
    }
}

#[tokio::test]
async fn read_only_defaults_of_a_role_kept_the_publication_from_being_made() {
    let schema = "CREATE TABLE ro_things (id int PRIMARY KEY, at timestamptz, took interval, bytes bytea); \
        INSERT INTO ro_things VALUES (1, '2026-01-02 03:04:05+00', '1 day', '\\x01')";
    let pipeline = Pipeline::new("ro", schema).await;
    let role = unique("ro_role");
    let sql = &pipeline.sql;
    sql.batch_execute(&format!("CREATE ROLE {role} LOGIN SUPERUSER")).await.unwrap();
    harm(sql, &role, &pipeline.name, &[]).await;
    let done = output(pipeline.command_as(&role, &["run", "--until", "current"])).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut running = Running(pipeline.command_as(&role, &["run"]).spawn().unwrap());
    let text = "INSERT INTO ro_things SELECT 2, at, took, bytes FROM ro_things";
    sql.batch_execute(text).await.unwrap();
    let alike = "MATCH (a:RoThing {id: 1}), (b:RoThing {id: 2}) RETURN a.at = b.at AND a.took = b.took \
        AND a.bytes = b.bytes AND a.at = datetime('2026-01-02T03:04:05Z') AS yes";
    eventually("the row is streamed", alike).await;
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
}

#[tokio::test]
async fn a_transaction_timeout_and_other_defaults_of_a_role_are_pinned() {
    let options = PostgresOptions { version: 17, ..PostgresOptions::default() };
    let server = tokio::task::spawn_blocking(move || Postgres::start(&options)).await.unwrap();
    let server = server.unwrap();
    let admin = client(&server.url("postgres")).await;
    admin.batch_execute("CREATE ROLE harmed LOGIN SUPERUSER").await.unwrap();
    harm(&admin, "harmed", "postgres", &[("transaction_timeout", "50ms")]).await;
    let url: SourceUrl = server.url("postgres").replace("postgres@", "harmed@").parse().unwrap();
    let client = sql(&url).await.unwrap().client;
    for (name, value) in [
        ("transaction_timeout", "0"),
        ("statement_timeout", "0"),
        ("lock_timeout", "5s"),
        ("idle_session_timeout", "0"),
        ("default_transaction_read_only", "off"),
        ("transaction_read_only", "off"),
        ("transaction_isolation", "read committed"),
        ("default_transaction_isolation", "read committed"),
        ("default_transaction_deferrable", "off"),
        ("client_encoding", "UTF8"),
        ("role", "none"),
        ("row_security", "off"),
    ] {
        let row = client.query_one("SELECT current_setting($1)", &[&name]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), value, "{name}");
    }
}

/// A database of the encoding SQL_ASCII with a pipeline of its name.
async fn without_encoding() -> Pipeline {
    let mut pipeline = Pipeline::new("ascii", "").await;
    let name = unique("sql_ascii");
    let create = format!(
        "CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    );
    pipeline.sql.batch_execute(&create).await.unwrap();
    pipeline.source_url = pipeline.source_url.replace(&pipeline.name, &name);
    pipeline.sql = client(&pipeline.source_url).await;
    pipeline.name = name;
    pipeline
}

/// é in LATIN1 is a byte that is no UTF-8.
#[tokio::test]
async fn a_byte_of_another_encoding_in_a_database_without_one_stopped_everything() {
    let pipeline = without_encoding().await;
    let sql = &pipeline.sql;
    let schema = r"
        CREATE TABLE ascii_names (id int PRIMARY KEY, name text);
        CREATE TABLE ascii_keys (key text PRIMARY KEY, peer text REFERENCES ascii_keys);
        DO $$ BEGIN EXECUTE E'COMMENT ON TABLE ascii_names IS ''caf\351''' ; END $$;
        INSERT INTO ascii_names VALUES (1, E'caf\351'), (2, 'plain'), (3, E'caf\303\251');
        INSERT INTO ascii_keys VALUES (E'\351', NULL), ('x', E'\351')";
    sql.batch_execute(schema).await.unwrap();
    pipeline.catch_up().await;
    let mut running = pipeline.start();
    let change = r"
        INSERT INTO ascii_names VALUES (4, E'caf\351');
        UPDATE ascii_names SET name = E'\350' WHERE id = 2;
        INSERT INTO ascii_keys VALUES ('y', E'\351'); DELETE FROM ascii_keys WHERE key = 'x'";
    sql.batch_execute(change).await.unwrap();
    let streamed = "MATCH (a:AsciiName {id: 1}), (b:AsciiName {id: 2}), (c:AsciiName {id: 3}), (d:AsciiName {id: 4}) \
        RETURN a.name = d.name AND a.name <> b.name AND c.name = 'caf\u{e9}' AS yes";
    eventually("the values are streamed", streamed).await;
    let keys = "MATCH (k:AsciiKey) WITH count(k) AS keys \
        MATCH (:AsciiKey {key: 'y'})-[:PEER]->(to:AsciiKey) RETURN keys = 2 AND NOT to:_Placeholder AS yes";
    eventually("the reference by a key of bytes", keys).await;
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
}
