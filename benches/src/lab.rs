//! The measured servers, and the actions on them that every part shares.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use neo4rs::{Query, Row};
use tokio_postgres::{Client, NoTls};
use wal2graph::neo4j::{Connection, Options, connect::ANSWER_LIMIT, schema};
use wal2graph_servers::{Compiled, Neo4j, Neo4jOptions, Postgres, PostgresOptions};

use crate::Result;

/// The number of nodes in one transaction of a wipe.
const WIPE_NODES: usize = 10_000;

/// Real servers, the program, and the number of rounds.
pub struct Lab {
    pub postgres: Postgres,
    pub neo4j: Neo4j,
    pub graph: Connection,
    pub program: PathBuf,
    pub rounds: usize,
}

impl Lab {
    /// Starts the servers.
    pub async fn start(program: &Path, rounds: usize) -> Result<Self> {
        let program = program.canonicalize().map_err(|error| {
            format!("{}: {error}: cargo build --release makes it", program.display())
        })?;
        let postgres = Postgres::start(&PostgresOptions::default())?;
        let options = Neo4jOptions {
            heap: "2g".to_owned(),
            page_cache: "1g".to_owned(),
            compiled: Compiled::Well,
            ..Neo4jOptions::default()
        };
        let neo4j = Neo4j::start(&options)?;
        let graph = Connection::new(&graph_options(&neo4j), ANSWER_LIMIT)?;
        Ok(Lab { postgres, neo4j, graph, program, rounds })
    }

    /// Another connection to the graph.
    pub fn connect(&self) -> Result<Connection> {
        Ok(Connection::new(&graph_options(&self.neo4j), ANSWER_LIMIT)?)
    }

    /// The versions of the servers and the program.
    pub async fn versions(&self) -> Result<BTreeMap<String, String>> {
        let client = self.client("postgres").await?;
        let postgresql: String = client.query_one("SHOW server_version", &[]).await?.get(0);
        let neo4j = schema::describe(&self.graph).await?;
        Ok(BTreeMap::from([
            ("wal2graph".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("postgresql".to_owned(), postgresql),
            ("neo4j".to_owned(), format!("{} {}", neo4j.version, neo4j.edition)),
        ]))
    }

    /// A client of a database.
    pub async fn client(&self, database: &str) -> Result<Client> {
        let (client, connection) =
            tokio_postgres::connect(&self.postgres.url(database), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// A new database: its client.
    pub async fn new_database(&self, name: &str) -> Result<Client> {
        let admin = self.client("postgres").await?;
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        self.client(name).await
    }

    /// The rows of a query to the graph.
    pub async fn ask(&self, cypher: impl Into<String>) -> Result<Vec<Row>> {
        Ok(self.graph.rows(Query::new(cypher.into())).await?)
    }

    /// Deletes the nodes that a pattern such as `(n:Order)` matches as `n`, with all their
    /// relationships. Also clears Neo4j's plans, so that the next ones are planned as for a new
    /// graph.
    pub async fn wipe(&self, pattern: &str) -> Result<()> {
        let text = format!("MATCH {pattern} WITH n LIMIT {WIPE_NODES} DETACH DELETE n");
        while self.graph.run(Query::new(text.clone())).await?.nodes_deleted > 0 {}
        self.ask("CALL db.clearQueryCaches()").await?;
        Ok(())
    }
}

fn graph_options(neo4j: &Neo4j) -> Options {
    Options::open(neo4j.url())
}
