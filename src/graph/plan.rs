//! The order of writes: a folded batch becomes statements that leave the graph a function of the
//! tables.
//!
//! ```text
//! clear (truncated tables) -> steps of join tables, steps of node tables
//!   -> node upserts -> owned relationships whose target differs go -> owned relationships
//!   -> join rows -> references to unique columns
//! ```
//!
//! Why this order is right. A relationship is decided by its owner row alone and points at a key
//! value, so steps of different tables do not depend on each other, and only the order inside a
//! table matters; it is kept. Without key changes those of join tables come first: a node that
//! nothing holds any more is then dropped at once, and not made a placeholder that has to be swept.
//! With them they come last: a join relationship that got its key in this transaction must not be
//! made again by the move of an end, because Neo4j would still find the one before under its key.
//! Drops come before upserts, so that a key that went and came back starts empty. Nodes come before
//! relationships, so that a missing end point is a row that really is missing: it becomes a
//! placeholder. Whatever takes a relationship from a placeholder looks, in the same statement,
//! whether it was the last one.

use std::{collections::BTreeMap, fmt};

use crate::value::Value;

use super::{
    fold::{FoldedRow, Mutations, Step, TableMutations},
    model::{Model, NodeShape, ReferenceBy, RelationshipKey, RelationshipShape, Shape, TableIndex},
    mutation::{Cell, Key, Reference, Row},
    statement::{Completeness, Known, NodeRow, Presence, RelationshipRow, Statement},
};

/// What is known of a batch beyond its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// It holds whole source transactions only.
    pub whole_transactions: bool,
    /// It comes from a stream that is neither copying nor replaying: before it, the graph equals
    /// the tables at one moment.
    pub settled: bool,
}

impl Circumstances {
    /// The rows of a copy: any of them may be in the graph already, in any earlier state.
    pub const COPY: Circumstances = Circumstances { whole_transactions: true, settled: false };

    /// Relationships that the source enforces may go with a deleted target: no row points there any
    /// more. A key change leaves them at the old key until their owners follow, so with one in the
    /// batch they may not.
    fn ride_along(self, mutations: &Mutations) -> bool {
        self.whole_transactions && self.settled && !moves(mutations)
    }
}

/// Whether any key changes.
fn moves(mutations: &Mutations) -> bool {
    let mut steps = mutations.tables.values().flat_map(|table| &table.steps);
    steps.any(|step| matches!(step, Step::Move { .. }))
}

/// The writes of a batch, in order.
pub fn plan(model: &Model, mutations: Mutations, circumstances: Circumstances) -> Vec<Statement> {
    let mut statements = Vec::new();
    let ride_along = circumstances.ride_along(&mutations);
    let moves = moves(&mutations);
    let (nodes, relationships): (Vec<_>, Vec<_>) = mutations
        .tables
        .into_iter()
        .partition(|(table, _)| matches!(model.table(*table).shape, Shape::Node(_)));
    for (table, mutations) in &nodes {
        if let Some(reach) = mutations.truncate {
            statements.push(Statement::ClearNodes { table: *table, reach });
        }
    }
    for (table, mutations) in &relationships {
        if let Some(reach) = mutations.truncate {
            statements.push(Statement::ClearRelationships { table: *table, reach });
        }
    }
    let mut of_nodes = Vec::new();
    for (table, mutations) in &nodes {
        node_steps(*table, &mutations.steps, ride_along, &mut of_nodes);
    }
    let mut of_joins = Vec::new();
    for (table, mutations) in &relationships {
        relationship_steps(*table, &mutations.steps, &mut of_joins);
    }
    let steps = match moves {
        true => [of_nodes, of_joins],
        false => [of_joins, of_nodes],
    };
    statements.extend(steps.into_iter().flatten());
    let mut links = Links { ride_along, ..Links::default() };
    for (table, mutations) in nodes {
        refer(model, table, &mutations, circumstances, &mut links);
        fill_nodes(table, mutations, circumstances, &mut statements);
    }
    links.emit(&mut statements);
    for (table, mutations) in relationships {
        upsert_relationships(model, table, mutations, circumstances, &mut statements);
    }
    statements.append(&mut links.unique);
    statements
}

/// The writes of copied rows: nodes in one pass, relationships in the other. `rows` have what the
/// pass writes of them, and are unique by key.
pub fn plan_copied(
    model: &Model,
    table: TableIndex,
    pass: Pass,
    rows: Vec<(Key, Row)>,
) -> Vec<Statement> {
    let rows = rows.into_iter().map(|(key, row)| (key, FoldedRow::inserted(row, None)));
    let mutations = TableMutations { rows: rows.collect(), ..TableMutations::default() };
    let mut statements = Vec::new();
    match (&model.table(table).shape, pass) {
        (Shape::Node(_), Pass::Nodes) => {
            fill_nodes(table, mutations, Circumstances::COPY, &mut statements);
        }
        (Shape::Node(_), Pass::Relationships) => {
            let mut links = Links::default();
            refer(model, table, &mutations, Circumstances::COPY, &mut links);
            links.emit(&mut statements);
            statements.append(&mut links.unique);
        }
        (Shape::Relationship(_), Pass::Nodes) => {}
        (Shape::Relationship(_), Pass::Relationships) => {
            upsert_relationships(model, table, mutations, Circumstances::COPY, &mut statements);
        }
    }
    statements
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

/// Statements about owned relationships, which wait until all nodes are written.
#[derive(Default)]
struct Links {
    /// Enforced references need no look at what they left.
    ride_along: bool,
    removals: Vec<Statement>,
    additions: Vec<Statement>,
    unique: Vec<Statement>,
}

impl Links {
    fn emit(&mut self, statements: &mut Vec<Statement>) {
        statements.append(&mut self.removals);
        statements.append(&mut self.additions);
    }
}

/// Runs of equal steps, in order.
enum Run {
    Drops(Vec<Key>),
    Moves(Vec<(Key, Key)>),
}

/// Without moves, drops do not depend on each other and become one sorted run.
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

fn node_steps(
    table: TableIndex,
    steps: &[Step],
    ride_along: bool,
    statements: &mut Vec<Statement>,
) {
    statements.extend(runs(steps).into_iter().map(|run| match run {
        Run::Drops(keys) => Statement::DropNodes { table, keys, ride_along },
        Run::Moves(moves) => Statement::MoveNodes { table, moves },
    }));
}

fn relationship_steps(table: TableIndex, steps: &[Step], statements: &mut Vec<Statement>) {
    statements.extend(runs(steps).into_iter().map(|run| match run {
        Run::Drops(keys) => Statement::DropRelationships { table, keys },
        Run::Moves(moves) => Statement::MoveRelationships { table, moves },
    }));
}

fn completeness(folded: &FoldedRow, circumstances: Circumstances) -> Completeness {
    if folded.row.is_complete() {
        Completeness::Complete
    } else if folded.moved && !circumstances.settled {
        Completeness::PartialMoved
    } else {
        Completeness::Partial
    }
}

fn presence(folded: &FoldedRow, circumstances: Circumstances) -> Presence {
    match circumstances.settled && !folded.moved {
        false => Presence::Unknown,
        true if folded.inserted => Presence::New,
        true => Presence::Known,
    }
}

/// The relationships that rows own, and those of others that look for their unique values.
fn refer(
    model: &Model,
    table: TableIndex,
    mutations: &TableMutations,
    circumstances: Circumstances,
    links: &mut Links,
) {
    let shape = model.node(table);
    for (index, reference) in shape.references.iter().enumerate() {
        match reference.by {
            ReferenceBy::Key => {
                let sweep = !(reference.enforced && links.ride_along);
                by_key(table, index, sweep, mutations, circumstances, links);
            }
            ReferenceBy::Unique { .. } => {
                let rows = known_targets(mutations, index);
                if !rows.is_empty() {
                    links.unique.push(Statement::MatchFromOwner { table, reference: index, rows });
                }
            }
        }
    }
    match_from_target(model, table, shape, mutations, links);
}

fn fill_nodes(
    table: TableIndex,
    mutations: TableMutations,
    circumstances: Circumstances,
    statements: &mut Vec<Statement>,
) {
    let mut groups: BTreeMap<(Completeness, bool, Known), Vec<NodeRow>> = BTreeMap::new();
    for (key, folded) in mutations.rows {
        let (completeness, new) = (completeness(&folded, circumstances), folded.inserted);
        let stamp = folded.stamp;
        let (known, values) = known_values(folded.row);
        let row = NodeRow { key, values, stamp };
        groups.entry((completeness, new, known)).or_default().push(row);
    }
    statements.extend(groups.into_iter().map(|((completeness, new, known), rows)| {
        Statement::UpsertNodes { table, known, completeness, new, rows }
    }));
}

fn by_key(
    table: TableIndex,
    reference: usize,
    sweep: bool,
    mutations: &TableMutations,
    circumstances: Circumstances,
    links: &mut Links,
) {
    let (mut removals, mut replaced) = (Vec::new(), Vec::new());
    let mut additions: BTreeMap<Presence, Vec<(Key, Key)>> = BTreeMap::new();
    for (key, folded) in &mutations.rows {
        let target = match &folded.row.references[reference] {
            Reference::Unchanged => continue,
            Reference::Null => None,
            Reference::To(target) => Some(target.clone()),
        };
        match target {
            // A new row has none; one that a copy brings may have some after all.
            Some(target) if folded.inserted && !circumstances.settled => {
                replaced.push((key.clone(), target));
                continue;
            }
            _ if folded.inserted && circumstances.settled => {}
            _ => removals.push((key.clone(), target.clone())),
        }
        let presence = presence(folded, circumstances);
        if let Some(target) = target {
            additions.entry(presence).or_default().push((key.clone(), target));
        }
    }
    let by_target =
        |left: &(Key, Key), right: &(Key, Key)| (&left.1, &left.0).cmp(&(&right.1, &right.0));
    if !removals.is_empty() {
        let rows = removals;
        links.removals.push(Statement::RemoveReferences { table, reference, sweep, rows });
    }
    for (presence, mut rows) in additions {
        rows.sort_unstable_by(by_target);
        links.additions.push(Statement::AddReferences { table, reference, presence, rows });
    }
    if !replaced.is_empty() {
        replaced.sort_unstable_by(by_target);
        let rows = replaced;
        links.additions.push(Statement::ReplaceReferences { table, reference, rows });
    }
}

/// Owners whose reference came, with what it says.
fn known_targets(mutations: &TableMutations, reference: usize) -> Vec<(Key, Option<Key>)> {
    let target = |folded: &FoldedRow| match &folded.row.references[reference] {
        Reference::Unchanged => None,
        Reference::Null => Some(None),
        Reference::To(target) => Some(Some(target.clone())),
    };
    mutations.rows.iter().filter_map(|(key, folded)| Some((key.clone(), target(folded)?))).collect()
}

/// For every reference by unique columns that leads to this table: the rows whose value came.
fn match_from_target(
    model: &Model,
    table: TableIndex,
    shape: &NodeShape,
    mutations: &TableMutations,
    links: &mut Links,
) {
    for (owner, index, properties) in model.unique_references_to(table) {
        let rows: Vec<_> = mutations
            .rows
            .iter()
            .filter_map(|(key, folded)| {
                Some((key.clone(), unique_value(shape, properties, key, &folded.row)?))
            })
            .collect();
        if !rows.is_empty() {
            let statement = Statement::MatchFromTarget { table: owner, reference: index, rows };
            links.unique.push(statement);
        }
    }
}

/// The row's value of the named properties: `None` when one did not come, `Some(None)` when one is
/// NULL.
fn unique_value(
    shape: &NodeShape,
    properties: &[String],
    key: &Key,
    row: &Row,
) -> Option<Option<Key>> {
    let mut values = Vec::with_capacity(properties.len());
    let mut null = false;
    for name in properties {
        if let Some(position) = shape.key.iter().position(|property| property == name) {
            values.push(key.0[position].clone());
            continue;
        }
        let position = shape.properties.iter().position(|property| property == name);
        let position = position.expect("a mapping keeps the properties its references use");
        match &row.properties[position] {
            Cell::Unchanged => return None,
            Cell::Null => null = true,
            Cell::Value(value) => values.push(value.clone()),
        }
    }
    Some((!null).then(|| Key(values.into())))
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
    let mut with_ends: BTreeMap<_, Vec<RelationshipRow>> = BTreeMap::new();
    let mut without_ends: BTreeMap<Known, Vec<NodeRow>> = BTreeMap::new();
    for (key, folded) in mutations.rows {
        let ends = ends(model, shape, &key, &folded.row);
        let completeness = completeness(&folded, circumstances);
        let (presence, stamp) = (presence(&folded, circumstances), folded.stamp);
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

/// The ends of a join row: from its key where that is made of them, else from its columns if both
/// came.
fn ends(model: &Model, shape: &RelationshipShape, key: &Key, row: &Row) -> Option<(Key, Key)> {
    match (&shape.key, &row.references[0], &row.references[1]) {
        (RelationshipKey::Ends, _, _) => Some(shape.split_ends(model, key)),
        (RelationshipKey::Own(_), Reference::To(from), Reference::To(to)) => {
            Some((from.clone(), to.clone()))
        }
        (RelationshipKey::Own(_), _, _) => None,
    }
}
