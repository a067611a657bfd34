//! What others put on nodes: on a row's node it stays for as long as the row does.

use crate::graph::{model::TableIndex, mutation::Key};

use super::{Kind, Memory, NodeId, Relationship};

/// The name of what others put on nodes: a label, a property, a type of relationships.
pub const OTHERS: &str = "OTHERS";

impl Memory {
    /// Others put a property with this value, and a label, on a node that is there.
    pub fn put_others(&mut self, table: TableIndex, key: &Key, value: i64) {
        if let Some(id) = self.node_id(table, key) {
            self.node_mut(id).others = Some(value);
        }
    }

    /// Others make a relationship between two nodes that are there.
    pub fn connect_others(&mut self, from: (TableIndex, &Key), to: (TableIndex, &Key)) {
        let ends = (self.node_id(from.0, from.1), self.node_id(to.0, to.1));
        if let (Some(near), Some(far)) = ends {
            self.connect(Relationship::new(Kind::Others, near, far));
        }
    }

    /// All that others put on the node goes.
    pub(super) fn take_others(&mut self, id: NodeId) {
        self.node_mut(id).others = None;
        self.relationships.retain(|_, relationship| {
            relationship.kind != Kind::Others
                || ![relationship.near, relationship.far].contains(&id)
        });
    }
}
