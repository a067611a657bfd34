//! Checks that need all tables: names are valid, and they are unique.

use std::collections::BTreeMap;

use crate::catalog::TableName;
use crate::graph::Model;
use crate::graph::model::{Direction, RelationshipKey, Shape};
use crate::shown::shown_list;

use super::columns::{Slot, TableColumns};
use super::named::Named;
use super::refusal::Refusal;

/// Checks that names exist, are not wal2graph's own, and are unique among a table's columns.
pub(super) fn check_names(model: &Model, tables: &[TableColumns], refusals: &mut Vec<Refusal>) {
    for (shape, columns) in std::iter::zip(&model.tables, tables) {
        let mut names: Vec<(Named, &str, &str)> = Vec::new();
        let table = columns.name.name.as_str();
        let mut properties: Vec<(&String, &Slot)> = Vec::new();
        match &shape.shape {
            Shape::Node(node) => {
                let labels = std::iter::once(&node.label).chain(&node.extra_labels);
                names.extend(labels.map(|label| (Named::Label, label.as_str(), table)));
                let types = node.references.iter().map(|it| it.relationship_type.as_str());
                names.extend(types.map(|name| (Named::RelationshipType, name, table)));
                properties.extend(node.key.iter().zip(&columns.key));
                properties.extend(node.properties.iter().zip(&columns.properties));
            }
            Shape::Relationship(join) => {
                names.push((Named::RelationshipType, &join.relationship_type, table));
                if let RelationshipKey::Own(key) = &join.key {
                    properties.extend(key.iter().zip(&columns.key));
                }
                properties.extend(join.properties.iter().zip(&columns.properties));
            }
        }
        let column = |slot: &Slot| columns.column(slot).name.as_str();
        // A name other than the column's property is wal2graph's own.
        let theirs =
            properties.iter().filter(|(name, slot)| columns.column(slot).property == **name);
        names.extend(theirs.map(|(name, slot)| (Named::Property, name.as_str(), column(slot))));
        for (what, name, source) in names {
            refusals.extend(check_name(columns, what, name, source));
        }
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for (property, slot) in properties {
            if let Some(first) = seen.insert(property, column(slot)) {
                refusals.push(Refusal::DuplicateProperty {
                    table: columns.name.clone(),
                    property: property.clone(),
                    first: first.to_owned(),
                    second: column(slot).to_owned(),
                });
            }
        }
    }
}

fn check_name(table: &TableColumns, what: Named, name: &str, source: &str) -> Option<Refusal> {
    let table = table.name.clone();
    if name.is_empty() {
        return Some(Refusal::EmptyName { table, what, source_name: source.to_owned() });
    }
    let name = name.to_owned();
    if name.contains('\0') {
        return Some(Refusal::NulInName { table, what, name });
    }
    name.starts_with('_').then_some(Refusal::ReservedName { table, what, name })
}

/// Checks that a label which identifies a table's nodes is on no other table.
pub(super) fn check_labels(model: &Model, tables: &[TableColumns], refusals: &mut Vec<Refusal>) {
    let nodes = || {
        let tables = std::iter::zip(&model.tables, tables).enumerate();
        tables.filter_map(|(at, (table, columns))| match &table.shape {
            Shape::Node(node) => Some((at, node, &columns.name)),
            Shape::Relationship(_) => None,
        })
    };
    for (at, node, first) in nodes() {
        for (other_at, other, second) in nodes() {
            let same = other_at > at && other.label == node.label;
            let extra = other_at != at && other.extra_labels.contains(&node.label);
            if same || extra {
                refusals.push(Refusal::DuplicateLabel {
                    label: node.label.clone(),
                    first: first.clone(),
                    second: second.clone(),
                });
            }
        }
    }
}

/// Checks that a relationship's type and its ends' labels determine the columns that it comes from.
pub(super) fn check_relationships(
    model: &Model,
    tables: &[TableColumns],
    refusals: &mut Vec<Refusal>,
) {
    let mut seen: BTreeMap<(&str, &str, &str), (&TableName, String)> = BTreeMap::new();
    for (table, columns) in std::iter::zip(&model.tables, tables) {
        for (triple, source) in relationships(model, &table.shape, columns) {
            if let Some((first_table, first)) = seen.insert(triple, (&columns.name, source.clone()))
            {
                let (start, relationship_type, end) = triple;
                refusals.push(Refusal::DuplicateRelationship {
                    table: columns.name.clone(),
                    first_table: first_table.clone(),
                    start: start.to_owned(),
                    relationship_type: relationship_type.to_owned(),
                    end: end.to_owned(),
                    first,
                    second: source,
                });
            }
        }
    }
}

/// The relationships of a table: (label, type, label), and the table with its columns.
fn relationships<'a>(
    model: &'a Model,
    shape: &'a Shape,
    columns: &TableColumns,
) -> Vec<((&'a str, &'a str, &'a str), String)> {
    let node = match shape {
        Shape::Node(node) => node,
        Shape::Relationship(join) => {
            let ends = [join.from, join.to].map(|end| model.node(end).label.as_str());
            let triple = (ends[0], join.relationship_type.as_str(), ends[1]);
            return vec![(triple, columns.name.to_string())];
        }
    };
    let references = node.references.iter().zip(&columns.references);
    let made = references.map(|(reference, from)| {
        let (own, target) = (node.label.as_str(), model.node(reference.target).label.as_str());
        let (start, end) = match reference.direction {
            Direction::Outgoing => (own, target),
            Direction::Incoming => (target, own),
        };
        let names: Vec<&str> =
            from.slots.iter().map(|slot| columns.column(slot).name.as_str()).collect();
        let source = format!("{} ({})", columns.name, shown_list(&names));
        ((start, reference.relationship_type.as_str(), end), source)
    });
    made.collect()
}
