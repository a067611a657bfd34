//! Records that are no envelopes, put aside: as they came, with where they came from and why.
//!
//! ```text
//! record --Transactions--> it is no envelope --park--> dead-letter topic --all replicas have it--+
//!                                                                                                v
//!                                                                  what is behind it is applied, the offset moves
//! ```
//!
//! The reader waits until the dead-letter topic has the record, and only then says anything of what
//! is behind it. So no offset moves beyond a record that is neither applied nor a dead letter. After a
//! crash in between it is written again: [`crate::dead_letters`] tells that it is the same one.

mod delivery;
mod shelf;

use std::{collections::BTreeMap, sync::Arc};

use rdkafka::{
    Message,
    admin::{NewTopic, TopicReplication},
    error::RDKafkaErrorCode as Code,
    message::{BorrowedHeaders, BorrowedMessage, Header, OwnedHeaders},
};

use crate::{
    checkpoint::TopicPartition,
    dead_letters::{Place, letter_headers},
    topic::TopicName,
};

use super::{Options, Result, Unreadable, admin::Admin, identity::Described};

pub use shelf::Shelf;

use delivery::{Delivery, MESSAGE_BYTES_MAX};

/// Puts records aside.
#[derive(Clone)]
pub struct DeadLetters(Arc<Inner>);

struct Inner {
    delivery: Delivery,
    topic: TopicName,
    /// Which topics are read.
    read: BTreeMap<String, Described>,
    /// Called for each record that is put aside.
    told: Box<dyn Fn() + Send + Sync>,
}

impl DeadLetters {
    /// Makes the dead-letter topic if it is missing; `None` if records are not to be put aside.
    /// They are of the topics `read`, and `told` is called for each record that is, on the thread that does it.
    ///
    /// # Errors
    /// Kafka does not let us, or does not answer.
    pub async fn open(
        options: &Options,
        read: BTreeMap<String, Described>,
        told: impl Fn() + Send + Sync + 'static,
    ) -> Result<Option<Self>> {
        let Unreadable::Park(topic) = &options.unreadable else { return Ok(None) };
        make(options, topic).await?;
        let delivery = Delivery::new(options, "a dead letter can not be written")?;
        let inner = Inner { delivery, topic: topic.clone(), read, told: Box::new(told) };
        Ok(Some(DeadLetters(Arc::new(inner))))
    }

    /// Puts a record aside; done when all replicas in sync have it. Blocks for
    /// [`ANSWER_LIMIT`](super::connect::ANSWER_LIMIT) at most.
    ///
    /// # Errors
    /// The dead-letter topic may have it or not.
    pub fn park(&self, message: &BorrowedMessage<'_>, why: &str) -> Result<()> {
        let Inner { delivery, topic, read, told } = &*self.0;
        let at =
            TopicPartition { topic: message.topic().to_owned(), partition: message.partition() };
        let topic_id = read.get(&at.topic).and_then(|topic| topic.id);
        let place = Place { at, offset: message.offset().unsigned_abs(), topic_id };
        let headers = headers(message, &place, why);
        delivery.send(topic.as_str(), |mut record| {
            record.key = message.key();
            record.payload = message.payload();
            record.timestamp = message.timestamp().to_millis();
            record.headers(headers)
        })?;
        tracing::warn!(dead_letter = %place, kept_in = %topic, why, "a record that is no envelope is a dead letter");
        told();
        Ok(())
    }
}

/// The record's own headers, then where it was and why it is here.
fn headers(message: &BorrowedMessage<'_>, place: &Place, why: &str) -> OwnedHeaders {
    let own = message.headers().map_or_else(OwnedHeaders::new, BorrowedHeaders::detach);
    letter_headers(place, why)
        .iter()
        .fold(own, |all, (key, value)| all.insert(Header { key, value: Some(value) }))
}

/// Makes the dead-letter topic if it is missing. Records in it are kept for ever: a person decides.
async fn make(options: &Options, topic: &TopicName) -> Result<()> {
    const DOING: &str = "the dead-letter topic can not be made";
    let replication = options.new_topic.replication_factor.map_or(-1, i32::from);
    let max = MESSAGE_BYTES_MAX.to_string();
    let new = NewTopic::new(topic.as_str(), 1, TopicReplication::Fixed(replication))
        .set("cleanup.policy", "delete")
        .set("retention.ms", "-1")
        .set("retention.bytes", "-1")
        .set("max.message.bytes", &max);
    let admin = Admin::new(options, topic.as_str(), DOING).await?;
    match admin.create(&new, DOING).await {
        // Who may not make topics may have been given one.
        Err(error)
            if matches!(
                error.code(),
                Some(
                    Code::TopicAlreadyExists
                        | Code::TopicAuthorizationFailed
                        | Code::ClusterAuthorizationFailed
                )
            ) =>
        {
            Ok(())
        }
        created => created,
    }
}
