//! Why a change can not become an event of the graph.

use crate::catalog::TableName;
use crate::change::Sent;

/// Why a change can not be translated. The same change fails again, unless the table is looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TranslateError {
    /// The table has another shape than when it was looked at.
    #[error("{table}: its columns or its name have changed")]
    Reshaped {
        /// The table.
        table: TableName,
    },
    /// The change is older than the look at the table, of a shape that is not known.
    #[error("{table}: a change came in a form that the table had for a while")]
    Unexplained {
        /// The table.
        table: TableName,
        /// The form.
        sent: Sent,
    },
    /// The stream lacks a column of the key.
    #[error(
        "{table}: its changes come without key column {column:?}: it was dropped or renamed, or \
         the publication's column list leaves it out. The log keeps how the changes came, so that \
         bringing the column back does not help: see that `wal2graph plan` shows the key that you \
         want"
    )]
    KeyColumnMissing {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// A change of the key would not be seen any more.
    #[error(
        "{table}: its replica identity no longer carries key column {column:?}, so a change of \
         the key would be lost. The log keeps how the changes came: first run ALTER TABLE {} REPLICA \
         IDENTITY DEFAULT, or correct the table's `key`",
        .table.pasteable()
    )]
    KeyNotIdentity {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// A mapped table goes by another name now.
    #[error(
        "{table}: it is called {renamed} now. The log keeps the changes under both names, so that \
         renaming it back does not help: first put the new name in place of the old one in `tables`, if \
         it is there"
    )]
    Renamed {
        /// The table as it is mapped.
        table: TableName,
        /// Its name now.
        renamed: TableName,
    },
    /// A row without a key.
    #[error(
        "{table}: a change has NULL in key column {column:?}. Declare the column NOT NULL, or use \
         another `key`. If it is NOT NULL, the replica identity of {table}, or of a partition of it, \
         does not carry the column: `wal2graph plan` names it with the statement that helps \
         (ALTER TABLE ... REPLICA IDENTITY DEFAULT); the log keeps how the change came"
    )]
    KeyIsNull {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// A row whose key was not sent.
    #[error(
        "{table}: a change does not carry key column {column:?}, which is in the table's key now: \
         the change is from before that, and the log keeps how it came. A copy of now has the \
         column"
    )]
    KeyNotSent {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// A DELETE without an old row.
    #[error(
        "{table}: a DELETE does not say which row. Give the table a replica identity (ALTER TABLE {} \
         REPLICA IDENTITY DEFAULT). The log keeps how the change came",
        .table.pasteable()
    )]
    NoOldRow {
        /// The table.
        table: TableName,
    },
    /// A join row whose end can be no row's key.
    #[error(
        "{table}: the value of {column:?} can be no key of the table that it refers to. Correct the \
         row, or give the table a `label` to make it nodes, which may refer to nothing"
    )]
    NoKey {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
}

impl TranslateError {
    /// Whether the change itself can not be read.
    pub(super) fn is_of_a_change(&self) -> bool {
        !matches!(self, TranslateError::Reshaped { .. } | TranslateError::Unexplained { .. })
    }

    /// Whether the table has to be looked at before the change can be translated.
    pub fn is_reshaped(&self) -> bool {
        !self.is_of_a_change()
    }

    /// The table that the error is about.
    pub fn table(&self) -> &TableName {
        match self {
            TranslateError::Reshaped { table }
            | TranslateError::Unexplained { table, .. }
            | TranslateError::KeyColumnMissing { table, .. }
            | TranslateError::KeyNotIdentity { table, .. }
            | TranslateError::Renamed { table, .. }
            | TranslateError::KeyIsNull { table, .. }
            | TranslateError::KeyNotSent { table, .. }
            | TranslateError::NoOldRow { table }
            | TranslateError::NoKey { table, .. } => table,
        }
    }
}
