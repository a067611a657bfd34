//! What the file says of tables that change, and what a pause says.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    catalog::TableName,
    mapping::{edit::SchemaChanges, said_of},
};

/// What the file says of tables that change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Of all that it does not name.
    pub all: SchemaChanges,
    /// By the name that tables have in the file, or by a pattern of names.
    pub tables: BTreeMap<String, SchemaChanges>,
    /// Of those that are dropped.
    pub dropped: Dropped,
}

/// What becomes of the rows of a table that is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dropped {
    /// What happens to other changes happens to this one.
    #[default]
    AsOthers,
    /// They leave the graph, also where other changes pause the table.
    Clear,
    /// They stay as they are.
    Keep,
}

impl Rules {
    /// Of a table. `is` is its name now, if it has another one.
    pub fn of(&self, was: &TableName, is: Option<&TableName>) -> SchemaChanges {
        let named = |name: &TableName| said_of(&self.tables, &name.in_file()).copied();
        is.and_then(named).or_else(|| named(was)).unwrap_or(self.all)
    }

    /// Whether a table may be paused at all.
    pub fn may_pause(&self) -> bool {
        let pauses = |changes: &SchemaChanges| *changes == SchemaChanges::Pause;
        pauses(&self.all) || self.tables.values().any(pauses) || self.dropped == Dropped::Keep
    }

    /// Whether the graph follows at least some tables.
    pub fn follow(&self) -> bool {
        let follows = |changes: &SchemaChanges| *changes != SchemaChanges::Stop;
        follows(&self.all) || self.tables.values().any(follows)
    }
}

/// Why a table is paused, and what lets it go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Paused {
    /// What differs.
    pub why: Vec<String>,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Paused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.why.join("; "), self.fix)
    }
}

/// Tables that are paused, by object id.
pub type Pauses = BTreeMap<u32, Paused>;
