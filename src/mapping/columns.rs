//! How to read a table's columns: which columns, their types, and their places in a row event.

use crate::catalog::{FoundBy, TableName};
use crate::value::{Comparable, Type};

/// How to read the rows of one mapped table. The copy selects `columns` in this order; the stream
/// finds them by name.
#[derive(Clone, Debug, PartialEq)]
pub struct TableColumns {
    /// The table.
    pub name: TableName,
    /// Its object id at the time of mapping.
    pub oid: u32,
    /// Every column that is read, once.
    pub columns: Vec<MappedColumn>,
    /// The names of unmapped columns.
    pub left_out: Vec<String>,
    /// The columns that the stream carries, in its order: their names, and their types' object ids.
    pub sent: Vec<(String, u32)>,
    /// The parts of a [`crate::graph::Key`].
    pub key: Vec<Slot>,
    /// The cells of a [`crate::graph::Row`].
    pub properties: Vec<Slot>,
    /// The references of a [`crate::graph::Row`]. A join table's are its start and its end.
    pub references: Vec<ReferenceColumns>,
}

impl TableColumns {
    /// The columns by whose values the graph finds rows, but for those that other tables refer to.
    pub(super) fn found_by(&self) -> (TableName, FoundBy) {
        let name = |slot: &Slot| self.column(slot).name.clone();
        let references = self.references.iter().flat_map(|it| &it.slots);
        let key = self.key.iter().map(name).collect();
        (self.name.clone(), FoundBy { key, references: references.map(name).collect() })
    }

    /// The column that a slot reads.
    pub fn column(&self, slot: &Slot) -> &MappedColumn {
        &self.columns[slot.column]
    }
}

/// The name of an extra property for comparing a column's values, if its own property can not. Its
/// values are literals of the type that they compare as.
pub(super) fn comparable_name(property: &str) -> String {
    format!("_key_{property}")
}

/// A column that is read.
#[derive(Clone, Debug, PartialEq)]
pub struct MappedColumn {
    /// Its name.
    pub name: String,
    /// The name of its property.
    pub property: String,
    /// Its type's object id at the time of mapping.
    pub type_oid: u32,
    /// Its type, which decides the equality of its values.
    pub source_type: Type,
    /// Equal values have one text.
    pub has_one_text: bool,
    /// The type that its property is read as.
    pub value_type: Type,
}

/// The source of a value, and its form.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Index into [`TableColumns::columns`].
    pub column: usize,
    /// In which form.
    pub form: Form,
}

/// The form of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// In the form of the column's type.
    Property,
    /// In a form in which values are equal if PostgreSQL holds them equal: that of a key or unique
    /// column. It is the column itself or one that it refers to.
    Compared(Comparable),
}

/// The source of a reference.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceColumns {
    /// The parts of the target's key, or of its unique columns.
    pub slots: Vec<Slot>,
    /// The foreign key behind it, if any.
    pub constraint: Option<String>,
}
