//! Connection URLs, TLS, authentication and pinned session settings.
//!
//! ```text
//! SourceUrl --> socket (TCP, TLS, unix) --> log-in --+--> RawConnection: replication
//!                                                    +--> handover --> tokio_postgres::Client: SQL
//! ```
//!
//! There is one way to connect and to log in, for both kinds of connections: what the URL forbids
//! is forbidden on both. tokio-postgres, which has no replication, is handed a connection that is
//! logged in.
//!
//! Both carry the same settings: several of a server's decide the text form of values, and one
//! `ALTER DATABASE ... SET datestyle` would else change what a date looks like on one of them.

mod error;
mod handover;
mod login;
mod parameters;
mod raw;
mod socket;
mod tls;
mod url;

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls, config::SslMode};

use self::{handover::LoggedIn, login::Purpose};

pub use error::{ConnectError, describe, is_transient};
pub use raw::{RawConnection, RawError, ServerError};
pub use url::{Authentication, ChannelBinding, SourceUrl, Tls, TlsMode, UrlError};
pub(in crate::postgres) use {
    raw::{error_of, notice_of},
    socket::Socket,
};

/// How long connecting and logging in may take, where the URL has no connect_timeout.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// The session settings that values' texts depend on, and those that would hide something from us or
/// end long waits. `row_security=off`: a policy that would hide rows from a copy is an error instead.
const PINNED: &str = "-c DateStyle=ISO -c IntervalStyle=iso_8601 -c TimeZone=UTC -c extra_float_digits=3 \
     -c bytea_output=hex -c lc_monetary=C -c search_path=pg_catalog -c quote_all_identifiers=off \
     -c standard_conforming_strings=on -c row_security=off -c client_min_messages=notice \
     -c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0";

/// The same for settings that only newer servers have.
const PIN_NEWER: &str = "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings \
     WHERE name = 'transaction_timeout' AND setting <> '0'";

/// An SQL connection and what tells its end.
pub struct Sql {
    /// The client.
    pub client: Client,
    /// Resolves when the server has closed the connection, or it broke.
    pub closed: Closed,
}

/// The task that moves a connection's bytes.
pub struct Closed {
    task: JoinHandle<()>,
    client: Option<Client>,
}

impl Closed {
    /// Keeps the client, and so the connection, for as long as its end is waited for.
    pub fn keeping(self, client: Client) -> Self {
        Closed { client: Some(client), ..self }
    }

    /// Resolves when the connection is closed.
    pub async fn wait(self) {
        let Closed { task, client } = self;
        // A task that panicked has closed its connection too.
        let _ = task.await;
        drop(client);
    }
}

/// Opens a connection to the walsender of the URL's database.
pub async fn replication(url: &SourceUrl) -> Result<RawConnection, ConnectError> {
    let (connection, _) = RawConnection::connect(url, Purpose::Replication).await?;
    Ok(connection)
}

/// Opens an ordinary connection.
pub async fn sql(url: &SourceUrl) -> Result<Sql, ConnectError> {
    let (connection, greeting) = RawConnection::connect(url, Purpose::Sql).await?;
    let mut config = Config::new();
    // It says who it is, as if there were still somebody to be told.
    config.ssl_mode(SslMode::Disable).user(url.config.get_user().unwrap_or_default());
    let server = connection.server.clone();
    let handed = config.connect_raw(LoggedIn::new(connection, greeting), NoTls).await;
    let (client, connection) =
        handed.map_err(|error| ConnectError::Unreachable { server, cause: error.to_string() })?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an SQL connection ended");
        }
    });
    let pinned = client.simple_query(PIN_NEWER).await;
    pinned.map_err(|error| ConnectError::Unreachable {
        server: url.server(),
        cause: error.to_string(),
    })?;
    Ok(Sql { client, closed: Closed { task, client: None } })
}
