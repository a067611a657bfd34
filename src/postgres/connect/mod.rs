//! Connection URLs, TLS, authentication and pinned session settings.
//!
//! ```text
//! SourceUrl --sql--> tokio_postgres::Client       ordinary SQL
//!           --raw--> RawConnection                replication: CopyBoth is not in tokio-postgres
//! ```
//!
//! Both carry the same settings: several of a server's decide the text form of values, and one
//! `ALTER DATABASE ... SET datestyle` would else change what a date looks like on one of them.

mod raw;
mod tls;
mod url;

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::{Client, error::SqlState};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::pipeline::Failure;

pub use raw::{RawConnection, RawError, ServerError};
pub(in crate::postgres) use raw::{Socket, error_of};
pub use url::{SourceUrl, TlsMode, UrlError, WeakAuthentication};

/// How long connecting and logging in may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// The session settings that values' texts depend on, and those that would end long waits.
const PINNED: &str = "-c DateStyle=ISO -c IntervalStyle=iso_8601 -c TimeZone=UTC -c extra_float_digits=3 \
     -c bytea_output=hex -c lc_monetary=C -c search_path=pg_catalog -c statement_timeout=0 \
     -c idle_in_transaction_session_timeout=0";

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers, or the connection broke.
    #[error("PostgreSQL at {server} can not be reached: {cause}")]
    Unreachable {
        /// Host and port.
        server: String,
        /// Why.
        cause: String,
    },
    /// The server says no.
    #[error("PostgreSQL at {server} refuses the connection: {message} ({code})")]
    Refused {
        /// Host and port.
        server: String,
        /// The SQLSTATE.
        code: String,
        /// Its message.
        message: String,
    },
    /// The server wants the password in a form that the URL does not allow.
    #[error(
        "PostgreSQL at {server} asks for {method} authentication, which gives the password away. Use scram-sha-256 \
         (password_encryption and pg_hba.conf), or allow it with ?require_auth={method}"
    )]
    WeakAuthentication {
        /// Host and port.
        server: String,
        /// What it asks for.
        method: &'static str,
    },
    /// The server wants something that this program can not do, or a password that is not there.
    #[error("PostgreSQL at {server}: {what}")]
    Authentication {
        /// Host and port.
        server: String,
        /// What.
        what: String,
    },
    /// TLS can not be set up.
    #[error("TLS to PostgreSQL: {0}")]
    Tls(String),
}

impl Failure for ConnectError {
    fn is_transient(&self) -> bool {
        match self {
            ConnectError::Unreachable { .. } => true,
            ConnectError::Refused { code, .. } => {
                // Starting up, shutting down, out of connections.
                ["57P03", "57P01", "57P02", "53300"].contains(&code.as_str())
            }
            _ => false,
        }
    }
}

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

/// Opens an ordinary connection with pinned settings.
pub async fn sql(url: &SourceUrl) -> Result<Sql, ConnectError> {
    let mut config = url.config.clone();
    config.options(PINNED).connect_timeout(CONNECT_LIMIT);
    if config.get_application_name().is_none() {
        config.application_name("wal2graph");
    }
    let tls = MakeRustlsConnect::new(tls::client_config(url)?);
    let connecting = tokio::time::timeout(CONNECT_LIMIT, config.connect(tls)).await;
    let (client, connection) = match connecting {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => return Err(refused(url, &error)),
        Err(_) => {
            let cause = format!("no answer for {} s", CONNECT_LIMIT.as_secs());
            return Err(ConnectError::Unreachable { server: url.server(), cause });
        }
    };
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an SQL connection ended");
        }
    });
    Ok(Sql { client, closed: Closed { task, client: None } })
}

fn refused(url: &SourceUrl, error: &tokio_postgres::Error) -> ConnectError {
    let server = url.server();
    match error.as_db_error() {
        Some(refusal) => ConnectError::Refused {
            server,
            code: refusal.code().code().to_owned(),
            message: refusal.message().to_owned(),
        },
        None => {
            let cause = std::error::Error::source(error)
                .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
            ConnectError::Unreachable { server, cause }
        }
    }
}

/// Whether an SQL error may be gone a little later, on a new connection.
pub fn is_transient(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        None => error.is_closed() || error.as_db_error().is_none(),
        Some(code) => {
            *code == SqlState::LOCK_NOT_AVAILABLE
                || *code == SqlState::T_R_SERIALIZATION_FAILURE
                || ["08", "53", "57"].contains(&&code.code()[..2])
        }
    }
}
