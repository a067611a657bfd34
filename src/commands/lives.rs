//! Connected lives, one after another, of a command that goes on until it is stopped.
//!
//! ```text
//! attempt --ended--> done
//!    ^ |
//!    | +--transient failure--> wait, longer each time --+
//!    +--------------------------------------------------+
//! ```

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    metrics::Metrics,
    pipeline::{Ended, Failure},
    shutdown,
};

use super::CommandError;

/// The first pause before everything is connected again.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// A life that lasted this long is followed by the shortest pause.
const HEALTHY: Duration = Duration::from_secs(30);

/// Says whether the program was asked to stop.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Resolves once the program is asked to stop.
    pub async fn requested(mut self) {
        if self.0.wait_for(|stop| *stop).await.is_err() {
            std::future::pending().await
        }
    }

    /// Gives up connecting and preparing when the program is asked to stop: nothing is in flight
    /// then.
    pub async fn unless<T>(
        &self,
        work: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<Option<T>, CommandError> {
        tokio::select! {
            result = work => result.map(Some),
            () = self.clone().requested() => Ok(None),
        }
    }
}

/// Lives until one ends well, or something has to be changed first.
pub async fn live(
    metrics: &Arc<Metrics>,
    mut attempt: impl AsyncFnMut(&Stop) -> Result<Ended, CommandError>,
) -> Result<(), CommandError> {
    let (stopping, stop) = watch::channel(false);
    let told = metrics.clone();
    tokio::spawn(async move {
        let requested = shutdown::requested().await;
        told.stopping();
        stopping.send_replace(requested.is_ok());
    });
    let stop = Stop(stop);
    let mut pause = PAUSE_MIN;
    loop {
        let started = Instant::now();
        let error = match attempt(&stop).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_transient() => error,
            Err(error) => return Err(error),
        };
        if started.elapsed() > HEALTHY {
            pause = PAUSE_MIN;
        }
        tracing::warn!(%error, again_in_ms = pause.as_millis() as u64, "not connected");
        metrics.waiting(error.to_string());
        metrics.counts().retried("reconnect");
        tokio::select! {
            () = stop.clone().requested() => return Ok(()),
            () = sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
        }
    }
}
