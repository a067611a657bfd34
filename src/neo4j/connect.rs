//! A connection to Neo4j that transactions run on, one at a time.
//!
//! ```text
//! Connection::begin -> (connects, or resets what is there) -> TCP_NODELAY -> Transaction -> commit | rollback
//! ```
//!
//! One pool of one connection a lane: the driver resets a failed or abandoned transaction only when
//! its connection is taken from the pool again, so with a single one the next `begin` always clears
//! up after the last. The driver's `connection_timeout` is also the limit of every single answer,
//! so it is set to the longest transaction that is allowed, and connecting has a shorter limit of
//! its own, here.

use std::{sync::Arc, time::Duration};

use neo4rs::{ConfigBuilder, Graph, Query, Row, Txn, summary::Counters};

use crate::graph;

use super::{error::Error, nodelay::NoDelay, parameter, retry};

/// How long connecting, logging in and BEGIN may take together.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// How long one statement or COMMIT of a batch may take. After that the connection is given up, and
/// the server ends the transaction.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(300);

/// The same for statements that walk the whole graph once: constraints over existing data, checks.
pub const LONG_ANSWER_LIMIT: Duration = Duration::from_secs(6 * 3600);

const BOLT_PORT: u16 = 7687;

/// Where Neo4j is, and as whom to write.
#[derive(Clone)]
pub struct Options {
    /// `bolt://HOST:PORT`, `neo4j://`, with `+s` for TLS, `+ssc` for TLS with any certificate.
    pub url: String,
    /// The user; anything where authentication is off.
    pub user: String,
    /// The password.
    pub password: String,
    /// The database; `None` is the user's home database.
    pub database: Option<String>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("url", &without_password(&self.url))
            .field("user", &self.user)
            .field("password", &"***")
            .field("database", &self.database)
            .finish()
    }
}

/// A connection, made when it is first needed and again whenever it was lost.
#[derive(Clone)]
pub struct Connection {
    graph: Graph,
    no_delay: Arc<NoDelay>,
}

impl Connection {
    /// Prepares a connection; talks to nobody yet. An error means that the options are wrong.
    pub fn new(options: &Options, answer_limit: Duration) -> Result<Self, Error> {
        let mut config = ConfigBuilder::default()
            .uri(options.url.as_str())
            .user(options.user.as_str())
            .password(options.password.as_str())
            .max_connections(1)
            .connection_timeout(answer_limit);
        if let Some(database) = &options.database {
            config = config.db(database.as_str());
        }
        let graph = Graph::connect(config.build()?)?;
        Ok(Connection { graph, no_delay: Arc::new(NoDelay::to(port_of(&options.url))) })
    }

    /// Begins a transaction, connecting if need be. Ends whatever an earlier transaction of this
    /// connection left.
    ///
    /// An earlier [`Transaction`] must have been dropped: there is one connection.
    pub async fn begin(&self) -> Result<Transaction, Error> {
        match tokio::time::timeout(CONNECT_LIMIT, self.graph.start_txn()).await {
            Ok(begun) => {
                let txn = begun?;
                self.no_delay.keep();
                Ok(Transaction { txn })
            }
            Err(_) => Err(Error::Lost(format!("no answer within {} s", CONNECT_LIMIT.as_secs()))),
        }
    }

    /// Runs one statement in a transaction of its own and commits it; again, while Neo4j asks for
    /// that.
    pub async fn run(&self, query: Query) -> Result<Counters, Error> {
        let once = |query| async {
            let mut transaction = self.begin().await?;
            let counters = transaction.run(query).await?;
            transaction.commit().await?;
            Ok(counters)
        };
        retry::while_transient(|| once(query.clone())).await
    }

    /// Runs one statement that is a transaction by itself: no BEGIN, no COMMIT. After an error nobody
    /// knows whether it was committed. Where Neo4j asks for it, the driver does it again.
    pub async fn run_alone(&self, query: Query, limit: Duration) -> Result<Counters, Error> {
        let ran = tokio::time::timeout(limit, self.graph.run(query)).await;
        self.no_delay.keep();
        match ran {
            Ok(ran) => Ok(*ran?.stats()),
            Err(_) => Err(Error::Lost(format!("no answer within {} s", limit.as_secs()))),
        }
    }

    /// Reads the rows of one statement, and commits what it did; again, while Neo4j asks for that.
    pub async fn rows(&self, query: Query) -> Result<Vec<Row>, Error> {
        let once = |query| async {
            let mut transaction = self.begin().await?;
            let rows = transaction.rows(query).await?;
            transaction.commit().await?;
            Ok(rows)
        };
        retry::while_transient(|| once(query.clone())).await
    }
}

/// An open transaction. After an error it is of no use; drop it. The server has released its locks
/// by then.
///
/// Dropping one that has not failed says nothing to the server, which keeps its locks until the
/// connection's next `begin`: always [`Transaction::commit`] or [`Transaction::rollback`].
pub struct Transaction {
    txn: Txn,
}

impl Transaction {
    /// Runs a writing statement. (The driver never evaluates one that only reads: use
    /// [`Transaction::rows`].)
    pub async fn run(&mut self, query: Query) -> Result<Counters, Error> {
        Ok(*self.txn.run(query).await?.stats())
    }

    /// Runs a rendered statement, with what it asks for next. `ready` is made of it.
    pub async fn run_rendered(
        &mut self,
        ready: Query,
        rendered: &graph::Query,
    ) -> Result<Counters, Error> {
        let did = self.run(ready).await?;
        let mut counters = did;
        for next in parameter::otherwise(rendered, &did) {
            counters.merge(&self.run(next).await?);
        }
        Ok(counters)
    }

    /// Runs a statement and reads all its rows.
    pub async fn rows(&mut self, query: Query) -> Result<Vec<Row>, Error> {
        let mut stream = self.txn.execute(query).await?;
        let mut rows = Vec::new();
        while let Some(row) = stream.next(self.txn.handle()).await? {
            rows.push(row);
        }
        Ok(rows)
    }

    /// Commits. After [`Error::Lost`] nobody knows whether it did.
    pub async fn commit(self) -> Result<(), Error> {
        self.txn.commit().await?;
        Ok(())
    }

    /// Gives the transaction up. An error is of no interest: the next `begin` resets the
    /// connection.
    pub async fn rollback(self) {
        let _ = self.txn.rollback().await;
    }
}

/// The port in a URL of the forms that Bolt URLs have.
fn port_of(url: &str) -> u16 {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, rest)| rest);
    let port = host_and_port.rsplit_once(':').map(|(_, port)| port.parse());
    port.and_then(Result::ok).unwrap_or(BOLT_PORT)
}

/// The URL without what stands before `@`.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://***@{rest}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Options, port_of};

    #[test]
    fn ports_are_found() {
        for (url, port) in [
            ("bolt://localhost:7000", 7000),
            ("neo4j+s://graph.example", 7687),
            ("bolt://[::1]:7001/", 7001),
            ("bolt://[::1]", 7687),
            ("127.0.0.1:7002", 7002),
            ("bolt://me:secret@host:7003?x=1", 7003),
        ] {
            assert_eq!(port_of(url), port, "{url}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let options = Options {
            url: "bolt://me:secret@host:7003".to_owned(),
            user: "me".to_owned(),
            password: "secret".to_owned(),
            database: None,
        };
        let printed = format!("{options:?}");
        assert!(!printed.contains("secret") && printed.contains("host:7003"), "{printed}");
    }
}
