//! What our own nodes and statements are found by.

/// The checkpoint's label.
pub const CHECKPOINT: &str = "_Wal2GraphCheckpoint";
/// The label of a copy's progress.
pub const COPY: &str = "_Wal2GraphCopy";
/// The label of a request to the pipeline that runs.
pub const REQUEST: &str = "_Wal2GraphRequest";
/// What the names of a letter's properties begin with that have the row's key.
pub(super) const KEY_PROPERTY: &str = "key_";
/// A comment in statements that may wait for a lock. SHOW TRANSACTIONS finds them by it.
pub(super) const CLAIM_MARK: &str = "wal2graph claims";
