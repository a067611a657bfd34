//! Rows and keys of one table, as JSON.

use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::TableName;
use crate::change::{Before, Cell, Relation};
use crate::value::Type;

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
    pub fn table(&self) -> TableName {
        TableName::new(&self.relation.schema, &self.relation.name)
    }

    /// The row's key as JSON. An unchanged column of it is taken from the old row.
    pub fn key(&self, row: &[Cell], old: Option<&[Cell]>) -> Result<Option<Bytes>, EncodeError> {
        let Some(places) = &self.key else { return Ok(None) };
        let mut key = Vec::new();
        let mut fields = Fields::open(&mut key);
        for &place in places {
            let cell = match &row[place] {
                Cell::Unchanged => old.map_or(&Cell::Unchanged, |old| &old[place]),
                sent => sent,
            };
            let out = fields.raw_name(&self.names[place]);
            match cell {
                Cell::Null => out.extend_from_slice(b"null"),
                Cell::Text(text) => write_value(&self.types[place], text, out),
                Cell::Unchanged => {
                    let column = self.relation.columns[place].name.clone();
                    return Err(EncodeError::KeyNotSent { table: self.table(), column });
                }
            }
        }
        fields.close();
        Ok(Some(key.into()))
    }

    pub fn write_row(&self, image: Image<'_>, out: &mut Vec<u8>) {
        let (Image::Key(row) | Image::Old(row) | Image::New(row)) = image else {
            return out.extend_from_slice(b"null");
        };
        let columns = &self.relation.columns;
        assert_eq!(row.len(), columns.len(), "a tuple has one cell for each column");
        let mut fields = Fields::open(out);
        for (place, cell) in row.iter().enumerate() {
            let r#type = &self.types[place];
            let left_out = match image {
                Image::Key(_) => !columns[place].identity || *cell == Cell::Unchanged,
                _ => *cell == Cell::Unchanged,
            };
            match (image, cell) {
                (Image::New(_), Cell::Unchanged) => {
                    write_unavailable(r#type, fields.raw_name(&self.names[place]));
                }
                (_, _) if left_out => {}
                (_, Cell::Text(text)) => {
                    write_value(r#type, text, fields.raw_name(&self.names[place]));
                }
                (_, _) => fields.raw_name(&self.names[place]).extend_from_slice(b"null"),
            }
        }
        fields.close();
    }
}
