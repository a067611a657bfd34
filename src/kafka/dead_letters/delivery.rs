//! Single records, each waited for.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    Message,
    config::FromClientConfigAndContext,
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use tokio::sync::watch;

use crate::envelope::Record;

use super::super::{
    Error, Options, Result,
    connect::{ANSWER_LIMIT, Delivered, Listener, Voice, settings},
};

/// The largest record, in bytes: what a topic of ours takes, and room for the headers.
pub(super) const MESSAGE_BYTES_MAX: usize = super::super::topic::MESSAGE_BYTES_MAX + (64 << 10);
/// How long one wait for the delivery lasts.
const LOOK: Duration = Duration::from_millis(50);

/// What became of the record that is on its way: its offset.
type Delivering = watch::Sender<Option<std::result::Result<u64, KafkaError>>>;
type Outcome = Arc<Delivering>;

/// A record on its way to a topic.
pub(super) type Outgoing<'a> = BaseRecord<'a, [u8], [u8], Outcome>;

/// A producer whose caller waits for each record.
pub(super) struct Delivery {
    producer: BaseProducer<Listener<Delivering>>,
    voice: Voice,
    doing: &'static str,
}

impl Delivered for Delivering {
    fn delivered(&self, result: &DeliveryResult<'_>) {
        let done = match result {
            Ok(message) => Ok(message.offset().unsigned_abs()),
            Err((error, _)) => Err(error.clone()),
        };
        self.send_replace(Some(done));
    }
}

/// A topic that somebody else made may take less than ours do.
fn too_large(doing: &str, topic: &str, error: &KafkaError) -> Error {
    Error::Definite(format!(
        "{doing}: the record does not fit into the topic {topic} ({error}). Let it take more: kafka-configs --alter \
         --topic {topic} --add-config max.message.bytes={MESSAGE_BYTES_MAX}"
    ))
}

impl Delivery {
    /// Not connected yet. `doing` is what its errors say.
    pub fn new(options: &Options, doing: &'static str) -> Result<Self> {
        let voice = Voice::new(options);
        let mut settings = settings(options);
        settings
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("message.max.bytes", MESSAGE_BYTES_MAX.to_string())
            .set("message.timeout.ms", ANSWER_LIMIT.as_millis().to_string());
        let producer =
            BaseProducer::from_config_and_context(&settings, Listener::new(voice.clone()));
        let producer = producer.map_err(|error| voice.explain(doing, &error))?;
        Ok(Delivery { producer, voice, doing })
    }

    /// Sends what `fill` makes of an empty record; done when all replicas in sync have it. Its
    /// offset. Blocks for [`ANSWER_LIMIT`] at most.
    ///
    /// # Errors
    /// The topic may have it or not.
    pub fn send<'a>(
        &self,
        topic: &'a str,
        fill: impl FnOnce(Outgoing<'a>) -> Outgoing<'a>,
    ) -> Result<u64> {
        let outcome: Outcome = Arc::new(watch::Sender::new(None));
        let record = fill(BaseRecord::with_opaque_to(topic, outcome.clone()));
        // Nobody has polled since the last one.
        self.voice.log_in(self.producer.client())?;
        let explain = |error: &KafkaError| self.voice.explain(self.doing, error);
        self.producer.send(record).map_err(|(error, _)| explain(&error))?;
        loop {
            // The message timeout ends this: every record has an outcome.
            self.producer.poll(LOOK);
            match &*outcome.borrow() {
                None => {}
                Some(Ok(offset)) => return Ok(*offset),
                Some(Err(error))
                    if error.rdkafka_error_code() == Some(Code::MessageSizeTooLarge) =>
                {
                    return Err(too_large(self.doing, topic, error));
                }
                Some(Err(error)) => return Err(explain(error)),
            }
        }
    }

    /// Sends a record to a partition; its offset.
    pub fn send_to(&self, topic: &str, partition: i32, record: &Record) -> Result<u64> {
        let headers = record.headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(Header { key, value: Some(&value[..]) })
        });
        self.send(topic, |mut outgoing| {
            outgoing.key = record.key.as_deref();
            outgoing.payload = record.value.as_deref();
            outgoing.partition(partition).headers(headers)
        })
    }
}
