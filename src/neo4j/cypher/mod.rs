//! Renders statements as Cypher text and rows.
//!
//! ```text
//! Statement --render--> Query { text, rows, .. }*     texts are static for a table and the columns that came
//! ```
//!
//! Texts unwind `$rows[0]`, a list of lists, and may run in pieces of it, in order. `$rows` is a
//! list of such lists, because Neo4j plans a text again for each order of magnitude of a
//! parameter's length (1, 10, 100, ..), and the length of this one never changes. Measured on 5.26:
//! each plan but the first takes 70 to 200 ms.
//!
//! Every look-up by key names its index. Otherwise Neo4j would keep a plan from a nearly empty
//! graph when the graph is full: it would walk a hub and all its relationships instead of two
//! seeks.

mod incomplete;
mod joins;
mod letters;
mod likely;
mod moves;
mod nodes;
mod read;
mod references;
mod repair;
mod text;

use std::sync::Arc;

use crate::{
    graph::{
        Key,
        model::Model,
        statement::{NodeRow, Statement},
    },
    lsn::Stamp,
    value::Value,
};

pub use incomplete::incomplete_keys;
pub use likely::likely_texts;
pub use read::{Bounds, Layout, Level, Reads, reads};
pub use text::quote;

/// One text with its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Cypher with the single parameter `$rows`, a list whose first item is the list of rows.
    pub text: Arc<str>,
    /// The rows, each a list.
    pub rows: Vec<Parameter>,
    /// The fallback with the same rows, if the text did too little.
    pub otherwise: Option<Otherwise>,
}

/// Fallback texts. The main text handles the common case; these run only if it did less than it has
/// rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Otherwise {
    /// They are not needed if this holds for the main text.
    pub unless: Done,
    /// The texts, in order.
    pub texts: Vec<Arc<str>>,
}

/// The result of a text that makes its fallback unnecessary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It created a node for each row.
    NodesMade,
    /// It created a relationship for each row.
    RelationshipsMade,
    /// It deleted a node for each row.
    NodesDeleted,
    /// It deleted a relationship for each row.
    RelationshipsDeleted,
    /// It set no property: that is how it marks the rows that it leaves to others.
    NothingMarked,
}

/// A parameter, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// Null.
    Null,
    /// A property value.
    Value(Value),
    /// A list of anything.
    List(Vec<Parameter>),
}

/// The number of rows that one piece of a clearing touches.
pub const CLEAR_ROWS: usize = 1_000;

/// The queries of a statement, in order.
///
/// A clearing statement becomes one query, with no row or with its one stamp. It touches at most
/// [`CLEAR_ROWS`] rows: run it in its own transaction until it changes nothing.
pub fn render(model: &Model, statement: Statement) -> Vec<Query> {
    match statement {
        Statement::ClearNodes { .. } | Statement::ClearRelationships { .. } => {
            vec![render_clearing(model, &statement, CLEAR_ROWS)]
        }
        Statement::DropNodes { table, keys, beside } => {
            vec![nodes::drop(model, table, keys, beside)]
        }
        Statement::MoveNodes { table, moves } => vec![moves::nodes(model, table, moves)],
        Statement::DropRelationships { table, keys, beside } => {
            vec![joins::drop(model, table, keys, beside)]
        }
        Statement::MoveRelationships { table, moves } => {
            vec![moves::relationships(model, table, moves)]
        }
        Statement::UpsertNodes { table, known, completeness, new, rows } => {
            vec![nodes::upsert(model, table, &known, (completeness, new), rows)]
        }
        Statement::FillNodes { table, rows } => vec![nodes::fill(model, table, rows)],
        Statement::RemoveReferences { table, reference, rows } => {
            vec![references::remove(model, table, reference, rows)]
        }
        Statement::RemoveOutdated { table, references, rows } => {
            references::remove_outdated(model, table, &references, &rows)
        }
        Statement::AddReferences { table, reference, presence, rows } => {
            vec![references::add(model, table, reference, presence, rows)]
        }
        Statement::ReplaceReferences { table, reference, beside, rows } => {
            vec![references::replace(model, table, reference, beside, rows)]
        }
        Statement::UpsertRelationships { table, known, completeness, presence, rows } => {
            joins::upsert(model, table, &known, (completeness, presence), rows)
        }
        Statement::UpdateRelationships { table, known, rows } => {
            joins::update(model, table, &known, rows).into_iter().collect()
        }
        Statement::MatchFromOwner { table, reference, rows } => {
            references::match_from_owner(model, table, reference, rows)
        }
        Statement::MatchFromTarget { table, reference, rows } => {
            references::match_from_target(model, table, reference, rows)
        }
        Statement::Untangle { table, keys } => repair::untangle(model, table, keys),
        Statement::UnlabelNodes { table, keys } => repair::unlabel(model, table, keys),
        Statement::KeepLetters { table, letters } => letters::keep(model, table, letters),
        Statement::RemoveLetters { letters } => vec![letters::remove(letters)],
        Statement::EmptyPlaceholders { table, keys } => {
            vec![repair::empty_placeholders(model, table, keys)]
        }
    }
}

/// The query of a clearing statement, as [`render`] describes, with this many rows for each piece.
///
/// # Panics
/// For any other statement.
pub fn render_clearing(model: &Model, statement: &Statement, rows: usize) -> Query {
    match *statement {
        Statement::ClearNodes { table, reach } => nodes::clear(model, table, reach, rows),
        Statement::ClearRelationships { table, reach } => joins::clear(model, table, reach, rows),
        ref other => panic!("it clears nothing: {other:?}"),
    }
}

impl Query {
    /// The query without its rows.
    pub fn clone_empty(&self) -> Self {
        let Query { text, otherwise, .. } = self;
        Query { text: text.clone(), rows: Vec::new(), otherwise: otherwise.clone() }
    }

    fn new(text: impl Into<Arc<str>>, rows: impl IntoIterator<Item = Vec<Parameter>>) -> Self {
        let rows = rows.into_iter().map(Parameter::List).collect();
        Query { text: text.into(), rows, otherwise: None }
    }

    /// Adds fallback texts.
    fn or(self, unless: Done, texts: impl IntoIterator<Item = String>) -> Self {
        let texts = texts.into_iter().map(Into::into).collect();
        Query { otherwise: Some(Otherwise { unless, texts }), ..self }
    }
}

/// A key as a row's first columns.
fn key_columns(key: Key) -> Vec<Parameter> {
    key.0.into_iter().map(Parameter::Value).collect()
}

/// Two keys one after the other.
fn two_keys((first, second): (Key, Key)) -> Vec<Parameter> {
    let mut columns = key_columns(first);
    columns.extend(key_columns(second));
    columns
}

/// A key and an optional one; a missing one is a single NULL.
fn key_and_option((first, second): (Key, Option<Key>)) -> Vec<Parameter> {
    match second {
        Some(second) => two_keys((first, second)),
        None => {
            let mut columns = key_columns(first);
            columns.push(Parameter::Null);
            columns
        }
    }
}

/// An optional key, in as many columns as a key has.
fn target_columns(target: &Option<Key>, width: usize) -> impl Iterator<Item = Parameter> {
    let values = target.iter().flat_map(|key| key.0.iter().cloned().map(Parameter::Value));
    values.chain(std::iter::repeat(Parameter::Null)).take(width)
}

/// Key, values, stamp.
fn node_row(row: NodeRow) -> Vec<Parameter> {
    let mut columns = key_columns(row.key);
    columns.extend(values(row.values));
    columns.extend(row.stamp.map(stamp));
    columns
}

fn stamp(stamp: Stamp) -> Parameter {
    Parameter::Value(Value::String(stamp.to_string()))
}

fn values(values: Vec<Option<Value>>) -> impl Iterator<Item = Parameter> {
    values.into_iter().map(|value| value.map_or(Parameter::Null, Parameter::Value))
}
