//! What the graph has of a table's rows. Its order of keys is [`Key`]'s.

use std::{collections::BTreeMap, ops::Bound};

use crate::{
    graph::{
        Key,
        found::{End, Entity, Found, FoundNode, FoundReference, FoundRelationship, State, Stored},
        model::{
            Model, ReferenceBy, ReferenceShape, RelationshipKey, RelationshipShape, Shape,
            TableIndex,
        },
    },
    value::Value,
};

use super::{Kind, Memory, NodeId, Relationship, named};

impl Memory {
    /// The entities with at most `limit` keys that come after `after`.
    pub fn page(
        &self,
        model: &Model,
        table: TableIndex,
        after: Option<&Key>,
        limit: usize,
    ) -> Vec<Found> {
        let (mut all, _) = self.entities(model, table);
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let keys: Vec<Key> =
            all.range((after, Bound::Unbounded)).take(limit).map(|(key, _)| key.clone()).collect();
        let found = keys.into_iter().filter_map(|key| {
            let (key, entity) = all.remove_entry(&key)?;
            Some(Found { key, entity })
        });
        found.collect()
    }

    /// The entities with these keys.
    pub fn found(&self, model: &Model, table: TableIndex, keys: &[Key]) -> Vec<Found> {
        let (mut all, _) = self.entities(model, table);
        let found = keys.iter().filter_map(|key| {
            let (key, entity) = all.remove_entry(key)?;
            Some(Found { key, entity })
        });
        found.collect()
    }

    /// The keys among these that no row has.
    pub fn missing(&self, model: &Model, table: TableIndex, keys: &[Key]) -> Vec<Key> {
        let (all, _) = self.entities(model, table);
        let is_missing = |key: &&Key| match all.get(*key) {
            None => true,
            Some(Entity::Node(node)) => node.state != State::Row,
            Some(Entity::Relationships(_)) => false,
        };
        keys.iter().filter(is_missing).cloned().collect()
    }

    /// How many nodes or relationships of the table have no key, or are between other tables' nodes.
    pub fn strays(&self, model: &Model, table: TableIndex) -> u64 {
        self.entities(model, table).1
    }

    fn entities(&self, model: &Model, table: TableIndex) -> (BTreeMap<Key, Entity>, u64) {
        let (mut all, mut strays) = (BTreeMap::new(), 0);
        match &model.table(table).shape {
            Shape::Node(_) => {
                for (id, node) in self.nodes.iter().filter(|(_, node)| node.table == table) {
                    if node.key.0.is_empty() {
                        strays += 1;
                    } else {
                        all.insert(node.key.clone(), Entity::Node(self.found_node(model, *id)));
                    }
                }
            }
            Shape::Relationship(shape) => {
                let of_table = |it: &&Relationship| it.kind == Kind::Join(table);
                for relationship in self.relationships.values().filter(of_table) {
                    let (near, far) =
                        (&self.nodes[&relationship.near], &self.nodes[&relationship.far]);
                    let is_in_place = near.table == shape.from && far.table == shape.to;
                    let key = self.whole_join_key(shape, relationship).filter(|_| is_in_place);
                    let Some(key) = key else {
                        strays += 1;
                        continue;
                    };
                    let entity = all.entry(key).or_insert(Entity::Relationships(Vec::new()));
                    if let Entity::Relationships(found) = entity {
                        found.push(self.found_relationship(shape, relationship));
                    }
                }
            }
        }
        (all, strays)
    }

    fn whole_join_key(&self, shape: &RelationshipShape, found: &Relationship) -> Option<Key> {
        match (&shape.key, &found.key) {
            (RelationshipKey::Own(_), key) => key.clone(),
            (RelationshipKey::Ends, _) => {
                let ends = [&self.nodes[&found.near].key, &self.nodes[&found.far].key];
                let is_whole = ends.iter().all(|key| !key.0.is_empty());
                is_whole.then(|| Key(ends.iter().flat_map(|key| key.0.iter().cloned()).collect()))
            }
        }
    }

    fn found_node(&self, model: &Model, id: NodeId) -> FoundNode {
        let node = &self.nodes[&id];
        let shape = model.node(node.table);
        let state = match node.placeholder {
            true => State::Placeholder { is_held: self.is_pointed_at(model, id) },
            false => State::Row,
        };
        let references = shape.references.iter().enumerate();
        FoundNode {
            times: 1,
            state,
            is_incomplete: node.incomplete,
            extra_labels: (0..shape.extra_labels.len())
                .map(|label| node.labels.contains(&label))
                .collect(),
            properties: stored(shape.properties.len(), &node.properties),
            references: references
                .map(|(index, reference)| self.found_reference(model, id, index, reference))
                .collect(),
        }
    }

    fn found_reference(
        &self,
        model: &Model,
        id: NodeId,
        index: usize,
        reference: &ReferenceShape,
    ) -> FoundReference {
        let node = &self.nodes[&id];
        let kind = Kind::Reference { owner: node.table, index };
        let owned = self.relationships.values().filter(|it| it.kind == kind && it.near == id);
        // At a node of another table it leads nowhere.
        let end = |far| match self.nodes[&far].table == reference.target {
            true => self.end(far),
            false => End::Keyless,
        };
        let mut ends: Vec<End> = owned.map(|it| end(it.far)).collect();
        ends.sort_unstable();
        let expected = match &reference.by {
            ReferenceBy::Key => None,
            ReferenceBy::Unique { owner_properties, target_properties } => {
                let value = named(model, node, owner_properties).filter(|_| !node.placeholder);
                let has_it = |other: NodeId| {
                    let other = &self.nodes[&other];
                    other.table == reference.target
                        && !other.placeholder
                        && value.is_some()
                        && named(model, other, target_properties) == value
                };
                let targets = self.nodes.keys().filter(|other| has_it(**other));
                let mut targets: Vec<End> = targets.map(|other| self.end(*other)).collect();
                targets.sort_unstable();
                Some(targets)
            }
        };
        FoundReference { ends, expected }
    }

    fn found_relationship(
        &self,
        shape: &RelationshipShape,
        found: &Relationship,
    ) -> FoundRelationship {
        FoundRelationship {
            from: self.end(found.near),
            to: self.end(found.far),
            is_incomplete: found.incomplete,
            properties: stored(shape.properties.len(), &found.properties),
        }
    }

    fn end(&self, id: NodeId) -> End {
        let key = &self.nodes[&id].key;
        if key.0.is_empty() { End::Keyless } else { End::At(key.clone()) }
    }
}

fn stored(count: usize, properties: &BTreeMap<usize, Value>) -> Vec<Stored> {
    let of = |index| properties.get(&index).cloned().map_or(Stored::Nothing, Stored::Value);
    (0..count).map(of).collect()
}
