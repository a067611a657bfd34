//! Rows' nodes: written, moved to another key, dropped.

use crate::graph::{
    Key,
    model::{Model, TableIndex},
    statement::{Completeness, Known, NodeRow},
};

use super::{Kind, Memory, Relationship, by_key, set};

impl Memory {
    pub(super) fn drop_node(&mut self, model: &Model, table: TableIndex, key: &Key) {
        let Some(id) = self.node_id(table, key) else { return };
        let owned = self.find(|relationship| {
            matches!(relationship.kind, Kind::Reference { .. }) && relationship.near == id
        });
        for relationship in owned {
            let Some(removed) = self.relationships.remove(&relationship) else { continue };
            if removed.far != id {
                self.sweep(model, removed.far);
            }
        }
        let gone = self.find(|relationship| {
            relationship.far == id
                && match relationship.kind {
                    kind @ Kind::Reference { .. } => !by_key(model, kind),
                    Kind::Join(_) | Kind::Others => false,
                }
        });
        for relationship in gone {
            self.relationships.remove(&relationship);
        }
        let node = self.node_mut(id);
        node.placeholder = true;
        node.incomplete = false;
        node.labels.clear();
        node.properties.clear();
        node.stamp = None;
        self.take_others(id);
        self.sweep(model, id);
    }

    pub(super) fn move_node(&mut self, model: &Model, table: TableIndex, from: &Key, to: &Key) {
        let Some(id) = self.row_id(table, from) else { return };
        if let Some(row) = self.row_id(table, to) {
            self.hand_over_others(id, row);
            return self.drop_node(model, table, from);
        }
        let waiting = self.node_id(table, to);
        // Decides which ends stay at the old key, before a placeholder at the new key hands over
        // its own.
        let at_target = |relationship: &Relationship| match relationship.kind {
            Kind::Join(_) => [relationship.near == id, relationship.far == id],
            kind @ Kind::Reference { .. } => [false, relationship.far == id && by_key(model, kind)],
            Kind::Others => [false, false],
        };
        let ends = self
            .relationships
            .iter()
            .map(|(found, relationship)| (*found, at_target(relationship)));
        let staying: Vec<_> = ends.filter(|(_, ends)| ends.contains(&true)).collect();
        self.node_mut(id).key = to.clone();
        if let Some(waiting) = waiting {
            self.take_others(waiting);
            for relationship in self.relationships.values_mut() {
                relationship.replace(waiting, id);
            }
            self.nodes.remove(&waiting);
        }
        if staying.is_empty() {
            return;
        }
        let old = self.make_placeholder(table, from);
        for (relationship, [near, far]) in staying {
            let relationship = self.relationship_mut(relationship);
            if near {
                relationship.near = old;
            }
            if far {
                relationship.far = old;
            }
        }
    }

    pub(super) fn upsert_node(
        &mut self,
        model: &Model,
        table: TableIndex,
        known: &Known,
        completeness: Completeness,
        row: &NodeRow,
    ) {
        let id = self.make_placeholder(table, &row.key);
        let node = self.node_mut(id);
        node.incomplete = match completeness {
            Completeness::Complete => false,
            Completeness::Partial => node.incomplete || node.placeholder,
            Completeness::PartialMoved => true,
        };
        node.placeholder = false;
        node.labels = (0..model.node(table).extra_labels.len()).collect();
        node.stamp = row.stamp.or(node.stamp);
        set(&mut node.properties, known, &row.values);
    }
}
