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
//! Where each table has a topic, a heartbeat waits until all replicas have what was produced before it, and
//! says where the topics end then: a reader of a heartbeat can read everything that it names.
//!
//! Why nobody else's records are between: each record has to get the offset after the one before,
//! beginning with where the end was when it was read. Where another one stands, somebody else has
//! written, be it a publisher that was killed whose last records came late: then what the end said is
//! not so any more, and it is read again.

use std::{
    cmp::Ordering::{Equal, Greater, Less},
    collections::{BTreeMap, HashMap},
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
    checkpoint::{Advance, TopicId},
    envelope::{Record, payload},
    pipeline::Sink,
    topic::{
        ends::{ENDS_HEADER, Ends, TopicEnds},
        routing::{Routed, To},
    },
};

use super::{
    Error, Options, Result,
    connect::{Delivered, Listener, SILENCE_SHORT, Voice, settings},
};

/// How much waits in librdkafka's queue, in KiB, besides one record of any size.
const QUEUE_KIB: usize = 32 << 10;
/// How long no record may be delivered before the connections are let go, the source's too.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How often silence is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often a full queue is tried again, whatever is delivered meanwhile.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Produces to the partitions of topics.
#[derive(Clone)]
pub struct Producer(Arc<Inner>);

/// A topic that is produced to.
#[derive(Clone, Debug)]
pub struct ProducedTo {
    /// Its name.
    pub name: String,
    /// Which topic it is, where heartbeats say it.
    pub id: Option<TopicId>,
    /// The offset that each partition's next record gets.
    pub next: Vec<i64>,
}

struct Inner {
    /// `None` only while it is dropped.
    client: Option<ThreadedProducer<Listener<Delivery>>>,
    topics: Vec<Topic>,
    voice: Voice,
    next: Arc<Offsets>,
}

struct Topic {
    name: String,
    id: Option<TopicId>,
    partitions: i32,
}

/// Of each partition of each topic, the offset that its next record gets.
struct Offsets(HashMap<String, Vec<AtomicI64>>);

impl Offsets {
    /// A record was delivered; `None` if it is where it has to be.
    fn delivered(&self, topic: &str, partition: i32, offset: i64) -> Option<Failed> {
        let next = self.0.get(topic);
        let next = next.and_then(|next| next.get(usize::try_from(partition).ok()?));
        let elsewhere = || Some(Failed::Elsewhere(topic.to_owned(), partition));
        let Some(next) = next else { return elsewhere() };
        if offset < 0 {
            // The broker had it already, and does not say where.
            next.fetch_add(1, Ordering::AcqRel);
            return None;
        }
        match offset.cmp(&next.swap(offset + 1, Ordering::AcqRel)) {
            Less => Some(Failed::Restarted(topic.to_owned())),
            Equal => None,
            Greater => elsewhere(),
        }
    }

    /// Where a topic's partitions end, once everything is delivered.
    fn ends(&self, topic: &str) -> Vec<u64> {
        let next = self.0.get(topic).into_iter().flatten();
        next.map(|next| next.load(Ordering::Acquire).unsigned_abs()).collect()
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
    /// A topic takes no record of this size. The broker refuses a whole request: it is of the largest one in it.
    TooLarge(usize, Error),
    /// An offset of the topic came that was there before.
    Restarted(String),
    /// An offset of the topic's partition was left out.
    Elsewhere(String, i32),
}

impl Delivered for Delivery {
    fn delivered(&self, result: &DeliveryResult<'_>) {
        let failed = match result {
            Ok(record) => self.next.delivered(record.topic(), record.partition(), record.offset()),
            Err((error, record)) if is_of_size(error) => {
                let (key, value) = (record.key(), record.payload());
                let bytes = size_of_record(key, value);
                Some(Failed::TooLarge(bytes, too_large(record.topic(), key, value)))
            }
            Err((error, _)) => Some(Failed::Kafka(error.clone())),
        };
        if let Some(failed) = failed {
            let mut first = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            match (&*first, &failed) {
                (Some(Failed::TooLarge(before, _)), Failed::TooLarge(bytes, _))
                    if bytes <= before => {}
                (Some(Failed::TooLarge(..)), Failed::TooLarge(..)) | (None, _) => {
                    *first = Some(failed)
                }
                // Those behind it were purged for it.
                (Some(_), _) => {}
            }
        }
        self.outstanding.fetch_sub(1, Ordering::AcqRel);
        self.moved.notify_one();
    }
}

impl Producer {
    /// A producer whose largest record is the topics'. It connects when it has something to produce.
    /// Records name a topic by its place.
    ///
    /// # Errors
    /// The settings are not librdkafka's, or a topic has no partition.
    pub fn new(
        options: &Options,
        message_bytes_max: usize,
        topics: Vec<ProducedTo>,
    ) -> Result<Self> {
        if topics.is_empty() || topics.iter().any(|topic| topic.next.is_empty()) {
            let what = "a topic without partitions takes no records";
            return Err(Error::Definite(what.to_owned()));
        }
        let next = topics.iter().map(|ProducedTo { name, next, .. }| {
            (name.clone(), next.iter().copied().map(AtomicI64::new).collect())
        });
        let next = Arc::new(Offsets(next.collect()));
        let topics = topics.into_iter().map(|ProducedTo { name, id, next }| {
            let partitions = i32::try_from(next.len()).unwrap_or(i32::MAX);
            Topic { name, id, partitions }
        });
        let topics = topics.collect();
        let voice = Voice::new(options);
        let client = ThreadedProducer::from_config_and_context(
            &producer_settings(options, message_bytes_max),
            Listener::new(voice.clone()),
        );
        let client: ThreadedProducer<Listener<Delivery>> =
            client.map_err(|error| voice.explain("a producer can not be made", &error))?;
        voice.log_in(client.client())?;
        Ok(Producer(Arc::new(Inner { client: Some(client), topics, voice, next })))
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
        for Routed { record, topic, to } in records {
            let topic = &self.0.topics[*topic];
            let to = match to {
                To::One(partition) => *partition..partition + 1,
                To::All => 0..topic.partitions,
                To::Behind => {
                    self.0.all_delivered(&delivery, &mut silence).await?;
                    let record = self.0.with_ends(record);
                    self.0.send(&record, topic, 0, &delivery, &mut silence).await?;
                    continue;
                }
            };
            for partition in to {
                self.0.send(record, topic, partition, &delivery, &mut silence).await?;
            }
        }
        self.0.all_delivered(&delivery, &mut silence).await
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

    /// Everything before is delivered.
    async fn all_delivered(&self, delivery: &Delivery, silence: &mut Silence) -> Result<()> {
        while delivery.outstanding.load(Ordering::Acquire) > 0 {
            self.wait(delivery, LOOK, silence).await?;
        }
        self.failure(delivery)
    }

    /// The heartbeat with where the tables' topics end.
    fn with_ends(&self, heartbeat: &Record) -> Record {
        let ends = self.topics.iter().filter_map(|Topic { name, id, .. }| {
            Some((name.clone(), TopicEnds { id: (*id)?, ends: self.next.ends(name) }))
        });
        let ends = Ends(ends.collect::<BTreeMap<_, _>>());
        let mut heartbeat = heartbeat.clone();
        heartbeat.headers.push((ENDS_HEADER.to_owned(), ends.text().into()));
        heartbeat
    }

    async fn send(
        &self,
        record: &Record,
        topic: &Topic,
        partition: i32,
        delivery: &Arc<Delivery>,
        silence: &mut Silence,
    ) -> Result<()> {
        loop {
            delivery.outstanding.fetch_add(1, Ordering::AcqRel);
            let Err((error, _)) = self.client().send(message(record, topic, partition, delivery))
            else {
                return Ok(());
            };
            delivery.outstanding.fetch_sub(1, Ordering::AcqRel);
            match error.rdkafka_error_code() {
                Some(Code::QueueFull) => {}
                Some(Code::MessageSizeTooLarge) => {
                    let (key, value) = (record.key.as_deref(), record.value.as_deref());
                    return Err(too_large(&topic.name, key, value));
                }
                _ => return Err(self.explain(&error)),
            }
            self.wait(delivery, FULL_PAUSE, silence).await?;
        }
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
            Some(Failed::TooLarge(_, error)) => Err(error),
            Some(Failed::Elsewhere(topic, partition)) => Err(Error::Elsewhere { topic, partition }),
            Some(Failed::Restarted(topic)) => Err(Error::Definite(format!(
                "the topic {topic} was deleted and made again while it was written: what was in it \
                 is gone. Delete it and publish again; the copy begins anew"
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

fn message<'a>(
    record: &'a Record,
    topic: &'a Topic,
    partition: i32,
    delivery: &Arc<Delivery>,
) -> BaseRecord<'a, [u8], [u8], Arc<Delivery>> {
    let mut sent = BaseRecord::with_opaque_to(&topic.name, delivery.clone()).partition(partition);
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

impl Sink<Vec<Routed>> for Producer {
    type Error = Error;

    /// There is no compare-and-set here: a record's place says where it belongs, and the topic's
    /// end where the publisher is.
    async fn write(&mut self, _: Advance, records: Vec<Routed>) -> Result<()> {
        self.produce(&records).await
    }
}

/// The broker does not take so much.
fn is_of_size(error: &KafkaError) -> bool {
    let codes = [Code::MessageSizeTooLarge, Code::InvalidMessageSize, Code::MessageBatchTooLarge];
    error.rdkafka_error_code().is_some_and(|code| codes.contains(&code))
}

fn size_of_record(key: Option<&[u8]>, value: Option<&[u8]>) -> usize {
    key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)
}

/// Says whose record it is. Only its size is told, no value.
fn too_large(topic: &str, key: Option<&[u8]>, value: Option<&[u8]>) -> Error {
    #[derive(Deserialize)]
    struct Envelope {
        source: Source,
    }
    #[derive(Deserialize)]
    struct Source {
        schema: String,
        table: String,
    }
    let table = value.and_then(|it| serde_json::from_slice::<Envelope>(payload(it)).ok());
    let table = table.map(|Envelope { source }| format!("{}.{}", source.schema, source.table));
    let bytes = size_of_record(key, value);
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
        let of = |next: &[i64]| next.iter().copied().map(AtomicI64::new).collect();
        let next = Offsets([("t".to_owned(), of(&[0, 70])), ("u".to_owned(), of(&[5]))].into());
        assert!(next.delivered("t", 1, 70).is_none() && next.delivered("t", 0, 0).is_none());
        assert!(next.delivered("t", 1, -1001).is_none(), "it was there, at 71");
        assert!(next.delivered("t", 1, 72).is_none());
        assert_eq!((next.ends("t"), next.ends("u")), (vec![1, 73], vec![5]));
        assert!(matches!(next.delivered("t", 1, 74), Some(Failed::Elsewhere(_, 1))));
        assert!(matches!(next.delivered("t", 1, 0), Some(Failed::Restarted(_))));
        assert!(matches!(next.delivered("t", 2, 0), Some(Failed::Elsewhere(_, 2))));
        assert!(matches!(next.delivered("v", 0, 0), Some(Failed::Elsewhere(_, 0))));
    }
}
