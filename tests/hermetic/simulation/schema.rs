//! Small tables and their graph form, in both directions: a translator, and the expected graph of
//! the tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Arc,
};

use bytes::Bytes;
use wal2graph::{
    change::{self, Before, Change, Relation, ReplicaIdentity},
    graph::{
        self, Cell, Key, Model, Reference, Row, TableIndex,
        memory::{Contents, NodeContent, NodeIdentity, RelationshipContent},
        model::{
            Direction, NodeShape, ReferenceBy, ReferenceShape, RelationshipKey, RelationshipShape,
            Shape, Table,
        },
        statement::PLACEHOLDER,
    },
    value::Value,
};

/// A key in the tables.
pub type RowKey = Vec<i64>;

/// A row in the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimRow {
    pub properties: Vec<Option<i64>>,
    /// Targets' keys, or unique values. Empty for join tables keyed by their ends.
    pub references: Vec<Option<i64>>,
    /// The block it lies in.
    pub block: u32,
    /// Which insert it comes from.
    pub born: u64,
}

/// All rows of all tables.
pub type Tables = Vec<BTreeMap<RowKey, SimRow>>;

/// Tables and their mapping.
pub struct Schema {
    pub model: Arc<Model>,
    /// For each table: which properties are TOASTed when their value is large.
    pub toast: Vec<Vec<bool>>,
    /// The property of table 1 that is unique and referenced.
    pub unique: Option<(TableIndex, usize)>,
    /// Foreign keys are enforced, also those of join tables, except in a transaction without
    /// checks.
    pub enforced: bool,
    pub relations: Vec<Arc<Relation>>,
}

/// Values from here on are TOASTed if the column can be.
pub const LARGE: i64 = 50;

fn reference(relationship_type: &str, target: usize) -> ReferenceShape {
    ReferenceShape {
        relationship_type: relationship_type.to_owned(),
        direction: Direction::Outgoing,
        target: TableIndex(target),
        by: ReferenceBy::Key,
    }
}

fn node(label: &str, properties: &[&str], references: Vec<ReferenceShape>) -> Table {
    let shape = Shape::Node(NodeShape {
        label: label.to_owned(),
        extra_labels: Vec::new(),
        key: vec!["id".to_owned()],
        properties: properties.iter().map(|name| (*name).to_owned()).collect(),
        references,
    });
    Table { name: label.to_lowercase(), shape }
}

fn join(kind: &str, from: usize, to: usize, own_key: bool, properties: &[&str]) -> Table {
    let key =
        if own_key { RelationshipKey::Own(vec!["id".to_owned()]) } else { RelationshipKey::Ends };
    let shape = Shape::Relationship(RelationshipShape {
        relationship_type: kind.to_owned(),
        from: TableIndex(from),
        to: TableIndex(to),
        key,
        properties: properties.iter().map(|name| (*name).to_owned()).collect(),
    });
    Table { name: kind.to_lowercase(), shape }
}

/// Nothing is enforced: any row may point at any key.
fn soft() -> Schema {
    let unique = ReferenceShape {
        by: ReferenceBy::Unique {
            owner_properties: vec!["code".to_owned()],
            target_properties: vec!["code".to_owned()],
        },
        ..reference("HAS_CODE", 1)
    };
    let incoming = ReferenceShape { direction: Direction::Incoming, ..reference("OWNS", 1) };
    let tables = vec![
        node("A", &["plain", "wide"], vec![reference("PARENT", 0), incoming]),
        node("B", &["wide", "code"], vec![]),
        node("C", &["code", "wide"], vec![reference("A", 0), unique]),
        join("AB", 0, 1, false, &["plain", "wide"]),
        join("AA", 0, 0, false, &[]),
        join("LINK", 0, 1, true, &["wide"]),
    ];
    let toast = vec![
        vec![false, true],
        vec![true, false],
        vec![false, true],
        vec![false, true],
        vec![],
        vec![true],
    ];
    Schema::new(tables, toast, Some((TableIndex(1), 1)), false)
}

/// The same without parts that need the order of commits.
fn soft_by_keys() -> Schema {
    let incoming = ReferenceShape { direction: Direction::Incoming, ..reference("OWNS", 1) };
    let tables = vec![
        node("A", &["plain", "wide"], vec![reference("PARENT", 0), incoming]),
        node("B", &["wide", "other"], vec![]),
        node("C", &["wide"], vec![reference("A", 0)]),
        join("AB", 0, 1, false, &["plain", "wide"]),
        join("AA", 0, 0, false, &[]),
        join("LINK", 0, 1, true, &["wide"]),
    ];
    let toast = vec![
        vec![false, true],
        vec![true, false],
        vec![true],
        vec![false, true],
        vec![],
        vec![true],
    ];
    Schema::new(tables, toast, None, false)
}

/// Foreign keys as in most schemas, beside soft references that keep placeholders alive.
fn enforced() -> Schema {
    let tables = vec![
        node("P", &["plain"], vec![reference("BOSS", 0)]),
        node("Q", &["wide"], vec![reference("P", 0)]),
        node("S", &["plain"], vec![reference("Q", 1)]),
        join("PQ", 0, 1, false, &["plain", "wide"]),
    ];
    let toast = vec![vec![false], vec![true], vec![false], vec![false, true]];
    Schema::new(tables, toast, None, true)
}

/// The schemas of the histories.
pub fn schemas() -> Vec<Arc<Schema>> {
    vec![Arc::new(soft()), Arc::new(enforced())]
}

/// Those that can go through several partitions.
pub fn schemas_without_unique_references() -> Vec<Arc<Schema>> {
    vec![Arc::new(soft_by_keys()), Arc::new(enforced())]
}

impl Schema {
    fn new(
        tables: Vec<Table>,
        toast: Vec<Vec<bool>>,
        unique: Option<(TableIndex, usize)>,
        enforced: bool,
    ) -> Self {
        let relations = tables.iter().enumerate().map(|(index, table)| {
            Arc::new(Relation {
                oid: index as u32,
                schema: "public".to_owned(),
                name: table.name.clone(),
                replica_identity: ReplicaIdentity::Default,
                columns: Vec::new(),
                leaf: None,
            })
        });
        let relations = relations.collect();
        Schema { model: Arc::new(Model { tables }), toast, unique, enforced, relations }
    }

    pub fn tables(&self) -> impl Iterator<Item = TableIndex> + use<> {
        (0..self.model.tables.len()).map(TableIndex)
    }

    pub fn empty(&self) -> Tables {
        self.tables().map(|_| BTreeMap::new()).collect()
    }

    /// How many integers make a key.
    pub fn key_width(&self, table: TableIndex) -> usize {
        match &self.model.table(table).shape {
            Shape::Relationship(RelationshipShape { key: RelationshipKey::Ends, .. }) => 2,
            _ => 1,
        }
    }

    /// The targets of the row's reference columns. A join table keyed by its ends has none.
    pub fn reference_targets(&self, table: TableIndex) -> Vec<TableIndex> {
        match &self.model.table(table).shape {
            Shape::Node(node) => node.references.iter().map(|shape| shape.target).collect(),
            Shape::Relationship(shape) if shape.key == RelationshipKey::Ends => Vec::new(),
            Shape::Relationship(shape) => vec![shape.from, shape.to],
        }
    }

    /// The targets of the parts of a key of ends.
    pub fn key_targets(&self, table: TableIndex) -> Vec<TableIndex> {
        match &self.model.table(table).shape {
            Shape::Relationship(shape) if shape.key == RelationshipKey::Ends => {
                vec![shape.from, shape.to]
            }
            _ => Vec::new(),
        }
    }

    /// A whole row in its graph form.
    pub fn graph_row(&self, table: TableIndex, key: &RowKey, row: &SimRow) -> (Key, Row) {
        let properties = row.properties.iter();
        let properties = properties
            .map(|value| value.map_or(Cell::Null, |value| Cell::Value(Value::Integer(value))));
        let references = match self.key_targets(table).is_empty() {
            true => row.references.clone(),
            false => key.iter().copied().map(Some).collect(),
        };
        let references = references
            .iter()
            .map(|target| target.map_or(Reference::Null, |key| Reference::To(to_key(&[key]))));
        (to_key(key), Row { properties: properties.collect(), references: references.collect() })
    }

    /// The graph that the tables mean.
    pub fn expected(&self, tables: &Tables) -> Contents {
        let mut contents = Contents::default();
        let mut pointed_at = BTreeSet::new();
        for table in self.tables() {
            for (key, row) in &tables[table.0] {
                match &self.model.table(table).shape {
                    Shape::Node(shape) => {
                        contents.nodes.insert(node_content(shape, key, row));
                        self.expect_references(
                            table,
                            key,
                            row,
                            tables,
                            &mut contents,
                            &mut pointed_at,
                        );
                    }
                    Shape::Relationship(shape) => {
                        let ends = match shape.key {
                            RelationshipKey::Ends => (key[0], key[1]),
                            RelationshipKey::Own(_) => {
                                (row.references[0].unwrap(), row.references[1].unwrap())
                            }
                        };
                        pointed_at.extend([(shape.from, ends.0), (shape.to, ends.1)]);
                        let mut properties = properties(&shape.properties, row);
                        if let RelationshipKey::Own(names) = &shape.key {
                            properties.insert(names[0].clone(), Value::Integer(key[0]));
                        }
                        let from = self.identity(shape.from, ends.0);
                        let to = self.identity(shape.to, ends.1);
                        let relationship_type = shape.relationship_type.clone();
                        let content =
                            RelationshipContent { relationship_type, from, to, properties };
                        *contents.relationships.entry(content).or_default() += 1;
                    }
                }
            }
        }
        for (table, key) in pointed_at {
            if !tables[table.0].contains_key(&vec![key]) {
                let label = self.model.node(table).label.clone();
                let labels = BTreeSet::from([label, PLACEHOLDER.to_owned()]);
                let properties = BTreeMap::from([("id".to_owned(), Value::Integer(key))]);
                contents.nodes.insert(NodeContent { labels, properties });
            }
        }
        contents
    }

    fn expect_references(
        &self,
        table: TableIndex,
        key: &RowKey,
        row: &SimRow,
        tables: &Tables,
        contents: &mut Contents,
        pointed_at: &mut BTreeSet<(TableIndex, i64)>,
    ) {
        for (shape, target) in self.model.node(table).references.iter().zip(&row.references) {
            let Some(mut target) = *target else { continue };
            match &shape.by {
                ReferenceBy::Key => drop(pointed_at.insert((shape.target, target))),
                ReferenceBy::Unique { .. } => {
                    let property = self.unique.unwrap().1;
                    let found = tables[shape.target.0]
                        .iter()
                        .find(|(_, row)| row.properties[property] == Some(target));
                    let Some((found, _)) = found else { continue };
                    target = found[0];
                }
            }
            let (near, far) = (self.identity(table, key[0]), self.identity(shape.target, target));
            let (from, to) = match shape.direction {
                Direction::Outgoing => (near, far),
                Direction::Incoming => (far, near),
            };
            let relationship_type = shape.relationship_type.clone();
            let properties = BTreeMap::new();
            let content = RelationshipContent { relationship_type, from, to, properties };
            *contents.relationships.entry(content).or_default() += 1;
        }
    }

    pub fn identity(&self, table: TableIndex, key: i64) -> NodeIdentity {
        let label = self.model.node(table).label.clone();
        NodeIdentity { label, key: vec![Value::Integer(key)] }
    }

    /// A change in its graph form.
    pub fn translate(&self, change: &Change) -> Result<graph::Event, Infallible> {
        Ok(match change {
            Change::Insert { relation, new } => {
                let table = TableIndex(relation.oid as usize);
                let (key, row) = self.read(table, new);
                graph::Event::Insert { table, key, row }
            }
            Change::Update { relation, before, new } => {
                let table = TableIndex(relation.oid as usize);
                let (to, row) = self.read(table, new);
                match before {
                    Before::Key(old) if self.key(table, old) != to => {
                        graph::Event::Move { table, from: self.key(table, old), to, row }
                    }
                    _ => graph::Event::Update { table, key: to, row },
                }
            }
            Change::Delete { relation, before } => {
                let table = TableIndex(relation.oid as usize);
                let Before::Key(old) = before else { panic!("a delete carries the key") };
                graph::Event::Delete { table, key: self.key(table, old) }
            }
            Change::Truncate { relations } => graph::Event::Truncate {
                tables: relations.iter().map(|found| TableIndex(found.oid as usize)).collect(),
            },
            Change::Message { .. } => panic!("no message was asked for"),
        })
    }

    fn key(&self, table: TableIndex, tuple: &change::Tuple) -> Key {
        let width = self.key_width(table);
        to_key(&tuple[..width].iter().map(|cell| number(cell).unwrap()).collect::<Vec<_>>())
    }

    fn read(&self, table: TableIndex, tuple: &change::Tuple) -> (Key, Row) {
        let key = self.key(table, tuple);
        let rest = &tuple[self.key_width(table)..];
        let (properties, references) = rest.split_at(self.toast[table.0].len());
        let properties = properties.iter().map(|cell| match cell {
            change::Cell::Unchanged => Cell::Unchanged,
            change::Cell::Null => Cell::Null,
            change::Cell::Text(_) => Cell::Value(Value::Integer(number(cell).unwrap())),
        });
        let mut references: Vec<Reference> = references
            .iter()
            .map(|cell| match number(cell) {
                Some(target) => Reference::To(to_key(&[target])),
                None => Reference::Null,
            })
            .collect();
        if !self.key_targets(table).is_empty() {
            references = key.0.iter().map(|end| Reference::To(Key([end.clone()].into()))).collect();
        }
        (key, Row { properties: properties.collect(), references })
    }
}

fn node_content(shape: &NodeShape, key: &RowKey, row: &SimRow) -> NodeContent {
    let mut properties = properties(&shape.properties, row);
    properties.insert("id".to_owned(), Value::Integer(key[0]));
    NodeContent { labels: BTreeSet::from([shape.label.clone()]), properties }
}

fn properties(names: &[String], row: &SimRow) -> BTreeMap<String, Value> {
    let values = names.iter().zip(&row.properties);
    values.filter_map(|(name, value)| Some((name.clone(), Value::Integer((*value)?)))).collect()
}

pub fn to_key(key: &[i64]) -> Key {
    Key(key.iter().map(|part| Value::Integer(*part)).collect())
}

pub fn text(value: Option<i64>) -> change::Cell {
    value.map_or(change::Cell::Null, |value| change::Cell::Text(Bytes::from(value.to_string())))
}

fn number(cell: &change::Cell) -> Option<i64> {
    match cell {
        change::Cell::Text(text) => std::str::from_utf8(text).unwrap().parse().ok(),
        change::Cell::Null | change::Cell::Unchanged => None,
    }
}
