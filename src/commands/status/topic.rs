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
    /// Records in the parking topic, if there is one.
    parked: Option<u64>,
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
    parked: Option<u64>,
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
            parked: look.parked,
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
    use crate::kafka::{offsets::Asking, parking};
    let Ok(options) = config.kafka() else { return Look::default() };
    let Ok(asking) = Asking::new(options) else { return Look::default() };
    let (log, members, parked) =
        tokio::join!(asking.log(), asking.members(), parking::count(options));
    let errors = [log.as_ref().err(), members.as_ref().err(), parked.as_ref().err()];
    for error in errors.into_iter().flatten() {
        tracing::warn!(%error, "the topic's status is not complete");
    }
    let parked = parked.ok().flatten();
    Look { end: log.ok().map(|log| log.end), members: members.ok(), parked }
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
        if let Some(parked) = self.parked {
            writeln!(f, "parked        {parked} records")?;
        }
        Ok(())
    }
}
