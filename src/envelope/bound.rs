//! Rows and keys of one table, as JSON.

use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::TableName;
use crate::change::{Before, Cell, Relation};
use crate::value::Type;

use super::UNAVAILABLE_VALUE;
use super::connect::{Field, Form, Frame, Odd, envelope_frame, key_frame, payload};
use super::error::EncodeError;
use super::fields::Fields;
use super::json::write_string;
use super::write::{write_unavailable, write_value};

/// A relation, with what does not change from one record to the next.
#[derive(Debug)]
pub(super) struct Bound {
    pub relation: Arc<Relation>,
    pub types: Vec<Type>,
    /// Each column's name as JSON, with its colon.
    pub names: Vec<Vec<u8>>,
    /// The places of the key's columns; `None` without a key.
    pub key: Option<Vec<usize>>,
    /// What stands around keys and envelopes.
    pub key_frame: Frame,
    pub envelope_frame: Frame,
    /// What schema blocks say; `None` without such blocks.
    pub schemas: Option<Schemas>,
}

/// What the schema blocks of a table say.
#[derive(Debug)]
pub(super) struct Schemas {
    /// The pipeline, the schema and the table.
    table: String,
    /// How each column is said.
    forms: Vec<Form>,
}

/// The columns of a row whose values are not in their form, by their places.
pub(super) type Odds = Vec<(usize, Odd)>;

/// A row in an envelope.
#[derive(Clone, Copy)]
pub(super) enum Image<'a> {
    None,
    /// The identity's columns only.
    Key(&'a [Cell]),
    /// An old row. What is unchanged is left out.
    Old(&'a [Cell]),
    /// A new row. What is unchanged is a placeholder.
    New(&'a [Cell]),
}

impl<'a> From<&'a Before> for Image<'a> {
    fn from(before: &'a Before) -> Self {
        match before {
            Before::Absent => Image::None,
            Before::Key(row) => Image::Key(row),
            Before::Full(row) => Image::Old(row),
        }
    }
}

impl Bound {
    /// The same with schema blocks, for the records of a pipeline.
    pub fn with_schemas(mut self, pipeline: &str) -> Bound {
        let Relation { schema, name, columns, .. } = &*self.relation;
        let types = self.types.iter().zip(columns);
        let forms = types.map(|(it, column)| Form::of(it, column.type_oid)).collect();
        self.schemas = Some(Schemas { table: format!("{pipeline}.{schema}.{name}"), forms });
        self.key_frame = self.key_frame_of(&[]);
        self.envelope_frame = self.envelope_frame_of([&[], &[]]);
        self
    }

    /// What stands around a key of which these columns are not in their form.
    fn key_frame_of(&self, odds: &[(usize, Odd)]) -> Frame {
        let Some(schemas) = &self.schemas else { return Frame::default() };
        let key = self.key.iter().flatten().map(|&place| self.field(schemas, place, false, odds));
        key_frame(&schemas.table, &key.collect::<Vec<_>>())
    }

    /// What stands around an envelope; of the row before and the one after it, these columns are not in
    /// their form.
    fn envelope_frame_of(&self, odds: [&[(usize, Odd)]; 2]) -> Frame {
        let Some(schemas) = &self.schemas else { return Frame::default() };
        // An old row may have its key only.
        let row = |odds| -> Vec<Field<'_>> {
            let places = 0..self.relation.columns.len();
            places.map(|place| self.field(schemas, place, true, odds)).collect()
        };
        let [before, after] = odds.map(row);
        envelope_frame(&schemas.table, [&before, &after])
    }

    fn field<'a>(
        &'a self,
        schemas: &Schemas,
        place: usize,
        optional: bool,
        odds: &[(usize, Odd)],
    ) -> Field<'a> {
        let name = &self.relation.columns[place].name;
        let field = Field { name, form: schemas.forms[place], optional };
        match odds.iter().find(|(odd, _)| *odd == place) {
            Some((_, odd)) => field.written(*odd),
            None => field,
        }
    }

    /// An envelope that was written in the frame of all, whose rows have values that are not in their form.
    pub fn framed_anew(&self, envelope: Vec<u8>, odds: [&[(usize, Odd)]; 2]) -> Vec<u8> {
        if odds.iter().all(|odds| odds.is_empty()) {
            return envelope;
        }
        self.envelope_frame_of(odds).around(|out| out.extend_from_slice(payload(&envelope)))
    }

    pub fn table(&self) -> TableName {
        TableName::new(&self.relation.schema, &self.relation.name)
    }

    /// The row's key as JSON. An unchanged column of it is taken from the old row.
    pub fn key(&self, row: &[Cell], old: Option<&[Cell]>) -> Result<Option<Bytes>, EncodeError> {
        let Some(places) = &self.key else { return Ok(None) };
        let mut odds = Odds::new();
        let key = self.key_frame.try_around(|out| {
            let mut fields = Fields::open(out);
            for &place in places {
                let cell = match &row[place] {
                    Cell::Unchanged => old.map_or(&Cell::Unchanged, |old| &old[place]),
                    sent => sent,
                };
                let out = fields.raw_name(&self.names[place]);
                match cell {
                    Cell::Null => out.extend_from_slice(b"null"),
                    Cell::Text(text) => self.write_text(place, text, out, &mut odds),
                    Cell::Unchanged => {
                        let (table, column) = (self.table(), self.column(place));
                        return Err(EncodeError::KeyNotSent { table, column });
                    }
                }
            }
            fields.close();
            Ok(())
        })?;
        let key = match odds.is_empty() {
            true => key,
            false => self.key_frame_of(&odds).around(|out| out.extend_from_slice(payload(&key))),
        };
        Ok(Some(key.into()))
    }

    fn column(&self, place: usize) -> String {
        self.relation.columns[place].name.clone()
    }

    fn write_text(&self, place: usize, text: &[u8], out: &mut Vec<u8>, odds: &mut Odds) {
        let start = out.len();
        write_value(&self.types[place], text, out);
        let Some(schemas) = &self.schemas else { return };
        let Some(odd) = schemas.forms[place].odd(&out[start..]) else { return };
        if odd == Odd::Text
            && let Ok(text) = std::str::from_utf8(text)
        {
            out.truncate(start);
            write_string(text, out);
        }
        odds.push((place, odd));
    }

    fn write_unavailable(&self, place: usize, out: &mut Vec<u8>, odds: &mut Odds) {
        match (&self.types[place], &self.schemas) {
            (Type::Array { .. }, Some(schemas)) => match schemas.forms[place].unavailable() {
                Some(form) => out.extend_from_slice(&form),
                None => {
                    write_string(UNAVAILABLE_VALUE, out);
                    odds.push((place, Odd::Text));
                }
            },
            (r#type, _) => write_unavailable(r#type, out),
        }
    }

    /// Writes a row; which of its columns are not in their form.
    pub fn write_row(&self, image: Image<'_>, out: &mut Vec<u8>) -> Odds {
        let mut odds = Odds::new();
        let (Image::Key(row) | Image::Old(row) | Image::New(row)) = image else {
            out.extend_from_slice(b"null");
            return odds;
        };
        let columns = &self.relation.columns;
        assert_eq!(row.len(), columns.len(), "a tuple has one cell for each column");
        let mut fields = Fields::open(out);
        for (place, cell) in row.iter().enumerate() {
            let left_out = match image {
                Image::Key(_) => !columns[place].identity || *cell == Cell::Unchanged,
                _ => *cell == Cell::Unchanged,
            };
            match (image, cell) {
                (Image::New(_), Cell::Unchanged) => {
                    self.write_unavailable(place, fields.raw_name(&self.names[place]), &mut odds);
                }
                (_, _) if left_out => {}
                (_, Cell::Text(text)) => {
                    self.write_text(place, text, fields.raw_name(&self.names[place]), &mut odds);
                }
                (_, _) => fields.raw_name(&self.names[place]).extend_from_slice(b"null"),
            }
        }
        fields.close();
        odds
    }
}
