//! Reads values from the table that the stream does not carry and nothing else will bring.
//!
//! ```text
//! events --the old row knows it--> nothing unsent ------------------------------------> events
//!             `--> a new key that lacks values --> snapshot that sees it, SELECT by key --^
//! ```
//!
//! An UPDATE does not send wide values that it does not change. A consumer with the row under its
//! old key has them. One that separates rows by their keys, or meets the change after the row
//! itself, does not.
//!
//! An INSERT may lack values too: if an UPDATE brings a row into a row filter, PostgreSQL sends an
//! INSERT without the unchanged wide values.
//!
//! Columns that are used together need all their values: those of a foreign key name a row only together.
//!
//! A value that is read may be newer than its change. The stream brings the newer change later, and
//! both end equal. If the row is no longer under the key, a later change has moved it to its next
//! key, or deleted it; then the values stay unsent. So this needs no memory, and a crash loses
//! nothing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::sleep;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow, error::SqlState};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    catalog::{TableName, quote_identifier},
    change::{Before, Cell, Change, Event, Relation, ReplicaIdentity, Tuple},
    copy::AppliedTransactions,
    lsn::Lsn,
    pipeline::{Failure, Source, Verdict},
};

use super::{
    connect::{ConnectError, SourceUrl, sql},
    equality::Equalities,
    error::ReadError,
    locks::{Beside, holders},
    sessions::limit_waits,
    setup::running_transactions,
    snapshot::{Locked, take},
};

/// This many rows are read before the complete ones are passed on: each may have megabytes.
const ROWS_MAX: usize = 64;
/// A row is read at once, so a session that is idle with a lock has lost its program.
const IDLE_LIMIT: &str = "SET idle_in_transaction_session_timeout = '5s'";
/// The pause before a snapshot is taken again that did not see a change.
const PAUSE: Duration = Duration::from_millis(10);
/// The pause before retrying a table that another session has locked.
const TAKEN_PAUSE: Duration = Duration::from_millis(200);
/// After this many of these pauses in sequence, the log names the session.
const TAKEN_TOLD: u32 = 25;
/// After this many snapshots in sequence that did not see a change, the log names who runs.
const UNSEEN_TOLD: u32 = 500;

/// The columns of a table that are used together, by the table's object id.
pub type Together = BTreeMap<u32, Vec<Vec<String>>>;

/// A source whose changes carry whole rows if they bring a row under a new key, or carry some of the columns that are
/// used together.
pub struct Whole<S> {
    source: S,
    /// The tables to read.
    tables: Together,
    /// Events that are not checked yet.
    pending: Vec<Event>,
    /// The transaction of the next change.
    xid: u32,
    reader: Worker,
}

/// The reader. It goes on reading even if its caller stops waiting.
enum Worker {
    Resting(Box<Reader>),
    Away(AbortOnDropHandle<Read>),
    /// It failed, and the source with it.
    Gone,
}

type Read = Result<(Box<Reader>, Vec<Event>), UnsentError>;

/// The reason why values can not be read.
#[derive(Debug, thiserror::Error)]
pub enum UnsentError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The table can not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Failure for UnsentError {
    fn verdict(&self) -> Verdict {
        match self {
            UnsentError::Connect(error) => error.verdict(),
            UnsentError::Read(error) => error.verdict(),
        }
    }

    fn within(&self) -> Option<&dyn Failure> {
        match self {
            UnsentError::Connect(error) => Some(error),
            UnsentError::Read(error) => Some(error),
        }
    }
}

/// The reason why a source of whole rows ended.
#[derive(Debug, thiserror::Error)]
pub enum WholeError<E: std::error::Error + 'static> {
    /// The source ended.
    #[error(transparent)]
    Source(E),
    /// A value can not be read.
    #[error(transparent)]
    Unsent(#[from] UnsentError),
    /// A task of ours panicked.
    #[error("a task of wal2graph ended in a bug: {0}")]
    Bug(#[from] tokio::task::JoinError),
}

impl<E: Failure> Failure for WholeError<E> {
    fn verdict(&self) -> Verdict {
        match self {
            WholeError::Source(error) => error.verdict(),
            WholeError::Unsent(error) => error.verdict(),
            WholeError::Bug(_) => Verdict::Stop,
        }
    }

    fn within(&self) -> Option<&dyn Failure> {
        match self {
            WholeError::Source(error) => Some(error),
            WholeError::Unsent(error) => Some(error),
            WholeError::Bug(_) => None,
        }
    }
}

/// A change that lacks values of its row which are needed.
struct Unsent {
    /// Its place among the events.
    event: usize,
    xid: u32,
}

impl<S> Whole<S> {
    /// Reads rows of these tables from the URL's server, over a connection that opens at first use.
    /// We may have no right to other tables: their values stay unsent.
    pub fn new(source: S, url: SourceUrl, tables: Together) -> Self {
        let reader = Worker::Resting(Box::new(Reader { url, clients: None }));
        Whole { source, tables, pending: Vec::new(), xid: 0, reader }
    }

    /// The source alone.
    pub fn into_inner(self) -> S {
        self.source
    }

    /// The next events, and those among them that lack values, at most [`ROWS_MAX`].
    fn piece(&mut self) -> (Vec<Event>, Vec<Unsent>) {
        let mut unsent = Vec::new();
        let mut events = std::mem::take(&mut self.pending);
        for (index, event) in events.iter_mut().enumerate() {
            let change = match event {
                Event::Begin(begin) => {
                    self.xid = begin.xid;
                    continue;
                }
                Event::Change(change) => change,
                Event::Commit(_) | Event::Keepalive { .. } => continue,
            };
            if lacks_values(change, &self.tables) {
                unsent.push(Unsent { event: index, xid: self.xid });
            }
            if unsent.len() == ROWS_MAX {
                self.pending = events.split_off(index + 1);
                break;
            }
        }
        (events, unsent)
    }
}

impl<S: Source> Source for Whole<S> {
    type Error = WholeError<S::Error>;

    async fn next(&mut self) -> Result<Vec<Event>, Self::Error> {
        loop {
            if let Worker::Away(task) = &mut self.reader {
                let read = task.await;
                self.reader = Worker::Gone;
                let (reader, events) = read??;
                self.reader = Worker::Resting(reader);
                return Ok(events);
            }
            if self.pending.is_empty() {
                self.pending = self.source.next().await.map_err(WholeError::Source)?;
            }
            let (events, unsent) = self.piece();
            if unsent.is_empty() {
                return Ok(events);
            }
            let Worker::Resting(reader) = std::mem::replace(&mut self.reader, Worker::Gone) else {
                panic!("a source that has failed is not asked again");
            };
            let reading = tokio::spawn(reader.complete(events, unsent));
            self.reader = Worker::Away(AbortOnDropHandle::new(reading));
        }
    }

    fn acknowledge(&mut self, lsn: Lsn) {
        self.source.acknowledge(lsn);
    }
}

/// Takes values from the old row. Returns whether the change still lacks values of a row under a new key, or some of
/// the columns that are used together, and the row can be found by its key.
fn lacks_values(change: &mut Change, tables: &Together) -> bool {
    let is_unsent = |row: &Tuple| row.contains(&Cell::Unchanged);
    let (relation, new, has_moved) = match change {
        Change::Insert { relation, new } => (relation, new, true),
        Change::Update { relation, before, new } if is_unsent(new) => {
            let mut has_moved = false;
            if let Before::Key(old) | Before::Full(old) = before {
                for ((cell, old), column) in new.iter_mut().zip(old).zip(&relation.columns) {
                    match cell {
                        Cell::Unchanged if column.identity => *cell = old.clone(),
                        sent => has_moved |= column.identity && sent != old,
                    }
                }
            }
            (relation, new, has_moved)
        }
        _ => return false,
    };
    let Some(together) = tables.get(&relation.oid).filter(|_| is_unsent(new)) else { return false };
    let is_in_part = |names: &Vec<String>| {
        let columns = relation.columns.iter().zip(new.iter());
        let cells = columns.filter(|(column, _)| names.contains(&column.name));
        let unsent: Vec<bool> = cells.map(|(_, cell)| *cell == Cell::Unchanged).collect();
        unsent.contains(&true) && unsent.contains(&false)
    };
    has_key(relation) && (has_moved || together.iter().any(is_in_part))
}

/// If all columns are the identity, the old row has everything.
fn has_key(relation: &Relation) -> bool {
    let kinds = [ReplicaIdentity::Default, ReplicaIdentity::Index];
    kinds.contains(&relation.replica_identity) && relation.columns.iter().any(|it| it.identity)
}

/// Reads rows by their keys.
struct Reader {
    url: SourceUrl,
    /// The reading connection, and the one beside it.
    clients: Option<(Client, Arc<Beside>)>,
}

impl Reader {
    async fn complete(mut self: Box<Self>, mut events: Vec<Event>, unsent: Vec<Unsent>) -> Read {
        let (client, beside) = match &mut self.clients {
            Some(clients) => clients,
            none => {
                let (client, beside) = (sql(&self.url).await?.client, sql(&self.url).await?.client);
                let beside = Beside::new(beside);
                limit_waits(&client).await.map_err(no_table)?;
                client.batch_execute(IDLE_LIMIT).await.map_err(no_table)?;
                beside.register(&client).await.map_err(no_table)?;
                none.insert((client, beside))
            }
        };
        let mut tables: BTreeMap<u32, Vec<Unsent>> = BTreeMap::new();
        for row in unsent {
            tables.entry(row_of(&mut events[row.event]).0.oid).or_default().push(row);
        }
        for (oid, rows) in tables {
            let Some(table) = Located::find(client, oid).await? else { continue };
            match table.read(client, beside, &mut events, &rows).await {
                Err(ReadError::Sql { source, .. }) if has_changed(&source) => {
                    tracing::warn!(
                        table = %table.name,
                        "the table was altered meanwhile: values that were not sent stay unsent"
                    );
                    table.execute(client, "ROLLBACK").await?;
                }
                read => read?,
            }
        }
        Ok((self, events))
    }
}

/// A table or column has changed since the change was made: names are gone, or texts are no longer
/// values of their types.
fn has_changed(error: &tokio_postgres::Error) -> bool {
    let gone = [
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_COLUMN,
        SqlState::UNDEFINED_OBJECT,
        SqlState::INVALID_SCHEMA_NAME,
    ];
    error.code().is_some_and(|code| code.code().starts_with("22") || gone.contains(code))
}

/// An error without a table.
fn no_table(source: tokio_postgres::Error) -> ReadError {
    ReadError::Sql { table: TableName::new("pg_catalog", "pg_class"), source }
}

/// The row that a change brings.
fn row_of(event: &mut Event) -> (&Relation, &mut Tuple) {
    match event {
        Event::Change(Change::Insert { relation, new } | Change::Update { relation, new, .. }) => {
            (relation, new)
        }
        _ => panic!("only what brings a row lacks values of it"),
    }
}

/// A table under its current name.
struct Located {
    name: TableName,
    /// `ONLY schema.name`, or the root of partitions.
    from: String,
    is_partitioned: bool,
    equalities: Equalities,
}

impl Located {
    async fn find(client: &Client, oid: u32) -> Result<Option<Self>, ReadError> {
        let sql = "SELECT n.nspname::text, c.relname::text, c.relkind = 'p' \
                   FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                   WHERE c.oid = $1";
        let row = client.query_opt(sql, &[&oid]).await.map_err(no_table)?;
        let Some(row) = row else { return Ok(None) };
        let name = TableName::new(row.get::<_, &str>(0), row.get::<_, &str>(1));
        let equalities = Equalities::of(client, &name).await.map_err(no_table)?;
        let is_partitioned = row.get(2);
        let only = if is_partitioned { "" } else { "ONLY " };
        Ok(Some(Located {
            from: format!("{only}{}", name.sql()),
            name,
            is_partitioned,
            equalities,
        }))
    }

    /// Completes the rows that are under their keys, from a snapshot that sees their changes.
    async fn read(
        &self,
        client: &Client,
        beside: &Arc<Beside>,
        events: &mut [Event],
        unsent: &[Unsent],
    ) -> Result<(), ReadError> {
        let mut applied = AppliedTransactions::default();
        applied.applied(&unsent.iter().map(|row| row.xid).collect::<Vec<_>>());
        let locked = Locked::table(&self.name, self.is_partitioned);
        let (mut was_taken, mut was_unseen) = (0, 0);
        loop {
            let taken = take(client, beside, std::slice::from_ref(&locked)).await?;
            let is_locked = taken.files.iter().all(Option::is_some);
            if is_locked && applied.are_seen_by(&taken.snapshot) {
                break;
            }
            self.execute(client, "ROLLBACK").await?;
            if is_locked {
                was_unseen += 1;
                if was_unseen % UNSEEN_TOLD == 0 {
                    let running = running_transactions(beside.client()).await.map_err(no_table)?;
                    let table = &self.name;
                    tracing::warn!(
                        %table,
                        ?running,
                        "the stream waits for a commit that is sent and that sessions do not see yet: does it wait for \
                         a synchronous standby?"
                    );
                }
                sleep(PAUSE).await;
                continue;
            }
            was_taken += 1;
            if was_taken % TAKEN_TOLD == 0 {
                let holders = holders(beside.client(), &self.name).await.map_err(no_table)?;
                let table = &self.name;
                tracing::warn!(%table, ?holders, "the stream waits for a table that other sessions lock");
            }
            sleep(TAKEN_PAUSE).await;
        }
        let selects: Vec<String> = unsent
            .iter()
            .map(|row| {
                let (relation, new) = row_of(&mut events[row.event]);
                self.select(relation, new)
            })
            .collect();
        let answer = client.simple_query(&selects.join("; ")).await;
        let answer =
            answer.map_err(|source| ReadError::Sql { table: self.name.clone(), source })?;
        self.execute(client, "ROLLBACK").await?;
        let mut rows = unsent.iter();
        let mut found = None;
        for message in answer {
            match message {
                SimpleQueryMessage::Row(row) => found = Some(row),
                SimpleQueryMessage::CommandComplete(_) => {
                    if let (Some(row), Some(found)) = (rows.next(), found.take()) {
                        fill(row_of(&mut events[row.event]).1, &found);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Selects the unsent columns of the row under its key. Values come in the stream's text form.
    fn select(&self, relation: &Relation, row: &Tuple) -> String {
        let cells = || relation.columns.iter().zip(row);
        let unsent = cells().filter(|(_, cell)| **cell == Cell::Unchanged);
        let unsent: Vec<String> =
            unsent.map(|(column, _)| quote_identifier(&column.name)).collect();
        let key = cells().filter(|(column, _)| column.identity).map(|(column, cell)| match cell {
            Cell::Text(text) => {
                self.equalities.equals(&column.name, &String::from_utf8_lossy(text))
            }
            // A key with NULL or an unsent value finds nothing.
            Cell::Null | Cell::Unchanged => "false".to_owned(),
        });
        let key: Vec<String> = key.collect();
        format!("SELECT {} FROM {} WHERE {}", unsent.join(", "), self.from, key.join(" AND "))
    }

    async fn execute(&self, client: &Client, sql: &str) -> Result<(), ReadError> {
        let done = client.batch_execute(sql).await;
        done.map_err(|source| ReadError::Sql { table: self.name.clone(), source })
    }
}

/// Fills in the columns that were read, in the order of the unsent ones.
fn fill(row: &mut Tuple, found: &SimpleQueryRow) {
    let unsent = row.iter_mut().filter(|cell| **cell == Cell::Unchanged);
    for (index, cell) in unsent.enumerate() {
        match found.try_get(index) {
            Ok(Some(text)) => *cell = Cell::Text(Bytes::copy_from_slice(text.as_bytes())),
            Ok(None) => *cell = Cell::Null,
            // Not UTF-8, from a database without an encoding. It stays unsent.
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
