//! `fetch`: brings the servers of the tests. `fetch demo`: those of the demo alone. `run`: starts a
//! PostgreSQL and a Neo4j to play with.

use std::{env, io, process::ExitCode};

use wal2graph_servers::{
    KafkaOptions, Neo4j, Neo4jOptions, Postgres, PostgresOptions, ServerError, fetch_kafka,
    fetch_neo4j,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["fetch"] => fetch(),
        ["fetch", "demo"] => fetch_for_demo(),
        ["run"] => run(),
        _ => {
            eprintln!("usage: wal2graph-servers fetch [demo] | run");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn fetch() -> Result<(), ServerError> {
    fetch_for_demo()?;
    fetch_kafka(&KafkaOptions::default().version)?;
    Postgres::supported().try_for_each(Postgres::fetch)
}

fn fetch_for_demo() -> Result<(), ServerError> {
    fetch_neo4j(&Neo4jOptions::default().version)?;
    Postgres::fetch(PostgresOptions::default().version)
}

fn run() -> Result<(), ServerError> {
    let postgres = Postgres::start(&PostgresOptions::default())?;
    let neo4j = Neo4j::start(&Neo4jOptions::default())?;
    println!("--source-url {} --graph-url {}", postgres.url("postgres"), neo4j.url());
    println!("Both go when this ends: press Enter, or Ctrl-C.");
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}
