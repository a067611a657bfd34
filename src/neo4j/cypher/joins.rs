//! Relationships of join rows: upserted, updated, dropped, cleared.

use crate::graph::{
    Key,
    model::{Model, RelationshipKey, RelationshipShape, TableIndex},
    statement::{
        Beside, Completeness, INCOMPLETE_PROPERTY, Known, NodeRow, Presence, Reach,
        RelationshipRow, STAMP,
    },
};

use super::{
    Done, Parameter, Query, key_columns, node_row,
    nodes::{assignments, before_row, older, stamped},
    stamp,
    text::{
        columns, delete_joined, differs, hint, is_row, join_shape, joined, keep, keep_row, merge,
        quote, seek, sweep_ends,
    },
    values,
};

/// The columns of a row of [`upsert`]: start key, end key, own key (if it has one), values.
struct Layout {
    to: usize,
    own: usize,
    values: usize,
}

impl Layout {
    fn new(model: &Model, join: &RelationshipShape) -> Self {
        let to = model.node(join.from).key.len();
        let own = to + model.node(join.to).key.len();
        Layout { to, own, values: own + own_key(join).len() }
    }
}

/// The properties of the join table's own key.
pub fn own_key(join: &RelationshipShape) -> &[String] {
    match &join.key {
        RelationshipKey::Ends => &[],
        RelationshipKey::Own(properties) => properties,
    }
}

pub fn upsert(
    model: &Model,
    table: TableIndex,
    known: &Known,
    (completeness, presence): (Completeness, Presence),
    rows: Vec<RelationshipRow>,
) -> Vec<Query> {
    let join = join_shape(model, table);
    let layout = Layout::new(model, join);
    let (from, to) = (model.node(join.from), model.node(join.to));
    let beside = match presence {
        Presence::Unknown(beside) => beside,
        Presence::New | Presence::Known => Beside::Nobody,
    };
    let merged = format!("{} {}", merge("a", from, 0), merge("b", to, layout.to));
    let ends = format!("{merged} {} {}", keep("a", beside), keep("b", beside));
    let mut queries = Vec::new();
    let stamps = rows.iter().map(|row| row.stamp);
    let stamped = stamped("x", stamps, layout.values + known.count());
    let rows: Vec<Vec<Parameter>> = rows.into_iter().map(|row| columns_of(join, row)).collect();
    let own = own_key(join);
    if own.is_empty() && presence == Presence::Unknown(Beside::Nobody) {
        let mut set = assignments("x", &join.properties, known, layout.values);
        set.extend(mark(join, completeness, false));
        set.extend(stamped);
        return vec![Query::new(in_one(join, &merged, completeness, &set), rows)];
    }
    let (existing, missing) = if own.is_empty() {
        let missing = format!("WITH a, b, r WHERE NOT EXISTS {{ {} }}", joined("a", "", join, "b"));
        (row_match(model, join), missing)
    } else {
        if presence != Presence::New {
            // This text sweeps, so it runs before any placeholder is created for other rows.
            let moved = format!("UNWIND $rows[0] AS r {}", reconnect(model, join, &layout, beside));
            queries.push(Query::new(moved, rows.iter().cloned()));
        }
        let none = format!(
            "WITH a, b, r OPTIONAL {} WITH a, b, r, y WHERE y IS NULL",
            seek_own(model, "y", join, layout.own)
        );
        (seek_own(model, "x", join, layout.own), none)
    };
    let mut set = assignments("x", &join.properties, known, layout.values);
    set.extend(mark(join, completeness, false));
    set.extend(stamped.clone());
    let update = (!set.is_empty() && presence != Presence::New)
        .then(|| format!("UNWIND $rows[0] AS r {existing} SET {}", set.join(", ")));
    if presence == Presence::Known {
        queries.extend(update.map(|update| Query::new(update, rows)));
        return queries;
    }
    let create = create(join, known, completeness, &layout, stamped);
    let general = format!("UNWIND $rows[0] AS r {ends} {missing} {create}");
    // Usually both ends are rows and the relationship does not exist. The last text sets the values
    // that the new relationships have already.
    let between_rows = format!(
        "UNWIND $rows[0] AS r {} {} {} {} WITH a, b, r WHERE {} AND {} {missing} {create}",
        seek("a", from, 0),
        seek("b", to, layout.to),
        keep_row("a", beside),
        keep_row("b", beside),
        is_row("a"),
        is_row("b"),
    );
    let otherwise = std::iter::once(general).chain(update);
    queries.push(Query::new(between_rows, rows).or(Done::RelationshipsMade, otherwise));
    queries
}

/// For few rows, new or changed: merges the ends, then the relationship between them.
fn in_one(
    join: &RelationshipShape,
    ends: &str,
    completeness: Completeness,
    set: &[String],
) -> String {
    let made = mark(join, completeness, true).map(|mark| format!(" ON CREATE SET {mark}"));
    format!(
        "UNWIND $rows[0] AS r {ends} MERGE {}{}{}",
        joined("a", "x", join, "b"),
        made.unwrap_or_default(),
        if set.is_empty() { String::new() } else { format!(" SET {}", set.join(", ")) },
    )
}

fn columns_of(join: &RelationshipShape, row: RelationshipRow) -> Vec<Parameter> {
    let mut columns = key_columns(row.from);
    columns.extend(key_columns(row.to));
    if join.key != RelationshipKey::Ends {
        columns.extend(key_columns(row.key));
    }
    columns.extend(values(row.values));
    columns.extend(row.stamp.map(stamp));
    columns
}

/// The assignment that marks the relationship complete or not. Without properties it is always
/// complete.
fn mark(join: &RelationshipShape, completeness: Completeness, created: bool) -> Option<String> {
    let value = match completeness {
        _ if join.properties.is_empty() => return None,
        Completeness::Complete if created => return None,
        Completeness::Complete => "null",
        Completeness::Partial if !created => return None,
        Completeness::Partial | Completeness::PartialMoved => "true",
    };
    Some(format!("x.{INCOMPLETE_PROPERTY} = {value}"))
}

fn create(
    join: &RelationshipShape,
    known: &Known,
    completeness: Completeness,
    layout: &Layout,
    stamped: Option<String>,
) -> String {
    let mut set = assignments("x", own_key(join), &all(own_key(join)), layout.own);
    set.extend(assignments("x", &join.properties, known, layout.values));
    set.extend(mark(join, completeness, true));
    set.extend(stamped);
    let set = if set.is_empty() { String::new() } else { format!("SET {}", set.join(", ")) };
    format!("CREATE {} {set}", joined("a", "x", join, "b"))
}

fn all(properties: &[String]) -> Known {
    Known(vec![true; properties.len()].into())
}

/// `MATCH (:From)-[x:Type {key}]->(:To)`, by its index. Other relationships may have the same type
/// and key, between other nodes: those of another join table, and those of other applications.
pub fn seek_own(model: &Model, variable: &str, join: &RelationshipShape, first: usize) -> String {
    let own = own_key(join);
    let relationship_type = quote(&join.relationship_type);
    format!(
        "MATCH (:{})-[{variable}:{relationship_type} {{{}}}]->(:{}) {}",
        quote(&model.node(join.from).label),
        columns(own, first),
        quote(&model.node(join.to).label),
        hint(variable, &join.relationship_type, own)
    )
}

/// Creates a relationship again at the row's ends if its ends are elsewhere. Deletes it first,
/// because the new one has its unique key. Creates missing ends here, because a sweep of other
/// rows' old ends may have removed them.
fn reconnect(model: &Model, join: &RelationshipShape, layout: &Layout, beside: Beside) -> String {
    let (from, to) = (model.node(join.from), model.node(join.to));
    format!(
        "{} WITH r, x, startNode(x) AS s, endNode(x) AS e WHERE {} OR {} \
         {} {} {} {} \
         WITH x, s, e, a, b, properties(x) AS kept {} CREATE {} SET y = kept \
         WITH collect(DISTINCT s) AS starts, collect(DISTINCT e) AS ends {}",
        seek_own(model, "x", join, layout.own),
        differs("s", &from.key, 0),
        differs("e", &to.key, layout.to),
        merge("a", from, 0),
        merge("b", to, layout.to),
        keep("a", beside),
        keep("b", beside),
        delete_joined("x", join),
        joined("a", "y", join, "b"),
        sweep_ends(model, join),
    )
}

pub fn update(
    model: &Model,
    table: TableIndex,
    known: &Known,
    rows: Vec<NodeRow>,
) -> Option<Query> {
    let join = join_shape(model, table);
    let width = own_key(join).len();
    let mut set = assignments("x", &join.properties, known, width);
    set.extend(stamped("x", rows.iter().map(|row| row.stamp), width + known.count()));
    if set.is_empty() {
        // Nothing came but the key.
        return None;
    }
    let text =
        format!("UNWIND $rows[0] AS r {} SET {}", seek_own(model, "x", join, 0), set.join(", "));
    Some(Query::new(text, rows.into_iter().map(node_row)))
}

/// Usually both ends are rows, and no placeholder needs a sweep.
pub fn drop(model: &Model, table: TableIndex, keys: Vec<Key>, beside: Beside) -> Query {
    let join = join_shape(model, table);
    let found = format!(
        "UNWIND $rows[0] AS r {} WITH x, startNode(x) AS s, endNode(x) AS e",
        row_match(model, join)
    );
    let gone = delete_joined("x", join);
    let general = format!(
        "{found} {gone} WITH collect(DISTINCT s) AS starts, collect(DISTINCT e) AS ends {}",
        sweep_ends(model, join),
    );
    let rows = keys.into_iter().map(key_columns);
    match beside {
        Beside::Nobody => {
            let between_rows = format!("{found} WHERE {} AND {} {gone}", is_row("s"), is_row("e"));
            Query::new(between_rows, rows).or(Done::RelationshipsDeleted, [general])
        }
        Beside::Lanes | Beside::Anybody => Query::new(general, rows),
    }
}

/// Finds the relationship `x` of a join row by the key in the row's first columns.
pub fn row_match(model: &Model, join: &RelationshipShape) -> String {
    match join.key {
        RelationshipKey::Own(_) => seek_own(model, "x", join, 0),
        RelationshipKey::Ends => {
            let (from, to) = (model.node(join.from), model.node(join.to));
            format!("{} {} {}", seek("a", from, 0), seek("b", to, from.key.len()), between(join))
        }
    }
}

/// The relationship between two nodes that are already found. The sub-query stops the planner from
/// walking all relationships of one of them. Index hints on both nodes do not.
fn between(join: &RelationshipShape) -> String {
    format!("CALL (a, b) {{ MATCH {} RETURN x }}", joined("a", "x", join, "b"))
}

/// Checks labels only after it has found the relationships by their type. Otherwise every piece
/// would walk again over nodes without any left.
///
/// No second check under the lock is needed. Once a writer has found a relationship older than a
/// truncate, no other writer fills it again: its own partition's truncate removes it first.
pub fn clear(model: &Model, table: TableIndex, reach: Reach, limit: usize) -> Query {
    let join = join_shape(model, table);
    let (from, to) = (quote(&model.node(join.from).label), quote(&model.node(join.to).label));
    let (begin, is_older, rows) = match reach {
        Reach::All => ("", String::new(), Vec::new()),
        Reach::Before(before) => (
            "UNWIND $rows[0] AS r ",
            format!(" WHERE {}", older(&format!("x.{STAMP}"))),
            vec![before_row(before)],
        ),
    };
    let text = format!(
        "{begin}MATCH {}{is_older} WITH x, startNode(x) AS s, endNode(x) AS e WHERE s:{from} AND e:{to} \
         WITH x, s, e LIMIT {limit} DELETE x \
         WITH collect(DISTINCT s) AS starts, collect(DISTINCT e) AS ends {}",
        joined("", "x", join, ""),
        sweep_ends(model, join),
    );
    Query::new(text, rows)
}
