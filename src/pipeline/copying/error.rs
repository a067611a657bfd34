//! Why a copy stops.

use crate::shown::{Shown, shown_list};

use super::super::{Failure, NotSetAside, Verdict, letters::NotWritten};

/// The reason why a copy stopped.
#[derive(Debug, thiserror::Error)]
pub enum CopyError<R: std::error::Error + 'static, W: std::error::Error + 'static> {
    /// The source can not be read.
    #[error(transparent)]
    Read(R),
    /// The graph can not be written.
    #[error(transparent)]
    Write(W),
    /// A row is neither written nor set aside.
    #[error("copy of {0}")]
    Row(NotSetAside),
    /// Incomplete rows do not exist in the source.
    #[error(
        "copy of {table}: {rows} of its nodes or relationships lack values, and the table has no row with the same \
         {key}. If somebody else has changed the graph, `wal2graph repair` removes them. Otherwise the key is not read \
         back from the graph as it was written: please report its type. To go on without the table, leave it out \
         with `skip: true`",
        table = Shown(.table), key = shown_list(.key)
    )]
    NotFound {
        /// The table.
        table: String,
        /// The names of the key's properties in the graph.
        key: Vec<String>,
        /// How many rows.
        rows: usize,
    },
}

impl<R: Failure, W: Failure> Failure for CopyError<R, W> {
    fn verdict(&self) -> Verdict {
        match self {
            CopyError::Read(error) => error.verdict(),
            CopyError::Write(error) => error.verdict(),
            CopyError::Row(_) | CopyError::NotFound { .. } => Verdict::Stop,
        }
    }

    fn within(&self) -> Option<&dyn Failure> {
        match self {
            CopyError::Read(error) => Some(error),
            CopyError::Write(error) => Some(error),
            CopyError::Row(error) => Some(error),
            CopyError::NotFound { .. } => None,
        }
    }

    /// A copy goes on by reading the rows as they are by then.
    fn needs_copy(&self) -> bool {
        false
    }
}

impl<R: Failure, W: Failure> From<NotWritten<W>> for CopyError<R, W> {
    fn from(error: NotWritten<W>) -> Self {
        match error {
            NotWritten::Write(error) => CopyError::Write(error),
            NotWritten::Row(error) => CopyError::Row(error),
        }
    }
}
