//! Deletes that a compacted topic of somebody else's has forgotten while nobody applied it.
//!
//! Compaction keeps the last record of each key, and a delete for `delete.retention.ms` only. Then nothing tells that
//! there was a row.

use std::time::Duration;

use crate::{
    checkpoint::Checkpoint,
    config::Config,
    health::{budget::roughly, since},
    kafka::{offsets::Asking, topic},
    mapping::Mapping,
    metrics::now,
    service::{ServiceError, facts},
    topic::TopicName,
};

/// Warns of partitions that were last applied before their topic forgot its deletes.
pub async fn warn(
    config: &Config,
    mapping: &Mapping,
    asking: &Asking,
    checkpoints: &[Checkpoint],
) -> Result<(), ServiceError> {
    let kafka = config.kafka()?;
    if !kafka.are_foreign {
        return Ok(());
    }
    let names: Vec<TopicName> = kafka.topic_names().filter_map(TopicName::new).collect();
    // Settings that may not be read say nothing.
    let Ok(topics) = topic::look_at_all(kafka, &names.iter().collect::<Vec<_>>()).await else {
        return Ok(());
    };
    for checkpoint in checkpoints {
        let Some(at) = checkpoint.partition() else { continue };
        let forgets_after = topics.get(&at.topic).and_then(topic::Topic::forgets_deletes_after);
        let away = since(now(), checkpoint.updated_at);
        let Some(forgets_after) = forgets_after.filter(|after| away > *after) else { continue };
        if asking.log(at).await?.end <= checkpoint.position.lsn.0 {
            continue;
        }
        tracing::warn!(
            %at,
            deletes_are_kept_for = roughly(forgets_after),
            away = roughly(Duration::from_secs(away.as_secs())),
            "the topic is compacted, and may have forgotten deletes since it was applied last: such rows stay in the \
             graph. To be sure, {}. A larger delete.retention.ms of the topic prevents it",
            facts::again(config, Some(mapping), checkpoints)
        );
    }
    Ok(())
}
