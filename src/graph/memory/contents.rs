//! A graph's contents, by names. Comparable between memory, a real graph and the tables.

use std::collections::{BTreeMap, BTreeSet};

use crate::{lsn::Stamp, value::Value};

use super::{Kind, Memory, Node, OTHERS, Relationship};
use crate::graph::{
    model::{Direction, Model, RelationshipKey, Shape},
    statement::{INCOMPLETE, INCOMPLETE_PROPERTY, PLACEHOLDER, STAMP},
};

/// All nodes and relationships of a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The nodes.
    pub nodes: BTreeSet<NodeContent>,
    /// The relationships, with the number of each.
    pub relationships: BTreeMap<RelationshipContent, usize>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeContent {
    /// Its labels, ours included.
    pub labels: BTreeSet<String>,
    /// Its properties, the key's included.
    pub properties: BTreeMap<String, Value>,
}

/// A relationship.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RelationshipContent {
    /// Its type.
    pub relationship_type: String,
    /// Its start node.
    pub from: NodeIdentity,
    /// Its end node.
    pub to: NodeIdentity,
    /// Its properties, including its own key.
    pub properties: BTreeMap<String, Value>,
}

/// Identifies a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeIdentity {
    /// The label of its table.
    pub label: String,
    /// The key's values.
    pub key: Vec<Value>,
}

impl Contents {
    /// The same without [`STAMP`]s, which tell nothing about the tables.
    pub fn without_stamps(self) -> Contents {
        let mut contents = Contents::default();
        for mut node in self.nodes {
            node.properties.remove(STAMP);
            contents.nodes.insert(node);
        }
        for (mut relationship, count) in self.relationships {
            relationship.properties.remove(STAMP);
            *contents.relationships.entry(relationship).or_default() += count;
        }
        contents
    }
}

impl Memory {
    /// The graph's contents.
    pub fn contents(&self, model: &Model) -> Contents {
        let nodes = self.nodes.values().map(|node| node_content(model, node)).collect();
        let mut relationships = BTreeMap::new();
        for relationship in self.relationships.values() {
            *relationships.entry(self.relationship_content(model, relationship)).or_default() += 1;
        }
        Contents { nodes, relationships }
    }

    fn relationship_content(&self, model: &Model, found: &Relationship) -> RelationshipContent {
        let near = identity(model, &self.nodes[&found.near]);
        let far = identity(model, &self.nodes[&found.far]);
        match found.kind {
            Kind::Others => RelationshipContent {
                relationship_type: OTHERS.to_owned(),
                from: near,
                to: far,
                properties: BTreeMap::new(),
            },
            Kind::Reference { owner, index } => {
                let reference = &model.node(owner).references[index];
                let (from, to) = match reference.direction {
                    Direction::Outgoing => (near, far),
                    Direction::Incoming => (far, near),
                };
                let relationship_type = reference.relationship_type.clone();
                RelationshipContent { relationship_type, from, to, properties: BTreeMap::new() }
            }
            Kind::Join(table) => {
                let Shape::Relationship(shape) = &model.table(table).shape else {
                    panic!("a join row belongs to a relationship table");
                };
                let mut properties = name_properties(&shape.properties, &found.properties);
                if let (RelationshipKey::Own(names), Some(key)) = (&shape.key, &found.key) {
                    properties.extend(names.iter().cloned().zip(key.0.iter().cloned()));
                }
                if found.incomplete {
                    properties.insert(INCOMPLETE_PROPERTY.to_owned(), Value::Boolean(true));
                }
                properties.extend(stamp_property(found.stamp));
                let relationship_type = shape.relationship_type.clone();
                RelationshipContent { relationship_type, from: near, to: far, properties }
            }
        }
    }
}

fn identity(model: &Model, node: &Node) -> NodeIdentity {
    NodeIdentity { label: model.node(node.table).label.clone(), key: node.key.0.to_vec() }
}

fn node_content(model: &Model, node: &Node) -> NodeContent {
    let shape = model.node(node.table);
    let mut labels = BTreeSet::from([shape.label.clone()]);
    if node.placeholder {
        labels.insert(PLACEHOLDER.to_owned());
    }
    labels.extend(node.labels.iter().map(|label| shape.extra_labels[*label].clone()));
    if node.incomplete {
        labels.insert(INCOMPLETE.to_owned());
    }
    let mut properties = name_properties(&shape.properties, &node.properties);
    properties.extend(shape.key.iter().cloned().zip(node.key.0.iter().cloned()));
    properties.extend(stamp_property(node.stamp));
    if let Some(value) = node.others {
        labels.insert(OTHERS.to_owned());
        properties.insert(OTHERS.to_owned(), Value::Integer(value));
    }
    NodeContent { labels, properties }
}

fn stamp_property(stamp: Option<Stamp>) -> Option<(String, Value)> {
    stamp.map(|stamp| (STAMP.to_owned(), Value::String(stamp.to_string())))
}

fn name_properties(
    names: &[String],
    properties: &BTreeMap<usize, Value>,
) -> BTreeMap<String, Value> {
    properties.iter().map(|(index, value)| (names[*index].clone(), value.clone())).collect()
}
