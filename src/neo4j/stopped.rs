//! The reason why a pipeline stopped for good, on its checkpoint: for people, while it does not
//! run.
//!
//! ```text
//! stopped for good -> stopped_because, stopped_at, if the epoch is still ours -> gone with the next claim
//! ```
//!
//! The report is best effort: an unreachable graph can not store it. A fenced writer does not
//! report, because the pipeline runs elsewhere.

use chrono::Utc;

use crate::checkpoint::{Epoch, Identity};

use super::{checkpoint, connect::Connection, error::Error};

/// The maximum length of a reason, in characters.
const CHARACTERS_MAX: usize = 2_000;

/// Records why the writer of this epoch stopped. Returns false and writes nothing if another one
/// has claimed the checkpoint since. `because` must not contain values of a row.
pub async fn tell(
    connection: &Connection,
    identity: &Identity,
    epoch: Epoch,
    because: &str,
) -> Result<bool, Error> {
    let because: String = because.chars().take(CHARACTERS_MAX).collect();
    let set = "c.stopped_because = $because, c.stopped_at = $now";
    let query = checkpoint::under_epoch(identity, epoch, set);
    let query = query.param("because", because).param("now", Utc::now());
    connection.run(query).await.map(|did| checkpoint::passed(&did))
}
