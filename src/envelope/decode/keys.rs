//! Keys: values that their columns can have, and one row in a record's key and its value.
//!
//! ```text
//! key {"id": 3}   value {"id": 3, "name": "Ann"}     a row
//! key {"id": 3}   value {"id": 4, "name": "Ann"}     two rows: unreadable
//! key {"a": 1}    value {"id": 3, "name": "Ann"}     another column keys the topic (message.key.columns)
//! value {"id": "x"}, and id is an integer            no row has this key: unreadable
//! ```
//!
//! Where key and value disagree, one of them would be written as the other's row. Debezium takes both from
//! one row, whatever columns key the topic: a change of the key is a delete and an insert, each with its own.
//! So they are compared where both have a column, and nowhere else.
//!
//! A property takes any text. A key that its column can not have would be a node that no row ever is, so it
//! makes the record unreadable. Our own records have what PostgreSQL sent.

use bytes::Bytes;

use crate::catalog::{FoundBy, TableName};
use crate::change::{Before, Cell, RelationColumn, ReplicaIdentity};

use super::super::columns::{Role, Table};
use super::super::json::{Json, Object, Problem};
use super::{DecodeError, Decoder, Writer, error};

/// Whether all records of a row are in one partition: their key has columns of the row's key, and no other ones.
fn has_order(table: &Table, key: &Object<'_>) -> bool {
    let columns = key.0.iter().filter_map(|(name, _)| table.position(name, 0));
    let mut roles = columns.map(|place| table.columns[place].role).peekable();
    roles.peek().is_some() && roles.all(|role| role == Role::Key)
}

fn no_order() -> Problem {
    Problem::new(
        "the topic has several partitions, and this key is not made of columns of the row's key alone: records of \
         one row may be in two partitions, where nothing tells which one is newer. Let the publisher take the row's \
         key for the record's, or write to a topic with one partition",
    )
}

/// The columns that a record's key names, with their values.
type Named = Vec<(usize, Cell)>;

impl Decoder {
    /// The same for a graph that finds rows by these columns: a record whose value there is none of the
    /// column's is unreadable.
    #[must_use]
    pub fn with_keys(mut self, tables: &[(TableName, FoundBy)]) -> Decoder {
        for (name, columns) in tables {
            let Some(index) = self.table(&name.schema, &name.name) else { continue };
            let table = &mut self.tables[index];
            // A column may be both.
            for (names, role) in [(&columns.references, Role::Reference), (&columns.key, Role::Key)]
            {
                for name in names {
                    if let Some(place) = table.position(name, 0) {
                        table.columns[place].role = role;
                    }
                }
            }
        }
        self
    }

    /// The row that a key names.
    pub(super) fn key(
        &mut self,
        index: usize,
        key: Option<&Bytes>,
        part: &'static str,
        writer: &Writer,
    ) -> Result<Before, DecodeError> {
        let Some(key) = key else {
            let problem = Problem::new("it is missing, or null, and the record has no key");
            return Err(error("value", "$", problem.within("before")));
        };
        let at = |problem| error(part, "$", problem);
        let outer = Json::parse(key).and_then(Json::object).map_err(at)?;
        let (row, writer, root) = self.of_key(outer, writer).map_err(at)?;
        self.before(index, &row, &writer).map_err(|problem| error(part, root, problem))
    }

    /// The row in a key, how it is read, and where it is.
    fn of_key<'a>(
        &mut self,
        outer: Object<'a>,
        writer: &Writer,
    ) -> Result<(Object<'a>, Writer, &'static str), Problem> {
        let block = (outer.get("schema"), outer.get("payload"), outer.0.len());
        let (Some(schema), Some(payload), 2) = block else {
            return Ok((outer, writer.clone(), "$"));
        };
        // Columns may be called so; none of them is an object.
        let is_block = schema.is_null() || schema.object().is_ok();
        if !is_block || !writer.may_wrap_keys() {
            return Ok((outer, writer.clone(), "$"));
        }
        let writer = match writer {
            Writer::Us { .. } => writer.clone(),
            Writer::Debezium(_) if schema.is_null() => writer.clone(),
            Writer::Debezium(_) => {
                let fields = self.schemas.fields(schema).map_err(|it| it.within("schema"))?;
                Writer::Debezium(Some(fields))
            }
        };
        let row = payload.object().map_err(|it| it.within("payload"))?;
        Ok((row, writer, "$.payload"))
    }

    /// Key and value of a record with an envelope are of one row. A key that is no object, as another
    /// converter than JSON's writes it, names no column.
    pub(super) fn is_of_key(
        &mut self,
        index: usize,
        key: Option<&Bytes>,
        row: &Object<'_>,
        writer: &Writer,
        is_old: bool,
    ) -> Result<(), DecodeError> {
        let outer = key.map(|key| Json::parse(key).and_then(Json::object));
        let at = |problem| error("key", "$", problem);
        let Some(Ok(outer)) = outer else {
            return if self.expected.is_spread { Err(at(no_order())) } else { Ok(()) };
        };
        let (of_key, key_writer, root) = self.of_key(outer, writer).map_err(at)?;
        let table = &self.tables[index];
        if self.expected.is_spread && !has_order(table, &of_key) {
            return Err(at(no_order()));
        }
        let mut named = Named::new();
        for (name, value) in &of_key.0 {
            let Some(place) = table.position(name, named.len()) else { continue };
            let column = &table.columns[place];
            let cell = column.read(key_writer.reading(name, column.reading), *value);
            let cell = cell.map_err(|problem| error("key", root, problem.within(name)))?;
            named.push((place, cell));
        }
        self.is_one_row(index, named, row, writer, is_old)
            .map_err(|problem| error("key", root, problem))
    }

    /// The row has the values that the record's key has.
    pub(super) fn is_one_row(
        &self,
        index: usize,
        named: impl IntoIterator<Item = (usize, Cell)>,
        row: &Object<'_>,
        writer: &Writer,
        is_old: bool,
    ) -> Result<(), Problem> {
        let table = &self.tables[index];
        for (place, of_key) in named {
            let (column, name) = (&table.columns[place], &table.relation.columns[place].name);
            let Some(value) = row.get(name) else { continue };
            let of_row = column.read(writer.reading(name, column.reading), value);
            let agree = match of_row {
                Ok(of_row) => column.agree(&of_key, &of_row, is_old),
                // Who reads the row says what is wrong.
                Err(_) => !is_old,
            };
            if !agree {
                let what = "the row has another value, so key and value are of two rows";
                return Err(Problem::new(what).within(name));
            }
        }
        Ok(())
    }

    /// What the graph finds rows by are values of their columns.
    pub(super) fn has_keys(
        &self,
        index: usize,
        cells: &[Option<Cell>],
        writer: &Writer,
    ) -> Result<(), Problem> {
        if matches!(writer, Writer::Us { .. }) {
            return Ok(());
        }
        let table = &self.tables[index];
        for ((cell, column), relation) in
            cells.iter().zip(&table.columns).zip(&table.relation.columns)
        {
            let what = match (cell, column.role) {
                (_, Role::Property) => continue,
                (Some(Cell::Null), Role::Key) => {
                    "it is null, and the row is found by it".to_owned()
                }
                (Some(Cell::Text(text)), _) if !column.has(text) => format!(
                    "it is no value of {}, and rows are found by it. If the column's type has changed since: start \
                     `wal2graph apply` again, which reads it at its start",
                    column.type_name
                ),
                _ => continue,
            };
            return Err(Problem::new(what).within(&relation.name));
        }
        Ok(())
    }

    /// The same of a row as it was, of which a writer may have filled in all but the replica identity.
    pub(super) fn had_keys(
        &self,
        index: usize,
        cells: &[Option<Cell>],
        writer: &Writer,
    ) -> Result<(), Problem> {
        let relation = &self.tables[index].relation;
        let is_ours = matches!(writer, Writer::Us { .. });
        if is_ours || relation.replica_identity == ReplicaIdentity::Full {
            return self.has_keys(index, cells, writer);
        }
        let cells = cells.iter().zip(&relation.columns);
        let sent = |(cell, column): (&Option<Cell>, &RelationColumn)| {
            cell.clone().filter(|_| column.identity)
        };
        self.has_keys(index, &cells.map(sent).collect::<Vec<_>>(), writer)
    }

    /// A record says which row it is of: one of these tuples has each column of the row's key.
    pub(super) fn knows_row(
        &self,
        index: usize,
        tuples: &[&[Cell]],
        writer: &Writer,
    ) -> Result<(), Problem> {
        let table = &self.tables[index];
        let has =
            |place: usize| tuples.iter().any(|it| matches!(it.get(place), Some(Cell::Text(_))));
        let is_key = |place: &usize| table.columns[*place].role == Role::Key;
        let missing = (0..table.columns.len()).filter(is_key).find(|place| !has(*place));
        match missing.filter(|_| !matches!(writer, Writer::Us { .. })) {
            None => Ok(()),
            Some(place) => {
                let problem = Problem::new("it is missing, and the row is found by it");
                Err(problem.within(&table.relation.columns[place].name))
            }
        }
    }
}
