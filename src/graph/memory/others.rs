//! Data of other applications on nodes. On a row's node it stays as long as the row does.

use crate::graph::{Key, model::TableIndex};

use super::{Kind, Memory, NodeId, Relationship};

/// The name of their data: a label, a property, a type of relationships.
pub const OTHERS: &str = "OTHERS";

impl Memory {
    /// Puts a property with this value, and a label, on an existing node.
    pub fn put_others(&mut self, table: TableIndex, key: &Key, value: i64) {
        if let Some(id) = self.node_id(table, key) {
            self.node_mut(id).others = Some(value);
        }
    }

    /// Creates a relationship between two existing nodes.
    pub fn connect_others(&mut self, from: (TableIndex, &Key), to: (TableIndex, &Key)) {
        let ends = (self.node_id(from.0, from.1), self.node_id(to.0, to.1));
        if let (Some(near), Some(far)) = ends {
            self.connect(Relationship::new(Kind::Others, near, far));
        }
    }

    /// Takes their data from one node to another, which keeps what it has.
    pub(super) fn hand_over_others(&mut self, from: NodeId, to: NodeId) {
        let value = self.node_mut(from).others.take();
        let node = self.node_mut(to);
        node.others = node.others.or(value);
        for relationship in self.relationships.values_mut() {
            if relationship.kind == Kind::Others {
                relationship.replace(from, to);
            }
        }
    }

    /// Removes all of their data from the node.
    pub(super) fn take_others(&mut self, id: NodeId) {
        self.node_mut(id).others = None;
        self.relationships.retain(|_, relationship| {
            relationship.kind != Kind::Others
                || ![relationship.near, relationship.far].contains(&id)
        });
    }
}
