//! The lives of a pipeline: connected, until a side is away; then everything is let go of, and after
//! a pause connected again.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    engine::{Portion, Refused},
    metrics::Metrics,
    pipeline::{Ended, Failure, PipelineError},
    postgres::setup::makings_cancelled,
    shutdown,
};

use super::ServiceError;

/// The first pause before everything is connected again.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// A run that lasted this long starts again with the shortest pause.
const HEALTHY: Duration = Duration::from_secs(30);

/// The pauses between attempts: longer and longer, until one of them lasted.
#[derive(Default)]
pub struct Pause(Duration);

impl Pause {
    /// The pause after an attempt that lasted so long.
    pub fn after(&mut self, lasted: Duration) -> Duration {
        let longer = if lasted > HEALTHY { PAUSE_MIN } else { self.0 * 2 };
        self.0 = longer.clamp(PAUSE_MIN, PAUSE_MAX);
        self.0
    }
}

/// Lives until an attempt ends well, the program is asked to stop, or something has to be changed
/// first. `attempt` is one connected life.
pub async fn live(
    metrics: &Arc<Metrics>,
    mut attempt: impl AsyncFnMut(&watch::Receiver<bool>) -> Result<Ended, ServiceError>,
) -> Result<(), ServiceError> {
    let (stopping, stop) = watch::channel(false);
    let told = metrics.clone();
    tokio::spawn(async move {
        let requested = shutdown::requested().await;
        told.stopping();
        stopping.send_replace(requested.is_ok());
    });
    let mut pause = Pause::default();
    loop {
        let started = Instant::now();
        let error = match attempt(&stop).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_transient() => error,
            Err(error) => return Err(error),
        };
        if let Some(refused) = refused(&error) {
            metrics.counts().retried(refused.name());
            continue;
        }
        let pause = pause.after(started.elapsed());
        tracing::warn!(%error, again_in_ms = pause.as_millis() as u64, "an attempt failed: connecting again");
        metrics.waiting(error.to_string());
        metrics.counts().retried("reconnect");
        tokio::select! {
            () = stopped(stop.clone()) => return Ok(()),
            () = sleep(pause) => {}
        }
    }
}

/// The sink did not take a batch as a whole, so that the next life begins at once, with smaller ones.
pub fn refused(error: &ServiceError) -> Option<Refused> {
    match error {
        ServiceError::Pipeline(PipelineError::Refused { refused, .. }) => Some(*refused),
        _ => None,
    }
}

/// The portion for the next life, after one that had `portion` and ended like this.
pub fn learned(portion: Portion, ended: &Result<Ended, PipelineError>) -> Portion {
    let Err(error @ PipelineError::Refused { refused, changes, .. }) = ended else {
        return portion;
    };
    let next = portion.after(*refused, *changes);
    let now = next.bound(*changes);
    tracing::warn!(%error, changes, now, "Neo4j does not take so many changes at once: going on with fewer");
    next
}

/// Runs a pipeline on a worker, beside the tasks that it talks to: whoever waits for the program's
/// end is on a thread of its own, which would have to be woken for every message.
pub async fn on_a_worker<T: Send + 'static>(
    running: impl Future<Output = Result<T, PipelineError>> + Send + 'static,
) -> Result<T, PipelineError> {
    AbortOnDropHandle::new(tokio::spawn(running)).await?
}

/// Resolves once the program is asked to stop.
pub async fn stopped(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

/// Gives up connecting and preparing when the program is asked to stop: nothing is in flight then
/// but the making of a slot, which is cancelled.
pub async fn unless_stopped<T>(
    stop: &watch::Receiver<bool>,
    work: impl Future<Output = Result<T, ServiceError>>,
) -> Result<Option<T>, ServiceError> {
    tokio::select! {
        result = work => result.map(Some),
        () = stopped(stop.clone()) => {
            makings_cancelled().await;
            Ok(None)
        }
    }
}
