//! Why a pipeline stopped for good, on its checkpoint: for people, and for as long as it does not run.
//!
//! ```text
//! stopped for good -> stopped_because, stopped_at, if the epoch is still ours -> gone with the next claim
//! ```
//!
//! It is told as well as it can be: a graph that is away keeps nothing. A writer that was fenced tells
//! nothing, since the pipeline runs elsewhere.

use chrono::Utc;
use neo4rs::Query;

use crate::checkpoint::{Epoch, Identity};

use super::{checkpoint, connect::Connection, error::Error};

/// Characters of a reason that are kept.
const CHARACTERS_MAX: usize = 2_000;

/// Takes down why the writer of this epoch stopped. False when another one has claimed the checkpoint
/// since: then nothing is written. Nothing that `because` says may be a row's.
pub async fn tell(
    connection: &Connection,
    identity: &Identity,
    epoch: Epoch,
    because: &str,
) -> Result<bool, Error> {
    let because: String = because.chars().take(CHARACTERS_MAX).collect();
    let text = format!(
        "MATCH {} SET c:{} WITH c, properties(c) AS now WHERE now.epoch = $epoch \
         SET c.stopped_because = $because, c.stopped_at = $now",
        checkpoint::ONE,
        checkpoint::LABEL
    );
    let query = checkpoint::of(Query::new(text), identity)
        .param("epoch", epoch.0)
        .param("because", because)
        .param("now", Utc::now());
    connection.run(query).await.map(|did| checkpoint::passed(&did))
}
