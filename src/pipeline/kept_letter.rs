//! A dead letter that a graph has, as it is read.

use crate::{change::Timestamp, graph::Key};

/// A row that is set aside.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptLetter {
    /// The letter's name among those of its pipeline.
    pub name: String,
    /// The name of the log that the changes came by.
    pub log: String,
    /// The row's table, as `schema.name`.
    pub table: String,
    /// The row's key; `None` if others have changed it.
    pub key: Option<Key>,
    /// The same as people read it.
    pub shown_key: String,
    /// Why it was set aside, without values of rows.
    pub reason: String,
    /// The same in full.
    pub error: String,
    /// How often it was refused.
    pub attempts: u64,
    /// How many of its changes are set aside.
    pub changes: u64,
    /// The last of them; `None` for a row that was read from its table.
    pub last: Option<KeptChange>,
    /// Since when.
    pub at: Timestamp,
    /// When something was added to it last.
    pub updated_at: Timestamp,
}

/// A change of a row that is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptChange {
    /// `insert`, `update` or `delete`.
    pub operation: String,
    /// Where its transaction committed, as people read it.
    pub place: String,
    /// Its values by column, as JSON.
    pub values: String,
}
