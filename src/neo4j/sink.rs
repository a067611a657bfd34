//! The writer as the pipeline's sink: planned statements become texts and rows, in transactions of
//! sane size.
//!
//! ```text
//! clearing statements   each in pieces of its own, until a piece changes nothing
//! all others            one transaction with the checkpoint's step; long statements in portions of their rows
//! ```

use std::{collections::BTreeMap, sync::Arc};

use neo4rs::{BoltType, Row, summary::Counters};

use crate::{
    checkpoint::{Advance, Position},
    copy::{ChunkStep, Progress},
    graph::{
        Key, Model, Query, Statement, TableIndex, cypher::incomplete_keys, model::Shape, render,
    },
    pipeline::{self, ChunkWriter},
};

use super::{
    connect::Connection,
    error::Error,
    parameter,
    writer::{WriteError, Writer},
};

/// Rows of one statement are sent in portions of this many: where Neo4j gains no more.
const STATEMENT_ROWS: usize = 5_000;

/// One lane's sink.
pub struct Sink {
    writer: Writer,
    /// For reading beside the writer's transactions.
    reader: Connection,
    model: Arc<Model>,
}

impl Sink {
    /// A sink over a writer. `reader` is a connection of its own.
    pub fn new(writer: Writer, reader: Connection, model: Arc<Model>) -> Self {
        Sink { writer, reader, model }
    }

    /// Whether nodes of the mapping lack values. Relationships are not looked at: that goes through
    /// all of them.
    pub async fn has_incomplete(&self) -> Result<bool, WriteError> {
        for (table, text) in incomplete_keys(&self.model, 1) {
            if matches!(self.model.table(table).shape, Shape::Relationship(_)) {
                continue;
            }
            if !self.reader.rows(neo4rs::Query::new(text)).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn clear(&mut self, at: Position, queries: &[Query]) -> Result<(), WriteError> {
        // By stamps, a piece may find only rows that another partition fills anew that very moment.
        let by_stamps = queries.iter().any(|query| !query.rows.is_empty());
        let (mut idle, enough) = (0, if by_stamps { 2 } else { 1 });
        while idle < enough {
            let did = self.writer.write_piece(&at, queries).await?;
            idle = if cleared_nothing(&did) { idle + 1 } else { 0 };
        }
        Ok(())
    }
}

/// Statements as the sink takes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Texts {
    /// Those of each clearing statement, which come before all others.
    clearing: Vec<Vec<Query>>,
    /// The others', long ones in portions.
    others: Vec<Query>,
}

impl Texts {
    /// The texts and rows of statements, in their order.
    pub fn of(model: &Model, statements: Vec<Statement>) -> Self {
        let mut texts = Texts::default();
        for statement in statements {
            let clears = matches!(
                statement,
                Statement::ClearNodes { .. } | Statement::ClearRelationships { .. }
            );
            let rendered = render(model, statement);
            match clears {
                true => texts.clearing.push(rendered),
                false => texts.others.extend(rendered.into_iter().flat_map(portions)),
            }
        }
        texts
    }
}

/// Statements with the queries of a first attempt: what can be done before the graph is free.
pub struct Prepared {
    texts: Texts,
    first: Vec<neo4rs::Query>,
}

impl Prepared {
    /// Makes statements ready, in their order.
    pub fn of(model: &Model, statements: Vec<Statement>) -> Self {
        let texts = Texts::of(model, statements);
        let first = texts.others.iter().map(parameter::query).collect();
        Prepared { texts, first }
    }
}

/// Whether a piece of a clearing found nothing left: it deletes entities, or makes placeholders of
/// them.
pub fn cleared_nothing(did: &Counters) -> bool {
    did.nodes_deleted + did.relationships_deleted + did.labels_added == 0
}

/// A query in portions of its rows; none when it has no rows.
fn portions(query: Query) -> Vec<Query> {
    let Query { text, mut rows, otherwise } = query;
    let mut portions = Vec::with_capacity(rows.len().div_ceil(STATEMENT_ROWS));
    while rows.len() > STATEMENT_ROWS {
        let rest = rows.split_off(STATEMENT_ROWS);
        let rows = std::mem::replace(&mut rows, rest);
        portions.push(Query { text: text.clone(), rows, otherwise: otherwise.clone() });
    }
    if !rows.is_empty() {
        portions.push(Query { text, rows, otherwise });
    }
    portions
}

impl pipeline::Sink<Prepared> for Sink {
    type Error = WriteError;

    async fn write(&mut self, advance: Advance, prepared: Prepared) -> Result<(), WriteError> {
        let Prepared { texts, first } = prepared;
        for queries in &texts.clearing {
            self.clear(advance.from, queries).await?;
        }
        self.writer.write_ready(&advance, first, &texts.others).await
    }
}

impl ChunkWriter for Sink {
    type Error = WriteError;

    async fn write_chunk(
        &mut self,
        step: &ChunkStep,
        statements: Vec<Statement>,
    ) -> Result<(), WriteError> {
        let texts = Texts::of(&self.model, statements);
        self.writer.write_chunk(step, &texts.others).await
    }

    async fn write_rows(
        &mut self,
        at: Position,
        statements: Vec<Statement>,
    ) -> Result<(), WriteError> {
        let texts = Texts::of(&self.model, statements);
        self.writer.write_piece(&at, &texts.others).await.map(drop)
    }

    async fn restart(&mut self, at: Position, progress: &[Progress]) -> Result<(), WriteError> {
        let mut tables: Vec<&str> = progress.iter().map(|range| range.table.as_str()).collect();
        tables.dedup();
        self.writer.restart_copy(&at, &tables, progress).await
    }

    async fn incomplete(
        &mut self,
        limit: usize,
    ) -> Result<BTreeMap<TableIndex, Vec<Key>>, WriteError> {
        let mut found = BTreeMap::new();
        for (table, text) in incomplete_keys(&self.model, limit) {
            let rows = self.reader.rows(neo4rs::Query::new(text)).await?;
            let keys: Vec<Key> = rows.iter().map(key_of).collect::<Result<_, _>>()?;
            if !keys.is_empty() {
                found.insert(table, keys);
            }
        }
        Ok(found)
    }

    async fn settle(&mut self, at: Position) -> Result<(), WriteError> {
        self.writer.end_copy(&at).await
    }
}

fn key_of(row: &Row) -> Result<Key, WriteError> {
    let unexpected =
        || WriteError::Fatal(Error::Fatal("a key came back in another type".to_owned()));
    let BoltType::List(list) = row.get::<BoltType>("key").map_err(|_| unexpected())? else {
        return Err(unexpected());
    };
    let values = list.value.into_iter().map(parameter::value_of);
    values.collect::<Option<_>>().map(Key).ok_or_else(unexpected)
}
