//! The mapping's result, for people to read before anything is created.

use std::fmt;

use serde::Serialize;

use crate::catalog::TableName;
use crate::graph::Model;
use crate::graph::model::{Direction, NodeShape, ReferenceBy, RelationshipKey, Shape};
use crate::shown::{Shown, shown_list};

use super::Mapping;
use super::columns::{Form, Slot, TableColumns};
use super::partitioned::DIFFERENCES;
use super::refusal::Refusal;
use super::warning::Warning;

/// The report of `wal2graph plan`. Its text form is for terminals, its serialised form for
/// programs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// The tables that become nodes.
    pub nodes: Vec<PlannedNode>,
    /// The relationships, of foreign keys and of join tables.
    pub relationships: Vec<PlannedRelationship>,
    /// What to do where no node has a relationship.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub islands: Option<String>,
    /// The tables without a graph form, with the reason.
    pub left_out: Vec<Note>,
    /// Things worth knowing.
    pub warnings: Vec<Note>,
    /// The differences because changes come through several partitions; empty with one.
    pub partitions: Vec<String>,
    /// Things worth knowing about the topics in use, each with an action.
    pub topics: Vec<String>,
    /// The changes since the graph was made, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<PlannedChange>,
    /// Problems to fix before the graph can be built.
    pub refusals: Vec<String>,
}

/// A change that the next start follows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedChange {
    /// The table; `None`: it is of the whole graph.
    pub table: Option<String>,
    /// The change.
    pub what: String,
    /// The rows of the table are compared: about how many, if that is known. `None`: they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reads: Option<Option<u64>>,
}

/// A table that becomes nodes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedNode {
    /// The table.
    pub table: String,
    /// Its label, then the further ones.
    pub labels: Vec<String>,
    /// The properties of the key, under a uniqueness constraint.
    pub key: Vec<PlannedProperty>,
    /// The other properties.
    pub properties: Vec<PlannedProperty>,
}

/// A column that becomes a property.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedProperty {
    /// The property's name.
    pub property: String,
    /// The column.
    pub column: String,
    /// The type of its values in the graph.
    #[serde(rename = "type")]
    pub graph_type: String,
    /// The property is wal2graph's own. It compares the column's values, because the column's own
    /// property does not show which of them PostgreSQL holds equal.
    pub comparable: bool,
}

/// A kind of relationship.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedRelationship {
    /// The label at its start.
    pub from: String,
    /// Its type.
    #[serde(rename = "type")]
    pub relationship_type: String,
    /// The label at its end.
    pub to: String,
    /// The table whose rows own it.
    pub table: String,
    /// Its source.
    #[serde(flatten)]
    pub source: RelationshipSource,
}

/// The source of relationships.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum RelationshipSource {
    /// Columns of a row that is a node.
    Columns {
        /// The columns.
        columns: Vec<String>,
        /// The foreign key; `None` for a soft reference.
        foreign_key: Option<String>,
        /// It finds its target by unique properties, not by the key. So a missing target has no
        /// placeholder.
        by_unique: bool,
    },
    /// The rows of a join table.
    JoinTable {
        /// The properties that identify its rows; empty when its ends do.
        key: Vec<String>,
        /// Its properties.
        properties: Vec<PlannedProperty>,
    },
}

/// A remark about a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Note {
    /// The table, if it is about one.
    pub table: Option<String>,
    /// The fact and the action.
    pub message: String,
    /// Someone should read it: it was not requested and is not routine.
    pub unexpected: bool,
}

impl Plan {
    /// The report on the result of [`super::compile`].
    pub fn new(compiled: &Result<Mapping, Vec<Refusal>>) -> Self {
        match compiled {
            Ok(mapping) => Plan::of(mapping),
            Err(refusals) => Plan {
                refusals: refusals.iter().map(Refusal::to_string).collect(),
                ..Plan::default()
            },
        }
    }

    /// The same for changes that come through several partitions, for which some of it is `refused`.
    pub fn through_partitions(
        compiled: &Result<Mapping, Vec<Refusal>>,
        refused: impl Fn(&Mapping) -> Vec<Refusal>,
    ) -> Self {
        let mut plan = Plan::new(compiled);
        plan.partitions = DIFFERENCES.map(str::to_owned).to_vec();
        if let Ok(mapping) = compiled {
            plan.refusals.extend(refused(mapping).iter().map(Refusal::to_string));
        }
        plan
    }

    fn of(mapping: &Mapping) -> Self {
        let mut plan = Plan::default();
        for (table, columns) in std::iter::zip(&mapping.model.tables, &mapping.tables) {
            match &table.shape {
                Shape::Node(node) => plan.nodes.push(planned_node(node, columns)),
                Shape::Relationship(_) => {}
            }
            plan.relationships.extend(relationships(&mapping.model, &table.shape, columns));
        }
        for warning in &mapping.warnings {
            let (table, message) = (warning.table().map(TableName::in_file), warning.to_string());
            let note = Note { table, message, unexpected: !warning.is_expected() };
            match warning {
                Warning::LeftOut { .. } => plan.left_out.push(note),
                _ => plan.warnings.push(note),
            }
        }
        if plan.relationships.is_empty() && plan.nodes.len() > 1 {
            plan.islands = Some(format!("{} nodes, no relationship: {ISLANDS}", plan.nodes.len()));
        }
        plan
    }
}

/// Why no node has a relationship, and what to do.
const ISLANDS: &str = "no foreign key leads from one to another. Name the columns that refer to other tables under \
    `relationships` of their table; `wal2graph init` suggests some, by name and type";

fn planned_node(node: &NodeShape, columns: &TableColumns) -> PlannedNode {
    let labels = std::iter::once(&node.label).chain(&node.extra_labels);
    PlannedNode {
        table: columns.name.in_file(),
        labels: labels.cloned().collect(),
        key: planned_properties(&node.key, &columns.key, columns),
        properties: planned_properties(&node.properties, &columns.properties, columns),
    }
}

fn planned_properties(
    names: &[String],
    slots: &[Slot],
    columns: &TableColumns,
) -> Vec<PlannedProperty> {
    let properties = names.iter().zip(slots).map(|(property, slot)| {
        let column = columns.column(slot);
        let graph_type = match &slot.form {
            Form::Property => column.value_type.graph_type(),
            Form::Compared(form) => form.graph_type(),
        };
        PlannedProperty {
            property: property.clone(),
            column: column.name.clone(),
            graph_type,
            comparable: *property != column.property,
        }
    });
    properties.collect()
}

fn relationships(model: &Model, shape: &Shape, columns: &TableColumns) -> Vec<PlannedRelationship> {
    let table = columns.name.in_file();
    let node = match shape {
        Shape::Node(node) => node,
        Shape::Relationship(join) => {
            let key = match &join.key {
                RelationshipKey::Ends => Vec::new(),
                RelationshipKey::Own(names) => names.clone(),
            };
            let properties = planned_properties(&join.properties, &columns.properties, columns);
            return vec![PlannedRelationship {
                from: model.node(join.from).label.clone(),
                relationship_type: join.relationship_type.clone(),
                to: model.node(join.to).label.clone(),
                table,
                source: RelationshipSource::JoinTable { key, properties },
            }];
        }
    };
    let references = node.references.iter().zip(&columns.references);
    let planned = references.map(|(reference, read)| {
        let ends = (node.label.clone(), model.node(reference.target).label.clone());
        let (from, to) = match reference.direction {
            Direction::Outgoing => ends,
            Direction::Incoming => (ends.1, ends.0),
        };
        let names = read.slots.iter().map(|slot| columns.column(slot).name.clone());
        let source = RelationshipSource::Columns {
            columns: names.collect(),
            foreign_key: read.constraint.clone(),
            by_unique: reference.by != ReferenceBy::Key,
        };
        let (table, relationship_type) = (table.clone(), reference.relationship_type.clone());
        PlannedRelationship { from, relationship_type, to, table, source }
    });
    planned.collect()
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let islands = self.islands.as_ref().map(|islands| format!("{islands}\n"));
        let sections = [
            section("Nodes", &self.nodes),
            section("Relationships", &self.relationships),
            islands,
            section("Left out", &self.left_out),
            section("Worth knowing", &self.warnings),
            section("Different with several partitions", &self.partitions),
            section("The topic", &self.topics),
            section("Changes since the graph was made", &self.changes),
            section("To be mended first", &self.refusals),
        ];
        f.write_str(&sections.into_iter().flatten().collect::<Vec<_>>().join("\n"))
    }
}

fn section<T: fmt::Display>(title: &str, items: &[T]) -> Option<String> {
    let lines: String = items.iter().map(|item| format!("  {item}\n")).collect();
    (!items.is_empty()).then(|| format!("{title} ({})\n{lines}", items.len()))
}

impl fmt::Display for PlannedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(:{})  from {}", Shown(&self.labels.join(":")), Shown(&self.table))?;
        write!(f, "\n      unique: {}", listed(&self.key))?;
        if !self.properties.is_empty() {
            write!(f, "\n      {}", listed(&self.properties))?;
        }
        Ok(())
    }
}

fn listed(properties: &[PlannedProperty]) -> String {
    properties.iter().map(PlannedProperty::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for PlannedProperty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Shown(&self.property), self.graph_type)?;
        if self.comparable {
            return write!(f, " (what {} is compared by)", Shown(&self.column));
        }
        match self.property == self.column {
            true => Ok(()),
            false => write!(f, " (of {})", Shown(&self.column)),
        }
    }
}

impl fmt::Display for PlannedRelationship {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PlannedRelationship { from, relationship_type, to, table, source } = self;
        let [from, relationship_type] = [Shown(from), Shown(relationship_type)];
        let [to, table] = [Shown(to), Shown(table)];
        write!(f, "(:{from})-[:{relationship_type}]->(:{to})  from {table}")?;
        match source {
            RelationshipSource::Columns { columns, foreign_key, by_unique } => {
                write!(f, " ({})", shown_list(columns))?;
                match foreign_key {
                    Some(name) => write!(f, "\n      foreign key {}", Shown(name)),
                    None if *by_unique => write!(f, "\n      no foreign key"),
                    None => {
                        write!(f, "\n      no foreign key: a missing target becomes a placeholder")
                    }
                }?;
                if *by_unique {
                    write!(
                        f,
                        "; finds its target by unique properties, so only once that is there"
                    )?;
                }
                Ok(())
            }
            RelationshipSource::JoinTable { key, properties } => {
                let by = if key.is_empty() { "its ends".to_owned() } else { shown_list(key) };
                write!(f, "\n      a relationship for each row, told apart by {by}")?;
                if !properties.is_empty() {
                    write!(f, "\n      {}", listed(properties))?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for PlannedChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(table) = &self.table {
            write!(f, "{}: ", Shown(table))?;
        }
        write!(f, "{}", self.what)?;
        match self.reads {
            Some(Some(rows)) => write!(f, "; reads about {rows} rows"),
            Some(None) => write!(f, "; reads its rows"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
