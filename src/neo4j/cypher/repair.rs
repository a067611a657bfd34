//! Statements of a repair alone: they take what only others can have put there.

use std::collections::BTreeSet;

use crate::graph::{
    Key,
    model::{Model, NodeShape, ReferenceBy, ReferenceShape, RelationshipKey, Shape, TableIndex},
    statement::{INCOMPLETE, PLACEHOLDER, STAMP},
};

use super::{
    Query,
    joins::row_match,
    key_columns,
    text::{
        delete_joined, has_any, is_first, join_shape, labels_at, mapped, owned, quote, seek, sweep,
        sweep_ends,
    },
};

pub fn untangle(model: &Model, table: TableIndex, keys: Vec<Key>) -> Vec<Query> {
    let texts = match &model.table(table).shape {
        Shape::Relationship(join) => match &join.key {
            RelationshipKey::Ends => vec![single(model, table)],
            RelationshipKey::Own(own) => {
                let found = row_match(model, join);
                vec![
                    single(model, table),
                    format!("UNWIND $rows[0] AS r {found} {}", rekey("x", own)),
                ]
            }
        },
        Shape::Node(shape) => {
            let c = seek("c", shape, 0);
            let single = single_node(shape);
            let key = format!("UNWIND $rows[0] AS r {c} {}", rekey("c", &shape.key));
            let rows = (!model.may_be_placeholder(table))
                .then(|| format!("UNWIND $rows[0] AS r {c} REMOVE c:{PLACEHOLDER}"));
            let doubles = shape.references.iter().map(|reference| {
                format!(
                    "UNWIND $rows[0] AS r {c} MATCH {} WITH c, p, collect(o) AS found WHERE size(found) > 1 \
                     FOREACH (o IN found[1..] | DELETE o)",
                    owned_by("c", model, reference),
                )
            });
            let strange = strange(model, table, "c");
            let strange =
                strange.into_iter().map(|found| format!("UNWIND $rows[0] AS r {c} {found}"));
            [single, key].into_iter().chain(rows).chain(strange).chain(doubles).collect()
        }
    };
    let rows = || keys.iter().cloned().map(key_columns);
    texts.into_iter().map(|text| Query::new(text, rows())).collect()
}

/// The key becomes what is written: the graph finds 7.0 by 7.
fn rekey(variable: &str, key: &[String]) -> String {
    let each = key.iter().enumerate();
    let each = each.map(|(column, name)| format!("{variable}.{} = r[{column}]", quote(name)));
    format!("SET {}", each.collect::<Vec<_>>().join(", "))
}

/// All relationships with the key but one go.
fn single(model: &Model, table: TableIndex) -> String {
    let join = join_shape(model, table);
    format!(
        "UNWIND $rows[0] AS r {} WITH r, collect(x) AS found WHERE size(found) > 1 UNWIND found[1..] AS x \
         WITH x, startNode(x) AS s, endNode(x) AS e {} \
         WITH collect(DISTINCT s) AS starts, collect(DISTINCT e) AS ends {}",
        row_match(model, join),
        delete_joined("x", join),
        sweep_ends(model, join),
    )
}

/// One node with the key stays, a row's if any is. What is on the others goes over to it, and they go. What is the
/// mapping's of that is compared, and written, behind it.
fn single_node(shape: &NodeShape) -> String {
    format!(
        "UNWIND $rows[0] AS r {} WITH r, collect(n) AS found WHERE size(found) > 1 \
         WITH [n IN found WHERE NOT n:{PLACEHOLDER}] + [n IN found WHERE n:{PLACEHOLDER}] AS found \
         WITH found[0] AS b, found[1..] AS doubles UNWIND doubles AS m CALL (m, b) {{ \
         WITH m, b, [k IN keys(m) WHERE b[k] IS NULL | {{k: k, v: m[k]}}] AS kept, \
         [l IN labels(m) WHERE {{{PLACEHOLDER}: 0, {INCOMPLETE}: 0}}[l] IS NULL] AS labels \
         FOREACH (e IN kept | SET m[e.k] = null) FOREACH (e IN kept | SET b[e.k] = e.v) SET b:$(labels) \
         WITH m, b CALL (m, b) {{ MATCH (m)-[o]-() WITH DISTINCT m, b, o \
         WITH o, type(o) AS kind, properties(o) AS kept, \
         CASE WHEN startNode(o) = m THEN b ELSE startNode(o) END AS s, \
         CASE WHEN endNode(o) = m THEN b ELSE endNode(o) END AS t \
         DELETE o WITH s, t, kind, kept \
         WHERE NOT EXISTS {{ MATCH (s)-[y]->(t) WHERE type(y) = kind AND properties(y) = kept }} \
         CREATE (s)-[y:$(kind)]->(t) SET y = kept }} DELETE m }}",
        seek("n", shape, 0),
    )
}

/// None where there is one node table: no node has the label of another.
pub fn unlabel(model: &Model, table: TableIndex, keys: Vec<Key>) -> Vec<Query> {
    let shape = model.node(table);
    let nodes = model.iter().filter_map(|(index, it)| match &it.shape {
        Shape::Node(node) => Some((index, node)),
        Shape::Relationship(_) => None,
    });
    let others: Vec<(TableIndex, &NodeShape)> =
        nodes.filter(|(_, node)| node.label != shape.label).collect();
    if others.is_empty() {
        return Vec::new();
    }
    let labels = others.iter().map(|(_, node)| node.label.clone()).collect();
    let mut text =
        format!("UNWIND $rows[0] AS r {} WHERE {} ", seek("n", shape, 0), has_any("n", &labels));
    // Of a type that nodes of another table have as well, it is not known whose it is.
    let theirs: BTreeSet<_> =
        others.iter().flat_map(|(index, _)| mapped(model, *index).into_keys()).collect();
    for (is_incoming, kind) in mapped(model, table).into_keys() {
        if !theirs.contains(&(is_incoming, kind)) {
            let pattern = match is_incoming {
                true => format!("(n)<-[o:{}]-()", quote(kind)),
                false => format!("(n)-[o:{}]->()", quote(kind)),
            };
            text += &format!("CALL (n) {{ MATCH {pattern} DELETE o }} ");
        }
    }
    // A property of another table stays where the node has that table's label.
    let without = |name: &String| {
        let has = |it: &NodeShape| it.key.contains(name) || it.properties.contains(name);
        let having: BTreeSet<String> =
            others.iter().filter(|(_, it)| has(it)).map(|(_, it)| it.label.clone()).collect();
        let name = format!("n.{}", quote(name));
        match having.is_empty() {
            true => format!("{name} = null"),
            false => format!("{name} = CASE WHEN {} THEN {name} END", has_any("n", &having)),
        }
    };
    let properties: Vec<String> = shape.key.iter().chain(&shape.properties).map(without).collect();
    text += &format!("SET {} ", properties.join(", "));
    let has_label = |label: &&String| {
        !others.iter().any(|(_, it)| it.label == **label || it.extra_labels.contains(label))
    };
    let extra = shape.extra_labels.iter().filter(has_label);
    let labels =
        std::iter::once(&shape.label).chain(extra).map(|label| format!("n:{}", quote(label)));
    text += &format!("REMOVE {}", labels.collect::<Vec<_>>().join(", "));
    vec![Query::new(text, keys.into_iter().map(key_columns))]
}

/// Whether the node is a placeholder is asked again under its lock: another writer may fill it.
pub fn empty_placeholders(model: &Model, table: TableIndex, keys: Vec<Key>) -> Query {
    let shape = model.node(table);
    let is_one = format!("n:{PLACEHOLDER}");
    let mut text = format!(
        "UNWIND $rows[0] AS r {} WHERE {is_one} SET n._lock = null WITH n WHERE {is_one} ",
        seek("n", shape, 0)
    );
    for reference in &shape.references {
        let sweeps = match reference.by {
            ReferenceBy::Key => {
                format!(" WITH p, n WHERE p <> n {}", sweep(model, reference.target, "p"))
            }
            ReferenceBy::Unique { .. } => String::new(),
        };
        let pattern = owned_by("n", model, reference);
        text += &format!("CALL (n) {{ MATCH {pattern} DELETE o{sweeps} }} ");
    }
    for found in strange(model, table, "n") {
        text += &format!("CALL (n) {{ {found} }} ");
    }
    let properties = shape.properties.iter().map(|name| format!("n.{} = null", quote(name)));
    let properties: Vec<String> = properties.chain([format!("n.{STAMP} = null")]).collect();
    let labels = shape.extra_labels.iter().map(|label| format!(", n:{}", quote(label)));
    text += &format!(
        "SET {} REMOVE n:{INCOMPLETE}{} {}",
        properties.join(", "),
        labels.collect::<String>(),
        sweep(model, table, "n")
    );
    Query::new(text, keys.into_iter().map(key_columns))
}

/// Deletes what the node has of its references' types that leads to no node of the mapping. Nothing holds that one.
fn strange(model: &Model, table: TableIndex, owner: &str) -> Vec<String> {
    let shape = model.node(table);
    let first = shape.references.iter().enumerate().filter(|(index, _)| is_first(shape, *index));
    let texts = first.map(|(_, reference)| {
        let pattern = owned(owner, "o", reference, "p");
        let labels = labels_at(model, table, reference);
        format!("MATCH {pattern} WHERE NOT {} DELETE o", has_any("p", &labels))
    });
    texts.collect()
}

/// The relationships `o` of the reference, to `p`.
fn owned_by(owner: &str, model: &Model, reference: &ReferenceShape) -> String {
    let target = format!("p:{}", quote(&model.node(reference.target).label));
    owned(owner, "o", reference, &target)
}
