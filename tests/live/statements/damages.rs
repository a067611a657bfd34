//! What others do to the mapping's part of a graph, at random, and the tables that a repair goes by.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use wal2graph::{
    graph::{
        Cell, Difference, Event, Found, Key, Model, Reference, Remedy, Repair, Row, TableIndex,
        compare,
        memory::{Contents, Damage, Memory, OTHERS, ToJoined, ToNode},
        model::{RelationshipKey, Shape},
        plan_repaired, remedy,
    },
    value::Value,
};

/// The rows of all tables.
#[derive(Clone, Debug)]
pub struct Tables(Vec<BTreeMap<Key, Row>>);

impl Tables {
    pub fn new(model: &Model) -> Self {
        Tables(model.tables.iter().map(|_| BTreeMap::new()).collect())
    }

    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Insert { table, key, row } => {
                self.0[table.0].insert(key.clone(), row.clone());
            }
            Event::Update { table, key, row } => {
                let old = self.0[table.0].get_mut(key).expect("the row is there");
                take(old, row);
            }
            Event::Move { table, from, to, row } => {
                let mut old = self.0[table.0].remove(from).expect("the row is there");
                take(&mut old, row);
                self.0[table.0].insert(to.clone(), old);
            }
            Event::Delete { table, key } => drop(self.0[table.0].remove(key)),
            Event::Truncate { tables } => {
                tables.iter().for_each(|table| self.0[table.0].clear());
            }
        }
    }

    /// The graph of these tables, nodes first.
    pub fn graph(&self, model: &Model) -> Memory {
        let mut memory = Memory::default();
        for (table, _) in model.iter() {
            let write = self.0[table.0].clone().into_iter().collect();
            let repair = Repair { write, ..Repair::default() };
            for statement in plan_repaired(model, table, repair) {
                memory.apply(model, &statement);
            }
        }
        memory
    }

    /// What the table's keys need that differ, and how they do.
    pub fn repair(
        &self,
        model: &Model,
        table: TableIndex,
        found: Vec<Found>,
    ) -> (Repair, Vec<Difference>) {
        let rows = &self.0[table.0];
        let found: BTreeMap<Key, Found> =
            found.into_iter().map(|found| (found.key.clone(), found)).collect();
        let keys: BTreeSet<&Key> = rows.keys().chain(found.keys()).collect();
        let (mut repair, mut all) = (Repair::default(), Vec::new());
        for key in keys {
            let row = rows.get_key_value(key);
            let differences = compare(model, table, row, found.get(key));
            match (remedy(&differences, row.is_some()), row) {
                (None, _) => {}
                (Some(Remedy::Write), Some((key, row))) => {
                    repair.write.push((key.clone(), row.clone()));
                }
                (Some(Remedy::Remove), _) => repair.remove.push(key.clone()),
                (Some(Remedy::Empty), _) => repair.empty.push(key.clone()),
                (Some(Remedy::Write), None) => panic!("a row is written, and there is none"),
            }
            all.extend(differences);
        }
        (repair, all)
    }
}

fn take(old: &mut Row, new: &Row) {
    for (old, new) in old.properties.iter_mut().zip(&new.properties) {
        if *new != Cell::Unchanged {
            *old = new.clone();
        }
    }
    for (old, new) in old.references.iter_mut().zip(&new.references) {
        if *new != Reference::Unchanged {
            *old = new.clone();
        }
    }
}

/// One damage that fits the graph as it is.
pub fn damage(rng: &mut Rng, model: &Model, memory: &Memory) -> Damage {
    let table = TableIndex(rng.usize(0..model.tables.len()));
    let there: Vec<Key> =
        memory.page(model, table, None, usize::MAX).into_iter().map(|it| it.key).collect();
    match &model.table(table).shape {
        Shape::Node(shape) => {
            let fresh = (0..).map(|number| node_key(model, table, 50 + number));
            let fresh = fresh.into_iter().find(|key| !there.contains(key)).expect("keys are many");
            let key = rng.choice(&there).cloned().unwrap_or_else(|| fresh.clone());
            let property = rng.usize(0..shape.properties.len().max(1));
            let what = match rng.u8(0..12) {
                0 => ToNode::Delete,
                1 => return Damage::Node { table, key: fresh, what: ToNode::Make },
                2 | 3 if !shape.properties.is_empty() => {
                    let value = rng.bool().then(|| Value::String("wrong".to_owned()));
                    ToNode::Property(property, value)
                }
                4 if !shape.extra_labels.is_empty() => ToNode::ExtraLabel(0, rng.bool()),
                5 => ToNode::Placeholder(rng.bool()),
                6 => ToNode::Incomplete(rng.bool()),
                7 => ToNode::LoseKey,
                8 => ToNode::Key(fresh),
                _ if shape.references.is_empty() => ToNode::Incomplete(true),
                kind => {
                    let reference = rng.usize(0..shape.references.len());
                    let target = node_key(model, shape.references[reference].target, rng.i64(0..5));
                    return match kind {
                        9 => Damage::Disconnect { table, reference, owner: key },
                        _ => Damage::Connect { table, reference, owner: key, target },
                    };
                }
            };
            Damage::Node { table, key, what }
        }
        Shape::Relationship(shape) => {
            let make = |rng: &mut Rng| {
                let number = rng.i64(0..5);
                let own = match &shape.key {
                    RelationshipKey::Ends => None,
                    RelationshipKey::Own(names) => {
                        Some(Key(vec![Value::Integer(number); names.len()].into()))
                    }
                };
                let end = |table, number| (table, node_key(model, table, number));
                let (from, to) = (end(shape.from, rng.i64(0..5)), end(shape.to, rng.i64(0..5)));
                Damage::Join { table, own, from, to }
            };
            let Some(key) = rng.choice(&there).cloned() else { return make(rng) };
            let what = match rng.u8(0..6) {
                0 => ToJoined::Delete,
                1 => ToJoined::Double,
                2 if !shape.properties.is_empty() => {
                    let value = rng.bool().then(|| Value::Boolean(true));
                    ToJoined::Property(rng.usize(0..shape.properties.len()), value)
                }
                // One without properties is never marked.
                3 if !shape.properties.is_empty() => ToJoined::Incomplete(rng.bool()),
                _ => return make(rng),
            };
            Damage::Joined { table, key, what }
        }
    }
}

fn node_key(model: &Model, table: TableIndex, number: i64) -> Key {
    Key(vec![Value::Integer(number); model.node(table).key.len()].into())
}

/// The contents that are the mapping's: nodes without a key are others' by then.
pub fn of_the_mapping(contents: Contents, model: &Model) -> Contents {
    let keyed = |labels: &BTreeSet<String>, properties: &BTreeMap<String, Value>| {
        model.tables.iter().any(|table| match &table.shape {
            Shape::Node(node) => {
                labels.contains(&node.label)
                    && node.key.iter().all(|name| properties.contains_key(name))
            }
            Shape::Relationship(_) => false,
        })
    };
    let mut mapped = Contents::default();
    for mut node in contents.nodes {
        node.labels.remove(OTHERS);
        node.properties.remove(OTHERS);
        if keyed(&node.labels, &node.properties) {
            mapped.nodes.insert(node);
        }
    }
    for (relationship, count) in contents.relationships {
        let is_keyed = !relationship.from.key.is_empty() && !relationship.to.key.is_empty();
        if relationship.relationship_type != OTHERS && is_keyed {
            mapped.relationships.insert(relationship, count);
        }
    }
    mapped
}
