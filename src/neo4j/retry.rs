//! Trying again: how long, and after which pauses.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::{Duration, Instant},
};

use super::error::Error;

/// How long one call tries before it says that the graph is away.
pub const RETRY_LIMIT: Duration = Duration::from_secs(30);

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The attempts of one call.
pub(super) struct Retry {
    began: Instant,
    pause: Duration,
}

impl Retry {
    /// The first attempt begins.
    pub(super) fn new() -> Self {
        Retry { began: Instant::now(), pause: FIRST_PAUSE }
    }

    /// Waits until another attempt is due; false, at once, when it would come after
    /// [`RETRY_LIMIT`].
    pub(super) async fn wait(&mut self) -> bool {
        if self.began.elapsed() + self.pause > RETRY_LIMIT {
            return false;
        }
        tokio::time::sleep(with_jitter(self.pause)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

/// Does it again while Neo4j asks for that, or fails. A lost connection is an error: only a writer knows how
/// to go on from it.
pub(super) async fn while_transient<T, A: Future<Output = Result<T, Error>>>(
    mut attempt: impl FnMut() -> A,
) -> Result<T, Error> {
    let mut retry = Retry::new();
    loop {
        match attempt().await {
            Err(error @ (Error::Transient(_) | Error::Failed(_))) => {
                if !retry.wait().await {
                    return Err(error.for_good(false));
                }
            }
            result => return result,
        }
    }
}

/// Between half of it and all of it, so that two that met do not meet again.
fn with_jitter(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    pause.mul_f64(0.5 + (random % 1024) as f64 / 2048.0)
}
