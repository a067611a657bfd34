//! Events of the source: transactions of row changes, in commit order.
//!
//! ```text
//! Begin  Change*  Commit      one source transaction, never interleaved with another
//! Keepalive                   between transactions: nothing for us before `wal_end`
//! ```
//!
//! Positions belong to the log that the pipeline reads (see [`crate::lsn`]); `source_lsn` is the
//! source's own position beside them.
//!
//! A value is still PostgreSQL's text here: only the mapping knows its graph form. NULL, unchanged
//! and a value are three variants of [`Cell`], so no code confuses them.

use std::sync::Arc;

use bytes::Bytes;

use crate::lsn::{Lsn, Stamp};

/// A moment, in microseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Microseconds since 1970-01-01 UTC.
    pub unix_micros: i64,
}

impl Timestamp {
    /// The moment; `None` for zero, which means unknown.
    pub fn known(self) -> Option<Timestamp> {
        (self != Timestamp::default()).then_some(self)
    }

    /// The moment in UTC, to the second, as people read it.
    pub fn shown(self) -> String {
        let at = chrono::DateTime::from_timestamp_micros(self.unix_micros).unwrap_or_default();
        at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    }
}

/// One item from a source, in the order in which it must be applied.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A source transaction begins; its changes and its commit follow.
    Begin(Begin),
    /// A change of the open transaction.
    Change(Change),
    /// The open transaction ends.
    Commit(Commit),
    /// The source has nothing more for us before `wal_end`.
    Keepalive {
        /// The position up to which the server has decoded and sent.
        wal_end: Lsn,
        /// The source's own position at `wal_end`, never before an earlier one; zero when unknown.
        source_lsn: Lsn,
        /// The server waits for a status update.
        reply_requested: bool,
    },
}

/// The start of a source transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// The transaction's id, modulo 2^32.
    pub xid: u32,
    /// The position of its commit record, less than its [`Commit::end_lsn`]; in a partition the
    /// position of its first record.
    pub commit_lsn: Lsn,
    /// The commit time; zero when unknown.
    pub committed_at: Timestamp,
    /// The place of its one change in the source's log, if the rows must carry it.
    pub stamp: Option<Stamp>,
}

/// The end of a source transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Equal to its [`Begin::commit_lsn`].
    pub commit_lsn: Lsn,
    /// The position just after it: the checkpoint's value once the transaction is applied.
    pub end_lsn: Lsn,
    /// The source's own position just after it, or the last known one before that; zero when
    /// unknown.
    pub source_lsn: Lsn,
    /// Its commit time.
    pub committed_at: Timestamp,
}

/// One row event, one TRUNCATE, or one message. Events, and nothing else, are counted by a checkpoint's
/// part: messages stand beside them.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A row was inserted.
    Insert {
        /// The row's table.
        relation: Arc<Relation>,
        /// The row.
        new: Tuple,
    },
    /// A row was updated.
    Update {
        /// The row's table.
        relation: Arc<Relation>,
        /// The old row, as far as the source sent it.
        before: Before,
        /// The row as it is; unchanged TOAST values are [`Cell::Unchanged`].
        new: Tuple,
    },
    /// A row was deleted.
    Delete {
        /// The row's table.
        relation: Arc<Relation>,
        /// The old row: its key, or all of it. Never [`Before::Absent`].
        before: Before,
    },
    /// All rows of the tables went.
    Truncate {
        /// The published tables that it truncated, including those reached by CASCADE.
        relations: Vec<Arc<Relation>>,
    },
    /// A message that the transaction has emitted (`pg_logical_emit_message`). It changes nothing; it
    /// comes only where it was asked for.
    Message {
        /// What kind of message its author says it is.
        prefix: String,
        /// What it says.
        content: Bytes,
    },
}

/// The prefix of the messages that the program emits itself: a transaction of its own has nothing else.
const OWN_PREFIX: &str = "wal2graph";

impl Change {
    /// It is a message of the program's own, which is nobody's business.
    pub fn is_own_message(&self) -> bool {
        matches!(self, Change::Message { prefix, .. } if prefix == OWN_PREFIX)
    }

    /// The tables that it is of.
    pub fn relations(&self) -> &[Arc<Relation>] {
        match self {
            Change::Insert { relation, .. }
            | Change::Update { relation, .. }
            | Change::Delete { relation, .. } => std::slice::from_ref(relation),
            Change::Truncate { relations } => relations,
            Change::Message { .. } => &[],
        }
    }

    /// It counts among the events of its transaction: a message does not.
    pub fn is_event(&self) -> bool {
        !matches!(self, Change::Message { .. })
    }

    /// About how much memory the change holds, in bytes.
    pub fn size_bytes(&self) -> usize {
        let tuples = match self {
            Change::Insert { new, .. } => tuple_bytes(new),
            Change::Update { before, new, .. } => before_bytes(before) + tuple_bytes(new),
            Change::Delete { before, .. } => before_bytes(before),
            Change::Truncate { relations } => relations.len() * size_of::<Arc<Relation>>(),
            Change::Message { prefix, content } => prefix.len() + content.len(),
        };
        size_of::<Change>() + tuples
    }
}

fn before_bytes(before: &Before) -> usize {
    match before {
        Before::Absent => 0,
        Before::Key(tuple) | Before::Full(tuple) => tuple_bytes(tuple),
    }
}

fn tuple_bytes(tuple: &Tuple) -> usize {
    tuple.iter().map(|cell| size_of::<Cell>() + cell.text_bytes()).sum()
}

/// A row: one cell for each column of its [`Relation`], in its order.
pub type Tuple = Box<[Cell]>;

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// SQL NULL. In a [`Before::Key`], non-key columns are NULL too and mean nothing.
    Null,
    /// A TOASTed value that the statement did not touch, so the server did not send it.
    Unchanged,
    /// The value in PostgreSQL's text form, in the encoding UTF-8.
    Text(Bytes),
}

impl Cell {
    fn text_bytes(&self) -> usize {
        match self {
            Cell::Null | Cell::Unchanged => 0,
            Cell::Text(text) => text.len(),
        }
    }
}

/// The old row of an UPDATE or DELETE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// Not sent: the UPDATE did not change the replica identity.
    Absent,
    /// The replica identity's columns; all others are NULL and mean nothing.
    Key(Tuple),
    /// All columns (REPLICA IDENTITY FULL).
    Full(Tuple),
}

/// A table as the stream describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The table's object id.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The columns that its old rows carry.
    pub replica_identity: ReplicaIdentity,
    /// The columns that the stream carries, in order.
    pub columns: Vec<RelationColumn>,
    /// The object id of the partition that the source described last together with the table; `None`: the
    /// table is not partitioned, or the source does not say.
    pub leaf: Option<u32>,
}

/// The form in which changes of a table are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The table's object id.
    pub oid: u32,
    /// The columns, and the object ids of their types.
    pub columns: Vec<(String, u32)>,
    /// The columns that old rows carry.
    pub identity: Vec<String>,
    /// See [`Relation::leaf`].
    pub leaf: Option<u32>,
}

impl Relation {
    /// Whether the source describes the table so again.
    pub fn is_described_as(&self, other: &Relation) -> bool {
        let Relation { oid, schema, name, replica_identity, columns, leaf: _ } = self;
        (oid, schema, name, replica_identity, columns)
            == (&other.oid, &other.schema, &other.name, &other.replica_identity, &other.columns)
    }

    /// The form of its changes.
    pub fn sent(&self) -> Sent {
        let columns = self.columns.iter().map(|column| (column.name.clone(), column.type_oid));
        let identity = self.columns.iter().filter(|column| column.identity);
        let identity = identity.map(|column| column.name.clone()).collect();
        Sent { oid: self.oid, columns: columns.collect(), identity, leaf: self.leaf }
    }
}

/// A column of a [`Relation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationColumn {
    /// Its name.
    pub name: String,
    /// Its type's object id.
    pub type_oid: u32,
    /// Its type's modifier (`atttypmod`), -1 when it has none.
    pub type_modifier: i32,
    /// It belongs to the replica identity. Under FULL every column does.
    pub identity: bool,
}

/// A table's REPLICA IDENTITY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The primary key.
    Default,
    /// Nothing: UPDATE and DELETE fail on the source while a publication has the table.
    Nothing,
    /// All columns.
    Full,
    /// A unique index.
    Index,
}
