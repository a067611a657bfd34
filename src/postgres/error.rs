//! Why rows of a table could not be read.

use std::time::Duration;

use crate::{
    catalog::TableName,
    copy::ParseSnapshotError,
    lsn::Lsn,
    mapping::TranslateError,
    pipeline::{Failure, Verdict},
};

use super::connect::{describe, describe_without_values, is_transient};

/// Why a chunk could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The server refused, or the connection broke.
    #[error("copy of {table}: {}", describe(.source))]
    Sql {
        /// The table.
        table: TableName,
        /// What the server said.
        source: tokio_postgres::Error,
    },
    /// The server does not take a key's text for a value of its type. The next search does without.
    #[error("copy of {table}: {}", describe(.source))]
    NoText {
        /// The table.
        table: TableName,
        /// What the server said.
        source: tokio_postgres::Error,
    },
    /// A row does not fit the mapping.
    #[error("copy: {0}")]
    Translate(#[from] TranslateError),
    /// The server's COPY text is malformed.
    #[error("copy of {table}: a row has {found} columns instead of {expected}")]
    Columns {
        /// The table.
        table: TableName,
        /// The columns selected.
        expected: usize,
        /// The columns that came.
        found: usize,
    },
    /// The server's snapshot is malformed.
    #[error(transparent)]
    Snapshot(#[from] ParseSnapshotError),
    /// The log is not flushed.
    #[error("the source's log was not flushed through {lsn} for {s} s", s = .waited.as_secs())]
    NotFlushed {
        /// The position that a snapshot may have seen commits up to.
        lsn: Lsn,
        /// For how long.
        waited: Duration,
    },
}

impl Failure for ReadError {
    fn verdict(&self) -> Verdict {
        match self {
            ReadError::Sql { source, .. } => Verdict::again_if(is_transient(source)),
            ReadError::NoText { .. } | ReadError::NotFlushed { .. } => Verdict::Again,
            _ => Verdict::Stop,
        }
    }

    fn without_values(&self) -> String {
        match self {
            ReadError::Sql { table, source } | ReadError::NoText { table, source } => {
                format!("copy of {table}: {}", describe_without_values(source))
            }
            _ => self.to_string(),
        }
    }
}
