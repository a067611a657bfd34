//! The requests that a process sees, and whose turn it is.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::sleep,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    config::Config,
    pipeline::Store,
    request::Request,
    service::graph::{Wait, open},
};

/// How often requests are looked at, and findings are kept.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// The open requests, and the turns of partitions that compare.
pub struct Looked {
    open: watch::Receiver<Vec<Request>>,
    turns: Arc<Semaphore>,
    _looking: AbortOnDropHandle<()>,
}

impl Looked {
    /// Looks at the requests of the graph until it is dropped.
    pub fn new(config: &Config) -> Self {
        let (seen, open) = watch::channel(Vec::new());
        let turns = Arc::new(Semaphore::new(config.limits.copy_lanes));
        let looking = AbortOnDropHandle::new(tokio::spawn(look(config.clone(), seen)));
        Looked { open, turns, _looking: looking }
    }

    /// The open requests, as they were seen last.
    pub fn open(&self) -> watch::Receiver<Vec<Request>> {
        self.open.clone()
    }

    /// Waits for a turn. It lasts until the result is dropped.
    pub async fn turn(&self) -> OwnedSemaphorePermit {
        match self.turns.clone().acquire_owned().await {
            Ok(turn) => turn,
            // Nobody closes it.
            Err(_) => pending().await,
        }
    }
}

async fn look(config: Config, seen: watch::Sender<Vec<Request>>) {
    let mut graph = None;
    loop {
        sleep(INTERVAL).await;
        // The writers report a graph that is away.
        let Ok(open) = graph.take().map_or_else(|| open(&config, Wait::Usual), Ok) else {
            continue;
        };
        let Ok(mut requests) = open.requests(&config.pipeline).await else { continue };
        graph = Some(open);
        requests.retain(|request| request.state.is_open());
        if *seen.borrow() != requests {
            seen.send_replace(requests);
        }
    }
}
