//! Events of a translation that did not stop it, collected so that the caller can count and log
//! them.

use std::{collections::BTreeSet, fmt};

use crate::catalog::TableName;

use super::columns::TableColumns;

/// Something in the stream that the mapping covers only in part. Names and counts, never values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Notice {
    /// The translator skipped changes of an unmapped table. Once for each table.
    UnmappedTable {
        /// The table.
        table: TableName,
    },
    /// A table has unmapped columns, maybe newer than the mapping. Once for each column.
    ExtraColumn {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// The stream does not carry a mapped column, or no longer does; its property stays as it is.
    /// Once for each column.
    MissingColumn {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// A column's type has changed since the mapping was compiled; the translator reads it as
    /// before. Once for each column.
    TypeChanged {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// Values became text, because Neo4j can not hold them as their column's type.
    Fallback {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// How many since the last time.
        count: u64,
    },
    /// References had values that no target row can have; they became no relationship.
    NoTarget {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// How many since the last time.
        count: u64,
    },
    /// A reference of several columns changed in part, while the stream did not carry another part;
    /// its relationship stays as it is.
    PartlyUnchanged {
        /// The table.
        table: TableName,
        /// The column that was not sent.
        column: String,
        /// How many since the last time.
        count: u64,
    },
}

impl Notice {
    /// The count since the last report, for counted notices.
    pub fn count_mut(&mut self) -> Option<&mut u64> {
        match self {
            Notice::Fallback { count, .. }
            | Notice::NoTarget { count, .. }
            | Notice::PartlyUnchanged { count, .. } => Some(count),
            Notice::UnmappedTable { .. }
            | Notice::ExtraColumn { .. }
            | Notice::MissingColumn { .. }
            | Notice::TypeChanged { .. } => None,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::UnmappedTable { table } => {
                write!(f, "{table}: changes of a table that is not mapped are passed over")
            }
            Notice::ExtraColumn { table, column } => {
                write!(f, "{table}: column {column:?} is not mapped")
            }
            Notice::MissingColumn { table, column } => {
                write!(f, "{table}: column {column:?} does not come; its property is left alone")
            }
            Notice::TypeChanged { table, column } => {
                write!(f, "{table}: column {column:?} has another type; it is read as before")
            }
            Notice::Fallback { table, column, count } => {
                write!(f, "{table}: {count} values of column {column:?} were kept as text")
            }
            Notice::NoTarget { table, column, count } => {
                write!(f, "{table}: {count} values of column {column:?} can be no row's key")
            }
            Notice::PartlyUnchanged { table, column, count } => write!(
                f,
                "{table}: {count} references were left alone, for column {column:?} was not sent; \
                 REPLICA IDENTITY FULL sends it"
            ),
        }
    }
}

/// Notices that the caller has not taken yet. Counting what can come with every row needs no
/// allocation.
#[derive(Clone, Debug, Default)]
pub(super) struct Notices {
    told: BTreeSet<Notice>,
    new: Vec<Notice>,
    counts: Vec<Vec<Counts>>,
}

/// The counts of one column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub fallback: u64,
    pub no_target: u64,
    pub partly_unchanged: u64,
}

impl Notices {
    pub fn new(tables: &[TableColumns]) -> Self {
        let counts = tables.iter().map(|table| vec![Counts::default(); table.columns.len()]);
        Notices { counts: counts.collect(), ..Notices::default() }
    }

    /// Adds the notice the first time only.
    pub fn once(&mut self, notice: Notice) {
        if self.told.insert(notice.clone()) {
            self.new.push(notice);
        }
    }

    /// The counts of a table's columns.
    pub fn counts(&mut self, table: usize) -> &mut [Counts] {
        &mut self.counts[table]
    }

    /// Everything since the last time.
    pub fn take(&mut self, tables: &[TableColumns]) -> Vec<Notice> {
        let mut notices = std::mem::take(&mut self.new);
        for (table, counts) in tables.iter().zip(&mut self.counts) {
            for (column, counts) in table.columns.iter().zip(counts) {
                let Counts { fallback, no_target, partly_unchanged } = std::mem::take(counts);
                let place = || (table.name.clone(), column.name.clone());
                if fallback > 0 {
                    let (table, column) = place();
                    notices.push(Notice::Fallback { table, column, count: fallback });
                }
                if no_target > 0 {
                    let (table, column) = place();
                    notices.push(Notice::NoTarget { table, column, count: no_target });
                }
                if partly_unchanged > 0 {
                    let (table, column) = place();
                    let count = partly_unchanged;
                    notices.push(Notice::PartlyUnchanged { table, column, count });
                }
            }
        }
        notices
    }
}
