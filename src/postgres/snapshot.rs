//! Tables that are locked against being rewritten, and a snapshot whose commits are safe in the log.
//!
//! ```text
//! BEGIN, LOCK TABLE, snapshot, files, log position -> wait until the log is flushed through there
//! ```
//!
//! The lock comes before the snapshot: a table that is rewritten between the two would look empty
//! to it. With `synchronous_commit = off` a snapshot sees commits that a crash of the server would
//! undo; waiting for the flush keeps them out of the graph until then. What flushes the log at once
//! is a transaction of our own that has something to write: left alone, the server may take seconds.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use crate::{
    catalog::{TableName, quote_literal},
    copy::Snapshot,
    lsn::Lsn,
};

use super::copy::ReadError;

/// How long a table's lock is waited for while the stream stands still.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the log's flush is waited for. The server's WAL writer flushes several times a second.
const FLUSH_LIMIT: Duration = Duration::from_secs(30);
/// The pause between two looks at the flushed position.
const FLUSH_PAUSE: Duration = Duration::from_millis(5);
/// What a snapshot is taken in, or joined.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// Commits something, with the log flushed on this server, whatever the defaults are.
const FLUSH: &str = "BEGIN READ WRITE; SET LOCAL synchronous_commit = local; \
    SELECT pg_catalog.pg_logical_emit_message(true, 'wal2graph', ''); COMMIT";

/// A table as it is locked.
#[derive(Clone, Copy)]
pub struct Locked<'a> {
    /// Which one.
    pub name: &'a TableName,
    /// `ONLY schema.name`, or the root of partitions.
    pub from: &'a str,
}

/// A snapshot of now.
pub struct Taken {
    /// What it sees.
    pub snapshot: Snapshot,
    /// What others may join it by.
    pub name: String,
    /// The file of each table, in the order of the tables; 0 for the root of partitions.
    pub files: Vec<u32>,
}

/// Locks the tables and takes a snapshot in a transaction that stays open. `flusher` is a
/// connection beside it; without one the server's own flush is waited for.
///
/// # Panics
/// Without a table.
pub async fn take(
    client: &Client,
    flusher: Option<&Client>,
    tables: &[Locked<'_>],
) -> Result<Taken, ReadError> {
    let table = tables.first().expect("there is a table to read").name;
    let sql_error = |source| ReadError::Sql { table: table.clone(), source };
    let locked: Vec<&str> = tables.iter().map(|table| table.from).collect();
    let begin = format!(
        "{BEGIN}; SET LOCAL lock_timeout = {}; LOCK TABLE {} IN ACCESS SHARE MODE",
        LOCK_TIMEOUT.as_millis(),
        locked.join(", ")
    );
    client.batch_execute(&begin).await.map_err(sql_error)?;
    let sql = "SELECT pg_catalog.pg_current_snapshot()::text, \
               pg_catalog.pg_current_wal_insert_lsn()::text, pg_catalog.pg_export_snapshot()";
    let row = client.query_one(sql, &[]).await.map_err(sql_error)?;
    let snapshot = row.get::<_, &str>(0).parse()?;
    let inserted: Lsn = row.get::<_, &str>(1).parse().unwrap_or_default();
    let name = row.get(2);
    let sql = "SELECT coalesce(pg_catalog.pg_relation_filenode(name::regclass), 0)::oid \
               FROM unnest($1::text[]) WITH ORDINALITY AS tables (name, place) ORDER BY place";
    let names: Vec<String> = tables.iter().map(|table| table.name.sql()).collect();
    let rows = client.query(sql, &[&names]).await.map_err(sql_error)?;
    let files = rows.iter().map(|row| row.get(0)).collect();
    let inserted = inserted.without_page_header();
    match flushed(client, flusher, inserted).await.map_err(sql_error)? {
        true => Ok(Taken { snapshot, name, files }),
        false => Err(ReadError::NotFlushed { lsn: inserted, waited: FLUSH_LIMIT }),
    }
}

/// Opens a transaction that reads under a snapshot which another one holds.
pub async fn join(client: &Client, name: &str) -> Result<(), tokio_postgres::Error> {
    let name = quote_literal(name);
    client.batch_execute(&format!("{BEGIN}; SET TRANSACTION SNAPSHOT {name}")).await
}

/// A position of the server's log, by the function that tells it.
pub async fn position(client: &Client, function: &str) -> Result<Lsn, tokio_postgres::Error> {
    let row = client.query_one(&format!("SELECT {function}::text"), &[]).await?;
    Ok(row.get::<_, &str>(0).parse().unwrap_or_default())
}

/// Whether the log is flushed through a position, within the limit.
async fn flushed(
    client: &Client,
    mut flusher: Option<&Client>,
    lsn: Lsn,
) -> Result<bool, tokio_postgres::Error> {
    let started = Instant::now();
    while position(client, "pg_catalog.pg_current_wal_flush_lsn()").await? < lsn {
        if let Some(client) = flusher.take() {
            // A role that may not do this waits for the server's own flush.
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
