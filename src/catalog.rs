//! The facts in a PostgreSQL catalog about tables. The mapping is inferred from them.
//!
//! ```text
//! pg_catalog  --postgres::catalog-->  Catalog  --mapping::compile-->  Mapping
//! ```
//!
//! This module has only facts, in PostgreSQL's terms; the mapping decides their meaning for a
//! graph. Columns have names, not numbers, everywhere: the stream and the user's file use names.

pub mod definition;

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    shown::{Shown, is_unseen},
    value::{CaseFolding, TypeFacts},
};

/// The user tables of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// All ordinary tables, partitioned tables and partitions, by name.
    pub tables: Vec<Table>,
    /// The types of their columns, and the component types of those.
    pub types: Vec<TypeFacts>,
    /// The database's case folding, if a column is `citext`.
    pub case_folding: CaseFolding,
}

impl Catalog {
    /// The table of that name.
    pub fn table(&self, name: &TableName) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == *name)
    }
}

/// A table's schema and name. Its text form is `schema.name` on one line, for people;
/// [`TableName::in_file`] is the form for a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// The schema.
    pub schema: String,
    /// The name within it.
    pub name: String,
}

impl TableName {
    /// The name of a table in a schema.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        TableName { schema: schema.into(), name: name.into() }
    }

    /// The name as an SQL expression.
    pub fn sql(&self) -> String {
        format!("{}.{}", quote_identifier(&self.schema), quote_identifier(&self.name))
    }

    /// The name for SQL, on one line: for statements that people paste.
    pub fn pasteable(&self) -> String {
        format!("{}.{}", pasteable(&self.schema), pasteable(&self.name))
    }

    /// The name in the file, metrics and the graph: `schema.name`. A part that contains a dot or a
    /// quote is quoted as in SQL.
    pub fn in_file(&self) -> String {
        format!("{}.{}", part(&self.schema), part(&self.name))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(&self.in_file()).fmt(f)
    }
}

/// The columns of a table by whose values a graph finds rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundBy {
    /// Those of the row's own key, which are never NULL.
    pub key: Vec<String>,
    /// Those that refer to other rows, and those that others refer to.
    pub references: Vec<String>,
}

fn part(part: &str) -> Cow<'_, str> {
    match part.contains(['.', '"']) {
        true => quote_identifier(part).into(),
        false => part.into(),
    }
}

/// Quotes an identifier for SQL. Any content is safe.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// An identifier for SQL, on one line: for statements that people paste. Invisible characters
/// become escapes, in the form `U&"..."`.
pub fn pasteable(name: &str) -> String {
    if !name.contains(is_unseen) {
        return quote_identifier(name);
    }
    let escaped = |it: char| match it {
        '\\' => "\\\\".to_owned(),
        // Characters of more than four digits can all be seen.
        it if is_unseen(it) => format!("\\{:04X}", u32::from(it)),
        it => it.to_string(),
    };
    format!("U&{}", quote_identifier(&name.chars().map(escaped).collect::<String>()))
}

/// Quotes a string for SQL. Any content is safe, under any `standard_conforming_strings`. The
/// character before it must not be a letter.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match quoted.contains('\\') {
        true => format!("E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

/// Quotes a string for a replication command, whose grammar has no escapes.
pub fn quote_replication_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A table, with everything that matters to a mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: TableName,
    /// Its object id.
    pub oid: u32,
    /// The kind of a table.
    pub kind: TableKind,
    /// Whether its changes reach the write-ahead log (it is not UNLOGGED).
    pub logged: bool,
    /// One of its partitions that is a foreign table: changes of the rows there reach no log of this server.
    pub foreign_partition: Option<ForeignPartition>,
    /// Its columns, in order. Dropped ones are not among them.
    pub columns: Vec<Column>,
    /// Its primary key.
    pub primary_key: Option<UniqueKey>,
    /// Its other unique indexes and constraints on plain columns.
    pub unique_keys: Vec<UniqueKey>,
    /// Its foreign keys, without those that exist only for a partition.
    pub foreign_keys: Vec<ForeignKey>,
    /// What an UPDATE or DELETE carries of the old row.
    pub replica_identity: ReplicaIdentity,
    /// The planner's estimate of its rows, partitions included; `None` if it was never analysed.
    #[serde(skip)]
    pub estimated_rows: Option<u64>,
    /// The planner's estimate of its pages on disk, partitions included.
    #[serde(skip)]
    pub pages: u64,
    /// Its comment.
    #[serde(skip)]
    pub comment: Option<String>,
    /// The restrictions of the chosen publication.
    pub published: Publication,
}

impl Table {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether all of `columns` exist and are NOT NULL.
    pub fn all_not_null<S: AsRef<str>>(&self, columns: &[S]) -> bool {
        columns.iter().all(|name| self.column(name.as_ref()).is_some_and(|column| column.not_null))
    }

    /// Whether the stream carries the column.
    pub fn streams(&self, column: &Column) -> bool {
        match &self.published.columns {
            Some(published) => published.contains(&column.name),
            None => !column.generated,
        }
    }

    /// The unique keys that identify every row at every moment: immediate, for all rows, never
    /// NULL. The primary key comes first if it is one of them.
    pub fn identifying_keys(&self) -> impl Iterator<Item = &UniqueKey> {
        let keys = self.primary_key.iter().chain(&self.unique_keys);
        keys.filter(|key| key.immediate && !key.partial && self.all_not_null(&key.columns))
    }

    /// Whether at most one row has the same values in these columns, at every moment. NULLs do not
    /// count.
    pub fn finds_one_row<S: AsRef<str>>(&self, columns: &[S]) -> bool {
        let mut keys = self.primary_key.iter().chain(&self.unique_keys);
        keys.any(|key| {
            let same = key.columns.len() == columns.len()
                && columns.iter().all(|name| key.columns.iter().any(|it| it == name.as_ref()));
            same && key.immediate && !key.partial
        })
    }

    /// The columns that the replica identity names; `None` under FULL, NOTHING, or if it has none.
    pub fn identity_columns(&self) -> Option<&[String]> {
        match &self.replica_identity {
            ReplicaIdentity::Default => {
                let key = self.primary_key.as_ref().filter(|key| key.immediate)?;
                Some(&key.columns)
            }
            ReplicaIdentity::Index { columns, .. } => Some(columns),
            ReplicaIdentity::Nothing | ReplicaIdentity::Full => None,
        }
    }
}

/// The kind of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableKind {
    /// A table with rows of its own.
    Ordinary,
    /// A partitioned table; its partitions have the rows.
    Partitioned,
    /// A partition (itself partitioned or not).
    Partition {
        /// The topmost partitioned table above it.
        root: TableName,
        /// It holds rows itself: it is not partitioned further.
        holds_rows: bool,
    },
}

/// A partition that is a foreign table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignPartition {
    /// Its name.
    pub name: TableName,
    /// What it is a partition of: the table, or a partition of the table.
    pub parent: TableName,
}

/// How a publication limits a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// The row filter, as an expression in SQL.
    pub row_filter: Option<String>,
    /// The column list; `None` publishes every column that is not generated.
    pub columns: Option<Vec<String>>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its number in the table, from 1.
    pub number: i16,
    /// Its type's object id.
    pub type_oid: u32,
    /// Its type's modifier (`atttypmod`), -1 when there is none.
    pub type_modifier: i32,
    /// Its type as SQL writes it: `numeric(12,2)`.
    pub type_name: String,
    /// It is declared NOT NULL (a primary key's columns are).
    pub not_null: bool,
    /// PostgreSQL computes it from others (GENERATED ALWAYS AS). The stream carries it only if
    /// PostgreSQL 18 is told to.
    pub generated: bool,
    /// Equal texts are equal bytes. False only under a nondeterministic collation.
    pub deterministic: bool,
}

/// A primary key, a unique constraint, or a unique index on plain columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UniqueKey {
    /// The index's name.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<String>,
    /// PostgreSQL checks it at once, row by row: it is not DEFERRABLE.
    pub immediate: bool,
    /// It holds only for rows that satisfy a condition.
    pub partial: bool,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// The constraint's name.
    pub name: String,
    /// The referring columns.
    pub columns: Vec<String>,
    /// The referenced table.
    pub target: TableName,
    /// The referenced columns, in the order of `columns`.
    pub target_columns: Vec<String>,
    /// The action for a DELETE of the referenced row.
    pub on_delete: ReferentialAction,
    /// The action for an UPDATE of the referenced columns.
    pub on_update: ReferentialAction,
    /// PostgreSQL may check it as late as the commit.
    pub deferrable: bool,
    /// It holds for all rows: it is neither NOT VALID nor NOT ENFORCED.
    pub validated: bool,
    /// Its last column is a PERIOD. The referenced rows cover it together, so equality does not
    /// apply.
    pub period: bool,
}

/// A foreign key's action when the referenced row is deleted or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReferentialAction {
    /// An error at the check.
    NoAction,
    /// An error at once.
    Restrict,
    /// The referring rows are deleted or changed too.
    Cascade,
    /// The referring columns become NULL.
    SetNull,
    /// The referring columns take their defaults.
    SetDefault,
}

/// What an UPDATE or DELETE carries of the old row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicaIdentity {
    /// The primary key's columns; nothing without a primary key.
    Default,
    /// Nothing.
    Nothing,
    /// All columns.
    Full,
    /// The columns of a unique index.
    Index {
        /// The index's name.
        name: String,
        /// Its columns.
        columns: Vec<String>,
    },
}
