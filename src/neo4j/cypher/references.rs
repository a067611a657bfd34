//! Relationships that rows own: by their target's key, and by unique columns of the target.

use std::collections::BTreeSet;

use crate::graph::{
    Key,
    model::{Direction, Model, NodeShape, ReferenceBy, ReferenceShape, TableIndex},
    statement::{Beside, PLACEHOLDER, Presence},
};

use super::{
    Done, Parameter, Query, key_and_option, key_columns, target_columns,
    text::{
        columns, differs, hint, is_row, keep, keep_row, merge, owned, owned_any, quote, seek, sweep,
    },
    two_keys,
};

pub fn remove(
    model: &Model,
    table: TableIndex,
    reference: usize,
    rows: Vec<(Key, Option<Key>)>,
) -> Query {
    let owner = owner_and_reference(model, table, reference);
    let text = removal(model, owner, owner.0.key.len());
    Query::new(text, rows.into_iter().map(key_and_option))
}

/// Removes relationships that lead elsewhere than to the key in the columns from `first` on.
fn removal(
    model: &Model,
    (shape, reference): (&NodeShape, &ReferenceShape),
    first: usize,
) -> String {
    let target = model.node(reference.target);
    format!(
        "UNWIND $rows[0] AS r {} MATCH {} WHERE r[{first}] IS NULL OR {} DELETE o {}",
        seek("c", shape, 0),
        owned("c", "o", reference, &format!("p:{}", quote(&target.label))),
        differs("p", &target.key, first),
        sweep(model, reference.target, "p"),
    )
}

/// One text for all references of a direction. Usually an outdated relationship leads to a row, and
/// no placeholder needs a sweep. The text marks those that lead to a placeholder; the texts that
/// sweep remove them.
pub fn remove_outdated(
    model: &Model,
    table: TableIndex,
    references: &[usize],
    rows: &[(Key, Vec<Option<Key>>)],
) -> Vec<Query> {
    let shape = model.node(table);
    let targets: Vec<Target> = targets(model, shape, references);
    let columns = || rows.iter().map(|(owner, row)| row_to(owner, &targets, row));
    let each = [Direction::Outgoing, Direction::Incoming].map(|direction| {
        let turned = targets.iter().filter(|target| target.reference.direction == direction);
        let turned: Vec<&Target> = turned.collect();
        let first = turned.first()?;
        let outdated: String = turned.iter().map(|target| target.outdated()).collect();
        let types: BTreeSet<&str> =
            turned.iter().map(|target| target.reference.relationship_type.as_str()).collect();
        let text = format!(
            "UNWIND $rows[0] AS r {} MATCH {} WHERE CASE{outdated} ELSE false END \
             FOREACH (x IN CASE WHEN p:{PLACEHOLDER} THEN [o] ELSE [] END | SET x._lock = true) \
             WITH o, p WHERE {} DELETE o",
            seek("c", shape, 0),
            owned_any("c", "o", first.reference.direction, types, "p"),
            is_row("p"),
        );
        let sweeping =
            turned.iter().map(|target| removal(model, (shape, target.reference), target.first));
        Some(Query::new(text, columns()).or(Done::NothingMarked, sweeping))
    });
    each.into_iter().flatten().collect()
}

/// A reference by key, and the row's columns with its target's key.
pub struct Target<'a> {
    reference: &'a ReferenceShape,
    shape: &'a NodeShape,
    first: usize,
}

impl Target<'_> {
    /// Whether the relationship `o` to `p` is one of the reference's and leads elsewhere than the
    /// row says. Uses CASE, because Neo4j multiplies out ORs and ANDs.
    fn outdated(&self) -> String {
        let Target { reference, shape, first } = self;
        format!(
            " WHEN o:{} AND p:{} THEN r[{first}] IS NULL OR {}",
            quote(&reference.relationship_type),
            quote(&shape.label),
            differs("p", &shape.key, *first),
        )
    }

    /// Creates the row's relationship. A missing target becomes a placeholder.
    pub fn refer(&self, owner: &str) -> String {
        let Target { reference, shape, first } = self;
        format!(
            " FOREACH (x IN CASE WHEN r[{first}] IS NULL THEN [] ELSE [1] END | {} MERGE {})",
            merge("p", shape, *first),
            owned(owner, "", reference, "p"),
        )
    }
}

/// The number of columns in the targets' keys.
pub fn width(targets: &[Target]) -> usize {
    targets.iter().map(|target| target.shape.key.len()).sum()
}

/// The references of the table. Their targets' keys follow the owner's key in a row.
pub fn targets<'a>(
    model: &'a Model,
    shape: &'a NodeShape,
    references: &[usize],
) -> Vec<Target<'a>> {
    let mut first = shape.key.len();
    let targets = references.iter().map(|reference| {
        let reference = &shape.references[*reference];
        let target = Target { reference, shape: model.node(reference.target), first };
        first += target.shape.key.len();
        target
    });
    targets.collect()
}

/// The columns of an owner and its targets.
pub fn row_to(owner: &Key, targets: &[Target], row: &[Option<Key>]) -> Vec<Parameter> {
    let mut columns = key_columns(owner.clone());
    for (target, key) in targets.iter().zip(row) {
        columns.extend(target_columns(key, target.shape.key.len()));
    }
    columns
}

pub fn add(
    model: &Model,
    table: TableIndex,
    reference: usize,
    presence: Presence,
    rows: Vec<(Key, Key)>,
) -> Query {
    let owner = owner_and_reference(model, table, reference);
    let rows = rows.into_iter().map(two_keys);
    let general = |beside| addition(model, owner, beside);
    match presence {
        Presence::New => {
            let there = owned("c", "", owner.1, "p");
            let between = between_rows(model, owner, Beside::Nobody, &there);
            Query::new(between, rows).or(Done::RelationshipsMade, [general(Beside::Nobody)])
        }
        Presence::Known => Query::new(general(Beside::Nobody), rows),
        Presence::Unknown(beside) => Query::new(general(beside), rows),
    }
}

/// Creates missing relationships, also to missing targets. Looks the target up first: in a graph
/// without any of these relationships, Neo4j may plan to scan all targets for one.
fn addition(
    model: &Model,
    (shape, reference): (&NodeShape, &ReferenceShape),
    beside: Beside,
) -> String {
    let pattern = owned("c", "", reference, "p");
    format!(
        "UNWIND $rows[0] AS r {} {} {} WITH c, p WHERE {} AND NOT EXISTS {{ {pattern} }} CREATE {pattern}",
        seek("c", shape, 0),
        merge("p", model.node(reference.target), shape.key.len()),
        keep("p", beside),
        is_row("c"),
    )
}

/// Creates relationships between two rows' nodes, unless `there` exists: the common case.
fn between_rows(
    model: &Model,
    (shape, reference): (&NodeShape, &ReferenceShape),
    beside: Beside,
    there: &str,
) -> String {
    format!(
        "UNWIND $rows[0] AS r {} {} {} WITH c, p WHERE {} AND {} AND NOT EXISTS {{ {there} }} CREATE {}",
        seek("c", shape, 0),
        seek("p", model.node(reference.target), shape.key.len()),
        keep_row("p", beside),
        is_row("c"),
        is_row("p"),
        owned("c", "", reference, "p"),
    )
}

/// Gives owners without a relationship theirs. If some owners had one, the fallback removes what
/// leads elsewhere and adds what is missing.
pub fn replace(
    model: &Model,
    table: TableIndex,
    reference: usize,
    beside: Beside,
    rows: Vec<(Key, Key)>,
) -> Query {
    let owner = owner_and_reference(model, table, reference);
    let anywhere = format!(":{}", quote(&model.node(owner.1.target).label));
    let any = owned("c", "", owner.1, &anywhere);
    let otherwise = [removal(model, owner, owner.0.key.len()), addition(model, owner, beside)];
    Query::new(between_rows(model, owner, beside, &any), rows.into_iter().map(two_keys))
        .or(Done::RelationshipsMade, otherwise)
}

pub fn match_from_owner(
    model: &Model,
    table: TableIndex,
    reference: usize,
    rows: Vec<(Key, Option<Key>)>,
) -> Vec<Query> {
    let (shape, reference) = owner_and_reference(model, table, reference);
    let (_, properties) = unique_columns(reference);
    let target = model.node(reference.target);
    match_by_value(reference, ("c", shape), ("p", target, properties), rows)
}

pub fn match_from_target(
    model: &Model,
    table: TableIndex,
    reference: usize,
    rows: Vec<(Key, Option<Key>)>,
) -> Vec<Query> {
    let (shape, reference) = owner_and_reference(model, table, reference);
    let (properties, _) = unique_columns(reference);
    let target = model.node(reference.target);
    match_by_value(reference, ("p", target), ("c", shape, properties), rows)
}

/// Matches the ends in the rows with the other ends that have their values. First removes what
/// differs, for all rows; then creates what the rows say.
fn match_by_value(
    reference: &ReferenceShape,
    (named, shape): (&str, &NodeShape),
    (other, other_shape, properties): (&str, &NodeShape, &[String]),
    rows: Vec<(Key, Option<Key>)>,
) -> Vec<Query> {
    let first = shape.key.len();
    let label = quote(&other_shape.label);
    let end = |end: &str| match end == other {
        true => format!("{end}:{label}"),
        false => end.to_owned(),
    };
    let remove = format!(
        "UNWIND $rows[0] AS r {} MATCH {} WHERE r[{first}] IS NULL OR {other}:{PLACEHOLDER} OR {} DELETE o",
        seek(named, shape, 0),
        owned(&end("c"), "o", reference, &end("p")),
        differs(other, properties, first),
    );
    let add = format!(
        "UNWIND $rows[0] AS r {} {} {}",
        seek(named, shape, 0),
        seek_by(other, other_shape, properties, first),
        create_once(reference),
    );
    let values = rows.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
    let add = Query::new(add, values.map(two_keys));
    vec![Query::new(remove, rows.into_iter().map(key_and_option)), add]
}

fn seek_by(variable: &str, shape: &NodeShape, properties: &[String], first: usize) -> String {
    format!(
        "MATCH ({variable}:{} {{{}}}) {}",
        quote(&shape.label),
        columns(properties, first),
        hint(variable, &shape.label, properties)
    )
}

fn create_once(reference: &ReferenceShape) -> String {
    let pattern = owned("c", "", reference, "p");
    format!(
        "WITH c, p WHERE {} AND {} AND NOT EXISTS {{ {pattern} }} CREATE {pattern}",
        is_row("c"),
        is_row("p"),
    )
}

fn owner_and_reference(
    model: &Model,
    table: TableIndex,
    reference: usize,
) -> (&NodeShape, &ReferenceShape) {
    let shape = model.node(table);
    (shape, &shape.references[reference])
}

fn unique_columns(reference: &ReferenceShape) -> (&[String], &[String]) {
    match &reference.by {
        ReferenceBy::Unique { owner_properties, target_properties } => {
            (owner_properties, target_properties)
        }
        ReferenceBy::Key => panic!("a reference by key is not matched by value"),
    }
}
