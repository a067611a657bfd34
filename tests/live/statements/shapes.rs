//! Models for the statements, and random events on tables that they map.

use std::{collections::BTreeSet, sync::Arc};

use fastrand::Rng;
use wal2graph::{
    graph::{
        Cell, Circumstances, Event, Key, Model, Reference, Row, TableIndex,
        model::{
            Direction, NodeShape, ReferenceBy, ReferenceShape, RelationshipKey, RelationshipShape,
            Shape, Table,
        },
    },
    value::Value,
};

const KEYS: i64 = 4;

/// A name that no table's label has: other tests map tables in the same graph meanwhile.
fn label(prefix: &str, name: &str) -> String {
    format!("Model {prefix}{name}")
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub fn node(
    label: String,
    key: &[&str],
    properties: &[&str],
    references: Vec<ReferenceShape>,
) -> Table {
    let (key, properties) = (names(key), names(properties));
    let extra_labels = vec![format!("{label}Extra")];
    let shape = NodeShape { label: label.clone(), extra_labels, key, properties, references };
    Table { name: label, shape: Shape::Node(shape) }
}

pub fn join(
    kind: String,
    from: usize,
    to: usize,
    key: RelationshipKey,
    properties: &[&str],
) -> Table {
    let shape = RelationshipShape {
        relationship_type: kind.clone(),
        from: TableIndex(from),
        to: TableIndex(to),
        key,
        properties: names(properties),
    };
    Table { name: kind, shape: Shape::Relationship(shape) }
}

pub fn reference(kind: &str, target: usize) -> ReferenceShape {
    ReferenceShape {
        relationship_type: kind.to_owned(),
        direction: Direction::Outgoing,
        target: TableIndex(target),
        by: ReferenceBy::Key,
    }
}

/// Soft references of both directions, a self reference, a unique one, all kinds of join tables.
pub fn soft(prefix: &str) -> Model {
    let unique = ReferenceShape {
        by: ReferenceBy::Unique {
            owner_properties: names(&["code"]),
            target_properties: names(&["code"]),
        },
        ..reference("HAS_CODE", 1)
    };
    let incoming = ReferenceShape { direction: Direction::Incoming, ..reference("OWNS", 1) };
    let label = |name: &str| label(prefix, name);
    Model {
        tables: vec![
            node(label("A"), &["id"], &["plain", "wide"], vec![reference("PARENT", 0), incoming]),
            node(label("B"), &["id"], &["wide", "code"], vec![]),
            node(label("C"), &["id"], &["code", "wide"], vec![reference("A", 0), unique]),
            join(label("AB"), 0, 1, RelationshipKey::Ends, &["plain", "wide"]),
            join(label("AA"), 0, 0, RelationshipKey::Ends, &[]),
            join(label("LINK"), 0, 1, RelationshipKey::Own(names(&["id"])), &["wide"]),
            // The same type and the same keys between other nodes.
            join(label("LINK"), 2, 1, RelationshipKey::Own(names(&["id"])), &["wide"]),
        ],
    }
}

/// Keys of two parts, and names that need quoting.
pub fn composite(prefix: &str) -> Model {
    let label = |name: &str| label(prefix, name);
    let incoming = ReferenceShape { direction: Direction::Incoming, ..reference("has `it`", 0) };
    Model {
        tables: vec![
            node(label("X"), &["part one", "zwei`"], &["größe"], vec![reference("SELF ref", 0)]),
            node(label("Y"), &["id"], &["a b"], vec![incoming]),
            join(label("XY"), 0, 1, RelationshipKey::Ends, &["menge x"]),
            join(label("XX"), 0, 0, RelationshipKey::Own(names(&["k 1", "k`2"])), &["v"]),
        ],
    }
}

/// Owners that refer to a unique column of others.
pub fn by_code(prefix: &str) -> Model {
    let by = ReferenceBy::Unique {
        owner_properties: names(&["code"]),
        target_properties: names(&["code"]),
    };
    let of_code = ReferenceShape { by, ..reference("OF_CODE", 0) };
    let code = node(label(prefix, "Code"), &["id"], &["code"], vec![]);
    let owner = node(label(prefix, "Owner"), &["id"], &["code"], vec![of_code]);
    Model { tables: vec![code, owner] }
}

/// Tables that refer to one another in a row, the targets first.
pub fn chain(prefix: &str) -> Model {
    let label = |name: &str| label(prefix, name);
    Model {
        tables: vec![
            node(label("P"), &["id"], &["plain"], vec![]),
            node(label("Q"), &["id"], &["plain"], vec![reference("P", 0)]),
            node(label("S"), &["id"], &["plain"], vec![reference("Q", 1), reference("LIKES", 0)]),
        ],
    }
}

pub fn key(parts: &[i64]) -> Key {
    Key(parts.iter().map(|part| Value::Integer(*part)).collect())
}

/// A row of a table without references.
pub fn insert(table: TableIndex, id: i64) -> Event {
    let properties = vec![Cell::Value(Value::Integer(id * 10))];
    Event::Insert { table, key: key(&[id]), row: Row { properties, references: vec![] } }
}

/// A row of the chain's table, by what it refers to.
fn in_chain(table: usize, id: i64, references: &[i64]) -> Event {
    let row = Row {
        properties: vec![Cell::Value(Value::Integer(1))],
        references: references.iter().map(|to| Reference::To(key(&[*to]))).collect(),
    };
    Event::Insert { table: TableIndex(table), key: key(&[id]), row }
}

fn delete(table: usize, id: i64) -> Event {
    Event::Delete { table: TableIndex(table), key: key(&[id]) }
}

/// Two rows of each of the chain's tables.
pub fn chain_rows() -> Vec<Event> {
    vec![
        in_chain(0, 1, &[]),
        in_chain(0, 2, &[]),
        in_chain(1, 1, &[1]),
        in_chain(1, 2, &[2]),
        in_chain(2, 1, &[1, 1]),
        in_chain(2, 2, &[2, 1]),
    ]
}

/// Rows of the chain that others refer to.
pub fn targets_deleted_and_inserted_again() -> Vec<Event> {
    vec![delete(0, 1), in_chain(0, 1, &[]), delete(1, 2), in_chain(1, 2, &[2])]
}

/// Batches in which targets go before their owners, whoever writes meanwhile.
pub fn chain_history() -> Vec<(Vec<Event>, Circumstances)> {
    let of_one = |id| vec![delete(0, id), delete(1, id), delete(2, id)];
    vec![
        (chain_rows(), Circumstances::Settled),
        (vec![delete(0, 1), delete(1, 1)], Circumstances::Settled),
        (vec![delete(2, 1), delete(2, 2)], Circumstances::Settled),
        (vec![delete(0, 2), delete(1, 2)], Circumstances::Settled),
        (chain_rows(), Circumstances::Unsettled),
        (of_one(1), Circumstances::Unsettled),
        (of_one(2), Circumstances::Unsettled),
    ]
}

/// Random rows of a model's tables; every reference is soft.
pub struct Generator {
    model: Arc<Model>,
    pub rng: Rng,
    /// The keys that have rows.
    tables: Vec<BTreeSet<Key>>,
}

impl Generator {
    pub fn new(model: Arc<Model>, rng: Rng) -> Self {
        let tables = model.tables.iter().map(|_| BTreeSet::new()).collect();
        Generator { model, rng, tables }
    }

    pub fn rows(&self) -> usize {
        self.tables.iter().map(BTreeSet::len).sum()
    }

    /// A row whose table's rows are nodes.
    pub fn any_node(&mut self) -> Option<(TableIndex, Key)> {
        let tables = self.model.iter().filter(|(_, it)| matches!(it.shape, Shape::Node(_)));
        let tables: Vec<TableIndex> = tables.map(|(table, _)| table).collect();
        let rows =
            tables.iter().flat_map(|table| self.tables[table.0].iter().map(|key| (*table, key)));
        let rows: Vec<_> = rows.map(|(table, key)| (table, key.clone())).collect();
        self.rng.choice(rows)
    }

    /// One to twelve events that fit the tables as they are.
    pub fn batch(&mut self) -> Vec<Event> {
        (0..self.rng.usize(1..12)).filter_map(|_| self.event()).collect()
    }

    fn event(&mut self) -> Option<Event> {
        let table = TableIndex(self.rng.usize(0..self.tables.len()));
        let free = self.new_key(table);
        let free = (!self.tables[table.0].contains(&free)).then_some(free);
        let rows: Vec<Key> = self.tables[table.0].iter().cloned().collect();
        let some = self.rng.choice(rows);
        match (self.rng.u8(0..20), some, free) {
            (0..9, _, Some(key)) => {
                self.tables[table.0].insert(key.clone());
                let row = self.row(table, &key, false);
                Some(Event::Insert { table, key, row })
            }
            (9..13, Some(key), _) => {
                let row = self.row(table, &key, true);
                Some(Event::Update { table, key, row })
            }
            (13..16, Some(from), Some(to)) => {
                self.tables[table.0].remove(&from);
                self.tables[table.0].insert(to.clone());
                let row = self.row(table, &to, true);
                Some(Event::Move { table, from, to, row })
            }
            (16..19, Some(key), _) => {
                self.tables[table.0].remove(&key);
                Some(Event::Delete { table, key })
            }
            (19, _, _) if self.rng.u8(0..4) == 0 => {
                self.tables[table.0].clear();
                Some(Event::Truncate { tables: vec![table] })
            }
            _ => None,
        }
    }

    fn node_key(&mut self, table: TableIndex) -> Key {
        let width = self.model.node(table).key.len();
        let parts: Vec<i64> = (0..width).map(|_| self.rng.i64(0..KEYS)).collect();
        key(&parts)
    }

    fn new_key(&mut self, table: TableIndex) -> Key {
        let (from, to) = match &self.model.table(table).shape {
            Shape::Node(_) => return self.node_key(table),
            Shape::Relationship(RelationshipShape { key: RelationshipKey::Own(names), .. }) => {
                let parts: Vec<i64> = names.iter().map(|_| self.rng.i64(0..KEYS)).collect();
                return key(&parts);
            }
            Shape::Relationship(shape) => (shape.from, shape.to),
        };
        let (from, to) = (self.node_key(from), self.node_key(to));
        Key(from.0.iter().chain(&to.0).cloned().collect())
    }

    /// A row; a partial one leaves some of its `wide` columns out.
    fn row(&mut self, table: TableIndex, key: &Key, partial: bool) -> Row {
        let model = self.model.clone();
        let (properties, references) = match &model.table(table).shape {
            Shape::Node(node) => {
                let properties = self.properties(table, key, &node.properties, partial);
                let references = node.references.iter().map(|shape| match shape.by {
                    ReferenceBy::Key if self.rng.u8(0..4) > 0 => {
                        Reference::To(self.node_key(shape.target))
                    }
                    ReferenceBy::Key => Reference::Null,
                    ReferenceBy::Unique { .. } => match &properties[0] {
                        Cell::Value(value) => Reference::To(Key([value.clone()].into())),
                        Cell::Null => Reference::Null,
                        Cell::Unchanged => Reference::Unchanged,
                    },
                });
                let references = references.collect();
                (properties, references)
            }
            Shape::Relationship(shape) => {
                let properties = self.properties(table, key, &shape.properties, partial);
                let references = match shape.key {
                    RelationshipKey::Ends => {
                        let (from, to) = shape.split_ends(&model, key);
                        vec![Reference::To(from), Reference::To(to)]
                    }
                    RelationshipKey::Own(_) => vec![
                        Reference::To(self.node_key(shape.from)),
                        Reference::To(self.node_key(shape.to)),
                    ],
                };
                (properties, references)
            }
        };
        Row { properties, references }
    }

    fn properties(
        &mut self,
        table: TableIndex,
        key: &Key,
        names: &[String],
        partial: bool,
    ) -> Vec<Cell> {
        let cell = |name: &String| match name.as_str() {
            // Where it is looked up it is unique, as the key is.
            "code" if table == TableIndex(1) => Cell::Value(key.0[0].clone()),
            "code" => Cell::Value(Value::Integer(self.rng.i64(0..KEYS))),
            "wide" | "größe" | "menge x" | "v" if partial && self.rng.bool() => Cell::Unchanged,
            _ if self.rng.u8(0..4) == 0 => Cell::Null,
            _ => Cell::Value(Value::Integer(self.rng.i64(0..100))),
        };
        names.iter().map(cell).collect()
    }
}
