//! Questions about a partition and the group's offset in it, and the one answer that is changed.
//!
//! All of them block for at most [`ANSWER_LIMIT`] each: the asynchronous ones wait on a thread of
//! their own.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use bytes::Bytes;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
    message::Headers,
};

use crate::{change::Timestamp, envelope::Record, replay::GroupOffset};

use super::{
    Error, Options, Result,
    connect::{ANSWER_LIMIT, Voice, asking},
};

/// The only partition there is yet.
pub const PARTITION: i32 = 0;

/// A client that asks, and reads single records; it joins no group.
pub struct Asking {
    consumer: Arc<BaseConsumer<Voice>>,
    voice: Voice,
    topic: String,
    group: String,
}

impl Asking {
    /// A client for the topic, and for the group's offset in it.
    pub fn new(options: &Options) -> Result<Self> {
        let (consumer, voice) = asking(options)?;
        let topic = options.topic.as_str().to_owned();
        let group = options.group.clone();
        Ok(Asking { consumer, voice, topic, group })
    }

    /// Whether the topic is there; an error if it is one that can not be read.
    pub async fn has_topic(&self) -> Result<bool> {
        match check_topic(&self.consumer, &self.voice, &self.topic).await {
            Ok(()) => Ok(true),
            Err(error) if is_missing(error.code()) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The records that the partition has.
    pub async fn log(&self) -> Result<Range<u64>> {
        let (voice, topic) = (self.voice.clone(), self.topic.clone());
        on_a_thread(&self.consumer, move |consumer| watermarks(consumer, &voice, &topic)).await
    }

    /// What the group committed.
    pub async fn group_offset(&self) -> Result<Option<GroupOffset>> {
        group_offset(&self.consumer, &self.voice, &self.topic).await
    }

    /// How many members the group has.
    pub async fn members(&self) -> Result<usize> {
        let (voice, name) = (self.voice.clone(), self.group.clone());
        on_a_thread(&self.consumer, move |consumer| {
            let groups = consumer.fetch_group_list(Some(&name), ANSWER_LIMIT);
            let groups = groups.map_err(|error| voice.explain("look at the group", &error))?;
            let group = groups.groups().iter().find(|group| group.name() == name);
            Ok(group.map_or(0, |group| group.members().len()))
        })
        .await
    }

    /// The records in a range of offsets, without those that are not there.
    pub async fn records(&self, range: Range<u64>) -> Result<BTreeMap<u64, Record>> {
        let (voice, topic) = (self.voice.clone(), self.topic.clone());
        on_a_thread(&self.consumer, move |consumer| {
            read(consumer, &voice, &topic, range)
                .map_err(|error| voice.explain("read records", &error))
        })
        .await
    }

    /// The first offset whose record was produced at `at` or later; the log's end if there is none.
    pub async fn offset_at(&self, at: Timestamp) -> Result<u64> {
        let (voice, topic) = (self.voice.clone(), self.topic.clone());
        let found = on_a_thread(&self.consumer, move |consumer| {
            let mut times = TopicPartitionList::new();
            let millis = Offset::Offset(at.unix_micros.div_euclid(1_000));
            times
                .add_partition_offset(&topic, PARTITION, millis)
                .and_then(|()| consumer.offsets_for_times(times, ANSWER_LIMIT))
                .map_err(|error| voice.explain("find the offset of a time", &error))
        })
        .await?;
        let found = found.find_partition(&self.topic, PARTITION).map(|it| it.offset());
        match found {
            Some(Offset::Offset(offset)) => Ok(offset.unsigned_abs()),
            _ => Ok(self.log().await?.end),
        }
    }

    /// Sets the group's offset. Kafka refuses it while the group has members.
    pub async fn set_group_offset(&self, to: GroupOffset) -> Result<()> {
        let (voice, topic) = (self.voice.clone(), self.topic.clone());
        on_a_thread(&self.consumer, move |consumer| {
            committed_list(&topic, to.offset, &to.metadata)
                .and_then(|offsets| consumer.commit(&offsets, CommitMode::Sync))
                .map_err(|error| match error.rdkafka_error_code() {
                    Some(
                        Code::UnknownMemberId | Code::IllegalGeneration | Code::RebalanceInProgress,
                    ) => Error::Definite(
                        "the group is being read: stop `wal2graph apply` first, all of its \
                         instances"
                            .to_owned(),
                    ),
                    _ => voice.explain("commit the group's offset", &error),
                })
        })
        .await
    }
}

fn is_missing(code: Option<Code>) -> bool {
    matches!(code, Some(Code::UnknownTopic | Code::UnknownTopicOrPartition))
}

/// What the group committed for the partition.
async fn group_offset<C: ConsumerContext + 'static>(
    consumer: &Arc<BaseConsumer<C>>,
    voice: &Voice,
    topic: &str,
) -> Result<Option<GroupOffset>> {
    let (voice, partition) = (voice.clone(), partition_of(topic));
    let committed = on_a_thread(consumer, move |consumer| {
        consumer
            .committed_offsets(partition, ANSWER_LIMIT)
            .map_err(|error| voice.explain("ask for the group's offset", &error))
    })
    .await?;
    let Some(found) = committed.find_partition(topic, PARTITION) else { return Ok(None) };
    Ok(match found.offset() {
        Offset::Offset(offset) => Some(GroupOffset {
            offset: offset.unsigned_abs(),
            metadata: found.metadata().to_owned(),
        }),
        _ => None,
    })
}

/// The topic is there, and has one partition.
pub(super) async fn check_topic<C: ConsumerContext + 'static>(
    consumer: &Arc<BaseConsumer<C>>,
    voice: &Voice,
    topic: &str,
) -> Result<()> {
    const DOING: &str = "look for the topic";
    let (voice, topic) = (voice.clone(), topic.to_owned());
    on_a_thread(consumer, move |consumer| {
        let metadata = consumer.fetch_metadata(Some(&topic), ANSWER_LIMIT);
        let metadata = metadata.map_err(|error| voice.explain_to(consumer, DOING, &error))?;
        let found = metadata.topics().iter().find(|it| it.name() == topic);
        if let Some(error) = found.and_then(|it| it.error()) {
            return Err(Error::Failed { doing: DOING, code: error.into(), reason: None });
        }
        match found.map_or(0, |it| it.partitions().len()) {
            0 => Err(Error::Failed {
                doing: DOING,
                code: Code::UnknownTopicOrPartition,
                reason: None,
            }),
            1 => Ok(()),
            many => Err(Error::Definite(format!(
                "{topic} has {many} partitions: transactions are in order only in a topic of one. \
                 Publish to a topic with one partition"
            ))),
        }
    })
    .await
}

/// The records that the partition has.
pub(super) fn watermarks<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    voice: &Voice,
    topic: &str,
) -> Result<Range<u64>> {
    let marks = consumer.fetch_watermarks(topic, PARTITION, ANSWER_LIMIT);
    let (low, high) = marks.map_err(|error| voice.explain("ask for the topic's ends", &error))?;
    Ok(low.unsigned_abs()..high.unsigned_abs())
}

/// The one partition of a topic.
pub(super) fn partition_of(topic: &str) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(topic, PARTITION);
    list
}

/// An offset to commit, with its metadata.
pub(super) fn committed_list(
    topic: &str,
    offset: u64,
    metadata: &str,
) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(1);
    let mut partition = list.add_partition(topic, PARTITION);
    partition.set_offset(Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX)))?;
    partition.set_metadata(metadata);
    Ok(list)
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

fn read(
    consumer: &BaseConsumer<Voice>,
    voice: &Voice,
    topic: &str,
    range: Range<u64>,
) -> KafkaResult<BTreeMap<u64, Record>> {
    let mut records = BTreeMap::new();
    if range.is_empty() {
        return Ok(records);
    }
    let mut from = TopicPartitionList::new();
    let start = Offset::Offset(i64::try_from(range.start).unwrap_or(i64::MAX));
    from.add_partition_offset(topic, PARTITION, start)?;
    consumer.assign(&from)?;
    let began = std::time::Instant::now();
    let done = loop {
        let left = ANSWER_LIMIT.saturating_sub(began.elapsed());
        if left.is_zero() {
            break Err(KafkaError::MessageConsumption(Code::OperationTimedOut));
        }
        match consumer.poll(left) {
            Some(Ok(message)) => {
                let offset = message.offset().unsigned_abs();
                if range.contains(&offset) {
                    records.insert(offset, record_of(&message));
                }
                if offset + 1 >= range.end {
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
    done.map(|()| records)
}

async fn on_a_thread<C: ConsumerContext + 'static, T: Send + 'static>(
    consumer: &Arc<BaseConsumer<C>>,
    ask: impl FnOnce(&BaseConsumer<C>) -> Result<T> + Send + 'static,
) -> Result<T> {
    let consumer = consumer.clone();
    let asked = tokio::task::spawn_blocking(move || ask(&consumer)).await;
    asked.unwrap_or_else(|_| Err(Error::Definite("a question to Kafka ended in a bug".to_owned())))
}
