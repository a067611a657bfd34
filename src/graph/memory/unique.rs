//! References to unique columns: they exist where both rows have the value, seen from either end.

use crate::graph::{
    Key,
    model::{Model, ReferenceBy, TableIndex},
};

use super::{Kind, Memory, Node, NodeId, Relationship, named};

/// The end from which a reference by unique columns is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    FromOwner,
    FromTarget,
}

impl Memory {
    /// A reference by unique columns exists exactly where both rows have the value. First removes
    /// relationships that contradict the named rows, then adds what the rows say.
    pub(super) fn match_rows(
        &mut self,
        model: &Model,
        (table, index): (TableIndex, usize),
        seen: Seen,
        rows: &[(Key, Option<Key>)],
    ) {
        let reference = &model.node(table).references[index];
        let ReferenceBy::Unique { owner_properties, target_properties } = &reference.by else {
            return;
        };
        let kind = Kind::Reference { owner: table, index };
        let (named_table, other_table, properties) = match seen {
            Seen::FromOwner => (table, reference.target, target_properties),
            Seen::FromTarget => (reference.target, table, owner_properties),
        };
        let has = |node: &Node, value: Option<&Key>| {
            value.is_some_and(|value| named(model, node, properties).as_deref() == Some(&*value.0))
        };
        for (key, value) in rows {
            let Some(id) = self.node_id(named_table, key) else { continue };
            let gone = self.find(|relationship| {
                let (from, to) = seen.ends(relationship);
                let other = &self.nodes[&to];
                let is_right = !other.placeholder && has(other, value.as_ref());
                relationship.kind == kind && from == id && !is_right
            });
            for id in gone {
                self.relationships.remove(&id);
            }
        }
        for (key, value) in rows {
            let Some(id) = self.row_id(named_table, key) else { continue };
            let others = self.nodes.iter().filter(|(_, node)| {
                node.table == other_table && !node.placeholder && has(node, value.as_ref())
            });
            for other in others.map(|(other, _)| *other).collect::<Vec<_>>() {
                let (near, far) = match seen {
                    Seen::FromOwner => (id, other),
                    Seen::FromTarget => (other, id),
                };
                self.connect_once(kind, near, far);
            }
        }
    }
}

impl Seen {
    /// The named end of a relationship, and the other.
    fn ends(self, relationship: &Relationship) -> (NodeId, NodeId) {
        match self {
            Seen::FromOwner => (relationship.near, relationship.far),
            Seen::FromTarget => (relationship.far, relationship.near),
        }
    }
}
