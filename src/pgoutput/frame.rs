//! The CopyData messages of a replication connection, in both directions.
//!
//! ```text
//! server:  w XLogData             a pgoutput message
//!          k PrimaryKeepalive     how far the server has decoded and sent
//! client:  r StandbyStatusUpdate  how far we are
//! ```

use bytes::Bytes;

use crate::{change::Timestamp, lsn::Lsn};

use super::cursor::{Cursor, DecodeError, postgres_micros};

/// The bytes of a status update.
const STATUS_UPDATE_BYTES: usize = 1 + 4 * 8 + 1;

/// A message from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message of the output plugin.
    XLogData(XLogData),
    /// A keepalive.
    Keepalive(Keepalive),
}

/// A message of the output plugin, and its position in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XLogData {
    /// The position of the message; 0/0 for a Relation or a Type.
    pub wal_start: Lsn,
    /// PostgreSQL repeats `wal_start` here for logical replication: it is not the end of its log.
    pub wal_end: Lsn,
    /// The server's time of sending.
    pub sent_at: Timestamp,
    /// The message, for [`super::Message::decode`] and [`super::Decoder::decode`].
    pub payload: Bytes,
}

/// A keepalive of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// The position up to which the server has decoded and sent.
    pub wal_end: Lsn,
    /// The server's time of sending.
    pub sent_at: Timestamp,
    /// The server waits for a status update.
    pub reply_requested: bool,
}

impl Frame {
    /// Decodes the body of one CopyData message. The payload shares its memory.
    ///
    /// # Errors
    /// The bytes are not exactly one frame; the error names the place.
    pub fn decode(bytes: Bytes) -> Result<Frame, DecodeError> {
        let mut cursor = Cursor::new(bytes);
        match cursor.u8("the frame's type")? {
            b'w' => Ok(Frame::XLogData(XLogData {
                wal_start: cursor.lsn("XLogData's start")?,
                wal_end: cursor.lsn("XLogData's end")?,
                sent_at: cursor.time("XLogData's time")?,
                payload: cursor.rest(),
            })),
            b'k' => {
                let keepalive = Keepalive {
                    wal_end: cursor.lsn("the keepalive's position")?,
                    sent_at: cursor.time("the keepalive's time")?,
                    reply_requested: cursor.flag("the keepalive's reply flag")?,
                };
                cursor.end()?;
                Ok(Frame::Keepalive(keepalive))
            }
            byte => Err(cursor.unknown("type of a replication frame", byte)),
        }
    }
}

/// Our progress, for the server. Only `flushed` moves the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusUpdate {
    /// Received through here.
    pub written: Lsn,
    /// Durable through here: the server may discard its log before it.
    pub flushed: Lsn,
    /// Applied through here.
    pub applied: Lsn,
    /// Our clock.
    pub clock: Timestamp,
    /// Ask the server to answer at once with a keepalive.
    pub reply_requested: bool,
}

impl StatusUpdate {
    /// The body of one CopyData message.
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(STATUS_UPDATE_BYTES);
        bytes.push(b'r');
        for lsn in [self.written, self.flushed, self.applied] {
            bytes.extend_from_slice(&lsn.0.to_be_bytes());
        }
        bytes.extend_from_slice(&postgres_micros(self.clock).to_be_bytes());
        bytes.push(u8::from(self.reply_requested));
        Bytes::from(bytes)
    }
}
