//! wal2graph keeps a Neo4j graph equal to a PostgreSQL database, all the time.
//!
//! ARCHITECTURE.md is the map of these modules.

// Pure: formats and ideas. No clock, log, metric, environment or await.
pub mod catalog;
pub mod change;
pub mod checkpoint;
pub mod copy;
pub mod dead_letters;
pub mod engine;
pub mod envelope;
pub mod graph;
pub mod health;
pub mod lsn;
pub mod mapping;
pub mod pgoutput;
pub mod replay;
pub mod report;
pub mod request;
pub mod secrets;
pub mod shown;
pub mod start;
pub mod topic;
pub mod value;

// The shell: products, and what ties them together.
pub mod cli;
pub mod commands;
pub mod config;
pub mod graphs;
pub mod http;
pub mod kafka;
pub mod logging;
pub mod metrics;
pub mod neo4j;
pub mod pipeline;
pub mod postgres;
pub mod service;
pub mod shutdown;
