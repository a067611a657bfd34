//! How the columns of a table are read: which, as which types, into which places of a row event.

use crate::catalog::TableName;
use crate::value::{Comparable, Type};

/// How the rows of one mapped table are read. The copy selects `columns` in this order; the stream
/// finds them by name.
#[derive(Clone, Debug, PartialEq)]
pub struct TableColumns {
    /// The table.
    pub name: TableName,
    /// Its object id when the mapping was made.
    pub oid: u32,
    /// Every column that is read, once.
    pub columns: Vec<MappedColumn>,
    /// The names of those that are not.
    pub left_out: Vec<String>,
    /// The parts of a [`crate::graph::Key`].
    pub key: Vec<Slot>,
    /// The cells of a [`crate::graph::Row`].
    pub properties: Vec<Slot>,
    /// The references of a [`crate::graph::Row`]: a join table's are its start and its end.
    pub references: Vec<ReferenceColumns>,
}

impl TableColumns {
    /// The column that a slot reads.
    pub fn column(&self, slot: &Slot) -> &MappedColumn {
        &self.columns[slot.column]
    }
}

/// The name of the property that holds what a column's values are compared by, where its own
/// property does not serve. Its values are literals of the type that they are compared as.
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
    /// Its type's object id when the mapping was made.
    pub type_oid: u32,
    /// Its type, which decides what its values equal.
    pub source_type: Type,
    /// What its text is read as for its property.
    pub value_type: Type,
}

/// Where a value comes from, and in which form it goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Index into [`TableColumns::columns`].
    pub column: usize,
    /// In which form.
    pub form: Form,
}

/// In which form a value goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// As the column's type says.
    Property,
    /// So that values which PostgreSQL holds equal are equal: as a key or unique column holds them,
    /// the column itself or one that it refers to.
    Compared(Comparable),
}

/// What a reference is read from.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceColumns {
    /// The parts of the target's key, or of its unique columns.
    pub slots: Vec<Slot>,
    /// The foreign key behind it, if there is one.
    pub constraint: Option<String>,
}
