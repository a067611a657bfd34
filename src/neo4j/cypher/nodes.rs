//! Nodes: upserted, dropped, cleared.

use crate::{
    graph::{
        Key,
        model::{Model, NodeShape, ReferenceBy, TableIndex},
        statement::{Beside, Completeness, INCOMPLETE, Known, NodeRow, PLACEHOLDER, Reach, STAMP},
    },
    lsn::Stamp,
};

use super::{
    Done, Parameter, Query, key_columns, node_row,
    references::{row_to, targets, width},
    stamp,
    text::{
        delete, does_not_hold, may_be_pointed_at, node, owned, pointed_at, points_at_placeholder,
        quote, seek, sweep,
    },
    values,
};

pub fn upsert(
    model: &Model,
    table: TableIndex,
    known: &Known,
    (completeness, new): (Completeness, bool),
    rows: Vec<NodeRow>,
) -> Query {
    let shape = model.node(table);
    let mut set = assignments("n", &shape.properties, known, shape.key.len());
    set.extend(stamped("n", rows.iter().map(|row| row.stamp), shape.key.len() + known.count()));
    let rows = rows.into_iter().map(node_row);
    set.extend(shape.extra_labels.iter().map(|label| format!("n:{}", quote(label))));
    let placeholder = model.may_be_placeholder(table);
    let (on_create, after) = match (completeness, placeholder) {
        (Completeness::Complete, _) => ("", complete(model, table)),
        (Completeness::Partial, true) => (
            "ON CREATE SET n:_Incomplete",
            format!(
                "FOREACH (p IN CASE WHEN n:{PLACEHOLDER} THEN [n] ELSE [] END | \
                 SET p:{INCOMPLETE} REMOVE p:{PLACEHOLDER})"
            ),
        ),
        (Completeness::Partial, false) => ("ON CREATE SET n:_Incomplete", String::new()),
        (Completeness::PartialMoved, _) => {
            set.push(format!("n:{INCOMPLETE}"));
            ("", format!("REMOVE n:{PLACEHOLDER}"))
        }
    };
    let set = if set.is_empty() { String::new() } else { format!("SET {}", set.join(", ")) };
    let merge = format!("UNWIND $rows[0] AS r MERGE {} {on_create} {set}", node("n", shape, 0));
    if new && completeness == Completeness::Complete {
        // A node that was made has no label of ours: taking them away costs a tenth of making it.
        let unmark = format!("UNWIND $rows[0] AS r {} {after}", seek("n", shape, 0));
        return Query::new(merge, rows).or(Done::NodesMade, [unmark]);
    }
    Query::new(format!("{merge} {after}"), rows)
}

/// The node is a row's, and all of it.
fn complete(model: &Model, table: TableIndex) -> String {
    match model.may_be_placeholder(table) {
        true => format!("REMOVE n:{PLACEHOLDER}, n:{INCOMPLETE}"),
        false => format!("REMOVE n:{INCOMPLETE}"),
    }
}

/// Nodes with what they refer to, in one text: for a few rows, Neo4j plans longer than it runs.
pub fn fill(model: &Model, table: TableIndex, rows: Vec<(NodeRow, Vec<Option<Key>>)>) -> Query {
    let shape = model.node(table);
    let references: Vec<usize> = shape.keyed_references().collect();
    let targets = targets(model, shape, &references);
    let first = shape.key.len() + width(&targets);
    let known = Known(vec![true; shape.properties.len()].into());
    let mut set = assignments("n", &shape.properties, &known, first);
    set.extend(stamped("n", rows.iter().map(|(row, _)| row.stamp), first + known.count()));
    set.extend(shape.extra_labels.iter().map(|label| format!("n:{}", quote(label))));
    let set = if set.is_empty() { String::new() } else { format!("SET {}", set.join(", ")) };
    let refer: String = targets.iter().map(|target| target.refer("n")).collect();
    let then = if refer.is_empty() { "" } else { " WITH n, r" };
    let text = format!(
        "UNWIND $rows[0] AS r MERGE {} {set} {}{then}{refer}",
        node("n", shape, 0),
        complete(model, table),
    );
    let rows = rows.into_iter().map(|(row, to)| {
        let mut columns = row_to(&row.key, &targets, &to);
        columns.extend(values(row.values));
        columns.extend(row.stamp.map(stamp));
        columns
    });
    Query::new(text, rows)
}

/// `n.a = r[1]` for each known property, whose values are the row's columns from `first` on.
pub fn assignments(
    variable: &str,
    properties: &[String],
    known: &Known,
    first: usize,
) -> Vec<String> {
    let known = properties.iter().zip(&known.0).filter(|(_, known)| **known);
    known
        .zip(first..)
        .map(|((property, _), column)| format!("{variable}.{} = r[{column}]", quote(property)))
        .collect()
}

/// `n._lsn = r[7]`, if any row has a stamp; one without it has none then.
pub fn stamped(
    variable: &str,
    mut stamps: impl Iterator<Item = Option<Stamp>>,
    column: usize,
) -> Option<String> {
    stamps.any(|stamp| stamp.is_some()).then(|| format!("{variable}.{STAMP} = r[{column}]"))
}

/// Mostly nothing holds the node any more, and all that it leads to are rows: then it goes with
/// whatever hangs on it. The long text for everything else runs only where that was not enough. Beside
/// other writers only the long text is right: one of them may drop a row that the node leads to, and
/// the last relationship then has to sweep its placeholder.
pub fn drop(model: &Model, table: TableIndex, keys: Vec<Key>, beside: Beside) -> Query {
    let shape = model.node(table);
    let rows = keys.into_iter().map(key_columns);
    let held = may_be_pointed_at(model, table, "n");
    let leads = points_at_placeholder(shape, "n");
    let exceptions: Vec<String> = held.into_iter().chain(leads).collect();
    let found = format!("UNWIND $rows[0] AS r {}", seek("n", shape, 0));
    let gone = delete("n", shape);
    if exceptions.is_empty() {
        return Query::new(format!("{found} {gone}"), rows);
    }
    let body = drop_body(model, table, "n");
    let general = format!("UNWIND $rows[0] AS r CALL (r) {{ {} {body} }}", seek("n", shape, 0));
    match beside {
        Beside::Nobody => {
            let alone = format!("{found} WHERE NOT ({}) {gone}", exceptions.join(" OR "));
            Query::new(alone, rows).or(Done::NodesDeleted, [general])
        }
        Beside::Lanes | Beside::Anybody => Query::new(general, rows),
    }
}

/// A row that was found old may be filled anew by another partition's writer before it is locked,
/// so it is looked at again then. `properties(n)` is what keeps Neo4j from using the value that it
/// has read before.
pub fn clear(model: &Model, table: TableIndex, reach: Reach, limit: usize) -> Query {
    let label = quote(&model.node(table).label);
    let body = drop_body(model, table, "n");
    match reach {
        Reach::All => {
            let text = format!(
                "MATCH (n:{label}) WHERE NOT n:{PLACEHOLDER} WITH n LIMIT {limit} CALL (n) {{ WITH n {body} }}"
            );
            Query::new(text, [])
        }
        Reach::Before(before) => {
            let text = format!(
                "UNWIND $rows[0] AS r MATCH (n:{label}) WHERE NOT n:{PLACEHOLDER} AND {} \
                 WITH n, r LIMIT {limit} CALL (n, r) {{ WITH n, r SET n._lock = null \
                 WITH n, r WHERE NOT n:{PLACEHOLDER} AND {} WITH n {body} }}",
                older(&format!("n.{STAMP}")),
                older(&format!("properties(n).{STAMP}")),
            );
            Query::new(text, [before_row(before)])
        }
    }
}

/// Whether a stamp is older than the one that a row of [`before_row`] has; a missing one is.
pub fn older(value: &str) -> String {
    format!("coalesce({value} < r[0], true)")
}

pub fn before_row(before: Stamp) -> Vec<Parameter> {
    vec![stamp(before)]
}

/// What follows a match of the node: the relationships by key that it owns go, then it becomes a
/// placeholder or goes too, and either takes along what else hangs on it.
pub fn drop_body(model: &Model, table: TableIndex, n: &str) -> String {
    let shape = model.node(table);
    let mut body = format!("SET {n}._lock = null WITH {n} ");
    for reference in shape.references.iter().filter(|it| it.by == ReferenceBy::Key) {
        let target = quote(&model.node(reference.target).label);
        let pattern = owned(n, "o", reference, &format!("p:{target}"));
        let sweep = sweep(model, reference.target, "p");
        body += &format!(
            "CALL ({n}) {{ MATCH {pattern} DELETE o WITH p, {n} WHERE p <> {n} {sweep} }} "
        );
    }
    if !model.may_be_placeholder(table) {
        return body + &format!("WITH {n} {}", delete(n, shape));
    }
    body + &format!(
        "WITH {n}, ({}) AS held CALL ({n}, held) {{ WITH {n} WHERE held MATCH ({n})-[o]-(p) WHERE {} DELETE o }} \
         FOREACH (x IN CASE WHEN held THEN [{n}] ELSE [] END | {}) \
         WITH {n}, held WHERE NOT held {}",
        pointed_at(model, table, n),
        does_not_hold(model, table, n, ("o", "p")),
        becomes_placeholder("x", shape),
        delete(n, shape),
    )
}

/// The node keeps its key and the table's label. What the row had on it goes, and so does what others
/// put there: it was the row's too, and the next row with this key is another one. The label is a
/// key of a map because names in backticks are quoted everywhere, and strings nowhere.
fn becomes_placeholder(variable: &str, shape: &NodeShape) -> String {
    let key: Vec<String> = shape.key.iter().map(|name| format!(".{}", quote(name))).collect();
    format!(
        "SET {variable} = {variable} {{{}}}, {variable}:{PLACEHOLDER} \
         REMOVE {variable}:$([l IN labels({variable}) WHERE {{{}: 0, {PLACEHOLDER}: 0}}[l] IS NULL])",
        key.join(", "),
        quote(&shape.label),
    )
}
