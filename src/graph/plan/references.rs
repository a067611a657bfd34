//! The relationships that rows own: removals, additions, and matches by value.

use std::collections::BTreeMap;

use crate::graph::{
    Key,
    fold::{FoldedRow, TableMutations},
    model::{Model, NodeShape, ReferenceBy, TableIndex},
    mutation::{Cell, Reference, Row},
    statement::{Presence, Statement},
};

use super::{Circumstances, in_one, presence};

/// Statements about owned relationships. They wait until all nodes are written.
#[derive(Default)]
pub(super) struct Links {
    pub removals: Vec<Statement>,
    pub additions: Vec<Statement>,
    pub unique: Vec<Statement>,
}

/// An owner, and its targets in some references.
type Owner = (Key, Vec<Option<Key>>);

/// The relationships that rows own.
pub(super) fn refer(
    model: &Model,
    table: TableIndex,
    mutations: &TableMutations,
    circumstances: Circumstances,
    links: &mut Links,
) {
    let shape = model.node(table);
    if circumstances.is_settled() {
        links.removals.extend(outdated(table, shape, mutations));
    }
    for (index, reference) in shape.references.iter().enumerate() {
        match reference.by {
            ReferenceBy::Key => by_key(table, index, mutations, circumstances, links),
            ReferenceBy::Unique { .. } => {
                let rows = known_targets(mutations, index);
                if !rows.is_empty() {
                    links.unique.push(Statement::MatchFromOwner { table, reference: index, rows });
                }
            }
        }
    }
}

/// Removes outdated references of changed rows. New rows have none: before them, the graph equals
/// the tables.
fn outdated(
    table: TableIndex,
    shape: &NodeShape,
    mutations: &TableMutations,
) -> impl Iterator<Item = Statement> {
    let mut groups: BTreeMap<Vec<usize>, Vec<Owner>> = BTreeMap::new();
    for (key, folded) in mutations.rows.iter().filter(|(_, folded)| !folded.inserted) {
        let came = (shape.references.iter().zip(&folded.row.references).enumerate())
            .filter(|(_, (reference, _))| reference.by == ReferenceBy::Key)
            .filter_map(|(index, (_, reference))| Some((index, known_target(reference)?)));
        let (references, targets): (Vec<_>, Vec<_>) = came.unzip();
        if !references.is_empty() {
            groups.entry(references).or_default().push((key.clone(), targets));
        }
    }
    groups.into_iter().map(move |(references, rows)| Statement::RemoveOutdated {
        table,
        references,
        rows,
    })
}

fn by_key(
    table: TableIndex,
    reference: usize,
    mutations: &TableMutations,
    circumstances: Circumstances,
    links: &mut Links,
) {
    let (mut removals, mut replaced) = (Vec::new(), Vec::new());
    let mut additions: BTreeMap<Presence, Vec<(Key, Key)>> = BTreeMap::new();
    let in_one = in_one(mutations.rows.len(), circumstances);
    for (key, folded) in mutations.rows.iter().filter(|(_, folded)| !in_one(folded)) {
        let Some(target) = known_target(&folded.row.references[reference]) else { continue };
        match target {
            // A new row has none, but a copied one may have some after all.
            Some(target) if folded.inserted && !circumstances.is_settled() => {
                replaced.push((key.clone(), target));
                continue;
            }
            _ if circumstances.is_settled() => {}
            _ => removals.push((key.clone(), target.clone())),
        }
        let presence = presence(folded, circumstances);
        if let Some(target) = target {
            additions.entry(presence).or_default().push((key.clone(), target));
        }
    }
    let by_target =
        |left: &(Key, Key), right: &(Key, Key)| (&left.1, &left.0).cmp(&(&right.1, &right.0));
    if !removals.is_empty() {
        let rows = removals;
        links.removals.push(Statement::RemoveReferences { table, reference, rows });
    }
    for (presence, mut rows) in additions {
        rows.sort_unstable_by(by_target);
        links.additions.push(Statement::AddReferences { table, reference, presence, rows });
    }
    if !replaced.is_empty() {
        replaced.sort_unstable_by(by_target);
        let (beside, rows) = (circumstances.beside(), replaced);
        links.additions.push(Statement::ReplaceReferences { table, reference, beside, rows });
    }
}

/// Owners whose reference came, with its target.
fn known_targets(mutations: &TableMutations, reference: usize) -> Vec<(Key, Option<Key>)> {
    let target = |folded: &FoldedRow| known_target(&folded.row.references[reference]);
    mutations.rows.iter().filter_map(|(key, folded)| Some((key.clone(), target(folded)?))).collect()
}

/// A reference's target, if it came: `Some(None)` is NULL.
fn known_target(reference: &Reference) -> Option<Option<Key>> {
    match reference {
        Reference::Unchanged => None,
        Reference::Null => Some(None),
        Reference::To(target) => Some(Some(target.clone())),
    }
}

/// For every reference by unique columns to this table: the rows whose value came.
pub(super) fn match_from_target(
    model: &Model,
    table: TableIndex,
    mutations: &TableMutations,
    links: &mut Links,
) {
    let shape = model.node(table);
    for (owner, index, properties) in model.unique_references_to(table) {
        let rows: Vec<_> = mutations
            .rows
            .iter()
            .filter_map(|(key, folded)| {
                Some((key.clone(), unique_value(shape, properties, key, &folded.row)?))
            })
            .collect();
        if !rows.is_empty() {
            let statement = Statement::MatchFromTarget { table: owner, reference: index, rows };
            links.unique.push(statement);
        }
    }
}

/// The row's value of the named properties. `None`: one did not come. `Some(None)`: one is NULL.
fn unique_value(
    shape: &NodeShape,
    properties: &[String],
    key: &Key,
    row: &Row,
) -> Option<Option<Key>> {
    let mut values = Vec::with_capacity(properties.len());
    let mut null = false;
    for name in properties {
        if let Some(position) = shape.key.iter().position(|property| property == name) {
            values.push(key.0[position].clone());
            continue;
        }
        let position = shape.properties.iter().position(|property| property == name);
        let position = position.expect("a mapping keeps the properties its references use");
        match &row.properties[position] {
            Cell::Unchanged => return None,
            Cell::Null => null = true,
            Cell::Value(value) => values.push(value.clone()),
        }
    }
    Some((!null).then(|| Key(values.into())))
}

/// The target of each reference by key, for a row with all its values.
pub(super) fn all_targets(shape: &NodeShape, folded: &FoldedRow) -> Vec<Option<Key>> {
    let references = shape.keyed_references().map(|reference| &folded.row.references[reference]);
    references.map(|reference| known_target(reference).flatten()).collect()
}
