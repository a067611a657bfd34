//! An in-memory graph that applies statements: the oracle for the Cypher texts.
//!
//! ```text
//! Statement  --apply-->  Memory  --contents-->  Contents   (names and values, comparable with a real graph)
//! ```
//!
//! Its plain code defines the meaning of each [`Statement`]. It favours reading over speed: it
//! scans every relationship where a database would seek.

mod contents;
mod damage;
mod found;
mod joins;
mod nodes;
mod others;
mod removal;
mod repair;
mod unique;

use std::collections::{BTreeMap, BTreeSet};

use crate::{lsn::Stamp, value::Value};

use super::{
    Key,
    letter::{Letter, LetterId},
    model::{Model, ReferenceBy, Shape, TableIndex},
    statement::{Completeness, Known, Presence, Reach, Statement},
};

use unique::Seen;

pub use contents::{Contents, NodeContent, NodeIdentity, RelationshipContent};
pub use damage::{Damage, ToJoined, ToNode};
pub use others::OTHERS;

/// A graph in memory.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    nodes: BTreeMap<NodeId, Node>,
    relationships: BTreeMap<RelationshipId, Relationship>,
    letters: BTreeMap<LetterId, (TableIndex, Letter)>,
    next_id: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct NodeId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RelationshipId(u64);

#[derive(Clone, Debug)]
struct Node {
    table: TableIndex,
    /// Empty if others took it: no key is.
    key: Key,
    properties: BTreeMap<usize, Value>,
    placeholder: bool,
    incomplete: bool,
    /// The extra labels that it has, by their index in the shape.
    labels: BTreeSet<usize>,
    stamp: Option<Stamp>,
    /// What others put on it.
    others: Option<i64>,
}

/// A relationship between nodes, not between keys: the statements decide the meaning of a key
/// change.
#[derive(Clone, Debug)]
struct Relationship {
    kind: Kind,
    /// The owner of a reference, the start of a join row.
    near: NodeId,
    /// The target of a reference, the end of a join row.
    far: NodeId,
    /// The key of a join row with its own key.
    key: Option<Key>,
    properties: BTreeMap<usize, Value>,
    incomplete: bool,
    stamp: Option<Stamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Reference {
        owner: TableIndex,
        index: usize,
    },
    Join(TableIndex),
    /// Others made it.
    Others,
}

impl Memory {
    /// Applies one statement; a `Clear` runs to its end.
    pub fn apply(&mut self, model: &Model, statement: &Statement) {
        match statement {
            Statement::ClearNodes { table, reach } => {
                for key in self.keys_of(*table, *reach) {
                    self.drop_node(model, *table, &key);
                }
            }
            Statement::ClearRelationships { table, reach } => {
                for id in self.find(|relationship| {
                    relationship.kind == Kind::Join(*table) && reach.reaches(relationship.stamp)
                }) {
                    self.remove_and_sweep(model, id);
                }
            }
            Statement::DropNodes { table, keys, beside: _ } => {
                for key in keys {
                    self.drop_node(model, *table, key);
                }
            }
            Statement::MoveNodes { table, moves } => {
                for (from, to) in moves {
                    self.move_node(model, *table, from, to);
                }
            }
            Statement::DropRelationships { table, keys, beside: _ } => {
                for key in keys {
                    while let Some(id) = self.join_row(model, *table, key) {
                        self.remove_and_sweep(model, id);
                    }
                }
            }
            Statement::MoveRelationships { table, moves } => {
                for (from, to) in moves {
                    self.move_relationship(model, *table, from, to);
                }
            }
            Statement::UpsertNodes { table, known, completeness, new: _, rows } => {
                for row in rows {
                    self.upsert_node(model, *table, known, *completeness, row);
                }
            }
            Statement::FillNodes { table, rows } => {
                let shape = model.node(*table);
                let known = Known(vec![true; shape.properties.len()].into());
                for (row, _) in rows {
                    self.upsert_node(model, *table, &known, Completeness::Complete, row);
                }
                for (row, targets) in rows {
                    for (reference, target) in shape.keyed_references().zip(targets) {
                        if let Some(target) = target {
                            self.add_reference(model, *table, reference, &row.key, target);
                        }
                    }
                }
            }
            Statement::RemoveReferences { table, reference, rows } => {
                for (owner, target) in rows {
                    self.remove_references(model, *table, *reference, owner, target.as_ref());
                }
            }
            Statement::RemoveOutdated { table, references, rows } => {
                for (owner, targets) in rows {
                    for (reference, target) in references.iter().zip(targets) {
                        self.remove_references(model, *table, *reference, owner, target.as_ref());
                    }
                }
            }
            Statement::AddReferences { table, reference, presence: _, rows } => {
                for (owner, target) in rows {
                    self.add_reference(model, *table, *reference, owner, target);
                }
            }
            Statement::ReplaceReferences { table, reference, beside: _, rows } => {
                for (owner, target) in rows {
                    self.remove_references(model, *table, *reference, owner, Some(target));
                }
                for (owner, target) in rows {
                    self.add_reference(model, *table, *reference, owner, target);
                }
            }
            Statement::UpsertRelationships { table, known, completeness, presence, rows } => {
                for row in rows {
                    let there = self.join_row(model, *table, &row.key).is_some();
                    match (presence, there) {
                        (Presence::Known, false) => {}
                        (Presence::New, true) => self.ensure_ends(model, *table, row),
                        _ => self.upsert_relationship(model, *table, known, *completeness, row),
                    }
                }
            }
            Statement::UpdateRelationships { table, known, rows } => {
                for row in rows {
                    if let Some(id) = self.join_row(model, *table, &row.key) {
                        let relationship = self.relationship_mut(id);
                        set(&mut relationship.properties, known, &row.values);
                        relationship.stamp = row.stamp.or(relationship.stamp);
                    }
                }
            }
            Statement::MatchFromOwner { table, reference, rows } => {
                self.match_rows(model, (*table, *reference), Seen::FromOwner, rows);
            }
            Statement::MatchFromTarget { table, reference, rows } => {
                self.match_rows(model, (*table, *reference), Seen::FromTarget, rows);
            }
            Statement::Untangle { table, keys } => self.untangle(model, *table, keys),
            Statement::KeepLetters { table, letters } => {
                for letter in letters {
                    let known = self.letters.entry(letter.id.clone());
                    known
                        .and_modify(|(_, known)| known.add(letter.clone()))
                        .or_insert_with(|| (*table, letter.clone()));
                    self.count_as_complete(model, *table, &letter.key);
                }
            }
            Statement::RemoveLetters { letters } => {
                for id in letters {
                    self.letters.remove(id);
                }
            }
            // A node is one table's here.
            Statement::UnlabelNodes { .. } => {}
            Statement::EmptyPlaceholders { table, keys } => {
                for key in keys {
                    self.empty_placeholder(model, *table, key);
                }
            }
        }
    }

    fn count_as_complete(&mut self, model: &Model, table: TableIndex, key: &Key) {
        match model.table(table).shape {
            Shape::Node(_) => {
                if let Some(id) = self.node_id(table, key) {
                    self.node_mut(id).incomplete = false;
                }
            }
            Shape::Relationship(_) => {
                for id in self.join_rows(model, table, key) {
                    self.relationship_mut(id).incomplete = false;
                }
            }
        }
    }

    /// The rows that are set aside.
    pub fn letters(&self) -> impl Iterator<Item = (TableIndex, &Letter)> {
        self.letters.values().map(|(table, letter)| (*table, letter))
    }

    /// Whether a node of this table and key exists, placeholder or not.
    pub fn has_node(&self, table: TableIndex, key: &Key) -> bool {
        self.node_id(table, key).is_some()
    }

    /// The keys of incomplete rows, by table. A placeholder that others have marked is none.
    pub fn incomplete(&self, model: &Model) -> Vec<(TableIndex, Key)> {
        let nodes = self.nodes.values().filter(|node| node.incomplete && !node.placeholder);
        let nodes = nodes.map(|node| (node.table, node.key.clone()));
        let joins = self.relationships.values().filter(|relationship| relationship.incomplete);
        let joins = joins.filter_map(|relationship| match relationship.kind {
            Kind::Join(table) => Some((table, self.join_key(model, table, relationship))),
            Kind::Reference { .. } | Kind::Others => None,
        });
        nodes.chain(joins).collect()
    }

    fn node_id(&self, table: TableIndex, key: &Key) -> Option<NodeId> {
        self.nodes
            .iter()
            .find(|(_, node)| node.table == table && node.key == *key)
            .map(|(id, _)| *id)
    }

    fn row_id(&self, table: TableIndex, key: &Key) -> Option<NodeId> {
        self.node_id(table, key).filter(|id| !self.nodes[id].placeholder)
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node id stays valid until its node is removed")
    }

    fn relationship_mut(&mut self, id: RelationshipId) -> &mut Relationship {
        self.relationships.get_mut(&id).expect("a found relationship is there")
    }

    fn keys_of(&self, table: TableIndex, reach: Reach) -> Vec<Key> {
        let rows = self
            .nodes
            .values()
            .filter(|node| node.table == table && !node.placeholder && reach.reaches(node.stamp));
        rows.map(|node| node.key.clone()).collect()
    }

    fn next(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn make_placeholder(&mut self, table: TableIndex, key: &Key) -> NodeId {
        if let Some(id) = self.node_id(table, key) {
            return id;
        }
        let id = NodeId(self.next());
        let node = Node {
            table,
            key: key.clone(),
            properties: BTreeMap::new(),
            placeholder: true,
            incomplete: false,
            labels: BTreeSet::new(),
            stamp: None,
            others: None,
        };
        self.nodes.insert(id, node);
        id
    }

    fn connect(&mut self, relationship: Relationship) -> RelationshipId {
        let id = RelationshipId(self.next());
        self.relationships.insert(id, relationship);
        id
    }

    fn find(&self, condition: impl Fn(&Relationship) -> bool) -> Vec<RelationshipId> {
        let found = self.relationships.iter().filter(|(_, relationship)| condition(relationship));
        found.map(|(id, _)| *id).collect()
    }

    fn remove_and_sweep(&mut self, model: &Model, id: RelationshipId) {
        if let Some(removed) = self.relationships.remove(&id) {
            self.sweep(model, removed.near);
            self.sweep(model, removed.far);
        }
    }

    /// Deletes a placeholder that nothing points at any longer.
    fn sweep(&mut self, model: &Model, id: NodeId) {
        let placeholder = self.nodes.get(&id).is_some_and(|node| node.placeholder);
        if placeholder && !self.is_pointed_at(model, id) {
            self.take_others(id);
            // A row that others have made a placeholder owns some.
            self.relationships.retain(|_, it| it.near != id && it.far != id);
            self.nodes.remove(&id);
        }
    }

    /// Whether a mapped relationship holds a placeholder: a reference by key, or a join row at
    /// either end.
    fn is_pointed_at(&self, model: &Model, id: NodeId) -> bool {
        self.relationships.values().any(|relationship| match relationship.kind {
            Kind::Join(_) => relationship.near == id || relationship.far == id,
            kind @ Kind::Reference { .. } => relationship.far == id && by_key(model, kind),
            Kind::Others => false,
        })
    }

    fn remove_references(
        &mut self,
        model: &Model,
        table: TableIndex,
        index: usize,
        owner: &Key,
        target: Option<&Key>,
    ) {
        let Some(owner) = self.row_id(table, owner) else { return };
        let gone = self.find(|relationship| {
            relationship.kind == Kind::Reference { owner: table, index }
                && relationship.near == owner
                && target.is_none_or(|target| self.nodes[&relationship.far].key != *target)
        });
        for id in gone {
            if let Some(removed) = self.relationships.remove(&id) {
                self.sweep(model, removed.far);
            }
        }
    }

    fn add_reference(
        &mut self,
        model: &Model,
        table: TableIndex,
        index: usize,
        owner: &Key,
        target: &Key,
    ) {
        let Some(near) = self.row_id(table, owner) else { return };
        let kind = Kind::Reference { owner: table, index };
        let far = self.make_placeholder(model.node(table).references[index].target, target);
        self.connect_once(kind, near, far);
    }

    fn connect_once(&mut self, kind: Kind, near: NodeId, far: NodeId) {
        let there = self.find(|relationship| {
            (relationship.kind, relationship.near, relationship.far) == (kind, near, far)
        });
        if there.is_empty() {
            self.connect(Relationship::new(kind, near, far));
        }
    }
}

impl Reach {
    fn reaches(self, stamp: Option<Stamp>) -> bool {
        match self {
            Reach::All => true,
            Reach::Before(before) => stamp.is_none_or(|stamp| stamp < before),
        }
    }
}

impl Relationship {
    fn new(kind: Kind, near: NodeId, far: NodeId) -> Self {
        let (key, properties) = (None, BTreeMap::new());
        Relationship { kind, near, far, key, properties, incomplete: false, stamp: None }
    }

    fn replace(&mut self, old: NodeId, new: NodeId) {
        for end in [&mut self.near, &mut self.far] {
            if *end == old {
                *end = new;
            }
        }
    }
}

fn by_key(model: &Model, kind: Kind) -> bool {
    match kind {
        Kind::Reference { owner, index } => {
            model.node(owner).references[index].by == ReferenceBy::Key
        }
        Kind::Join(_) | Kind::Others => false,
    }
}

fn set(properties: &mut BTreeMap<usize, Value>, known: &Known, values: &[Option<Value>]) {
    let known = known.0.iter().enumerate().filter(|(_, known)| **known);
    for ((property, _), value) in known.zip(values) {
        match value {
            Some(value) => drop(properties.insert(property, value.clone())),
            None => drop(properties.remove(&property)),
        }
    }
}

/// The values of named properties; `None` when one is missing.
fn named(model: &Model, node: &Node, names: &[String]) -> Option<Vec<Value>> {
    let shape = model.node(node.table);
    let value = |name: &String| {
        let key = shape.key.iter().position(|property| property == name);
        let property = || shape.properties.iter().position(|property| property == name);
        match key {
            Some(position) => Some(node.key.0[position].clone()),
            None => node.properties.get(&property()?).cloned(),
        }
    };
    names.iter().map(value).collect()
}
