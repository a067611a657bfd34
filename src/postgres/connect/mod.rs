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

mod handover;
mod login;
mod raw;
mod socket;
mod tls;
mod url;

use std::{io, time::Duration};

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls, config::SslMode, error::SqlState};

use crate::pipeline::Failure;

use self::{handover::LoggedIn, login::Purpose};

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
    #[error("PostgreSQL at {server} refuses the connection: {message} ({code}){}", fix(.code, .message))]
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

/// What to do about a refusal.
fn fix(code: &str, message: &str) -> &'static str {
    match code {
        "28P01" => ". Check the user and the password in the source URL (or PGUSER, PGPASSWORD)",
        "28000" if message.contains("pg_hba.conf") => {
            ". Add a line for this user, database and address to pg_hba.conf and reload it, or change sslmode: a \
             line may be for TLS only (hostssl), or for connections without it"
        }
        "28000" if message.contains("certificate") => {
            ". Name a certificate that is for this user, and its key, with sslcert and sslkey"
        }
        "28000" if message.contains("not permitted to log in") => ". ALTER ROLE ... LOGIN",
        "42501" if message.contains("row-level security") => {
            ". A policy would hide rows from the copy: ALTER ROLE ... BYPASSRLS, or leave the table out with `skip: true`"
        }
        "42501" if message.starts_with("permission denied for database") => {
            ". GRANT CONNECT, and CREATE for the publication, ON DATABASE to the role"
        }
        "42501" if message.starts_with("permission denied for") => {
            ". GRANT SELECT ON the table, and USAGE ON its schema, to the role"
        }
        "42501" if message.contains("must be owner") => {
            ". Let the owner create the publication, or GRANT its role to this one"
        }
        "42501" => ". The role may lack the right: ALTER ROLE ... REPLICATION",
        "3D000" => ". Name a database that exists in the source URL",
        _ => "",
    }
}

impl ConnectError {
    /// A connection that broke; where TLS broke it, why.
    fn unreachable(server: &str, error: &io::Error) -> Self {
        let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
        match tls::explain(error, host) {
            Some(cause) => ConnectError::Tls(format!("{server}: {cause}")),
            None => {
                ConnectError::Unreachable { server: server.to_owned(), cause: error.to_string() }
            }
        }
    }
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

/// What an SQL error says, with what to do about it.
pub fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(refusal) => {
            let (code, message) = (refusal.code().code(), refusal.message());
            format!("{message} ({code}){}", fix(code, message))
        }
        None => std::error::Error::source(error)
            .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")),
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
