//! Kafka between: `apply` and replay.

mod apply;
mod feed;
mod routes;
