//! Rebalances, as librdkafka tells of them.

use std::sync::atomic::{AtomicU64, Ordering};

use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, KafkaResult},
    types::RDKafkaRespErr,
};
use tokio::sync::watch;

use crate::checkpoint::TopicPartition;

use super::{super::connect::Voice, Assignment};

/// What librdkafka calls back, in the thread that polls.
pub(super) struct Context {
    pub(super) voice: Voice,
    pub(super) assignment: watch::Sender<Assignment>,
    /// How many assignments there were.
    pub(super) assignments: AtomicU64,
    /// Called for each of them, and whenever some are taken away.
    pub(super) rebalanced: Box<dyn Fn() + Send + Sync>,
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(
        &self,
        _: Option<&str>,
    ) -> std::result::Result<OAuthToken, Box<dyn std::error::Error>> {
        self.voice.token()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.voice.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.voice.error(error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let count = partitions.count();
        let done = match (what, cooperative) {
            (RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS, _) => {
                self.assign(consumer, partitions, cooperative)
            }
            (_, true) => consumer.incremental_unassign(partitions),
            (_, false) => consumer.unassign(),
        };
        let assigned = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        tracing::debug!(assigned, count, "rebalance");
        if let Err(error) = done {
            tracing::warn!(%error, "the group's assignment could not be followed");
        }
        if count > 0 {
            (self.rebalanced)();
        }
        // That others have all partitions is told, too.
        if count > 0 || assigned {
            let number = self.assignments.fetch_add(1, Ordering::Relaxed);
            let named: Vec<TopicPartition> = named(partitions);
            self.assignment.send_modify(|assignment| {
                for partition in named {
                    match assigned {
                        true => assignment.insert(partition, number),
                        false => assignment.remove(&partition),
                    };
                }
            });
        }
    }
}

impl Context {
    /// Takes what is assigned and pauses it: from where it is read is decided later.
    fn assign(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &mut TopicPartitionList,
        cooperative: bool,
    ) -> KafkaResult<()> {
        partitions.set_all_offsets(Offset::Beginning)?;
        match cooperative {
            true => consumer.incremental_assign(partitions)?,
            false => consumer.assign(partitions)?,
        }
        match partitions.count() {
            0 => Ok(()),
            _ => consumer.pause(partitions),
        }
    }
}

fn named(partitions: &TopicPartitionList) -> Vec<TopicPartition> {
    let elements = partitions.elements();
    let named = elements
        .iter()
        .map(|it| TopicPartition { topic: it.topic().to_owned(), partition: it.partition() });
    named.collect()
}
