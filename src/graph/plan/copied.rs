//! Rows of a copy: nodes in one pass, relationships in the other, and completed rows.

use std::{collections::BTreeMap, fmt};

use crate::lsn::Stamp;

use super::super::{
    Key,
    fold::{FoldedRow, TableMutations},
    model::{Model, Shape, TableIndex},
    mutation::Row,
    statement::{Beside, Statement},
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
    of_pass(model, table, pass, copied(rows, None), Circumstances::Copy)
}

fn of_pass(
    model: &Model,
    table: TableIndex,
    pass: Pass,
    rows: TableMutations,
    circumstances: Circumstances,
) -> Vec<Statement> {
    let mut statements = Vec::new();
    match (&model.table(table).shape, pass) {
        (Shape::Node(_), Pass::Nodes) => {
            fill_nodes(model, table, rows, circumstances, &mut statements);
        }
        (Shape::Node(_), Pass::Relationships) => {
            let mut links = Links::default();
            refer(model, table, &rows, circumstances, &mut links);
            statements
                .extend([links.removals, links.additions, links.unique].into_iter().flatten());
        }
        (Shape::Relationship(_), Pass::Nodes) => {}
        (_, Pass::Rows | Pass::Graph) => panic!("a reconciliation writes only what differs"),
        (Shape::Relationship(_), Pass::Relationships) => {
            upsert_relationships(model, table, rows, circumstances, &mut statements);
        }
    }
    statements
}

/// The writes of both passes for incomplete rows that were read again. Owners that refer to their
/// unique columns may have been copied before, so these references are matched from both sides.
/// There are no other writers.
pub fn plan_completed(model: &Model, table: TableIndex, rows: Vec<(Key, Row)>) -> Vec<Statement> {
    of_both_passes(model, table, rows, None, Circumstances::Copy)
}

fn of_both_passes(
    model: &Model,
    table: TableIndex,
    rows: Vec<(Key, Row)>,
    stamp: Option<Stamp>,
    circumstances: Circumstances,
) -> Vec<Statement> {
    let mut links = Links::default();
    if let Shape::Node(_) = model.table(table).shape {
        match_from_target(model, table, &copied(rows.clone(), stamp), &mut links);
    }
    let nodes = copied(rows.clone(), stamp);
    let mut statements = of_pass(model, table, Pass::Nodes, nodes, circumstances);
    let rows = copied(rows, stamp);
    statements.extend(of_pass(model, table, Pass::Relationships, rows, circumstances));
    statements.append(&mut links.unique);
    statements
}

/// What a table's keys need that differ, by their [`Remedy`](super::super::Remedy). A key is in one of
/// the lists, once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Repair {
    /// Rows of the table, with all columns of both passes.
    pub write: Vec<(Key, Row)>,
    /// Keys of rows that the table has not.
    pub remove: Vec<Key>,
    /// Keys of placeholders, of a node table, that have more than their key, or that nothing holds.
    pub empty: Vec<Key>,
    /// The place in the log up to which everything is applied, where rows have stamps: a truncate behind
    /// it takes the rows that are written, and one before it does not.
    pub stamp: Option<Stamp>,
}

/// The writes that make a table's keys equal to the table, whatever the graph has of them, and whoever
/// writes beside it.
///
/// - A row is written whole, with the relationships that it owns, as a copy writes it. Labels of its
///   shape come back; relationships that lead elsewhere go, and doubled ones but one; references by
///   unique columns are matched from both sides.
/// - A key without a row goes as by DELETE: other rows' relationships stay, on a placeholder. What
///   others put on its node goes with it. A node that is another table's row, too, only loses what makes
///   it one of this table.
/// - A placeholder loses what the mapping may write on it. What others put there stays, until nothing
///   holds the placeholder any longer.
/// - What others put on a row's node stays.
///
/// A repetition changes nothing.
pub fn plan_repaired(model: &Model, table: TableIndex, repair: Repair) -> Vec<Statement> {
    let Repair { write, mut remove, mut empty, stamp } = repair;
    let beside = Beside::Anybody;
    let mut statements = Vec::new();
    // Where nothing refers to the table any more, untangling would make a row of a placeholder.
    let emptied = if model.may_be_placeholder(table) { empty.as_slice() } else { &[] };
    let mut keys: Vec<Key> = write.iter().map(|(key, _)| key).chain(emptied).cloned().collect();
    for keys in [&mut keys, &mut remove, &mut empty] {
        keys.sort_unstable();
    }
    if !keys.is_empty() {
        statements.push(Statement::Untangle { table, keys });
    }
    if let (false, Shape::Node(_)) = (remove.is_empty(), &model.table(table).shape) {
        statements.push(Statement::UnlabelNodes { table, keys: remove.clone() });
    }
    if !remove.is_empty() {
        statements.push(match model.table(table).shape {
            Shape::Node(_) => Statement::DropNodes { table, keys: remove, beside },
            Shape::Relationship(_) => Statement::DropRelationships { table, keys: remove, beside },
        });
    }
    if !empty.is_empty() {
        statements.push(Statement::EmptyPlaceholders { table, keys: empty });
    }
    if !write.is_empty() {
        let rows = of_both_passes(model, table, write, stamp, Circumstances::Unsettled);
        statements.extend(rows);
    }
    statements
}

fn copied(rows: Vec<(Key, Row)>, stamp: Option<Stamp>) -> TableMutations {
    let rows = rows.into_iter().map(|(key, row)| (key, FoldedRow::inserted(row, stamp)));
    TableMutations { rows: rows.collect::<BTreeMap<_, _>>(), ..TableMutations::default() }
}

/// A pass over a table. A copy makes the nodes of all tables first, so that relationships find their
/// end points instead of creating them. A reconciliation compares in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pass {
    /// Nodes with their properties.
    Nodes,
    /// Relationships: the rows' own ones, and those of join rows.
    Relationships,
    /// Rows with all that they own, compared with the graph: only differences are written.
    Rows,
    /// The graph's entities, compared with the table.
    Graph,
}

impl Pass {
    /// The name in the stored progress.
    pub fn name(self) -> &'static str {
        match self {
            Pass::Nodes => "nodes",
            Pass::Relationships => "relationships",
            Pass::Rows => "rows",
            Pass::Graph => "graph",
        }
    }

    /// The pass with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Pass::Nodes, Pass::Relationships, Pass::Rows, Pass::Graph];
        all.into_iter().find(|pass| pass.name() == name)
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
