//! PostgreSQL: connections, the catalog, the replication stream, COPY.

pub mod catalog;
pub mod connect;
pub mod copy;
mod equality;
pub mod error;
mod guard;
pub mod locks;
pub mod matching;
pub mod partitions;
pub mod peek;
pub mod removal;
pub mod replication;
pub mod roles;
pub mod rows;
mod sessions;
pub mod setup;
pub mod sizes;
pub mod snapshot;
pub mod sources;
pub mod tables;
mod text;
pub mod unsent;
