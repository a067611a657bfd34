//! Why a write is not in the graph, and what may be done about it.

use crate::{
    checkpoint::PutBack,
    engine::Refused,
    health::Side,
    pipeline::{Failure, Verdict},
};

use super::{error::Error, retry::RETRY_LIMIT};

/// Why a batch is not in the graph.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WriteError {
    /// Another writer claimed the graph, or its progress is not where we left it. Never write
    /// again.
    #[error(
        "another writer has taken over the graph: expected {expected}, found {found}. Only one may run"
    )]
    Fenced {
        /// Epoch and position that this writer left.
        expected: String,
        /// Those that are there.
        found: String,
    },
    /// The graph is at an older state than we left it in, or has no checkpoint.
    #[error(transparent)]
    PutBack(PutBack),
    /// Neo4j could not take it for [`RETRY_LIMIT`]. Calling again with the same is right, and
    /// settles an open COMMIT.
    #[error("Neo4j has not taken a write for {} s: {last}", RETRY_LIMIT.as_secs())]
    Away {
        /// Why the last attempt failed.
        last: Error,
    },
    /// The same, and its statements were what it did not take in time: nothing of the batch is there.
    #[error("Neo4j has not taken these changes for {} s: {last}", RETRY_LIMIT.as_secs())]
    Slow {
        /// Why the last attempt failed.
        last: Error,
    },
    /// The transaction needs more than the server grants: fewer rows may pass.
    #[error("{error}")]
    TooLarge {
        /// What the server said.
        error: Error,
    },
    /// A statement's data is refused, and will be again: other rows may pass.
    #[error("{error}")]
    Data {
        /// Which of the call's statements, counted from 0.
        statement: usize,
        /// What the server said.
        error: Error,
    },
    /// One row is not taken, alone as it is.
    #[error(
        "one row can not be written: {what}{key}. {}. With `on_error: park` in the file such a row waits as a dead \
         letter, and everything else goes on",
        .error.in_full()
    )]
    Row {
        /// Which: its table.
        what: Box<str>,
        /// And its key, behind a comma; empty if it is not known.
        key: Box<str>,
        /// What the server said.
        error: Error,
    },
    /// Somebody has to change something first.
    #[error(transparent)]
    Fatal(Error),
}

impl Failure for WriteError {
    fn verdict(&self) -> Verdict {
        match self {
            WriteError::Away { .. } | WriteError::Slow { .. } => Verdict::Again,
            // The memory that all transactions share may be free again.
            WriteError::TooLarge { error } => Verdict::again_if(error.is_of_all_transactions()),
            WriteError::Data { .. } | WriteError::Row { .. } | WriteError::Fatal(_) => {
                Verdict::Stop
            }
            WriteError::Fenced { .. } => Verdict::Fenced,
            WriteError::PutBack(_) => Verdict::PutBack,
        }
    }

    fn refused_login(&self) -> Option<Side> {
        match self {
            WriteError::Fatal(error) => error.refused_login(),
            _ => None,
        }
    }

    fn refused(&self) -> Option<Refused> {
        match self {
            WriteError::TooLarge { .. } | WriteError::Slow { .. } => Some(Refused::TooLarge),
            WriteError::Data { .. } => Some(Refused::Wrong),
            _ => None,
        }
    }

    /// The log brings a change again, however its row is mended since. A copy reads the row as it is.
    fn needs_copy(&self) -> bool {
        matches!(self, WriteError::Data { error, .. } if error.is_for_ever())
    }

    fn is_of_a_row(&self) -> bool {
        match self {
            WriteError::TooLarge { error }
            | WriteError::Data { error, .. }
            | WriteError::Row { error, .. } => error.is_definite(),
            _ => false,
        }
    }

    fn in_full(&self) -> String {
        match self {
            WriteError::TooLarge { error }
            | WriteError::Data { error, .. }
            | WriteError::Fatal(error) => error.in_full(),
            other => other.to_string(),
        }
    }

    fn without_values(&self) -> String {
        match self {
            WriteError::TooLarge { error }
            | WriteError::Data { error, .. }
            | WriteError::Fatal(error) => error.without_values(),
            WriteError::Row { what, error, .. } => {
                format!("one row can not be written: {what}. {}", error.without_values())
            }
            WriteError::Away { last } | WriteError::Slow { last } => {
                let seconds = RETRY_LIMIT.as_secs();
                format!("Neo4j has not taken a write for {seconds} s: {}", last.without_values())
            }
            WriteError::Fenced { .. } | WriteError::PutBack(_) => self.to_string(),
        }
    }
}

/// A read beside the writer's transactions that failed, for now or for good.
impl From<Error> for WriteError {
    fn from(error: Error) -> Self {
        match error.is_transient() {
            true => WriteError::Away { last: error },
            false => WriteError::Fatal(error),
        }
    }
}

/// What an error means that came for as long as a call tries.
pub(super) fn given_up(error: Error, statement: Option<usize>) -> WriteError {
    match (error.for_good(statement.is_some()), statement) {
        (error @ Error::Data(_), Some(statement)) => WriteError::Data { statement, error },
        (error @ (Error::Fatal(_) | Error::Login(_)), _) => WriteError::Fatal(error),
        // Its transaction had found the checkpoint where the batch begins.
        (last, Some(_)) if last.is_about_size() => WriteError::Slow { last },
        (last, _) => WriteError::Away { last },
    }
}
