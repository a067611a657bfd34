//! How much at a time.

use std::time::Duration;

/// How much goes into one graph transaction, and how much waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A batch takes no further source transaction once it has this many changes.
    pub batch_changes: usize,
    /// A batch takes no further source transaction once it has this many bytes.
    pub batch_bytes: usize,
    /// A source transaction with more changes is applied in parts of this many.
    pub part_changes: usize,
    /// A source transaction with more bytes is applied in parts of about this many.
    pub part_bytes: usize,
    /// No input is wanted while this many bytes wait.
    pub waiting_bytes: usize,
    /// An idle position is written to the checkpoint at most once in this time.
    pub idle_interval: Duration,
}

impl Limits {
    /// Batches of about two thousand changes are where a single Neo4j lane stops gaining; the byte
    /// limits keep wide rows from filling memory.
    pub const DEFAULT: Limits = Limits {
        batch_changes: 2_000,
        batch_bytes: 4 << 20,
        part_changes: 10_000,
        part_bytes: 8 << 20,
        waiting_bytes: 16 << 20,
        idle_interval: Duration::from_secs(1),
    };
}

/// How many batches may be ordered and not applied: one is being written, one is being made ready.
pub(super) const FLIGHTS_MAX: usize = 2;
