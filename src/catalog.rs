//! What a PostgreSQL catalog says about tables: the facts a mapping is inferred from.
//!
//! ```text
//! pg_catalog  --postgres::catalog-->  Catalog  --mapping::compile-->  Mapping
//! ```
//!
//! Only facts are here, in PostgreSQL's words; what they mean for a graph is the mapping's
//! business. Columns are named, not numbered, everywhere: names are what the stream and the user's
//! file carry.

use std::{borrow::Cow, fmt};

use crate::{
    shown::{Shown, is_unseen},
    value::{CaseFolding, TypeFacts},
};

/// The user tables of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// All ordinary tables, partitioned tables and partitions, by name.
    pub tables: Vec<Table>,
    /// Every type that their columns have, and the types those are made of.
    pub types: Vec<TypeFacts>,
    /// How the database folds case, if a column is `citext`.
    pub case_folding: CaseFolding,
}

impl Catalog {
    /// The table of that name.
    pub fn table(&self, name: &TableName) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == *name)
    }
}

/// A table's schema and name. Its text form is `schema.name`, for people: as the file has it
/// ([`TableName::in_file`]), but on one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

    /// The name as SQL takes it.
    pub fn sql(&self) -> String {
        format!("{}.{}", quote_identifier(&self.schema), quote_identifier(&self.name))
    }

    /// The name as SQL takes it, on one line: for statements that people paste.
    pub fn pasteable(&self) -> String {
        format!("{}.{}", pasteable(&self.schema), pasteable(&self.name))
    }

    /// The name as the file, metrics and the graph have it: `schema.name`. A part that holds a dot or a
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

fn part(part: &str) -> Cow<'_, str> {
    match part.contains(['.', '"']) {
        true => quote_identifier(part).into(),
        false => part.into(),
    }
}

/// An identifier as SQL takes it, whatever is in it.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// An identifier as SQL takes it, on one line: for statements that people paste. What can not be seen
/// stands there as its escape, which takes the form `U&"..."`.
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

/// A string as SQL takes it, whatever is in it, and whatever `standard_conforming_strings` is. No
/// letter may stand right before it.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match quoted.contains('\\') {
        true => format!("E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

/// A string as the grammar of replication commands takes it, which knows no escape.
pub fn quote_replication_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A table, with everything about it that matters to a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: TableName,
    /// Its object id.
    pub oid: u32,
    /// What kind of table it is.
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
    /// Its foreign keys, without those it has only as a partition or for the sake of one.
    pub foreign_keys: Vec<ForeignKey>,
    /// What an UPDATE or DELETE says about the old row.
    pub replica_identity: ReplicaIdentity,
    /// How many rows the planner believes it has, partitions included; `None` when it was never
    /// analysed.
    pub estimated_rows: Option<u64>,
    /// How many pages it has on disk by the same belief, partitions included.
    pub pages: u64,
    /// Its comment.
    pub comment: Option<String>,
    /// How the publication that was asked for limits it.
    pub published: Publication,
}

impl Table {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether all of `columns` are there and can not be NULL.
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
    /// NULL. The primary key first, when it is one.
    pub fn identifying_keys(&self) -> impl Iterator<Item = &UniqueKey> {
        let keys = self.primary_key.iter().chain(&self.unique_keys);
        keys.filter(|key| key.immediate && !key.partial && self.all_not_null(&key.columns))
    }

    /// Whether at most one row has the same values in these columns, at every moment, leaving NULLs
    /// aside.
    pub fn finds_one_row<S: AsRef<str>>(&self, columns: &[S]) -> bool {
        let mut keys = self.primary_key.iter().chain(&self.unique_keys);
        keys.any(|key| {
            let same = key.columns.len() == columns.len()
                && columns.iter().all(|name| key.columns.iter().any(|it| it == name.as_ref()));
            same && key.immediate && !key.partial
        })
    }

    /// The columns that the replica identity carries by themselves; `None` under FULL, NOTHING, or
    /// when there are none.
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

/// What kind of table it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// A table with rows of its own.
    Ordinary,
    /// A partitioned table; its rows are its partitions'.
    Partitioned,
    /// A partition (itself partitioned or not).
    Partition {
        /// The topmost partitioned table above it.
        root: TableName,
        /// It has the rows itself: it is not partitioned further.
        holds_rows: bool,
    },
}

/// A partition that is a foreign table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignPartition {
    /// Its name.
    pub name: TableName,
    /// What it is a partition of: the table, or a partition of the table.
    pub parent: TableName,
}

/// How a publication limits a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// The row filter, as an expression in SQL.
    pub row_filter: Option<String>,
    /// The column list; `None` publishes every column that is not generated.
    pub columns: Option<Vec<String>>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// It is computed from others (GENERATED ALWAYS AS): the stream does not carry it, unless
    /// PostgreSQL 18 is told to.
    pub generated: bool,
    /// Equal texts are equal bytes. False only under a nondeterministic collation.
    pub deterministic: bool,
}

/// A primary key, a unique constraint, or a unique index on plain columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniqueKey {
    /// The index's name.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<String>,
    /// It is checked at once, row by row: not DEFERRABLE.
    pub immediate: bool,
    /// It holds only for rows that satisfy a condition.
    pub partial: bool,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// The constraint's name.
    pub name: String,
    /// The referring columns.
    pub columns: Vec<String>,
    /// The referenced table.
    pub target: TableName,
    /// The referenced columns, in the order of `columns`.
    pub target_columns: Vec<String>,
    /// What a DELETE of the referenced row does.
    pub on_delete: ReferentialAction,
    /// What an UPDATE of the referenced columns does.
    pub on_update: ReferentialAction,
    /// It can be checked as late as the commit.
    pub deferrable: bool,
    /// It is known to hold for all rows: neither NOT VALID nor NOT ENFORCED.
    pub validated: bool,
    /// Its last column is a PERIOD, which the referenced rows together cover: it is not equality.
    pub period: bool,
}

/// What a foreign key does when the referenced row goes or changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferentialAction {
    /// An error at the check.
    NoAction,
    /// An error at once.
    Restrict,
    /// The referring rows go or change too.
    Cascade,
    /// The referring columns become NULL.
    SetNull,
    /// The referring columns take their defaults.
    SetDefault,
}

/// What an UPDATE or DELETE says about the old row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The primary key's columns; nothing when it has none.
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
