//! Rows and keys of one table, as JSON.

use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::TableName;
use crate::change::{Before, Cell, Relation};
use crate::value::Type;

use super::connect::{Field, Form, Frame, envelope_frame, key_frame};
use super::encode::EncodeError;
use super::fields::Fields;
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
    /// How schema blocks say each column; `None` without such blocks.
    pub forms: Option<Vec<Form>>,
}

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
        let table = format!("{pipeline}.{schema}.{name}");
        let types = self.types.iter().zip(columns);
        let forms: Vec<Form> = types.map(|(it, column)| Form::of(it, column.type_oid)).collect();
        let field = |place: usize, optional| Field {
            name: &columns[place].name,
            form: forms[place],
            optional,
        };
        let key = self.key.iter().flatten().map(|&place| field(place, false));
        let key: Vec<Field<'_>> = key.collect();
        // An old row may have its key only.
        let row: Vec<Field<'_>> = (0..columns.len()).map(|place| field(place, true)).collect();
        self.key_frame = key_frame(&table, &key);
        self.envelope_frame = envelope_frame(&table, &row);
        self.forms = Some(forms);
        self
    }

    pub fn table(&self) -> TableName {
        TableName::new(&self.relation.schema, &self.relation.name)
    }

    /// The row's key as JSON. An unchanged column of it is taken from the old row.
    pub fn key(&self, row: &[Cell], old: Option<&[Cell]>) -> Result<Option<Bytes>, EncodeError> {
        let Some(places) = &self.key else { return Ok(None) };
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
                    Cell::Text(text) => self.write_text(place, text, out)?,
                    Cell::Unchanged => {
                        let (table, column) = (self.table(), self.column(place));
                        return Err(EncodeError::KeyNotSent { table, column });
                    }
                }
            }
            fields.close();
            Ok(())
        });
        Ok(Some(key?.into()))
    }

    fn column(&self, place: usize) -> String {
        self.relation.columns[place].name.clone()
    }

    fn write_text(&self, place: usize, text: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        write_value(&self.types[place], text, out);
        match &self.forms {
            Some(forms) if !forms[place].fits(&out[start..]) => Err(self.no_form(place)),
            _ => Ok(()),
        }
    }

    fn write_unavailable(&self, place: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match (&self.types[place], &self.forms) {
            (Type::Array { .. }, Some(forms)) => {
                let form = forms[place].unavailable().ok_or_else(|| self.no_form(place))?;
                out.extend_from_slice(&form);
            }
            (r#type, _) => write_unavailable(r#type, out),
        }
        Ok(())
    }

    fn no_form(&self, place: usize) -> EncodeError {
        EncodeError::NoForm { table: self.table(), column: self.column(place) }
    }

    pub fn write_row(&self, image: Image<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let (Image::Key(row) | Image::Old(row) | Image::New(row)) = image else {
            out.extend_from_slice(b"null");
            return Ok(());
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
                    self.write_unavailable(place, fields.raw_name(&self.names[place]))?;
                }
                (_, _) if left_out => {}
                (_, Cell::Text(text)) => {
                    self.write_text(place, text, fields.raw_name(&self.names[place]))?;
                }
                (_, _) => fields.raw_name(&self.names[place]).extend_from_slice(b"null"),
            }
        }
        fields.close();
        Ok(())
    }
}
