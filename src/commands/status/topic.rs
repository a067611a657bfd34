//! The topic's part of the status, for a pipeline that reads one.

use std::fmt;

use serde::Serialize;

use crate::{
    checkpoint::{Checkpoint, Log},
    config::Config,
};

/// How far a topic is in the graph. Positions are offsets.
#[derive(Debug, Serialize)]
pub struct TopicStatus {
    topic: String,
    partition: i32,
    /// Everything before it is in the graph.
    applied: u64,
    /// The next record that is produced; unknown without Kafka's answer.
    end: Option<u64>,
    /// Records that the graph does not have.
    lag: Option<u64>,
    /// How many instances of `apply` are in the group.
    members: Option<usize>,
    replaying: Option<ReplayStatus>,
}

/// What is applied again.
#[derive(Debug, Serialize)]
struct ReplayStatus {
    /// What is before this offset was applied before.
    until: u64,
    /// The source's position that it has reached again.
    lsn: String,
}

/// What Kafka says.
#[derive(Default)]
struct Look {
    end: Option<u64>,
    members: Option<usize>,
}

impl TopicStatus {
    /// Of the checkpoint, if that is one of a topic.
    pub async fn read(config: &Config, checkpoint: Option<&Checkpoint>) -> Option<Self> {
        let checkpoint = checkpoint?;
        let Log::Partition { topic, partition } = &checkpoint.origin.log else { return None };
        let (look, applied) = (look(config).await, checkpoint.position.lsn.0);
        Some(TopicStatus {
            topic: topic.clone(),
            partition: *partition,
            applied,
            end: look.end,
            lag: look.end.map(|end| end.saturating_sub(applied)),
            members: look.members,
            replaying: checkpoint.replaying.map(|replaying| ReplayStatus {
                until: replaying.until.0,
                lsn: replaying.source_lsn.to_string(),
            }),
        })
    }

    /// What is done with the topic.
    pub fn state(&self) -> &'static str {
        match (self.members, &self.replaying) {
            (None, _) => "unknown",
            (Some(0), _) => "not running",
            (Some(_), Some(_)) => "replaying",
            (Some(_), None) => "streaming",
        }
    }
}

#[cfg(feature = "kafka")]
async fn look(config: &Config) -> Look {
    let asking = config.kafka().ok().map(crate::kafka::offsets::Asking::new);
    let Some(Ok(asking)) = asking else { return Look::default() };
    let (log, members) = tokio::join!(asking.log(), asking.members());
    for error in [log.as_ref().err(), members.as_ref().err()].into_iter().flatten() {
        tracing::warn!(%error, "the topic's status is not complete");
    }
    Look { end: log.ok().map(|log| log.end), members: members.ok() }
}

#[cfg(not(feature = "kafka"))]
async fn look(_: &Config) -> Look {
    Look::default()
}

impl fmt::Display for TopicStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TopicStatus { topic, partition, applied, .. } = self;
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
