//! Records to changes.

use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::{Catalog, TableName};
use crate::change::Relation;

use super::{Decoded, Record};

/// How Debezium was told to write values, for records without a schema block. With one, the block
/// says it. Our own records are read the same way whatever is set here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Its `decimal.handling.mode`.
    pub decimal_handling: DecimalHandling,
    /// Its `time.precision.mode`.
    pub time_precision: TimePrecision,
}

/// Debezium's `decimal.handling.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecimalHandling {
    /// `precise`, its default: the unscaled number's bytes in base64; the scale is the column's,
    /// or stands beside them.
    #[default]
    Precise,
    /// `double`: a number, rounded.
    Double,
    /// `string`: the number's text.
    String,
}

/// Debezium's `time.precision.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimePrecision {
    /// `adaptive`, its default: milli- or microseconds by the column's precision.
    #[default]
    Adaptive,
    /// `adaptive_time_microseconds`: the same, but TIME is always in microseconds.
    AdaptiveTimeMicroseconds,
    /// `connect`: milliseconds.
    Connect,
    /// `isostring`: ISO-8601 text.
    Isostring,
    /// `microseconds`.
    Microseconds,
    /// `nanoseconds`.
    Nanoseconds,
}

/// A record is no envelope, or not one of its table's rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record's {part} at {path}: {problem}")]
pub struct DecodeError {
    /// `key`, `value`, or a header's name.
    pub part: &'static str,
    /// Where in it, as a JSON path: `$.after.price`.
    pub path: String,
    /// What is wrong there. It holds no values of rows.
    pub problem: String,
}

/// A column that records carry and the catalog does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownColumn {
    /// Its table.
    pub table: TableName,
    /// Its name.
    pub column: String,
    /// In how many records it was met since the last time.
    pub records: u64,
}

/// Makes changes of the records of one partition, in their order.
#[derive(Clone, Debug)]
pub struct Decoder {}

impl Decoder {
    /// A decoder at the beginning of a partition, or at any place of it. Tables, columns and their
    /// types are the catalog's.
    pub fn new(catalog: &Catalog, options: DecodeOptions) -> Decoder {
        let _ = (catalog, options);
        Decoder {}
    }

    /// The table as decoded changes describe it: all columns that can be sent.
    pub fn relation(&self, table: &TableName) -> Option<&Arc<Relation>> {
        let _ = table;
        todo!()
    }

    /// What the next record says: one [`Decoded`], or two when the record before turns out to
    /// stand alone. The last one is always this record's.
    ///
    /// # Errors
    /// It is no envelope. The decoder is as it was before the record, so that a caller may pass it
    /// over.
    pub fn record(
        &mut self,
        record: &Record,
        decoded: &mut Vec<Decoded>,
    ) -> Result<(), DecodeError> {
        let _ = (record.key.as_ref().map(Bytes::len), decoded);
        todo!()
    }

    /// What was held, when it is known that nothing follows: a delete of Debezium's, a cut change
    /// of ours.
    pub fn flush(&mut self, decoded: &mut Vec<Decoded>) {
        let _ = decoded;
        todo!()
    }

    /// Something is held: the records since then are to be read again after a restart.
    pub fn is_holding(&self) -> bool {
        todo!()
    }

    /// The columns that were passed over since the last time.
    pub fn take_unknown_columns(&mut self) -> Vec<UnknownColumn> {
        todo!()
    }
}
