//! The mapped tables, with their keys and columns.
//!
//! ```text
//! a table's own key in the file > the longest pattern that fits > shorter ones > include, exclude and names for all
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{ReplicaIdentity, Table, TableKind, UniqueKey, pasteable};

use super::super::edit::{PropertiesEdit, PropertyNames, TableEdit};
use super::super::refusal::{EditRefusal, Refusal};
use super::super::{
    naming,
    pattern::Pattern,
    warning::{Warning, WhyLeftOut},
};
use super::Inference;

/// A key of the file that holds for several tables.
type OfSeveral<'a> = (Pattern<'a>, &'a TableEdit);

impl<'a> Inference<'a> {
    /// Step 1: the mapped tables and their keys.
    pub(super) fn choose_tables(&mut self) {
        let tables = self.catalog.tables.iter();
        let known: BTreeMap<String, &Table> =
            tables.map(|table| (table.name.in_file(), table)).collect();
        let patterns = self.patterns(&known);
        self.warn_of_idle_items(&known);
        for (name, table) in known {
            let own = self.edits.tables.get(&name);
            let fitting = patterns.iter().filter(|(pattern, _)| pattern.chooses(&name));
            let fitting: Vec<&TableEdit> = fitting.map(|(_, edit)| *edit).collect();
            let edit = with_defaults(table, own, &fitting);
            let not_chosen = if own.is_some() { None } else { self.not_chosen(&name) };
            match choose_key(table, Some(&edit), not_chosen) {
                Ok(key) => {
                    let further = fitting.iter().find(|it| !it.labels.is_empty());
                    if let Some(further) = further.filter(|_| edit.labels.is_empty()) {
                        self.further.insert(table.name.clone(), further.labels.clone());
                    }
                    self.tables.insert(table.name.clone(), TableEdit { key: Some(key), ..edit });
                }
                Err(why) => self.leave_out(table, own, why),
            }
        }
    }

    /// The keys of the file that are no table's name: the longest first.
    fn patterns(&mut self, known: &BTreeMap<String, &Table>) -> Vec<OfSeveral<'a>> {
        let mut patterns = Vec::new();
        let edits = self.edits;
        for (name, edit) in edits.tables.iter().filter(|(name, _)| !known.contains_key(*name)) {
            if let Some(pattern) = Pattern::of(name) {
                patterns.push((pattern, edit));
                let refusal = EditRefusal::Pattern { pattern: name.clone() };
                self.refusals.extend((!may_be_of_several(edit)).then_some(refusal.into()));
                continue;
            }
            let nearest = naming::nearest(name, known.keys().map(String::as_str));
            let nearest = nearest.map(str::to_owned);
            let (named_by, table) = ("tables".to_owned(), name.clone());
            self.refusals.push(Refusal::UnknownTable { named_by, table, nearest });
        }
        patterns.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.length()));
        patterns
    }

    /// What chooses no table. Left alone, a slip of the pen in `exclude` would bring a table into the graph.
    fn warn_of_idle_items(&mut self, known: &BTreeMap<String, &Table>) {
        let defaults = &self.edits.defaults;
        let lists = [
            ("mapping.include", defaults.include.as_deref().unwrap_or_default()),
            ("mapping.exclude", &defaults.exclude[..]),
        ];
        let items = lists.into_iter().flat_map(|(list, items)| {
            items.iter().map(move |item| (list, item, Pattern::in_list(item)))
        });
        let keys = self.edits.tables.keys().filter(|name| !known.contains_key(*name));
        let keys = keys.filter_map(|name| Some(("tables", name, Pattern::of(name)?)));
        let idle =
            items.chain(keys).filter(|(_, _, pattern)| !known.keys().any(|it| pattern.chooses(it)));
        self.warnings
            .extend(idle.map(|(list, item, _)| Warning::FitsNothing { list, item: item.clone() }));
    }

    /// Why a table that no key names is not among those of the file.
    fn not_chosen(&self, name: &str) -> Option<WhyLeftOut> {
        let fits = |pattern: &&String| Pattern::in_list(pattern).chooses(name);
        let defaults = &self.edits.defaults;
        if defaults.include.as_ref().is_some_and(|include| !include.iter().any(|it| fits(&it))) {
            return Some(WhyLeftOut::NotIncluded);
        }
        let pattern = defaults.exclude.iter().find(fits)?.clone();
        Some(WhyLeftOut::Excluded { pattern })
    }

    /// What the file says of the names of all properties.
    pub(super) fn choose_properties(&mut self) {
        if self.rules().properties == PropertyNames::AsIs {
            return;
        }
        for (name, edit) in &mut self.tables {
            let Some(table) = self.catalog.table(name) else { continue };
            let columns = table.columns.iter().map(|column| column.name.clone());
            let mut taken: BTreeSet<String> = columns.collect();
            taken.extend(edit.properties.rename.values().cloned());
            for column in &table.columns {
                let property = naming::lower_camel(&column.name);
                let is_open = !edit.properties.rename.contains_key(&column.name);
                if is_open && !property.is_empty() && taken.insert(property.clone()) {
                    edit.properties.rename.insert(column.name.clone(), property);
                }
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
    pub(super) fn correct_partitions(&mut self) {
        for warning in &mut self.warnings {
            let Warning::LeftOut { why, .. } = warning else { continue };
            let WhyLeftOut::Partition { root } = why else { continue };
            if !self.tables.contains_key(root) {
                *why = WhyLeftOut::PartitionOfLeftOut { root: root.clone() };
            }
        }
    }
}

/// Whether a pattern may say it: it has a meaning for tables that nobody has seen.
fn may_be_of_several(edit: &TableEdit) -> bool {
    let one = TableEdit {
        label: edit.label.clone(),
        key: edit.key.clone(),
        relationships: edit.relationships.clone(),
        relationship: edit.relationship.clone(),
        properties: PropertiesEdit {
            include: edit.properties.include.clone(),
            ..Default::default()
        },
        ..TableEdit::default()
    };
    one == TableEdit::default() && *edit != TableEdit::default()
}

/// A table's own edit with what patterns say of it. They speak of the columns that it has, and leave its key alone. A
/// table that is named is not skipped by a pattern.
fn with_defaults(table: &Table, own: Option<&TableEdit>, patterns: &[&TableEdit]) -> TableEdit {
    let mut edit = own.cloned().unwrap_or_default();
    edit.skip |= own.is_none() && patterns.iter().any(|it| it.skip);
    let key = edit.key.clone().or_else(|| infer_key(table)).unwrap_or_default();
    for column in &table.columns {
        let name = &column.name;
        if !edit.properties.names(name)
            && let Some(said) = patterns.iter().find(|it| it.properties.names(name))
        {
            edit.properties.follow(&said.properties, name, key.contains(name));
        }
        if !edit.types.contains_key(name)
            && let Some(form) = patterns.iter().find_map(|it| it.types.get(name))
        {
            edit.types.insert(name.clone(), *form);
        }
    }
    edit
}

/// The columns that identify the table's rows, or the reason why it can not be mapped.
fn choose_key(
    table: &Table,
    edit: Option<&TableEdit>,
    not_chosen: Option<WhyLeftOut>,
) -> Result<Vec<String>, WhyLeftOut> {
    if edit.is_some_and(|edit| edit.skip) {
        return Err(WhyLeftOut::Skipped);
    }
    if let TableKind::Partition { root, .. } = &table.kind {
        return Err(WhyLeftOut::Partition { root: root.clone() });
    }
    if let Some(why) = not_chosen {
        return Err(why);
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
