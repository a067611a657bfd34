//! Why a stream ends: each way told apart, with what to do about it.

use crate::{
    lsn::Lsn,
    pgoutput::{DecodeError, StreamError as GrammarError},
    pipeline::Failure,
    postgres::connect::{ServerError, may_name_a_value, without_words},
    shown::on_one_line,
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
    #[error("{message}. Without it the changes behind the last position can not be read")]
    Missing {
        /// The server's words.
        message: String,
    },
    /// The slot can not be read any more.
    #[error("the slot is lost: {message}")]
    SlotLost {
        /// The server's words.
        message: String,
    },
    /// The server's log ends before the position: it was put back to an older state.
    #[error(
        "the source's log ends at {end}, before {from}: the source was put back to an older state. Nothing was \
         acknowledged. `wal2graph check` says what to do"
    )]
    EndsBefore {
        /// Where its log ends.
        end: Lsn,
        /// Where the stream was to begin.
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
        let message = on_one_line(&message).into_owned();
        match code.as_str() {
            "55006" => StreamError::SlotActive { message },
            "42704" => StreamError::Missing { message },
            // The code is that of every state that a server or a slot can be in at a wrong time.
            "55000" if is_of_a_lost_slot(&message) => StreamError::SlotLost { message },
            "57P01" | "57P02" | "57P03" | "53300" => StreamError::Unavailable { code, message },
            _ if code.starts_with("08") => StreamError::Unavailable { code, message },
            _ => StreamError::Refused { code, message },
        }
    }
}

/// PostgreSQL's words for a slot that was invalidated: before 18, and from 18 on. In another language
/// they are shown as they are, and the next start reads the slot's state.
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

    fn is_transient(&self) -> bool {
        match self {
            StreamError::Broken(_)
            | StreamError::Ended
            | StreamError::ShuttingDown
            | StreamError::SlotActive { .. }
            | StreamError::Unavailable { .. } => true,
            StreamError::Missing { .. }
            | StreamError::SlotLost { .. }
            | StreamError::EndsBefore { .. }
            | StreamError::Refused { .. }
            | StreamError::Protocol(_)
            | StreamError::Frame(_)
            | StreamError::Grammar(_) => false,
        }
    }
}
