//! Relationships that rows own: by their target's key, and by unique columns of it.

use crate::graph::{
    model::{Model, NodeShape, ReferenceBy, ReferenceShape, TableIndex},
    mutation::Key,
    statement::{Beside, Presence},
};

use super::{
    Done, Query, key_and_option,
    text::{columns, differs, hint, is_row, keep, keep_row, merge, owned, quote, seek, sweep},
    two_keys,
};

pub fn remove(
    model: &Model,
    table: TableIndex,
    reference: usize,
    rows: Vec<(Key, Option<Key>)>,
) -> Query {
    let text = removal(model, owner_and_reference(model, table, reference));
    Query::new(text, rows.into_iter().map(key_and_option))
}

fn removal(model: &Model, (shape, reference): (&NodeShape, &ReferenceShape)) -> String {
    let target = model.node(reference.target);
    let first = shape.key.len();
    format!(
        "UNWIND $rows[0] AS r {} MATCH {} WHERE r[{first}] IS NULL OR {} DELETE o {}",
        seek("c", shape, 0),
        owned("c", "o", reference, &format!("p:{}", quote(&target.label))),
        differs("p", &target.key, first),
        sweep(model, reference.target, "p"),
    )
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

/// Relationships to targets that may not be there yet, unless they are there.
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

/// Relationships between nodes that are both rows', unless `there`: what is mostly the case.
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

/// Owners that have no relationship get theirs. Were it not so with all of them, what leads
/// elsewhere goes, and what is missing then comes.
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
    let otherwise = [removal(model, owner), addition(model, owner, beside)];
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

/// The ends that the rows name by key, and the others that have their values: what differs goes, for
/// all rows; then what the rows name is there.
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
        "UNWIND $rows[0] AS r {} MATCH {} WHERE r[{first}] IS NULL OR {} DELETE o",
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
