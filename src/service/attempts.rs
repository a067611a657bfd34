//! The lives of a pipeline: connected, until a side is away; then everything is let go of, and after
//! a pause connected again.

use std::{
    future::Future,
    hash::{BuildHasher, Hasher, RandomState},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    checkpoint::TopicPartition,
    cli::Exit,
    config::{Config, OnStop},
    metrics::Metrics,
    pipeline::{Ended, Failure, PipelineError},
    postgres::setup::makings_cancelled,
    shutdown,
};

use super::{ServiceError, logins::LogIns, watch::budget};

/// The first pause before everything is connected again.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// The longest while another instance has the slot: it is taken over soon after that one has gone.
const STANDBY_PAUSE_MAX: Duration = Duration::from_secs(4);
/// A run that lasted this long starts again with the shortest pause.
const HEALTHY: Duration = Duration::from_secs(30);

/// A reason is told again after so long.
const TOLD_INTERVAL: Duration = Duration::from_secs(60);
/// The different reasons that are remembered: a side that is away has few.
const REASONS_MAX: usize = 8;

/// The attempts so far: how long the pause is before the next one, and what the log was told.
#[derive(Default)]
pub struct Attempts {
    pause: Duration,
    /// Reasons that the log has, and since when.
    told: Vec<(String, Instant)>,
}

/// What follows an attempt that failed.
pub struct Failed {
    /// How long it takes until the next one.
    pub pause: Duration,
    /// The log has this reason already.
    pub is_known: bool,
}

impl Attempts {
    /// An attempt that began at `started` has failed now.
    pub fn failed(&mut self, started: Instant, why: &str) -> Failed {
        let now = Instant::now();
        let was_healthy = now - started > HEALTHY;
        let longer = if was_healthy { PAUSE_MIN } else { self.pause * 2 };
        self.pause = longer.clamp(PAUSE_MIN, PAUSE_MAX);
        if was_healthy {
            self.told.clear();
        }
        Failed { pause: with_jitter(self.pause), is_known: self.is_known(why, now) }
    }

    /// A life has begun: what ends it is news, whether or not it was told before.
    pub fn connected(&mut self) {
        self.told.clear();
    }

    fn is_known(&mut self, why: &str, now: Instant) -> bool {
        self.told.retain(|(_, at)| now - *at < TOLD_INTERVAL);
        if self.told.iter().any(|(told, _)| told == why) {
            return true;
        }
        if self.told.len() == REASONS_MAX {
            self.told.remove(0);
        }
        self.told.push((why.to_owned(), now));
        false
    }
}

/// Between half of the pause and all of it: programs that lost the same server do not come back at once.
fn with_jitter(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    pause.mul_f64(0.5 + (random % 1024) as f64 / 2048.0)
}

impl Failed {
    /// Tells the log why: of a partition, if it is one's. A reason that it has is for those who debug.
    pub fn tell(&self, at: Option<&TopicPartition>, error: &ServiceError) {
        let (at, again_in_ms) = (at.map(tracing::field::display), self.pause.as_millis() as u64);
        match self.is_known {
            true => tracing::debug!(at, %error, again_in_ms, "an attempt failed: connecting again"),
            false => tracing::warn!(at, %error, again_in_ms, "an attempt failed: connecting again"),
        }
    }

    /// Tells the log that another instance has the slot.
    fn tell_standby(&self, error: &ServiceError) {
        match self.is_known {
            true => tracing::debug!(%error, "standby: another instance has the slot"),
            false => tracing::info!(%error, "standby: another instance has the slot"),
        }
    }
}

/// A service whose lives are lived.
pub struct Service<'a> {
    /// What is configured.
    pub config: &'a Config,
    /// Learn what it does.
    pub metrics: &'a Arc<Metrics>,
    /// Its slot, which has a budget.
    pub holds_slot: bool,
    /// It ends by itself (`--until`).
    pub ends: bool,
}

impl Service<'_> {
    /// Lives until an attempt ends well, the program is asked to stop, or something has to be changed
    /// first: `told` takes that down. `attempt` is one connected life.
    pub async fn live(
        self,
        attempt: impl AsyncFnMut(&watch::Receiver<bool>) -> Result<Ended, ServiceError>,
        told: impl AsyncFnOnce(&ServiceError),
    ) -> Result<(), ServiceError> {
        let (asked, is_asked) = watch::channel(false);
        let (stopping, stop) = watch::channel(false);
        let (metrics, told_to_stop) = (self.metrics.clone(), stopping.clone());
        tokio::spawn(async move {
            let requested = shutdown::requested().await;
            metrics.stopping();
            asked.send_replace(requested.is_ok());
            told_to_stop.send_replace(requested.is_ok());
        });
        let ended = self.until_it_ends(attempt, &stopping, &stop).await;
        let Err(error) = &ended else { return ended };
        told(error).await;
        if self.stays_after(error) && !*is_asked.borrow() {
            tracing::error!("{error}");
            tracing::error!("stopped: /status and /ready say why, until SIGTERM (on_stop: stay)");
            self.metrics.stopped(error.for_the_graph());
            stopped(is_asked).await;
        }
        ended
    }

    fn stays_after(&self, error: &ServiceError) -> bool {
        let stays = self.config.policies.on_stop == OnStop::Stay && !self.ends;
        stays && !error.is_transient() && error.exit() == Exit::Failed
    }

    async fn until_it_ends(
        &self,
        attempt: impl AsyncFnMut(&watch::Receiver<bool>) -> Result<Ended, ServiceError>,
        stopping: &watch::Sender<bool>,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), ServiceError> {
        if !self.holds_slot {
            return live(self.config, self.metrics, attempt, stop).await;
        }
        let too_much = {
            let mut living = pin!(live(self.config, self.metrics, attempt, stop));
            tokio::select! {
                ended = &mut living => return ended,
                too_much = budget::exceeded(self.config, self.metrics) => {
                    // The batch in flight is finished, if the graph takes it.
                    stopping.send_replace(true);
                    let _ = timeout(shutdown::DEADLINE, living).await;
                    too_much
                }
            }
        };
        makings_cancelled().await;
        Err(budget::end(self.config, too_much).await)
    }
}

async fn live(
    config: &Config,
    metrics: &Arc<Metrics>,
    mut attempt: impl AsyncFnMut(&watch::Receiver<bool>) -> Result<Ended, ServiceError>,
    stop: &watch::Receiver<bool>,
) -> Result<(), ServiceError> {
    let (mut attempts, mut logins) = (Attempts::default(), LogIns::default());
    loop {
        let (started, lives) = (Instant::now(), metrics.lives());
        let ended = attempt(stop).await;
        if metrics.lives() > lives {
            attempts.connected();
            logins.succeeded();
        }
        let (error, why) = match ended {
            Ok(_) => return Ok(()),
            Err(error) if error.is_transient() => {
                let why = error.to_string();
                (error, why)
            }
            Err(error) => match logins.tried_again(&error, config, metrics.has_begun()) {
                // librdkafka's words count: each refusal has others.
                Some(how) => (ServiceError::NotYet(format!("{error}. {how}")), how.to_string()),
                None => return Err(error),
            },
        };
        let mut failed = attempts.failed(started, &why);
        match error.is_of_another_instance() {
            true => {
                logins.succeeded();
                failed.pause = failed.pause.min(STANDBY_PAUSE_MAX);
                failed.tell_standby(&error);
                metrics.standby(error.to_string());
            }
            false => {
                failed.tell(None, &error);
                metrics.waiting(error.to_string());
                metrics.counts().retried("reconnect");
            }
        }
        tokio::select! {
            () = stopped(stop.clone()) => return Ok(()),
            () = sleep(failed.pause) => {}
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_side_that_stays_away_is_told_of_at_once_and_then_once_a_minute() {
        let mut attempts = Attempts::default();
        let (mut told, mut pauses) = (0, Vec::new());
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(600) {
            // What refuses and what does not answer take turns.
            let why = if pauses.len() % 2 == 0 { "refused" } else { "no answer" };
            let Failed { pause, is_known } = attempts.failed(Instant::now(), why);
            told += usize::from(!is_known);
            pauses.push(pause);
            sleep(pause).await;
        }
        assert!((16..=22).contains(&told), "{told} lines in ten minutes, of two reasons");
        let last = &pauses[10..];
        assert!(last.iter().all(|pause| *pause >= PAUSE_MAX / 2 && *pause <= PAUSE_MAX));
        assert!(last.iter().any(|pause| *pause != last[0]), "the pauses have no jitter");
        attempts.connected();
        assert!(!attempts.failed(Instant::now(), "refused").is_known, "it was there meanwhile");
    }
}
