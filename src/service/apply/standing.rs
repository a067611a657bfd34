//! Whether the next `apply` would be refused for what topics and group are, for commands that only look: what can be
//! told without reading more than a record.

use crate::{
    catalog::Catalog,
    checkpoint::{Checkpoint, TopicPartition},
    config::Config,
    kafka::{identity::Described, offsets::Asking},
    mapping::Mapping,
    pipeline::{Failure, Store},
    replay::Decision,
    service::{ServiceError, facts, mapped_tables},
    topic::copied::Tables,
};

use super::{named, start::Found, take_over, topology::Topology};

/// What is asked, and what it is asked about.
pub struct Standing<'a, G> {
    /// The configuration.
    pub config: &'a Config,
    /// The source's.
    pub catalog: &'a Catalog,
    /// What its tables become.
    pub mapping: &'a Mapping,
    /// The source.
    pub client: &'a tokio_postgres::Client,
    /// The graph.
    pub graph: &'a G,
    /// The pipeline's checkpoints.
    pub checkpoints: &'a [Checkpoint],
}

impl<G: Store> Standing<'_, G> {
    /// Why it would be refused, each with its fix.
    ///
    /// # Errors
    /// Kafka or the graph does not answer.
    pub async fn refusals(&self) -> Result<Vec<String>, ServiceError> {
        let Standing { graph, config, catalog, mapping, checkpoints, .. } = *self;
        let asking = Asking::new(config.kafka()?)?;
        let named = named::topics(config, mapping, &asking, checkpoints).await?;
        let config = &named.config;
        match take_over::look(config, catalog, &asking, graph, checkpoints).await {
            Ok(None) => {}
            Ok(Some(_)) => return Ok(Vec::new()),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => return Ok(vec![error.to_string()]),
        }
        let topology = match Topology::look(config, &asking, checkpoints, (catalog, mapping)).await
        {
            Ok(topology) => topology,
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => return Ok(vec![error.to_string()]),
        };
        let mut refusals = Vec::new();
        for at in topology.partitions() {
            let Some(topic) = topology.topics.get(&at.topic) else { continue };
            refusals.extend(self.of_partition(config, &asking, &at, *topic).await?);
        }
        Ok(refusals)
    }

    async fn of_partition(
        &self,
        config: &Config,
        asking: &Asking,
        at: &TopicPartition,
        topic: Described,
    ) -> Result<Option<String>, ServiceError> {
        let Standing { catalog, mapping, client, graph, checkpoints, .. } = *self;
        let checkpoint = checkpoints.iter().find(|checkpoint| checkpoint.partition() == Some(at));
        let Some(checkpoint) = checkpoint else {
            let group = asking.group_offset(at).await?;
            let own = graph.id().await?;
            let others = group.and_then(|group| group.others(&config.pipeline, own.as_deref()));
            let topic = facts::Topic {
                name: &at.topic,
                publisher: None,
                partitions: topic.partitions,
                begins_with_snapshot: false,
            };
            let ways = facts::ways(config, (catalog, mapping), checkpoints, topic)?;
            return Ok(others.map(|refusal| refusal.text(at, &ways)));
        };
        let glance =
            Found::glance(asking, graph.id().await?, checkpoint.clone(), topic, at).await?;
        if !matches!(glance.decided(config), Decision::Refuse(_)) {
            return Ok(None);
        }
        // A pipeline that runs has moved on meanwhile.
        let tables = mapped_tables(client, catalog, mapping).await?;
        let found = Found::look(config, catalog, &tables, asking, graph, at).await?;
        match found.decided(config) {
            Decision::Refuse(refusal) => {
                found.refused(config, (catalog, mapping), at, &refusal).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// Refuses a topic that is empty and not the one that the graph was made from. Commands that have nothing to read in
/// an empty one would pass it over.
///
/// # Errors
/// There is one, or Kafka does not answer.
pub async fn check_empty(
    config: &Config,
    mapped: (&Catalog, &Mapping),
    asking: &Asking,
    topology: &Topology,
    checkpoints: &[Checkpoint],
) -> Result<(), ServiceError> {
    for checkpoint in checkpoints {
        let Some(at) = checkpoint.partition() else { continue };
        let Some(topic) = topology.topics.get(&at.topic) else { continue };
        if asking.log(at).await?.end > 0 {
            continue;
        }
        let glance = Found::glance(asking, None, checkpoint.clone(), *topic, at).await?;
        // Whatever the group's offset is: it is to be set.
        if let Decision::Refuse(refusal) = glance.decide(config, None) {
            return Err(ServiceError::Definite(glance.refused(config, mapped, at, &refusal)?));
        }
    }
    Ok(())
}

/// Refuses topics that do not fill a graph which has nothing of them yet, before anything is made in it: where there
/// are several partitions, others would be applied until one is refused.
///
/// # Errors
/// There is one, or Kafka or the graph does not answer.
pub async fn check_beginnings(
    config: &Config,
    mapped: (&Catalog, &Mapping),
    tables: &Tables,
    asking: &Asking,
    graph: &impl Store,
    topology: &Topology,
) -> Result<(), ServiceError> {
    for at in topology.partitions() {
        let found = match Found::look(config, mapped.0, tables, asking, graph, &at).await {
            Ok(found) => found,
            // It is waited for when it is assigned.
            Err(error) if error.is_transient() => continue,
            Err(error) => return Err(error),
        };
        if let Decision::Refuse(refusal) = found.decided(config) {
            return Err(ServiceError::Definite(found.refused(config, mapped, &at, &refusal)?));
        }
    }
    Ok(())
}
