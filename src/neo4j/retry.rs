//! Retries: their time limit and their pauses.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
    time::{Duration, Instant},
};

use super::error::Error;

/// One call tries for this long before it reports the graph as unreachable.
pub const RETRY_LIMIT: Duration = Duration::from_secs(30);

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A warning covers all errors of its kind for this long.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

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

    /// Waits until the next attempt is due. Returns false at once if that would be after
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

/// Retries while Neo4j asks for that, or fails. A lost connection is an error: only a writer knows
/// how to continue from it.
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

/// The warnings given so far. The first error of a kind is logged at once; the next ones are
/// counted until the next warning.
#[derive(Default)]
pub(super) struct Warnings(BTreeMap<String, Told>);

struct Told {
    at: Instant,
    since: u64,
}

impl Warnings {
    /// Whether to warn of an error now, and the number of its kind since the last warning.
    pub(super) fn due(&mut self, error: &Error, now: Instant) -> Option<u64> {
        let Some(told) = self.0.get_mut(error.kind()) else {
            self.0.insert(error.kind().to_owned(), Told { at: now, since: 0 });
            return Some(0);
        };
        if now.duration_since(told.at) < WARNING_INTERVAL {
            told.since += 1;
            return None;
        }
        told.at = now;
        Some(std::mem::take(&mut told.since))
    }
}

/// Between half of the pause and all of it, so that two deadlocked writers do not collide again.
fn with_jitter(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    pause.mul_f64(0.5 + (random % 1024) as f64 / 2048.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlocks_that_come_again_and_again_are_warned_of_once_a_minute_with_their_number() {
        let of = |code| Error::of_server(code, "they wait for each other");
        let deadlock = of("Neo.TransientError.Transaction.DeadlockDetected");
        let (mut warnings, began) = (Warnings::default(), Instant::now());
        let mut due =
            |error: &Error, second| warnings.due(error, began + Duration::from_secs(second));
        assert_eq!(due(&deadlock, 0), Some(0));
        assert_eq!([1, 30, 59].map(|second| due(&deadlock, second)), [None; 3]);
        // Another cause is logged at once.
        assert_eq!(due(&Error::Lost("reset".to_owned()), 59), Some(0));
        assert_eq!(due(&of("Neo.TransientError.Transaction.Outdated"), 59), Some(0));
        assert_eq!(due(&deadlock, 60), Some(3));
        assert_eq!(due(&deadlock, 61), None);
        assert_eq!(due(&deadlock, 120), Some(1));
    }
}
