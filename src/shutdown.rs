//! Signals: finish what is in flight, then stop.

use std::{fs, io, thread, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use crate::{cli::Exit, logging};

/// The time that the batch in flight has to finish after the first signal.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Resolves on the first SIGTERM, SIGINT or SIGHUP. A second one ends the process at once; so does the
/// deadline.
///
/// A thread of its own waits for signals and deadline: the process ends even if everything else is
/// stuck, as in a client library that waits for a broker.
pub async fn requested() -> io::Result<()> {
    let (told, requested) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let watching = move || runtime.block_on(watch(told));
    thread::Builder::new().name("signals".to_owned()).spawn(watching)?;
    requested.await.unwrap_or_else(|_| Err(io::Error::other("the thread for signals has ended")))
}

/// Tells of the first signal, and ends the process after it if the process does not end by itself.
async fn watch(told: oneshot::Sender<io::Result<()>>) {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return drop(told.send(Err(error))),
    };
    signals.next().await;
    let _ = told.send(Ok(()));
    tracing::info!("stopping: the batch in flight is finished first");
    tokio::select! {
        () = signals.next() => {}
        () = tokio::time::sleep(DEADLINE) => {
            tracing::warn!("the batch in flight is not finished; it is applied again at the next start");
        }
    }
    logging::finish();
    std::process::exit(Exit::Interrupted as i32);
}

/// Resolves on the next SIGTERM, SIGINT or SIGHUP. From the first call on, none ends the process by itself.
pub async fn signalled() -> io::Result<()> {
    Signals::new()?.next().await;
    Ok(())
}

/// SIGTERM, SIGINT and SIGHUP. None ends the process by itself once this exists.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// A terminal has gone. `None`: the process was started to outlive that (`nohup`).
    hangup: Option<Signal>,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let hangup = match hangup_is_ignored() {
            true => None,
            false => Some(signal(SignalKind::hangup())?),
        };
        Ok(Signals { terminate, interrupt, hangup })
    }

    async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Whether the process was started with SIGHUP ignored, where the system tells.
fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignores(&status, SignalKind::hangup())
}

/// Whether a process with this `/proc/PID/status` ignores a signal.
fn ignores(status: &str, signal: SignalKind) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal.as_raw_value() - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_seen_in_the_status_of_the_process() {
        let ignored = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert!(ignores(ignored, SignalKind::hangup()) && ignores(ignored, SignalKind::pipe()));
        assert!(!ignores(ignored, SignalKind::terminate()));
        assert!(!ignores("SigIgn:\t0000000000001000\n", SignalKind::hangup()));
        assert!(!ignores("", SignalKind::hangup()));
    }
}
