//! Publication and slot: made, checked, described.
//!
//! The publication comes first. A slot that is older than its publication can not be decoded before
//! PostgreSQL 18, and silently skips changes from 18 on.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_postgres::{Client, Error};

use crate::{
    catalog::{TableName, quote_identifier},
    lsn::Lsn,
};

use super::locks::{cancel, holders, is_blocked, outlive_no_client, process_of};

/// What the server and the role allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `server_version_num`.
    pub version: i32,
    /// `wal_level`.
    pub wal_level: String,
    /// Replication slots allowed, and how many there are.
    pub slots: (i32, i64),
    /// Walsenders allowed, and how many run.
    pub senders: (i32, i64),
    /// `wal_sender_timeout` in milliseconds; 0: never.
    pub sender_timeout_ms: i64,
    /// The database.
    pub database: String,
    /// The role.
    pub role: String,
    /// The role may replicate.
    pub may_replicate: bool,
    /// The role may create publications in the database.
    pub may_create: bool,
    /// The server is a standby.
    pub in_recovery: bool,
}

impl Server {
    /// Whether the log has what logical decoding needs, or gets it with the first logical slot:
    /// since PostgreSQL 19 that slot raises `effective_wal_level` from `replica` by itself.
    pub fn can_decode(&self) -> bool {
        match self.wal_level.as_str() {
            "logical" => true,
            "replica" => self.version >= 190_000,
            _ => false,
        }
    }
}

/// Reads what the server and the role allow.
pub async fn server(client: &Client) -> Result<Server, Error> {
    let sql = "SELECT current_setting('server_version_num')::int4, current_setting('wal_level'), \
        current_setting('max_replication_slots')::int4, (SELECT count(*) FROM pg_replication_slots), \
        current_setting('max_wal_senders')::int4, (SELECT count(*) FROM pg_stat_replication), \
        (SELECT setting::int8 FROM pg_settings WHERE name = 'wal_sender_timeout'), \
        current_database()::text, current_user::text, \
        (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user), \
        has_database_privilege(current_database(), 'CREATE'), pg_is_in_recovery()";
    let row = client.query_one(sql, &[]).await?;
    Ok(Server {
        version: row.get(0),
        wal_level: row.get(1),
        slots: (row.get(2), row.get(3)),
        senders: (row.get(4), row.get(5)),
        sender_timeout_ms: row.get(6),
        database: row.get(7),
        role: row.get(8),
        may_replicate: row.get(9),
        may_create: row.get(10),
        in_recovery: row.get(11),
    })
}

/// A publication as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// What it publishes.
    pub tables: Vec<TableName>,
    /// It publishes INSERT, UPDATE, DELETE and TRUNCATE.
    pub all_operations: bool,
    /// Changes of partitions come as changes of their root.
    pub via_root: bool,
}

/// Reads a publication; `None` when there is none.
pub async fn publication(client: &Client, name: &str) -> Result<Option<Publication>, Error> {
    let sql = "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate, pubviaroot FROM pg_publication \
               WHERE pubname = $1";
    let Some(row) = client.query_opt(sql, &[&name]).await? else { return Ok(None) };
    let sql =
        "SELECT schemaname::text, tablename::text FROM pg_publication_tables WHERE pubname = $1";
    let tables = client.query(sql, &[&name]).await?;
    let table =
        |row: &tokio_postgres::Row| TableName::new(row.get::<_, &str>(0), row.get::<_, &str>(1));
    Ok(Some(Publication {
        tables: tables.iter().map(table).collect(),
        all_operations: row.get(0),
        via_root: row.get(1),
    }))
}

/// The statement that makes a publication of the tables.
pub fn create_publication_sql<'a>(
    name: &str,
    tables: impl IntoIterator<Item = &'a TableName>,
) -> String {
    let tables: Vec<_> = tables.into_iter().map(|table| format!("ONLY {}", table.sql())).collect();
    format!(
        "CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)",
        quote_identifier(name),
        tables.join(", ")
    )
}

/// What a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// A logical one, which was acknowledged up to here.
    Ready(Lsn),
    /// A logical one that is not there yet: its making waits for transactions to end.
    InTheMaking,
    /// A physical one.
    Physical,
}

impl Slot {
    /// What was acknowledged.
    pub fn confirmed(&self) -> Option<Lsn> {
        match self.state {
            SlotState::Ready(confirmed) => Some(confirmed),
            SlotState::InTheMaking | SlotState::Physical => None,
        }
    }
}

/// A replication slot as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its output plugin; `None` for a physical slot.
    pub plugin: Option<String>,
    /// Its database.
    pub database: Option<String>,
    /// Who streams from it.
    pub active_pid: Option<i32>,
    /// What it is.
    pub state: SlotState,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// How much more log can be written before it may be lost, in bytes.
    pub safe_bytes: Option<i64>,
    /// How much log it keeps, in bytes.
    pub retained_bytes: Option<i64>,
}

/// Reads a slot; `None` when there is none.
pub async fn slot(client: &Client, name: &str) -> Result<Option<Slot>, Error> {
    let sql = "SELECT plugin::text, database::text, active_pid, confirmed_flush_lsn::text, wal_status, safe_wal_size, \
        CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::int8 END, \
        slot_type = 'physical' \
        FROM pg_replication_slots WHERE slot_name = $1";
    let row = client.query_opt(sql, &[&name]).await?;
    Ok(row.map(|row| Slot {
        plugin: row.get(0),
        database: row.get(1),
        active_pid: row.get(2),
        state: match (row.get(7), row.get::<_, Option<&str>>(3)) {
            (true, _) => SlotState::Physical,
            (false, None) => SlotState::InTheMaking,
            (false, Some(text)) => SlotState::Ready(text.parse().unwrap_or_default()),
        },
        wal_status: row.get(4),
        safe_bytes: row.get(5),
        retained_bytes: row.get(6),
    }))
}

/// Makes the slot. Waits for every transaction that is running; [`running_transactions`] says
/// which.
pub async fn create_slot(client: &Client, name: &str) -> Result<Lsn, Error> {
    // Those waits are for locks too, and may be as long as the transactions.
    client.batch_execute("SET lock_timeout = 0").await?;
    outlive_no_client(client).await;
    let sql = "SELECT lsn::text FROM pg_create_logical_replication_slot($1, 'pgoutput')";
    let row = client.query_one(sql, &[&name]).await?;
    Ok(row.get::<_, &str>(0).parse().unwrap_or_default())
}

/// A slot is being made by a connection. Unless it was done, its end cancels the making: else the
/// server would go on with it, and keep its log for a slot that nobody reads.
pub struct Making {
    process: i32,
    watcher: Option<Arc<Client>>,
}

impl Making {
    /// By `client`, which is watched over another connection.
    pub async fn start(client: &Client, watcher: Client) -> Result<Self, Error> {
        Ok(Making { process: process_of(client).await?, watcher: Some(Arc::new(watcher)) })
    }

    /// The other connection.
    pub fn watcher(&self) -> &Client {
        self.watcher.as_ref().expect("it is there until the end")
    }

    /// The slot is there.
    pub fn done(mut self) {
        self.watcher = None;
    }
}

/// Makings that were given up, and are being cancelled.
static CANCELLED: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

impl Drop for Making {
    fn drop(&mut self) {
        let Some(watcher) = self.watcher.take() else { return };
        let process = self.process;
        let cancelling = tokio::spawn(async move {
            if let Err(error) = cancel(&watcher, process).await {
                tracing::warn!(%error, process, "the making of the slot goes on: it can not be cancelled");
            }
        });
        CANCELLED.lock().unwrap_or_else(PoisonError::into_inner).push(cancelling);
    }
}

/// Waits until makings that were given up are cancelled: before the program ends.
pub async fn makings_cancelled() {
    /// A server that does not answer is not waited for.
    const LIMIT: Duration = Duration::from_secs(2);
    let all = std::mem::take(&mut *CANCELLED.lock().unwrap_or_else(PoisonError::into_inner));
    for cancelling in all {
        let _ = timeout(LIMIT, cancelling).await;
    }
}

/// Does what takes a lock on each of the tables. While somebody else has one of them, nobody waits
/// behind us: it is tried again, and the log says who it is.
pub async fn patiently(client: &Client, sql: &str, tables: &[TableName]) -> Result<(), Error> {
    const PAUSE: Duration = Duration::from_millis(500);
    const TELL_EVERY: u32 = 10;
    let mut tries = 0;
    loop {
        let sql = format!("BEGIN; SET LOCAL lock_timeout = '100ms'; {sql}; COMMIT");
        match client.batch_execute(&sql).await {
            Ok(()) => return Ok(()),
            Err(error) if is_blocked(&error) => client.batch_execute("ROLLBACK").await?,
            Err(error) => {
                client.batch_execute("ROLLBACK").await?;
                return Err(error);
            }
        }
        if tries % TELL_EVERY == 0 {
            for table in tables {
                let processes = holders(client, table).await?;
                if !processes.is_empty() {
                    tracing::warn!(%table, ?processes, "waiting for a table that others have locked");
                }
            }
        }
        tries += 1;
        sleep(PAUSE).await;
    }
}

/// Transactions with an id: what slot creation and the start of a copy wait for. Process, or the
/// name of a prepared transaction, and how long it has run.
pub async fn running_transactions(client: &Client) -> Result<Vec<String>, Error> {
    let sql = "SELECT format('%s of %s, running for %s s', who, coalesce(role, 'the server'), \
            extract(epoch FROM now() - since)::int8) \
        FROM (SELECT format('process %s', pid), usename::text, xact_start FROM pg_stat_activity \
              WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() \
              UNION ALL \
              SELECT format('the prepared transaction %L', gid), owner::text, prepared FROM pg_prepared_xacts) \
            AS running (who, role, since) ORDER BY since LIMIT 5";
    Ok(client.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// The position up to which the log is flushed now.
pub async fn flushed(client: &Client) -> Result<Lsn, Error> {
    let row = client.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await?;
    Ok(row.get::<_, &str>(0).parse().unwrap_or_default())
}
