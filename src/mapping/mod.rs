//! From tables to a graph: inference, the file's edits, and the translation of changes.
//!
//! ```text
//! Catalog + Edits  --infer-->  complete edits  --compile-->  Mapping: model, column plans
//!                                   |                           |
//!                              render: YAML       Translator: change::Change --> graph::Event
//!                                                 Plan: what will be made, for people
//! ```
//!
//! A mapping is valid or refused as a whole. Every [`Mapping`] can be written: the stream carries
//! each of its keys, each key identifies its rows, and each relationship belongs to one table's
//! columns.

mod build;
mod check;
pub mod columns;
mod compared;
mod compile;
mod digest;
pub mod edit;
mod ends;
mod error;
mod followed;
mod identity;
mod infer;
mod kept;
mod mend;
mod named;
pub mod naming;
mod notice;
mod partitioned;
mod pattern;
mod plan;
mod refusal;
mod render;
mod resolve;
mod row;
mod selection;
mod single;
mod singular;
mod suggest;
mod translate;
mod warning;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{FoundBy, TableName, definition::Definition};
use crate::graph::{
    Model, TableIndex,
    model::{ReferenceBy, Shape},
};

use columns::Slot;

pub use columns::TableColumns;
pub use compile::compile;
pub use digest::TableForm;
pub use edit::Edits;
pub use error::TranslateError;
pub use followed::{Followed, Known};
pub use identity::identify_by;
pub use kept::{Kept, Names};
pub use mend::{Mended, mend};
pub use named::Named;
pub use notice::Notice;
pub use partitioned::DIFFERENCES;
pub use pattern::said_of;
pub use plan::{
    Note, Plan, PlannedChange, PlannedNode, PlannedProperty, PlannedRelationship,
    RelationshipSource,
};
pub use refusal::{EditRefusal, Refusal};
pub use render::{render_defaults, render_mended, render_yaml};
pub use selection::Selection;
pub use translate::Translator;
pub use warning::{Warning, WhyLeftOut};
pub use yaml::scalar;

/// The tables' graph form, and how to read their columns.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The tables' graph form.
    pub model: Model,
    /// How to read them: one entry for each table of the model, in its order.
    pub tables: Vec<TableColumns>,
    /// Tables left out, and other things worth knowing.
    pub warnings: Vec<Warning>,
    /// The edits that give this mapping without inference.
    edits: Edits,
    /// What the catalog has of the tables, by object id.
    definitions: BTreeMap<u32, Definition>,
    /// The names of tables that the file does not have, by object id.
    names: BTreeMap<u32, Names>,
    /// Tables whose rows stay as they are.
    paused: BTreeSet<TableIndex>,
}

/// Equal ones make the same graph, whether the file names things or not.
impl PartialEq for Mapping {
    fn eq(&self, other: &Self) -> bool {
        let Mapping { model, tables, warnings, edits, definitions, names: _, paused } = self;
        *model == other.model
            && *tables == other.tables
            && *warnings == other.warnings
            && *edits == other.edits
            && *definitions == other.definitions
            && *paused == other.paused
    }
}

impl Mapping {
    /// The column plan of a table.
    pub fn columns(&self, table: TableIndex) -> &TableColumns {
        &self.tables[table.0]
    }

    /// The tables to publish, in the model's order. The source is not asked for those that are paused: they may have
    /// another name there.
    pub fn published_tables(&self) -> impl Iterator<Item = &TableName> {
        self.followed_tables().map(|(_, table)| &table.name)
    }

    /// The tables, with those that are paused, under the names that they have in the graph's mapping.
    pub fn table_names(&self) -> impl Iterator<Item = &TableName> {
        self.tables.iter().map(|table| &table.name)
    }

    /// Those of them that are paused.
    pub fn paused_tables(&self) -> impl Iterator<Item = &TableName> {
        self.paused.iter().map(|index| &self.columns(*index).name)
    }

    /// The tables whose rows are written.
    pub fn followed_tables(&self) -> impl Iterator<Item = (TableIndex, &TableColumns)> {
        let all = (0..).map(TableIndex).zip(&self.tables);
        all.filter(|(index, _)| !self.paused.contains(index))
    }

    /// The same with the rows of these tables, by object id, as they are in the graph.
    pub fn pausing(mut self, tables: &BTreeSet<u32>) -> Self {
        let all = (0..).map(TableIndex).zip(&self.tables);
        let paused = all.filter(|(_, table)| tables.contains(&table.oid));
        self.paused = paused.map(|(index, _)| index).collect();
        self
    }

    /// What the catalog has of a table, by object id.
    pub fn definition(&self, oid: u32) -> Option<&Definition> {
        self.definitions.get(&oid)
    }

    /// The names of a table that the file does not have, by object id: the graph keeps them.
    pub fn names(&self, oid: u32) -> Option<&Names> {
        self.names.get(&oid)
    }

    /// The tables whose rows stay as they are.
    pub fn paused(&self) -> &BTreeSet<TableIndex> {
        &self.paused
    }

    /// The columns of a table's key, in its order; `None` if it is not mapped.
    pub fn key_columns(&self, oid: u32) -> Option<Vec<String>> {
        let table = self.tables.iter().find(|table| table.oid == oid)?;
        let of_ends = || table.references.iter().flat_map(|reference| &reference.slots);
        let slots: Vec<&Slot> = match table.key.is_empty() {
            false => table.key.iter().collect(),
            true => of_ends().collect(),
        };
        Some(slots.into_iter().map(|slot| table.column(slot).name.clone()).collect())
    }

    /// Of each table, the columns that tell its rows apart, and those that lead to other rows or that
    /// references lead to: by their values the graph finds rows.
    pub fn found_by(&self) -> Vec<(TableName, FoundBy)> {
        let mut all: Vec<_> = self.tables.iter().map(TableColumns::found_by).collect();
        for (_, table) in self.model.iter() {
            let Shape::Node(node) = &table.shape else { continue };
            for reference in &node.references {
                let ReferenceBy::Unique { target_properties, .. } = &reference.by else { continue };
                let target = &self.tables[reference.target.0];
                let compared = target.columns.iter().filter(|column| {
                    let beside = columns::comparable_name(&column.property);
                    target_properties.iter().any(|it| *it == column.property || *it == beside)
                });
                let names = compared.map(|column| column.name.clone());
                all[reference.target.0].1.references.extend(names);
            }
        }
        all
    }

    /// Of each table whose rows are written, by object id: the columns that name a row of another one only together.
    pub fn columns_together(&self) -> BTreeMap<u32, Vec<Vec<String>>> {
        let of_table = |table: &TableColumns| {
            let several = table.references.iter().filter(|it| it.slots.len() > 1);
            let name = |slot: &Slot| table.column(slot).name.clone();
            several.map(|it| it.slots.iter().map(name).collect()).collect()
        };
        self.followed_tables().map(|(_, table)| (table.oid, of_table(table))).collect()
    }

    /// The labels of its rows, in order.
    pub fn labels(&self) -> Vec<String> {
        let label = |shape: &Shape| match shape {
            Shape::Node(node) => Some(node.label.clone()),
            Shape::Relationship(_) => None,
        };
        let labels = self.model.tables.iter().filter_map(|table| label(&table.shape));
        labels.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The table of that name.
    pub fn table_index(&self, schema: &str, name: &str) -> Option<TableIndex> {
        let named = |table: &TableColumns| table.name.schema == schema && table.name.name == name;
        self.tables.iter().position(named).map(TableIndex)
    }
}
