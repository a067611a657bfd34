//! One partition in the hands of the thread that polls: from a record to events in a channel.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    Message,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::BorrowedMessage,
};
use tokio::sync::mpsc;

use crate::{
    change::Event,
    checkpoint::TopicPartition,
    topic::{
        before::LastRecords,
        gap::{Gap, Gaps},
        holes::Holes,
        transactions::Transactions,
    },
};

use super::{
    super::{connect::Voice, dead_letters::DeadLetters, offsets},
    ConsumeError,
    context::Context,
};

/// How long a partition that was just assigned may take before it can be read from an offset.
const SEEK_LIMIT: Duration = Duration::from_secs(20);
/// How long one try may take: other partitions wait for it.
const SEEK_TRY: Duration = Duration::from_secs(1);

/// What the thread talks to Kafka with.
pub(super) struct Client {
    pub consumer: Arc<BaseConsumer<Context>>,
    pub voice: Voice,
    /// Where records go that are no envelopes, if they do not stop us.
    pub dead_letters: Option<DeadLetters>,
}

/// What the thread is to do.
pub(super) enum Order {
    /// To read a partition.
    Read(Box<Start>),
    /// To go on at `to`, if it is at `from`: there are no records between.
    Pass { at: TopicPartition, from: u64, to: u64 },
}

/// A partition, from where to read it, and what to make of it.
pub(super) struct Start {
    pub at: TopicPartition,
    pub from: u64,
    pub transactions: Transactions,
    pub last_records: LastRecords,
    pub holes: Holes,
    pub gaps: Gaps,
    pub metadata: String,
    pub sender: mpsc::Sender<Result<Vec<Event>, ConsumeError>>,
    pub next: Arc<AtomicU64>,
    pub is_full: Arc<AtomicBool>,
    pub acknowledged: Arc<AtomicU64>,
}

/// Whether records come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// They do not, because it was not sought out yet from where.
    Seeking(Instant),
    Open,
    /// They do not, because the channel is full or there is nothing more to be read.
    Paused,
}

/// A partition that is being read.
pub(super) struct Reading {
    start: Start,
    /// Which of the partition's assignments it is.
    number: u64,
    /// The offset of the next record.
    next: u64,
    /// Events that the channel has no room for yet.
    pending: Vec<Event>,
    /// Why nothing comes after them.
    failed: Option<ConsumeError>,
    flow: Flow,
    /// The offset that was committed last.
    committed: Option<u64>,
}

impl Reading {
    pub fn new(start: Start, number: u64) -> Self {
        Reading {
            number,
            next: start.from,
            pending: Vec::new(),
            failed: None,
            flow: Flow::Seeking(Instant::now()),
            committed: None,
            start,
        }
    }

    pub fn at(&self) -> &TopicPartition {
        &self.start.at
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    /// Nobody takes its events any more.
    pub fn is_closed(&self) -> bool {
        self.start.sender.is_closed()
    }

    /// The channel is full.
    pub fn waits_for_room(&self) -> bool {
        self.flow == Flow::Paused && !self.pending.is_empty()
    }

    pub fn duplicates(&self) -> u64 {
        self.start.transactions.duplicates()
    }

    pub fn metadata(&self) -> &str {
        &self.start.metadata
    }

    /// What the graph has, if that is news for the group.
    pub fn to_commit(&self) -> Option<u64> {
        let acknowledged = self.start.acknowledged.load(Ordering::Relaxed);
        (self.committed != Some(acknowledged)).then_some(acknowledged)
    }

    pub fn committed(&mut self, offset: u64) {
        self.committed = Some(offset);
    }

    /// Begins where it should. It can be read only once the assignment has got through librdkafka.
    pub fn begin(&mut self, client: &Client) {
        let Flow::Seeking(since) = self.flow else { return };
        let offset = offsets::offset_of(self.start.from);
        let TopicPartition { topic, partition } = &self.start.at;
        match client.consumer.seek(topic, *partition, offset, SEEK_TRY) {
            Ok(()) => self.resume(client),
            Err(error) if since.elapsed() > SEEK_LIMIT => {
                let error = client.voice.explain("begin to read the partition", &error);
                self.fail(client, error.into());
            }
            Err(_) => {}
        }
    }

    /// Takes a record. One before where it is read from is passed over.
    pub fn record(&mut self, message: &BorrowedMessage<'_>, client: &Client) {
        let offset = message.offset().unsigned_abs();
        let is_open = self.failed.is_none() && !matches!(self.flow, Flow::Seeking(_));
        if !is_open || offset < self.next {
            return;
        }
        if offset > self.next
            && let Err(error) = self.check_hole(client)
        {
            return self.fail(client, error);
        }
        if offset > self.next && !self.start.holes.meet(self.next..offset) {
            let missing = self.next..offset;
            let at = self.start.at.clone();
            return self.fail(client, ConsumeError::Hole { at, missing });
        }
        let (record, before) = (offsets::record_of(message), self.pending.len());
        if let Some(gap) = Gap::of(&record)
            && !self.start.gaps.meet(offset, gap.clone())
        {
            let at = self.start.at.clone();
            return self.fail(client, ConsumeError::Unpublished { at, offset, gap });
        }
        self.go_on_at(offset + 1);
        let taken = self.start.transactions.record(offset, &record, &mut self.pending);
        for table in self.start.transactions.take_foreign_tables() {
            tracing::warn!(%table, "skipping records of a table that the source does not have");
        }
        match (taken, &client.dead_letters) {
            (Ok(()), _) => {}
            (Err(why), Some(dead_letters)) if why.is_of_one_record() => {
                match dead_letters.park(message, &why.to_string()) {
                    Ok(()) => self.start.transactions.pass_over(offset, &mut self.pending),
                    Err(error) => self.fail(client, error.into()),
                }
            }
            (Err(error), _) => {
                let (at, within) = (self.start.at.clone(), self.start.transactions.unfinished());
                let error = Box::new(error);
                self.fail(client, ConsumeError::Record { at, offset, within, error });
            }
        }
        self.start.last_records.record(offset, &record, &self.pending[before..]);
    }

    fn go_on_at(&mut self, next: u64) {
        self.next = next;
        self.start.next.store(next, Ordering::Relaxed);
    }

    /// There are no records between these offsets.
    pub fn pass(&mut self, from: u64, to: u64) {
        if self.failed.is_none() && self.next == from && from < to {
            self.go_on_at(to);
            self.start.transactions.pass_empty(from, to, &mut self.pending);
        }
    }

    /// The record at `next` did not come, if it is before the topic's start, or behind its end.
    pub fn check_hole(&self, client: &Client) -> Result<(), ConsumeError> {
        let (at, next) = (self.start.at.clone(), self.next);
        let log = offsets::watermarks(&client.consumer, &client.voice, &at)?;
        if next < log.start {
            return Err(ConsumeError::Gap { at, missing: next..log.start });
        }
        if next > log.end {
            return Err(ConsumeError::Truncated { at, read: next, end: log.end });
        }
        Ok(())
    }

    /// Nothing more is read; what came before is still handed over, then this.
    pub fn fail(&mut self, client: &Client, error: ConsumeError) {
        self.failed = Some(error);
        self.pause(client);
    }

    /// Hands over what was gathered; pauses while there is no room for it.
    pub fn deliver(&mut self, client: &Client) {
        if !self.pending.is_empty() {
            match self.start.sender.try_send(Ok(mem::take(&mut self.pending))) {
                Ok(()) if self.flow == Flow::Paused && self.failed.is_none() => {
                    self.resume(client);
                }
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
                Err(mpsc::error::TrySendError::Full(events)) => {
                    self.pending = events.unwrap_or_default();
                    self.start.is_full.store(true, Ordering::Relaxed);
                    self.pause(client);
                }
            }
        }
        if self.pending.is_empty()
            && let Some(error) = self.failed.take()
            && let Err(mpsc::error::TrySendError::Full(error)) =
                self.start.sender.try_send(Err(error))
        {
            self.failed = error.err();
        }
    }

    /// A partition that can not be paused is one that is not ours any more.
    pub fn pause(&mut self, client: &Client) {
        if self.flow != Flow::Paused {
            self.told(client.consumer.pause(&offsets::partition_of(&self.start.at)));
            self.flow = Flow::Paused;
        }
    }

    fn resume(&mut self, client: &Client) {
        match client.consumer.resume(&offsets::partition_of(&self.start.at)) {
            Ok(()) => {
                self.flow = Flow::Open;
                self.start.is_full.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                self.failed = Some(client.voice.explain("resume the partition", &error).into());
            }
        }
    }

    fn told(&self, done: Result<(), KafkaError>) {
        if let Err(error) = done {
            tracing::debug!(at = %self.start.at, %error, "the partition was not paused");
        }
    }
}
