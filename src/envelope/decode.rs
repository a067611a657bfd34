//! Records to changes.
//!
//! ```text
//! Record --read--> Next --join--> Decoded*
//! ```
//!
//! Reading looks at one record and changes nothing, so that a damaged one can be passed over.
//! Joining brings the records of one change together: the delete, tombstone and insert of a key
//! change, and the tables of one TRUNCATE. If another record comes instead of the rest, a delete
//! of Debezium's stands for itself, while our publisher publishes the whole transaction again.

mod heartbeats;
mod keys;
mod rows;
mod shapes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem::take;
use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::{Catalog, TableName};
use crate::change::{Before, Cell, Change, Relation, ReplicaIdentity, Tuple};
use crate::lsn::Lsn;

use super::columns::{Table, types_of};
use super::join::{Joiner, Next};
use super::json::{Json, Object, Problem};
use super::options::DecodeOptions;
use super::read::Reading;
use super::schema::{Fields, Schemas};
use super::source::Block;
use super::{Decoded, History, NEW_KEY_HEADER, OLD_KEY_HEADER, Record};
use rows::Rows;

pub use rows::{NoRows, table_of_topic};

/// Unknown columns that are counted one by one.
const MAX_UNKNOWN_COLUMNS: usize = 1_000;

/// A record is no envelope, or not one of its table's rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record's {part} at {path}: {problem}")]
pub struct DecodeError {
    /// `key`, `value`, or a header's name.
    pub part: &'static str,
    /// Where in it, as a JSON path: `$.after.price`.
    pub path: String,
    /// What is wrong there. It holds no values of rows.
    pub problem: String,
}

/// A column that records carry and the catalog does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownColumn {
    /// Its table.
    pub table: TableName,
    /// Its name.
    pub column: String,
    /// In how many records it was met since the last time.
    pub records: u64,
}

/// Whose records belong to a topic. Those of others are no envelopes to it, whatever tables they name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The database; `None`: any.
    pub database: Option<String>,
    /// `wal2graph publish` writes the topic: each record names its history.
    pub is_ours: bool,
    /// The pipeline that publishes; `None`: that of the first record that names one.
    pub publisher: Option<String>,
    /// The database cluster of the catalog, if that is known: records of ours from it name tables by object id, too.
    pub cluster: Option<String>,
    /// The topic has several partitions, and its records are spread over them by keys that somebody else chose.
    pub is_spread: bool,
}

/// What Debezium's connector for PostgreSQL calls itself, and we do.
const CONNECTOR: &str = "postgresql";

/// Makes changes of the records of one partition, in their order.
#[derive(Clone, Debug)]
pub struct Decoder {
    tables: Vec<Table>,
    /// Places in `tables` by schema and name.
    by_name: HashMap<String, HashMap<String, usize>>,
    by_oid: HashMap<u32, usize>,
    schemas: Schemas,
    expected: Expected,
    history: Option<Arc<History>>,
    joiner: Joiner,
    unknown: BTreeMap<(usize, String), u64>,
    /// The records are rows of one table, without envelopes.
    rows: Option<Arc<Rows>>,
    /// The table of a topic with envelopes, whose rows tombstones delete.
    tombstones: Option<Arc<Rows>>,
    /// The key of the record before, if that was a delete.
    deleted: Option<Bytes>,
    /// Places in `tables` of those whose records are not read.
    passed_over: BTreeSet<usize>,
    /// The same of those whose records may be unreadable.
    compared: BTreeSet<usize>,
    /// Records of these from here on are as the catalog is, or it has changed.
    as_catalog: (BTreeSet<usize>, Lsn),
}

/// How a record's rows are read.
#[derive(Clone)]
enum Writer {
    /// We, with a schema block or without.
    Us { with_schema: bool },
    /// Debezium, with the fields of its schema block, if there is one.
    Debezium(Option<Arc<Fields>>),
}

impl Writer {
    /// Keys may have a schema block. Ours have one if the value has: else a key's columns may be called
    /// anything.
    fn may_wrap_keys(&self) -> bool {
        !matches!(self, Writer::Us { with_schema: false })
    }

    fn reading(&self, name: &str, by_column: Reading) -> Reading {
        match self {
            Writer::Us { with_schema: false } => Reading::Ours,
            Writer::Us { with_schema: true } => Reading::OursBySchema,
            Writer::Debezium(fields) => {
                let field = fields.as_ref().and_then(|fields| fields.get(name));
                field.map_or(by_column, |field| field.reading(by_column))
            }
        }
    }
}

impl Decoder {
    /// A decoder at the beginning of a partition, or at any place of it. Tables, columns and their
    /// types are the catalog's.
    pub fn new(catalog: &Catalog, options: DecodeOptions) -> Decoder {
        let types = types_of(catalog);
        let tables: Vec<Table> =
            catalog.tables.iter().map(|table| Table::new(table, &types, options)).collect();
        let mut by_name: HashMap<String, HashMap<String, usize>> = HashMap::new();
        for (index, table) in catalog.tables.iter().enumerate() {
            let in_schema = by_name.entry(table.name.schema.clone()).or_default();
            in_schema.insert(table.name.name.clone(), index);
        }
        let oids = catalog.tables.iter().map(|table| table.oid);
        Decoder {
            tables,
            by_name,
            by_oid: oids.zip(0..).collect(),
            schemas: Schemas::default(),
            expected: Expected::default(),
            history: None,
            joiner: Joiner::default(),
            unknown: BTreeMap::new(),
            rows: None,
            tombstones: None,
            deleted: None,
            passed_over: BTreeSet::new(),
            compared: BTreeSet::new(),
            as_catalog: Default::default(),
        }
    }

    /// The same for a topic whose records are all of one writer.
    #[must_use]
    pub fn expecting(self, expected: Expected) -> Decoder {
        Decoder { expected, ..self }
    }

    /// The same for a topic whose keys are spread over partitions: the delete and the insert of a key
    /// change, and each table of a TRUNCATE, are changes of their own.
    #[must_use]
    pub fn apart(mut self) -> Decoder {
        self.joiner.take_apart();
        self
    }

    /// The table as decoded changes describe it: all columns that can be sent.
    pub fn relation(&self, table: &TableName) -> Option<&Arc<Relation>> {
        self.table(&table.schema, &table.name).map(|index| &self.tables[index].relation)
    }

    /// What the next record says: one [`Decoded`], or two when what was held before it turns out
    /// to stand alone. The last one is always this record's.
    ///
    /// # Errors
    /// It is no envelope. The decoder is as it was before the record, so that a caller may pass it
    /// over.
    pub fn record(
        &mut self,
        record: &Record,
        decoded: &mut Vec<Decoded>,
    ) -> Result<(), DecodeError> {
        let next = match (self.rows.clone(), &record.value) {
            (Some(rows), _) => Next::Alone(self.row_alone(&rows, record)?),
            (None, None) => Next::Alone(self.tombstone(record)),
            (None, Some(value)) => self.value(value, record)?,
        };
        self.deleted = record.key.clone().filter(|_| next.is_delete());
        self.joiner.accept(next, decoded);
        Ok(())
    }

    /// What was held, when it is known that nothing follows: a delete of Debezium's, a cut change
    /// of ours.
    pub fn flush(&mut self, decoded: &mut Vec<Decoded>) {
        self.joiner.flush(decoded);
    }

    /// Something is held: after a restart the records since then are to be read again.
    pub fn is_holding(&self) -> bool {
        self.joiner.is_holding()
    }

    /// The columns that were passed over since the last time.
    pub fn take_unknown_columns(&mut self) -> Vec<UnknownColumn> {
        let columns = take(&mut self.unknown).into_iter().map(|((table, column), records)| {
            let relation = &self.tables[table].relation;
            let table = TableName::new(&relation.schema, &relation.name);
            UnknownColumn { table, column, records }
        });
        columns.collect()
    }

    fn table(&self, schema: &str, name: &str) -> Option<usize> {
        self.by_name.get(schema)?.get(name).copied()
    }

    fn value(&mut self, value: &Bytes, record: &Record) -> Result<Next, DecodeError> {
        let at = |root: &'static str| move |problem| error("value", root, problem);
        let outer = Json::parse(value).and_then(Json::object).map_err(at("$"))?;
        let (root, schema, object) = match (outer.get("schema"), outer.get("payload")) {
            (Some(schema), Some(payload)) => {
                if payload.is_null() {
                    return Ok(Next::Alone(Decoded::Tombstone));
                }
                let object = payload.object().map_err(at("$.payload"))?;
                ("$.payload", Some(schema).filter(|schema| !schema.is_null()), object)
            }
            _ => ("$", None, outer),
        };
        let fields = schema.map(|schema| self.schemas.fields(schema)).transpose();
        let writer = Writer::Debezium(fields.map_err(at("$.schema"))?);
        let Some(op) = object.read("op", Json::string).map_err(at(root))? else {
            return self.without_op(&object, record.key.as_ref()).map_err(at(root));
        };
        let source = object.require("source", Json::object).map_err(at(root))?;
        let block = Block::read(&source, self.history.as_ref());
        let block = block.map_err(|problem| error("value", root, problem.within("source")))?;
        let known = self.is_expected(&source, block.source.history.as_deref());
        known.map_err(|problem| error("value", root, problem.within("source")))?;
        let writer = if block.source.history.is_some() {
            let name = source.read("name", Json::string);
            let known = name.and_then(|name| self.is_of_publisher(name.as_deref()));
            known.map_err(|problem| error("value", root, problem.within("source")))?;
            self.history.clone_from(&block.source.history);
            Writer::Us { with_schema: schema.is_some() }
        } else {
            writer
        };
        if matches!(writer, Writer::Us { .. })
            && block.source.place.is_none()
            && !matches!(&*op, "r" | "m")
        {
            let problem = Problem::new("it is missing").within("commit_lsn").within("source");
            return Err(error("value", root, problem));
        }
        match &*op {
            "c" | "u" | "d" | "r" => self.row_of_table(&op, block, &object, writer, record, root),
            "t" => self
                .truncate(block)
                .map_err(|problem| error("value", root, problem.within("source"))),
            "m" => Ok(Next::Alone(Decoded::Message { source: block.source })),
            _ => {
                let problem = Problem::new("it is none of c, u, d, r, t and m").within("op");
                Err(error("value", root, problem))
            }
        }
    }

    /// The record is one of the writer that the topic is of.
    fn is_expected(&self, source: &Object<'_>, history: Option<&History>) -> Result<(), Problem> {
        let connector = source.read("connector", Json::string)?;
        if let Some(other) = connector.filter(|it| *it != CONNECTOR) {
            let what = format!("it is of another connector, {other}");
            return Err(Problem::new(what).within("connector"));
        }
        let database = source.read("db", Json::string)?;
        if let (Some(expected), Some(found)) = (&self.expected.database, database)
            && *expected != *found
        {
            let what = format!(
                "it is of another database, {found}, and the source is {expected}. If {found} was renamed, the record \
                 belongs here: give it the name back, by ALTER DATABASE"
            );
            return Err(Problem::new(what).within("db"));
        }
        self.has_history(history)
    }

    /// The pipeline that publishes to the topic has written the record. Another pipeline of the same
    /// cluster has positions of the same log: taken for ours, they would pass over what is not there.
    fn is_of_publisher(&mut self, name: Option<&str>) -> Result<(), Problem> {
        match (&self.expected.publisher, name) {
            (Some(expected), Some(found)) if expected != found => {
                let what = format!(
                    "the pipeline {found:?} has written it, and the topic is one of the pipeline {expected:?}"
                );
                return Err(Problem::new(what).within("name"));
            }
            (None, Some(found)) => self.expected.publisher = Some(found.to_owned()),
            _ => {}
        }
        Ok(())
    }

    /// The pipeline that publishes to the topic, once a record has named it.
    pub fn publisher(&self) -> Option<&str> {
        self.expected.publisher.as_deref()
    }

    fn has_history(&self, history: Option<&History>) -> Result<(), Problem> {
        match history {
            None if self.expected.is_ours => Err(Problem::new(
                "it is missing: `wal2graph publish` writes to this topic, and has not written this record",
            )
            .within("system_identifier")),
            _ => Ok(()),
        }
    }

    fn truncate(&self, block: Block<'_>) -> Result<Next, Problem> {
        let (schema, table) = block.table()?;
        let found = self.table_of(&block, schema, table);
        let relation = found.map(|table| self.tables[table].relation.clone());
        let (schema, table) = (schema.to_owned(), table.to_owned());
        let (source, part) = (block.source, block.truncate);
        Ok(Next::Truncate { source, relation, schema, table, part })
    }

    /// A row of the table at this place.
    fn row(
        &mut self,
        (index, op): (usize, &str),
        block: Block<'_>,
        object: &Object<'_>,
        writer: Writer,
        record: &Record,
        root: &'static str,
    ) -> Result<Next, DecodeError> {
        let at = |problem| error("value", root, problem);
        let (source, snapshot) = (block.source, block.snapshot);
        let relation = self.tables[index].relation.clone();
        let header = |name| record.headers.iter().find(|(it, _)| it == name).map(|(_, it)| it);
        let old = object.read("before", Json::object).map_err(at)?;
        let before = old.as_ref().map(|row| self.before(index, row, &writer)).transpose();
        let before = before.map_err(|problem| at(problem.within("before")))?;
        let key = record.key.as_ref();
        if op == "d" {
            let before = match (before, &old) {
                (Some(before), Some(old)) => {
                    self.is_of_key(index, key, old, &writer, true)?;
                    before
                }
                _ => self.key(index, key, "key", &writer)?,
            };
            let known = self.knows_row(index, &[tuple_of(&before)], &writer);
            known.map_err(|problem| at(problem.within("before")))?;
            if header(NEW_KEY_HEADER).is_some() {
                return Ok(Next::KeyChangeBegins { source, relation, before });
            }
            let change = Change::Delete { relation, before };
            return Ok(Next::Alone(Decoded::Change { source, change }));
        }
        let after = object.require("after", Json::object).map_err(at)?;
        let new = self.new_row(index, &after, &writer);
        let new = new.map_err(|problem| at(problem.within("after")))?;
        self.is_of_key(index, key, &after, &writer, false)?;
        let old = before.as_ref().map(tuple_of).unwrap_or_default();
        let known = self.knows_row(index, &[&*new, old], &writer);
        known.map_err(|problem| at(problem.within("after")))?;
        let change = match (op, header(OLD_KEY_HEADER)) {
            ("r", _) => {
                return Ok(Next::Alone(Decoded::Read { source, snapshot, relation, row: new }));
            }
            ("c", Some(old_key)) => {
                let old = self.old_key(index, old_key, &writer)?;
                return Ok(Next::KeyChangeEnds { source, relation, old, new });
            }
            ("c", None) => Change::Insert { relation, new },
            _ => {
                let before = before.unwrap_or(Before::Absent);
                Change::Update { relation, before, new }
            }
        };
        Ok(Next::Alone(Decoded::Change { source, change }))
    }

    /// The old key in a header. Connect writes headers in a form of its own, unless it is told to
    /// write JSON.
    fn old_key(
        &mut self,
        index: usize,
        header: &Bytes,
        writer: &Writer,
    ) -> Result<Option<Before>, DecodeError> {
        match (self.key(index, Some(header), OLD_KEY_HEADER, writer), writer) {
            (Err(_), Writer::Debezium(_)) => Ok(None),
            (old, _) => old.map(Some),
        }
    }

    /// A row as it is. What is missing of it was not sent.
    fn new_row(
        &mut self,
        index: usize,
        row: &Object<'_>,
        writer: &Writer,
    ) -> Result<Tuple, Problem> {
        let cells = self.cells(index, row, writer)?;
        self.has_keys(index, &cells, writer)?;
        Ok(cells.into_iter().map(|cell| cell.unwrap_or(Cell::Unchanged)).collect())
    }

    /// A row as it was: what the table's replica identity makes of it, since a writer may fill in
    /// columns that PostgreSQL did not send.
    fn before(
        &mut self,
        index: usize,
        row: &Object<'_>,
        writer: &Writer,
    ) -> Result<Before, Problem> {
        let cells = self.cells(index, row, writer)?;
        self.had_keys(index, &cells, writer)?;
        Ok(self.before_of(index, cells))
    }

    fn before_of(&self, index: usize, cells: Vec<Option<Cell>>) -> Before {
        let relation = &self.tables[index].relation;
        if relation.replica_identity == ReplicaIdentity::Full {
            let cells = cells.into_iter().map(|cell| cell.unwrap_or(Cell::Unchanged));
            return Before::Full(cells.collect());
        }
        let cells = cells.into_iter().zip(&relation.columns).map(|(cell, column)| {
            if column.identity { cell.unwrap_or(Cell::Unchanged) } else { Cell::Null }
        });
        Before::Key(cells.collect())
    }

    /// The cells of a row, in its relation's order; `None` where the row has none.
    fn cells(
        &mut self,
        index: usize,
        row: &Object<'_>,
        writer: &Writer,
    ) -> Result<Vec<Option<Cell>>, Problem> {
        let table = &self.tables[index];
        let mut cells = vec![None; table.columns.len()];
        let mut likely = 0;
        for (name, value) in &row.0 {
            let Some(place) = table.position(name, likely) else {
                let is_new = self.unknown.len() < MAX_UNKNOWN_COLUMNS;
                if !table.not_sent.contains(&**name) && !self.is_added(name) && is_new {
                    *self.unknown.entry((index, name.to_string())).or_default() += 1;
                }
                continue;
            };
            likely = place + 1;
            let column = &table.columns[place];
            let reading = writer.reading(name, column.reading);
            let cell = column.read(reading, *value);
            cells[place] = Some(cell.map_err(|problem| problem.within(name))?);
        }
        Ok(cells)
    }
}

fn tuple_of(before: &Before) -> &[Cell] {
    match before {
        Before::Absent => &[],
        Before::Key(tuple) | Before::Full(tuple) => tuple,
    }
}

fn error(part: &'static str, root: &'static str, problem: Problem) -> DecodeError {
    DecodeError { part, path: format!("{root}{}", problem.path), problem: problem.what }
}
