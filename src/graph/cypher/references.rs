//! Relationships that rows own: by their target's key, and by unique columns of it.

use crate::graph::{
    model::{Model, NodeShape, ReferenceBy, ReferenceShape, TableIndex},
    mutation::Key,
    statement::Presence,
};

use super::{
    Made, Query, key_and_option,
    text::{columns, differs, hint, hold, is_row, keep, merge, owned, quote, seek, sweep},
    two_keys,
};

pub fn remove(
    model: &Model,
    table: TableIndex,
    reference: usize,
    sweep_targets: bool,
    rows: Vec<(Key, Option<Key>)>,
) -> Query {
    let text = removal(model, owner_and_reference(model, table, reference), sweep_targets);
    Query::new(text, rows.into_iter().map(key_and_option))
}

fn removal(
    model: &Model,
    (shape, reference): (&NodeShape, &ReferenceShape),
    sweep_targets: bool,
) -> String {
    let target = model.node(reference.target);
    let first = shape.key.len();
    let left = match sweep_targets {
        true => sweep(model, reference.target, "p"),
        false => String::new(),
    };
    format!(
        "UNWIND $rows[0] AS r {} MATCH {} WHERE r[{first}] IS NULL OR {} DELETE o {left}",
        seek("c", shape, 0),
        owned("c", "o", reference, &format!("p:{}", quote(&target.label))),
        differs("p", &target.key, first),
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
    let general = addition(model, owner, presence);
    match presence {
        Presence::New => {
            let there = owned("c", "", owner.1, "p");
            let between = between_rows(model, owner, presence, &there);
            Query::new(between, rows).or(Made::Relationships, [general])
        }
        Presence::Known | Presence::Unknown => Query::new(general, rows),
    }
}

/// Relationships to targets that may not be there yet, unless they are there.
fn addition(
    model: &Model,
    (shape, reference): (&NodeShape, &ReferenceShape),
    presence: Presence,
) -> String {
    let kept = match presence {
        Presence::Known | Presence::New => String::new(),
        Presence::Unknown if reference.enforced => keep("p"),
        Presence::Unknown => hold("p"),
    };
    let pattern = owned("c", "", reference, "p");
    format!(
        "UNWIND $rows[0] AS r {} {} {kept} WITH c, p WHERE {} AND NOT EXISTS {{ {pattern} }} CREATE {pattern}",
        seek("c", shape, 0),
        merge("p", model.node(reference.target), shape.key.len()),
        is_row("c"),
    )
}

/// Relationships between nodes that are both rows', unless `there`: what is mostly the case.
fn between_rows(
    model: &Model,
    (shape, reference): (&NodeShape, &ReferenceShape),
    presence: Presence,
    there: &str,
) -> String {
    let held = match presence {
        Presence::Unknown if !reference.enforced => hold("p"),
        _ => String::new(),
    };
    format!(
        "UNWIND $rows[0] AS r {} {} {held} WITH c, p WHERE {} AND {} AND NOT EXISTS {{ {there} }} CREATE {}",
        seek("c", shape, 0),
        seek("p", model.node(reference.target), shape.key.len()),
        is_row("c"),
        is_row("p"),
        owned("c", "", reference, "p"),
    )
}

/// Owners that have no relationship get theirs. Were it not so with all of them, what leads
/// elsewhere goes, and what is missing then comes.
pub fn replace(model: &Model, table: TableIndex, reference: usize, rows: Vec<(Key, Key)>) -> Query {
    let owner = owner_and_reference(model, table, reference);
    let anywhere = format!(":{}", quote(&model.node(owner.1.target).label));
    let any = owned("c", "", owner.1, &anywhere);
    let presence = Presence::Unknown;
    let otherwise = [removal(model, owner, true), addition(model, owner, presence)];
    Query::new(between_rows(model, owner, presence, &any), rows.into_iter().map(two_keys))
        .or(Made::Relationships, otherwise)
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
