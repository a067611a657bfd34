//! Locks of ours that others wait for, and others' that we would wait for.
//!
//! ```text
//! a reader's session:  lock_timeout below deadlock_timeout; ends by itself when its client is gone
//! beside it:           who waits for the readers' locks? -> the readers give them up
//! on the server:       somebody has waited for long -> the readers' sessions end (super::guard)
//! ```
//!
//! The server sees a deadlock only if all of it is on the server. One that leads through this program
//! it does not see, so no reader waits for a lock while it holds others.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, Error, error::SqlState};

use crate::{catalog::TableName, pipeline::Waiting, shown::on_one_line};

use super::{guard, sessions::Process};

/// The pause between two looks at who waits.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// The log says so at most this often.
const TOLD_PAUSE: Duration = Duration::from_secs(30);
/// Whether a statement failed because somebody else has a lock.
pub fn is_blocked(error: &Error) -> bool {
    let codes = [&SqlState::LOCK_NOT_AVAILABLE, &SqlState::T_R_DEADLOCK_DETECTED];
    error.code().is_some_and(|code| codes.contains(&code))
}

/// What stands beside the readers of a copy, on a connection of its own.
pub struct Beside {
    client: Client,
    /// The readers' processes on the server.
    readers: Mutex<Vec<Process>>,
    told: Mutex<Option<Instant>>,
}

impl Beside {
    /// Over this connection.
    pub fn new(client: Client) -> Arc<Self> {
        Arc::new(Beside { client, readers: Mutex::default(), told: Mutex::default() })
    }

    /// The connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A reader joins: its process on the server.
    pub async fn register(&self, reader: &Client) -> Result<i32, Error> {
        let sql = "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::int8 \
                   FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()";
        let row = reader.query_one(sql, &[]).await?;
        let process = Process { number: row.get(0), started: row.get(1) };
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(process);
        Ok(process.number)
    }

    /// From now on the server itself ends the sessions of all readers that have joined when somebody
    /// waits for long for a lock of theirs. It takes a connection.
    pub fn guard(&self, client: Client) {
        guard::stand(client, &self.readers.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends what a process does.
    pub async fn cancel(&self, process: i32) -> Result<(), Error> {
        cancel(&self.client, process).await
    }

    /// Resolves when somebody waits for a lock of one of the readers.
    pub async fn wanted(self: Arc<Self>) -> Result<Waiting, Error> {
        // CREATE INDEX CONCURRENTLY and the like wait for whole transactions: `virtualxid`.
        let sql = "SELECT waiting.pid, coalesce(waiting.relation::pg_catalog.regclass::text, '') \
            FROM (SELECT DISTINCT ON (pid) pid, relation FROM pg_catalog.pg_locks \
                  WHERE NOT granted AND locktype IN ('relation', 'virtualxid')) AS waiting \
            WHERE pg_catalog.pg_blocking_pids(waiting.pid) && $1::int4[] LIMIT 1";
        loop {
            sleep(LOOK_PAUSE).await;
            let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let readers: Vec<i32> = readers.iter().map(|process| process.number).collect();
            if let Some(row) = self.client.query_opt(sql, &[&readers]).await? {
                return Ok(Waiting { process: row.get(0), table: row.get(1) });
            }
        }
    }

    /// Says in the log, from time to time, who waited for locks that are gone.
    pub fn tell_given_way(&self, to: &Waiting) {
        if self.may_tell() {
            let Waiting { process, table } = to;
            tracing::info!(process, table, "the copy released its lock for a process that waited");
        }
    }

    /// Says in the log, from time to time, who has a table that the copy would read.
    pub async fn tell_taken(&self, table: &TableName) -> Result<(), Error> {
        if self.may_tell() {
            let holders = holders(&self.client, table).await?;
            tracing::info!(
                %table,
                ?holders,
                "other sessions lock the table: the copy goes on with other tables and comes back"
            );
        }
        Ok(())
    }

    fn may_tell(&self) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let may = told.is_none_or(|told| told.elapsed() >= TOLD_PAUSE);
        if may {
            *told = Some(Instant::now());
        }
        may
    }
}

/// The server's process behind a connection.
pub async fn process_of(client: &Client) -> Result<i32, Error> {
    Ok(client.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await?.get(0))
}

/// Ends the statement of another process.
pub async fn cancel(client: &Client, process: i32) -> Result<(), Error> {
    client.query("SELECT pg_catalog.pg_cancel_backend($1)", &[&process]).await.map(drop)
}

/// Who has a table to themselves in this database, and so may keep others waiting: the process, whose
/// it is, and the table.
pub async fn exclusive(client: &Client) -> Result<Vec<String>, Error> {
    let sql = format!(
        "SELECT format('%s of %s has %s to itself', {HOLDER}, \
            coalesce(session.usename::text, prepared.owner::text, 'the server'), lock.relation::pg_catalog.regclass) \
        FROM {LOCKS} LEFT JOIN pg_catalog.pg_stat_activity AS session USING (pid) \
        WHERE lock.granted AND lock.locktype = 'relation' AND lock.mode = 'AccessExclusiveLock' AND {IS_OTHERS} \
        ORDER BY coalesce(session.xact_start, prepared.prepared) LIMIT 5"
    );
    let rows = client.query(&sql, &[]).await?;
    Ok(rows.iter().map(|row| on_one_line(row.get(0)).into_owned()).collect())
}

/// Locks, with the prepared transactions that have some: these have no process, and a lock of their own id.
const LOCKS: &str = "pg_catalog.pg_locks AS lock LEFT JOIN LATERAL ( \
        SELECT own.transactionid AS id FROM pg_catalog.pg_locks AS own \
        WHERE lock.pid IS NULL AND own.pid IS NULL AND own.locktype = 'transactionid' AND own.granted \
            AND own.virtualtransaction = lock.virtualtransaction \
    ) AS own ON true LEFT JOIN pg_catalog.pg_prepared_xacts AS prepared ON prepared.transaction = own.id";
/// Who has a lock.
const HOLDER: &str =
    "coalesce('process ' || lock.pid, format('the prepared transaction %L', prepared.gid))";
/// The lock is in this database, and not of this session.
const IS_OTHERS: &str = "lock.pid IS DISTINCT FROM pg_catalog.pg_backend_pid() AND lock.database = \
    (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())";

/// Who has a table to himself, or waits for that: processes and prepared transactions.
pub async fn holders(client: &Client, table: &TableName) -> Result<Vec<String>, Error> {
    let sql = format!(
        "SELECT DISTINCT {HOLDER} FROM {LOCKS} WHERE lock.locktype = 'relation' AND {IS_OTHERS} \
        AND lock.mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock', \
                          'ShareUpdateExclusiveLock') \
        AND lock.relation = pg_catalog.to_regclass($1)::oid ORDER BY 1"
    );
    let rows = client.query(&sql, &[&table.sql()]).await?;
    Ok(rows.iter().map(|row| on_one_line(row.get(0)).into_owned()).collect())
}
