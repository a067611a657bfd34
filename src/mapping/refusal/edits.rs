//! Edits of the file that fit nothing in the tables.

use crate::{
    catalog::{ForeignKey, Table, TableName},
    shown::{Shown, shown_list},
};

use super::super::naming;
use super::fixes::{ONLY_SKIP, suggestion};

/// Why an edit means nothing, with the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditRefusal {
    /// The file says of a pattern what only one table can have.
    #[error("{}: {ONLY_SKIP}", Shown(.pattern))]
    Pattern {
        /// The key in the file.
        pattern: String,
    },
    /// The key of an edit is neither a foreign key nor a column.
    #[error(
        "{table}: `relationships` names {name:?}, and the table has no such foreign key and no such column{}; or give \
         it `columns` and `to`, for a relationship without a foreign key",
        suggestion(.nearest)
    )]
    UnknownReference {
        /// The table.
        table: TableName,
        /// The key in the file.
        name: String,
        /// The probable intention.
        nearest: Option<String>,
    },
    /// No foreign key has the column.
    #[error(
        "{table}: `relationships` names {name:?}, and no foreign key has it. Give it `to`, the target's table; or \
         take it out"
    )]
    NoForeignKey {
        /// The table.
        table: TableName,
        /// The key in the file.
        name: String,
    },
    /// Several foreign keys have the column.
    #[error(
        "{table}: `relationships` names {name:?}, and several foreign keys have it. Name one of them in its place: {}",
        shown_list(.constraints)
    )]
    SeveralForeignKeys {
        /// The table.
        table: TableName,
        /// The key in the file.
        name: String,
        /// The foreign keys.
        constraints: Vec<String>,
    },
    /// The ends of a join table are not clear.
    #[error(
        "{table}: `relationship` does not say what it joins, and the table has not just two foreign keys. Give it \
         `from` and `to`"
    )]
    EndsUnknown {
        /// The table.
        table: TableName,
    },
}

impl EditRefusal {
    /// Nothing in the table has the name.
    pub(in crate::mapping) fn unknown_reference(
        table: &Table,
        keys: &[&ForeignKey],
        name: &str,
    ) -> Self {
        let columns = table.columns.iter().map(|column| column.name.as_str());
        let known = keys.iter().map(|key| key.name.as_str()).chain(columns);
        let nearest = naming::nearest(name, known).map(str::to_owned);
        EditRefusal::UnknownReference { table: table.name.clone(), name: name.to_owned(), nearest }
    }
}
