//! The order of writes. A folded batch becomes statements that keep the graph a function of the
//! tables.
//!
//! ```text
//! clear (truncated tables) -> steps of join tables -> owned relationships whose target differs go
//!   -> steps of node tables, owners before targets -> node upserts -> owned relationships
//!   -> join rows -> references to unique columns
//!
//! with key changes: .. -> steps of node tables -> steps of join tables -> node upserts
//!   -> owned relationships whose target differs go -> owned relationships -> ..
//! ```
//!
//! Why this order is right. The owner row alone decides a relationship, and the relationship points
//! at a key value. So steps of different tables are independent; only the order within a table
//! matters, and the plan keeps it. Without key changes, the plan drops a node after everything that
//! points at it: join rows, relationships whose owners now refer elsewhere, owners that are deleted
//! too. Nothing holds the node then. It is deleted at once, and does not become a placeholder that
//! a later statement must sweep. Tables that refer to each other get some order, and the sweep does
//! the rest. With key changes, an owner may not have its new key yet, so the plan handles its
//! relationships after the steps. The steps of join tables then come last. A join relationship that
//! got its key in this transaction must not be created again by the move of an end, because Neo4j
//! would still find the earlier one under its key. Drops come before upserts, so that a key that is
//! deleted and inserted again starts empty. Nodes come before relationships, so that a missing end
//! point is really a missing row: it becomes a placeholder. A statement that takes a relationship
//! from a placeholder also checks whether it was the last one.

mod copied;
mod references;

use std::collections::{BTreeMap, BTreeSet};

use crate::value::Value;

use super::{
    Key,
    fold::{FoldedRow, Mutations, Step, TableMutations},
    model::{Model, ReferenceBy, RelationshipKey, RelationshipShape, Shape, TableIndex},
    mutation::{Cell, Reference, Row},
    statement::{Beside, Completeness, Known, NodeRow, Presence, RelationshipRow, Statement},
};

use references::{Links, all_targets, match_from_target, refer};

pub use copied::{Pass, Repair, plan_completed, plan_copied, plan_repaired};

/// The facts about a batch beyond its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circumstances {
    /// A stream that neither copies nor replays, without other writers. Before the batch the graph
    /// equals the tables at one moment.
    Settled,
    /// A stream beside a copy, a replay, or one of several partitions. Any row may be in the graph
    /// already.
    Unsettled,
    /// The rows of a copy. Any row may be in the graph already, in any earlier state.
    Copy,
}

impl Circumstances {
    fn is_settled(self) -> bool {
        self == Circumstances::Settled
    }

    /// The other writers.
    pub fn beside(self) -> Beside {
        match self {
            Circumstances::Settled => Beside::Nobody,
            Circumstances::Unsettled => Beside::Anybody,
            Circumstances::Copy => Beside::Lanes,
        }
    }
}

/// A batch's tables with their mutations.
type Touched = [(TableIndex, TableMutations)];

/// The writes of a batch, in order.
pub fn plan(model: &Model, mutations: Mutations, circumstances: Circumstances) -> Vec<Statement> {
    let (nodes, relationships): (Vec<_>, Vec<_>) = mutations
        .tables
        .into_iter()
        .partition(|(table, _)| matches!(model.table(*table).shape, Shape::Node(_)));
    let mut statements = clears(&nodes, &relationships);
    let mut links = Links::default();
    for (table, mutations) in &nodes {
        refer(model, *table, mutations, circumstances, &mut links);
        match_from_target(model, *table, mutations, &mut links);
    }
    let (mut of_nodes, mut of_joins, mut filled) = (Vec::new(), Vec::new(), Vec::new());
    for (table, mutations) in owners_first(model, &nodes) {
        node_steps(*table, &mutations.steps, circumstances.beside(), &mut of_nodes);
    }
    for (table, mutations) in &relationships {
        relationship_steps(*table, &mutations.steps, circumstances.beside(), &mut of_joins);
    }
    let moves = moves(&nodes) || moves(&relationships);
    for (table, mutations) in nodes {
        fill_nodes(model, table, mutations, circumstances, &mut filled);
    }
    let ordered = match moves {
        true => [of_nodes, of_joins, filled, links.removals],
        false => [of_joins, links.removals, of_nodes, filled],
    };
    statements.extend(ordered.into_iter().flatten());
    statements.append(&mut links.additions);
    for (table, mutations) in relationships {
        upsert_relationships(model, table, mutations, circumstances, &mut statements);
    }
    statements.append(&mut links.unique);
    statements
}

fn clears(nodes: &Touched, relationships: &Touched) -> Vec<Statement> {
    let reached = |(table, mutations): &(TableIndex, TableMutations)| {
        mutations.truncate.map(|reach| (*table, reach))
    };
    let of_nodes = nodes.iter().filter_map(reached);
    let of_nodes = of_nodes.map(|(table, reach)| Statement::ClearNodes { table, reach });
    let of_joins = relationships.iter().filter_map(reached);
    of_nodes
        .chain(of_joins.map(|(table, reach)| Statement::ClearRelationships { table, reach }))
        .collect()
}

/// Whether any key changes.
fn moves(tables: &Touched) -> bool {
    let mut steps = tables.iter().flat_map(|(_, table)| &table.steps);
    steps.any(|step| matches!(step, Step::Move { .. }))
}

/// Owners before their targets. Tables that refer to each other come in some order.
fn owners_first<'a>(
    model: &Model,
    nodes: &'a Touched,
) -> impl Iterator<Item = &'a (TableIndex, TableMutations)> {
    let with_steps: BTreeMap<TableIndex, _> = nodes
        .iter()
        .filter(|(_, mutations)| !mutations.steps.is_empty())
        .map(|touched| (touched.0, touched))
        .collect();
    let mut owners: BTreeMap<TableIndex, Vec<TableIndex>> = BTreeMap::new();
    for owner in with_steps.keys() {
        for reference in &model.node(*owner).references {
            if reference.by == ReferenceBy::Key {
                owners.entry(reference.target).or_default().push(*owner);
            }
        }
    }
    let (mut seen, mut ordered) = (BTreeSet::new(), Vec::new());
    for table in with_steps.keys() {
        after_its_owners(*table, &owners, &mut seen, &mut ordered);
    }
    ordered.into_iter().filter_map(move |table| with_steps.get(&table).copied())
}

fn after_its_owners(
    table: TableIndex,
    owners: &BTreeMap<TableIndex, Vec<TableIndex>>,
    seen: &mut BTreeSet<TableIndex>,
    ordered: &mut Vec<TableIndex>,
) {
    if seen.insert(table) {
        for owner in owners.get(&table).into_iter().flatten() {
            after_its_owners(*owner, owners, seen, ordered);
        }
        ordered.push(table);
    }
}

/// Runs of equal steps, in order.
enum Run {
    Drops(Vec<Key>),
    Moves(Vec<(Key, Key)>),
}

/// Without moves, drops are independent and become one sorted run.
fn runs(steps: &[Step]) -> Vec<Run> {
    let mut runs = Vec::new();
    for step in steps {
        match (step, runs.last_mut()) {
            (Step::Drop(key), Some(Run::Drops(keys))) => keys.push(key.clone()),
            (Step::Drop(key), _) => runs.push(Run::Drops(vec![key.clone()])),
            (Step::Move { from, to }, Some(Run::Moves(moves))) => {
                moves.push((from.clone(), to.clone()));
            }
            (Step::Move { from, to }, _) => {
                runs.push(Run::Moves(vec![(from.clone(), to.clone())]));
            }
        }
    }
    for run in &mut runs {
        if let Run::Drops(keys) = run {
            keys.sort_unstable();
            keys.dedup();
        }
    }
    runs
}

fn node_steps(table: TableIndex, steps: &[Step], beside: Beside, statements: &mut Vec<Statement>) {
    statements.extend(runs(steps).into_iter().map(|run| match run {
        Run::Drops(keys) => Statement::DropNodes { table, keys, beside },
        Run::Moves(moves) => Statement::MoveNodes { table, moves },
    }));
}

fn relationship_steps(
    table: TableIndex,
    steps: &[Step],
    beside: Beside,
    statements: &mut Vec<Statement>,
) {
    statements.extend(runs(steps).into_iter().map(|run| match run {
        Run::Drops(keys) => Statement::DropRelationships { table, keys, beside },
        Run::Moves(moves) => Statement::MoveRelationships { table, moves },
    }));
}

fn completeness(folded: &FoldedRow, circumstances: Circumstances) -> Completeness {
    if folded.row.is_complete() {
        Completeness::Complete
    } else if folded.moved && !circumstances.is_settled() {
        Completeness::PartialMoved
    } else {
        Completeness::Partial
    }
}

fn presence(folded: &FoldedRow, circumstances: Circumstances) -> Presence {
    match circumstances.is_settled() && !folded.moved {
        false => Presence::Unknown(circumstances.beside()),
        true if folded.inserted => Presence::New,
        true => Presence::Known,
    }
}

/// Above this many rows, handling all of them at once is faster.
const FEW_ROWS: usize = 20;

/// Selects the rows that are written together with their references. For few rows, Neo4j plans
/// texts for longer than it runs them.
fn in_one(rows: usize, circumstances: Circumstances) -> impl Fn(&FoldedRow) -> bool {
    let few = circumstances.is_settled() && rows <= FEW_ROWS;
    move |folded| few && folded.row.is_complete()
}

fn fill_nodes(
    model: &Model,
    table: TableIndex,
    mutations: TableMutations,
    circumstances: Circumstances,
    statements: &mut Vec<Statement>,
) {
    let in_one = in_one(mutations.rows.len(), circumstances);
    let mut filled = Vec::new();
    let mut groups: BTreeMap<(Completeness, bool, Known), Vec<NodeRow>> = BTreeMap::new();
    for (key, folded) in mutations.rows {
        let (completeness, new) = (completeness(&folded, circumstances), folded.inserted);
        let stamp = folded.stamp;
        let targets = in_one(&folded).then(|| all_targets(model.node(table), &folded));
        let (known, values) = known_values(folded.row);
        let row = NodeRow { key, values, stamp };
        match targets {
            Some(targets) => filled.push((row, targets)),
            None => groups.entry((completeness, new, known)).or_default().push(row),
        }
    }
    if !filled.is_empty() {
        statements.push(Statement::FillNodes { table, rows: filled });
    }
    statements.extend(groups.into_iter().map(|((completeness, new, known), rows)| {
        Statement::UpsertNodes { table, known, completeness, new, rows }
    }));
}

fn known_values(row: Row) -> (Known, Vec<Option<Value>>) {
    let known = row.properties.iter().map(|cell| *cell != Cell::Unchanged).collect();
    let values = row
        .properties
        .into_iter()
        .filter_map(|cell| match cell {
            Cell::Unchanged => None,
            Cell::Null => Some(None),
            Cell::Value(value) => Some(Some(value)),
        })
        .collect();
    (Known(known), values)
}

fn upsert_relationships(
    model: &Model,
    table: TableIndex,
    mutations: TableMutations,
    circumstances: Circumstances,
    statements: &mut Vec<Statement>,
) {
    let Shape::Relationship(shape) = &model.table(table).shape else { return };
    let in_one = in_one(mutations.rows.len(), circumstances);
    let mut with_ends: BTreeMap<_, Vec<RelationshipRow>> = BTreeMap::new();
    let mut without_ends: BTreeMap<Known, Vec<NodeRow>> = BTreeMap::new();
    for (key, folded) in mutations.rows {
        let ends = ends(model, shape, &key, &folded.row);
        let completeness = completeness(&folded, circumstances);
        let presence = match shape.key == RelationshipKey::Ends && in_one(&folded) {
            true => Presence::Unknown(circumstances.beside()),
            false => presence(&folded, circumstances),
        };
        let stamp = folded.stamp;
        let (known, values) = known_values(folded.row);
        match ends {
            Some((from, to)) => with_ends
                .entry((presence, completeness, known))
                .or_default()
                .push(RelationshipRow { key, from, to, values, stamp }),
            None => without_ends.entry(known).or_default().push(NodeRow { key, values, stamp }),
        }
    }
    for ((presence, completeness, known), mut rows) in with_ends {
        rows.sort_unstable_by(|left, right| (&left.to, &left.key).cmp(&(&right.to, &right.key)));
        let upsert = Statement::UpsertRelationships { table, known, completeness, presence, rows };
        statements.push(upsert);
    }
    for (known, rows) in without_ends {
        statements.push(Statement::UpdateRelationships { table, known, rows });
    }
}

/// The ends of a join row: from a key of ends, otherwise from its columns if both came.
fn ends(model: &Model, shape: &RelationshipShape, key: &Key, row: &Row) -> Option<(Key, Key)> {
    match (&shape.key, &row.references[0], &row.references[1]) {
        (RelationshipKey::Ends, _, _) => Some(shape.split_ends(model, key)),
        (RelationshipKey::Own(_), Reference::To(from), Reference::To(to)) => {
            Some((from.clone(), to.clone()))
        }
        (RelationshipKey::Own(_), _, _) => None,
    }
}
