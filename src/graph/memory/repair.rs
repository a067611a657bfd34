//! Statements that a repair alone needs: they take what only others can have put there.

use std::collections::BTreeSet;

use crate::graph::{
    Key,
    model::{Model, RelationshipKey, Shape, TableIndex},
};

use super::{Kind, Memory};

impl Memory {
    pub(super) fn untangle(&mut self, model: &Model, table: TableIndex, keys: &[Key]) {
        match &model.table(table).shape {
            Shape::Node(_) => {
                for key in keys {
                    self.untangle_node(model, table, key);
                }
            }
            Shape::Relationship(shape) => {
                for key in keys {
                    for double in self.join_rows(model, table, key).into_iter().skip(1) {
                        self.remove_and_sweep(model, double);
                    }
                    if let (RelationshipKey::Own(_), Some(id)) =
                        (&shape.key, self.join_row(model, table, key))
                    {
                        self.relationship_mut(id).key = Some(key.clone());
                    }
                }
            }
        }
    }

    fn untangle_node(&mut self, model: &Model, table: TableIndex, key: &Key) {
        let Some(id) = self.node_id(table, key) else { return };
        self.node_mut(id).key = key.clone();
        if !model.may_be_placeholder(table) {
            self.node_mut(id).placeholder = false;
        }
        let mut seen = BTreeSet::new();
        let owned = self.find(|it| matches!(it.kind, Kind::Reference { .. }) && it.near == id);
        for relationship in owned {
            let it = &self.relationships[&relationship];
            let Kind::Reference { owner, index } = it.kind else { continue };
            let target = model.node(owner).references[index].target;
            if self.nodes[&it.far].table != target || !seen.insert((it.kind, it.far)) {
                self.relationships.remove(&relationship);
            }
        }
    }

    pub(super) fn empty_placeholder(&mut self, model: &Model, table: TableIndex, key: &Key) {
        let Some(id) = self.node_id(table, key).filter(|id| self.nodes[id].placeholder) else {
            return;
        };
        for relationship in
            self.find(|it| matches!(it.kind, Kind::Reference { .. }) && it.near == id)
        {
            let Some(removed) = self.relationships.remove(&relationship) else { continue };
            if removed.far != id {
                self.sweep(model, removed.far);
            }
        }
        let node = self.node_mut(id);
        node.incomplete = false;
        node.labels.clear();
        node.properties.clear();
        node.stamp = None;
        self.sweep(model, id);
    }
}
