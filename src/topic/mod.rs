//! Topics as an idea: their names, and the meaning of the records in their partitions.
//!
//! [`routing`] says which partition gets a change. [`transactions`] makes events of a partition's
//! records again, or says why not ([`refused`]). The others judge the records that a reader finds there:
//! whether the topic begins with its copy ([`beginning`], [`copied`]), whether it is the topic that the
//! graph has read ([`before`]), whether offsets without a record mean anything ([`holes`]), what was never
//! published ([`gap`]), how far a heartbeat reaches ([`ends`]), on which timeline the source's log goes on
//! ([`timeline`]), and who has published it ([`whose`]).
//! `kafka` does the reading and writing.

pub mod before;
pub mod beginning;
pub mod copied;
pub mod ends;
pub mod gap;
pub mod holes;
pub mod names;
pub mod refused;
pub mod routing;
pub mod timeline;
pub mod transactions;
pub mod whose;

pub use names::{TopicName, TopicsPattern};
