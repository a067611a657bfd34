//! Why a stream ends: each way told apart, with what to do about it.

use crate::{
    pgoutput::{DecodeError, StreamError as GrammarError},
    pipeline::Failure,
    postgres::connect::ServerError,
};

/// The end of a stream, or the refusal to start it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StreamError {
    /// The connection broke without a word: the network, a crash, or `wal_sender_timeout`.
    #[error("the replication connection broke: {0}")]
    Broken(String),
    /// The server ended the stream in good order.
    #[error("the server ended the stream")]
    Ended,
    /// The server is shutting down and waits for an answer that can not be given yet.
    #[error("the server is shutting down; the replication connection is let go, the slot is kept")]
    ShuttingDown,
    /// Another process streams from the slot.
    #[error("{message}. It is waited for; if it should not run, end it with pg_terminate_backend")]
    SlotActive {
        /// The server's words, with the process.
        message: String,
    },
    /// There is no such slot or publication.
    #[error(
        "{message}. Without it the changes since the checkpoint are lost to the stream: drop the \
         pipeline's checkpoint and copy again"
    )]
    Missing {
        /// The server's words.
        message: String,
    },
    /// The slot can not be read any more.
    #[error(
        "{message}. The log that the slot needs is gone (max_slot_wal_keep_size): drop the slot and \
         the checkpoint, and copy again"
    )]
    SlotLost {
        /// The server's words.
        message: String,
    },
    /// The server is starting, stopping, out of connections, or ended ours.
    #[error("the server says: {message} ({code})")]
    Unavailable {
        /// The SQLSTATE.
        code: String,
        /// The server's words.
        message: String,
    },
    /// Anything else that the server says.
    #[error("the server refuses: {message} ({code})")]
    Refused {
        /// The SQLSTATE.
        code: String,
        /// The server's words.
        message: String,
    },
    /// Bytes that are not the protocol.
    #[error("the replication protocol is broken: {0}")]
    Protocol(String),
    /// A frame that does not decode.
    #[error("a replication frame is malformed: {0}")]
    Frame(#[from] DecodeError),
    /// A message that does not fit the ones before it.
    #[error("the replication stream is malformed: {0}")]
    Grammar(#[from] GrammarError),
}

impl StreamError {
    /// What the server's error means for the stream.
    pub(super) fn of_server(ServerError { code, message }: ServerError) -> Self {
        match code.as_str() {
            "55006" => StreamError::SlotActive { message },
            "42704" => StreamError::Missing { message },
            "55000" => StreamError::SlotLost { message },
            "57P01" | "57P02" | "57P03" | "53300" => StreamError::Unavailable { code, message },
            _ if code.starts_with("08") => StreamError::Unavailable { code, message },
            _ => StreamError::Refused { code, message },
        }
    }
}

impl Failure for StreamError {
    fn is_transient(&self) -> bool {
        match self {
            StreamError::Broken(_)
            | StreamError::Ended
            | StreamError::ShuttingDown
            | StreamError::SlotActive { .. }
            | StreamError::Unavailable { .. } => true,
            StreamError::Missing { .. }
            | StreamError::SlotLost { .. }
            | StreamError::Refused { .. }
            | StreamError::Protocol(_)
            | StreamError::Frame(_)
            | StreamError::Grammar(_) => false,
        }
    }
}
