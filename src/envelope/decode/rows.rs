//! Rows without their envelopes, as Debezium's transform `ExtractNewRecordState` leaves them.
//!
//! ```text
//! key {"id": 7}   value {"id": 7, "name": "Ann", "__op": "u", "__deleted": "false"}   the row is there
//! key {"id": 7}   value with "__deleted": "true" or "__op": "d", or none                it is not
//! ```
//!
//! Such a record does not say what it is: a row may have columns of any name. So a topic is read this way
//! only where somebody says so, and its rows are of one table, which is the topic's. The record's key says
//! which row it is: a tombstone has nothing else.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::{self, Catalog, TableName};
use crate::change::{Before, Cell, Change, Timestamp};
use crate::lsn::Lsn;

use super::super::columns::record_key;
use super::super::json::{Json, Object, Problem};
use super::super::schema::Schemas;
use super::super::{Decoded, Record, Source};
use super::{DecodeError, Decoder, Writer, error};

/// What the transform puts before the names of fields that it adds (`add.fields.prefix`).
const ADDED: &str = "__";

/// Why the records of a topic can not be read as rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRows {
    /// Rows do not name their table.
    #[error(
        "the topic {topic} has rows without envelopes, and is named after no table of the source \
         (PREFIX.SCHEMA.TABLE). Name its table with kafka.debezium.tables, or leave the topic out"
    )]
    NoTable {
        /// The topic.
        topic: String,
    },
    /// Several tables have this name in a topic's.
    #[error(
        "the topic {topic} may be named after {}. Name its table with kafka.debezium.tables",
        .tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
    )]
    SeveralTables {
        /// The topic.
        topic: String,
        /// Those that it may be of.
        tables: Vec<TableName>,
    },
    /// The file names a table that is not there.
    #[error(
        "kafka.debezium.tables: the source has no table {table}, which the topic {topic} is said to be of"
    )]
    Missing {
        /// The topic.
        topic: String,
        /// The table.
        table: TableName,
    },
    /// Nothing tells the table's rows apart.
    #[error(
        "{table}: rows without envelopes are told apart by their key, and the table has none. Add a primary key, have \
         the connector key its records by it, and start with a new topic; or leave the topic {topic} out"
    )]
    NoKey {
        /// The topic.
        topic: String,
        /// The table.
        table: TableName,
    },
}

/// The table whose rows a topic has.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    table: usize,
    /// The places of the columns that the record's key must have.
    key: Vec<usize>,
}

/// What the transform added to a row, in fields or headers.
struct Added<'a> {
    op: Option<Cow<'a, str>>,
    is_deleted: bool,
    lsn: Option<Lsn>,
    at: Option<Timestamp>,
}

/// The table that a topic is of: `named`, or the one that the topic is named after, as Debezium does it.
///
/// # Errors
/// There is none, or it can not be told which.
pub fn table_of_topic<'c>(
    catalog: &'c Catalog,
    topic: &str,
    named: Option<&TableName>,
) -> Result<&'c catalog::Table, NoRows> {
    let topic_name = || topic.to_owned();
    if let Some(table) = named {
        let missing = || NoRows::Missing { topic: topic_name(), table: table.clone() };
        return catalog.table(table).ok_or_else(missing);
    }
    let is_named = |table: &&catalog::Table| {
        let TableName { schema, name } = &table.name;
        let last = format!(".{schema}.{name}");
        // What a topic's name can not have is `_` in it.
        let allowed = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-');
        let last: String = last.chars().map(|it| if allowed(it) { it } else { '_' }).collect();
        topic.ends_with(&last) && topic.len() > last.len()
    };
    let tables: Vec<&catalog::Table> = catalog.tables.iter().filter(is_named).collect();
    match tables.as_slice() {
        [] => Err(NoRows::NoTable { topic: topic_name() }),
        [table] => Ok(table),
        tables => {
            let tables = tables.iter().map(|table| table.name.clone()).collect();
            Err(NoRows::SeveralTables { topic: topic_name(), tables })
        }
    }
}

impl Decoder {
    /// The same for a topic that has rows of one of the catalog's tables, without envelopes.
    ///
    /// # Errors
    /// Nothing tells the table's rows apart.
    pub fn of_rows(mut self, topic: &str, table: &catalog::Table) -> Result<Decoder, NoRows> {
        let no_key = || NoRows::NoKey { topic: topic.to_owned(), table: table.name.clone() };
        self.rows = Some(self.rows_of(table).ok_or_else(no_key)?.into());
        self.schemas = Schemas::of_rows();
        Ok(self)
    }

    /// The same for a topic that has envelopes of one of the catalog's tables: there a tombstone deletes a row.
    #[must_use]
    pub fn with_tombstones_of(mut self, table: &catalog::Table) -> Decoder {
        self.tombstones = self.rows_of(table).map(Arc::new);
        self
    }

    /// `None`: nothing tells the table's rows apart.
    fn rows_of(&self, table: &catalog::Table) -> Option<Rows> {
        let key = record_key(table)?;
        let index = self.table(&table.name.schema, &table.name.name)?;
        let columns = &self.tables[index];
        let places = key.iter().map(|name| columns.position(name, 0));
        Some(Rows { table: index, key: places.collect::<Option<Vec<usize>>>()? })
    }

    /// What a record without a value says beside envelopes. Compaction takes the envelope of a delete, since the
    /// tombstone behind it has the same key: then that is all there is of it.
    pub(super) fn tombstone(&mut self, record: &Record) -> Decoded {
        let Some(rows) = self.tombstones.clone().filter(|_| !self.expected.is_ours) else {
            return Decoded::Tombstone;
        };
        if record.key == self.deleted {
            return Decoded::Tombstone;
        }
        // Keys of other columns name no row.
        let Ok(key) = self.key_alone(&rows, record.key.as_ref()) else { return Decoded::Tombstone };
        let relation = self.tables[rows.table].relation.clone();
        let change = Change::Delete { relation, before: self.before_of(rows.table, key) };
        Decoded::Change { source: Source::default(), change }
    }

    /// What a record without an envelope says of a row.
    pub(super) fn row_alone(
        &mut self,
        rows: &Rows,
        record: &Record,
    ) -> Result<Decoded, DecodeError> {
        let at = |problem| error("value", "$", problem);
        let relation = self.tables[rows.table].relation.clone();
        let key = self.key_alone(rows, record.key.as_ref())?;
        let value = record.value.as_ref().map(|value| Json::parse(value).and_then(unwrapped));
        let Some((schema, row)) = value.transpose().map_err(at)?.flatten() else {
            let added = self.added(rows, None, &record.headers).map_err(at)?;
            let before = self.before_of(rows.table, key);
            let change = Change::Delete { relation, before };
            return Ok(Decoded::Change { source: added.source(), change });
        };
        self.is_row(rows, &row).map_err(at)?;
        let added = self.added(rows, Some(&row), &record.headers).map_err(at)?;
        let writer = self.writer(schema).map_err(at)?;
        let named = key.iter().enumerate();
        let named = named.filter_map(|(place, cell)| Some((place, cell.clone()?)));
        let one = self.is_one_row(rows.table, named, &row, &writer, added.is_deleted);
        one.map_err(|problem| error("key", "$", problem))?;
        if added.is_deleted {
            let before = self.before_of(rows.table, key);
            let change = Change::Delete { relation, before };
            return Ok(Decoded::Change { source: added.source(), change });
        }
        let cells = self.cells(rows.table, &row, &writer).map_err(at)?;
        self.has_keys(rows.table, &cells, &writer).map_err(at)?;
        // Only an update leaves values out that the row has.
        let is_update = added.op.as_deref() == Some("u") || cells.contains(&Some(Cell::Unchanged));
        let new = cells.into_iter().zip(key).map(|(cell, of_key)| match cell {
            Some(cell) => cell,
            None => of_key.unwrap_or(Cell::Unchanged),
        });
        let new = new.collect();
        let change = match is_update {
            true => Change::Update { relation, before: Before::Absent, new },
            false => Change::Insert { relation, new },
        };
        Ok(Decoded::Change { source: added.source(), change })
    }

    /// The cells that the record's key has, which are those that tell rows apart at least.
    fn key_alone(
        &mut self,
        rows: &Rows,
        key: Option<&Bytes>,
    ) -> Result<Vec<Option<Cell>>, DecodeError> {
        let at = |problem| error("key", "$", problem);
        let none =
            || at(Problem::new("it is missing, and rows without envelopes are told apart by it"));
        let parsed = Json::parse(key.ok_or_else(none)?).and_then(unwrapped).map_err(|problem| {
            let more = "; it has to be an object of the key's columns, as Debezium writes it";
            at(Problem { what: problem.what + more, ..problem })
        })?;
        let (schema, row) = parsed.ok_or_else(none)?;
        let writer = self.writer(schema).map_err(at)?;
        let cells = self.cells(rows.table, &row, &writer).map_err(at)?;
        let lacks = |place: &&usize| !matches!(cells[**place], Some(Cell::Text(_)));
        if let Some(place) = rows.key.iter().find(lacks) {
            let relation = &self.tables[rows.table].relation;
            let (schema, table) = (&relation.schema, &relation.name);
            let column = &relation.columns[*place].name;
            let what = format!(
                "it has no value of column {column:?}, which tells the rows of {schema}.{table} apart. Set the \
                 connector's message.key.columns to {schema}.{table}:{}, and start with a new topic",
                self.key_names(rows).join(",")
            );
            return Err(at(Problem::new(what)));
        }
        self.has_keys(rows.table, &cells, &writer).map_err(at)?;
        Ok(cells)
    }

    fn key_names(&self, rows: &Rows) -> Vec<String> {
        let columns = &self.tables[rows.table].relation.columns;
        rows.key.iter().map(|place| columns[*place].name.clone()).collect()
    }

    fn writer(&mut self, schema: Option<Json<'_>>) -> Result<Writer, Problem> {
        let fields = schema.map(|schema| self.schemas.fields(schema)).transpose();
        fields.map(Writer::Debezium).map_err(|problem| problem.within("schema"))
    }

    /// The table has a column of this name: then it is nothing that the transform added.
    fn has_column(&self, rows: &Rows, name: &str) -> bool {
        let table = &self.tables[rows.table];
        table.not_sent.contains(name) || table.position(name, 0).is_some()
    }

    /// The name is of a field that the transform adds to rows.
    pub(super) fn is_added(&self, name: &str) -> bool {
        self.rows.is_some() && name.starts_with(ADDED)
    }

    /// An envelope is none: the transform has not been there.
    fn is_row(&self, rows: &Rows, row: &Object<'_>) -> Result<(), Problem> {
        let is_of_envelope = |name: &&str| row.get(name).is_some() && !self.has_column(rows, name);
        if ["op", "source"].iter().all(is_of_envelope) {
            return Err(Problem::new(
                "it is an envelope, and kafka.debezium.records says that the topic has rows without one. Set it to \
                 `envelopes`, or read a topic in which all records went through ExtractNewRecordState",
            ));
        }
        Ok(())
    }

    fn added<'a>(
        &self,
        rows: &Rows,
        row: Option<&Object<'a>>,
        headers: &'a [(String, Bytes)],
    ) -> Result<Added<'a>, Problem> {
        let header = |name: &str| headers.iter().find(|(it, _)| it == name).map(|(_, it)| it);
        let text = |name: &str| -> Result<Option<Cow<'a, str>>, Problem> {
            let field = row.filter(|_| !self.has_column(rows, name)).and_then(|row| row.some(name));
            match field {
                Some(field) => plain(field).map(Some).map_err(|problem| problem.within(name)),
                None => Ok(header(name).and_then(of_header)),
            }
        };
        let number = |name: &str| -> Result<Option<i64>, Problem> {
            let parse = |text: Cow<'a, str>| {
                text.parse().map_err(|_| Problem::new("it is not a number").within(name))
            };
            text(name)?.map(parse).transpose()
        };
        let lsn = match number("__lsn")? {
            Some(lsn) => Some(lsn),
            None => number("__source_lsn")?,
        };
        let millis = number("__source_ts_ms")?.and_then(|millis| millis.checked_mul(1_000));
        let unix_micros = number("__source_ts_us")?.or(millis);
        let op = text("__op")?;
        Ok(Added {
            is_deleted: is_deleted(op.as_deref(), text("__deleted")?.as_deref())?,
            op,
            lsn: lsn.and_then(|lsn| u64::try_from(lsn).ok()).map(Lsn),
            at: unix_micros.map(|unix_micros| Timestamp { unix_micros }),
        })
    }
}

/// Whether the row is gone, as the operation and the transform's mark say, if they are there.
fn is_deleted(op: Option<&str>, mark: Option<&str>) -> Result<bool, Problem> {
    let of_op = match op {
        None => None,
        Some("d") => Some(true),
        Some("c" | "u" | "r") => Some(false),
        Some(_) => return Err(Problem::new("it is none of c, u, d and r").within("__op")),
    };
    let of_mark = match mark {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => return Err(Problem::new("it is neither true nor false").within("__deleted")),
    };
    match (of_op, of_mark) {
        (Some(op), Some(mark)) if op != mark => {
            Err(Problem::new("it contradicts __op").within("__deleted"))
        }
        _ => Ok(of_op.or(of_mark).unwrap_or(false)),
    }
}

impl Added<'_> {
    fn source(&self) -> Source {
        Source { lsn: self.lsn, at: self.at, ..Source::default() }
    }
}

/// A row and its schema block, if it has one; `None` for a tombstone. Columns may be called `schema` and
/// `payload`; a block is an object, which no such column is.
fn unwrapped<'a>(json: Json<'a>) -> Result<Option<(Option<Json<'a>>, Object<'a>)>, Problem> {
    let outer = json.object()?;
    let (Some(schema), Some(payload), 2) =
        (outer.get("schema"), outer.get("payload"), outer.0.len())
    else {
        return Ok(Some((None, outer)));
    };
    let is_block = schema.is_null() || schema.object().is_ok();
    match (is_block, payload.is_null()) {
        (false, _) => Ok(Some((None, outer))),
        (true, true) => Ok(None),
        (true, false) => {
            let row = payload.object().map_err(|problem| problem.within("payload"))?;
            Ok(Some((Some(schema).filter(|schema| !schema.is_null()), row)))
        }
    }
}

/// A string, or another simple value as its text.
fn plain<'a>(json: Json<'a>) -> Result<Cow<'a, str>, Problem> {
    match json.string() {
        Ok(text) => Ok(text),
        Err(_) if json.object().is_err() && json.array().is_err() => Ok(Cow::Borrowed(json.text())),
        Err(problem) => Err(problem),
    }
}

/// A header as any of Connect's converters writes it: JSON, with a schema block or without, or plain text.
fn of_header(header: &Bytes) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(header).ok()?;
    let Ok(json) = Json::parse(header) else { return Some(Cow::Borrowed(text)) };
    match json.object() {
        Ok(outer) => outer.some("payload").and_then(|payload| plain(payload).ok()),
        Err(_) => plain(json).ok(),
    }
}
