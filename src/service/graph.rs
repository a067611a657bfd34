//! The graph's side of a pipeline, whatever feeds it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use neo4rs::Query;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    checkpoint::{Checkpoint, Epoch, Identity, Log},
    config::Config,
    graph::Model,
    metrics::Metrics,
    neo4j::{
        self, Connection, Planner, TellRetry, Writer, claim, planning::TellWaiting,
        schema::Requirement,
    },
    pipeline::{Failure, Status},
};

use super::ServiceError;

/// How long the end of the program waits for the graph to take down why.
const TELL_LIMIT: Duration = Duration::from_secs(5);

/// A connection for long answers, to a graph that has what checkpoints and the model need.
pub async fn open(config: &Config, model: &Model) -> Result<Connection, ServiceError> {
    let graph = Connection::new(config.graph()?, neo4j::connect::LONG_ANSWER_LIMIT)?;
    neo4j::checkpoint::prepare(&graph).await?;
    let requirements = neo4j::schema::requirements(model);
    for made in neo4j::schema::establish(&graph, &requirements).await? {
        tracing::info!(constraint = made.name(), "created a constraint in the graph");
    }
    Ok(graph)
}

/// How often it is looked whether constraints are still there.
const CONSTRAINT_INTERVAL: Duration = Duration::from_secs(15);

/// Makes constraints and indexes again that somebody drops while the pipeline runs, until it is
/// dropped. Without them rows go on being written, by scans, and the same key could be there twice.
pub fn keep_constraints(connection: Connection, model: Arc<Model>) -> AbortOnDropHandle<()> {
    let requirements = neo4j::schema::requirements(&model);
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut said = None;
        loop {
            tokio::time::sleep(CONSTRAINT_INTERVAL).await;
            match remake(&connection, &requirements).await {
                Ok(made) => {
                    for made in made {
                        let constraint = made.name();
                        tracing::warn!(
                            constraint,
                            "a constraint of ours was dropped from the graph: creating it again"
                        );
                    }
                    said = None;
                }
                // The writers report a graph that is away.
                Err(error) if error.is_transient() => {}
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

async fn remake(
    connection: &Connection,
    requirements: &BTreeSet<Requirement>,
) -> Result<Vec<Requirement>, neo4j::Error> {
    match neo4j::schema::missing(connection, requirements).await?.is_empty() {
        true => Ok(Vec::new()),
        false => neo4j::schema::establish(connection, requirements).await,
    }
}

/// Claims a log of the pipeline: whoever else writes for it is fenced from then on. Only for who holds what
/// is read: the slot, or the partition.
pub async fn claim(config: &Config, log: &Log) -> Result<Checkpoint, ServiceError> {
    let identity = identity(config, log.clone());
    let publication = match log {
        Log::Slot(_) => Some(config.publication.as_str()),
        Log::Partition(_) => None,
    };
    let claimed = claim::claim(config.graph()?, &identity, publication, claim::PATIENCE).await;
    let claimed = claimed.map_err(|error| ServiceError::NotYet(error.to_string()))?;
    for transaction in &claimed.terminated {
        tracing::warn!(transaction, "ended a stopped writer's transaction");
    }
    Ok(claimed.checkpoint)
}

/// Takes down on the checkpoint why the writer of this epoch stopped for good, if the graph takes it now.
pub async fn tell_why(config: &Config, log: Log, epoch: Epoch, error: &ServiceError) {
    let identity = identity(config, log);
    let telling = async {
        let connection = Connection::new(config.graph()?, TELL_LIMIT)?;
        let told =
            neo4j::stopped::tell(&connection, &identity, epoch, &error.for_the_graph()).await?;
        Ok::<bool, ServiceError>(told)
    };
    match timeout(TELL_LIMIT, telling).await {
        Ok(Ok(_)) => {}
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

/// A writer under a claimed epoch.
pub fn writer(
    config: &Config,
    metrics: &Arc<Metrics>,
    log: Log,
    epoch: Epoch,
) -> Result<Writer, ServiceError> {
    let metrics = metrics.clone();
    let tell: TellRetry = Arc::new(move |reason| metrics.counts().retried(reason));
    let connection = Connection::new(config.graph()?, neo4j::connect::ANSWER_LIMIT)?;
    Ok(Writer::new(connection, identity(config, log), epoch).telling(tell))
}

/// A sink over a writer.
pub fn sink(
    config: &Config,
    writer: Writer,
    model: &Arc<Model>,
) -> Result<neo4j::Sink, ServiceError> {
    let reader = Connection::new(config.graph()?, neo4j::connect::ANSWER_LIMIT)?;
    Ok(neo4j::Sink::new(writer, reader, model.clone()))
}

/// What has the statements of a stream planned before they are needed; `likely` are planned ahead.
pub fn planner(
    config: &Config,
    metrics: &Arc<Metrics>,
    likely: Vec<Arc<str>>,
) -> Result<Arc<Planner>, ServiceError> {
    let metrics = metrics.clone();
    let tell: TellWaiting = Arc::new(move |statements| metrics.planning(statements));
    Ok(Planner::start(config.graph()?, likely, tell)?)
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

/// How many nodes have the label: Neo4j keeps that count.
pub async fn count(graph: &Connection, label: &str) -> Result<u64, ServiceError> {
    let text = format!("MATCH (n:{label}) RETURN count(n) AS count");
    let rows = graph.rows(Query::new(text)).await?;
    let count = rows.first().and_then(|row| row.get::<i64>("count").ok());
    Ok(count.unwrap_or(0).unsigned_abs())
}
