//! The columns that another property compares.

use std::collections::BTreeMap;

use crate::graph::model::{RelationshipKey, RelationshipShape, Shape};

use super::Mapping;

/// The columns that another property compares, with that property, by table.
pub(super) fn compared(mapping: &Mapping) -> BTreeMap<String, Vec<String>> {
    let indexes = 0..mapping.tables.len();
    indexes.map(|at| (mapping.tables[at].name.in_file(), compared_of(mapping, at))).collect()
}

fn compared_of(mapping: &Mapping, index: usize) -> Vec<String> {
    let columns = &mapping.tables[index];
    let (key, properties) = match &mapping.model.tables[index].shape {
        Shape::Node(node) => (node.key.as_slice(), &node.properties),
        Shape::Relationship(RelationshipShape {
            key: RelationshipKey::Own(key),
            properties,
            ..
        }) => (key.as_slice(), properties),
        Shape::Relationship(RelationshipShape { properties, .. }) => (&[][..], properties),
    };
    let own = key.iter().zip(&columns.key).chain(properties.iter().zip(&columns.properties));
    let beside = own.filter(|(name, slot)| columns.column(slot).property != **name);
    beside.map(|(name, slot)| format!("{} by {name}", columns.column(slot).name)).collect()
}
