//! The `pgoutput` protocol, version 1: bytes in, changes out.
//!
//! ```text
//! CopyData --frame::Frame--> payload --Message::decode--> Message --Decoder--> change::Event
//!          <--frame::StatusUpdate--
//! ```
//!
//! Three steps, each total: any bytes give a result or an error that says where, and nothing is
//! allocated from a length before that many bytes are known to be there. [`Message`] knows the
//! layout of one message; [`Decoder`] knows what may follow what, and which relation an id stands
//! for. Version 1 sends whole transactions in commit order, so one open transaction is the only
//! state besides the relations.

mod cursor;
mod decoder;
pub mod frame;
mod message;

pub use cursor::{DecodeError, Malformed};
pub use decoder::{Decoder, StreamError};
pub use message::Message;
