//! Tests against real servers. They fail, never skip, when one is missing.

#![allow(clippy::unwrap_used)]

mod behaviour;
mod bounds;
mod catalog;
mod chaos;
mod command_line;
mod connect;
#[path = "../contract/mod.rs"]
mod contract;
mod copy;
mod crashes;
mod deploy;
mod destroy;
mod differential;
#[path = "../hermetic/exposition.rs"]
mod exposition;
mod guide;
mod http;
#[cfg(feature = "kafka")]
mod kafka;
mod letters;
mod limits;
mod modelled;
mod northwind;
mod ops;
mod page;
mod planning;
mod plans;
mod reconcile;
mod replication;
mod secrets;
mod shape;
mod start;
mod statements;
mod store;
mod support;
mod unlucky;
mod upgrade;
mod versions;
mod wait;
mod writer;
