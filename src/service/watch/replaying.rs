//! What a person sees while records are applied again: a log line now and then.

use std::time::Duration;

use tokio::{sync::watch, task::JoinHandle, time::Instant, time::sleep};

use crate::{checkpoint::TopicPartition, lsn::Lsn, pipeline::Status};

/// How often a line is written.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// How often the pipeline is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Tells how far a replay is, until it has reached `until` or the pipeline has ended.
pub fn watch(
    at: TopicPartition,
    status: watch::Receiver<Status>,
    until: Option<Lsn>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let Some(until) = until else { return };
        let mut told = Instant::now();
        while status.has_changed().is_ok() {
            let offset = status.borrow().applied.lsn;
            if offset >= until {
                tracing::info!(%at, offset = offset.0, "the replay is done");
                return;
            }
            if told.elapsed() >= LOG_INTERVAL {
                told = Instant::now();
                tracing::info!(%at, offset = offset.0, until = until.0, "replaying");
            }
            sleep(LOOK_INTERVAL).await;
        }
    })
}
