//! Which partitions there are, and whether the graph was made from them.
//!
//! ```text
//! topics --> how many partitions each has --+--> one in all: transactions are kept
//! checkpoints of the pipeline --------------+    more: each record is applied for itself
//!                                           +--> another count than before: refused
//! ```
//!
//! A key's records are in order because they are in one partition. With another number of partitions
//! they go to another one from then on, which may be read sooner than the one before.

use std::collections::BTreeMap;

use crate::{
    checkpoint::{Checkpoint, TopicPartition},
    config::Config,
    kafka::offsets::Asking,
    neo4j::{self, Connection},
};

use super::super::CommandError;

/// The partitions of all topics.
pub struct Topology {
    /// How many partitions each topic has.
    pub counts: BTreeMap<String, u32>,
}

impl Topology {
    /// Looks, and compares with the graph.
    pub async fn look(
        config: &Config,
        asking: &Asking,
        graph: &Connection,
    ) -> Result<Self, CommandError> {
        let checkpoints = neo4j::checkpoint::read_all(graph, &config.pipeline).await?;
        let mut counts = BTreeMap::new();
        for topic in config.kafka()?.topic_names() {
            let count = asking.partitions(topic).await?;
            let count = count.ok_or_else(|| missing(topic, &checkpoints))?;
            counts.insert(topic.to_owned(), count);
        }
        let topology = Topology { counts };
        topology.check_logs(config, &checkpoints)?;
        for (topic, count) in &topology.counts {
            check_count(&checkpoints, topic, *count)?;
        }
        Ok(topology)
    }

    /// All partitions, in order.
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> {
        self.counts.iter().flat_map(|(topic, count)| {
            let numbers = 0..i32::try_from(*count).unwrap_or(i32::MAX);
            numbers.map(|partition| TopicPartition { topic: topic.clone(), partition })
        })
    }

    /// There is more than one: no transaction is together.
    pub fn is_spread(&self) -> bool {
        self.counts.values().sum::<u32>() > 1
    }

    /// Every checkpoint of the pipeline is one of these partitions'.
    fn check_logs(&self, config: &Config, checkpoints: &[Checkpoint]) -> Result<(), CommandError> {
        let is_other = |checkpoint: &&Checkpoint| {
            checkpoint.partition().is_none_or(|it| !self.counts.contains_key(&it.topic))
        };
        let Some(other) = checkpoints.iter().find(is_other) else { return Ok(()) };
        let topics: Vec<_> = self.counts.keys().map(String::as_str).collect();
        Err(CommandError::Definite(format!(
            "the graph's pipeline {:?} reads {}, not {}: name another pipeline, or the topic that it was made from",
            config.pipeline,
            other.origin.log,
            topics.join(", ")
        )))
    }
}

/// If the topic is not there, it may come, unless the graph has records of it.
fn missing(topic: &str, checkpoints: &[Checkpoint]) -> CommandError {
    let is_its = |it: &&Checkpoint| it.partition().is_some_and(|it| it.topic == topic);
    match checkpoints.iter().find(is_its) {
        None => CommandError::NotYet(format!(
            "there is no topic {topic} yet: `wal2graph publish` makes it"
        )),
        Some(checkpoint) => CommandError::Definite(format!(
            "the topic {topic} is gone; the graph has its records before offset {}. Publish to a new topic, and apply \
             that with a new pipeline",
            checkpoint.position.lsn.0
        )),
    }
}

/// A topic has as many partitions as before.
fn check_count(checkpoints: &[Checkpoint], topic: &str, count: u32) -> Result<(), CommandError> {
    let its = checkpoints.iter().filter(|it| it.partition().is_some_and(|it| it.topic == topic));
    match { its }.map(|it| it.partitions).find(|before| *before != count) {
        None => Ok(()),
        Some(before) => Err(CommandError::Definite(format!(
            "{topic} has {count} partitions, and had {before} when the graph was made: keys go on in other partitions, \
             so the order of their records is lost. Publish to a new topic with {count} partitions, which begins with \
             a copy, and apply that with a new pipeline"
        ))),
    }
}
