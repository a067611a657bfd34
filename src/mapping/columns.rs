//! How the columns of a table are read: which, as which types, into which places of a row event.

use crate::catalog::TableName;
use crate::value::Type;

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

/// A column that is read.
#[derive(Clone, Debug, PartialEq)]
pub struct MappedColumn {
    /// Its name.
    pub name: String,
    /// Its type's object id when the mapping was made.
    pub type_oid: u32,
    /// What its text is read as.
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
    /// So that values which PostgreSQL holds equal are equal.
    Key,
    /// As the key of another table would hold it, whose column has this type.
    Reference(Type),
}

impl Form {
    /// The form of a column of one type that refers to a column of another.
    pub(super) fn of_reference(own: &Type, target: Type) -> Self {
        if *own == target { Form::Key } else { Form::Reference(target) }
    }
}

/// What a reference is read from.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceColumns {
    /// The parts of the target's key, or of its unique columns.
    pub slots: Vec<Slot>,
    /// The foreign key behind it, if there is one.
    pub constraint: Option<String>,
}
