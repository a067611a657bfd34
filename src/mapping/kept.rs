//! The names that a graph has, so that inference keeps them.
//!
//! ```text
//! first start:  inference --> Names of each table, kept with the checkpoint
//! next starts:  Kept + catalog + file --> the same names, whatever tables are there beside
//! ```
//!
//! A name of one table depends on the others: two of one name are told apart. So a table that comes later could
//! rename one that is there. A name is kept as long as the table keeps its name, and the file its rules for
//! names. What the file itself names is not kept: taken out of the file, it is inferred.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::edit::NamingEdit;

/// The names of the tables of a graph, by object id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    tables: BTreeMap<u32, Had>,
}

/// What the graph has of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Had {
    /// The table's name at that time, as in a file.
    table: String,
    /// Its inferred names; `None`: an earlier build has kept none.
    names: Option<Names>,
}

/// The inferred names of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// The file's rules for names at that time; `None`: it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rules: Option<NamingEdit>,
    /// The label of its nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The types of its relationships, by columns and target. The one of a join table is by nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    types: BTreeMap<String, String>,
}

impl Kept {
    /// Adds a table of the graph. Of several checkpoints, one may be of an earlier build.
    pub fn add(&mut self, oid: u32, table: String, names: Option<Names>) {
        let is_known = self.tables.get(&oid).is_some_and(|had| had.names.is_some());
        if names.is_some() || !is_known {
            self.tables.insert(oid, Had { table, names });
        }
    }

    /// The names of a table that hold under these rules.
    pub(super) fn names(&self, oid: u32, table: &str, rules: &NamingEdit) -> Option<&Names> {
        let had = self.tables.get(&oid).filter(|had| had.table == table)?;
        let of_rules =
            |names: &&Names| names.rules.as_ref().unwrap_or(&NamingEdit::default()) == rules;
        had.names.as_ref().filter(of_rules)
    }

    /// Whether an earlier build has named the table, and kept no name.
    pub(super) fn is_earlier(&self, oid: u32) -> bool {
        self.tables.get(&oid).is_some_and(|had| had.names.is_none())
    }
}

impl Names {
    pub(super) fn under(rules: &NamingEdit) -> Self {
        let rules = (*rules != NamingEdit::default()).then(|| rules.clone());
        Names { rules, ..Names::default() }
    }

    /// The type of a relationship by columns.
    pub(super) fn reference(&self, columns: &[String], target: &str) -> Option<&String> {
        self.types.get(&place(columns, target))
    }

    pub(super) fn add_reference(&mut self, columns: &[String], target: &str, name: &str) {
        self.types.insert(place(columns, target), name.to_owned());
    }

    /// The type of a join table's relationships.
    pub(super) fn join(&self) -> Option<&String> {
        self.types.get("")
    }

    pub(super) fn add_join(&mut self, name: &str) {
        self.types.insert(String::new(), name.to_owned());
    }
}

fn place(columns: &[String], target: &str) -> String {
    format!("{} > {target}", columns.join(", "))
}
