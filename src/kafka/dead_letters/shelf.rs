//! The dead-letter topic as a person sees it: what waits in it, read whole, and marked when it is
//! handled.

use std::{
    collections::BTreeMap,
    mem,
    ops::{ControlFlow, Range},
    sync::Arc,
};

use tokio::sync::OnceCell;

use crate::{
    checkpoint::TopicPartition,
    dead_letters::{Entry, Handled, Id, Letter, Letters, Place, mark},
    envelope::Record,
    topic::TopicName,
};

use super::{
    super::{
        Error, Options, Result, Unreadable, connect::on_thread, identity::Described,
        offsets::Asking,
    },
    delivery::Delivery,
};

/// The dead-letter topic, read up to somewhere.
pub struct Shelf {
    options: Options,
    topic: TopicName,
    asking: Asking,
    read: Read,
    /// Only made where something is written.
    delivery: OnceCell<Arc<Delivery>>,
}

/// What was read of it.
#[derive(Default)]
struct Read {
    /// Which topic it was.
    topic: Option<Described>,
    /// The offsets of each partition.
    ranges: BTreeMap<i32, Range<u64>>,
    letters: Letters,
}

impl Read {
    /// A topic that was made again is another one, and letters that were deleted are none.
    fn goes_on_in(&self, topic: Described, logs: &BTreeMap<i32, Range<u64>>) -> bool {
        let grows = |(partition, read): (&i32, &Range<u64>)| {
            logs.get(partition).is_some_and(|log| log.start == read.start && log.end >= read.end)
        };
        self.topic == Some(topic) && self.ranges.iter().all(grows)
    }
}

impl Shelf {
    /// Nothing is read yet; `None` if records do not become dead letters.
    ///
    /// # Errors
    /// librdkafka does not take the settings.
    pub fn open(options: &Options) -> Result<Option<Self>> {
        let Unreadable::Park(topic) = &options.unreadable else { return Ok(None) };
        Ok(Some(Shelf {
            options: options.clone(),
            topic: topic.clone(),
            asking: Asking::new(options)?,
            read: Read::default(),
            delivery: OnceCell::new(),
        }))
    }

    /// A client for the topics that the letters are from.
    pub fn asking(&self) -> &Asking {
        &self.asking
    }

    /// What was read.
    pub fn letters(&self) -> &Letters {
        &self.read.letters
    }

    /// Reads on to the topic's end as it is now. A topic that is not there has no letters.
    ///
    /// # Errors
    /// Kafka does not let us, or does not answer. Then it is read again from its beginning.
    pub async fn read_on(&mut self) -> Result<&Letters> {
        let name = self.topic.as_str();
        let topic = self.asking.describe(&[name]).await?.remove(name);
        let Some(topic) = topic else {
            self.has_lost_them();
            return Ok(&self.read.letters);
        };
        let mut logs = BTreeMap::new();
        for partition in 0..i32::try_from(topic.partitions).unwrap_or(i32::MAX) {
            logs.insert(partition, self.asking.log(&self.partition(partition)).await?);
        }
        if !self.read.goes_on_in(topic, &logs) {
            self.has_lost_them();
        }
        let read = mem::take(&mut self.read);
        let mut letters = read.letters;
        for (partition, log) in &logs {
            let (partition, end) = (*partition, log.end);
            let from = read.ranges.get(&partition).map_or(log.start, |range| range.end);
            let at = self.partition(partition);
            let more = self.asking.visit(&at, from..end, letters, move |letters, found| {
                letters.take((partition, found.offset), found.produced, found.record);
                ControlFlow::Continue(())
            });
            letters = more.await?;
        }
        self.read = Read { topic: Some(topic), ranges: logs, letters };
        Ok(&self.read.letters)
    }

    /// What was read is not there any more.
    fn has_lost_them(&mut self) {
        let lost = mem::take(&mut self.read).letters.count();
        if lost > 0 {
            tracing::warn!(
                topic = %self.topic,
                dead_letters = lost,
                "the dead-letter topic was deleted, emptied or made again: the dead letters in it are gone"
            );
        }
    }

    /// The record of a letter, as it came.
    ///
    /// # Errors
    /// It is not there any more, or Kafka does not answer.
    pub async fn record(&self, id: &Id, letter: &Letter) -> Result<Record> {
        let (partition, offset) = letter.kept;
        let at = self.partition(partition);
        let found = self.asking.records(&at, offset..offset + 1).await?;
        match found.into_values().next().map(Entry::of) {
            Some(Entry::Letter { record, .. }) => Ok(record),
            _ => Err(Error::Definite(format!(
                "the dead letter {} has just gone from {}",
                id.place, self.topic
            ))),
        }
    }

    /// Puts a record back into its topic and partition, behind what is there; its offset.
    ///
    /// # Errors
    /// The topic may have it or not.
    pub async fn put_back(&self, place: &Place, record: Record) -> Result<u64> {
        let delivery = self.delivery().await?;
        let TopicPartition { topic, partition } = place.at.clone();
        on_thread(move || delivery.send_to(&topic, partition, &record)).await?
    }

    /// Marks a letter as handled.
    ///
    /// # Errors
    /// It may be marked or not.
    pub async fn mark(&self, id: &Id, letter: &Letter, handled: Handled) -> Result<()> {
        let delivery = self.delivery().await?;
        let (topic, (partition, _)) = (self.topic.clone(), letter.kept);
        let mark = mark(id, handled);
        on_thread(move || delivery.send_to(topic.as_str(), partition, &mark)).await??;
        Ok(())
    }

    async fn delivery(&self) -> Result<Arc<Delivery>> {
        const DOING: &str = "a dead letter can not be put back or marked";
        let make = async || Delivery::new(&self.options, DOING).map(Arc::new);
        self.delivery.get_or_try_init(make).await.cloned()
    }

    fn partition(&self, partition: i32) -> TopicPartition {
        TopicPartition { topic: self.topic.as_str().to_owned(), partition }
    }
}
