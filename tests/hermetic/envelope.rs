//! Changes as records and records as changes: our records in both directions, and Debezium's.
#![allow(clippy::unwrap_used)]

mod damage;
mod debezium;
mod joins;
mod keys;
mod messages;
mod records;
mod round_trips;
mod rows;
mod schemas;
mod shapes;
mod support;
