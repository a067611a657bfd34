//! One short text that is equal for two mappings if and only if they give the same graph.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::graph::model::{
    Direction, NodeShape, ReferenceBy, RelationshipKey, RelationshipShape, Shape,
};
use crate::graph::{Model, TableIndex};

use super::Mapping;
use super::columns::{Form, Slot, TableColumns};
use super::edit::Edits;

impl Edits {
    /// The SHA-256, in hexadecimal, of what a file says of the mapping. It excludes what becomes of changes of tables:
    /// that decides when, and not what.
    pub fn digest(&self) -> String {
        let mut edits = self.clone();
        edits.tables.values_mut().for_each(|table| table.schema_changes = None);
        hexadecimal(&json!(edits).to_string())
    }
}

impl Mapping {
    /// The SHA-256, in hexadecimal, of everything that decides a row's graph form. It excludes
    /// object ids, names of constraints, and facts that only make writing cheaper.
    pub fn digest(&self) -> String {
        let tables = std::iter::zip(&self.model.tables, &self.tables);
        let text = tables.map(|(table, columns)| {
            json!([columns.name.in_file(), shape(&self.model, &table.shape), reading(columns)])
        });
        hexadecimal(&text.collect::<Value>().to_string())
    }

    /// The form of a table's rows, in parts that are compared one by one.
    pub fn form(&self, table: TableIndex) -> TableForm {
        let (model, columns) = (&self.model, self.columns(table));
        let shape = match &model.table(table).shape {
            Shape::Node(node) => Shape::Node(NodeShape { properties: Vec::new(), ..node.clone() }),
            Shape::Relationship(join) => {
                Shape::Relationship(RelationshipShape { properties: Vec::new(), ..join.clone() })
            }
        };
        let slots = |slots: &[Slot]| slots.iter().map(|it| slot(columns, it)).collect::<Value>();
        let references = columns.references.iter().map(|reference| slots(&reference.slots));
        let references: Value = references.collect();
        let whole = json!([self::shape(model, &shape), slots(&columns.key), references]);
        let names = match &model.table(table).shape {
            Shape::Node(node) => &node.properties,
            Shape::Relationship(join) => &join.properties,
        };
        let mut properties: BTreeMap<String, Value> = BTreeMap::new();
        for (name, read) in names.iter().zip(&columns.properties) {
            let all = properties.entry(columns.column(read).name.clone()).or_insert(json!([]));
            if let Value::Array(all) = all {
                all.push(json!([name, slot(columns, read)]));
            }
        }
        // Short: a checkpoint keeps one for each column.
        let short = |text: &Value| hexadecimal(&text.to_string())[..16].to_owned();
        let properties = properties.iter().map(|(column, it)| (column.clone(), short(it)));
        TableForm { whole: short(&whole), properties: properties.collect() }
    }
}

/// The form of a table's rows in the graph. Each text is equal for two tables if and only if that part of
/// the form is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableForm {
    /// Labels, type, key and references.
    pub whole: String,
    /// The properties of each column that has some.
    pub properties: BTreeMap<String, String>,
}

fn hexadecimal(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::new(), |mut hexadecimal, byte| {
        // Writing to a String can not fail.
        let _ = write!(hexadecimal, "{byte:02x}");
        hexadecimal
    })
}

fn shape(model: &Model, shape: &Shape) -> Value {
    match shape {
        Shape::Node(node) => {
            let references = node.references.iter().map(|reference| {
                let incoming = reference.direction == Direction::Incoming;
                let by = match &reference.by {
                    ReferenceBy::Key => json!("key"),
                    ReferenceBy::Unique { owner_properties, target_properties } => {
                        json!([owner_properties, target_properties])
                    }
                };
                let target = &model.node(reference.target).label;
                json!([reference.relationship_type, incoming, target, by])
            });
            let references: Value = references.collect();
            json!(["node", node.label, node.extra_labels, node.key, node.properties, references])
        }
        Shape::Relationship(join) => {
            let ends = [join.from, join.to].map(|end| &model.node(end).label);
            let key = match &join.key {
                RelationshipKey::Ends => json!("ends"),
                RelationshipKey::Own(names) => json!(names),
            };
            json!(["relationship", join.relationship_type, ends, key, join.properties])
        }
    }
}

fn slot(columns: &TableColumns, slot: &Slot) -> Value {
    let column = columns.column(slot);
    let form = match &slot.form {
        Form::Property => json!("property"),
        Form::Compared(with) => json!(["compared", with.name()]),
    };
    json!([column.name, column.value_type.graph_type(), form])
}

fn reading(columns: &TableColumns) -> Value {
    let slots = |slots: &[Slot]| slots.iter().map(|it| slot(columns, it)).collect::<Value>();
    let references = columns.references.iter().map(|reference| slots(&reference.slots));
    json!([slots(&columns.key), slots(&columns.properties), references.collect::<Value>()])
}
