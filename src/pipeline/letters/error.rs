//! Why rows are neither in the graph nor set aside.

use super::super::{Failure, Verdict};

/// Why a row is neither written nor set aside.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotSetAside {
    /// So many rows are set aside that something else than a row must be wrong.
    #[error(
        "{rows} rows are set aside as dead letters, and limits.dead_letters allows no more. The next one is {row}: \
         {error}. `wal2graph dead-letters list` shows the others. If they are few, raise limits.dead_letters and \
         start again: the log brings this row again, also after its table is mended. If they are many, mend what is \
         wrong with all of them first"
    )]
    TooMany {
        /// How many.
        rows: usize,
        /// The next one: its table and key.
        row: String,
        /// Why it is refused.
        error: String,
    },
    /// A value is larger than may be.
    #[error(
        "{row}: {reason}. Raise the limit if Neo4j has the memory for several times as much, leave the column out \
         (`properties: {{exclude: [...]}}`), or set such rows aside (`on_error: park`)"
    )]
    TooLarge {
        /// The row: its table, and its key.
        row: String,
        /// Which value of which size.
        reason: String,
    },
}

impl Failure for NotSetAside {
    fn verdict(&self) -> Verdict {
        Verdict::Stop
    }

    fn without_values(&self) -> String {
        match self {
            NotSetAside::TooMany { rows, .. } => {
                format!(
                    "{rows} rows are set aside as dead letters, and limits.dead_letters allows no more"
                )
            }
            NotSetAside::TooLarge { reason, .. } => format!("a row can not be written: {reason}"),
        }
    }
}

/// Why rows are not in the graph.
#[derive(Debug)]
pub enum NotWritten<E> {
    /// The graph does not take them.
    Write(E),
    /// One is not taken, and not set aside.
    Row(NotSetAside),
}

impl<E> From<E> for NotWritten<E> {
    fn from(error: E) -> Self {
        NotWritten::Write(error)
    }
}
