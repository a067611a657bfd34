//! The `wal2graph` binary.
fn main() {}
