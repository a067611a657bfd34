//! A connection to Neo4j for transactions, one at a time.
//!
//! ```text
//! Connection::begin -> (connects, or resets what is there) -> TCP_NODELAY -> Transaction -> commit | rollback
//! ```
//!
//! Each lane has its own pool of one connection. The driver resets a failed or abandoned
//! transaction only when it takes the connection from the pool again, so with a single connection
//! the next `begin` always cleans up after the last transaction. The driver's `connection_timeout`
//! also limits every single answer, so its value is the longest allowed transaction. Connecting has
//! its own, shorter limit here.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use neo4rs::{ConfigBuilder, Graph, Query, Row, Txn, summary::Counters};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{cypher, error::Error, nodelay::NoDelay, parameter, retry};

/// The time limit for connecting, logging in and BEGIN together.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// The time limit for one statement or COMMIT of a batch. Afterwards the connection is dropped, and
/// the server ends the transaction.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(300);

/// The same for statements that scan the whole graph once: constraints over existing data, checks.
pub const LONG_ANSWER_LIMIT: Duration = Duration::from_secs(6 * 3600);

const BOLT_PORT: u16 = 7687;

/// Neo4j's address and credentials.
#[derive(Clone)]
pub struct Options {
    /// `bolt://HOST:PORT`, `neo4j://`, with `+s` for TLS, `+ssc` for TLS with any certificate.
    pub url: String,
    /// The user; any text if authentication is off.
    pub user: String,
    /// The password.
    pub password: String,
    /// The database; `None` means the user's home database.
    pub database: Option<String>,
    /// A PEM file with the authorities that may sign the server's certificate; `None` means the system's.
    pub ca: Option<PathBuf>,
}

impl Options {
    /// A server whose authentication is off.
    pub fn open(url: impl Into<String>) -> Self {
        Options {
            url: url.into(),
            user: "neo4j".to_owned(),
            password: String::new(),
            database: None,
            ca: None,
        }
    }

    /// The server, for people.
    pub fn place(&self) -> String {
        without_password(&self.url)
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("url", &without_password(&self.url))
            .field("user", &self.user)
            .field("password", &"***")
            .field("database", &self.database)
            .field("ca", &self.ca)
            .finish()
    }
}

/// A connection. It connects at first use and after every loss.
#[derive(Clone)]
pub struct Connection {
    graph: Graph,
    place: String,
    no_delay: Arc<NoDelay>,
}

impl Connection {
    /// Prepares a connection without connecting. An error means that the options are invalid.
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
        if let Some(ca) = &options.ca {
            check_authorities(ca)?;
            config = config.with_client_certificate(ca);
        }
        let graph = Graph::connect(config.build()?)?;
        let place = options.place();
        Ok(Connection { graph, place, no_delay: Arc::new(NoDelay::to(port_of(&options.url))) })
    }

    /// Begins a transaction. Connects if needed, and ends an earlier transaction of this
    /// connection.
    ///
    /// The earlier [`Transaction`] must have been dropped: there is only one connection.
    pub async fn begin(&self) -> Result<Transaction, Error> {
        match tokio::time::timeout(CONNECT_LIMIT, self.graph.start_txn()).await {
            Ok(begun) => {
                let txn = begun.map_err(|error| Error::from(error).at(&self.place))?;
                self.no_delay.keep();
                Ok(Transaction { txn })
            }
            Err(_) => {
                let what = format!("no answer within {} s", CONNECT_LIMIT.as_secs());
                Err(Error::Lost(what).at(&self.place))
            }
        }
    }

    /// Runs one statement in its own transaction and commits it. Retries while Neo4j asks for that.
    pub async fn run(&self, query: Query) -> Result<Counters, Error> {
        let once = |query| async {
            let mut transaction = self.begin().await?;
            let counters = transaction.run(query).await?;
            transaction.commit().await?;
            Ok(counters)
        };
        retry::while_transient(|| once(query.clone())).await
    }

    /// Runs one statement as an implicit transaction, without BEGIN and COMMIT. After an error it
    /// is unknown whether it was committed. The driver retries if Neo4j asks for that.
    pub async fn run_alone(&self, query: Query, limit: Duration) -> Result<Counters, Error> {
        let ran = tokio::time::timeout(limit, self.graph.run(query)).await;
        self.no_delay.keep();
        match ran {
            Ok(ran) => Ok(*ran?.stats()),
            Err(_) => Err(Error::Lost(format!("no answer within {} s", limit.as_secs()))),
        }
    }

    /// Reads the rows of one statement and commits it. Retries while Neo4j asks for that.
    pub async fn rows(&self, query: Query) -> Result<Vec<Row>, Error> {
        let once = |query| async {
            let mut transaction = self.begin().await?;
            let rows = transaction.rows(query).await?;
            transaction.commit().await?;
            Ok(rows)
        };
        retry::while_transient(|| once(query.clone())).await
    }

    /// The same, and the rows as `read` has them, with the size that it gives each: not many more once they
    /// have this size together. Returns whether these are all.
    pub async fn rows_within<T>(
        &self,
        query: Query,
        size: usize,
        read: impl Fn(&Row) -> Result<(T, usize), Error>,
    ) -> Result<(Vec<T>, bool), Error> {
        let once = |query| async {
            let mut transaction = self.begin().await?;
            let found = transaction.rows_within(query, size, &read).await?;
            transaction.commit().await?;
            Ok(found)
        };
        retry::while_transient(|| once(query.clone())).await
    }
}

/// An open transaction. After an error it is useless, so drop it. The server has released its locks
/// by then.
///
/// Always [`Transaction::commit`] or [`Transaction::rollback`] a transaction that has not failed.
/// Dropping it tells the server nothing, which then keeps its locks until the connection's next
/// `begin`.
pub struct Transaction {
    txn: Txn,
}

impl Transaction {
    /// Runs a writing statement. The driver never evaluates a statement that only reads: use
    /// [`Transaction::rows`].
    pub async fn run(&mut self, query: Query) -> Result<Counters, Error> {
        Ok(*self.txn.run(query).await?.stats())
    }

    /// Runs a rendered statement with its fallback. `ready` is its driver form.
    pub async fn run_rendered(
        &mut self,
        ready: Query,
        rendered: &cypher::Query,
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

    /// Reads rows until they have this size together, and leaves the others. Returns whether these are
    /// all. The driver asks for rows in small portions.
    async fn rows_within<T>(
        &mut self,
        query: Query,
        size: usize,
        read: impl Fn(&Row) -> Result<(T, usize), Error>,
    ) -> Result<(Vec<T>, bool), Error> {
        let mut stream = self.txn.execute(query).await?;
        let (mut rows, mut taken) = (Vec::new(), 0);
        while let Some(row) = stream.next(self.txn.handle()).await? {
            let (row, of_row) = read(&row)?;
            rows.push(row);
            taken += of_row;
            if taken >= size {
                stream.finish(self.txn.handle()).await?;
                return Ok((rows, false));
            }
        }
        Ok((rows, true))
    }

    /// Commits. After [`Error::Lost`] it is unknown whether it did.
    pub async fn commit(self) -> Result<(), Error> {
        self.txn.commit().await?;
        Ok(())
    }

    /// Rolls back. An error does not matter, because the next `begin` resets the connection.
    pub async fn rollback(self) {
        let _ = self.txn.rollback().await;
    }
}

/// The driver passes over what it can not read.
fn check_authorities(path: &Path) -> Result<(), Error> {
    let wrong = |why: String| Error::Fatal(format!("graph.ca {}: {why}", path.display()));
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read.map_err(|error| wrong(error.to_string()))?.is_empty() {
        true => Err(wrong("it has no certificate (a PEM file is expected)".to_owned())),
        false => Ok(()),
    }
}

/// The port in a Bolt URL.
fn port_of(url: &str) -> u16 {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, rest)| rest);
    let port = host_and_port.rsplit_once(':').map(|(_, port)| port.parse());
    port.and_then(Result::ok).unwrap_or(BOLT_PORT)
}

/// The URL without the part before `@`.
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
        let password = "secret".to_owned();
        let options = Options { password, ..Options::open("bolt://me:secret@host:7003") };
        let printed = format!("{options:?}");
        assert!(!printed.contains("secret") && printed.contains("host:7003"), "{printed}");
    }
}
