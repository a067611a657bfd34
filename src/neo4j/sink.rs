//! The writer as the pipeline's sink: planned statements become texts and rows, in transactions of
//! reasonable size.
//!
//! ```text
//! clearing statements   each in pieces of its own, until a piece changes nothing
//! all others            one transaction with the checkpoint's step; long statements in portions of their rows
//! copied rows           one transaction with the progress' step; in several if Neo4j does not take that much
//! ```
//!
//! Copied rows and pieces of a clearing are repeatable, so the sink splits them if Neo4j refuses
//! them together. A batch of the stream is not: only the engine can split it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use neo4rs::{BoltType, Row, summary::Counters};

use crate::{
    checkpoint::{Advance, Position},
    copy::{ChunkStep, Progress},
    engine::Portion,
    graph::{Key, Model, Statement, TableIndex, in_few_texts, model::Shape},
    pipeline::{self, ChunkWriter, Failure, Narrow, shortened},
    shown::{Shown, on_one_line, shown_list},
};

use super::{
    connect::Connection,
    cypher::{CLEAR_ROWS, Parameter, Query, incomplete_keys, render, render_clearing},
    error::Error,
    parameter,
    planning::Planner,
    writer::{WriteError, Writer},
};

/// Rows of one statement are sent in portions of this many; above that Neo4j gains nothing.
const STATEMENT_ROWS: usize = 5_000;

/// One lane's sink.
pub struct Sink {
    writer: Writer,
    /// For reading beside the writer's transactions.
    reader: Connection,
    model: Arc<Model>,
    /// The number of rows that Neo4j accepts at once, for rows that may be split here.
    portion: Portion,
    planner: Option<Arc<Planner>>,
}

impl Sink {
    /// A sink over a writer. `reader` is its own connection.
    pub fn new(writer: Writer, reader: Connection, model: Arc<Model>) -> Self {
        Sink { writer, reader, model, portion: Portion::WHOLE, planner: None }
    }

    /// The same with a planner: batches wait until their texts have plans.
    pub fn planning(self, planner: Arc<Planner>) -> Self {
        Sink { planner: Some(planner), ..self }
    }

    async fn clear(&mut self, at: Position, clearing: &Clearing) -> Result<(), WriteError> {
        let whole = [clearing.query.clone()];
        // By stamps, a piece may find only rows that another partition fills again at that moment.
        let by_stamps = !clearing.query.rows.is_empty();
        let (mut idle, enough) = (0, if by_stamps { 2 } else { 1 });
        while idle < enough {
            let rows = self.portion.bound(CLEAR_ROWS);
            let written = match rows {
                CLEAR_ROWS => self.writer.write_piece(&at, &whole).await,
                _ => {
                    let fewer = [render_clearing(&self.model, &clearing.statement, rows)];
                    self.writer.write_piece(&at, &fewer).await
                }
            };
            match written {
                Ok(did) => {
                    idle = if cleared_nothing(&did) { idle + 1 } else { 0 };
                    self.portion.taken(rows);
                }
                Err(error) if rows > 1 => self.halve(error, rows)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Continues with fewer rows than these, if that may help.
    fn halve(&mut self, error: WriteError, rows: usize) -> Result<(), WriteError> {
        let Some(refused) = error.refused() else { return Err(error) };
        self.portion = self.portion.after(refused, rows);
        let now = self.portion.bound(rows);
        self.writer.tell(refused.name());
        tracing::warn!(%error, rows, now, "Neo4j does not take so many rows at once: going on with fewer");
        Ok(())
    }

    /// Writes repeatable queries, each row after those before it; in portions if Neo4j accepts no
    /// more. The last portion moves a copy's progress.
    async fn write_repeatable(
        &mut self,
        guard: Repeatable<'_>,
        queries: Vec<Query>,
    ) -> Result<(), WriteError> {
        let mut rest = VecDeque::from(queries);
        loop {
            let portion = take_rows(&mut rest, self.portion.bound(usize::MAX));
            let rows = portion.iter().map(|query| query.rows.len()).sum();
            let is_last = rest.is_empty();
            let written = match &guard {
                Repeatable::Chunk(step) if is_last => self.writer.write_chunk(step, &portion).await,
                Repeatable::Chunk(step) => self.writer.write_chunk(&step.piece(), &portion).await,
                Repeatable::Rows(at, _) => self.writer.write_piece(at, &portion).await.map(drop),
            };
            match written {
                Ok(()) => {
                    self.portion.taken(rows);
                    if is_last {
                        return Ok(());
                    }
                }
                Err(error) if rows > 1 => {
                    self.halve(error, rows)?;
                    portion.into_iter().rev().for_each(|query| rest.push_front(query));
                }
                Err(error) => return Err(guard.of_row(&self.model, error, &portion)),
            }
        }
    }
}

/// The first comparison of a repeatable transaction.
enum Repeatable<'a> {
    Chunk(&'a ChunkStep),
    Rows(&'a Position, TableIndex),
}

impl Repeatable<'_> {
    /// Adds the row to the error, if it is the only one of the portion.
    fn of_row(&self, model: &Model, error: WriteError, portion: &[Query]) -> WriteError {
        if error.is_transient() {
            return error;
        }
        let error = match error {
            WriteError::TooLarge { error } | WriteError::Data { error, .. } => error,
            other => return other,
        };
        let row = portion.iter().flat_map(|query| &query.rows).next();
        let named = match self {
            Repeatable::Chunk(step) => step.table.as_str(),
            Repeatable::Rows(_, table) => model.table(*table).name.as_str(),
        };
        let of_table = model.iter().find(|(_, table)| table.name == named);
        let key = match (of_table, row) {
            (Some((_, table)), Some(Parameter::List(columns))) => {
                format!(", {}", key_of_row(&table.shape, columns))
            }
            _ => String::new(),
        };
        WriteError::Row {
            what: format!("the copy of {}", Shown(named)).into(),
            key: key.into(),
            error,
        }
    }
}

/// `property = value` for the first columns of a statement's row: the key, or the start's key.
fn key_of_row(shape: &Shape, columns: &[Parameter]) -> String {
    let names: Vec<&str> = match shape {
        Shape::Node(node) => node.key.iter().map(String::as_str).collect(),
        Shape::Relationship(_) => vec!["start"],
    };
    let pairs = names.iter().zip(columns).map(|(name, value)| {
        let text = match value {
            Parameter::Value(value) => value.postgres_text(),
            Parameter::Null | Parameter::List(_) => None,
        };
        let text = text.unwrap_or_else(|| "?".into());
        format!("{} = {}", Shown(name), on_one_line(&text))
    });
    shortened(&pairs.collect::<Vec<_>>().join(", "))
}

/// Takes queries from the front, with at most this many rows in all.
fn take_rows(rest: &mut VecDeque<Query>, rows: usize) -> Vec<Query> {
    let (mut taken, mut room) = (Vec::new(), rows);
    while let Some(next) = rest.front_mut() {
        if next.rows.len() > room {
            let left = next.rows.split_off(room);
            let part =
                Query { rows: std::mem::replace(&mut next.rows, left), ..next.clone_empty() };
            if room > 0 {
                taken.push(part);
            }
            break;
        }
        room -= next.rows.len();
        taken.extend(rest.pop_front());
    }
    taken
}

/// A statement that clears a table, and its text for pieces of the usual size.
#[derive(Clone, Debug, PartialEq)]
struct Clearing {
    statement: Statement,
    query: Query,
}

/// Statements as the sink takes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Texts {
    /// The clearing statements. They run before all others.
    clearing: Vec<Clearing>,
    /// The others', long ones in portions.
    others: Vec<Query>,
}

impl Texts {
    /// Renders statements as texts and rows, in their order.
    pub fn of(model: &Model, statements: Vec<Statement>) -> Self {
        let mut texts = Texts::default();
        for statement in in_few_texts(statements) {
            let clears = matches!(
                statement,
                Statement::ClearNodes { .. } | Statement::ClearRelationships { .. }
            );
            match clears {
                true => {
                    let query = render_clearing(model, &statement, CLEAR_ROWS);
                    texts.clearing.push(Clearing { statement, query });
                }
                false => {
                    texts.others.extend(render(model, statement).into_iter().flat_map(portions));
                }
            }
        }
        texts
    }
}

/// Statements with the queries of a first attempt: the work that needs no graph.
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

/// Whether a piece of a clearing found nothing left. A piece deletes entities, or turns them into
/// placeholders.
pub fn cleared_nothing(did: &Counters) -> bool {
    did.nodes_deleted + did.relationships_deleted + did.labels_added == 0
}

/// Splits a query into portions of its rows; none if it has no rows.
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
        for clearing in &texts.clearing {
            self.clear(advance.from, clearing).await?;
        }
        let Some(planner) = self.planner.clone() else {
            return self.writer.write_ready(&advance, first, &texts.others).await;
        };
        // While the server has few plans, planning ahead beside a write is what ends that soonest.
        let _writing = planner.narrow().is_needed().is_none().then(|| planner.writing());
        planner.ready(&texts.others).await;
        self.writer.write_ready(&advance, first, &texts.others).await
    }

    fn narrow(&self) -> Option<Arc<Narrow>> {
        self.planner.as_ref().map(|planner| planner.narrow())
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
        let planner = self.planner.clone();
        let _writing = planner.as_ref().map(|planner| planner.writing());
        self.write_repeatable(Repeatable::Chunk(step), texts.others).await
    }

    async fn write_rows(
        &mut self,
        at: Position,
        table: TableIndex,
        statements: Vec<Statement>,
    ) -> Result<(), WriteError> {
        let texts = Texts::of(&self.model, statements);
        self.write_repeatable(Repeatable::Rows(&at, table), texts.others).await
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
            let keys: Option<Vec<Key>> = rows.iter().map(key_of).collect();
            let keys = keys.ok_or_else(|| unread_key(&self.model, table))?;
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

fn key_of(row: &Row) -> Option<Key> {
    let BoltType::List(list) = row.get::<BoltType>("key").ok()? else { return None };
    let values = list.value.into_iter().map(parameter::value_of);
    values.collect::<Option<_>>().map(Key)
}

fn unread_key(model: &Model, table: TableIndex) -> WriteError {
    let (name, key) = (Shown(&model.table(table).name), shown_list(&model.key_names(table)));
    WriteError::Fatal(Error::Fatal(format!(
        "copy of {name}: some of its nodes or relationships lack values, and the key of one ({key}) is of a type that \
         is not written there. Somebody else has changed it: set it back, or delete that node or relationship"
    )))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::{Parameter, Query, take_rows};

    fn query(text: &str, rows: std::ops::Range<usize>) -> Query {
        let row = |row| Parameter::List(vec![Parameter::Null; row + 1]);
        Query { text: text.into(), rows: rows.map(row).collect(), otherwise: None }
    }

    /// If portions missed rows, the last portion would acknowledge them.
    #[test]
    fn portions_hold_every_row_once_in_order() {
        let all = || vec![query("A", 0..5), query("B", 0..1), query("C", 0..3)];
        for rows in 1..12 {
            let mut rest = VecDeque::from(all());
            let mut written = Vec::new();
            while !rest.is_empty() {
                let portion = take_rows(&mut rest, rows);
                let count: usize = portion.iter().map(|query| query.rows.len()).sum();
                assert!((1..=rows).contains(&count), "{count} of {rows}");
                let each =
                    |query: Query| query.rows.into_iter().map(move |row| (query.text.clone(), row));
                written.extend(portion.into_iter().flat_map(each));
            }
            let whole = all().into_iter();
            let expected: Vec<_> = whole
                .flat_map(|query| query.rows.into_iter().map(move |row| (query.text.clone(), row)))
                .collect();
            assert_eq!(written, expected, "in portions of {rows}");
        }
    }
}
