//! A table's definition as it was: to be kept, to be put in the place of another one, and to say what differs.
//!
//! ```text
//! Catalog --Definition::of--> kept ... later: Catalog --with--> the same with the table as it was
//! ```

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    shown::{Shown, shown_list},
    value::{TypeFacts, TypeKind},
};

use super::{Catalog, Column, ForeignKey, Table, TableKind, TableName};

/// Object ids below this one are PostgreSQL's own: types of them need no facts.
const FIRST_OF_USERS: u32 = 16_384;

/// A table, and what it takes to understand it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    table: Table,
    /// The types of its columns, and what those are made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    types: Vec<TypeFacts>,
    /// The object ids of the tables that it refers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    targets: Vec<(TableName, u32)>,
}

impl Definition {
    /// Of a table of the catalog.
    pub fn of(table: &Table, catalog: &Catalog) -> Self {
        let targets: BTreeSet<&TableName> =
            table.foreign_keys.iter().map(|key| &key.target).collect();
        let oid = |name: &TableName| Some((name.clone(), catalog.table(name)?.oid));
        Definition {
            table: Table { estimated_rows: None, pages: 0, comment: None, ..table.clone() },
            types: used(table, catalog),
            targets: targets.into_iter().filter_map(oid).collect(),
        }
    }

    /// Whether the table's primary key is of other columns now.
    pub fn has_other_key(&self, now: &Table) -> bool {
        let numbers = |table: &Table| {
            let columns = table.primary_key.iter().flat_map(|key| &key.columns);
            columns.map(|name| table.column(name).map(|it| it.number)).collect::<Vec<_>>()
        };
        numbers(&self.table) != numbers(now)
    }

    /// What is different in the table of now, with what it was.
    pub fn differences(&self, now: &Table) -> Vec<String> {
        let was = &self.table;
        let mut found = Vec::new();
        if was.name != now.name {
            found.push(format!("it is called {}, and was {}", now.name, was.name));
        }
        if was.kind != now.kind || was.logged != now.logged {
            found.push("it is of another kind".to_owned());
        }
        found.extend(was.columns.iter().filter_map(|column| column.difference(now)));
        let numbers: BTreeSet<i16> = was.columns.iter().map(|column| column.number).collect();
        let new = now.columns.iter().filter(|column| !numbers.contains(&column.number));
        found.extend(new.map(|column| {
            format!("the column {} was added: {}", Shown(&column.name), column.type_name)
        }));
        let key = |table: &Table| match &table.primary_key {
            None => "gone".to_owned(),
            Some(key) => format!("({})", shown_list(&key.columns)),
        };
        if key(was) != key(now) {
            found.push(format!("its primary key is {}, and was {}", key(now), key(was)));
        }
        let keys = |table: &Table| {
            let unique = table.unique_keys.iter().map(|key| {
                format!("the unique key {} ({})", Shown(&key.name), shown_list(&key.columns))
            });
            table.foreign_keys.iter().map(text).chain(unique).collect::<BTreeSet<_>>()
        };
        let (keys_before, keys_now) = (keys(was), keys(now));
        found.extend(keys_before.difference(&keys_now).map(|it| format!("{it} is gone")));
        found.extend(keys_now.difference(&keys_before).map(|it| format!("{it} was added")));
        if was.published != now.published {
            found.push("its row filter or column list is another one".to_owned());
        }
        if was.replica_identity != now.replica_identity {
            found.push("its replica identity is another one".to_owned());
        }
        found
    }
}

impl Column {
    /// How the column of this number is different now.
    fn difference(&self, now: &Table) -> Option<String> {
        let name = Shown(&self.name);
        let Some(is) = now.columns.iter().find(|it| it.number == self.number) else {
            return Some(format!("the column {name} is gone"));
        };
        let mut found = Vec::new();
        if is.name != self.name {
            found.push(format!("is called {}", Shown(&is.name)));
        }
        let of = |column: &Column| (column.type_oid, column.type_modifier);
        if of(is) != of(self) {
            found.push(format!("is {}, and was {}", is.type_name, self.type_name));
        }
        if is.not_null != self.not_null {
            found.push(if is.not_null { "is NOT NULL" } else { "may be NULL" }.to_owned());
        }
        if is.generated != self.generated {
            found.push("is computed from others in another way".to_owned());
        }
        (!found.is_empty()).then(|| format!("the column {name} {}", found.join(" and ")))
    }
}

fn text(key: &ForeignKey) -> String {
    let ForeignKey { name, columns, target, .. } = key;
    format!("the foreign key {} ({}) to {target}", Shown(name), shown_list(columns))
}

/// The users' types that a table's columns have, and those that they are made of.
fn used(table: &Table, catalog: &Catalog) -> Vec<TypeFacts> {
    let mut oids: BTreeSet<u32> = BTreeSet::new();
    let mut left: Vec<u32> = table.columns.iter().map(|column| column.type_oid).collect();
    let mut types = Vec::new();
    while let Some(oid) = left.pop() {
        if oid < FIRST_OF_USERS || !oids.insert(oid) {
            continue;
        }
        let Some(facts) = catalog.types.iter().find(|it| it.oid == oid) else { continue };
        match &facts.kind {
            TypeKind::Array { element } => left.push(*element),
            TypeKind::Domain { base, .. } => left.push(*base),
            TypeKind::Range { subtype, .. } => left.push(*subtype),
            TypeKind::Multirange { range } => left.push(*range),
            TypeKind::Composite { fields } => left.extend(fields.iter().map(|it| it.type_oid)),
            TypeKind::Base | TypeKind::Enum { .. } | TypeKind::Pseudo => {}
        }
        types.push(facts.clone());
    }
    types.sort_by_key(|facts| facts.oid);
    types
}

impl Catalog {
    /// The same with these tables as they were. Others refer to them by the names that they had. A foreign key
    /// whose columns are not there is left out.
    pub fn with(mut self, kept: &[&Definition]) -> Self {
        for Definition { table: was, types, .. } in kept {
            let now = self.tables.iter().position(|table| table.oid == was.oid);
            if let Some(now) = now.map(|at| self.tables.remove(at)) {
                self.tables.iter_mut().for_each(|table| table.refer_as_before(&now, was));
            }
            self.tables.retain(|table| table.name != was.name);
            self.tables.push(was.clone());
            let is_known = |oid: u32, types: &[TypeFacts]| types.iter().any(|it| it.oid == oid);
            for facts in types {
                if !is_known(facts.oid, &self.types) {
                    self.types.push(facts.clone());
                }
            }
        }
        for Definition { table: was, targets, .. } in kept {
            let name_now = |name: &TableName| {
                let (_, oid) = targets.iter().find(|(target, _)| target == name)?;
                Some(self.tables.iter().find(|table| table.oid == *oid)?.name.clone())
            };
            let names: Vec<Option<TableName>> =
                was.foreign_keys.iter().map(|key| name_now(&key.target)).collect();
            let table = self.tables.iter_mut().find(|table| table.oid == was.oid);
            for (key, name) in table.into_iter().flat_map(|it| &mut it.foreign_keys).zip(names) {
                if let Some(name) = name {
                    key.target = name;
                }
            }
        }
        self.tables.sort_by(|a, b| a.name.cmp(&b.name));
        let tables: Vec<(TableName, BTreeSet<String>)> = self.tables.iter().map(columns).collect();
        let has = |key: &ForeignKey| {
            let target = tables.iter().find(|(name, _)| *name == key.target);
            target.is_some_and(|(_, columns)| {
                key.target_columns.iter().all(|name| columns.contains(name))
            })
        };
        let kept: BTreeSet<u32> = kept.iter().map(|it| it.table.oid).collect();
        let held = self.tables.iter().filter(|table| kept.contains(&table.oid));
        let names: BTreeSet<TableName> = held.map(|table| table.name.clone()).collect();
        for table in &mut self.tables {
            let is_kept = kept.contains(&table.oid);
            table.foreign_keys.retain(|key| has(key) || !(is_kept || names.contains(&key.target)));
        }
        self
    }
}

fn columns(table: &Table) -> (TableName, BTreeSet<String>) {
    let columns = table.columns.iter().map(|column| column.name.clone());
    (table.name.clone(), columns.collect())
}

impl Table {
    /// Refers to a table under the names that it had.
    fn refer_as_before(&mut self, now: &Table, was: &Table) {
        let name_before = |name: &mut String| {
            let number = now.column(name).map(|column| column.number);
            let before = was.columns.iter().find(|column| Some(column.number) == number);
            if let Some(before) = before {
                name.clone_from(&before.name);
            }
        };
        for key in self.foreign_keys.iter_mut().filter(|key| key.target == now.name) {
            key.target = was.name.clone();
            key.target_columns.iter_mut().for_each(name_before);
        }
        match &mut self.kind {
            TableKind::Partition { root, .. } if *root == now.name => root.clone_from(&was.name),
            TableKind::Partition { .. } | TableKind::Ordinary | TableKind::Partitioned => {}
        }
    }
}
