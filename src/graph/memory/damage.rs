//! What others may do to the mapping's own part of a graph, which no statement would.

use crate::{
    graph::{Key, model::TableIndex},
    value::Value,
};

use super::{Kind, Memory, NodeId, Relationship, RelationshipId};

/// One thing that others do to nodes and relationships of the mapping. Without a node or relationship
/// that it names, it does nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Damage {
    /// To a node.
    Node {
        /// Its table.
        table: TableIndex,
        /// Its key.
        key: Key,
        /// What they do.
        what: ToNode,
    },
    /// They make a relationship of a reference, beside those that are there. A missing end is made, as
    /// a row without properties.
    Connect {
        /// The owner's table.
        table: TableIndex,
        /// The reference's index.
        reference: usize,
        /// The owner.
        owner: Key,
        /// The target.
        target: Key,
    },
    /// They delete all relationships of an owner's reference.
    Disconnect {
        /// The owner's table.
        table: TableIndex,
        /// The reference's index.
        reference: usize,
        /// The owner.
        owner: Key,
    },
    /// To the relationships of a join row.
    Joined {
        /// The join table.
        table: TableIndex,
        /// Its key.
        key: Key,
        /// What they do.
        what: ToJoined,
    },
    /// They make a relationship of a join table, with its own key if it has one.
    Join {
        /// The join table.
        table: TableIndex,
        /// Its own key.
        own: Option<Key>,
        /// Its start's table and key.
        from: (TableIndex, Key),
        /// Its end's table and key.
        to: (TableIndex, Key),
    },
}

/// What others do to a node.
#[derive(Clone, Debug, PartialEq)]
pub enum ToNode {
    /// Delete it, with all its relationships.
    Delete,
    /// Make it, as a row without properties.
    Make,
    /// Set a property, or remove it.
    Property(usize, Option<Value>),
    /// Give it an extra label, or take it.
    ExtraLabel(usize, bool),
    /// Give it the label of a placeholder, or take it.
    Placeholder(bool),
    /// Give it the mark of an incomplete row, or take it.
    Incomplete(bool),
    /// Remove its key.
    LoseKey,
    /// Give it another key, which no node of the table has.
    Key(Key),
}

/// What others do to a join row's relationships.
#[derive(Clone, Debug, PartialEq)]
pub enum ToJoined {
    /// Delete them.
    Delete,
    /// Make one more, with the same properties.
    Double,
    /// Set a property, or remove it.
    Property(usize, Option<Value>),
    /// Mark them as incomplete, or not.
    Incomplete(bool),
}

impl Memory {
    /// Does it.
    pub fn damage(&mut self, model: &crate::graph::Model, damage: &Damage) {
        match damage {
            Damage::Node { table, key, what: ToNode::Make } => drop(self.make_row(*table, key)),
            Damage::Node { table, key, what } => {
                if let Some(id) = self.node_id(*table, key) {
                    self.damage_node(id, what);
                }
            }
            Damage::Connect { table, reference, owner, target } => {
                let near = self.make_row(*table, owner);
                let far = self.make_row(model.node(*table).references[*reference].target, target);
                let kind = Kind::Reference { owner: *table, index: *reference };
                self.connect(Relationship::new(kind, near, far));
            }
            Damage::Disconnect { table, reference, owner } => {
                let kind = Kind::Reference { owner: *table, index: *reference };
                let near = self.node_id(*table, owner);
                self.relationships.retain(|_, it| it.kind != kind || Some(it.near) != near);
            }
            Damage::Joined { table, key, what } => {
                for id in self.join_rows(model, *table, key) {
                    self.damage_joined(id, what);
                }
            }
            Damage::Join { table, own, from, to } => {
                let near = self.make_row(from.0, &from.1);
                let far = self.make_row(to.0, &to.1);
                let made = Relationship::new(Kind::Join(*table), near, far);
                self.connect(Relationship { key: own.clone(), ..made });
            }
        }
    }

    fn make_row(&mut self, table: TableIndex, key: &Key) -> NodeId {
        if let Some(id) = self.node_id(table, key) {
            return id;
        }
        let id = self.make_placeholder(table, key);
        self.node_mut(id).placeholder = false;
        id
    }

    fn damage_node(&mut self, id: NodeId, what: &ToNode) {
        let node = self.node_mut(id);
        match what {
            ToNode::Delete => {
                self.nodes.remove(&id);
                self.relationships.retain(|_, it| it.near != id && it.far != id);
            }
            ToNode::Make => {}
            ToNode::Property(index, Some(value)) => {
                node.properties.insert(*index, value.clone());
            }
            ToNode::Property(index, None) => drop(node.properties.remove(index)),
            ToNode::ExtraLabel(index, true) => drop(node.labels.insert(*index)),
            ToNode::ExtraLabel(index, false) => drop(node.labels.remove(index)),
            ToNode::Placeholder(is_one) => node.placeholder = *is_one,
            ToNode::Incomplete(is_so) => node.incomplete = *is_so,
            ToNode::LoseKey => node.key = Key([].into()),
            ToNode::Key(key) => node.key = key.clone(),
        }
    }

    fn damage_joined(&mut self, id: RelationshipId, what: &ToJoined) {
        let relationship = self.relationship_mut(id);
        match what {
            ToJoined::Delete => drop(self.relationships.remove(&id)),
            ToJoined::Double => {
                let double = relationship.clone();
                self.connect(double);
            }
            ToJoined::Property(index, Some(value)) => {
                relationship.properties.insert(*index, value.clone());
            }
            ToJoined::Property(index, None) => drop(relationship.properties.remove(index)),
            ToJoined::Incomplete(is_so) => relationship.incomplete = *is_so,
        }
    }
}
