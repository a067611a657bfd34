//! Publication and slot: made, checked, described.
//!
//! The publication comes first. A slot that is older than its publication can not be decoded before
//! PostgreSQL 18, and silently skips changes from 18 on.

use tokio_postgres::{Client, Error};

use crate::{
    catalog::{TableName, quote_identifier},
    lsn::Lsn,
};

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

/// A replication slot as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its output plugin; `None` for a physical slot.
    pub plugin: Option<String>,
    /// Its database.
    pub database: Option<String>,
    /// Who streams from it.
    pub active_pid: Option<i32>,
    /// What was acknowledged.
    pub confirmed: Option<Lsn>,
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
        CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::int8 END \
        FROM pg_replication_slots WHERE slot_name = $1";
    let row = client.query_opt(sql, &[&name]).await?;
    Ok(row.map(|row| Slot {
        plugin: row.get(0),
        database: row.get(1),
        active_pid: row.get(2),
        confirmed: row.get::<_, Option<&str>>(3).and_then(|text| text.parse().ok()),
        wal_status: row.get(4),
        safe_bytes: row.get(5),
        retained_bytes: row.get(6),
    }))
}

/// Makes the slot. Waits for every transaction that is running; [`running_transactions`] says
/// which.
pub async fn create_slot(client: &Client, name: &str) -> Result<Lsn, Error> {
    let sql = "SELECT lsn::text FROM pg_create_logical_replication_slot($1, 'pgoutput')";
    let row = client.query_one(sql, &[&name]).await?;
    Ok(row.get::<_, &str>(0).parse().unwrap_or_default())
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
