//! Creates, checks and describes publication and slot.
//!
//! The publication comes first. If a slot is older than its publication, PostgreSQL before 18 can
//! not decode it, and from 18 on it silently skips changes.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_postgres::{Client, Error, error::SqlState};

use crate::{catalog::TableName, lsn::Lsn};

use super::locks::{cancel, holders, is_blocked, process_of};
use super::sessions::outlive_no_client;

pub use crate::start::{Publication, Server, Slot, System, TableRights, Timelines};

/// Reads the permissions of server and role.
pub async fn server(client: &Client) -> Result<Server, Error> {
    let sql = "SELECT current_setting('server_version_num')::int4, current_setting('wal_level'), \
        current_setting('max_replication_slots')::int4, (SELECT count(*) FROM pg_replication_slots), \
        current_setting('max_wal_senders')::int4, (SELECT count(*) FROM pg_stat_replication), \
        (SELECT setting::int8 FROM pg_settings WHERE name = 'wal_sender_timeout'), \
        current_database()::text, current_user::text, \
        (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user), \
        EXISTS (SELECT 1 FROM pg_roles WHERE rolname IN ('rds_replication', 'rds_superuser') \
                AND pg_has_role(current_user, oid, 'MEMBER')), \
        EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'rds_replication'), \
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
        // On Amazon RDS no role has the attribute; membership counts there.
        may_replicate: row.get::<_, bool>(9) || row.get::<_, bool>(10),
        has_rds_role: row.get(11),
        may_create: row.get(12),
        in_recovery: row.get(13),
        wants_failover: false,
    })
}

/// Reads a publication; `None` if it does not exist.
pub async fn publication(client: &Client, name: &str) -> Result<Option<Publication>, Error> {
    let sql = "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate, pubviaroot, puballtables \
               FROM pg_publication WHERE pubname = $1";
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
        all_tables: row.get(2),
    }))
}

/// Reads a slot; `None` if it does not exist.
pub async fn slot(client: &Client, name: &str) -> Result<Option<Slot>, Error> {
    // PostgreSQL has the reason of an invalidation since 17.
    let sql = "SELECT plugin::text, database::text, active_pid, confirmed_flush_lsn::text, wal_status, safe_wal_size, \
        CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::int8 END, \
        slot_type = 'logical', temporary, two_phase, to_jsonb(slot) ->> 'invalidation_reason', \
        coalesce((to_jsonb(slot) ->> 'failover')::bool, false) FROM pg_replication_slots AS slot WHERE slot_name = $1";
    let row = client.query_opt(sql, &[&name]).await?;
    Ok(row.map(|row| Slot {
        plugin: row.get(0),
        database: row.get(1),
        active_pid: row.get(2),
        confirmed: row.get::<_, Option<&str>>(3).and_then(|text| text.parse().ok()),
        wal_status: row.get(4),
        safe_bytes: row.get(5),
        retained_bytes: row.get(6),
        logical: row.get(7),
        temporary: row.get(8),
        two_phase: row.get(9),
        invalidation: row.get(10),
        failover: row.get(11),
    }))
}

/// How fast the log grows, in bytes a second: the average since the server's statistics began. `None`: nothing is
/// known.
pub async fn wal_rate(client: &Client) -> Result<Option<f64>, Error> {
    let sql = "SELECT (wal_bytes / nullif(extract(epoch FROM now() - stats_reset), 0))::float8 FROM pg_stat_wal";
    Ok(client.query_opt(sql, &[]).await?.and_then(|row| row.get(0)))
}

/// How long the server keeps log for a slot that falls behind, and a slot that nobody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotLimits {
    /// `max_slot_wal_keep_size` in megabytes; `None`: there is no limit.
    pub keep_mb: Option<i64>,
    /// `idle_replication_slot_timeout` in seconds, from PostgreSQL 18 on; `None`: a slot may be idle for ever.
    pub idle_seconds: Option<i64>,
}

/// Reads them.
pub async fn slot_limits(client: &Client) -> Result<SlotLimits, Error> {
    let sql = "SELECT (SELECT setting::int8 FROM pg_settings WHERE name = 'max_slot_wal_keep_size'), \
        (SELECT setting::int8 * CASE unit WHEN 'min' THEN 60 ELSE 1 END \
         FROM pg_settings WHERE name = 'idle_replication_slot_timeout')";
    let row = client.query_one(sql, &[]).await?;
    let (keep, idle): (Option<i64>, Option<i64>) = (row.get(0), row.get(1));
    Ok(SlotLimits {
        keep_mb: keep.filter(|megabytes| *megabytes >= 0),
        idle_seconds: idle.filter(|seconds| *seconds > 0),
    })
}

/// Creates the slot. Waits for every running transaction; [`running_transactions`] lists them. With `failover`, which
/// PostgreSQL has since 17, standbys keep a copy of it.
pub async fn create_slot(client: &Client, name: &str, failover: bool) -> Result<Lsn, Error> {
    // PostgreSQL waits for their locks, for as long as the transactions last.
    client.batch_execute("SET lock_timeout = 0").await?;
    outlive_no_client(client).await;
    let sql = match failover {
        true => {
            "SELECT lsn::text FROM pg_create_logical_replication_slot($1, 'pgoutput', failover => true)"
        }
        false => "SELECT lsn::text FROM pg_create_logical_replication_slot($1, 'pgoutput')",
    };
    let row = client.query_one(sql, &[&name]).await?;
    Ok(row.get::<_, &str>(0).parse().unwrap_or_default())
}

/// A connection's slot creation. Dropping this value cancels an unfinished creation. Otherwise the
/// server would go on, and keep its log for a slot that nobody reads.
pub struct Making {
    process: i32,
    watcher: Option<Arc<Client>>,
}

impl Making {
    /// The creation by `client`, watched over another connection.
    pub async fn start(client: &Client, watcher: Client) -> Result<Self, Error> {
        Ok(Making { process: process_of(client).await?, watcher: Some(Arc::new(watcher)) })
    }

    /// The other connection.
    pub fn watcher(&self) -> &Client {
        self.watcher.as_ref().expect("it is there until the end")
    }

    /// The slot exists.
    pub fn done(mut self) {
        self.watcher = None;
    }
}

/// Abandoned creations that are being cancelled.
static CANCELLED: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

impl Drop for Making {
    fn drop(&mut self) {
        let Some(watcher) = self.watcher.take() else { return };
        let process = self.process;
        let cancelling = tokio::spawn(async move {
            if let Err(error) = cancel(&watcher, process).await {
                tracing::warn!(%error, process, "the creation of the slot can not be cancelled, and goes on");
            }
        });
        CANCELLED.lock().unwrap_or_else(PoisonError::into_inner).push(cancelling);
    }
}

/// Waits until abandoned creations are cancelled. Call it before the program ends.
pub async fn makings_cancelled() {
    /// The limit for a server that does not answer.
    const LIMIT: Duration = Duration::from_secs(2);
    let all = std::mem::take(&mut *CANCELLED.lock().unwrap_or_else(PoisonError::into_inner));
    for cancelling in all {
        let _ = timeout(LIMIT, cancelling).await;
    }
}

/// Runs a statement that locks each of the tables. It retries while another session has one of
/// them, so that no session queues behind ours, and logs which session it is.
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
                let holders = holders(client, table).await?;
                if !holders.is_empty() {
                    tracing::warn!(%table, ?holders, "waiting for a table that other sessions lock");
                }
            }
        }
        tries += 1;
        sleep(PAUSE).await;
    }
}

/// Transactions with an id: slot creation and the start of a copy wait for them. Each with its
/// process, or the name of a prepared transaction, and its age.
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

/// Where the source's log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// The end of what is written. Everything that is committed is before it.
    pub inserted: Lsn,
    /// The end of what is flushed. Nothing behind it is sent.
    pub flushed: Lsn,
}

/// Reads the end of the log; `None` for a standby.
pub async fn log_end(client: &Client) -> Result<Option<LogEnd>, Error> {
    let is_standby = client.query_one("SELECT pg_is_in_recovery()", &[]).await?.get(0);
    if is_standby {
        return Ok(None);
    }
    let sql = "SELECT pg_current_wal_insert_lsn()::text, pg_current_wal_flush_lsn()::text";
    let row = client.query_one(sql, &[]).await?;
    let lsn = |index| row.get::<_, &str>(index).parse().unwrap_or_default();
    Ok(Some(LogEnd { inserted: lsn(0), flushed: lsn(1) }))
}

/// Has the server flush its log, by a transaction of its own that changes nothing. Needs no right:
/// everybody may emit a message.
pub async fn flush(client: &Client) -> Result<(), Error> {
    let sql = "BEGIN; SET LOCAL synchronous_commit = local; \
               SELECT pg_logical_emit_message(true, 'wal2graph', ''); COMMIT";
    let flushed = client.batch_execute(sql).await;
    if flushed.is_err() {
        client.batch_execute("ROLLBACK").await?;
    }
    flushed
}

/// The identifier of the server's cluster; `None` if the role may not know it.
pub async fn cluster(client: &Client) -> Result<Option<String>, Error> {
    let sql = "SELECT system_identifier::text FROM pg_control_system()";
    match client.query_one(sql, &[]).await {
        Ok(row) => Ok(Some(row.get(0))),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The server's facts about its log. Not for a standby.
pub async fn system(client: &Client) -> Result<System, Error> {
    let sql = "SELECT (SELECT system_identifier::text FROM pg_control_system()), \
        substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), pg_current_wal_flush_lsn()::text";
    let row = client.query_one(sql, &[]).await?;
    Ok(System {
        identifier: row.get(0),
        timeline: i64::from_str_radix(row.get(1), 16).unwrap_or_default(),
        flushed: row.get::<_, &str>(2).parse().unwrap_or_default(),
        before: Timelines::default(),
    })
}

/// The role's rights on tables.
pub async fn rights(client: &Client, tables: &[TableName]) -> Result<Vec<TableRights>, Error> {
    let sql = "SELECT n.nspname::text, c.relname::text, pg_get_userbyid(c.relowner)::text, \
            has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT'), \
            pg_has_role(c.relowner, 'USAGE'), row_security_active(c.oid), \
            EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = c.relowner AND r.rolsuper) \
        FROM unnest($1::text[], $2::text[]) AS wanted (schema, name) \
        JOIN pg_namespace AS n ON n.nspname = wanted.schema \
        JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.name \
        ORDER BY 1, 2";
    let schemas: Vec<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    let rights = |row: &tokio_postgres::Row| TableRights {
        table: TableName::new(row.get::<_, &str>(0), row.get::<_, &str>(1)),
        owner: row.get(2),
        may_use_schema: row.get(3),
        may_read: row.get(4),
        is_owner: row.get(5),
        rows_hidden: row.get(6),
        owner_is_superuser: row.get(7),
    };
    Ok(client.query(sql, &[&schemas, &names]).await?.iter().map(rights).collect())
}
