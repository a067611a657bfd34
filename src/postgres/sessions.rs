//! Limits of the readers' sessions on the server: how long they wait, and how long they outlive their client.

use tokio_postgres::{Client, Error};

/// A process of the server: its number, and when it started, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number, which the server may give to another one later.
    pub number: i32,
    /// When it started.
    pub started: i64,
}

/// The longest wait of a reader for a lock that it could not foresee: of an index, or of a table that
/// a filter reads. It is shorter than `deadlock_timeout`, so that no deadlock's victim is somebody else.
const LOCK_TIMEOUT_MS: i32 = 200;

/// The server looks every second whether the client is still there, whatever the session waits for.
const LOOK_FOR_CLIENT: &str = "SET client_connection_check_interval = '1s'";
/// What ends a session that nobody waits for, but that has lost its client. They are not short: a graph
/// may be slow.
const OUTLIVE_NO_CLIENT: [&str; 6] = [
    LOOK_FOR_CLIENT,
    "SET idle_in_transaction_session_timeout = '60s'",
    "SET tcp_user_timeout = '60s'",
    "SET tcp_keepalives_idle = '10s'",
    "SET tcp_keepalives_interval = '5s'",
    "SET tcp_keepalives_count = 3",
];

/// Limits how long a session waits for locks, and how long it outlives its client.
pub async fn limit_waits(client: &Client) -> Result<(), Error> {
    let sql = "SELECT pg_catalog.set_config('lock_timeout', \
               greatest(1, least($1, setting::int4 / 2))::text, false) \
               FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout'";
    client.query(sql, &[&LOCK_TIMEOUT_MS]).await?;
    outlive_no_client(client).await;
    Ok(())
}

/// Limits how long a session outlives its client.
pub async fn outlive_no_client(client: &Client) {
    for setting in OUTLIVE_NO_CLIENT {
        wish(client, setting).await;
    }
}

/// Lets a session end when its client has gone, and not for anything less.
pub(super) async fn look_for_client(client: &Client) {
    wish(client, LOOK_FOR_CLIENT).await;
}

/// A setting that the server may refuse: some have no use on its platform.
async fn wish(client: &Client, setting: &str) {
    if let Err(error) = client.batch_execute(setting).await {
        tracing::debug!(%error, setting, "a setting of the session is not taken");
    }
}
