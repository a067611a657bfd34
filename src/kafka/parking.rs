//! Records that are no envelopes, put aside: as they came, with where they came from and why.
//!
//! ```text
//! record --Transactions--> it is no envelope --park--> parking topic --all replicas have it--+
//!                                                                                            v
//!                                                              what is behind it is applied, the offset moves
//! ```
//!
//! The reader waits until the parking topic has the record, and only then says anything of what is
//! behind it. So no offset moves beyond a record that is neither applied nor parked. After a crash
//! in between it is parked again: its headers tell that it is the same one.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    ClientContext, Message,
    admin::{NewTopic, TopicReplication},
    client::OAuthToken,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::{BorrowedHeaders, BorrowedMessage, DeliveryResult, Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext},
};
use tokio::sync::watch;

use super::{
    Options, Result, TopicName, Unreadable,
    admin::Admin,
    connect::{ANSWER_LIMIT, Voice, asking, on_thread, settings},
};

/// The topic that the record is from.
pub const TOPIC_HEADER: &str = "wal2graph.topic";
/// Its partition.
pub const PARTITION_HEADER: &str = "wal2graph.partition";
/// Its offset there.
pub const OFFSET_HEADER: &str = "wal2graph.offset";
/// Why it could not be read.
pub const ERROR_HEADER: &str = "wal2graph.error";

/// The largest record of a parking topic that we make, in bytes: what a topic of ours takes, and
/// room for the headers.
const MESSAGE_BYTES_MAX: usize = super::topic::MESSAGE_BYTES_MAX + (64 << 10);
/// How long one wait for the delivery lasts.
const LOOK: Duration = Duration::from_millis(50);

const DOING: &str = "a record can not be parked";

/// Puts records aside.
#[derive(Clone)]
pub struct Parking(Arc<Inner>);

struct Inner {
    producer: BaseProducer<Listener>,
    voice: Voice,
    topic: TopicName,
    /// Called for each record that is parked.
    told: Box<dyn Fn() + Send + Sync>,
}

/// What became of the record that is on its way.
type Outcome = Arc<watch::Sender<Option<std::result::Result<(), KafkaError>>>>;

struct Listener(Voice);

impl ClientContext for Listener {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(
        &self,
        _: Option<&str>,
    ) -> std::result::Result<OAuthToken, Box<dyn std::error::Error>> {
        self.0.token()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Listener {
    type DeliveryOpaque = Outcome;

    fn delivery(&self, result: &DeliveryResult<'_>, outcome: Outcome) {
        outcome.send_replace(Some(result.as_ref().map(drop).map_err(|(error, _)| error.clone())));
    }
}

impl Parking {
    /// Makes the parking topic if it is missing; `None` if records are not to be parked. `told` is
    /// called for each record that is parked, on the thread that parks it.
    ///
    /// # Errors
    /// Kafka does not let us, or does not answer.
    pub async fn open(
        options: &Options,
        told: impl Fn() + Send + Sync + 'static,
    ) -> Result<Option<Self>> {
        let Unreadable::Park(topic) = &options.unreadable else { return Ok(None) };
        make(options, topic).await?;
        let voice = Voice::new(options);
        let mut settings = settings(options);
        settings
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("message.max.bytes", MESSAGE_BYTES_MAX.to_string())
            .set("message.timeout.ms", ANSWER_LIMIT.as_millis().to_string());
        let producer = BaseProducer::from_config_and_context(&settings, Listener(voice.clone()));
        let producer = producer.map_err(|error| voice.explain(DOING, &error))?;
        let inner = Inner { producer, voice, topic: topic.clone(), told: Box::new(told) };
        Ok(Some(Parking(Arc::new(inner))))
    }

    /// Parks a record; done when all replicas in sync have it. Blocks for [`ANSWER_LIMIT`] at most.
    ///
    /// # Errors
    /// The parking topic may have it or not.
    pub fn park(&self, message: &BorrowedMessage<'_>, why: &str) -> Result<()> {
        let outcome: Outcome = Arc::new(watch::Sender::new(None));
        let headers = headers(message, why);
        let mut record: BaseRecord<'_, [u8], [u8], Outcome> =
            BaseRecord::with_opaque_to(self.0.topic.as_str(), outcome.clone()).headers(headers);
        record.key = message.key();
        record.payload = message.payload();
        record.timestamp = message.timestamp().to_millis();
        let Inner { producer, voice, topic, told } = &*self.0;
        // Nobody has polled since the last one.
        voice.log_in(producer.client())?;
        producer.send(record).map_err(|(error, _)| voice.explain(DOING, &error))?;
        // The message timeout ends this: every record has an outcome.
        while outcome.borrow().is_none() {
            producer.poll(LOOK);
        }
        if let Some(Err(error)) = &*outcome.borrow() {
            return Err(voice.explain(DOING, error));
        }
        let (from, partition, offset) = (message.topic(), message.partition(), message.offset());
        tracing::warn!(
            topic = from,
            partition,
            offset,
            parked_in = %topic,
            why,
            "a record that is no envelope is parked"
        );
        told();
        Ok(())
    }
}

/// The record's own headers, then where it was and why it is here.
fn headers(message: &BorrowedMessage<'_>, why: &str) -> OwnedHeaders {
    let mut headers = message.headers().map_or_else(OwnedHeaders::new, BorrowedHeaders::detach);
    let (partition, offset) = (message.partition().to_string(), message.offset().to_string());
    for (key, value) in [
        (TOPIC_HEADER, message.topic()),
        (PARTITION_HEADER, &partition),
        (OFFSET_HEADER, &offset),
        (ERROR_HEADER, why),
    ] {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    headers
}

/// Makes the parking topic if it is missing. Records in it are kept for ever, for a person to look
/// at.
async fn make(options: &Options, topic: &TopicName) -> Result<()> {
    const DOING: &str = "the parking topic can not be made";
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

/// How many records are parked; `None` if none are to be, and where there is no parking topic yet.
///
/// # Errors
/// Kafka does not let us look, or does not answer.
pub async fn count(options: &Options) -> Result<Option<u64>> {
    const DOING: &str = "the parking topic can not be looked at";
    let Unreadable::Park(topic) = &options.unreadable else { return Ok(None) };
    let (topic, (client, voice)) = (topic.clone(), asking(options)?);
    on_thread(move || {
        let name = topic.as_str();
        let metadata = client.fetch_metadata(Some(name), ANSWER_LIMIT);
        let metadata = metadata.map_err(|error| voice.explain(DOING, &error))?;
        let found = metadata.topics().iter().find(|it| it.name() == name && it.error().is_none());
        let Some(found) = found else { return Ok(None) };
        let mut count = 0;
        for partition in found.partitions() {
            let ends = client.fetch_watermarks(name, partition.id(), ANSWER_LIMIT);
            let (low, high) = ends.map_err(|error| voice.explain(DOING, &error))?;
            count += (high - low).max(0).unsigned_abs();
        }
        Ok(Some(count))
    })
    .await?
}
