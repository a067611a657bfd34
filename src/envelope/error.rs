//! Why a change can not become records.

use crate::catalog::TableName;

/// Why a change can not be encoded. Each is definite: the same change fails again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A row whose key was not sent.
    #[error(
        "{table}: a change does not carry key column {column:?}. Give the table a replica identity \
         that does: ALTER TABLE {} REPLICA IDENTITY DEFAULT (or USING INDEX)",
        .table.pasteable()
    )]
    KeyNotSent {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// A DELETE without an old row.
    #[error(
        "{table}: a DELETE does not say which row. Give the table a replica identity: ALTER TABLE \
         {} REPLICA IDENTITY DEFAULT (or USING INDEX)",
        .table.pasteable()
    )]
    NoOldRow {
        /// The table.
        table: TableName,
    },
}
