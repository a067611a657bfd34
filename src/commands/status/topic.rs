//! The topics' part of the status, for a pipeline that reads some.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::{
    checkpoint::{Checkpoint, TopicPartition},
    config::Config,
};

/// How far the topics are in the graph. Positions are offsets.
#[derive(Debug, Serialize)]
pub struct TopicStatus {
    /// Of the first partition; those of a pipeline with one are all there is to say.
    #[serde(flatten)]
    first: PartitionStatus,
    /// How many instances of `apply` are in the group.
    members: Option<usize>,
    /// Records in the parking topic, if there is one.
    parked: Option<u64>,
    /// All partitions, if there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    partitions: Vec<PartitionStatus>,
}

/// How far a partition is in the graph.
#[derive(Clone, Debug, Serialize)]
struct PartitionStatus {
    topic: String,
    partition: i32,
    /// Everything before it is in the graph.
    applied: u64,
    /// The next record that is produced; unknown without Kafka's answer.
    end: Option<u64>,
    /// Records that the graph does not have.
    lag: Option<u64>,
    replaying: Option<ReplayStatus>,
}

/// What is applied again.
#[derive(Clone, Debug, Serialize)]
struct ReplayStatus {
    /// What is before this offset was applied before.
    until: u64,
    /// The source's position that it has reached again.
    lsn: String,
}

/// What Kafka says.
#[derive(Default)]
struct Look {
    ends: BTreeMap<TopicPartition, u64>,
    members: Option<usize>,
    parked: Option<u64>,
}

impl TopicStatus {
    /// Of the checkpoints, if they are of partitions.
    pub async fn read(config: &Config, checkpoints: &[Checkpoint]) -> Option<Self> {
        checkpoints.first()?.partition()?;
        let look = look(config).await;
        let mut partitions: Vec<_> =
            checkpoints.iter().filter_map(|checkpoint| partition(checkpoint, &look)).collect();
        let first = partitions.first()?.clone();
        if partitions.len() == 1 {
            partitions.clear();
        }
        Some(TopicStatus { first, members: look.members, parked: look.parked, partitions })
    }

    /// What is done with the topics.
    pub fn state(&self) -> &'static str {
        let replaying = self.all().iter().any(|it| it.replaying.is_some());
        match (self.members, replaying) {
            (None, _) => "unknown",
            (Some(0), _) => "not running",
            (Some(_), true) => "replaying",
            (Some(_), false) => "streaming",
        }
    }

    fn all(&self) -> &[PartitionStatus] {
        match self.partitions.is_empty() {
            true => std::slice::from_ref(&self.first),
            false => &self.partitions,
        }
    }
}

fn partition(checkpoint: &Checkpoint, look: &Look) -> Option<PartitionStatus> {
    let at = checkpoint.partition()?;
    let (end, applied) = (look.ends.get(at).copied(), checkpoint.position.lsn.0);
    Some(PartitionStatus {
        topic: at.topic.clone(),
        partition: at.partition,
        applied,
        end,
        lag: end.map(|end| end.saturating_sub(applied)),
        replaying: checkpoint.replaying.map(|replaying| ReplayStatus {
            until: replaying.until.0,
            lsn: replaying.source_lsn.to_string(),
        }),
    })
}

#[cfg(feature = "kafka")]
async fn look(config: &Config) -> Look {
    use crate::kafka::{offsets::Asking, parking};
    let Ok(options) = config.kafka() else { return Look::default() };
    let Ok(asking) = Asking::new(options) else { return Look::default() };
    let topics: Vec<&str> = options.topic_names().collect();
    let ends = super::super::apply::ends(&asking, &topics);
    let (ends, members, parked) = tokio::join!(ends, asking.members(), parking::count(options));
    let errors = [ends.as_ref().err(), members.as_ref().err(), parked.as_ref().err()];
    for error in errors.into_iter().flatten() {
        tracing::warn!(%error, "the topic's status is not complete");
    }
    let parked = parked.ok().flatten();
    Look { ends: ends.unwrap_or_default(), members: members.ok().flatten(), parked }
}

#[cfg(not(feature = "kafka"))]
async fn look(_: &Config) -> Look {
    Look::default()
}

impl fmt::Display for TopicStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.all().iter().try_for_each(|partition| write!(f, "{partition}"))?;
        match self.parked {
            Some(parked) => writeln!(f, "parked        {parked} records"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for PartitionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PartitionStatus { topic, partition, applied, .. } = self;
        write!(f, "topic         {topic}, partition {partition}: applied to offset {applied}")?;
        if let (Some(end), Some(lag)) = (self.end, self.lag) {
            write!(f, " of {end}, {lag} behind")?;
        }
        writeln!(f)?;
        if let Some(ReplayStatus { until, lsn }) = &self.replaying {
            writeln!(f, "replaying     to offset {until}; again at {lsn}")?;
        }
        Ok(())
    }
}
