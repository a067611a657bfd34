//! A graph by names, in which what an earlier mapping made stays until somebody removes it.
//!
//! ```text
//! Memory of one model + what is left of others  --export-->  Named  --import-->  Memory of the next + what is left
//! ```
//!
//! The graph in memory knows the names of one model alone. Neo4j keeps all names, whatever the mapping of now is.

use std::collections::BTreeMap;

use wal2graph::{
    graph::{
        Key, LeftOver, Model, TableIndex,
        memory::{Damage, Memory, ToJoined, ToNode},
        model::{Direction, RelationshipKey, Shape},
        statement::{INCOMPLETE, INCOMPLETE_PROPERTY, PLACEHOLDER},
    },
    value::Value,
};

type Properties = BTreeMap<String, Value>;

/// Nodes and relationships by names.
#[derive(Clone, Debug, Default)]
pub struct Named {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

#[derive(Clone, Debug)]
struct Node {
    label: String,
    is_placeholder: bool,
    is_incomplete: bool,
    properties: Properties,
    /// The key of the node in memory that has the rest of it.
    of: Option<Key>,
}

#[derive(Clone, Debug)]
struct Edge {
    kind: String,
    from: usize,
    to: usize,
    properties: Properties,
}

impl Named {
    pub fn is_empty(&self) -> bool {
        let Named { nodes, edges } = self;
        edges.is_empty() && nodes.iter().all(|node| node.of.is_some() && node.properties.is_empty())
    }

    /// The whole graph.
    pub fn export(memory: &Memory, model: &Model, left: &Named) -> Self {
        let contents = memory.contents(model);
        let mut named = Named::default();
        let mut by_key: BTreeMap<(String, Key), usize> = BTreeMap::new();
        let own = |label: &&String| *label != PLACEHOLDER && *label != INCOMPLETE;
        for node in contents.nodes {
            let label =
                node.labels.iter().find(own).expect("it has the label of its table").clone();
            let (_, table) = of_label(model, &label).expect("it is mapped");
            let key = key_of(table, &node.properties).expect("it has a key");
            by_key.insert((label.clone(), key), named.nodes.len());
            named.nodes.push(Node {
                is_placeholder: node.labels.contains(PLACEHOLDER),
                is_incomplete: node.labels.contains(INCOMPLETE),
                label,
                properties: node.properties,
                of: None,
            });
        }
        for (edge, count) in contents.relationships {
            let at = |end: wal2graph::graph::memory::NodeIdentity| {
                by_key[&(end.label, Key(end.key.into()))]
            };
            let (from, to) = (at(edge.from), at(edge.to));
            let kind = edge.relationship_type;
            let one = Edge { kind, from, to, properties: edge.properties };
            named.edges.extend(std::iter::repeat_n(one, count));
        }
        let mut places = BTreeMap::new();
        for (at, node) in left.nodes.iter().enumerate() {
            match &node.of {
                None => {
                    places.insert(at, named.nodes.len());
                    named.nodes.push(node.clone());
                }
                Some(key) => {
                    if let Some(there) = by_key.get(&(node.label.clone(), key.clone())) {
                        places.insert(at, *there);
                        for (name, value) in &node.properties {
                            let properties = &mut named.nodes[*there].properties;
                            properties.entry(name.clone()).or_insert(value.clone());
                        }
                    }
                }
            }
        }
        for edge in &left.edges {
            if let (Some(from), Some(to)) = (places.get(&edge.from), places.get(&edge.to)) {
                named.edges.push(Edge { from: *from, to: *to, ..edge.clone() });
            }
        }
        named
    }

    /// The graph under a model, and what has no name there.
    pub fn import(self, model: &Model) -> (Memory, Named) {
        let (mut memory, mut left) = (Memory::default(), Named::default());
        let mut there: Vec<Option<(TableIndex, Key)>> = Vec::new();
        for mut node in self.nodes {
            let found = of_label(model, &node.label);
            let found = found.and_then(|(at, it)| Some((at, it, key_of(it, &node.properties)?)));
            there.push(found.as_ref().map(|(at, _, key)| (*at, key.clone())));
            if let Some((table, shape, key)) = found {
                let mut what = vec![ToNode::Make, ToNode::Placeholder(node.is_placeholder)];
                what.push(ToNode::Incomplete(node.is_incomplete));
                for (index, name) in shape.properties.iter().enumerate() {
                    let value = node.properties.remove(name);
                    what.extend(value.map(|it| ToNode::Property(index, Some(it))));
                }
                for what in what {
                    memory.damage(model, &Damage::Node { table, key: key.clone(), what });
                }
                node.properties.retain(|name, _| !shape.key.contains(name));
                node.of = Some(key);
            }
            left.nodes.push(node);
        }
        for edge in self.edges {
            let ends = (&there[edge.from], &there[edge.to]);
            let is_in = match ends {
                (Some(from), Some(to)) => connect(&mut memory, model, from, to, &edge),
                _ => false,
            };
            if !is_in {
                left.edges.push(edge);
            }
        }
        (memory, left)
    }

    /// Removes it. Returns how many; 0: nothing is left.
    pub fn clear(&mut self, left: &LeftOver) -> u64 {
        let labels: Vec<String> = self.nodes.iter().map(|node| node.label.clone()).collect();
        let mut done = 0;
        let is_between = |edge: &Edge, of: &wal2graph::graph::Between| {
            (&edge.kind, &labels[edge.from], &labels[edge.to])
                == (&of.relationship_type, &of.from, &of.to)
        };
        match left {
            LeftOver::Nodes { .. } | LeftOver::Label { .. } => {}
            LeftOver::Key { label, names } => {
                for node in self.nodes.iter_mut().filter(|node| node.label == *label) {
                    for (was, is) in names {
                        if let Some(value) = node.properties.remove(was) {
                            node.properties.entry(is.clone()).or_insert(value);
                            done += 1;
                        }
                    }
                }
            }
            LeftOver::Property { label, property } => {
                for node in self.nodes.iter_mut().filter(|node| node.label == *label) {
                    done += u64::from(node.properties.remove(property).is_some());
                }
            }
            LeftOver::Relationships(of) => {
                let before = self.edges.len();
                self.edges.retain(|edge| !is_between(edge, of));
                done = (before - self.edges.len()) as u64;
            }
            LeftOver::RelationshipProperty { of, property } => {
                for edge in self.edges.iter_mut().filter(|edge| is_between(edge, of)) {
                    done += u64::from(edge.properties.remove(property).is_some());
                }
            }
        }
        done
    }

    /// Removes the nodes of these labels, with everything on them.
    pub fn remove(&mut self, is_one: impl Fn(&String) -> bool) -> (u64, u64) {
        let mut places = BTreeMap::new();
        let before = (self.nodes.len(), self.edges.len());
        let mut kept = Vec::new();
        for (at, node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            if !is_one(&node.label) {
                places.insert(at, kept.len());
                kept.push(node);
            }
        }
        self.nodes = kept;
        self.edges.retain_mut(|edge| match (places.get(&edge.from), places.get(&edge.to)) {
            (Some(from), Some(to)) => {
                (edge.from, edge.to) = (*from, *to);
                true
            }
            _ => false,
        });
        ((before.0 - self.nodes.len()) as u64, (before.1 - self.edges.len()) as u64)
    }
}

fn of_label<'a>(
    model: &'a Model,
    label: &str,
) -> Option<(TableIndex, &'a wal2graph::graph::model::NodeShape)> {
    model.iter().find_map(|(index, table)| match &table.shape {
        Shape::Node(node) if node.label == label => Some((index, node)),
        _ => None,
    })
}

fn key_of(shape: &wal2graph::graph::model::NodeShape, properties: &Properties) -> Option<Key> {
    let values = shape.key.iter().map(|name| properties.get(name).cloned());
    values.collect::<Option<Vec<Value>>>().map(|values| Key(values.into()))
}

/// Returns false if the model has no such relationship.
fn connect(
    memory: &mut Memory,
    model: &Model,
    from: &(TableIndex, Key),
    to: &(TableIndex, Key),
    edge: &Edge,
) -> bool {
    for (table, of_table) in model.iter() {
        let Shape::Node(node) = &of_table.shape else { continue };
        for (reference, shape) in node.references.iter().enumerate() {
            let (owner, target) = match shape.direction {
                Direction::Outgoing => (from, to),
                Direction::Incoming => (to, from),
            };
            if shape.relationship_type == edge.kind && (owner.0, target.0) == (table, shape.target)
            {
                let (owner, target) = (owner.1.clone(), target.1.clone());
                memory.damage(model, &Damage::Connect { table, reference, owner, target });
                return true;
            }
        }
    }
    for (table, of_table) in model.iter() {
        let Shape::Relationship(join) = &of_table.shape else { continue };
        if join.relationship_type != edge.kind || (join.from, join.to) != (from.0, to.0) {
            continue;
        }
        let own = match &join.key {
            RelationshipKey::Ends => None,
            RelationshipKey::Own(names) => {
                let values = names.iter().map(|name| edge.properties.get(name).cloned());
                match values.collect::<Option<Vec<Value>>>() {
                    Some(values) => Some(Key(values.into())),
                    None => return false,
                }
            }
        };
        let ends = from.1.0.iter().chain(to.1.0.iter()).cloned().collect();
        let key = own.clone().unwrap_or(Key(ends));
        memory.damage(model, &Damage::Join { table, own, from: from.clone(), to: to.clone() });
        let is_incomplete = edge.properties.contains_key(INCOMPLETE_PROPERTY);
        let properties = join.properties.iter().enumerate().filter_map(|(index, name)| {
            Some(ToJoined::Property(index, Some(edge.properties.get(name)?.clone())))
        });
        for what in properties.chain([ToJoined::Incomplete(is_incomplete)]) {
            memory.damage(model, &Damage::Joined { table, key: key.clone(), what });
        }
        return true;
    }
    false
}
