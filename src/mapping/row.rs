//! Reads one row's text into its key, properties and references. Copy and stream share it.
//!
//! ```text
//! column -> Raw  --slots of the plan-->  Key + Row
//! ```

use crate::graph::{Cell, Key, Reference, Row};
use crate::value::Value;

use super::columns::{Form, Slot, TableColumns};
use super::error::TranslateError;
use super::notice::Counts;

/// A column's value before it has a type.
#[derive(Clone, Copy)]
pub(super) enum Raw<'a> {
    Null,
    Unchanged,
    Text(&'a [u8]),
}

/// Reads rows of one table.
pub(super) struct RowReader<'a> {
    pub columns: &'a TableColumns,
    pub counts: &'a mut [Counts],
}

impl RowReader<'_> {
    /// The row's key. Every part must be present.
    pub fn key<'r>(&mut self, cell: impl Fn(usize) -> Raw<'r>) -> Result<Key, TranslateError> {
        let part = |slot: &Slot| {
            let place = || (self.columns.name.clone(), self.columns.column(slot).name.clone());
            match cell(slot.column) {
                Raw::Text(text) => self.comparable(slot, text).ok_or_else(|| {
                    let (table, column) = place();
                    TranslateError::NoKey { table, column }
                }),
                Raw::Null => {
                    let (table, column) = place();
                    Err(TranslateError::KeyIsNull { table, column })
                }
                Raw::Unchanged => {
                    let (table, column) = place();
                    Err(TranslateError::KeyNotSent { table, column })
                }
            }
        };
        let parts: Result<Box<[Value]>, TranslateError> =
            self.columns.key.iter().map(part).collect();
        let parts = parts?;
        for (slot, value) in self.columns.key.iter().zip(&parts) {
            if let Form::Compared(with) = &slot.form
                && with.is_fallback(value)
            {
                self.counts[slot.column].fallback += 1;
            }
        }
        Ok(Key(parts))
    }

    /// Everything else of the row. Any text gives a value.
    pub fn row<'r>(&mut self, cell: impl Fn(usize) -> Raw<'r>) -> Row {
        let columns = self.columns;
        let properties = columns.properties.iter().map(|slot| match cell(slot.column) {
            Raw::Null => Cell::Null,
            Raw::Unchanged => Cell::Unchanged,
            Raw::Text(text) => match slot.form {
                Form::Property => Cell::Value(self.property(slot, text)),
                Form::Compared(_) => self.comparable(slot, text).map_or(Cell::Null, Cell::Value),
            },
        });
        let properties = properties.collect();
        let references = columns.references.iter().map(|it| self.reference(&it.slots, &cell));
        let references = references.collect();
        Row { properties, references }
    }

    fn property(&mut self, slot: &Slot, text: &[u8]) -> Value {
        let conversion = self.columns.column(slot).value_type.parse(text);
        if conversion.is_fallback() {
            self.counts[slot.column].fallback += 1;
        }
        conversion.into_value()
    }

    fn reference<'r>(&mut self, slots: &[Slot], cell: &impl Fn(usize) -> Raw<'r>) -> Reference {
        let cells = || slots.iter().map(|slot| (slot, cell(slot.column)));
        if cells().any(|(_, raw)| matches!(raw, Raw::Null)) {
            return Reference::Null;
        }
        if let Some((slot, _)) = cells().find(|(_, raw)| matches!(raw, Raw::Unchanged)) {
            if cells().any(|(_, raw)| matches!(raw, Raw::Text(_))) {
                self.counts[slot.column].partly_unchanged += 1;
            }
            return Reference::Unchanged;
        }
        let mut values = Vec::with_capacity(slots.len());
        for (slot, raw) in cells() {
            let Raw::Text(text) = raw else { unreachable!("neither NULL nor unchanged") };
            match self.comparable(slot, text) {
                Some(value) => values.push(value),
                None => {
                    self.counts[slot.column].no_target += 1;
                    return Reference::Null;
                }
            }
        }
        Reference::To(Key(values.into()))
    }

    /// `None`: the value equals no value that it is compared with.
    fn comparable(&self, slot: &Slot, text: &[u8]) -> Option<Value> {
        let column = self.columns.column(slot);
        match &slot.form {
            Form::Property => Some(column.value_type.parse(text).into_value()),
            Form::Compared(with) => with.value(&column.source_type, text),
        }
    }
}
