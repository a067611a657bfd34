//! A graph that `run` keeps goes over to a topic.
//!
//! ```text
//! slot's checkpoint at L, the topic's first heartbeat at E <= L  -->  partition's checkpoint: offset 0, lsn L
//! ```
//!
//! The topic has everything after E and the graph everything through L, so nothing is missing between
//! them, and what both have is known by its place. The checkpoint stays one node: a `run` that still
//! writes does not find it any more, and is refused.

use crate::{
    catalog::Catalog,
    checkpoint::{Checkpoint, Log, TopicId, TopicPartition},
    config::Config,
    kafka::offsets::Asking,
    lsn::Lsn,
    pipeline::Store,
    service::{ServiceError, graph::identity},
    start::{NoTakeOver, TakeOverRefusal},
};

use super::start;

/// A graph of `run` that goes over to a topic.
pub struct TakeOver {
    /// The topic's only partition.
    pub at: TopicPartition,
    /// Which topic it is.
    topic_id: Option<TopicId>,
    /// The graph's checkpoint.
    checkpoint: Checkpoint,
}

/// Looks whether the graph with these checkpoints goes over; `None`: it is none of `run` on this
/// pipeline's slot.
///
/// # Errors
/// It is one, and does not go over: the topic is not there yet, or does not go on from the graph.
pub async fn look(
    config: &Config,
    catalog: &Catalog,
    asking: &Asking,
    graph: &impl Store,
    checkpoints: &[Checkpoint],
) -> Result<Option<TakeOver>, ServiceError> {
    let (slot, options) = (Log::Slot(config.slot.clone()), config.kafka()?);
    let [checkpoint] = checkpoints else { return Ok(None) };
    if checkpoint.origin.log != slot || options.are_foreign || options.is_by_table() {
        return Ok(None);
    }
    let topic = options.topic.as_str().to_owned();
    // This one says why nobody answers.
    asking.partitions(&topic).await?;
    let Some(described) = asking.describe(&[&topic]).await?.remove(&topic) else {
        return Err(ServiceError::NotYet(format!(
            "there is no topic {topic} yet: `wal2graph publish --from-graph` makes it, and the graph of `run` goes \
             over to it"
        )));
    };
    if described.partitions != 1 {
        let count = described.partitions;
        return refuse(NoTakeOver::Spread { topic, count });
    }
    let at = TopicPartition { topic, partition: 0 };
    let begins = begins(catalog, asking, &at, checkpoint).await?;
    let is_copied = graph.copy_progress(&config.pipeline).await?.is_empty();
    if !is_copied || checkpoint.position.part.is_some() {
        return refuse(NoTakeOver::Unfinished);
    }
    if begins > checkpoint.lsn {
        let graph = checkpoint.lsn;
        return refuse(NoTakeOver::Between { at: at.to_string(), begins, graph });
    }
    Ok(Some(TakeOver { at, topic_id: described.id, checkpoint: checkpoint.clone() }))
}

/// Hands the graph over, if it is one of `run` on this pipeline's slot and the topic goes on from
/// it; does nothing to any other. It was read with these checkpoints: another writer since is noticed.
pub async fn of_run(
    config: &Config,
    catalog: &Catalog,
    asking: &Asking,
    graph: &impl Store,
    checkpoints: &[Checkpoint],
) -> Result<(), ServiceError> {
    let over = look(config, catalog, asking, graph, checkpoints).await?;
    let Some(over) = over else { return Ok(()) };
    let TakeOver { at, topic_id, checkpoint } = over;
    let identity = identity(config, checkpoint.origin.log.clone());
    if !graph.hand_over(&identity, &checkpoint, &at, topic_id).await? {
        let what = "`run` has just written to the graph: stop it, apply goes on from there";
        return Err(ServiceError::NotYet(what.to_owned()));
    }
    tracing::info!(%at, lsn = %checkpoint.lsn, "the graph follows the topic from here, and no longer the slot");
    Ok(())
}

/// The position from which on the topic has everything.
async fn begins(
    catalog: &Catalog,
    asking: &Asking,
    at: &TopicPartition,
    checkpoint: &Checkpoint,
) -> Result<Lsn, ServiceError> {
    let log = asking.log(at).await?;
    if log.end == 0 {
        return Err(ServiceError::NotYet(format!("{at} has no records yet")));
    }
    let mut decoder = asking.decoder(catalog, &at.topic)?;
    let said = start::first(asking, &mut decoder, at, log.start, &log).await?;
    let named = said.iter().find_map(start::named);
    let (Some((begins, history)), 0) = (named, log.start) else {
        return refuse(NoTakeOver::NoBeginning { at: at.to_string() });
    };
    let origin = &checkpoint.origin;
    match (&history.system_identifier, history.timeline)
        == (&origin.system_identifier, origin.timeline)
    {
        true => Ok(begins),
        false => refuse(NoTakeOver::OtherCluster { at: at.to_string() }),
    }
}

fn refuse<T>(why: NoTakeOver) -> Result<T, ServiceError> {
    Err(TakeOverRefusal(why).into())
}
