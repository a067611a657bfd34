//! Rows of a copy: nodes in one pass, relationships in the other, and completed rows.

use std::fmt;

use super::super::{
    Key,
    fold::{FoldedRow, TableMutations},
    model::{Model, Shape, TableIndex},
    mutation::Row,
    statement::Statement,
};

use super::{Circumstances, Links, fill_nodes, match_from_target, refer, upsert_relationships};

/// The writes of copied rows: nodes in one pass, relationships in the other. `rows` have the
/// columns that the pass writes, and are unique by key.
///
/// A reference to unique columns is matched from its owner only. All nodes exist by then. Two lanes
/// that matched from both sides at once would both miss the relationship and create it twice.
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

/// The writes of both passes for incomplete rows that were read again. Owners that refer to their
/// unique columns may have been copied before, so these references are matched from both sides.
/// There are no other writers.
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

/// A pass of a copy. The nodes of all tables come first, so that relationships find their end
/// points instead of creating them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pass {
    /// Nodes with their properties.
    Nodes,
    /// Relationships: the rows' own ones, and those of join rows.
    Relationships,
}

impl Pass {
    /// The name in the stored progress.
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
