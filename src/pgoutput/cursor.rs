//! Reads fields from the front of a frame.
//!
//! Every read first checks that its bytes exist, so no claimed length or count counts before the
//! frame is known to hold it.

use bytes::Bytes;

use crate::{change::Timestamp, lsn::Lsn};

/// 2000-01-01 UTC, where PostgreSQL's clock begins, in microseconds since 1970-01-01 UTC.
const POSTGRES_EPOCH_UNIX_MICROS: i64 = 946_684_800_000_000;

/// A frame that violates the protocol.
///
/// It names fields and positions, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a pgoutput version 1 frame: at byte {offset}: {what}")]
pub struct DecodeError {
    /// The position in the frame, in bytes from its start.
    pub offset: usize,
    /// The problem there.
    pub what: Malformed,
}

/// The problem of a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The frame ends inside a field.
    #[error("the frame ends inside {field}")]
    Ends {
        /// The field.
        field: &'static str,
    },
    /// A length or count is more than the rest of the frame can hold.
    #[error("{field} claims {claimed}, more than the {rest} bytes that follow can hold")]
    Claims {
        /// The length or count.
        field: &'static str,
        /// Its value.
        claimed: u64,
        /// The number of bytes that follow it.
        rest: usize,
    },
    /// A byte that selects a form has an unknown value.
    #[error("{byte:#04x} is no {field}")]
    Unknown {
        /// The byte's meaning.
        field: &'static str,
        /// The byte.
        byte: u8,
    },
    /// A name is not UTF-8.
    #[error("{field} is not UTF-8, in a database of the encoding SQL_ASCII: rename it")]
    NotUtf8 {
        /// The name.
        field: &'static str,
    },
    /// A time exceeds 64 bits when counted from 1970.
    #[error("{field} is out of range")]
    Time {
        /// The time.
        field: &'static str,
    },
    /// A value came in binary form.
    #[error("a value in binary form: start replication without the option `binary`")]
    Binary,
    /// Bytes follow the complete message.
    #[error("{bytes} bytes follow the end of the message")]
    Trailing {
        /// Their number.
        bytes: usize,
    },
}

/// A position in a frame.
pub(super) struct Cursor {
    frame: Bytes,
    at: usize,
}

type Result<T> = std::result::Result<T, DecodeError>;

impl Cursor {
    pub(super) fn new(frame: Bytes) -> Self {
        Cursor { frame, at: 0 }
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32> {
        self.array(field).map(i32::from_be_bytes)
    }

    pub(super) fn lsn(&mut self, field: &'static str) -> Result<Lsn> {
        self.array(field).map(u64::from_be_bytes).map(Lsn)
    }

    pub(super) fn time(&mut self, field: &'static str) -> Result<Timestamp> {
        let offset = self.at;
        let micros = self.array(field).map(i64::from_be_bytes)?;
        match micros.checked_add(POSTGRES_EPOCH_UNIX_MICROS) {
            Some(unix_micros) => Ok(Timestamp { unix_micros }),
            None => Err(DecodeError { offset, what: Malformed::Time { field } }),
        }
    }

    /// A byte that is 0 or 1.
    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            byte => Err(self.unknown(field, byte)),
        }
    }

    /// A name, terminated by a zero byte.
    pub(super) fn string(&mut self, field: &'static str) -> Result<String> {
        let offset = self.at;
        let rest = &self.frame[offset..];
        let Some(length) = rest.iter().position(|byte| *byte == 0) else {
            return Err(DecodeError { offset, what: Malformed::Ends { field } });
        };
        let text = std::str::from_utf8(&rest[..length]).map_err(|error| DecodeError {
            offset: offset + error.valid_up_to(),
            what: Malformed::NotUtf8 { field },
        })?;
        self.at += length + 1;
        Ok(text.to_owned())
    }

    /// The schema of a relation or type. The server sends `pg_catalog` as an empty name.
    pub(super) fn schema(&mut self, field: &'static str) -> Result<String> {
        let schema = self.string(field)?;
        Ok(if schema.is_empty() { "pg_catalog".to_owned() } else { schema })
    }

    /// A 32 bit length and that many bytes, shared with the frame.
    pub(super) fn sized(&mut self, field: &'static str) -> Result<Bytes> {
        let offset = self.at;
        let length = self.u32(field)?;
        let length = self.fits(offset, field, u64::from(length), 1)?;
        let start = self.at;
        self.at += length;
        Ok(self.frame.slice(start..self.at))
    }

    /// A 16 bit count of items that take at least `each` bytes.
    pub(super) fn count16(&mut self, field: &'static str, each: usize) -> Result<usize> {
        let offset = self.at;
        let count = self.u16(field)?;
        self.fits(offset, field, u64::from(count), each)
    }

    /// The remaining bytes, shared with the frame.
    pub(super) fn rest(self) -> Bytes {
        self.frame.slice(self.at..)
    }

    /// The message must be complete here.
    pub(super) fn end(&self) -> Result<()> {
        match self.frame.len() - self.at {
            0 => Ok(()),
            bytes => Err(DecodeError { offset: self.at, what: Malformed::Trailing { bytes } }),
        }
    }

    /// The error for the byte just read.
    pub(super) fn unknown(&self, field: &'static str, byte: u8) -> DecodeError {
        self.before(Malformed::Unknown { field, byte })
    }

    /// An error at the byte just read.
    pub(super) fn before(&self, what: Malformed) -> DecodeError {
        DecodeError { offset: self.at.saturating_sub(1), what }
    }

    /// Checks that the rest of the frame can hold `claimed` items of at least `each` bytes.
    /// `offset` is the claim's position.
    pub(super) fn fits(
        &self,
        offset: usize,
        field: &'static str,
        claimed: u64,
        each: usize,
    ) -> Result<usize> {
        let rest = self.frame.len() - self.at;
        match usize::try_from(claimed) {
            Ok(count) if count <= rest / each => Ok(count),
            _ => Err(DecodeError { offset, what: Malformed::Claims { field, claimed, rest } }),
        }
    }

    /// The next field's position.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N]> {
        match self.frame[self.at..].first_chunk::<N>() {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => Err(DecodeError { offset: self.at, what: Malformed::Ends { field } }),
        }
    }
}

/// A time in PostgreSQL's unit. A time below PostgreSQL's range becomes the start of that range.
pub(super) fn postgres_micros(time: Timestamp) -> i64 {
    time.unix_micros.saturating_sub(POSTGRES_EPOCH_UNIX_MICROS)
}
