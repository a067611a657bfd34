//! What `wal2graph check` finds, for the page: once a minute or so, on connections of its own, while the program works.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use crate::{
    config::Config,
    health::State,
    metrics::{CHECK_INTERVAL, CheckLook, Metrics, now},
    report::Findings,
    service::checks,
};

/// The time limit for all checks. After it, the findings so far count, and the connections close.
const LIMIT: Duration = Duration::from_secs(20);
/// The interval after a failed check: a mended failure disappears soon.
const FAILED_INTERVAL: Duration = Duration::from_secs(15);
/// Between two looks at what the program does.
const PAUSE: Duration = Duration::from_secs(1);

/// Checks until it is dropped.
pub async fn now_and_then(config: Config, metrics: Arc<Metrics>) {
    loop {
        until_it(&metrics, true).await;
        let (at, mut found) = (now(), Findings::default());
        let ended = tokio::select! {
            ended = timeout(LIMIT, checks::beside(&config, &mut found)) => ended.is_ok(),
            // Nothing is asked beside a program that has stopped.
            () = until_it(&metrics, false) => continue,
        };
        if !ended {
            let limit = LIMIT.as_secs();
            found.warning(format!("not all checks were answered within {limit} s"));
        }
        let interval = if found.failures() > 0 { FAILED_INTERVAL } else { CHECK_INTERVAL };
        metrics.checked(CheckLook { at, findings: found.findings });
        sleep(interval).await;
    }
}

/// Waits until the program works, or does not.
async fn until_it(metrics: &Metrics, works: bool) {
    while works != does_it(&metrics.snapshot(now()).facts.state) {
        sleep(PAUSE).await;
    }
}

fn does_it(work: &State) -> bool {
    match work {
        State::Copying | State::Streaming | State::Waiting { .. } | State::Standby { .. } => true,
        // It has not asked yet what it asks itself.
        State::Starting | State::Stopping | State::Stopped { .. } => false,
    }
}
