//! What is not as it was in tables and their publication.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::shown::{Shown, shown_list};

/// What is not as it was. Tables and partitions are named as the file has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// Another table has the name.
    OtherTable {
        /// The table.
        table: String,
        /// The object id that it had.
        was: u32,
        /// The object id that it has.
        is: u32,
    },
    /// Another column has the name.
    OtherColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The number that it had.
        was: i16,
        /// The number that it has.
        is: i16,
    },
    /// Changes of the table did not come.
    Unpublished {
        /// The table.
        table: String,
        /// The publication has it again.
        is_back: bool,
    },
    /// Some operations did not come.
    Operations {
        /// The publication.
        publication: String,
    },
    /// It may have lacked some operations, or the names of partitioned tables, for a while.
    Altered {
        /// The publication.
        publication: String,
    },
    /// There is none of the name, or another one.
    Publication {
        /// The publication.
        publication: String,
        /// The object id that it had.
        was: u32,
        /// The object id that it has.
        is: Option<u32>,
    },
    /// Changes of the key did not come as such.
    Identity {
        /// The table.
        table: String,
        /// One of its partitions.
        partition: String,
        /// What that one's replica identity carries.
        columns: Vec<String>,
    },
}

impl Difference {
    /// Whether the other one says the same, and more.
    pub(super) fn is_undone_by(&self, other: &Difference) -> bool {
        match (self, other) {
            (
                Difference::Unpublished { table, is_back: false },
                Difference::Unpublished { table: of, .. },
            ) => table == of,
            (Difference::Publication { is: None, .. }, Difference::Publication { .. }) => true,
            _ => false,
        }
    }
}

impl Difference {
    /// What was done, where a comparison mends what it has led to.
    pub fn what(&self) -> String {
        let text = self.to_string();
        text.strip_suffix(&format!(": {LOST}")).unwrap_or(&text).to_owned()
    }
}

/// What a change of the publication leads to, while nobody compares.
const LOST: &str = "what changed meanwhile is not in the graph";

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::OtherTable { table, was, is } => write!(
                f,
                "the table {} is another one than the graph has (object id {is}, it was {was}): it was dropped and \
                 made again, or another table took its name",
                Shown(table)
            ),
            Difference::OtherColumn { table, column, was, is } => write!(
                f,
                "the column {} of the table {} is another one than the graph has (number {is}, it was {was}): it was \
                 dropped and made again, or another column took its name",
                Shown(column),
                Shown(table)
            ),
            Difference::Unpublished { table, is_back: true } => write!(
                f,
                "the table {} was taken out of the publication and put back, or its row filter or column list was \
                 changed: {LOST}",
                Shown(table)
            ),
            Difference::Unpublished { table, is_back: false } => {
                write!(f, "the table {} was taken out of the publication: {LOST}", Shown(table))
            }
            Difference::Operations { publication } => write!(
                f,
                "the publication {publication:?} did not have all of INSERT, UPDATE, DELETE and TRUNCATE: {LOST}"
            ),
            Difference::Altered { publication } => write!(
                f,
                "the publication {publication:?} was altered, and may have left out changes for a while: {LOST}"
            ),
            Difference::Publication { publication, is: Some(_), .. } => {
                write!(f, "the publication {publication:?} was dropped and made again: {LOST}")
            }
            Difference::Publication { publication, is: None, .. } => {
                write!(f, "the publication {publication:?} was dropped: {LOST}")
            }
            Difference::Identity { table, partition, columns } => write!(
                f,
                "the replica identity of {}, a partition of {}, was not its key but ({}): {LOST}",
                Shown(partition),
                Shown(table),
                shown_list(columns)
            ),
        }
    }
}
