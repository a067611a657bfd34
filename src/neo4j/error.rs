//! What an error of Neo4j or its driver means for the one who writes: try again, look what
//! happened, or stop.
//!
//! ```text
//! driver error -> Error::{Transient, Terminated, Lost, TooLarge, Data, Fatal}
//! ```
//!
//! Texts name the cause and the fix and never a row's value. Neo4j puts values into some messages,
//! so that a message is passed on only where its kind is known to carry none; of the others the
//! code is enough to look it up.

use neo4rs::Error as DriverError;

use crate::pipeline::Failure;

/// Why Neo4j did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was written; the same again can succeed.
    #[error("Neo4j could not do it just now: {0}")]
    Transient(ServerError),
    /// Somebody ended the transaction (TERMINATE TRANSACTIONS). Nothing was written.
    #[error("the transaction was ended by an administrator: {0}")]
    Terminated(ServerError),
    /// The connection is gone. Whether a COMMIT that was under way took effect is not known.
    #[error("no connection to Neo4j: {0}")]
    Lost(String),
    /// The transaction needs more memory or time than the server grants. Half of it may pass.
    #[error("the transaction is too large for Neo4j: {0}")]
    TooLarge(ServerError),
    /// The graph refuses a value or an entity, and will refuse it again.
    #[error("Neo4j refuses the data: {0}")]
    Data(ServerError),
    /// Trying again is of no use before somebody changes something.
    #[error("{0}")]
    Fatal(String),
}

/// What the server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// Neo4j's status code, such as `Neo.ClientError.Schema.ConstraintValidationFailed`.
    pub code: String,
    /// Its message without values; empty when it might carry one.
    pub message: String,
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.message.as_str() {
            "" => write!(f, "{}", self.code),
            message => write!(f, "{message} ({})", self.code),
        }
    }
}

impl Error {
    /// What the server's code and message mean.
    pub fn of_server(code: &str, message: &str) -> Self {
        let error = ServerError { code: code.to_owned(), message: without_values(code, message) };
        let mut parts = code.split('.').skip(1);
        let (class, category, title) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        if is_too_large(title) {
            return Error::TooLarge(error);
        }
        // A row's node that another writer has just made a relationship at.
        if title == "ConstraintValidationFailed" && message.contains("still has relationships") {
            return Error::Transient(error);
        }
        match (class, category, title) {
            (_, "Transaction", "Terminated" | "LockClientStopped") => Error::Terminated(error),
            ("TransientError", ..)
            | ("ClientError", "Cluster", "NotALeader")
            | ("ClientError", "General", "ForbiddenOnReadOnlyDatabase")
            | ("ClientError", "Security", "AuthorizationExpired")
            // A MERGE that found a node which another transaction deleted before it was locked.
            | ("ClientError", "Statement", "EntityNotFound") => Error::Transient(error),
            ("ClientError", "Schema", "ConstraintValidationFailed" | "ConstraintViolation")
            | ("ClientError", "Statement", "TypeError" | "ArgumentError" | "SemanticError")
            | ("ClientError", "Statement", "ArithmeticError" | "PropertyTooLargeError") => {
                Error::Data(error)
            }
            _ => Error::Fatal(format!("Neo4j refused: {error}{}", fix(category, title))),
        }
    }

    /// Whether the server is away rather than in disagreement.
    pub fn is_lost(&self) -> bool {
        matches!(self, Error::Lost(_))
    }
}

fn is_too_large(title: &str) -> bool {
    title.contains("OutOfMemory")
        || title.contains("MemoryLimit")
        || title == "StackOverFlowError"
        || title.starts_with("TransactionTimedOut")
}

/// Neo4j's message, as far as it is known to hold none of the rows' values.
fn without_values(code: &str, message: &str) -> String {
    let first_line = message.lines().next().unwrap_or_default();
    let category = code.split('.').nth(2).unwrap_or_default();
    let safe = code.starts_with("Neo.TransientError.")
        || matches!(category, "Transaction" | "Security" | "Database" | "Cluster")
        || code.ends_with("Statement.SyntaxError");
    match category {
        // "Node(7) already exists with label `A` and property `id` = 'the value'"
        "Schema" => first_line.split(" = ").next().unwrap_or_default().to_owned(),
        _ if safe => first_line.to_owned(),
        _ => String::new(),
    }
}

fn fix(category: &str, title: &str) -> &'static str {
    match (category, title) {
        ("Security", "Unauthorized") => ". Check the user and the password",
        ("Security", "AuthenticationRateLimit") => ". Check the password, then wait a little",
        ("Security", "Forbidden") => ". Grant the user the right to write and to change the schema",
        ("Database", "DatabaseNotFound") => ". Check the name of the database",
        ("Statement", "SyntaxError") => ". Neo4j 5.26 or newer is needed",
        _ => "",
    }
}

impl Failure for Error {
    fn is_transient(&self) -> bool {
        match self {
            Error::Transient(_) | Error::Lost(_) | Error::Terminated(_) => true,
            Error::TooLarge(_) | Error::Data(_) | Error::Fatal(_) => false,
        }
    }
}

impl From<DriverError> for Error {
    fn from(error: DriverError) -> Self {
        match error {
            DriverError::Neo4j(error) => Error::of_server(error.code(), error.message()),
            DriverError::AuthenticationError(message) => of_hello(message),
            DriverError::IOError { detail } if detail.to_string().contains("certificate") => {
                Error::Fatal(format!(
                    "TLS with Neo4j failed: {detail}. Check the certificate, or use +ssc in the URL"
                ))
            }
            DriverError::UrlParseError(_)
            | DriverError::UnsupportedScheme(_)
            | DriverError::InvalidDnsName(_)
            | DriverError::InvalidConfig => Error::Fatal(format!(
                "the graph's URL is not usable: {error}. Expected bolt://HOST:PORT or neo4j://, +s, +ssc"
            )),
            DriverError::UnsupportedVersion(..) | DriverError::ProtocolMismatch(_) => {
                Error::Fatal(format!("{error}. Check that the graph's URL names the Bolt port"))
            }
            DriverError::StringTooLong
            | DriverError::MapTooBig
            | DriverError::BytesTooBig
            | DriverError::ListTooLong => {
                Error::Data(ServerError { code: "Bolt".to_owned(), message: error.to_string() })
            }
            // Whatever else: the exchange is not where it should be, so the connection is of no
            // use.
            other => Error::Lost(other.to_string()),
        }
    }
}

/// A refused HELLO carries no code.
fn of_hello(message: String) -> Error {
    let said = message.to_lowercase();
    match ["unauthorized", "authentication", "credentials"].iter().any(|word| said.contains(word)) {
        true => Error::Fatal(format!("{message} Check the graph's user and password")),
        false => Error::Lost(message),
    }
}

#[cfg(test)]
mod tests {
    use super::Error;

    fn class(code: &str) -> &'static str {
        match Error::of_server(code, "") {
            Error::Transient(_) => "transient",
            Error::Terminated(_) => "terminated",
            Error::Lost(_) => "lost",
            Error::TooLarge(_) => "too large",
            Error::Data(_) => "data",
            Error::Fatal(_) => "fatal",
        }
    }

    #[test]
    fn codes_are_classified() {
        for (code, expected) in [
            ("Neo.TransientError.Transaction.DeadlockDetected", "transient"),
            ("Neo.TransientError.General.DatabaseUnavailable", "transient"),
            ("Neo.ClientError.Cluster.NotALeader", "transient"),
            ("Neo.ClientError.Statement.EntityNotFound", "transient"),
            ("Neo.ClientError.Transaction.Terminated", "terminated"),
            ("Neo.TransientError.Transaction.Terminated", "terminated"),
            ("Neo.ClientError.Transaction.LockClientStopped", "terminated"),
            ("Neo.TransientError.General.MemoryPoolOutOfMemoryError", "too large"),
            ("Neo.ClientError.General.TransactionOutOfMemoryError", "too large"),
            ("Neo.ClientError.Transaction.TransactionTimedOut", "too large"),
            ("Neo.ClientError.Schema.ConstraintValidationFailed", "data"),
            ("Neo.ClientError.Statement.TypeError", "data"),
            ("Neo.ClientError.Statement.SyntaxError", "fatal"),
            ("Neo.ClientError.Statement.ParameterMissing", "fatal"),
            ("Neo.ClientError.Security.Unauthorized", "fatal"),
            ("Neo.ClientError.Database.DatabaseNotFound", "fatal"),
            ("Neo.DatabaseError.General.UnknownError", "fatal"),
            ("", "fatal"),
        ] {
            assert_eq!(class(code), expected, "{code}");
        }
    }

    #[test]
    fn no_value_is_passed_on() {
        let constraint = Error::of_server(
            "Neo.ClientError.Schema.ConstraintValidationFailed",
            "Node(7) already exists with label `A` and property `id` = 'secret'",
        );
        assert!(constraint.to_string().contains("label `A` and property `id`"), "{constraint}");
        for (code, message) in [
            ("Neo.ClientError.Schema.ConstraintValidationFailed", "`a` = 'secret', `b` = 'secret'"),
            ("Neo.ClientError.Statement.TypeError", "Encountered: Map{a -> String(\"secret\")}"),
            ("Neo.ClientError.Statement.ArgumentError", "value: [String(\"secret\")]"),
            ("Neo.DatabaseError.Statement.ExecutionFailed", "secret"),
        ] {
            let text = format!("{:?}", Error::of_server(code, message));
            assert!(!text.contains("secret"), "{text}");
        }
    }
}
