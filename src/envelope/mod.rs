//! Changes as Debezium-compatible JSON records, and records back as changes.
//!
//! ```text
//! Change --Encoder: bound, write--> Record*  ..topic..  Record --Decoder: read, join--> Decoded*
//! text      forms by type           key, value, headers         text again
//! ```
//!
//! Both routes to the graph meet in [`Change`], with values in PostgreSQL's text form: what is
//! decoded goes through the same mapping and the same codec as what came from the server directly.
//! So the one thing that has to hold here is that what is encoded is decoded byte for byte,
//! whatever the text is; the forms of types are only used where they say the same.
//!
//! What a consumer needs to apply records exactly once, and whole transactions only, is in
//! `source`: a [`Place`], with the end of its transaction on the last one, and the [`History`] it
//! belongs to. Debezium's own records have neither: they are decoded too, by the catalog's types,
//! and by their schema block or the connector's settings.

mod array;
mod bound;
mod columns;
mod connect;
mod decimal;
mod decode;
mod digest;
mod encode;
mod error;
mod fields;
mod join;
mod json;
mod options;
mod order;
mod read;
mod schema;
mod source;
mod temporal;
mod write;

use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::TableName;
use crate::change::{Change, Relation, Timestamp, Tuple};
use crate::lsn::Lsn;

pub use columns::record_key;
pub use connect::payload;
pub use decode::{DecodeError, Decoder, Expected, NoRows, UnknownColumn, table_of_topic};
pub use digest::Digest;
pub use encode::{Encoder, Names};
pub use error::EncodeError;
pub use options::{BinaryHandling, DecimalHandling, DecodeOptions, Format, TimePrecision};

/// What stands for a value that was not sent: an unchanged TOAST value.
pub const UNAVAILABLE_VALUE: &str = "__debezium_unavailable_value";
/// The header of a key change's delete: the new key, as JSON.
pub const NEW_KEY_HEADER: &str = "__debezium.newkey";
/// The header of a key change's insert: the old key, as JSON.
pub const OLD_KEY_HEADER: &str = "__debezium.oldkey";

/// What is produced to a topic, or consumed from one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The row's key as JSON; `None` for a table without one and for TRUNCATE.
    pub key: Option<Bytes>,
    /// The envelope as JSON; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Names and values, in order.
    pub headers: Vec<(String, Bytes)>,
}

/// Where a change stands in the source's history. Changes are ordered, and told apart when they
/// come twice, by `(commit_lsn, event_index)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The position of its transaction's commit record.
    pub commit_lsn: Lsn,
    /// Its number within the transaction, from 0, counting [`Change`]s.
    pub event_index: u64,
    /// Its transaction's id, modulo 2^32.
    pub xid: u32,
    /// When its transaction committed.
    pub committed_at: Timestamp,
    /// On the last change of a transaction: the transaction's end LSN.
    pub end: Option<Lsn>,
}

/// Which history a record belongs to. Another one is never a continuation of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The database cluster's identifier (IDENTIFY_SYSTEM).
    pub system_identifier: String,
    /// Its timeline.
    pub timeline: i64,
}

/// Which record of a copy it is, in the word of `source.snapshot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// The first record of a copy.
    First,
    /// Neither the first nor the last, or a single row that was read again.
    Inside,
    /// The last record of a copy.
    Last,
}

/// What a record's `source` says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Where the change stands; `None` in Debezium's own records, and in reads.
    pub place: Option<Place>,
    /// Which history it belongs to; `None` in Debezium's own records.
    pub history: Option<Arc<History>>,
    /// Debezium's `lsn`: a change's own position there, its commit's in our records, and in a read
    /// a position that the snapshot saw everything before.
    pub lsn: Option<Lsn>,
    /// `txId`.
    pub xid: Option<u32>,
    /// When the transaction committed, or the row was read.
    pub at: Option<Timestamp>,
    /// Which of its change's parts it is, from 0: the insert of a key change is 1, the tables of a
    /// TRUNCATE are counted. Parts share a place, and may each be in a partition of its own.
    pub part: u64,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    /// A change of rows.
    Change {
        /// Where it comes from.
        source: Source,
        /// What it is.
        change: Change,
    },
    /// A row that was read (op `r`): it is there with these values, whatever was there before.
    Read {
        /// Where it comes from.
        source: Source,
        /// Which record of its copy it is.
        snapshot: Snapshot,
        /// The row's table.
        relation: Arc<Relation>,
        /// The row.
        row: Tuple,
    },
    /// Nothing more for us before a position.
    Heartbeat {
        /// The position; `None` in Debezium's own.
        end_lsn: Option<Lsn>,
        /// Which history it belongs to; `None` in Debezium's own.
        history: Option<Arc<History>>,
        /// When it was produced.
        at: Timestamp,
    },
    /// A record without a value: it only follows a delete, for compaction.
    Tombstone,
    /// A part of a change; the change comes with its last record.
    Held,
    /// A change of ours that was begun and whose rest did not follow: the publisher was
    /// interrupted in it and publishes its whole transaction again. Nothing of it may be applied.
    Cut {
        /// Where the change stands.
        place: Place,
    },
    /// A logical decoding message (op `m`).
    Message {
        /// Where it comes from.
        source: Source,
    },
    /// A BEGIN or END marker of Debezium's transaction topic.
    Transaction,
    /// A change of a table that the catalog does not have.
    Foreign {
        /// Where it comes from.
        source: Source,
        /// The table's schema.
        schema: String,
        /// The table's name.
        table: String,
    },
    /// A row of a table that has changed since the catalog was looked at.
    Reshaped {
        /// The table, as the record names it.
        table: TableName,
    },
    /// A row of a table whose records are not read.
    PassedOver {
        /// Where it comes from.
        source: Source,
    },
}

impl Decoded {
    /// The source's position through which everything is said, once it is: where its transaction or
    /// its publisher names one.
    pub fn end_lsn(&self) -> Option<Lsn> {
        match self {
            Decoded::Change { source, .. }
            | Decoded::Foreign { source, .. }
            | Decoded::PassedOver { source }
            | Decoded::Message { source } => source.place.as_ref()?.end,
            Decoded::Heartbeat { end_lsn, .. } => *end_lsn,
            _ => None,
        }
    }
}
