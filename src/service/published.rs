//! A slot from which `publish` writes a topic is not for `run` to read: what one of them reads, the other one misses.

use crate::config::Config;

use super::ServiceError;

/// Refuses a first start of `run` on such a slot. A broker that does not answer refuses nothing.
#[cfg(feature = "kafka")]
pub async fn refuse(config: &Config) -> Result<(), ServiceError> {
    let Ok(kafka) = config.kafka() else { return Ok(()) };
    if kafka.are_foreign || kafka.pattern.is_some() {
        return Ok(());
    }
    let topic = kafka.heartbeats().unwrap_or_else(|| kafka.topic.clone());
    let tail = match crate::kafka::tail::read(&kafka.of_topic(&topic)).await {
        Ok(tail) => tail,
        Err(error) => {
            tracing::debug!(%error, "whether the slot is published to a topic is not known");
            return Ok(());
        }
    };
    let slot = &config.slot;
    let is_published = tail.0.iter().any(|it| it.slot.as_ref() == Some(slot));
    match is_published {
        false => Ok(()),
        true => Err(ServiceError::Definite(format!(
            "`wal2graph publish` writes the topic {} from the slot {slot}: the topic would lack what \
             `run` reads from it. `wal2graph apply` fills the graph from the topic. To read the source without Kafka, \
             beside the topic, name another slot (source.slot)",
            topic.as_str()
        ))),
    }
}

#[cfg(not(feature = "kafka"))]
pub async fn refuse(_: &Config) -> Result<(), ServiceError> {
    Ok(())
}
