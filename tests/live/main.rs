//! Tests against real servers. They fail, never skip, when one is missing.

#![allow(clippy::unwrap_used)]

mod catalog;
mod command_line;
mod copy;
mod crashes;
mod differential;
#[path = "../hermetic/exposition.rs"]
mod exposition;
mod http;
mod replication;
mod statements;
mod support;
mod writer;
