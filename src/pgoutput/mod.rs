//! The `pgoutput` protocol, version 1: bytes in, changes out.
//!
//! ```text
//! CopyData --frame::Frame--> payload --Message::decode--> Message --Decoder--> change::Event
//!          <--frame::StatusUpdate--
//! ```
//!
//! It has three steps, and each is total: any bytes give a result or an error with a position. It
//! allocates nothing from a length before that many bytes exist. [`Message`] knows the layout of
//! one message. [`Decoder`] knows their grammar, and the relation behind an id. Version 1 sends
//! whole transactions in commit order, so the decoder's only state is one open transaction and the
//! relations.

mod cursor;
mod decoder;
pub mod frame;
mod message;

pub use cursor::{DecodeError, Malformed};
pub use decoder::{Decoder, StreamError};
pub use message::Message;
