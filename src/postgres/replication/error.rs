//! The ways in which a stream ends, each with its fix.

use crate::{
    lsn::Lsn,
    pgoutput::{DecodeError, StreamError as GrammarError},
    pipeline::{Failure, Verdict},
    postgres::connect::{ServerError, may_name_a_value, without_words},
    shown::on_one_line,
};

/// The end of a stream, or the refusal to start it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StreamError {
    /// The connection broke without a message: the network, a crash, or `wal_sender_timeout`.
    #[error("the replication connection broke: {0}")]
    Broken(String),
    /// The server ended the stream in good order.
    #[error("the server ended the stream")]
    Ended,
    /// The server is shutting down and waits for an acknowledgement that is not possible yet.
    #[error("the server is shutting down; the replication connection is let go, the slot is kept")]
    ShuttingDown,
    /// Another process streams from the slot.
    #[error("{message}. It is waited for; if it should not run, end it with pg_terminate_backend")]
    SlotActive {
        /// The server's words, with the process.
        message: String,
    },
    /// The slot or publication does not exist.
    #[error("{message}. Without it the changes behind the last position can not be read")]
    Missing {
        /// The server's words.
        message: String,
    },
    /// The slot is no longer readable.
    #[error("the slot is lost: {message}")]
    SlotLost {
        /// The server's words.
        message: String,
    },
    /// The server's log ends before the position: the server was restored to an older state.
    #[error(
        "the source's log ends at {end}, before {from}: the source was put back to an older state. Nothing was \
         acknowledged. `wal2graph check` says what to do"
    )]
    EndsBefore {
        /// The end of the server's log.
        end: Lsn,
        /// The stream's intended start.
        from: Lsn,
    },
    /// The server is starting, stopping, out of connections, or ended ours.
    #[error("the server says: {message} ({code})")]
    Unavailable {
        /// The SQLSTATE.
        code: String,
        /// The server's words.
        message: String,
    },
    /// Any other error of the server.
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
    /// A message contradicts the ones before it.
    #[error("the replication stream is malformed: {0}")]
    Grammar(#[from] GrammarError),
}

impl StreamError {
    /// The meaning of the server's error for the stream.
    pub(super) fn of_server(ServerError { code, message }: ServerError) -> Self {
        let message = on_one_line(&message).into_owned();
        match code.as_str() {
            "55006" => StreamError::SlotActive { message },
            "42704" => StreamError::Missing { message },
            // The code covers every unsuitable state of a server or a slot.
            "55000" if is_of_a_lost_slot(&message) => StreamError::SlotLost { message },
            "57P01" | "57P02" | "57P03" | "53300" => StreamError::Unavailable { code, message },
            _ if code.starts_with("08") => StreamError::Unavailable { code, message },
            _ => StreamError::Refused { code, message },
        }
    }
}

/// PostgreSQL's messages for an invalidated slot: before 18, and from 18 on. In another language
/// the message is shown as it is, and the next start reads the slot's state.
fn is_of_a_lost_slot(message: &str) -> bool {
    let words = [
        "cannot read from logical replication slot",
        "can no longer get changes from replication slot",
        "can no longer access replication slot",
    ];
    words.iter().any(|words| message.contains(words))
}

impl Failure for StreamError {
    fn without_values(&self) -> String {
        match self {
            StreamError::Refused { code, .. } if may_name_a_value(code) => without_words(code),
            _ => self.to_string(),
        }
    }

    fn needs_copy(&self) -> bool {
        matches!(self, StreamError::Missing { .. } | StreamError::SlotLost { .. })
    }

    fn verdict(&self) -> Verdict {
        match self {
            StreamError::Broken(_)
            | StreamError::Ended
            | StreamError::ShuttingDown
            | StreamError::SlotActive { .. }
            | StreamError::Unavailable { .. } => Verdict::Again,
            StreamError::Missing { .. }
            | StreamError::SlotLost { .. }
            | StreamError::EndsBefore { .. }
            | StreamError::Refused { .. }
            | StreamError::Protocol(_)
            | StreamError::Frame(_)
            | StreamError::Grammar(_) => Verdict::Stop,
        }
    }
}
