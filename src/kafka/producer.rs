//! The producer: records in their order into their partitions, each acknowledged by all replicas.
//!
//! ```text
//! produce(records) --send--> librdkafka's queue --idempotent requests--> partitions
//!        ^                                                                   |
//!        +---- all delivered, or why one was not <---- delivery reports -----+
//!              and at the next offset
//! ```
//!
//! Why no partition has a gap: a record is never given up by itself (no message timeout), a batch that
//! the broker refuses stops the producer (`enable.gapless.guarantee`), and whoever gives up waiting
//! drops the producer with everything that is on its way. The broker takes what belongs to a
//! sequence only in its order. The next life goes on from what the topic's end says.
//!
//! Why nobody else's records are between: each record has to get the offset after the one before,
//! beginning with where the end was when it was read. Where another one stands, somebody else has
//! written, be it a publisher that was killed whose last records came late: then what the end said is
//! not so any more, and it is read again.

use std::{
    cmp::Ordering::{Equal, Greater, Less},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig, Message,
    config::FromClientConfigAndContext,
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, Producer as _, ThreadedProducer},
};
use serde::Deserialize;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use crate::{
    checkpoint::Advance,
    envelope::{Record, payload},
    pipeline::Sink,
};

use super::{
    Error, Options, Result,
    connect::{Delivered, Listener, SILENCE_SHORT, Voice, settings},
    routing::{Partitions, Routed, To},
};

/// How much waits in librdkafka's queue, in KiB, besides one record of any size.
const QUEUE_KIB: usize = 32 << 10;
/// How long no record may be delivered before the connections are let go, the source's too.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How often silence is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often a full queue is tried again, whatever is delivered meanwhile.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Produces to the topic's partitions.
#[derive(Clone)]
pub struct Producer(Arc<Inner>);

struct Inner {
    /// `None` only while it is dropped.
    client: Option<ThreadedProducer<Listener<Delivery>>>,
    topic: String,
    voice: Voice,
    partitions: Partitions,
    next: Arc<Offsets>,
}

/// Of each partition, the offset that its next record gets.
struct Offsets(Vec<AtomicI64>);

impl Offsets {
    /// A record was delivered; `None` if it is where it has to be.
    fn delivered(&self, partition: i32, offset: i64) -> Option<Failed> {
        let next = usize::try_from(partition).ok().and_then(|partition| self.0.get(partition));
        let Some(next) = next else { return Some(Failed::Elsewhere(partition)) };
        if offset < 0 {
            // The broker had it already, and does not say where.
            next.fetch_add(1, Ordering::AcqRel);
            return None;
        }
        match offset.cmp(&next.swap(offset + 1, Ordering::AcqRel)) {
            Less => Some(Failed::Restarted),
            Equal => None,
            Greater => Some(Failed::Elsewhere(partition)),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // It waits for its thread, and for a last word from the brokers.
        let client = self.client.take();
        std::thread::spawn(move || drop(client));
    }
}

/// What is on its way of one call, and what became of it.
struct Delivery {
    outstanding: AtomicUsize,
    failed: Mutex<Option<Failed>>,
    next: Arc<Offsets>,
    moved: Notify,
}

#[derive(Clone)]
enum Failed {
    Kafka(KafkaError),
    /// An offset came that was there before.
    Restarted,
    /// An offset was left out.
    Elsewhere(i32),
}

impl Delivered for Delivery {
    fn delivered(&self, result: &DeliveryResult<'_>) {
        let failed = match result {
            Ok(record) => self.next.delivered(record.partition(), record.offset()),
            Err((error, _)) => Some(Failed::Kafka(error.clone())),
        };
        if let Some(failed) = failed {
            let mut first = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(failed);
        }
        self.outstanding.fetch_sub(1, Ordering::AcqRel);
        self.moved.notify_one();
    }
}

impl Producer {
    /// A producer whose largest record is the topic's. `next` has the offset of each partition's
    /// next record. It connects when it has something to produce.
    ///
    /// # Errors
    /// The settings are not librdkafka's, or there is no partition.
    pub fn new(
        options: &Options,
        message_bytes_max: usize,
        next: impl IntoIterator<Item = i64>,
    ) -> Result<Self> {
        let next = Offsets(next.into_iter().map(AtomicI64::new).collect());
        let none = || Error::Definite("a topic without partitions takes no records".to_owned());
        let partitions = Partitions::new(next.0.len()).ok_or_else(none)?;
        let voice = Voice::new(options);
        let client = ThreadedProducer::from_config_and_context(
            &producer_settings(options, message_bytes_max),
            Listener::new(voice.clone()),
        );
        let client: ThreadedProducer<Listener<Delivery>> =
            client.map_err(|error| voice.explain("a producer can not be made", &error))?;
        voice.log_in(client.client())?;
        let topic = options.topic.as_str().to_owned();
        let (client, next) = (Some(client), Arc::new(next));
        Ok(Producer(Arc::new(Inner { client, topic, voice, partitions, next })))
    }

    /// Over how many partitions keys are spread.
    pub fn partitions(&self) -> Partitions {
        self.0.partitions
    }

    /// Produces the records in their order; done when all replicas in sync have all of them.
    ///
    /// # Errors
    /// Any error ends the producer's use: what was on its way may be in the topic or not, without a
    /// gap.
    pub async fn produce(&self, records: &[Routed]) -> Result<()> {
        let delivery = Arc::new(Delivery {
            outstanding: AtomicUsize::new(0),
            failed: Mutex::new(None),
            next: self.0.next.clone(),
            moved: Notify::new(),
        });
        let mut silence = Silence { since: Instant::now(), outstanding: usize::MAX };
        for Routed { record, to } in records {
            let to = match to {
                To::One(partition) => *partition..partition + 1,
                To::All => self.0.partitions.all(),
            };
            for partition in to {
                self.0.send(record, partition, &delivery, &mut silence).await?;
            }
        }
        while delivery.outstanding.load(Ordering::Acquire) > 0 {
            self.0.wait(&delivery, LOOK, &mut silence).await?;
        }
        self.0.failure(&delivery)
    }
}

/// Since when nothing was delivered.
struct Silence {
    since: Instant,
    outstanding: usize,
}

const DOING: &str = "records can not be produced";

impl Inner {
    fn client(&self) -> &ThreadedProducer<Listener<Delivery>> {
        self.client.as_ref().expect("it is there until it is dropped")
    }

    async fn send(
        &self,
        record: &Record,
        partition: i32,
        delivery: &Arc<Delivery>,
        silence: &mut Silence,
    ) -> Result<()> {
        loop {
            delivery.outstanding.fetch_add(1, Ordering::AcqRel);
            let Err((error, _)) = self.client().send(self.record(record, partition, delivery))
            else {
                return Ok(());
            };
            delivery.outstanding.fetch_sub(1, Ordering::AcqRel);
            match error.rdkafka_error_code() {
                Some(Code::QueueFull) => {}
                Some(Code::MessageSizeTooLarge) => return Err(too_large(&self.topic, record)),
                _ => return Err(self.explain(&error)),
            }
            self.wait(delivery, FULL_PAUSE, silence).await?;
        }
    }

    fn record<'a>(
        &'a self,
        record: &'a Record,
        partition: i32,
        delivery: &Arc<Delivery>,
    ) -> BaseRecord<'a, [u8], [u8], Arc<Delivery>> {
        let mut sent =
            BaseRecord::with_opaque_to(&self.topic, delivery.clone()).partition(partition);
        if let Some(key) = &record.key {
            sent = sent.key(key.as_ref());
        }
        if let Some(value) = &record.value {
            sent = sent.payload(value.as_ref());
        }
        if record.headers.is_empty() {
            return sent;
        }
        let headers = OwnedHeaders::new_with_capacity(record.headers.len());
        let headers = record.headers.iter().fold(headers, |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value.as_ref()) })
        });
        sent.headers(headers)
    }

    /// Waits until something is delivered, but no longer than `limit`.
    async fn wait(
        &self,
        delivery: &Delivery,
        limit: Duration,
        silence: &mut Silence,
    ) -> Result<()> {
        // Not being notified in time is no error: one looks again.
        let _ = timeout(limit, delivery.moved.notified()).await;
        self.failure(delivery)?;
        let outstanding = delivery.outstanding.load(Ordering::Acquire);
        if outstanding < silence.outstanding {
            *silence = Silence { since: Instant::now(), outstanding };
        }
        let silent = silence.since.elapsed();
        if silent > SILENCE_SHORT
            && let Some(error) = self.voice.lasting(DOING)
        {
            return Err(error);
        }
        match silent > SILENCE_MAX {
            true => Err(self.voice.silence(DOING)),
            false => Ok(()),
        }
    }

    fn failure(&self, delivery: &Delivery) -> Result<()> {
        let failed = delivery.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match failed {
            None => Ok(()),
            Some(Failed::Kafka(error)) => Err(self.explain(&error)),
            Some(Failed::Elsewhere(partition)) => {
                Err(Error::Elsewhere { topic: self.topic.clone(), partition })
            }
            Some(Failed::Restarted) => Err(Error::Definite(format!(
                "the topic {} was deleted and made again while it was written: what was in it is \
                 gone. Delete it and publish again; the copy begins anew",
                self.topic
            ))),
        }
    }

    /// The error behind an error that only says that the producer has stopped.
    fn explain(&self, error: &KafkaError) -> Error {
        let stopped = [Code::Fatal, Code::GaplessGuarantee, Code::PurgeQueue, Code::PurgeInflight];
        let code = error.rdkafka_error_code();
        match self.client().client().fatal_error() {
            Some((cause, text)) if code.is_some_and(|code| stopped.contains(&code)) => {
                Error::new(DOING, &KafkaError::MessageProduction(cause), Some(text))
            }
            _ => self.voice.explain(DOING, error),
        }
    }
}

impl Sink<Vec<Routed>> for Producer {
    type Error = Error;

    /// There is no compare-and-set here: a record's place says where it belongs, and the topic's
    /// end where the publisher is.
    async fn write(&mut self, _: Advance, records: Vec<Routed>) -> Result<()> {
        self.produce(&records).await
    }
}

/// Says whose record it is. Only its size is told, no value.
fn too_large(topic: &str, record: &Record) -> Error {
    #[derive(Deserialize)]
    struct Envelope {
        source: Source,
    }
    #[derive(Deserialize)]
    struct Source {
        schema: String,
        table: String,
    }
    let value = record.value.as_deref().unwrap_or_default();
    let table = serde_json::from_slice::<Envelope>(payload(value)).ok();
    let table = table.map(|Envelope { source }| format!("{}.{}", source.schema, source.table));
    let bytes = value.len() + record.key.as_deref().unwrap_or_default().len();
    Error::TooLarge { topic: topic.to_owned(), table: table.unwrap_or_default(), bytes }
}

fn producer_settings(options: &Options, message_bytes_max: usize) -> ClientConfig {
    let mut settings = settings(options);
    let mut unless_set = |names: &[&str], value: String| {
        if names.iter().all(|name| settings.get(name).is_none()) {
            settings.set(names[0], value);
        }
    };
    unless_set(&["compression.type", "compression.codec"], "lz4".to_owned());
    // A batch is produced as a whole: there is nothing more to wait for.
    unless_set(&["linger.ms", "queue.buffering.max.ms"], "0".to_owned());
    unless_set(&["message.max.bytes"], message_bytes_max.to_string());
    let queue = QUEUE_KIB + (message_bytes_max >> 10);
    unless_set(&["queue.buffering.max.kbytes"], queue.to_string());
    settings.set("enable.idempotence", "true");
    settings.set("enable.gapless.guarantee", "true");
    settings.set("acks", "all");
    // Zero is for ever.
    settings.set("message.timeout.ms", "0");
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_at_another_offset_than_the_next_is_told() {
        let next = Offsets(vec![AtomicI64::new(0), AtomicI64::new(70)]);
        assert!(next.delivered(1, 70).is_none() && next.delivered(0, 0).is_none());
        assert!(next.delivered(1, -1001).is_none(), "it was there, at 71");
        assert!(next.delivered(1, 72).is_none());
        assert!(matches!(next.delivered(1, 74), Some(Failed::Elsewhere(1))));
        assert!(matches!(next.delivered(1, 0), Some(Failed::Restarted)));
        assert!(matches!(next.delivered(2, 0), Some(Failed::Elsewhere(2))));
    }
}
