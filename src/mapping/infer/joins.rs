//! The tables whose rows are relationships, and what those join.

use std::collections::BTreeSet;

use crate::catalog::{ForeignKey, Table, TableName};

use super::super::edit::{EndEdit, RelationshipEdit};
use super::super::refusal::{EditRefusal, Refusal};
use super::super::{
    naming::Between,
    warning::{Warning, WhyLeftOut},
};
use super::{Inference, foreign_keys, set};

impl Inference<'_> {
    /// Step 2: the join tables.
    pub(super) fn choose_shapes(&mut self) {
        let referred = self.referred();
        let names: Vec<TableName> = self.tables.keys().cloned().collect();
        for name in names {
            let edit = &self.tables[&name];
            let edited_as_node =
                edit.label.is_some() || edit.relationships.is_some() || !edit.labels.is_empty();
            if edit.relationship.is_some() && edited_as_node {
                self.refusals.push(Refusal::NodeAndRelationship { table: name.clone() });
            }
            match &edit.relationship {
                Some(edit) => self.complete_join(&name, edit.clone()),
                None if edited_as_node || referred.contains(&name) => {}
                None => self.try_join(&name),
            }
        }
    }

    /// The tables that a foreign key of the catalog or a relationship of the file refers to.
    fn referred(&self) -> BTreeSet<TableName> {
        let constraints = self.catalog.tables.iter().flat_map(|table| &table.foreign_keys);
        let by_constraint = constraints.map(|key| key.target.clone());
        let edited = self.tables.values().flat_map(|edit| {
            let ends = edit.relationship.iter().flat_map(|it| it.from.iter().chain(&it.to));
            let targets = edit.relationships.iter().flat_map(|it| it.targets());
            targets.chain(ends.map(|end| end.to.clone()))
        });
        let by_edit = edited.filter_map(|name| self.table_named(&name).map(|it| it.name.clone()));
        by_constraint.chain(by_edit).collect()
    }

    fn try_join(&mut self, name: &TableName) {
        let Some(table) = self.catalog.table(name) else { return };
        let Some(ends) = join_ends(table).filter(|ends| {
            let joined: Vec<&String> = ends.iter().flat_map(|end| &end.columns).collect();
            set(&joined) == set(self.key(name))
        }) else {
            return;
        };
        if let Some(absent) = ends.iter().find(|end| !self.is_node(&end.target)) {
            let why = WhyLeftOut::EndLeftOut { target: absent.target.clone() };
            self.tables.remove(name);
            self.warnings.push(Warning::LeftOut { table: name.clone(), why });
            return;
        }
        if !ends.iter().all(|end| set(&end.target_columns) == set(self.key(&end.target))) {
            return;
        }
        self.warn_beside(table, ends.map(|end| end.name.as_str()));
        let [from, to] = ends.map(|end| self.end(end));
        let relationship_type = self.join_type(table, [&from, &to]);
        if let Some(edit) = self.tables.get_mut(name) {
            let relationship_type = Some(relationship_type);
            edit.relationship =
                Some(RelationshipEdit { relationship_type, from: Some(from), to: Some(to) });
        }
    }

    /// The type that the graph has; else the one of the table's name.
    fn join_type(&mut self, table: &Table, ends: [&EndEdit; 2]) -> String {
        let name = match self.kept(table).and_then(|names| names.join()) {
            Some(kept) => kept.clone(),
            None => {
                let [from, to] = ends.map(|end| self.table_named(&end.to).map(|it| &it.name));
                let own = &table.name;
                let between = Between { table: from.unwrap_or(own), target: to.unwrap_or(own) };
                self.naming(table).type_of_join(own, between)
            }
        };
        self.named(&table.name).add_join(&name);
        name
    }

    /// What the file does not say of a join table.
    fn complete_join(&mut self, name: &TableName, edit: RelationshipEdit) {
        let Some(table) = self.catalog.table(name) else { return };
        let both = match (edit.from, edit.to) {
            (Some(from), Some(to)) => Some((from, to)),
            (None, None) => two_ends(table).map(|[from, to]| (self.end(from), self.end(to))),
            (Some(from), None) => self.other_end(table, &from).map(|to| (from, to)),
            (None, Some(to)) => self.other_end(table, &to).map(|from| (from, to)),
        };
        if both.is_none() {
            self.refusals.push(EditRefusal::EndsUnknown { table: name.clone() }.into());
        }
        let complete = both.map(|(from, to)| {
            let relationship_type = match edit.relationship_type {
                Some(given) => given,
                None => self.join_type(table, [&from, &to]),
            };
            let relationship_type = Some(relationship_type);
            RelationshipEdit { relationship_type, from: Some(from), to: Some(to) }
        });
        if let Some(edit) = self.tables.get_mut(name) {
            edit.relationship = complete;
        }
    }

    fn other_end(&self, table: &Table, known: &EndEdit) -> Option<EndEdit> {
        let ends = two_ends(table)?;
        let is_known = |end: &&ForeignKey| set(&end.columns) == set(&known.columns);
        let others: Vec<&ForeignKey> = ends.into_iter().filter(|end| !is_known(end)).collect();
        let [other] = others[..] else { return None };
        Some(self.end(other))
    }

    fn end(&self, key: &ForeignKey) -> EndEdit {
        let (columns, to_columns) = self.in_key_order(key);
        EndEdit { columns, to: key.target.in_file(), to_columns }
    }

    /// Warns of foreign keys that are no end: a relationship owns none.
    fn warn_beside(&mut self, table: &Table, ends: [&str; 2]) {
        let of_period = table.foreign_keys.iter().filter(|key| key.period);
        for key in foreign_keys(table).into_iter().chain(of_period) {
            if !ends.contains(&key.name.as_str()) {
                let (table, constraint) = (table.name.clone(), key.name.clone());
                self.warnings.push(Warning::JoinTableReference { table, constraint });
            }
        }
    }
}

/// The two foreign keys that make up a join table's primary key, in its order.
fn join_ends(table: &Table) -> Option<[&ForeignKey; 2]> {
    let primary = &table.primary_key.as_ref()?.columns;
    let within = |key: &&ForeignKey| key.columns.iter().all(|column| primary.contains(column));
    let ends: Vec<&ForeignKey> = foreign_keys(table).into_iter().filter(within).collect();
    let [first, second]: [&ForeignKey; 2] = in_order(ends, primary).try_into().ok()?;
    let (one, other) = (set(&first.columns), set(&second.columns));
    let whole = &one | &other == set(primary);
    (whole && !one.is_subset(&other) && !other.is_subset(&one)).then_some([first, second])
}

/// The ends of a table that the file makes a join table: its only two foreign keys, in the order of its columns. One
/// that is within another, as a tenant's, does not count.
pub fn two_ends(table: &Table) -> Option<[&ForeignKey; 2]> {
    if let Some(ends) = join_ends(table) {
        return Some(ends);
    }
    let keys = foreign_keys(table);
    let is_within = |key: &ForeignKey| {
        let columns = set(&key.columns);
        let contains = |other: &ForeignKey| {
            other.columns.len() > columns.len() && columns.is_subset(&set(&other.columns))
        };
        keys.iter().any(|other| contains(other))
    };
    let ends: Vec<&ForeignKey> = keys.iter().filter(|key| !is_within(key)).copied().collect();
    let order: Vec<String> = table.columns.iter().map(|column| column.name.clone()).collect();
    in_order(ends, &order).try_into().ok()
}

/// The foreign keys by where their columns are in a list.
fn in_order<'a>(mut keys: Vec<&'a ForeignKey>, columns: &[String]) -> Vec<&'a ForeignKey> {
    let place = |key: &ForeignKey| {
        let places = columns.iter().enumerate().filter(|(_, column)| key.columns.contains(column));
        places.map(|(place, _)| place).collect::<Vec<usize>>()
    };
    keys.sort_by_key(|key| place(key));
    keys
}
