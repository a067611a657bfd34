//! Connection errors, and the meaning of a server's refusal, with the fix if one is known.

use std::io;

use tokio_postgres::error::SqlState;

use crate::{
    health::Side,
    pipeline::{Failure, Verdict},
    shown::on_one_line,
};

use super::tls_error;

/// The reason why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server does not answer, or the connection broke.
    #[error("PostgreSQL at {server} can not be reached: {cause}")]
    Unreachable {
        /// Host and port.
        server: String,
        /// The cause.
        cause: String,
    },
    /// The server says no.
    #[error(
        "PostgreSQL at {server} refuses the connection: {} ({code}){}",
        on_one_line(.message), fix(.code, .message)
    )]
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
        /// The method that it asks for.
        method: &'static str,
    },
    /// The server wants something that this program does not support, or a missing password.
    #[error("PostgreSQL at {server}: {what}")]
    Authentication {
        /// Host and port.
        server: String,
        /// The requirement.
        what: String,
    },
    /// It wants a password, and there is none.
    #[error("PostgreSQL at {server}: {what}")]
    NoPassword {
        /// Host and port.
        server: String,
        /// Where none is.
        what: String,
    },
    /// TLS can not be set up.
    #[error("TLS to PostgreSQL: {0}")]
    Tls(String),
    /// None of the servers is the one with the slot.
    #[error(
        "PostgreSQL at {server} is a standby, and the primary is looked for (several hosts, or target_session_attrs)"
    )]
    Standby {
        /// Host and port.
        server: String,
    },
    /// None of several places will do.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<ConnectError>),
}

/// The fix for a refusal.
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
            ". A policy would hide rows from the copy: ALTER ROLE ... BYPASSRLS, or leave the table \
             out with `skip: true`"
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
        "42704" if message.contains("configuration parameter") => {
            ". PostgreSQL 14 is the oldest that is supported"
        }
        "08P01" if message.contains("startup parameter") => {
            ". A connection pooler answers: name the server itself, replication does not pass a pooler"
        }
        "55P03" => {
            ". Another session holds the lock: SELECT * FROM pg_locks WHERE NOT granted shows who waits, \
             pg_blocking_pids(pid) for whom. It is tried again"
        }
        "3D000" => ". Name a database that exists in the source URL",
        _ => "",
    }
}

impl ConnectError {
    /// Combines the errors of all attempted places, each text once.
    pub(super) fn of_all(failures: Vec<ConnectError>) -> Self {
        let mut different: Vec<ConnectError> = Vec::new();
        for failure in failures {
            let text = failure.to_string();
            if !different.iter().any(|known| known.to_string() == text) {
                different.push(failure);
            }
        }
        match different.len() {
            1 => different.remove(0),
            _ => ConnectError::Several(different),
        }
    }

    /// A broken connection, with the cause if TLS broke it.
    pub(super) fn unreachable(server: &str, error: &io::Error) -> Self {
        let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
        match tls_error::explain(error, host) {
            Some(cause) => ConnectError::Tls(format!("{server}: {cause}")),
            None => {
                ConnectError::Unreachable { server: server.to_owned(), cause: error.to_string() }
            }
        }
    }
}

impl Failure for ConnectError {
    fn refused_login(&self) -> Option<Side> {
        let is_refused = match self {
            ConnectError::Refused { code, .. } => ["28P01", "28000"].contains(&code.as_str()),
            // The file with it may be written just now.
            ConnectError::NoPassword { .. } => true,
            ConnectError::Several(failures) => {
                failures.iter().any(|failure| failure.refused_login().is_some())
            }
            _ => false,
        };
        is_refused.then_some(Side::Source)
    }

    fn verdict(&self) -> Verdict {
        Verdict::again_if(match self {
            // A standby may become the primary soon.
            ConnectError::Unreachable { .. } | ConnectError::Standby { .. } => true,
            ConnectError::Several(failures) => failures.iter().any(Failure::is_transient),
            ConnectError::Refused { code, .. } => {
                // The server starts up, shuts down, or is out of connections.
                ["57P03", "57P01", "57P02", "53300"].contains(&code.as_str())
            }
            _ => false,
        })
    }
}

/// The text of an SQL error, with its fix.
pub fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(refusal) => {
            let (code, message) = (refusal.code().code(), refusal.message());
            format!("{} ({code}){}", on_one_line(message), fix(code, message))
        }
        None => match std::error::Error::source(error) {
            Some(cause) if cause.is::<std::str::Utf8Error>() => format!(
                "{error}: {cause}. The database's encoding is SQL_ASCII, and a name in it is no UTF-8: rename it"
            ),
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        },
    }
}

/// The same without words that may be a row's value: the server names a value that it can not
/// convert, or that a constraint refuses.
pub fn describe_without_values(error: &tokio_postgres::Error) -> String {
    match error.code().map(SqlState::code).filter(|code| may_name_a_value(code)) {
        Some(code) => without_words(code),
        None => describe(error),
    }
}

/// Whether the server's message for this code may name a row's value.
pub fn may_name_a_value(code: &str) -> bool {
    code.starts_with("22") || code.starts_with("23")
}

/// The replacement for such a message.
pub fn without_words(code: &str) -> String {
    format!("PostgreSQL refuses a value ({code}); the log of wal2graph has its words")
}

/// Whether an SQL error may pass soon, on a new connection. The connection broke, the server lacks
/// a resource or stops, a statement was cancelled, or another session was in the way.
pub fn is_transient(error: &tokio_postgres::Error) -> bool {
    const CLASSES: [&str; 3] = ["08", "53", "57"];
    let codes = [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        // A session that was idle in its transaction, while the graph was unreachable.
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    match error.code() {
        None => error.is_closed() || error.as_db_error().is_none(),
        Some(code) => codes.contains(code) || CLASSES.contains(&&code.code()[..2]),
    }
}
