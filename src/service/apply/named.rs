//! The topics that are read, where the file does not name them.
//!
//! ```text
//! topics_by: table    those of the mapped tables, and that of heartbeats
//! topics_pattern      those that the brokers have: matched, and named after a mapped table
//! ```

use std::collections::BTreeSet;

use crate::{
    catalog::TableName,
    checkpoint::Checkpoint,
    config::Config,
    kafka::{Unreadable, offsets::Asking},
    mapping::Mapping,
    service::{ServiceError, with_topics},
    topic::{
        TopicName,
        names::{Match, Matching},
    },
};

/// The topics that are read.
pub struct Named {
    /// The configuration, with the topics.
    pub config: Config,
    /// The rule for topics that come later.
    pub matching: Option<Matching>,
    /// The topics that the pattern matches, and no mapped table has the name of.
    pub passed: Vec<String>,
}

/// Looks which topics there are. A topic that the graph has records of is always among them, even if it is gone.
pub async fn topics(
    config: &Config,
    mapping: &Mapping,
    asking: &Asking,
    checkpoints: &[Checkpoint],
) -> Result<Named, ServiceError> {
    let kafka = config.kafka()?;
    let Some(pattern) = &kafka.pattern else {
        let config = with_topics(config, mapping)?;
        return Ok(Named { config, matching: None, passed: Vec::new() });
    };
    let tables: BTreeSet<&TableName> = mapping.published_tables().collect();
    let named = kafka.decoding.rows.iter().flatten().filter(|(_, table)| tables.contains(table));
    let named = named.map(|(topic, _)| topic.clone()).collect();
    let matching = Matching::new(pattern, tables).naming(named);
    // This question names the reason if no broker answers.
    asking.partitions(kafka.topic.as_str()).await?;
    let dead_letters = match &kafka.unreadable {
        Unreadable::Park(topic) => Some(topic.as_str()),
        Unreadable::Stop => None,
    };
    let found = asking.topics().await?.into_iter();
    let found = found.filter(|topic| Some(topic.as_str()) != dead_letters);
    let (found, passed): (Vec<_>, Vec<_>) = found
        .filter(|topic| matching.of(topic) != Match::No)
        .partition(|topic| matching.of(topic) == Match::Table);
    let read = checkpoints.iter().filter_map(|checkpoint| Some(&checkpoint.partition()?.topic));
    let read = read.filter(|topic| matching.of(topic) == Match::Table).cloned();
    let names: BTreeSet<String> = found.into_iter().chain(read).collect();
    let names: Vec<TopicName> = names.iter().filter_map(|name| TopicName::new(name)).collect();
    if names.is_empty() {
        return Err(ServiceError::NotYet(format!(
            "no topic matches kafka.topics_pattern {pattern} and ends in the name of a mapped table \
             (.<schema>.<table>) yet: its publisher makes it"
        )));
    }
    Ok(Named { config: config.reading(names)?, matching: Some(matching), passed })
}
