//! Tables that are paused: they have changed, and the file does not let the graph follow.
//!
//! ```text
//! kept TableFacts, catalog of now, rules --pauses--> tables to pause, with what differs
//! catalog of now --held--> catalog with those tables as the graph has them --> mapping
//! ```
//!
//! For everybody else, a paused table is what it was: its label, its key and what refers to it are the same. So
//! nothing of the graph depends on the change. Its changes are passed over, and nobody counts which. Once it goes on,
//! all of its rows are compared.
//!
//! A graph that is made from several partitions has a checkpoint for each, with the tables as that partition has gone
//! over to them. It is one graph all the same: a table is paused for all partitions or for none. One that a partition
//! has gone over with as it is now is not paused.

use std::borrow::Cow;

use crate::{
    catalog::{Catalog, Table, TableName, definition::Definition},
    lsn::Lsn,
    mapping::{Mapping, edit::SchemaChanges, identify_by, scalar},
    shown::Shown,
};

use super::{
    generation::{Before, Generation, judge},
    rules::{Dropped, Paused, Pauses, Rules},
    shape::{ReadAt, Standing},
    tables::{Now, TableFacts, TableIs},
};

/// The tables that are paused, by what all checkpoints of a graph have of them. `mapped` is what the tables of now
/// become; `None`: they can not be mapped.
pub fn pauses(
    all: &[TableFacts],
    catalog: &Catalog,
    mapped: Option<(&Now, &Mapping)>,
    rules: &Rules,
) -> Pauses {
    if !rules.may_pause() {
        return Pauses::new();
    }
    let layers = layers(all);
    let found: Vec<Pauses> =
        layers.iter().map(|facts| differing(facts, catalog, mapped, rules)).collect();
    let is_in_each = |oid: &u32| {
        let has = |facts: &TableFacts| facts.tables.iter().any(|it| it.oid == *oid);
        layers.iter().zip(&found).all(|(facts, found)| !has(facts) || found.contains_key(oid))
    };
    let mut pauses = Pauses::new();
    for (oid, paused) in found.iter().flatten().filter(|(oid, _)| is_in_each(oid)) {
        pauses.entry(*oid).or_insert_with(|| paused.clone());
    }
    let newest = newest(&layers);
    while let Some((oid, paused)) = in_the_way(&newest, catalog, &pauses) {
        pauses.insert(oid, paused);
    }
    pauses
}

/// What checkpoints have of the tables, as one value that has each table once. There are more while some partitions
/// have gone over to the next shape of a table, and others have not.
pub fn layers(all: &[TableFacts]) -> Vec<TableFacts> {
    let mut layers: Vec<TableFacts> = Vec::new();
    for facts in all {
        let mut has_seen = false;
        for table in &facts.tables {
            if layers.iter().any(|layer| layer.tables.contains(table)) {
                continue;
            }
            let lacks = |layer: &TableFacts| layer.tables.iter().all(|it| it.oid != table.oid);
            let at = layers.iter().position(lacks).unwrap_or(layers.len());
            if at == layers.len() {
                layers.push(TableFacts::new(None, Vec::new()));
            }
            let layer = &mut layers[at];
            if layer.publication.is_none() {
                layer.publication.clone_from(&facts.publication);
            }
            if !std::mem::replace(&mut has_seen, true) {
                layer.seen.extend(facts.seen.iter().cloned());
            }
            layer.tables.push(table.clone());
        }
    }
    layers
}

/// Each table as the partition has it that has gone over last.
fn newest(layers: &[TableFacts]) -> TableFacts {
    let mut newest: Vec<TableIs> = Vec::new();
    for table in layers.iter().flat_map(|facts| &facts.tables) {
        let age = |it: &TableIs| it.shape.as_ref().map(|shape| shape.age());
        match newest.iter_mut().find(|it| it.oid == table.oid) {
            None => newest.push(table.clone()),
            Some(known) if age(known) < age(table) => known.clone_from(table),
            Some(_) => {}
        }
    }
    let publication = layers.iter().find_map(|facts| facts.publication.clone());
    TableFacts::new(publication, newest)
}

/// The tables that differ from what the graph has, and that the file says to pause.
fn differing(
    facts: &TableFacts,
    catalog: &Catalog,
    mapped: Option<(&Now, &Mapping)>,
    rules: &Rules,
) -> Pauses {
    // Without the publication nobody knows what comes of a table: that is no change of it.
    let is_published = mapped.is_none_or(|(now, _)| now.facts.publication.is_some());
    let judged = mapped.map(|(now, mapping)| (now, mapping, judged(facts, now, mapping)));
    let paused = |was: &TableIs| {
        let definition = was.definition.as_ref()?;
        let is = catalog.tables.iter().find(|table| table.oid == was.oid);
        let paused = match is {
            None => gone(was, catalog, rules)?,
            Some(is) => {
                let name = was.table_name();
                let pauses = rules.of(&name, Some(&is.name)) == SchemaChanges::Pause;
                if !pauses || !(is_published || was.paused.is_some()) {
                    return None;
                }
                let why = match &judged {
                    None => definition.differences(is),
                    Some(judged) => differs(was, is, definition, judged)?,
                };
                if why.is_empty() {
                    return None;
                }
                Paused { why, fix: fix(was, is, definition) }
            }
        };
        Some((was.oid, paused))
    };
    facts.tables.iter().filter_map(paused).collect()
}

/// A table that has the name of a paused one now: two can not have it.
fn in_the_way(facts: &TableFacts, catalog: &Catalog, pauses: &Pauses) -> Option<(u32, Paused)> {
    let is_paused = |oid: u32| pauses.contains_key(&oid);
    let names: Vec<TableName> =
        facts.tables.iter().filter(|it| is_paused(it.oid)).map(TableIs::table_name).collect();
    let mut known = facts.tables.iter().filter(|it| !is_paused(it.oid) && it.definition.is_some());
    known.find_map(|was| {
        let is = catalog.tables.iter().find(|table| table.oid == was.oid)?;
        let why = format!("it has the name of {}, which is paused", is.name);
        let fix = format!("It goes on with {}", is.name);
        names.contains(&is.name).then(|| (was.oid, Paused { why: vec![why], fix }))
    })
}

fn judged(facts: &TableFacts, now: &Now, mapping: &Mapping) -> Generation {
    let facts = match &facts.publication {
        Some(_) => Cow::Borrowed(facts),
        None => {
            // Everything that the publication has sent has come since.
            let mut facts = facts.clone();
            facts.published_as(&now.facts);
            Cow::Owned(facts)
        }
    };
    let before = Before {
        facts: &facts,
        labels: &[],
        digest: "",
        outlines: &Default::default(),
        // Whether rows have to be looked at does not matter here.
        standing: Standing { applied: Lsn::ZERO, is_clean: false, by_names: false },
        unexplained: &Default::default(),
    };
    let at = ReadAt { from: Lsn::ZERO, through: Lsn::ZERO, is_locked: true };
    judge(before, now, mapping, at)
}

/// What differs in a table that is there; `None`: nothing that matters, or nothing but the file.
fn differs(
    was: &TableIs,
    is: &Table,
    definition: &Definition,
    (now, mapping, judged): &(&Now, &Mapping, Generation),
) -> Option<Vec<String>> {
    let named = definition.differences(is);
    if let Some(why) = now.unmapped.get(&was.oid) {
        return Some(if named.is_empty() { vec![why.clone()] } else { named });
    }
    let of_table = judged.changes().find(|found| found.table == is.name);
    let found = of_table?;
    let index = mapping.table_index(&is.name.schema, &is.name.name);
    let shape = judged.facts.tables.iter().find(|it| it.oid == was.oid);
    let is_of_file = match (&was.shape, shape.and_then(|it| it.shape.as_ref())) {
        (Some(before), Some(shape)) => index.is_some() && !before.has_form_of(shape),
        _ => false,
    };
    match (named.is_empty(), is_of_file) {
        (true, true) => None,
        (true, false) => Some(vec![found.what.clone()]),
        (false, _) => Some(named),
    }
}

/// A table that is not there any more, if its rows stay.
fn gone(was: &TableIs, catalog: &Catalog, rules: &Rules) -> Option<Paused> {
    let name = was.table_name();
    let pauses = rules.of(&name, None) == SchemaChanges::Pause;
    let stops = rules.of(&name, None) == SchemaChanges::Stop;
    let is_made_anew = catalog.table(&name).is_some();
    let stays = match rules.dropped {
        Dropped::AsOthers => pauses,
        Dropped::Clear => false,
        // Another table of the name takes its place.
        Dropped::Keep => pauses || (!stops && !is_made_anew),
    };
    let why = match is_made_anew {
        false => "the table was dropped",
        true => "the table was dropped, and another one has its name",
    };
    let shown = name.in_file();
    let fix = match is_made_anew {
        false => format!(
            "To take its rows out of the graph: `dropped_tables: clear` in the file, without {} in its `tables:`",
            Shown(&shown)
        ),
        true => apply(&name),
    };
    stays.then(|| Paused { why: vec![why.to_owned()], fix })
}

fn apply(name: &TableName) -> String {
    let name = name.in_file();
    format!(
        "To go on, take that back, or let the graph follow: `tables: {{{}: {{schema_changes: apply}}}}` in the file, \
         and start again",
        scalar(&name)
    )
}

fn fix(was: &TableIs, is: &Table, definition: &Definition) -> String {
    if !definition.has_other_key(is) {
        return apply(&is.name);
    }
    let columns: Vec<String> = was.key.iter().map(|name| scalar(name)).collect();
    format!(
        "To go on with the key of before, if its columns are still there: {}, and set `key: [{}]` for the table in the \
         file. With `schema_changes: apply` for it, the program ends, and says how to go on with the other key",
        identify_by(&is.name, &was.key),
        columns.join(", ")
    )
}

/// The paused tables as the graph has them, of all its checkpoints.
pub fn kept(all: &[TableFacts], pauses: &Pauses) -> Vec<TableIs> {
    let mut kept = newest(&layers(all)).tables;
    kept.retain(|table| pauses.contains_key(&table.oid));
    for table in &mut kept {
        table.paused = pauses.get(&table.oid).cloned();
    }
    kept
}

/// The catalog by which the graph goes on: what is paused is as it was.
pub fn held(catalog: Catalog, all: &[TableFacts], pauses: &Pauses) -> Catalog {
    let kept = kept(all, pauses);
    let kept: Vec<&Definition> =
        kept.iter().filter_map(|table| table.definition.as_ref()).collect();
    catalog.with(&kept)
}
