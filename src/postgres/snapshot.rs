//! Locks tables against rewriting, and takes a snapshot whose commits are safe in the log.
//!
//! ```text
//! BEGIN, LOCK TABLE of what is free, snapshot, files, log position -> wait until the log is flushed
//! ```
//!
//! It never waits for a lock. A session that waits for one while it holds others may be part of a
//! deadlock, and a session in a table's queue makes others wait behind it.
//!
//! The lock comes before the snapshot: a table that is rewritten between the two would look empty
//! to it. With `synchronous_commit = off`, a snapshot sees commits that a crash of the server would
//! undo. Waiting for the flush keeps them out of the graph until then. A transaction of our own
//! with something to write flushes the log at once; without it the server may take seconds.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, Error, error::SqlState};

use crate::{
    catalog::{TableName, quote_literal},
    copy::Snapshot,
    lsn::Lsn,
};

use super::{
    error::ReadError,
    locks::{Beside, is_blocked},
};

/// The time limit for the log's flush. The server's WAL writer flushes several times a second.
const FLUSH_LIMIT: Duration = Duration::from_secs(30);
/// The pause between two checks of the flushed position.
const FLUSH_PAUSE: Duration = Duration::from_millis(5);
/// Begins a transaction that takes or joins a snapshot.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// Commits something and flushes the log on this server, under any defaults.
const FLUSH: &str = "BEGIN READ WRITE; SET LOCAL synchronous_commit = local; \
    SELECT pg_catalog.pg_logical_emit_message(true, 'wal2graph', ''); COMMIT";

/// A table as it is locked.
#[derive(Clone, Debug)]
pub struct Locked {
    /// The table.
    pub name: TableName,
    /// `ONLY schema.name`, or the root of partitions, in the form for LOCK TABLE. `None`: the table
    /// can not be locked, because it is on another server.
    pub lock: Option<String>,
    /// Its object id. The table may be gone, or be another one of that name; then it is not
    /// available.
    pub oid: Option<u32>,
}

impl Locked {
    /// A table by its name, with its partitions if it has any.
    pub fn table(name: &TableName, is_partitioned: bool) -> Self {
        let only = if is_partitioned { "" } else { "ONLY " };
        Locked { name: name.clone(), lock: Some(format!("{only}{}", name.sql())), oid: None }
    }
}

/// A snapshot of now.
pub struct Taken {
    /// The snapshot itself.
    pub snapshot: Snapshot,
    /// Its exported name; others join it by that.
    pub name: String,
    /// All commits that it sees are before this position in the log.
    pub inserted: Lsn,
    /// The file of each table, in the order of the tables; 0 for a table without its own blocks.
    /// `None`: another session has the table, so it is not locked.
    pub files: Vec<Option<u32>>,
}

/// Locks the free ones of the tables and takes a snapshot, in a transaction that stays open. None
/// of them is available if a session waits for one before the log is flushed.
///
/// # Panics
/// Without a table.
pub async fn take(
    client: &Client,
    beside: &Arc<Beside>,
    tables: &[Locked],
) -> Result<Taken, ReadError> {
    let table = &tables.first().expect("there is a table to read").name;
    let sql_error = |source| ReadError::Sql { table: table.clone(), source };
    let had = lock(client, tables).await?;
    let sql = "SELECT pg_catalog.pg_current_snapshot()::text, \
               pg_catalog.pg_current_wal_insert_lsn()::text, pg_catalog.pg_export_snapshot()";
    let row = client.query_one(sql, &[]).await.map_err(sql_error)?;
    let snapshot = row.get::<_, &str>(0).parse()?;
    let inserted: Lsn = row.get::<_, &str>(1).parse().unwrap_or_default();
    let name = row.get(2);
    let sql = "SELECT pg_catalog.to_regclass(name)::oid, \
               coalesce(pg_catalog.pg_relation_filenode(pg_catalog.to_regclass(name)), 0)::oid \
               FROM unnest($1::text[]) WITH ORDINALITY AS tables (name, place) ORDER BY place";
    let names: Vec<String> = tables.iter().map(|table| table.name.sql()).collect();
    let rows = client.query(sql, &[&names]).await.map_err(sql_error)?;
    let files = tables.iter().zip(had).zip(&rows).map(|((table, had), row)| {
        let found: Option<u32> = row.get(0);
        let is_same = found.is_some() && table.oid.is_none_or(|oid| Some(oid) == found);
        (had && is_same).then(|| row.get(1))
    });
    let inserted = inserted.without_page_header();
    let files = tokio::select! {
        biased;
        flushed = flushed(client, beside.client(), inserted) => match flushed.map_err(sql_error)? {
            true => files.collect(),
            false => return Err(ReadError::NotFlushed { lsn: inserted, waited: FLUSH_LIMIT }),
        },
        waiting = beside.clone().wanted() => {
            waiting.map_err(sql_error)?;
            vec![None; tables.len()]
        }
    };
    Ok(Taken { snapshot, name, inserted, files })
}

/// Begins a transaction and locks the free tables. Returns for each table whether it is locked.
/// Usually all are.
async fn lock(client: &Client, tables: &[Locked]) -> Result<Vec<bool>, ReadError> {
    let sql_error = |table: &Locked, source| ReadError::Sql { table: table.name.clone(), source };
    let all = client.batch_execute(&format!("{BEGIN}; {}", lock_free(tables))).await;
    match (all, tables) {
        (Ok(()), _) => return Ok(vec![true; tables.len()]),
        (Err(error), [table]) if !is_missing_or_taken(table, &error) => {
            return Err(sql_error(table, error));
        }
        // The error does not reliably tell which table it was.
        (Err(_), _) => {}
    }
    let again = format!("ROLLBACK; {BEGIN}");
    client.batch_execute(&again).await.map_err(|source| sql_error(&tables[0], source))?;
    let mut had = Vec::with_capacity(tables.len());
    for table in tables {
        let sql = format!("SAVEPOINT one; {}", lock_free(std::slice::from_ref(table)));
        let locked = client.batch_execute(&sql).await;
        let undo = match &locked {
            Ok(()) => "RELEASE SAVEPOINT one",
            Err(error) if is_missing_or_taken(table, error) => {
                "ROLLBACK TO SAVEPOINT one; RELEASE SAVEPOINT one"
            }
            Err(_) => "ROLLBACK",
        };
        had.push(locked.is_ok());
        client.batch_execute(undo).await.map_err(|source| sql_error(table, source))?;
        if let (Err(source), "ROLLBACK") = (locked, undo) {
            return Err(sql_error(table, source));
        }
    }
    Ok(had)
}

/// Locks the tables if no other session has them or waits for them.
fn lock_free(tables: &[Locked]) -> String {
    let names: Vec<&str> = tables.iter().filter_map(|table| table.lock.as_deref()).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!("LOCK TABLE {} IN ACCESS SHARE MODE NOWAIT", names.join(", ")),
    }
}

/// A partition may be dropped at any time; for a table, being missing is an error.
fn is_missing_or_taken(table: &Locked, error: &Error) -> bool {
    let is_missing = error.code() == Some(&SqlState::UNDEFINED_TABLE);
    is_blocked(error) || (is_missing && table.oid.is_some())
}

/// Opens a transaction that locks the same tables and reads under another transaction's snapshot.
/// Returns false if another session was faster; then there is no transaction.
pub async fn join(client: &Client, name: &str, tables: &[Locked]) -> Result<bool, Error> {
    let name = quote_literal(name);
    let lock = lock_free(tables);
    let sql = format!("{BEGIN}; {lock}; SET TRANSACTION SNAPSHOT {name}");
    match client.batch_execute(&sql).await {
        Ok(()) => Ok(true),
        Err(error) if is_blocked(&error) => {
            client.batch_execute("ROLLBACK").await?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// A position in the server's log, read by this function.
pub async fn position(client: &Client, function: &str) -> Result<Lsn, Error> {
    let row = client.query_one(&format!("SELECT {function}::text"), &[]).await?;
    Ok(row.get::<_, &str>(0).parse().unwrap_or_default())
}

/// Waits until the log is flushed through a position. Returns false after the time limit.
async fn flushed(client: &Client, flusher: &Client, lsn: Lsn) -> Result<bool, Error> {
    let started = Instant::now();
    let mut flusher = Some(flusher);
    while position(client, "pg_catalog.pg_current_wal_flush_lsn()").await? < lsn {
        if let Some(client) = flusher.take() {
            // A role without that right waits for the server's own flush.
            let _ = client.batch_execute(FLUSH).await;
            continue;
        }
        if started.elapsed() > FLUSH_LIMIT {
            return Ok(false);
        }
        sleep(FLUSH_PAUSE).await;
    }
    Ok(true)
}
