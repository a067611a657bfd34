//! Whether the graph still has what was written there, while a partition stands still: its next write, which would
//! notice, may be long in coming.

use std::time::Duration;

use tokio::{sync::watch, time::sleep};

use crate::{
    checkpoint::{Claim, PutBack},
    pipeline::{Status, Store},
};

/// How often the checkpoint is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Resolves when the checkpoint is at an older state than its writer has left it in, or gone.
pub async fn put_back(
    graph: &impl Store,
    claim: &Claim,
    written: watch::Receiver<Status>,
) -> PutBack {
    loop {
        sleep(LOOK_INTERVAL).await;
        // Before the question: what is written meanwhile is further on.
        let left = written.borrow().applied;
        // The writer waits for a graph that is away.
        let Ok(found) = graph.checkpoint(&claim.identity).await else { continue };
        if let Some(put_back) = PutBack::of(found.as_ref(), claim, &left) {
            return put_back;
        }
    }
}
