//! The labels of node tables.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{Table, TableName};

use super::super::naming::{self, Naming};
use super::Inference;

/// The schema whose tables need no prefix.
const DEFAULT_SCHEMA: &str = "public";

/// A table without a label.
struct Open {
    table: TableName,
    label: String,
    /// The same from its whole name, where that is another one.
    whole: Option<String>,
}

impl Inference<'_> {
    /// Step 3: a label for each node table: the one that the graph has; else one of its name. If several schemas have
    /// the same name, labels outside `public` get the schema as a prefix.
    pub(super) fn choose_labels(&mut self) {
        // By label: the schemas that have it, and whether the file or the graph gives it to a table.
        let mut schemas: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut given: BTreeSet<String> = BTreeSet::new();
        let (mut open, mut chosen): (Vec<Open>, Vec<(TableName, String)>) = Default::default();
        let nodes = self.tables.iter().filter(|(_, edit)| edit.relationship.is_none());
        for (name, edit) in nodes {
            let Some(table) = self.catalog.table(name) else { continue };
            let kept = self.kept(table).and_then(|names| names.label.clone());
            let label = match (&edit.label, kept) {
                (Some(label), _) => label.clone(),
                (None, Some(kept)) => {
                    given.insert(kept.clone());
                    chosen.push((name.clone(), kept.clone()));
                    kept
                }
                (None, None) => {
                    open.push(self.open(table));
                    open[open.len() - 1].label.clone()
                }
            };
            schemas.entry(label).or_default().insert(name.schema.clone());
        }
        let places = open.iter().map(|it| (it.table.schema.clone(), it.label.clone()));
        let places: Vec<(String, String)> = places.collect();
        for Open { table, label, whole } in open {
            let place = (table.schema.clone(), label.clone());
            let is_twice = places.iter().filter(|it| **it == place).count() > 1;
            let is_open = table.schema != DEFAULT_SCHEMA || given.contains(&label);
            let label = match whole.filter(|_| is_twice || given.contains(&label)) {
                Some(whole) => whole,
                None if schemas[&label].len() > 1 && is_open => {
                    naming::upper_camel(&table.schema) + &label
                }
                None => label,
            };
            chosen.push((table, label));
        }
        for (table, label) in chosen {
            self.named(&table).label = Some(label.clone());
            if let Some(edit) = self.tables.get_mut(&table) {
                edit.label = Some(label);
            }
        }
        for (table, further) in std::mem::take(&mut self.further) {
            let edit = self.tables.get_mut(&table).filter(|edit| edit.relationship.is_none());
            if let Some(edit) = edit {
                edit.labels = further;
            }
        }
    }

    fn open(&self, table: &Table) -> Open {
        let naming: Naming<'_> = self.naming(table);
        let (label, whole) = (naming.label(&table.name), naming.label_of_whole(&table.name));
        let whole = (whole != label).then_some(whole);
        Open { table: table.name.clone(), label, whole }
    }
}
