//! Whether a `run` is up, and what a command does where none is: it follows the source itself meanwhile.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    checkpoint::Checkpoint,
    cli::{IntoExistingGraph, RunArgs, UntilArg},
    config::{Config, Listen},
    pipeline::Store,
    postgres::{
        connect::{Sql, sql},
        setup::slot,
    },
    request::{Request, RequestId, State},
    service::{ServiceError, graph::Graph, run},
};

use super::INTERVAL;

/// The source is followed here once nothing has shown for this long that a `run` is up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Follows the source as long as this is polled, once it is sure that nobody else does: without a `run`, the graph
/// never gets what is committed now.
pub async fn stand_in(config: &Config, graph: &Graph) -> Result<Infallible, ServiceError> {
    while !is_alone(config, graph, None).await {}
    tracing::info!(
        "no `wal2graph run` is up: this command follows the source until all is counted"
    );
    let (config, args) = of_its_own(config, None);
    run::execute(&config, &args).await?;
    Err(ServiceError::Definite("stopped before all was counted".to_owned()))
}

/// How a command runs the pipeline: nobody asks it over HTTP, and a `run` that comes has its port.
pub fn of_its_own(config: &Config, until: Option<UntilArg>) -> (Config, RunArgs) {
    let mut config = config.clone();
    config.http.listen = Listen::Off;
    (config, RunArgs { until, into_existing_graph: IntoExistingGraph::Refuse })
}

/// Waits until it is sure that no `run` is up. A `run` that connects again has no reader at its slot for a while, so
/// one look says nothing: nobody may read, no checkpoint be claimed or moved, and no request be worked on, for
/// [`PATIENCE`] without a break. `false`: this request is taken up, or has ended.
pub async fn is_alone(config: &Config, graph: &Graph, request: Option<&Request>) -> bool {
    let (mut before, mut since, mut is_told) = (None, Instant::now(), false);
    loop {
        sleep(INTERVAL).await;
        // While a side is away, nothing is known: `run` waits for it, too.
        let signs = match signs(config, graph, request).await {
            Ok(Some(signs)) => Some(signs),
            Ok(None) => return false,
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(%error, "whether a `run` is up is not known: waiting");
                }
                None
            }
        };
        if signs.is_none() || signs != before || signs.as_ref().is_some_and(|it| it.is_read) {
            (before, since) = (signs, Instant::now());
        }
        if since.elapsed() >= PATIENCE {
            return true;
        }
    }
}

/// What shows that a pipeline is up.
#[derive(PartialEq)]
struct Signs {
    /// Somebody reads from the slot.
    is_read: bool,
    /// A writer claims checkpoints, and moves them on.
    checkpoints: Vec<Checkpoint>,
    /// It takes up requests, older ones first, and ends them.
    requests: Vec<(RequestId, State)>,
}

/// `None`: nobody has to take the request up any more.
async fn signs(
    config: &Config,
    graph: &Graph,
    request: Option<&Request>,
) -> Result<Option<Signs>, ServiceError> {
    let Sql { client, .. } = sql(&config.source()).await?;
    let held = slot(&client, &config.slot).await?;
    let is_read = held.is_some_and(|slot| slot.active_pid.is_some());
    let checkpoints = graph.checkpoints(&config.pipeline).await?;
    let requests = graph.requests(&config.pipeline).await?;
    let is_asked =
        |asked: &Request| requests.iter().any(|it| it.id == asked.id && it.state == State::Asked);
    if request.is_some_and(|request| !is_asked(request)) {
        return Ok(None);
    }
    let requests = requests.into_iter().map(|it| (it.id, it.state)).collect();
    Ok(Some(Signs { is_read, checkpoints, requests }))
}
