//! wal2graph keeps a Neo4j graph equal to a PostgreSQL database, all the time.
//!
//! ARCHITECTURE.md is the map of these modules.

pub mod change;
pub mod checkpoint;
pub mod graph;
pub mod lsn;
pub mod value;
