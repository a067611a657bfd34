//! `make demo`: a real PostgreSQL becomes a real Neo4j graph, then live changes arrive one by one.
//!
//! Everything runs in throw-away directories and goes when this ends.

use std::{
    env,
    error::Error,
    io::{IsTerminal, stdin},
    path::PathBuf,
    process::{Child, Command},
    time::{Duration, Instant},
};

use neo4rs::Query;
use tokio::time::sleep;
use tokio_postgres::NoTls;
use wal2graph::neo4j::{Connection, Options, connect::ANSWER_LIMIT};
use wal2graph_servers::{Neo4j, Neo4jOptions, Postgres, PostgresOptions};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A change, and a question that the graph answers with `true` once it has it.
const CHANGES: &[(&str, &str, &str)] = &[
    (
        "an order moves to another customer",
        "UPDATE orders SET customer_id = 42 WHERE id = 7",
        "EXISTS { (:Order {id: 7})-[:CUSTOMER]->(:Customer {id: 42}) } \
         AND COUNT { (:Order {id: 7})-[:CUSTOMER]->() } = 1",
    ),
    (
        "an order loses its employee: a foreign key becomes NULL",
        "UPDATE orders SET employee_id = NULL WHERE id = 7",
        "NOT EXISTS { (:Order {id: 7})-[:EMPLOYEE]->() }",
    ),
    (
        "a customer's key changes, and the orders follow",
        "UPDATE customers SET id = 9042 WHERE id = 42",
        "EXISTS { (:Order {id: 7})-[:CUSTOMER]->(:Customer {id: 9042}) } AND NOT EXISTS { (:Customer {id: 42}) }",
    ),
    (
        "a customer goes, with all orders and their lines",
        "DELETE FROM customers WHERE id = 9042",
        "NOT EXISTS { (:Customer {id: 9042}) } AND NOT EXISTS { (:Order {id: 7}) }",
    ),
    ("2,000 page views are truncated", "TRUNCATE page_views", "NOT EXISTS { (:PageView) }"),
];

#[tokio::main]
async fn main() -> Result<()> {
    println!("Starting a PostgreSQL and a Neo4j Community of their own ...");
    let postgres = Postgres::start(&PostgresOptions::default())?;
    let neo4j = Neo4j::start(&Neo4jOptions::default())?;
    let url = postgres.url("postgres");
    let (sql, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    sql.batch_execute(include_str!("shop.sql")).await?;
    let urls = ["--source-url", &url, "--graph-url", &neo4j.url()].map(str::to_owned);
    println!("\nA sample database is loaded. What the graph will look like:\n");
    wal2graph("plan", &urls)?.status()?;
    println!("\n$ wal2graph run --source-url {url} --graph-url {}\n", neo4j.url());
    let mut running = Running(wal2graph("run", &urls)?.spawn()?);
    let graph = Connection::new(&Options::open(neo4j.url()), ANSWER_LIMIT)?;
    let copied = "EXISTS { (:_Wal2GraphCheckpoint) } AND NOT EXISTS { (:_Wal2GraphCopy) }";
    until(&graph, copied, &mut running).await?;
    let counts =
        "MATCH (n) WITH count(n) AS nodes RETURN nodes, COUNT { ()-->() } AS relationships";
    let counts = graph.rows(Query::new(counts.to_owned())).await?;
    if let Some(row) = counts.first() {
        let (nodes, relationships): (i64, i64) = (row.get("nodes")?, row.get("relationships")?);
        println!("\nCopied: {nodes} nodes, {relationships} relationships. Now live changes:\n");
    }
    for (what, change, question) in CHANGES {
        sql.batch_execute(change).await?;
        let committed = Instant::now();
        until(&graph, question, &mut running).await?;
        let latency = committed.elapsed();
        println!("  {:>6.1} ms  {what}\n             {change}", latency.as_secs_f64() * 1e3);
    }
    println!("\nTo look around while it runs:");
    println!("  psql {url}");
    println!("  cypher-shell -a {}   (no user, no password)", neo4j.url());
    println!("  {} status {}", program()?.display(), urls.join(" "));
    if stdin().is_terminal() {
        println!("\nPress Enter to stop and remove everything.");
        stdin().read_line(&mut String::new())?;
    }
    running.stop()
}

/// The program was built with the demo, and is beside it.
fn program() -> Result<PathBuf> {
    Ok(env::current_exe()?.with_file_name("wal2graph"))
}

fn wal2graph(command: &str, urls: &[String]) -> Result<Command> {
    let mut command_line = Command::new(program()?);
    command_line.arg(command).args(urls).args(["--log-level", "warn"]);
    Ok(command_line)
}

/// Asks until the answer is yes; a program that has ended will never make it so.
async fn until(graph: &Connection, question: &str, running: &mut Running) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let started = Instant::now();
    loop {
        let rows = graph.rows(Query::new(format!("RETURN {question} AS yes"))).await?;
        if rows.first().is_some_and(|row| row.get("yes").unwrap_or(false)) {
            return Ok(());
        }
        if let Some(status) = running.0.try_wait()? {
            return Err(format!("wal2graph run ended: {status}").into());
        }
        if started.elapsed() > PATIENCE {
            return Err(format!("the graph does not say yes to: {question}").into());
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// `wal2graph run`, ended with the demo.
struct Running(Child);

impl Running {
    fn stop(&mut self) -> Result<()> {
        Command::new("kill").args(["-s", "TERM", &self.0.id().to_string()]).status()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
