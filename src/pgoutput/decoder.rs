//! Turns a sequence of messages into events.
//!
//! ```text
//! (Relation | Type | Message)*                                      outside: no event
//! Begin  (Origin | Relation | Type | Message | row | Truncate)*  Commit
//! ```
//!
//! A violation of this grammar is an error: to go on would be guessing.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    change::{Before, Begin, Change, Commit, Event, Relation, Tuple},
    lsn::Lsn,
    shown::Shown,
};

use super::{cursor::DecodeError, message::Message};

/// Turns the messages of one connection into events.
///
/// Each connection needs a new decoder, because the server describes its relations again. After an
/// error, close the connection.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    relations: HashMap<u32, Arc<Relation>>,
    open: Option<Begin>,
    described: Described,
}

/// The relations that were described last, with nothing else in between. Before the first row of a partition
/// that is published as its root, the server describes first the root and then the partition.
#[derive(Clone, Copy, Debug, Default)]
struct Described {
    last: Option<u32>,
    before: Option<u32>,
}

/// The stream violates the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// A message could not be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A message that belongs inside a transaction came outside one.
    #[error("pgoutput stream: {message} outside a transaction")]
    Outside {
        /// The kind of message.
        message: &'static str,
    },
    /// A transaction began inside another.
    #[error("pgoutput stream: Begin of {inner} inside the transaction that commits at {open}")]
    Nested {
        /// The open transaction's commit position.
        open: Lsn,
        /// The other transaction's commit position.
        inner: Lsn,
    },
    /// A row or TRUNCATE names a relation that the server has not described.
    #[error("pgoutput stream: {message} of relation {oid}, which no Relation message described")]
    UnknownRelation {
        /// The kind of message.
        message: &'static str,
        /// The relation's object id.
        oid: u32,
    },
    /// A row has more or fewer columns than its relation.
    #[error("pgoutput stream: {message} of {relation} has {cells} columns instead of {columns}")]
    Columns {
        /// The kind of message.
        message: &'static str,
        /// The relation, `schema.name`.
        relation: String,
        /// The number of columns in the row.
        cells: usize,
        /// The number of columns in the relation.
        columns: usize,
    },
    /// A Commit ends another transaction than the open one.
    #[error("pgoutput stream: Commit at {commit} in the transaction that commits at {open}")]
    OtherCommit {
        /// The open transaction's commit position.
        open: Lsn,
        /// The Commit's position.
        commit: Lsn,
    },
    /// A Commit's end is not after its commit record.
    #[error("pgoutput stream: Commit at {commit} ends at {end}, which is not after it")]
    CommitEnd {
        /// The commit position.
        commit: Lsn,
        /// The end position.
        end: Lsn,
    },
}

impl Decoder {
    /// A decoder for a new connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes the payload of one XLogData; `None` if it carries no change.
    ///
    /// # Errors
    /// The bytes are no message, or the message is not allowed here.
    pub fn decode(&mut self, payload: Bytes) -> Result<Option<Event>, StreamError> {
        self.accept(Message::decode(payload)?)
    }

    /// Takes the next message; `None` if it carries no change.
    ///
    /// # Errors
    /// The message is not allowed here.
    pub fn accept(&mut self, message: Message) -> Result<Option<Event>, StreamError> {
        let name = message.name();
        let described = match &message {
            Message::Relation(_) | Message::Type { .. } => Described::default(),
            _ => std::mem::take(&mut self.described),
        };
        let change = match message {
            Message::Begin(begin) => return self.begin(begin).map(Some),
            Message::Commit(commit) => return self.commit(commit).map(Some),
            Message::Relation(relation) => {
                self.describe(relation);
                return Ok(None);
            }
            Message::Type { .. } | Message::Logical { transactional: false, .. } => {
                return Ok(None);
            }
            Message::Origin { .. } => return self.inside(name).map(|()| None),
            Message::Logical { prefix, content, .. } => {
                self.inside(name)?;
                Change::Message { prefix, content }
            }
            Message::Insert { relation, new } => {
                self.meet(described, relation);
                let relation = self.row_of(name, relation, [Some(&new), None])?;
                Change::Insert { relation, new }
            }
            Message::Update { relation, before, new } => {
                self.meet(described, relation);
                let rows = [before_tuple(&before), Some(&new)];
                let relation = self.row_of(name, relation, rows)?;
                Change::Update { relation, before, new }
            }
            Message::Delete { relation, before } => {
                self.meet(described, relation);
                let relation = self.row_of(name, relation, [before_tuple(&before), None])?;
                Change::Delete { relation, before }
            }
            Message::Truncate { relations, .. } => {
                self.inside(name)?;
                let known = relations.into_iter().map(|oid| self.relation(name, oid));
                Change::Truncate { relations: known.collect::<Result<_, _>>()? }
            }
        };
        Ok(Some(Event::Change(change)))
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        self.open.is_some()
    }

    fn begin(&mut self, begin: Begin) -> Result<Event, StreamError> {
        if let Some(open) = self.open {
            return Err(StreamError::Nested { open: open.commit_lsn, inner: begin.commit_lsn });
        }
        self.open = Some(begin);
        Ok(Event::Begin(begin))
    }

    fn commit(&mut self, commit: Commit) -> Result<Event, StreamError> {
        let Some(open) = self.open else {
            return Err(StreamError::Outside { message: "Commit" });
        };
        if open.commit_lsn != commit.commit_lsn {
            return Err(StreamError::OtherCommit {
                open: open.commit_lsn,
                commit: commit.commit_lsn,
            });
        }
        if commit.end_lsn <= commit.commit_lsn {
            return Err(StreamError::CommitEnd { commit: commit.commit_lsn, end: commit.end_lsn });
        }
        self.open = None;
        Ok(Event::Commit(commit))
    }

    /// Keeps the `Arc` of an unchanged description, so that equal relations stay the same pointer.
    fn describe(&mut self, relation: Relation) {
        self.described = Described { last: Some(relation.oid), before: self.described.last };
        match self.relations.entry(relation.oid) {
            Entry::Occupied(known) if known.get().is_described_as(&relation) => {}
            Entry::Occupied(mut known) => {
                known.insert(Arc::new(relation));
            }
            Entry::Vacant(place) => {
                place.insert(Arc::new(relation));
            }
        }
    }

    /// A row of a table comes right behind these descriptions.
    fn meet(&mut self, described: Described, table: u32) {
        let leaf = described.last.filter(|_| described.before == Some(table));
        if let (Some(_), Some(known)) = (leaf, self.relations.get_mut(&table))
            && known.leaf != leaf
        {
            *known = Arc::new(Relation { leaf, ..(**known).clone() });
        }
    }

    fn inside(&self, message: &'static str) -> Result<(), StreamError> {
        match self.open {
            Some(_) => Ok(()),
            None => Err(StreamError::Outside { message }),
        }
    }

    fn relation(&self, message: &'static str, oid: u32) -> Result<Arc<Relation>, StreamError> {
        let known = self.relations.get(&oid).cloned();
        known.ok_or(StreamError::UnknownRelation { message, oid })
    }

    /// The relation of a row message. Checks that each row has the relation's number of columns.
    fn row_of(
        &self,
        message: &'static str,
        oid: u32,
        rows: [Option<&Tuple>; 2],
    ) -> Result<Arc<Relation>, StreamError> {
        self.inside(message)?;
        let relation = self.relation(message, oid)?;
        match rows.into_iter().flatten().find(|row| row.len() != relation.columns.len()) {
            None => Ok(relation),
            Some(row) => Err(StreamError::Columns {
                message,
                relation: format!("{}.{}", Shown(&relation.schema), Shown(&relation.name)),
                cells: row.len(),
                columns: relation.columns.len(),
            }),
        }
    }
}

fn before_tuple(before: &Before) -> Option<&Tuple> {
    match before {
        Before::Absent => None,
        Before::Key(tuple) | Before::Full(tuple) => Some(tuple),
    }
}
