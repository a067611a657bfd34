//! Inference fills in every field that the file omits, from the catalog.
//!
//! ```text
//! Catalog + Edits --> keys --> shapes (node, join table) --> labels --> relationships --> edits
//! ```
//!
//! The result is again a set of edits. So the program can write an inferred mapping as a file and
//! read it back, without a second form. Each step uses only the earlier steps' decisions about
//! *all* tables, so the order of the tables does not matter.

mod joins;
mod labels;
mod references;
mod tables;

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{Catalog, ForeignKey, Table, TableName};

use super::edit::{Edits, NamingEdit, TableEdit};
use super::kept::Names;
use super::naming::Naming;
use super::refusal::Refusal;
use super::singular::Words;
use super::warning::Warning;

pub(super) use joins::two_ends;

/// Complete edits: for every table in it the key, and the label and relationships, or the
/// relationship.
pub(super) struct Inferred {
    pub tables: BTreeMap<TableName, TableEdit>,
    /// The names in them that the file does not have.
    pub names: BTreeMap<TableName, Names>,
    pub warnings: Vec<Warning>,
    pub refusals: Vec<Refusal>,
}

/// Fills in the fields that the file omits.
pub(super) fn infer(catalog: &Catalog, edits: &Edits) -> Inferred {
    let mut inference = Inference {
        catalog,
        edits,
        tables: BTreeMap::new(),
        further: BTreeMap::new(),
        names: BTreeMap::new(),
        warnings: Vec::new(),
        refusals: Vec::new(),
    };
    inference.choose_tables();
    inference.choose_properties();
    inference.choose_shapes();
    inference.choose_labels();
    inference.choose_relationships();
    inference.correct_partitions();
    let Inference { tables, names, warnings, refusals, .. } = inference;
    Inferred { tables, names, warnings, refusals }
}

/// Each foreign key that is an equality, once. A second one between the same columns adds nothing.
/// The strictest stays.
pub(super) fn foreign_keys(table: &Table) -> Vec<&ForeignKey> {
    let mut kept: Vec<&ForeignKey> = Vec::new();
    for key in table.foreign_keys.iter().filter(|key| !key.period) {
        match kept.iter_mut().find(|other| says_the_same(other, key)) {
            Some(other) if is_strict(key) && !is_strict(other) => *other = key,
            Some(_) => {}
            None => kept.push(key),
        }
    }
    kept
}

fn says_the_same(one: &ForeignKey, other: &ForeignKey) -> bool {
    one.target == other.target && pairs(one) == pairs(other)
}

/// Whether the source checks the foreign key at every statement.
pub(super) fn is_strict(key: &ForeignKey) -> bool {
    key.validated && !key.deferrable
}

/// The pairs of columns, without order.
pub(super) fn pairs(key: &ForeignKey) -> BTreeSet<(&str, &str)> {
    let columns = key.columns.iter().map(String::as_str);
    columns.zip(key.target_columns.iter().map(String::as_str)).collect()
}

/// The names as a set: the columns of keys are compared without their order.
pub(super) fn set<S: AsRef<str>>(names: &[S]) -> BTreeSet<&str> {
    names.iter().map(AsRef::as_ref).collect()
}

struct Inference<'a> {
    catalog: &'a Catalog,
    edits: &'a Edits,
    tables: BTreeMap<TableName, TableEdit>,
    /// Further labels that patterns give, if the table's rows are nodes.
    further: BTreeMap<TableName, Vec<String>>,
    names: BTreeMap<TableName, Names>,
    warnings: Vec<Warning>,
    refusals: Vec<Refusal>,
}

impl<'a> Inference<'a> {
    fn is_node(&self, name: &TableName) -> bool {
        self.tables.get(name).is_some_and(|edit| edit.relationship.is_none())
    }

    fn key(&self, name: &TableName) -> &[String] {
        self.tables.get(name).and_then(|edit| edit.key.as_deref()).unwrap_or_default()
    }

    fn table_named(&self, name: &str) -> Option<&'a Table> {
        self.catalog.tables.iter().find(|table| table.name.in_file() == name)
    }

    fn rules(&self) -> &'a NamingEdit {
        &self.edits.defaults.naming
    }

    /// What names of a table are made by.
    fn naming(&self, table: &Table) -> Naming<'a> {
        let is_earlier = self.edits.kept.is_earlier(table.oid);
        let words = match is_earlier && *self.rules() == NamingEdit::default() {
            true => Words::Earlier,
            false => Words::All,
        };
        Naming { rules: self.rules(), words }
    }

    /// The names that the graph has of a table.
    fn kept(&self, table: &Table) -> Option<&'a Names> {
        self.edits.kept.names(table.oid, &table.name.in_file(), self.rules())
    }

    /// The inferred names of a table, to be kept.
    fn named(&mut self, table: &TableName) -> &mut Names {
        let rules = self.rules();
        self.names.entry(table.clone()).or_insert_with(|| Names::under(rules))
    }
}
