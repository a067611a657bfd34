//! The replication client.
