//! Questions about partitions and the group's offsets in them, and the one answer that is changed.
//!
//! All of them wait for at most [`ANSWER_LIMIT`] for an answer, or for the next record: the
//! asynchronous ones on a thread of their own.

use std::{
    collections::BTreeMap,
    ops::{ControlFlow, Range},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
    message::{BorrowedMessage, Headers},
};
use tokio::sync::Mutex;

use crate::{
    catalog::Catalog,
    change::Timestamp,
    checkpoint::TopicPartition,
    envelope::{Decoder, Record},
    replay::GroupOffset,
};

use super::{
    Decoding, Error, Options, Result,
    connect::{ANSWER_LIMIT, Voice, asking, metadata},
    identity::{Described, describe},
};

/// How long members may take to leave their group. Kafka keeps one that was killed until its session
/// ends, by default for 45 seconds.
const LEAVING_LIMIT: Duration = Duration::from_secs(50);
/// A wait for members is told of after this time: one that was stopped leaves sooner.
const LEAVING_QUIETLY: Duration = Duration::from_secs(3);
/// The pause between two looks at whether it has.
const LEAVING_PAUSE: Duration = Duration::from_millis(250);

/// A client that asks, and reads single records; it joins no group.
pub struct Asking {
    consumer: Arc<BaseConsumer<Voice>>,
    voice: Voice,
    group: String,
    decoding: Decoding,
    next_generation: bool,
    /// Whoever reads records has the client's assignment.
    reading: Mutex<()>,
}

impl Asking {
    /// A client for topics, and for the group's offsets in them.
    pub fn new(options: &Options) -> Result<Self> {
        let (consumer, voice) = asking(options)?;
        let (group, reading) = (options.group.clone(), Mutex::default());
        let (decoding, next_generation) = (options.decoding.clone(), options.is_next_generation());
        Ok(Asking { consumer, voice, group, decoding, next_generation, reading })
    }

    /// Asks on a thread of its own. Nobody polls meanwhile, which is what tokens are renewed by.
    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&BaseConsumer<Voice>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.voice.log_in(self.consumer.client())?;
        let consumer = self.consumer.clone();
        let asked = tokio::task::spawn_blocking(move || ask(&consumer)).await;
        asked.unwrap_or_else(|_| {
            Err(Error::Definite("a question to Kafka ended in a bug".to_owned()))
        })
    }

    /// Reads the records of a topic.
    ///
    /// # Errors
    /// Its rows are of a table that is not known, or have no key.
    pub fn decoder(&self, catalog: &Catalog, topic: &str) -> Result<Decoder> {
        let decoder = self.decoding.decoder(catalog, topic);
        decoder.map_err(|why| Error::Definite(why.to_string()))
    }

    /// How many partitions the topic has; `None` if there is no such topic.
    pub async fn partitions(&self, topic: &str) -> Result<Option<u32>> {
        match partitions(&self.consumer, &self.voice, topic).await {
            Ok(partitions) => Ok(Some(partitions)),
            Err(error) if is_missing(error.code()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Those of these topics that are there: which ones they are.
    pub async fn describe(&self, names: &[&str]) -> Result<BTreeMap<String, Described>> {
        let voice = self.voice.clone();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.ask(move |consumer| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let described = describe(consumer.client(), &names, ANSWER_LIMIT);
            described.map_err(|error| voice.explain("ask which topics there are", &error))
        })
        .await
    }

    /// The names of all topics that we may describe.
    pub async fn topics(&self) -> Result<Vec<String>> {
        let voice = self.voice.clone();
        self.ask(move |consumer| {
            let metadata = consumer.fetch_metadata(None, ANSWER_LIMIT);
            let metadata =
                metadata.map_err(|error| voice.explain("ask which topics there are", &error))?;
            Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
        })
        .await
    }

    /// The records that the partition has.
    pub async fn log(&self, at: &TopicPartition) -> Result<Range<u64>> {
        let (voice, at) = (self.voice.clone(), at.clone());
        self.ask(move |consumer| watermarks(consumer, &voice, &at)).await
    }

    /// What the group committed.
    pub async fn group_offset(&self, at: &TopicPartition) -> Result<Option<GroupOffset>> {
        let (voice, list) = (self.voice.clone(), partition_of(at));
        let committed = self
            .ask(move |consumer| {
                consumer
                    .committed_offsets(list, ANSWER_LIMIT)
                    .map_err(|error| voice.explain("ask for the group's offset", &error))
            })
            .await?;
        let found = committed.find_partition(&at.topic, at.partition);
        Ok(found.and_then(|found| match found.offset() {
            Offset::Offset(offset) => Some(GroupOffset {
                offset: offset.unsigned_abs(),
                metadata: found.metadata().to_owned(),
            }),
            _ => None,
        }))
    }

    /// How many members the group has; `None` if that is not known: librdkafka sees only members of the
    /// classic protocol, not of KIP-848, and asks all brokers, of which one may be away.
    pub async fn members(&self) -> Result<Option<usize>> {
        if self.next_generation {
            return Ok(None);
        }
        let (voice, name) = (self.voice.clone(), self.group.clone());
        self.ask(move |consumer| {
            let groups = match consumer.fetch_group_list(Some(&name), ANSWER_LIMIT) {
                Err(error) if is_of_one_broker(&error) => return Ok(None),
                groups => groups.map_err(|error| voice.explain("look at the group", &error))?,
            };
            let group = groups.groups().iter().find(|group| group.name() == name);
            Ok(Some(group.map_or(0, |group| group.members().len())))
        })
        .await
    }

    /// Hands the records in a range of offsets over to `take`, in their order, until it breaks off;
    /// what it made of them.
    pub async fn visit<T: Send + 'static>(
        &self,
        at: &TopicPartition,
        range: Range<u64>,
        init: T,
        mut take: impl FnMut(&mut T, Found) -> ControlFlow<()> + Send + 'static,
    ) -> Result<T> {
        let _reading = self.reading.lock().await;
        let (voice, at) = (self.voice.clone(), at.clone());
        self.ask(move |consumer| {
            let (mut made, start) = (init, range.start);
            let read = read(consumer, &voice, &at, range, &mut |message| {
                take(&mut made, Found::of(message))
            });
            match read {
                Ok(()) => Ok(made),
                Err(error) if is_gone(&error) => Err(Error::Gone { at, start }),
                Err(error) => Err(voice.explain("read records", &error)),
            }
        })
        .await
    }

    /// The records in a range of offsets, without those that are not there.
    pub async fn records(
        &self,
        at: &TopicPartition,
        range: Range<u64>,
    ) -> Result<BTreeMap<u64, Record>> {
        let found = self.visit(at, range, BTreeMap::new(), |records, found| {
            records.insert(found.offset, found.record);
            ControlFlow::Continue(())
        });
        found.await
    }

    /// When the first record in a range of offsets was produced, if there is one.
    pub async fn produced_at(
        &self,
        at: &TopicPartition,
        range: Range<u64>,
    ) -> Result<Option<Timestamp>> {
        let first = self.visit(at, range, None, |produced, found| {
            *produced = found.produced;
            ControlFlow::Break(())
        });
        first.await
    }

    /// There are no records in a range of offsets that the partition has: only the markers of
    /// transactions, records of aborted ones, and what compaction has left.
    pub async fn is_empty(&self, at: &TopicPartition, range: Range<u64>) -> Result<bool> {
        let none = self.visit(at, range, true, |none, _| {
            *none = false;
            ControlFlow::Break(())
        });
        none.await
    }

    /// The error of a broker that has not answered for this long.
    pub fn silence(&self, limit: Duration) -> String {
        self.voice.silence_of("ask for the topic's ends", limit).to_string()
    }

    /// The first offset whose record was produced at `time` or later; the log's end if there is
    /// none.
    pub async fn offset_at(&self, at: &TopicPartition, time: Timestamp) -> Result<u64> {
        let (voice, asked) = (self.voice.clone(), at.clone());
        let found = self
            .ask(move |consumer| {
                let mut times = TopicPartitionList::new();
                let millis = Offset::Offset(time.unix_micros.div_euclid(1_000));
                times
                    .add_partition_offset(&asked.topic, asked.partition, millis)
                    .and_then(|()| consumer.offsets_for_times(times, ANSWER_LIMIT))
                    .map_err(|error| voice.explain("find the offset of a time", &error))
            })
            .await?;
        let found = found.find_partition(&at.topic, at.partition).map(|it| it.offset());
        match found {
            Some(Offset::Offset(offset)) => Ok(offset.unsigned_abs()),
            _ => Ok(self.log(at).await?.end),
        }
    }

    /// Sets the group's offsets, all of them or none. Kafka refuses it while the group has members. This
    /// waits until they have left, also for one that was killed.
    pub async fn set_group_offsets(&self, to: &[(TopicPartition, GroupOffset)]) -> Result<()> {
        let mut list = TopicPartitionList::with_capacity(to.len());
        for (at, to) in to {
            add_committed(&mut list, at, to.offset, &to.metadata)
                .map_err(|error| self.voice.explain("name an offset", &error))?;
        }
        let voice = self.voice.clone();
        self.ask(move |consumer| {
            let (began, mut told) = (Instant::now(), false);
            loop {
                match consumer.commit(&list, CommitMode::Sync) {
                    Ok(()) => return Ok(()),
                    Err(error) if !has_members(&error) => {
                        return Err(voice.explain("commit the group's offset", &error));
                    }
                    Err(_) if began.elapsed() < LEAVING_LIMIT => {
                        if began.elapsed() > LEAVING_QUIETLY && !std::mem::replace(&mut told, true) {
                            tracing::info!(
                                limit = ?LEAVING_LIMIT,
                                "waiting until the group has no members: a running `wal2graph apply` is one, and \
                                 one that was killed until its session ends"
                            );
                        }
                        thread::sleep(LEAVING_PAUSE);
                    }
                    Err(_) => {
                        return Err(Error::Definite(
                            "the group has members: stop every `wal2graph apply` of this pipeline, and repeat \
                             this command. Kafka keeps one that was killed as a member until its session \
                             ends (session.timeout.ms)"
                                .to_owned(),
                        ));
                    }
                }
            }
        })
        .await
    }
}

/// Kafka refuses to set a group's offsets because somebody is a member of it.
fn has_members(error: &KafkaError) -> bool {
    let codes = [Code::UnknownMemberId, Code::IllegalGeneration, Code::RebalanceInProgress];
    error.rdkafka_error_code().is_some_and(|code| codes.contains(&code))
}

/// A record that was found.
pub struct Found {
    /// Its offset.
    pub offset: u64,
    /// When it was produced, if that is known.
    pub produced: Option<Timestamp>,
    /// The record.
    pub record: Record,
}

impl Found {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let millis = message.timestamp().to_millis();
        Found {
            offset: message.offset().unsigned_abs(),
            produced: millis.map(|millis| Timestamp { unix_micros: millis.saturating_mul(1_000) }),
            record: record_of(message),
        }
    }
}

/// The partition does not have the offset any more.
fn is_gone(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(Code::AutoOffsetReset | Code::OffsetOutOfRange))
}

/// One of all brokers did not answer.
fn is_of_one_broker(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(code, Some(Code::BrokerTransportFailure | Code::OperationTimedOut | Code::Partial))
}

fn is_missing(code: Option<Code>) -> bool {
    matches!(code, Some(Code::UnknownTopic | Code::UnknownTopicOrPartition))
}

/// How many partitions the topic has.
pub(super) async fn partitions<C: ConsumerContext + 'static>(
    consumer: &Arc<BaseConsumer<C>>,
    voice: &Voice,
    topic: &str,
) -> Result<u32> {
    const DOING: &str = "look for the topic";
    let metadata = metadata(consumer, voice, topic, DOING).await?;
    let failed = |code| Err(Error::Failed { doing: DOING, code, reason: None });
    let found = metadata.topics().iter().find(|it| it.name() == topic);
    if let Some(error) = found.and_then(|it| it.error()) {
        return failed(error.into());
    }
    match found.map_or(0, |it| it.partitions().len()) {
        0 => failed(Code::UnknownTopicOrPartition),
        some => Ok(u32::try_from(some).unwrap_or(u32::MAX)),
    }
}

/// The records that the partition has.
pub(super) fn watermarks<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    voice: &Voice,
    at: &TopicPartition,
) -> Result<Range<u64>> {
    let marks = consumer.fetch_watermarks(&at.topic, at.partition, ANSWER_LIMIT);
    let (low, high) = marks.map_err(|error| voice.explain("ask for the topic's ends", &error))?;
    Ok(low.unsigned_abs()..high.unsigned_abs())
}

/// The partition alone.
pub(super) fn partition_of(at: &TopicPartition) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(&at.topic, at.partition);
    list
}

/// Adds an offset to commit, with its metadata.
pub(super) fn add_committed(
    list: &mut TopicPartitionList,
    at: &TopicPartition,
    offset: u64,
    metadata: &str,
) -> KafkaResult<()> {
    let mut partition = list.add_partition(&at.topic, at.partition);
    partition.set_offset(offset_of(offset))?;
    partition.set_metadata(metadata);
    Ok(())
}

/// An offset as librdkafka takes it.
pub(super) fn offset_of(offset: u64) -> Offset {
    Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX))
}

/// A record as the envelope takes it.
pub(super) fn record_of(message: &impl Message) -> Record {
    let headers = message.headers().map(|headers| {
        let value = |value: Option<&[u8]>| Bytes::copy_from_slice(value.unwrap_or_default());
        headers.iter().map(|header| (header.key.to_owned(), value(header.value))).collect()
    });
    Record {
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers: headers.unwrap_or_default(),
    }
}

/// Hands the records in a range over, until `take` breaks off.
fn read(
    consumer: &BaseConsumer<Voice>,
    voice: &Voice,
    at: &TopicPartition,
    range: Range<u64>,
    take: &mut dyn FnMut(&BorrowedMessage<'_>) -> ControlFlow<()>,
) -> KafkaResult<()> {
    if range.is_empty() {
        return Ok(());
    }
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(&at.topic, at.partition, offset_of(range.start))?;
    consumer.assign(&from)?;
    let mut heard = Instant::now();
    let done = loop {
        let left = ANSWER_LIMIT.saturating_sub(heard.elapsed());
        if left.is_zero() {
            break Err(KafkaError::MessageConsumption(Code::OperationTimedOut));
        }
        match consumer.poll(left) {
            Some(Ok(message)) => {
                heard = Instant::now();
                let offset = message.offset().unsigned_abs();
                let broken = range.contains(&offset) && take(&message).is_break();
                if offset + 1 >= range.end || broken {
                    break Ok(());
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => break Ok(()),
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(code) if super::error::is_transient(code) => {}
                _ => break Err(error),
            },
            None if voice.lasting("read records").is_some() => {
                break Err(KafkaError::MessageConsumption(Code::OperationTimedOut));
            }
            None => {}
        }
    };
    consumer.unassign()?;
    done
}
