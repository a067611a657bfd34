//! Join rows: relationships that are found by their ends, or by their own key.

use crate::graph::{
    Key,
    model::{Model, RelationshipKey, RelationshipShape, Shape, TableIndex},
    statement::{Completeness, Known, RelationshipRow},
};

use super::{Kind, Memory, NodeId, Relationship, RelationshipId, set};

impl Memory {
    pub(super) fn join_key(
        &self,
        model: &Model,
        table: TableIndex,
        relationship: &Relationship,
    ) -> Key {
        match (&model.table(table).shape, &relationship.key) {
            (Shape::Relationship(_), Some(key)) => key.clone(),
            _ => {
                let (near, far) = (&self.nodes[&relationship.near], &self.nodes[&relationship.far]);
                Key(near.key.0.iter().chain(&far.key.0).cloned().collect())
            }
        }
    }

    pub(super) fn join_row(
        &self,
        model: &Model,
        table: TableIndex,
        key: &Key,
    ) -> Option<RelationshipId> {
        self.join_rows(model, table, key).first().copied()
    }

    /// All of them: others may have doubled it.
    pub(super) fn join_rows(
        &self,
        model: &Model,
        table: TableIndex,
        key: &Key,
    ) -> Vec<RelationshipId> {
        self.find(|relationship| {
            relationship.kind == Kind::Join(table)
                && self.join_key(model, table, relationship) == *key
        })
    }

    pub(super) fn move_relationship(
        &mut self,
        model: &Model,
        table: TableIndex,
        from: &Key,
        to: &Key,
    ) {
        let Some(id) = self.join_row(model, table, from) else { return };
        if self.join_row(model, table, to).is_some() {
            return self.remove_and_sweep(model, id);
        }
        let Shape::Relationship(shape) = &model.table(table).shape else { return };
        match shape.key {
            RelationshipKey::Own(_) => self.relationship_mut(id).key = Some(to.clone()),
            RelationshipKey::Ends => {
                let (near, far) = shape.split_ends(model, to);
                let near = self.make_placeholder(shape.from, &near);
                let far = self.make_placeholder(shape.to, &far);
                self.reconnect(model, id, near, far);
            }
        }
    }

    pub(super) fn reconnect(
        &mut self,
        model: &Model,
        id: RelationshipId,
        near: NodeId,
        far: NodeId,
    ) {
        let relationship = self.relationship_mut(id);
        let left = [relationship.near, relationship.far];
        (relationship.near, relationship.far) = (near, far);
        for node in left {
            self.sweep(model, node);
        }
    }

    /// The nodes at a join row's ends. Creates missing ones.
    fn ends(&mut self, shape: &RelationshipShape, row: &RelationshipRow) -> [NodeId; 2] {
        let near = self.make_placeholder(shape.from, &row.from);
        [near, self.make_placeholder(shape.to, &row.to)]
    }

    pub(super) fn ensure_ends(&mut self, model: &Model, table: TableIndex, row: &RelationshipRow) {
        if let Shape::Relationship(shape) = &model.table(table).shape {
            self.ends(shape, row);
        }
    }

    pub(super) fn upsert_relationship(
        &mut self,
        model: &Model,
        table: TableIndex,
        known: &Known,
        completeness: Completeness,
        row: &RelationshipRow,
    ) {
        let Shape::Relationship(shape) = &model.table(table).shape else { return };
        let [near, far] = self.ends(shape, row);
        let (id, created) = match self.join_row(model, table, &row.key) {
            Some(id) => (id, false),
            None => {
                let key = matches!(shape.key, RelationshipKey::Own(_)).then(|| row.key.clone());
                let made = Relationship { key, ..Relationship::new(Kind::Join(table), near, far) };
                (self.connect(made), true)
            }
        };
        self.reconnect(model, id, near, far);
        let relationship = self.relationship_mut(id);
        relationship.incomplete = match completeness {
            Completeness::Complete => false,
            Completeness::Partial => relationship.incomplete || created,
            Completeness::PartialMoved => true,
        };
        relationship.stamp = row.stamp.or(relationship.stamp);
        set(&mut relationship.properties, known, &row.values);
    }
}
