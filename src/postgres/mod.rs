//! PostgreSQL: connections, the catalog, the replication stream, COPY.

pub mod catalog;
pub mod connect;
pub mod copy;
pub mod replication;
pub mod rows;
pub mod setup;
pub mod snapshot;
mod text;
pub mod unsent;
