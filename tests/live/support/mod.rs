//! Servers shared by the suite; a database, a slot and labels for each test.

pub mod document;
mod program;
mod restorable;

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use neo4rs::Query;
use wal2graph::neo4j::{Connection, Options, connect::ANSWER_LIMIT};
use wal2graph_servers::{Neo4j, Neo4jOptions, Postgres, PostgresOptions};

pub use program::{Pipeline, Running, output, program};
pub use restorable::Restorable;

/// The time limit for the whole suite. It names a hanging test, instead of letting CI end the suite
/// without a message.
const SUITE_LIMIT: Duration = Duration::from_secs(3_600);

static POSTGRES: OnceLock<Postgres> = OnceLock::new();
static NEO4J: OnceLock<Neo4j> = OnceLock::new();

/// The suite's PostgreSQL. Starts it at first use, and fails the test if it does not start.
pub fn postgres() -> &'static Postgres {
    POSTGRES.get_or_init(|| {
        std::thread::spawn(end_suite_at_limit);
        Postgres::start(&PostgresOptions::default()).unwrap_or_else(|error| panic!("{error}"))
    })
}

fn end_suite_at_limit() {
    std::thread::sleep(SUITE_LIMIT);
    // Linux keeps the first characters of a thread's name, which is the test's name.
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux says");
    let names = threads.flatten().map(|it| std::fs::read_to_string(it.path().join("comm")));
    let names: std::collections::BTreeSet<String> = names.map_while(Result::ok).collect();
    eprintln!("the suite has not ended within {SUITE_LIMIT:?}; threads: {names:?}");
    std::process::exit(1);
}

/// The suite's Neo4j.
pub fn neo4j() -> &'static Neo4j {
    NEO4J.get_or_init(|| {
        // It keeps the plans of the whole suite.
        let options = Neo4jOptions { heap: "2g".to_owned(), ..Neo4jOptions::default() };
        Neo4j::start(&options).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// The log-in to the suite's Neo4j.
pub fn graph_options() -> Options {
    Options::open(neo4j().url())
}

/// A connection to the suite's Neo4j.
pub fn graph() -> Connection {
    Connection::new(&graph_options(), ANSWER_LIMIT).expect("the options are right")
}

/// How many rounds a random test goes: `few` show what it is about in nearly every run, and
/// `make nightly` goes `all` of them.
pub fn rounds(few: usize, all: usize) -> usize {
    match is_thorough() {
        true => all,
        false => few,
    }
}

/// `THOROUGH` is set: this may take as long as it takes.
pub fn is_thorough() -> bool {
    std::env::var_os("THOROUGH").is_some()
}

/// The time limit for a wait, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A PostgreSQL that stops, and waits for an answer of ours, takes longer than this: it waits for
/// `wal_sender_timeout`, a minute.
pub const HELD_UP: Duration = Duration::from_secs(40);

/// Waits until it is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < PATIENCE, "not yet: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until a query of the graph returns true in its one column, `yes`.
pub async fn eventually(what: &str, cypher: &str) {
    until(what, async || holds(cypher).await).await;
}

/// Whether a query of the graph returns true in its one column, `yes`.
pub async fn holds(cypher: &str) -> bool {
    let rows = graph().rows(Query::new(cypher.to_owned())).await.expect("the query is right");
    rows.first().is_some_and(|row| row.get::<bool>("yes").unwrap_or(false))
}

/// A name that no other test has.
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{name}_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A client of a database.
pub async fn client(url: &str) -> tokio_postgres::Client {
    let (client, connection) =
        tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("the server answers");
    tokio::spawn(connection);
    client
}

/// Creates a database on the suite's PostgreSQL and returns its name.
pub async fn new_database(name: &str) -> String {
    new_database_on(postgres(), name).await
}

/// Creates a database on any server and returns its name.
pub async fn new_database_on(server: &Postgres, name: &str) -> String {
    let name = unique(name);
    let admin = client(&server.url("postgres")).await;
    admin.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a new database");
    name
}
