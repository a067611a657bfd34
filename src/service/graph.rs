//! The graph's side of a pipeline, whatever feeds it.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    checkpoint::{Checkpoint, Claim, Epoch, Identity, Log},
    config::Config,
    graph::Model,
    graphs,
    metrics::Metrics,
    pipeline::{Failure, Note, Status, Store},
    start::graph::Obstacle,
};

use super::ServiceError;

pub use graphs::{Graph, Planner, Wait};

/// How long the end of the program waits for the graph to take down why.
const TELL_LIMIT: Duration = Duration::from_secs(5);

/// The graph that the configuration names, for reading and for notes.
pub fn open(config: &Config, wait: Wait) -> Result<Graph, ServiceError> {
    Ok(graphs::open(&config.graph()?, wait, Arc::new(()))?)
}

/// The same for a service: the metrics count what its writers do.
pub fn open_counted(config: &Config, metrics: &Arc<Metrics>) -> Result<Graph, ServiceError> {
    Ok(graphs::open(&config.graph()?, Wait::Long, metrics.clone())?)
}

/// Makes what checkpoints and the model need.
pub async fn establish(graph: &impl Store, model: &Model) -> Result<(), ServiceError> {
    for constraint in graph.establish(model).await? {
        tracing::info!(constraint, "created a constraint in the graph");
    }
    Ok(())
}

/// The same of a graph that follows already. `false`: others have doubled nodes while a constraint was not there, so
/// it can not be made before a repair has left one of each.
pub async fn establish_again(graph: &impl Store, model: &Model) -> Result<bool, ServiceError> {
    let Err(error) = establish(graph, model).await else { return Ok(true) };
    if error.is_transient() {
        return Err(error);
    }
    let obstacles = graph.obstacles(model).await?;
    if obstacles.is_empty() || !obstacles.iter().all(Obstacle::is_repaired) {
        return Err(error);
    }
    for obstacle in obstacles {
        tracing::warn!(
            "{}. `wal2graph verify` names them, and `wal2graph repair` leaves one of each",
            obstacle.what()
        );
    }
    Ok(false)
}

/// How often it is looked whether constraints are still there.
const CONSTRAINT_INTERVAL: Duration = Duration::from_secs(15);

/// Makes constraints and indexes again that somebody drops while the pipeline runs, until it is
/// dropped. Without them rows go on being written, by scans, and the same key could be there twice.
pub fn keep_constraints(graph: impl Store, model: Arc<Model>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut said = None;
        loop {
            tokio::time::sleep(CONSTRAINT_INTERVAL).await;
            let made = match graph.is_established(&model).await {
                Ok(true) => Ok(Vec::new()),
                Ok(false) => graph.establish(&model).await,
                Err(error) => Err(error),
            };
            match made {
                Ok(made) => {
                    for constraint in made {
                        tracing::warn!(
                            constraint,
                            "a constraint of ours was dropped from the graph: creating it again"
                        );
                    }
                    said = None;
                }
                // The writers report a graph that is away, or refuses the log-in.
                Err(error) if error.is_transient() || error.refused_login().is_some() => {}
                Err(error) => {
                    let text = error.in_full();
                    if said.as_ref() != Some(&text) {
                        tracing::error!(
                            error = text,
                            "a constraint of ours was dropped, and can not be made again"
                        );
                    }
                    said = Some(text);
                }
            }
        }
    }))
}

/// Claims a log of the pipeline: whoever else writes for it is fenced from then on. Only for who holds what
/// is read: the slot, or the partition.
pub async fn claim(
    graph: &impl Store,
    of: &Identity,
    publication: Option<&str>,
) -> Result<Checkpoint, ServiceError> {
    let claimed = graph.claim(of, publication).await;
    claimed.map_err(|error| match error.refused_login() {
        Some(_) => ServiceError::Graph(error),
        None => ServiceError::NotYet(error.to_string()),
    })
}

/// Takes down on the checkpoint why the writer of this epoch stopped for good, if the graph takes it now.
pub async fn tell_why(config: &Config, log: Log, epoch: Epoch, error: &ServiceError) {
    let claim = claimed(config, log, epoch);
    let telling = async {
        let graph = open(config, Wait::AtMost(TELL_LIMIT))?;
        graph.note(&claim, Note::Stopped(&error.for_the_graph())).await?;
        Ok::<(), ServiceError>(())
    };
    match timeout(TELL_LIMIT, telling).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the reason for the stop is not in the graph"),
        Err(_) => {
            tracing::debug!("the reason for the stop is not in the graph: it does not answer")
        }
    }
}

/// Which checkpoint a log of the pipeline has.
pub fn identity(config: &Config, log: Log) -> Identity {
    Identity { pipeline: config.pipeline.clone(), log }
}

/// The claim of a log of the pipeline that has this epoch.
pub fn claimed(config: &Config, log: Log, epoch: Epoch) -> Claim {
    Claim { identity: identity(config, log), epoch }
}

/// Where a pipeline is before it begins.
pub fn status_at(checkpoint: &Checkpoint, copying: bool) -> Status {
    Status {
        received: checkpoint.lsn,
        complete: checkpoint.lsn,
        applied: checkpoint.position,
        // A graph that no transaction was applied to is as old as its checkpoint.
        committed_at: checkpoint.committed_at.or(Some(checkpoint.updated_at)),
        copying,
        ..Status::default()
    }
}
