//! What is found of tables, for people.

use std::fmt;

use crate::{catalog::TableName, shown::Shown};

/// How many changes a text names.
const NAMED_MAX: usize = 5;

/// Something that was found of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The table.
    pub table: TableName,
    /// What.
    pub what: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Shown(&self.table.in_file()), self.what)
    }
}

/// Changes for people, on one line.
pub fn listed(changes: &[impl fmt::Display]) -> String {
    let named = changes.iter().take(NAMED_MAX).map(ToString::to_string);
    let mut text = named.collect::<Vec<_>>().join("; ");
    if changes.len() > NAMED_MAX {
        text.push_str(&format!("; and {} more", changes.len() - NAMED_MAX));
    }
    text
}
