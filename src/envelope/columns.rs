//! Columns with their types, and how other writers than us were told to write them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::{self, Catalog};
use crate::change::{Cell, Relation, RelationColumn, ReplicaIdentity};
use crate::value::{ColumnType, Comparable, Type, TypeCatalog, scale_of_modifier};

use super::json::{Json, Problem};
use super::options::{DecimalHandling, DecodeOptions, TimePrecision};
use super::read::{Reading, read_cell};
use super::temporal::Unit;

const BIT: u32 = 1560;
const BIT_VARYING: u32 = 1562;
const MONEY: u32 = 790;
/// Places of `money`, unless the database's locale has others.
const MONEY_SCALE: i64 = 2;
/// A precision up to which `adaptive` means milliseconds.
const MILLIS_PRECISION: i32 = 3;

/// A table of the catalog, as records have it.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub relation: Arc<Relation>,
    /// For each column of the relation, how it is read.
    pub columns: Vec<Column>,
    /// Columns of the catalog that no stream carries: they are passed over.
    pub not_sent: HashSet<String>,
}

/// A column to be read.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub r#type: Type,
    /// How Debezium writes it, if no schema says otherwise.
    pub reading: Reading,
    /// What the graph does with its values.
    pub role: Role,
    /// The type's name in PostgreSQL.
    pub type_name: String,
    /// How its values compare; `None` where that is not known.
    comparable: Option<Comparable>,
    /// What it makes of a value.
    column_type: ColumnType,
}

/// What the graph does with a column's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Role {
    /// It keeps them, whatever they are.
    #[default]
    Property,
    /// Other rows are found by them, or the row is by others.
    Reference,
    /// The row is found by them.
    Key,
}

impl Column {
    /// A value that somebody else wrote. Where rows are found by it, it has the form that the column gives it.
    pub fn read(&self, reading: Reading, value: Json<'_>) -> Result<Cell, Problem> {
        let cell = read_cell(&self.r#type, reading, value)?;
        let is_ours = matches!(reading, Reading::Ours | Reading::OursBySchema);
        Ok(match &cell {
            Cell::Text(text) if !is_ours && self.role != Role::Property => {
                match self.column_type.stored(text) {
                    Some(Cow::Owned(stored)) => Cell::Text(stored.into()),
                    Some(Cow::Borrowed(stored)) if stored.len() < text.len() => {
                        Cell::Text(Bytes::copy_from_slice(stored))
                    }
                    _ => cell,
                }
            }
            _ => cell,
        })
    }

    /// Whether a text is a value that the column can have.
    pub fn has(&self, text: &[u8]) -> bool {
        self.column_type.stored(text).is_some()
    }

    /// Whether two writings of a value may be of one row. In the row before a change, a writer fills in
    /// what PostgreSQL did not send.
    pub fn agree(&self, one: &Cell, other: &Cell, is_old: bool) -> bool {
        match (one, other) {
            (Cell::Text(one), Cell::Text(other)) if one == other => true,
            (Cell::Text(one), Cell::Text(other)) => self
                .comparable
                .as_ref()
                .is_none_or(|it| it.value(&self.r#type, one) == it.value(&self.r#type, other)),
            (Cell::Null, Cell::Text(_)) | (Cell::Text(_), Cell::Null) => is_old,
            _ => true,
        }
    }
}

impl Table {
    pub fn new(table: &catalog::Table, types: &TypeCatalog, options: DecodeOptions) -> Table {
        let (sent, not_sent): (Vec<_>, Vec<_>) =
            table.columns.iter().partition(|column| table.streams(column));
        let relation = Relation {
            oid: table.oid,
            schema: table.name.schema.clone(),
            name: table.name.name.clone(),
            replica_identity: replica_identity(&table.replica_identity),
            columns: sent.iter().map(|column| relation_column(table, column)).collect(),
            leaf: None,
        };
        let columns = sent.iter().map(|column| {
            let r#type = types.resolve(column.type_oid);
            let reading = reading(&r#type, column.type_oid, column.type_modifier, options);
            Column {
                reading,
                role: Role::default(),
                type_name: column.type_name.clone(),
                comparable: Comparable::of(&r#type, &r#type, false).ok(),
                column_type: types.column_type(column.type_oid, column.type_modifier),
                r#type,
            }
        });
        Table {
            columns: columns.collect(),
            relation: Arc::new(relation),
            not_sent: not_sent.into_iter().map(|column| column.name.clone()).collect(),
        }
    }

    /// The place of a column, which is mostly where it was last time.
    pub fn position(&self, name: &str, likely: usize) -> Option<usize> {
        let columns = &self.relation.columns;
        match columns.get(likely) {
            Some(column) if column.name == name => Some(likely),
            _ => columns.iter().position(|column| column.name == name),
        }
    }
}

fn replica_identity(identity: &catalog::ReplicaIdentity) -> ReplicaIdentity {
    match identity {
        catalog::ReplicaIdentity::Default => ReplicaIdentity::Default,
        catalog::ReplicaIdentity::Nothing => ReplicaIdentity::Nothing,
        catalog::ReplicaIdentity::Full => ReplicaIdentity::Full,
        catalog::ReplicaIdentity::Index { .. } => ReplicaIdentity::Index,
    }
}

fn relation_column(table: &catalog::Table, column: &catalog::Column) -> RelationColumn {
    let is_full = table.replica_identity == catalog::ReplicaIdentity::Full;
    let identity = table.identity_columns().unwrap_or_default();
    RelationColumn {
        name: column.name.clone(),
        type_oid: column.type_oid,
        type_modifier: column.type_modifier,
        identity: is_full || identity.contains(&column.name),
    }
}

/// The columns that key the records of a table; `None` if its records have no key.
pub fn record_key(table: &catalog::Table) -> Option<Vec<String>> {
    match &table.replica_identity {
        catalog::ReplicaIdentity::Default | catalog::ReplicaIdentity::Index { .. } => {
            table.identity_columns().filter(|key| !key.is_empty()).map(<[String]>::to_vec)
        }
        catalog::ReplicaIdentity::Full | catalog::ReplicaIdentity::Nothing => {
            key_without_identity(table)
        }
    }
}

/// The columns that key the records of a table whose replica identity does not say it.
pub(super) fn key_without_identity(table: &catalog::Table) -> Option<Vec<String>> {
    table.identifying_keys().next().map(|key| key.columns.clone())
}

/// The types that a catalog's columns have.
pub(super) fn types_of(catalog: &Catalog) -> TypeCatalog {
    TypeCatalog::new(catalog.types.iter().cloned()).with_case_folding(catalog.case_folding.clone())
}

/// How Debezium writes values of a type; of an array, its elements.
fn reading(r#type: &Type, oid: u32, modifier: i32, options: DecodeOptions) -> Reading {
    let element = match r#type {
        Type::Array { element, .. } => element,
        other => other,
    };
    match element {
        Type::Date => Reading::Days,
        Type::Time | Type::TimeTz => Reading::TimeOfDay(time_unit(modifier, options)),
        Type::Timestamp | Type::TimestampTz => Reading::Instant(timestamp_unit(modifier, options)),
        Type::Interval => Reading::Length(Unit::Micros),
        Type::Numeric(_) if options.decimal_handling == DecimalHandling::Precise => {
            Reading::Decimal(scale_of_modifier(modifier))
        }
        _ if oid == MONEY && options.decimal_handling == DecimalHandling::Precise => {
            Reading::Decimal(Some(MONEY_SCALE))
        }
        Type::Bytes => Reading::Bytes(options.binary_handling),
        _ if oid == BIT => Reading::Bits(usize::try_from(modifier).ok()),
        _ if oid == BIT_VARYING => Reading::Bits(None),
        _ => Reading::Plain,
    }
}

fn time_unit(precision: i32, options: DecodeOptions) -> Unit {
    match options.time_precision {
        TimePrecision::AdaptiveTimeMicroseconds => Unit::Micros,
        _ => timestamp_unit(precision, options),
    }
}

/// The modifier of times and timestamps is their precision; without one it is 6.
fn timestamp_unit(precision: i32, options: DecodeOptions) -> Unit {
    match options.time_precision {
        TimePrecision::Connect => Unit::Millis,
        TimePrecision::Nanoseconds => Unit::Nanos,
        TimePrecision::Adaptive | TimePrecision::AdaptiveTimeMicroseconds
            if (0..=MILLIS_PRECISION).contains(&precision) =>
        {
            Unit::Millis
        }
        _ => Unit::Micros,
    }
}
