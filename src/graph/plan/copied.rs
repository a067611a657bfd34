//! Rows of a copy: nodes in one pass, relationships in the other, and rows that are read again.

use std::fmt;

use super::super::{
    fold::{FoldedRow, TableMutations},
    model::{Model, Shape, TableIndex},
    mutation::{Key, Row},
    statement::Statement,
};

use super::{Circumstances, Links, fill_nodes, match_from_target, refer, upsert_relationships};

/// The writes of copied rows: nodes in one pass, relationships in the other. `rows` have what the
/// pass writes of them, and are unique by key.
///
/// A reference to unique columns is matched from its owner only. All nodes are there by then, and two
/// lanes that looked from both sides at the same time would both miss it, and make it twice.
pub fn plan_copied(
    model: &Model,
    table: TableIndex,
    pass: Pass,
    rows: Vec<(Key, Row)>,
) -> Vec<Statement> {
    let mutations = copied(rows);
    let mut statements = Vec::new();
    match (&model.table(table).shape, pass) {
        (Shape::Node(_), Pass::Nodes) => {
            fill_nodes(model, table, mutations, Circumstances::Copy, &mut statements);
        }
        (Shape::Node(_), Pass::Relationships) => {
            let mut links = Links::default();
            refer(model, table, &mutations, Circumstances::Copy, &mut links);
            statements
                .extend([links.removals, links.additions, links.unique].into_iter().flatten());
        }
        (Shape::Relationship(_), Pass::Nodes) => {}
        (Shape::Relationship(_), Pass::Relationships) => {
            upsert_relationships(model, table, mutations, Circumstances::Copy, &mut statements);
        }
    }
    statements
}

/// The writes of rows that were incomplete, and were read again: those of both passes. Owners that
/// refer to their unique columns may have been copied before, so these are matched from both sides.
/// Nobody else writes.
pub fn plan_completed(model: &Model, table: TableIndex, rows: Vec<(Key, Row)>) -> Vec<Statement> {
    let mut links = Links::default();
    if let Shape::Node(_) = model.table(table).shape {
        match_from_target(model, table, &copied(rows.clone()), &mut links);
    }
    let mut statements = plan_copied(model, table, Pass::Nodes, rows.clone());
    statements.extend(plan_copied(model, table, Pass::Relationships, rows));
    statements.append(&mut links.unique);
    statements
}

fn copied(rows: Vec<(Key, Row)>) -> TableMutations {
    let rows = rows.into_iter().map(|(key, row)| (key, FoldedRow::inserted(row, None)));
    TableMutations { rows: rows.collect(), ..TableMutations::default() }
}

/// What a pass of a copy writes. All tables' nodes come first, because the end points of
/// relationships are then found instead of made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pass {
    /// Nodes with their properties.
    Nodes,
    /// Relationships: those that rows own, and those that join rows are.
    Relationships,
}

impl Pass {
    /// The name that is stored with the progress.
    pub fn name(self) -> &'static str {
        match self {
            Pass::Nodes => "nodes",
            Pass::Relationships => "relationships",
        }
    }

    /// The pass with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Pass::Nodes, Pass::Relationships].into_iter().find(|pass| pass.name() == name)
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
