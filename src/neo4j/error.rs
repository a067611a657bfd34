//! Classifies errors of Neo4j and its driver for the writer: retry, find out what happened, or
//! stop.
//!
//! ```text
//! driver error -> Error::{Transient, Failed, Terminated, Lost, TooLarge, Data, Login, Fatal}
//! ```
//!
//! Neo4j puts values of rows into some messages. A [`ServerError`] keeps the whole message, but
//! shows only messages that are known to have no values. So no value appears in logs of retried
//! errors. The error that ends the program has the whole message ([`Failure::in_full`]).

use neo4rs::Error as DriverError;

use crate::{
    health::Side,
    pipeline::{Failure, Verdict},
    shown::on_one_line,
};

/// The reason why Neo4j did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Neo4j wrote nothing; a retry can succeed.
    #[error("Neo4j could not do it just now: {0}")]
    Transient(ServerError),
    /// The server failed without a known class. It may pass, or recur for ever.
    #[error("Neo4j failed: {0}")]
    Failed(ServerError),
    /// An administrator ended the transaction (TERMINATE TRANSACTIONS). Neo4j wrote nothing.
    #[error("the transaction was ended by an administrator: {0}")]
    Terminated(ServerError),
    /// The connection is lost. Whether a COMMIT in progress took effect is unknown.
    #[error("no connection to Neo4j: {0}")]
    Lost(String),
    /// The transaction needs more memory than the server grants. Half of it may succeed.
    #[error("the transaction is too large for Neo4j: {0}")]
    TooLarge(ServerError),
    /// The graph refuses a value or an entity, and would refuse it again.
    #[error("Neo4j refuses the data: {0}")]
    Data(ServerError),
    /// The server takes neither this user nor this password.
    #[error("{0}")]
    Login(String),
    /// A retry is useless until someone changes something.
    #[error("{0}")]
    Fatal(String),
}

/// The server's error.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerError {
    /// Neo4j's status code, such as `Neo.ClientError.Schema.ConstraintValidationFailed`.
    pub code: String,
    /// Its message without values; empty when it might carry one.
    pub message: String,
    /// Its whole message.
    words: String,
}

impl ServerError {
    /// The error may be about rows of a statement.
    fn may_be_a_row(&self) -> bool {
        self.code.contains(".Statement.") || self.code.ends_with(".General.UnknownError")
    }

    /// No change of the graph makes it take the value.
    fn is_for_ever(&self) -> bool {
        self.words.contains("too large to index")
    }

    /// The fix for a refused value or entity.
    fn fix_of_data(&self) -> &'static str {
        if self.is_for_ever() {
            return ". An index takes about 8 kB. Shorten the value in the source, or delete the row";
        }
        match self.code.ends_with("ConstraintValidationFailed") {
            true => {
                ". If the constraint is not one of wal2graph's, drop it; SHOW CONSTRAINTS lists them. \
                 To leave the property out (`properties: {exclude: [...]}`) is another mapping: the next start says \
                 what it takes"
            }
            false => "",
        }
    }

    /// The server's error with this code.
    pub fn new(code: &str, words: &str) -> Self {
        let (message, words) =
            (without_values(code, words), on_one_line(words.trim()).into_owned());
        ServerError { code: code.to_owned(), message, words }
    }

    /// The server's whole message. It may contain values of a row.
    pub fn in_full(&self) -> String {
        match self.words.as_str() {
            "" => self.code.clone(),
            words => format!("{words} ({})", self.code),
        }
    }

    /// The transaction exceeded the server's time limit.
    fn is_timeout(&self) -> bool {
        self.code.contains("TransactionTimedOut")
    }
}

/// Omits the words that may contain values.
impl std::fmt::Debug for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ServerError { code, message, .. } = self;
        f.debug_struct("ServerError").field("code", code).field("message", message).finish()
    }
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
    /// The same, with the server's address where there is no connection to it.
    pub fn at(self, place: &str) -> Self {
        match self {
            Error::Lost(what) => Error::Lost(format!("{place}: {what}")),
            error => error,
        }
    }

    /// The graph refuses the same data whatever is changed in it.
    pub(super) fn is_for_ever(&self) -> bool {
        matches!(self, Error::Data(error) if error.is_for_ever())
    }

    /// The server refuses what it was sent. A failure of the server, of whatever cause, is none.
    pub(super) fn is_definite(&self) -> bool {
        match self {
            Error::Data(error) => {
                error.is_for_ever() || !error.code.starts_with("Neo.DatabaseError.")
            }
            Error::TooLarge(_) => !self.is_of_all_transactions(),
            _ => false,
        }
    }

    /// Classifies the server's code and message.
    pub fn of_server(code: &str, message: &str) -> Self {
        let error = ServerError::new(code, message);
        let mut parts = code.split('.').skip(1);
        let (class, category, title) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        if is_too_large(title) {
            return Error::TooLarge(error);
        }
        // Another writer has just created a relationship at a row's node.
        if title == "ConstraintValidationFailed" && message.contains("still has relationships") {
            return Error::Transient(error);
        }
        // An index limits the size of its key. Only the message tells; the code is general.
        if title == "ExecutionFailed" && message.contains("too large to index") {
            return Error::Data(error);
        }
        match (class, category, title) {
            (_, "Transaction", "Terminated" | "LockClientStopped") => Error::Terminated(error),
            ("TransientError", ..)
            | (_, "Transaction", "LockAcquisitionTimeout")
            | ("ClientError", "Cluster", "NotALeader")
            | ("ClientError", "Security", "AuthorizationExpired") => Error::Transient(error),
            _ if error.is_timeout() => Error::Transient(error),
            // The data does not allow a constraint.
            ("DatabaseError", "Schema", _) => Error::Fatal(format!(
                "Neo4j refused: {} ({code}){}",
                without_quoted(message),
                fix(code)
            )),
            // If a database is read-only for good, waiting for a new leader must not take long.
            (_, "General", "ForbiddenOnReadOnlyDatabase") | ("DatabaseError", ..) => {
                Error::Failed(error)
            }
            // A MERGE found a node that another transaction deleted before the MERGE locked it.
            ("ClientError", "Statement", "EntityNotFound") => Error::Transient(error),
            // Another instance has made the same index or constraint since IF NOT EXISTS looked.
            ("ClientError", "Schema", "EquivalentSchemaRuleAlreadyExists") => {
                Error::Transient(error)
            }
            ("ClientError", "Schema", "ConstraintValidationFailed" | "ConstraintViolation")
            | ("ClientError", "Statement", "TypeError" | "ArgumentError" | "SemanticError")
            | ("ClientError", "Statement", "ArithmeticError" | "PropertyTooLargeError") => {
                Error::Data(error)
            }
            ("ClientError", "Security", "Unauthorized" | "AuthenticationRateLimit") => {
                Error::Login(format!("Neo4j refused: {}{}", error.in_full(), fix(code)))
            }
            _ => Error::Fatal(format!("Neo4j refused: {}{}", error.in_full(), fix(code))),
        }
    }

    /// The kind of error: the server's code, if it gave one.
    pub(super) fn kind(&self) -> &str {
        match self {
            Error::Transient(error)
            | Error::Failed(error)
            | Error::Terminated(error)
            | Error::TooLarge(error)
            | Error::Data(error) => &error.code,
            Error::Lost(_) => "lost",
            Error::Login(_) => "log-in",
            Error::Fatal(_) => "fatal",
        }
    }

    /// Two transactions waited for each other's locks.
    pub(super) fn is_deadlock(&self) -> bool {
        matches!(self, Error::Transient(error) if error.code.ends_with(".DeadlockDetected"))
    }

    /// The final class of a recurring [`Error::Failed`]: at a statement its rows may be to blame;
    /// anywhere else nothing of ours is.
    pub(super) fn for_good(self, at_statement: bool) -> Self {
        match self {
            Error::Failed(error) if at_statement && error.may_be_a_row() => Error::Data(error),
            Error::Failed(error) => {
                Error::Fatal(format!("Neo4j failed: {}{}", error.in_full(), fix(&error.code)))
            }
            other => other,
        }
    }

    /// The memory or time shared by all transactions ran out: others may have used it.
    pub(super) fn is_of_all_transactions(&self) -> bool {
        matches!(self, Error::TooLarge(error) if error.code.contains("MemoryPoolOutOfMemory"))
    }

    /// The server's memory or time was not enough for it.
    pub(super) fn is_about_size(&self) -> bool {
        match self {
            Error::TooLarge(_) => true,
            Error::Transient(error) => error.is_timeout(),
            _ => false,
        }
    }

    /// The database takes no writes, whatever the user may do.
    pub(super) fn is_of_read_only_access(&self) -> bool {
        self.to_string().contains("WriteOnReadOnlyAccessDatabase")
    }

    /// Whether the server is unreachable, as opposed to refusing.
    pub fn is_lost(&self) -> bool {
        matches!(self, Error::Lost(_))
    }
}

fn is_too_large(title: &str) -> bool {
    title.contains("OutOfMemory") || title.contains("MemoryLimit") || title == "StackOverFlowError"
}

/// Neo4j's message, as far as it is known to contain no values of rows.
fn without_values(code: &str, message: &str) -> String {
    let first_line = message.lines().next().unwrap_or_default();
    let category = code.split('.').nth(2).unwrap_or_default();
    let safe = code.starts_with("Neo.TransientError.")
        || matches!(category, "Transaction" | "Security" | "Database" | "Cluster")
        || code.ends_with("Statement.SyntaxError")
        || code.contains("OutOfMemory");
    if message.contains("too large to index") {
        return "Property value is too large to index".to_owned();
    }
    match category {
        // "Node(7) already exists with label `A` and property `id` = 'the value'"
        "Schema" => {
            on_one_line(first_line.split(" = ").next().unwrap_or_default().trim_end()).into_owned()
        }
        _ if safe => on_one_line(first_line).into_owned(),
        _ => String::new(),
    }
}

/// All lines of a message. Dots replace the value at a line's end.
fn without_quoted(message: &str) -> String {
    // "Both Node(1) and Node(2) have the label `A` and property `id` = 'the value'. Note that .."
    let line = |line: &str| match line.split_once("` = ") {
        Some((before, _)) => format!("{before}` = ..."),
        None => line.to_owned(),
    };
    on_one_line(&message.lines().map(line).collect::<Vec<_>>().join("\n")).into_owned()
}

/// The fix to append to the server's message.
fn fix(code: &str) -> &'static str {
    let mut parts = code.split('.').skip(2);
    match (parts.next().unwrap_or_default(), parts.next().unwrap_or_default()) {
        ("Security", "Unauthorized") => ". Check the user and the password",
        ("Security", "AuthenticationRateLimit") => ". Check the password, then wait a little",
        ("Security", "CredentialsExpired") => {
            ". The password has to be changed first. As that user, on the database system: \
             ALTER CURRENT USER SET PASSWORD FROM 'old' TO 'new'"
        }
        ("General", "ForbiddenOnReadOnlyDatabase") => {
            ". The database is read-only: ALTER DATABASE name SET ACCESS READ WRITE, or take it out of \
             server.databases.read_only and server.databases.default_to_read_only"
        }
        ("Security", "Forbidden") => ". Grant the user the right to write and to change the schema",
        ("Database", "DatabaseNotFound") => ". Check the name of the database",
        ("Statement", "SyntaxError") => ". Neo4j 5.26 or newer is needed",
        _ => "",
    }
}

impl Failure for Error {
    fn verdict(&self) -> Verdict {
        match self {
            Error::Transient(_) | Error::Lost(_) | Error::Terminated(_) => Verdict::Again,
            Error::Failed(_)
            | Error::TooLarge(_)
            | Error::Data(_)
            | Error::Login(_)
            | Error::Fatal(_) => Verdict::Stop,
        }
    }

    fn refused_login(&self) -> Option<Side> {
        matches!(self, Error::Login(_)).then_some(Side::Graph)
    }

    fn in_full(&self) -> String {
        match self {
            Error::TooLarge(error) => format!(
                "the transaction is too large for Neo4j: {}. Raise db.memory.transaction.max, \
                 dbms.memory.transaction.total.max or the heap (server.memory.heap.max_size)",
                error.in_full()
            ),
            Error::Data(error) => {
                format!("Neo4j refuses the data: {}{}", error.in_full(), error.fix_of_data())
            }
            Error::Failed(error) => {
                format!("Neo4j failed: {}{}", error.in_full(), fix(&error.code))
            }
            other => other.to_string(),
        }
    }

    fn without_values(&self) -> String {
        match self {
            // All of the server's words may be there, and its code behind them.
            Error::Fatal(text) => match text.split_once("(Neo.") {
                Some((_, code)) => {
                    let code = code.split(')').next().unwrap_or_default();
                    format!("Neo4j refuses: Neo.{code}; the log of wal2graph has its words")
                }
                None => text.clone(),
            },
            other => other.to_string(),
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
                    "TLS with Neo4j failed: {detail}. Name a file with the authority that signed its certificate in \
                     graph.ca, or use +ssc in the URL, which checks nothing"
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
            | DriverError::ListTooLong => Error::Data(ServerError::new("Bolt", &error.to_string())),
            // Any other error leaves the protocol in an unknown state, so the connection is
            // useless.
            other => Error::Lost(other.to_string()),
        }
    }
}

/// A refused HELLO carries no code.
fn of_hello(message: String) -> Error {
    let said = message.to_lowercase();
    match ["unauthorized", "authentication", "credentials"].iter().any(|word| said.contains(word)) {
        true => Error::Login(format!("{message} Check the graph's user and password")),
        false => Error::Lost(message),
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Failure};

    fn class(code: &str) -> &'static str {
        match Error::of_server(code, "") {
            Error::Transient(_) => "transient",
            Error::Failed(_) => "failed",
            Error::Terminated(_) => "terminated",
            Error::Lost(_) => "lost",
            Error::TooLarge(_) => "too large",
            Error::Data(_) => "data",
            Error::Login(_) => "log-in",
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
            ("Neo.ClientError.Transaction.TransactionTimedOut", "transient"),
            ("Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration", "transient"),
            ("Neo.ClientError.Transaction.LockAcquisitionTimeout", "transient"),
            ("Neo.TransientError.Transaction.LockAcquisitionTimeout", "transient"),
            ("Neo.ClientError.General.ForbiddenOnReadOnlyDatabase", "failed"),
            ("Neo.DatabaseError.Statement.ExecutionFailed", "failed"),
            ("Neo.DatabaseError.Transaction.TransactionLogError", "failed"),
            ("Neo.ClientError.Schema.ConstraintValidationFailed", "data"),
            ("Neo.ClientError.Schema.EquivalentSchemaRuleAlreadyExists", "transient"),
            ("Neo.ClientError.Statement.TypeError", "data"),
            ("Neo.ClientError.Statement.SyntaxError", "fatal"),
            ("Neo.ClientError.Statement.ParameterMissing", "fatal"),
            ("Neo.ClientError.Security.Unauthorized", "log-in"),
            ("Neo.ClientError.Security.AuthenticationRateLimit", "log-in"),
            ("Neo.ClientError.Security.CredentialsExpired", "fatal"),
            ("Neo.ClientError.Database.DatabaseNotFound", "fatal"),
            ("Neo.DatabaseError.General.UnknownError", "failed"),
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
            let error = Error::of_server(code, message);
            let text = format!("{error:?} {error}");
            assert!(!text.contains("secret"), "{text}");
            assert!(error.in_full().contains(message), "the server's words are lost: {error:?}");
        }
    }

    #[test]
    fn a_constraint_that_can_not_be_made_had_lost_the_reason() {
        let message = "Unable to create Constraint( name='c' ):\nBoth Node(1) and Node(2) have the \
                       label `A` and property `id` = 1";
        let code = "Neo.DatabaseError.Schema.ConstraintCreationFailed";
        let error = Error::of_server(code, message).for_good(false);
        let reason = "Node(2) have the label `A` and property `id` = ...";
        assert!(error.to_string().contains(reason), "{error}");
    }

    #[test]
    fn a_key_larger_than_its_index_is_a_row_that_is_refused() {
        let message =
            "Property value is too large to index, please see index documentation for limitations.";
        let error = Error::of_server("Neo.DatabaseError.Statement.ExecutionFailed", message);
        assert!(matches!(error, Error::Data(_)), "{error:?}");
        let text = error.in_full();
        assert!(text.contains(message) && text.contains("Shorten the value"), "{text}");
    }

    #[test]
    fn an_expired_password_is_not_a_wrong_one() {
        let error = Error::of_server("Neo.ClientError.Security.CredentialsExpired", "not allowed");
        assert!(error.to_string().contains("ALTER CURRENT USER SET PASSWORD"), "{error}");
    }
}
