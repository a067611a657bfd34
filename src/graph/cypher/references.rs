//! Relationships that rows own: by their target's key, and by unique columns of it.

use crate::graph::{
    model::{Model, NodeShape, ReferenceBy, ReferenceShape, TableIndex},
    mutation::Key,
    statement::{Company, PLACEHOLDER},
};

use super::{
    Query, key_and_option,
    text::{columns, differs, hint, hold, keep, merge, owned, quote, seek, sweep},
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
        "UNWIND $rows AS r {} MATCH {} WHERE r[{first}] IS NULL OR {} DELETE o {left}",
        seek("c", shape, 0),
        owned("c", "o", reference, &format!("p:{}", quote(&target.label))),
        differs("p", &target.key, first),
    )
}

pub fn add(
    model: &Model,
    table: TableIndex,
    reference: usize,
    company: Company,
    rows: Vec<(Key, Key)>,
) -> Query {
    let owner = owner_and_reference(model, table, reference);
    let there = owned("c", "", owner.1, "p");
    Query::new(addition(model, owner, company, &there), rows.into_iter().map(two_keys))
}

/// Relationships to targets that may not be there yet, unless `there`.
fn addition(
    model: &Model,
    (shape, reference): (&NodeShape, &ReferenceShape),
    company: Company,
    there: &str,
) -> String {
    let kept = match company {
        Company::Alone => String::new(),
        Company::Lanes if reference.enforced => keep("p"),
        Company::Lanes => hold("p"),
    };
    format!(
        "UNWIND $rows AS r {} {} {kept} WITH c, p WHERE NOT c:{PLACEHOLDER} AND NOT EXISTS {{ {there} }} CREATE {}",
        seek("c", shape, 0),
        merge("p", model.node(reference.target), shape.key.len()),
        owned("c", "", reference, "p"),
    )
}

/// Owners that have no relationship get theirs. Were it not so with all of them, what leads
/// elsewhere goes, and what is missing then comes.
pub fn replace(model: &Model, table: TableIndex, reference: usize, rows: Vec<(Key, Key)>) -> Query {
    let owner = owner_and_reference(model, table, reference);
    let anywhere = format!(":{}", quote(&model.node(owner.1.target).label));
    let any = owned("c", "", owner.1, &anywhere);
    let same = owned("c", "", owner.1, "p");
    let add = |there: &str| addition(model, owner, Company::Lanes, there);
    let otherwise = vec![removal(model, owner, true).into(), add(&same).into()];
    Query { otherwise, ..Query::new(add(&any), rows.into_iter().map(two_keys)) }
}

pub fn match_from_owner(
    model: &Model,
    table: TableIndex,
    reference: usize,
    rows: Vec<(Key, Option<Key>)>,
) -> Vec<Query> {
    let (shape, reference) = owner_and_reference(model, table, reference);
    let (_, target_properties) = unique_columns(reference);
    let target = model.node(reference.target);
    let first = shape.key.len();
    let remove = format!(
        "UNWIND $rows AS r {} MATCH {} WHERE r[{first}] IS NULL OR {} DELETE o",
        seek("c", shape, 0),
        owned("c", "o", reference, &format!("p:{}", quote(&target.label))),
        differs("p", target_properties, first),
    );
    let add = format!(
        "UNWIND $rows AS r {} {} {}",
        seek("c", shape, 0),
        seek_by("p", target, target_properties, first),
        create_once(reference),
    );
    both(remove, add, rows)
}

pub fn match_from_target(
    model: &Model,
    table: TableIndex,
    reference: usize,
    rows: Vec<(Key, Option<Key>)>,
) -> Vec<Query> {
    let (shape, reference) = owner_and_reference(model, table, reference);
    let (owner_properties, _) = unique_columns(reference);
    let target = model.node(reference.target);
    let first = target.key.len();
    let remove = format!(
        "UNWIND $rows AS r {} MATCH {} WHERE r[{first}] IS NULL OR {} DELETE o",
        seek("p", target, 0),
        owned(&format!("c:{}", quote(&shape.label)), "o", reference, "p"),
        differs("c", owner_properties, first),
    );
    let add = format!(
        "UNWIND $rows AS r {} {} {}",
        seek("p", target, 0),
        seek_by("c", shape, owner_properties, first),
        create_once(reference),
    );
    both(remove, add, rows)
}

/// What differs goes, for all rows; then what the rows name is there.
fn both(remove: String, add: String, rows: Vec<(Key, Option<Key>)>) -> Vec<Query> {
    let named = rows.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
    let add = Query::new(add, named.map(two_keys));
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
        "WITH c, p WHERE NOT c:{PLACEHOLDER} AND NOT p:{PLACEHOLDER} AND NOT EXISTS {{ {pattern} }} \
         CREATE {pattern}"
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
