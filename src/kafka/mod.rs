//! Kafka between: one more sink, and one more source.
//!
//! The options are there in every build, so that a configuration file means the same in all of
//! them; what talks to brokers needs the feature `kafka`.

pub mod options;

#[cfg(feature = "kafka")]
mod admin;
#[cfg(feature = "kafka")]
pub mod connect;
#[cfg(feature = "kafka")]
pub mod consumer;
#[cfg(feature = "kafka")]
pub mod dead_letters;
#[cfg(feature = "kafka")]
pub mod encode;
#[cfg(feature = "kafka")]
mod error;
#[cfg(feature = "kafka")]
pub mod identity;
#[cfg(feature = "kafka")]
pub mod offsets;
#[cfg(feature = "kafka")]
pub mod owned;
#[cfg(feature = "kafka")]
pub mod policy;
#[cfg(feature = "kafka")]
pub mod producer;
#[cfg(feature = "kafka")]
mod retention;
#[cfg(feature = "kafka")]
pub mod tail;
#[cfg(feature = "kafka")]
pub mod tails;
#[cfg(feature = "kafka")]
mod token;
#[cfg(feature = "kafka")]
pub mod topic;

#[cfg(feature = "kafka")]
pub use error::{Error, Result};
pub use options::{
    Ack, Decoding, NewTopic, Options, Properties, PropertyRefused, Retention, TopicsBy, Unreadable,
};
