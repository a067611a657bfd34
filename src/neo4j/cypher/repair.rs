//! Statements of a repair alone: they take what only others can have put there.

use crate::graph::{
    Key,
    model::{Model, ReferenceBy, ReferenceShape, Shape, TableIndex},
    statement::{INCOMPLETE, PLACEHOLDER, STAMP},
};

use super::{
    Query,
    joins::row_match,
    key_columns,
    text::{delete_joined, join_shape, owned, quote, seek, sweep, sweep_ends},
};

pub fn untangle(model: &Model, table: TableIndex, keys: Vec<Key>) -> Vec<Query> {
    let texts = match &model.table(table).shape {
        Shape::Relationship(_) => vec![single(model, table)],
        Shape::Node(shape) => {
            let c = seek("c", shape, 0);
            let rows = (!model.may_be_placeholder(table))
                .then(|| format!("UNWIND $rows[0] AS r {c} REMOVE c:{PLACEHOLDER}"));
            let doubles = shape.references.iter().map(|reference| {
                format!(
                    "UNWIND $rows[0] AS r {c} MATCH {} WITH c, p, collect(o) AS found WHERE size(found) > 1 \
                     FOREACH (o IN found[1..] | DELETE o)",
                    owned_by("c", model, reference),
                )
            });
            rows.into_iter().chain(doubles).collect()
        }
    };
    let rows = || keys.iter().cloned().map(key_columns);
    texts.into_iter().map(|text| Query::new(text, rows())).collect()
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

/// The relationships `o` of the reference, to `p`.
fn owned_by(owner: &str, model: &Model, reference: &ReferenceShape) -> String {
    let target = format!("p:{}", quote(&model.node(reference.target).label));
    owned(owner, "o", reference, &target)
}
