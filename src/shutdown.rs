//! Signals: finish what is in flight, then stop.

use std::{io, thread, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use crate::cli::Exit;

/// The time that the batch in flight has to finish after the first signal.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Resolves on the first SIGTERM or SIGINT. A second one ends the process at once; so does the
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
    tracing::info!("stopping: the batch in flight is finished first");
    let _ = told.send(Ok(()));
    tokio::select! {
        () = signals.next() => {}
        () = tokio::time::sleep(DEADLINE) => {
            tracing::warn!("the batch in flight is not finished; it is applied again at the next start");
        }
    }
    std::process::exit(Exit::Interrupted as i32);
}

/// Resolves on the next SIGTERM or SIGINT. From the first call on, neither ends the process by itself.
pub async fn signalled() -> io::Result<()> {
    Signals::new()?.next().await;
    Ok(())
}

/// SIGTERM and SIGINT. Neither ends the process by itself once this exists.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Signals { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
