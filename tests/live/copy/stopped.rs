//! A graph that stops answering in the middle of a copy: a long collection of garbage, a stalled disk, a
//! cut network.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use neo4rs::Query;
use wal2graph::neo4j::connect::{ANSWER_LIMIT, Connection, Options};
use wal2graph_servers::{Neo4j, Neo4jOptions};

use crate::support::{Pipeline, Running, client, until};

/// Rows of each table: wide enough that a chunk is several pieces, so that a lane reads ahead.
const ROWS: u32 = 60_000;
/// The longest that an application waits. The promise is a second, the rest is for a busy machine: who
/// waits for the graph waits for ever.
const WAIT_MAX: &str = "30s";

/// Neo4j's process, stopped; it goes on when this is dropped.
struct Stopped(String);

impl Stopped {
    fn stop(server: &Neo4j) -> Self {
        let stopped = Stopped(server.id().expect("it runs").to_string());
        stopped.send("STOP");
        stopped
    }

    fn send(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.0]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.send("CONT");
    }
}

async fn count(graph: &Connection, of: &str) -> i64 {
    let query = Query::new(format!("RETURN COUNT {{ {of} }} AS n"));
    let rows = graph.rows(query).await.expect("the query is right");
    rows[0].get("n").expect("a number")
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn an_application_does_not_wait_for_a_copy_whose_graph_has_stopped() {
    let table = |name: &str| {
        format!(
            "CREATE TABLE stp_{name} (id int PRIMARY KEY, v text); \
             INSERT INTO stp_{name} SELECT g, repeat('x', 200) FROM generate_series(1, {ROWS}) g; "
        )
    };
    let pipeline = Pipeline::new("stopped", &["a", "b", "c"].map(table).concat()).await;
    let server = Neo4j::start(&Neo4jOptions::default()).unwrap();
    let graph = Connection::new(&Options::open(server.url()), ANSWER_LIMIT).unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let run = ["run", "--source-url", &pipeline.source_url, "--graph-url", &server.url()];
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wal2graph"));
        command.args(run).args(["--http", "off"]).stderr(log.reopen().unwrap());
        Running(command.spawn().expect("the program starts"))
    };
    let mut running = start();
    until("the copy is under way", async || count(&graph, "(:StpA)").await > 1000).await;

    let stopped = Stopped::stop(&server);
    // The lanes have read ahead what they can not write.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let application = client(&pipeline.source_url).await;
    let limit = format!("SET lock_timeout = '{WAIT_MAX}'");
    application.batch_execute(&limit).await.unwrap();
    let mut waited = Vec::new();
    for table in ["stp_a", "stp_b", "stp_c"] {
        let since = Instant::now();
        let alter = format!("ALTER TABLE {table} ALTER v SET DEFAULT 'y'");
        application.batch_execute(&alter).await.unwrap();
        waited.push((table, since.elapsed()));
    }
    application.batch_execute("DELETE FROM stp_b WHERE id > 50000; TRUNCATE stp_c").await.unwrap();
    drop(stopped);

    // A new default and another file look like a rewrite: then the rest of the copy is a comparison.
    until("the graph has what the tables have", async || {
        let [a, b, c] = ["(:StpA)", "(:StpB)", "(:StpC)"];
        let counts = (count(&graph, a).await, count(&graph, b).await, count(&graph, c).await);
        counts == (i64::from(ROWS), 50_000, 0)
    })
    .await;
    println!("{waited:?}\n{}", fs::read_to_string(log.path()).unwrap());
    assert!(running.terminate(Duration::from_secs(60)).await.is_some());
}
