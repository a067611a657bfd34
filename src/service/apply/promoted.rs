//! A partition whose publisher has gone over to a standby that was promoted: its checkpoint names the new timeline.

use tokio::sync::watch;

use crate::{
    checkpoint::Claim,
    pipeline::{Note, Status, Store},
    service::ServiceError,
    topic::timeline::Timeline,
};

use super::shared::Shared;

/// Notes each timeline once everything through its first record is applied. Resolves where that is not possible.
pub async fn follow(
    shared: &Shared,
    claim: &Claim,
    timeline: &Timeline,
    mut status: watch::Receiver<Status>,
) -> ServiceError {
    while status.changed().await.is_ok() {
        if let Err(error) = note(shared, claim, timeline, &status).await {
            return error;
        }
    }
    std::future::pending().await
}

/// Notes the timeline that is applied, if the checkpoint does not name it yet.
pub async fn note(
    shared: &Shared,
    claim: &Claim,
    timeline: &Timeline,
    status: &watch::Receiver<Status>,
) -> Result<(), ServiceError> {
    let applied = status.borrow().applied.lsn.0;
    let Some(now) = timeline.passed(applied) else { return Ok(()) };
    // Another instance that has claimed the partition notes it as well.
    if shared.graph.note(claim, Note::Timeline(now)).await? {
        let log = claim.identity.log.name();
        tracing::info!(at = log, now, "the source was promoted: its log goes on in the topic");
    }
    timeline.is_named(now);
    Ok(())
}
