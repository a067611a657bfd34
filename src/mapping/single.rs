//! A table's relationships as single edits. A list of all of them would hide foreign keys that come later.

use std::collections::BTreeSet;

use crate::catalog::{ForeignKey, Table, TableName};

use super::edit::ReferenceEdit;
use super::infer::{foreign_keys, set};

/// An edit of one relationship, as a file has it.
pub(super) struct SingleEdit<'a> {
    /// Its key: a column, a foreign key, or a name without a meaning.
    pub name: String,
    /// The relationship; `None`: the foreign key makes none.
    pub reference: Option<&'a ReferenceEdit>,
    /// The key does not say the columns.
    pub has_columns: bool,
}

/// The edits that give these relationships in this order; `None`: only a list can.
pub(super) fn single_edits<'a>(
    table: &Table,
    is_node: impl Fn(&TableName) -> bool,
    references: &'a [ReferenceEdit],
) -> Option<Vec<SingleEdit<'a>>> {
    let keys = foreign_keys(table);
    let keys_of = |reference: &ReferenceEdit| {
        let keys = keys.iter().copied().filter(|key| is_behind(key, reference));
        keys.collect::<Vec<_>>()
    };
    let mut edits: Vec<(Option<&ForeignKey>, SingleEdit<'a>)> = Vec::new();
    for reference in references {
        let key = match keys_of(reference)[..] {
            [] => None,
            [key] => Some(key),
            _ => return None,
        };
        let edit = named(table, key, reference, references);
        if key.is_none() && table.foreign_keys.iter().any(|key| key.name == edit.name) {
            return None;
        }
        edits.push((key, edit));
    }
    let is_followed = |key: &&ForeignKey| {
        let streamed = |name: &String| table.column(name).is_some_and(|it| table.streams(it));
        is_node(&key.target) && key.columns.iter().all(streamed)
    };
    for key in keys.iter().copied().filter(is_followed) {
        if !edits.iter().any(|(of, _)| of.is_some_and(|of| of.name == key.name)) {
            let name = key.name.clone();
            edits.push((Some(key), SingleEdit { name, reference: None, has_columns: false }));
        }
    }
    let names: BTreeSet<&String> = edits.iter().map(|(_, edit)| &edit.name).collect();
    let is_distinct = names.len() == edits.len();
    (is_distinct && are_read_in_order(&keys, &edits)).then(|| {
        let edits = edits.into_iter().map(|(_, edit)| edit);
        edits.collect()
    })
}

/// Whether a foreign key says the same.
fn is_behind(key: &ForeignKey, reference: &ReferenceEdit) -> bool {
    let ReferenceEdit { columns, to, to_columns, .. } = reference;
    key.target.in_file() == *to
        && set(&key.columns) == set(columns)
        && to_columns.as_ref().is_none_or(|to| set(&key.target_columns) == set(to))
}

/// A column if that is clear: the edit outlives its foreign key.
fn named<'a>(
    table: &Table,
    key: Option<&ForeignKey>,
    reference: &'a ReferenceEdit,
    all: &[ReferenceEdit],
) -> SingleEdit<'a> {
    let is_alone = all.iter().filter(|it| it.columns == reference.columns).count() == 1
        && table.foreign_keys.iter().filter(|it| it.columns == reference.columns).count() <= 1;
    let is_constraint = |name: &str| table.foreign_keys.iter().any(|key| key.name == name);
    let (name, has_columns) = match (&reference.columns[..], key) {
        ([column], _) if is_alone && !is_constraint(column) => (column.clone(), false),
        (_, Some(key)) => (key.name.clone(), true),
        (columns, None) => (columns.join("_"), true),
    };
    SingleEdit { name, reference: Some(reference), has_columns }
}

/// Whether inference puts the relationships of these edits into their order: those of foreign keys as these are, and
/// the others by name.
fn are_read_in_order(
    keys: &[&ForeignKey],
    edits: &[(Option<&ForeignKey>, SingleEdit<'_>)],
) -> bool {
    let place = |key: &ForeignKey| keys.iter().position(|it| it.name == key.name);
    let made = edits.iter().filter(|(_, edit)| edit.reference.is_some());
    made.map(|(key, edit)| (key.map_or(Some(keys.len()), place), &edit.name)).is_sorted()
}
