//! References that have no foreign key, as far as names and types tell: `posts.user_id` leads to `users`.
//!
//! They are suggested, and never made: a name is no proof.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{Catalog, Column, ForeignKey, Table};

use super::edit::{NamingEdit, TableEdit};
use super::infer::{set, two_ends};
use super::naming::{Naming, words};
use super::singular::Words;

/// A column that may refer to the key of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suggestion<'a> {
    pub column: &'a str,
    /// The target, as in a file.
    pub to: String,
}

/// PostgreSQL's integers: one may refer to another.
const INTEGERS: &[u32] = &[20, 21, 23];

/// The suggestions for each node table, by its name in the file.
pub(super) fn suggestions<'a>(
    catalog: &'a Catalog,
    tables: &BTreeMap<String, TableEdit>,
) -> BTreeMap<String, Vec<Suggestion<'a>>> {
    let is_node = |table: &&Table| {
        let edit = tables.get(&table.name.in_file());
        edit.is_some_and(|edit| edit.relationship.is_none())
    };
    let nodes: Vec<&Table> = catalog.tables.iter().filter(is_node).collect();
    let of_table = |table: &&'a Table| {
        let edit = &tables[&table.name.in_file()];
        let refers = |column: &Column| {
            let by_edit = edit.references().iter().any(|it| it.columns.contains(&column.name));
            let by_key = table.foreign_keys.iter().any(|it| it.columns.contains(&column.name));
            by_edit || by_key
        };
        let columns =
            table.columns.iter().filter(|column| !refers(column) && table.streams(column));
        let found = columns.filter_map(|column| {
            let target = target(table, column, &nodes)?;
            let fits = key_of(target, tables).is_some_and(|key| is_alike(column, key));
            fits.then(|| Suggestion { column: &column.name, to: target.name.in_file() })
        });
        let found: Vec<Suggestion<'a>> = found.collect();
        (!found.is_empty()).then(|| (table.name.in_file(), found))
    };
    nodes.iter().filter_map(of_table).collect()
}

/// Whether a table of nodes does nothing but join two others: its rows could be relationships.
pub(super) fn joins(
    catalog: &Catalog,
    table: &Table,
    tables: &BTreeMap<String, TableEdit>,
) -> bool {
    let Some(ends) = two_ends(table) else { return false };
    let both: BTreeSet<&String> = ends.iter().flat_map(|end| &end.columns).collect();
    let is_node = |edit: &&TableEdit| edit.relationship.is_none();
    let is_by_key = |end: &ForeignKey| {
        let edit = tables.get(&end.target.in_file()).filter(is_node);
        let key = edit.and_then(|edit| edit.key.as_deref());
        key.is_some_and(|key| set(key) == set(&end.target_columns))
    };
    let keys = catalog.tables.iter().flat_map(|table| &table.foreign_keys);
    let is_target = keys.map(|key| &key.target).any(|target| *target == table.name);
    let both: Vec<&String> = both.into_iter().collect();
    ends.iter().all(|end| is_by_key(end))
        && table.all_not_null(&both)
        && table.finds_one_row(&both)
        && !is_target
}

/// The one table that the column is called after. One of its own schema counts first, then one whose name has a prefix.
fn target<'a>(table: &Table, column: &Column, nodes: &[&'a Table]) -> Option<&'a Table> {
    let mut stem = words(&column.name);
    let is_id = stem.last().is_some_and(|last| last.eq_ignore_ascii_case("id"));
    if !is_id || stem.len() == 1 {
        return None;
    }
    stem.pop();
    let stem = lower(stem);
    let own = nodes.iter().find(|it| it.oid == table.oid).copied();
    if stem == ["parent"] {
        return own;
    }
    let rules = NamingEdit::default();
    let naming = Naming { rules: &rules, words: Words::All };
    let is_called = |it: &Table| lower(naming.singular_words(&it.name.name)) == stem;
    let is_prefixed = |it: &Table| {
        let name = lower(naming.singular_words(&it.name.name));
        name.len() > stem.len() && name.ends_with(&stem)
    };
    let is_near = |it: &Table| it.name.schema == table.name.schema;
    let rounds: [&dyn Fn(&Table) -> bool; 4] = [
        &|it| is_near(it) && is_called(it),
        &is_called,
        &|it| is_near(it) && is_prefixed(it),
        &is_prefixed,
    ];
    let found = rounds.iter().find_map(|fits| {
        let found: Vec<&Table> = nodes.iter().copied().filter(|it| fits(it)).collect();
        (!found.is_empty()).then_some(found)
    });
    match found?[..] {
        // A key that is called after its own table is no reference.
        [target] if target.oid != table.oid => {
            nodes.iter().find(|it| it.oid == target.oid).copied()
        }
        _ => None,
    }
}

/// The column of a key of one column.
fn key_of<'a>(table: &'a Table, tables: &BTreeMap<String, TableEdit>) -> Option<&'a Column> {
    match tables.get(&table.name.in_file())?.key.as_deref()? {
        [key] => table.column(key),
        _ => None,
    }
}

fn is_alike(column: &Column, key: &Column) -> bool {
    let are_integers = INTEGERS.contains(&column.type_oid) && INTEGERS.contains(&key.type_oid);
    column.type_oid == key.type_oid || are_integers
}

fn lower(words: Vec<String>) -> Vec<String> {
    words.into_iter().map(|word| word.to_lowercase()).collect()
}
