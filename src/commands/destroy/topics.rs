//! Kafka's part: named, never removed.

use std::collections::BTreeSet;

use crate::{
    checkpoint::Checkpoint, config::Config, kafka::Unreadable, mapping::Mapping,
    service::facts::written, start::Written,
};

use super::{graph::Found, plan::Plan};

/// Who applies the topic.
pub enum Applies {
    /// There is no topic.
    NoTopic,
    /// So many members of the group.
    By(usize),
    /// Nobody.
    Nobody,
    /// Kafka does not say.
    Unknown,
}

/// Asks Kafka, if the graph follows a topic.
pub async fn applies(config: &Config, known: &Found) -> Applies {
    match known.checkpoints.iter().any(|it| it.partition().is_some()) {
        false => Applies::NoTopic,
        true => match members(config).await {
            Some(0) => Applies::Nobody,
            Some(members) => Applies::By(members),
            None => Applies::Unknown,
        },
    }
}

#[cfg(feature = "kafka")]
async fn members(config: &Config) -> Option<usize> {
    let asking = crate::kafka::offsets::Asking::new(config.kafka().ok()?).ok()?;
    match asking.members().await {
        Ok(members) => members,
        Err(error) => {
            tracing::warn!(%error, "whether `apply` runs is asked of the graph");
            None
        }
    }
}

#[cfg(not(feature = "kafka"))]
async fn members(_: &Config) -> Option<usize> {
    None
}

/// Names topics and group, with the commands that delete them.
pub fn plan(config: &Config, mapping: Option<&Mapping>, known: Option<&Found>, plan: &mut Plan) {
    let read: BTreeSet<&str> = known
        .iter()
        .flat_map(|found| &found.checkpoints)
        .filter_map(Checkpoint::partition)
        .map(|at| at.topic.as_str())
        .collect();
    let Ok(kafka) = config.kafka() else {
        for topic in read {
            let text = "kafka-topics --bootstrap-server HOST:PORT --delete --topic";
            plan.stays.add("topic", format!("{topic}: {text} {topic}"));
        }
        return;
    };
    let delete = format!("kafka-topics --bootstrap-server {} --delete --topic", kafka.brokers);
    if kafka.are_foreign {
        plan.stays.add("topics", "somebody else publishes to them");
    } else if let Ok(topics) = written(config, mapping) {
        let what = match &topics {
            Written::One(_) => "topic",
            Written::OfTables { .. } => "topics",
        };
        plan.stays.add(what, format!("{delete} {}", topics.pattern()));
    }
    if let Unreadable::Park(topic) = &kafka.unreadable {
        plan.stays.add("dead letters", format!("{delete} {topic}"));
    }
    let (brokers, group) = (&kafka.brokers, &kafka.group);
    let text =
        format!("kafka-consumer-groups --bootstrap-server {brokers} --delete --group {group}");
    plan.stays.add("group", text);
}
