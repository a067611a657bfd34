//! Inference fills in every field that the file omits, from the catalog.
//!
//! ```text
//! Catalog + Edits --> keys --> shapes (node, join table) --> labels --> relationships --> edits
//! ```
//!
//! The result is again a set of edits. So the program can write an inferred mapping as a file and
//! read it back, without a second form. Each step uses only the earlier steps' decisions about
//! *all* tables, so the order of the tables does not matter.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{
    Catalog, ForeignKey, ReplicaIdentity, Table, TableKind, TableName, UniqueKey, pasteable,
};

use super::edit::{DirectionEdit, Edits, EndEdit, ReferenceEdit, RelationshipEdit, TableEdit};
use super::naming;
use super::pattern::Pattern;
use super::refusal::Refusal;
use super::warning::{Warning, WhyLeftOut};

/// Complete edits: for every table in it the key, and the label and relationships, or the
/// relationship.
pub(super) struct Inferred {
    pub tables: BTreeMap<TableName, TableEdit>,
    pub warnings: Vec<Warning>,
    pub refusals: Vec<Refusal>,
}

/// Fills in the fields that the file omits.
pub(super) fn infer(catalog: &Catalog, edits: &Edits) -> Inferred {
    let mut inference =
        Inference { catalog, tables: BTreeMap::new(), warnings: Vec::new(), refusals: Vec::new() };
    inference.choose_tables(edits);
    inference.choose_shapes();
    inference.choose_labels();
    inference.choose_relationships();
    inference.correct_partitions();
    Inferred {
        tables: inference.tables,
        warnings: inference.warnings,
        refusals: inference.refusals,
    }
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

/// The start's label, the type, the end's label.
type Triple = (String, String, String);

struct Inference<'a> {
    catalog: &'a Catalog,
    tables: BTreeMap<TableName, TableEdit>,
    warnings: Vec<Warning>,
    refusals: Vec<Refusal>,
}

impl<'a> Inference<'a> {
    /// Step 1: the mapped tables and their keys.
    fn choose_tables(&mut self, edits: &Edits) {
        let tables = self.catalog.tables.iter();
        let known: BTreeMap<String, &Table> =
            tables.map(|table| (table.name.in_file(), table)).collect();
        let skip = TableEdit { skip: true, ..TableEdit::default() };
        let mut patterns = Vec::new();
        for (name, edit) in edits.tables.iter().filter(|(name, _)| !known.contains_key(*name)) {
            if let Some(pattern) = Pattern::of(name) {
                patterns.push((pattern, edit));
                let refusal = Refusal::Pattern { pattern: name.clone() };
                self.refusals.extend((*edit != skip).then_some(refusal));
                continue;
            }
            let nearest = naming::nearest(name, known.keys().map(String::as_str));
            let nearest = nearest.map(str::to_owned);
            let (named_by, table) = ("tables".to_owned(), name.clone());
            self.refusals.push(Refusal::UnknownTable { named_by, table, nearest });
        }
        for (name, table) in known {
            let chosen = || patterns.iter().find(|(pattern, _)| pattern.chooses(&name));
            let edit = edits.tables.get(&name).or_else(|| chosen().map(|(_, edit)| *edit));
            match choose_key(table, edit) {
                Ok(key) => {
                    let edit = edit.cloned().unwrap_or_default();
                    self.tables.insert(table.name.clone(), TableEdit { key: Some(key), ..edit });
                }
                Err(why) => self.leave_out(table, edit, why),
            }
        }
    }

    fn leave_out(&mut self, table: &Table, edit: Option<&TableEdit>, why: WhyLeftOut) {
        let table_name = table.name.clone();
        if edit.is_none_or(|edit| edit.skip) {
            if let WhyLeftOut::Partition { root } = &why {
                let of_its_own =
                    table.foreign_keys.iter().map(|key| Warning::ReferenceOfPartition {
                        table: table_name.clone(),
                        constraint: key.name.clone(),
                        root: root.clone(),
                    });
                self.warnings.extend(of_its_own);
            }
            self.warnings.push(Warning::LeftOut { table: table_name, why });
            return;
        }
        self.refusals.push(match why {
            WhyLeftOut::Partition { root } => Refusal::EditedPartition { table: table_name, root },
            why => Refusal::Unusable { table: table_name, why },
        });
    }

    /// Corrects the reason for partitions whose root is left out: no mapped table owns their rows
    /// then.
    fn correct_partitions(&mut self) {
        for warning in &mut self.warnings {
            let Warning::LeftOut { why, .. } = warning else { continue };
            let WhyLeftOut::Partition { root } = why else { continue };
            if !self.tables.contains_key(root) {
                *why = WhyLeftOut::PartitionOfLeftOut { root: root.clone() };
            }
        }
    }

    /// Step 2: the join tables.
    fn choose_shapes(&mut self) {
        let referred = self.referred();
        let names: Vec<TableName> = self.tables.keys().cloned().collect();
        for name in names {
            let edit = &self.tables[&name];
            let edited_as_node =
                edit.label.is_some() || edit.relationships.is_some() || !edit.labels.is_empty();
            if edit.relationship.is_some() && edited_as_node {
                self.refusals.push(Refusal::NodeAndRelationship { table: name.clone() });
            }
            if edit.relationship.is_some() || edited_as_node || referred.contains(&name) {
                continue;
            }
            self.try_join(&name);
        }
    }

    /// The tables that a foreign key of the catalog or a relationship of the file refers to.
    fn referred(&self) -> BTreeSet<TableName> {
        let constraints = self.catalog.tables.iter().flat_map(|table| &table.foreign_keys);
        let by_constraint = constraints.map(|key| key.target.clone());
        let edited = self.tables.values().flat_map(|edit| {
            let references = edit.relationships.iter().flatten().map(|reference| &reference.to);
            references.chain(edit.relationship.iter().flat_map(|it| [&it.from.to, &it.to.to]))
        });
        let by_edit = edited.filter_map(|name| self.table_named(name).map(|it| it.name.clone()));
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
        let [from, to] = ends.map(|end| {
            let (columns, _) = self.in_key_order(end);
            EndEdit { columns, to: end.target.in_file(), to_columns: None }
        });
        let of_period = table.foreign_keys.iter().filter(|key| key.period);
        for key in foreign_keys(table).into_iter().chain(of_period) {
            if !ends.iter().any(|end| end.name == key.name) {
                let constraint = key.name.clone();
                self.warnings.push(Warning::JoinTableReference { table: name.clone(), constraint });
            }
        }
        let relationship_type = naming::type_from_name(&name.name);
        if let Some(edit) = self.tables.get_mut(name) {
            edit.relationship = Some(RelationshipEdit { relationship_type, from, to });
        }
    }

    /// Step 3: a label for each node table. If several schemas have the same name, labels outside
    /// `public` get the schema as a prefix.
    fn choose_labels(&mut self) {
        let nodes = || self.tables.iter().filter(|(_, edit)| edit.relationship.is_none());
        let label = |name: &TableName, edit: &TableEdit| match &edit.label {
            Some(label) => label.clone(),
            None => naming::label(&name.name),
        };
        let mut schemas: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, edit) in nodes() {
            schemas.entry(label(name, edit)).or_default().insert(name.schema.clone());
        }
        let inferred: Vec<(TableName, String)> = nodes()
            .filter(|(_, edit)| edit.label.is_none())
            .map(|(name, edit)| {
                let plain = label(name, edit);
                let told_apart = schemas[&plain].len() > 1 && name.schema != DEFAULT_SCHEMA;
                let prefix =
                    if told_apart { naming::upper_camel(&name.schema) } else { String::new() };
                (name.clone(), prefix + &plain)
            })
            .collect();
        for (name, label) in inferred {
            if let Some(edit) = self.tables.get_mut(&name) {
                edit.label = Some(label);
            }
        }
    }

    /// Step 4: a relationship for each foreign key of a node table, with a distinct type.
    fn choose_relationships(&mut self) {
        let open = |edit: &TableEdit| edit.relationship.is_none() && edit.relationships.is_none();
        let owners =
            self.tables.iter().filter(|(_, edit)| open(edit)).map(|(name, _)| name.clone());
        let owners: Vec<TableName> = owners.collect();
        for owner in &owners {
            let references = self.catalog.table(owner).map(|table| self.references(table));
            if let Some(edit) = self.tables.get_mut(owner) {
                edit.relationships = references;
            }
        }
        let mut made: BTreeMap<Triple, usize> = BTreeMap::new();
        for edit in self.tables.values() {
            for triple in self.triples(edit) {
                *made.entry(triple).or_default() += 1;
            }
        }
        for owner in &owners {
            let clash: Vec<bool> =
                self.triples(&self.tables[owner]).iter().map(|triple| made[triple] > 1).collect();
            let edit = self.tables.get_mut(owner).and_then(|edit| edit.relationships.as_mut());
            for (reference, clash) in edit.into_iter().flatten().zip(clash) {
                if clash {
                    reference.relationship_type = naming::type_from_columns(&reference.columns);
                }
            }
        }
    }

    /// The relationships of a table, in the order of its references: label, type, label.
    fn triples(&self, edit: &TableEdit) -> Vec<Triple> {
        let label = |table: &str| {
            let target = self.table_named(table).and_then(|table| self.tables.get(&table.name));
            target.and_then(|edit| edit.label.clone()).unwrap_or_default()
        };
        if let Some(join) = &edit.relationship {
            let ends = (label(&join.from.to), label(&join.to.to));
            return vec![(ends.0, join.relationship_type.clone(), ends.1)];
        }
        let own = edit.label.clone().unwrap_or_default();
        let references = edit.relationships.iter().flatten();
        let triple = |reference: &ReferenceEdit| {
            let ends = (own.clone(), label(&reference.to));
            let (start, end) = match reference.direction {
                DirectionEdit::Out => ends,
                DirectionEdit::In => (ends.1, ends.0),
            };
            (start, reference.relationship_type.clone(), end)
        };
        references.map(triple).collect()
    }

    fn references(&mut self, table: &Table) -> Vec<ReferenceEdit> {
        let mut references = Vec::new();
        for key in table.foreign_keys.iter().filter(|key| key.period) {
            let (constraint, target) = (key.name.clone(), key.target.clone());
            let table = table.name.clone();
            self.warnings.push(Warning::PeriodReference { table, constraint, target });
        }
        let kept = foreign_keys(table);
        for key in table.foreign_keys.iter().filter(|key| !key.period) {
            let same = |it: &&&ForeignKey| it.name != key.name && says_the_same(it, key);
            if let Some(kept) = kept.iter().find(same) {
                let (constraint, same_as) = (key.name.clone(), kept.name.clone());
                let table = table.name.clone();
                self.warnings.push(Warning::SameForeignKey { table, constraint, same_as });
            }
        }
        for key in kept {
            let constraint = key.name.clone();
            let streamed = |name: &String| table.column(name).is_some_and(|it| table.streams(it));
            if !self.is_node(&key.target) {
                let (table, target) = (table.name.clone(), key.target.clone());
                self.warnings.push(Warning::ReferenceLeftOut { table, constraint, target });
            } else if !key.columns.iter().all(streamed) {
                let table = table.name.clone();
                self.warnings.push(Warning::ReferenceNotStreamed { table, constraint });
            } else if let Some(column) = self.not_streamed(key) {
                let (table, target) = (table.name.clone(), key.target.clone());
                self.warnings.push(Warning::ReferencedNotStreamed {
                    table,
                    constraint,
                    target,
                    column,
                });
            } else {
                references.push(self.reference(key));
            }
        }
        references
    }

    /// A column that the key refers to, and that the stream does not carry.
    fn not_streamed(&self, key: &ForeignKey) -> Option<String> {
        let target = self.catalog.table(&key.target)?;
        let is_missing = |name: &&String| target.column(name).is_some_and(|it| !target.streams(it));
        key.target_columns.iter().find(is_missing).cloned()
    }

    fn reference(&self, key: &ForeignKey) -> ReferenceEdit {
        let (columns, to_columns) = self.in_key_order(key);
        let from_target = || naming::type_from_singular(&key.target.name);
        let relationship_type = match &columns[..] {
            [column] => naming::type_from_column(column).unwrap_or_else(from_target),
            _ => from_target(),
        };
        let to = key.target.in_file();
        ReferenceEdit { relationship_type, columns, to, to_columns, direction: Default::default() }
    }

    /// The referring columns, in the order of the target's key. If they do not refer to its key: as
    /// they are, with the columns they refer to.
    fn in_key_order(&self, key: &ForeignKey) -> (Vec<String>, Option<Vec<String>>) {
        let target_key = self.key(&key.target);
        if set(target_key) != set(&key.target_columns) {
            return (key.columns.clone(), Some(key.target_columns.clone()));
        }
        let owner_of = |column: &String| {
            let at = key.target_columns.iter().position(|target| target == column);
            at.map(|at| key.columns[at].clone())
        };
        (target_key.iter().filter_map(owner_of).collect(), None)
    }

    fn is_node(&self, name: &TableName) -> bool {
        self.tables.get(name).is_some_and(|edit| edit.relationship.is_none())
    }

    fn key(&self, name: &TableName) -> &[String] {
        self.tables.get(name).and_then(|edit| edit.key.as_deref()).unwrap_or_default()
    }

    fn table_named(&self, name: &str) -> Option<&'a Table> {
        self.catalog.tables.iter().find(|table| table.name.in_file() == name)
    }
}

/// The schema whose tables need no prefix.
const DEFAULT_SCHEMA: &str = "public";

/// The columns that identify the table's rows, or the reason why it can not be mapped.
fn choose_key(table: &Table, edit: Option<&TableEdit>) -> Result<Vec<String>, WhyLeftOut> {
    if edit.is_some_and(|edit| edit.skip) {
        return Err(WhyLeftOut::Skipped);
    }
    if let TableKind::Partition { root, .. } = &table.kind {
        return Err(WhyLeftOut::Partition { root: root.clone() });
    }
    if !table.logged {
        return Err(WhyLeftOut::Unlogged { table: table.name.clone() });
    }
    if let Some(partition) = &table.foreign_partition {
        return Err(WhyLeftOut::ForeignPartition(partition.clone()));
    }
    let edited = edit.and_then(|edit| edit.key.clone());
    edited.or_else(|| infer_key(table)).ok_or_else(|| no_key(table))
}

/// The primary key, or a key that the replica identity allows. Also takes a primary key that is not
/// the replica identity, because the refusal that follows explains more than a missing table.
fn infer_key(table: &Table) -> Option<Vec<String>> {
    if let Some(key) = &table.primary_key
        && (key.immediate || !matches!(table.replica_identity, ReplicaIdentity::Index { .. }))
    {
        return Some(key.columns.clone());
    }
    match &table.replica_identity {
        ReplicaIdentity::Index { columns, .. } => Some(columns.clone()),
        ReplicaIdentity::Full => table.identifying_keys().next().map(|key| key.columns.clone()),
        ReplicaIdentity::Default | ReplicaIdentity::Nothing => None,
    }
}

fn no_key(table: &Table) -> WhyLeftOut {
    let usable: Option<&UniqueKey> = table.identifying_keys().next();
    let fix = match usable {
        Some(UniqueKey { name, .. }) => format!(
            "Add a primary key, or run ALTER TABLE {} REPLICA IDENTITY USING INDEX {}",
            table.name.pasteable(),
            pasteable(name),
        ),
        None => "Add a primary key".to_owned(),
    };
    WhyLeftOut::NoKey { fix }
}

/// The two foreign keys that make up a join table's primary key, in its order.
fn join_ends(table: &Table) -> Option<[&ForeignKey; 2]> {
    let primary = &table.primary_key.as_ref()?.columns;
    let within = |key: &&ForeignKey| key.columns.iter().all(|column| primary.contains(column));
    let mut ends: Vec<&ForeignKey> = foreign_keys(table).into_iter().filter(within).collect();
    let place = |key: &ForeignKey| {
        let places = primary.iter().enumerate().filter(|(_, column)| key.columns.contains(column));
        places.map(|(place, _)| place).collect::<Vec<usize>>()
    };
    ends.sort_by_key(|key| place(key));
    let [first, second]: [&ForeignKey; 2] = ends.try_into().ok()?;
    let (one, other) = (set(&first.columns), set(&second.columns));
    let whole = &one | &other == set(primary);
    (whole && !one.is_subset(&other) && !other.is_subset(&one)).then_some([first, second])
}
