//! Signals: finish what is in flight, then stop.

use std::{io, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Exit;

/// The time that the batch in flight has to finish after the first signal.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Resolves on the next SIGTERM or SIGINT. From the first call on, neither ends the process by itself.
pub async fn signalled() -> io::Result<()> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Resolves on the first SIGTERM or SIGINT. A second one ends the process at once; so does the
/// deadline.
pub async fn requested() -> io::Result<()> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: the batch in flight is finished first");
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = tokio::time::sleep(DEADLINE) => {
                tracing::warn!("the batch in flight is not finished; it is applied again at the next start");
            }
        }
        std::process::exit(Exit::Interrupted as i32);
    });
    Ok(())
}
