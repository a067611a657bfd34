//! Changes to records.

use crate::catalog::{Catalog, TableName};
use crate::change::{Cell, Change, Relation, Timestamp};
use crate::lsn::Lsn;

use super::{History, Place, Record, Snapshot};

/// What the records of a pipeline say of where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The pipeline: `source.name`, Debezium's topic prefix.
    pub pipeline: String,
    /// The source database: `source.db`.
    pub database: String,
    /// The program's version: `source.version`.
    pub version: String,
    /// The database cluster and its timeline.
    pub history: History,
}

/// Why a change can not be encoded. Each is definite: the same change fails again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A row whose key was not sent.
    #[error(
        "{table}: a change does not carry key column {column:?}. Give the table a replica identity \
         that does: ALTER TABLE {} REPLICA IDENTITY DEFAULT (or USING INDEX)",
        .table.sql()
    )]
    KeyNotSent {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// A DELETE without an old row.
    #[error(
        "{table}: a DELETE does not say which row. Give the table a replica identity: ALTER TABLE \
         {} REPLICA IDENTITY DEFAULT (or USING INDEX)",
        .table.sql()
    )]
    NoOldRow {
        /// The table.
        table: TableName,
    },
}

/// Makes records of changes.
#[derive(Clone, Debug)]
pub struct Encoder {}

impl Encoder {
    /// An encoder for the changes of one pipeline. Types come from the catalog; a table that it
    /// lacks is encoded all the same, with its values of unknown types as text.
    pub fn new(names: Names, catalog: &Catalog) -> Encoder {
        let _ = (names, catalog);
        Encoder {}
    }

    /// The records of a change, to be produced in this order. `now` is when they are made.
    ///
    /// # Errors
    /// The change does not say which row it is about.
    pub fn change(
        &mut self,
        place: &Place,
        change: &Change,
        now: Timestamp,
    ) -> Result<Vec<Record>, EncodeError> {
        let _ = (place, change, now);
        todo!()
    }

    /// The record of a row that was read (op `r`) from a snapshot that saw everything before `lsn`.
    ///
    /// # Errors
    /// A key column is missing.
    pub fn read(
        &mut self,
        lsn: Lsn,
        snapshot: Snapshot,
        relation: &Relation,
        row: &[Cell],
        now: Timestamp,
    ) -> Result<Record, EncodeError> {
        let _ = (lsn, snapshot, relation, row, now);
        todo!()
    }

    /// A heartbeat: everything before `end_lsn` that is for us has been produced.
    pub fn heartbeat(&self, end_lsn: Lsn, now: Timestamp) -> Record {
        let _ = (end_lsn, now);
        todo!()
    }
}
