//! What brokers say of topics.

use crate::{
    config::Config,
    health::budget::roughly,
    kafka::{
        Options, Unreadable,
        topic::{self, Weight},
    },
    report::Findings,
};

/// The topics, that of dead letters included. False if Kafka does not answer, or nobody
/// speaks of it.
pub async fn all(config: &Config, found: &mut Findings) -> bool {
    let Ok(options) = config.kafka() else { return false };
    let mut remarks = Vec::new();
    for name in &options.topics {
        let options = options.of_topic(name);
        if !one(&options, found, &mut remarks).await {
            return false;
        }
    }
    for topic::Remark { weight, what, fix } in topic::once(remarks) {
        match weight {
            Weight::Definite => found.failure(what, fix),
            Weight::Warning | Weight::Notice => found.advice(what, fix),
        }
    }
    if let Unreadable::Park(dead_letters) = &options.unreadable {
        let options = Options { topic: dead_letters.clone(), ..options.clone() };
        match topic::look(&options).await {
            Ok(Some(_)) => found.ok(format!("the dead-letter topic {dead_letters} is there")),
            Ok(None) => {
                found.ok(format!("apply will create the dead-letter topic {dead_letters}"));
            }
            Err(error) => found.failure(
                error.to_string(),
                "let the user describe, read and write the dead-letter topic, and create it if it is missing",
            ),
        }
    }
    true
}

/// One of them. False if Kafka does not answer: then it will not for the others either.
async fn one(options: &Options, found: &mut Findings, remarks: &mut Vec<topic::Remark>) -> bool {
    let name = &options.topic;
    match topic::look(options).await {
        Ok(None) if options.are_foreign => found.warning(format!(
            "Kafka answers, and has no topic {name} yet: see that kafka.topics is right. Its publisher makes it; \
             apply begins with the others"
        )),
        Ok(None) => {
            found.ok(format!("Kafka answers; publish will create the topic {name}"));
            match topic::forgets_when_made(options).await {
                Ok(remark) => remarks.extend(remark),
                Err(error) => found.warning(error.to_string()),
            }
        }
        Ok(Some(topic)) => {
            let (partitions, replicas) = (topic.partitions, topic.replicas);
            found.ok(format!(
                "Kafka answers; the topic {name} is there, partitions: {partitions}, replicas: {replicas}"
            ));
            // The publisher of a foreign topic is responsible for its settings.
            if !options.are_foreign {
                remarks.extend(topic.remarks(options));
            } else if let Some(kept) = topic.forgets_deletes_after() {
                found.advice(
                    format!(
                        "the topic {name} is compacted, and keeps deletes for {}: rows whose deletes `apply` has not \
                         read by then stay in the graph",
                        roughly(kept)
                    ),
                    "see that `wal2graph apply` is never away for longer, or raise delete.retention.ms of the topic",
                );
            }
        }
        Err(error) => {
            found.failure(
                error.to_string(),
                "see that kafka.brokers is right, and kafka.properties where the brokers ask for TLS or a log-in",
            );
            return false;
        }
    }
    true
}
