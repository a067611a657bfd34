//! Finds the keys of rows that lack values.

use crate::graph::{
    TableIndex,
    model::{Model, RelationshipKey, Shape, Table},
    statement::{INCOMPLETE, INCOMPLETE_PROPERTY, PLACEHOLDER},
};

use super::text::{hint, joined, quote};

/// One text for each table that can have incomplete rows. It returns the keys of at most `limit` of
/// them, each as a list named `key`. A placeholder that others have marked is no row, and lacks nothing.
pub fn incomplete_keys(model: &Model, limit: usize) -> Vec<(TableIndex, String)> {
    let of_table = |(index, table): (TableIndex, &Table)| {
        let (matched, key) = match &table.shape {
            Shape::Node(node) => {
                let label = quote(&node.label);
                let matched = format!("(n:{label}:{INCOMPLETE}) WHERE NOT n:{PLACEHOLDER}");
                (matched, properties("n", &node.key))
            }
            Shape::Relationship(join) if join.properties.is_empty() => return None,
            Shape::Relationship(join) => {
                let (from, to) = (model.node(join.from), model.node(join.to));
                let start = format!("a:{}", quote(&from.label));
                let end = format!("b:{}", quote(&to.label));
                let index = hint("x", &join.relationship_type, &[INCOMPLETE_PROPERTY.to_owned()]);
                let pattern = joined(&start, "x", join, &end);
                let key = match &join.key {
                    RelationshipKey::Own(own) => properties("x", own),
                    RelationshipKey::Ends => {
                        [properties("a", &from.key), properties("b", &to.key)].concat()
                    }
                };
                (format!("{pattern} {index} WHERE x.{INCOMPLETE_PROPERTY} = true"), key)
            }
        };
        let key = key.join(", ");
        Some((index, format!("MATCH {matched} RETURN [{key}] AS key LIMIT {limit}")))
    };
    model.iter().filter_map(of_table).collect()
}

fn properties(variable: &str, names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("{variable}.{}", quote(name))).collect()
}
