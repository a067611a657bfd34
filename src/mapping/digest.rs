//! One short text that is equal for two mappings if and only if they give the same graph.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::graph::Model;
use crate::graph::model::{Direction, ReferenceBy, RelationshipKey, Shape};

use super::Mapping;
use super::columns::{Form, Slot, TableColumns};

impl Mapping {
    /// The SHA-256, in hexadecimal, of everything that decides a row's graph form. It excludes
    /// object ids, names of constraints, and facts that only make writing cheaper.
    pub fn digest(&self) -> String {
        let tables = std::iter::zip(&self.model.tables, &self.tables);
        let text = tables.map(|(table, columns)| {
            json!([columns.name.in_file(), shape(&self.model, &table.shape), reading(columns)])
        });
        let text = text.collect::<Value>().to_string();
        Sha256::digest(text).iter().fold(String::new(), |mut hexadecimal, byte| {
            // Writing to a String can not fail.
            let _ = write!(hexadecimal, "{byte:02x}");
            hexadecimal
        })
    }
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

fn reading(columns: &TableColumns) -> Value {
    let slot = |slot: &Slot| {
        let column = columns.column(slot);
        let form = match &slot.form {
            Form::Property => json!("property"),
            Form::Compared(with) => json!(["compared", with.name()]),
        };
        json!([column.name, column.value_type.graph_type(), form])
    };
    let slots = |slots: &[Slot]| slots.iter().map(slot).collect::<Value>();
    let references = columns.references.iter().map(|reference| slots(&reference.slots));
    json!([slots(&columns.key), slots(&columns.properties), references.collect::<Value>()])
}
