//! The thread that polls.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::BorrowedMessage,
};
use tokio::sync::mpsc;

use crate::change::Event;

use super::{
    super::{
        connect::Voice,
        error::is_transient,
        offsets::{self, PARTITION},
        parking::Parking,
        transactions::{RecordError, Transactions},
    },
    Assignment, ConsumeError, NONE, Shared, Start,
    context::Context,
    lock,
};

/// How long an idle poll waits for a record; commits of offsets wait for no longer.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// How long a poll waits while the channel is full.
const FULL_POLL: Duration = Duration::from_millis(10);
/// A batch of events takes no further record once it has this many.
const BATCH_RECORDS: usize = 1_000;
/// A batch of events takes no further record once it has this many bytes of them.
const BATCH_BYTES: usize = 1 << 20;
/// How long a partition that was just assigned may take before it can be read from an offset.
const SEEK_LIMIT: Duration = Duration::from_secs(20);
/// How long the last commit and leaving the group may take together.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);
/// The same trouble is told of once in this time.
const TROUBLE_INTERVAL: Duration = Duration::from_secs(30);

/// The thread's state.
pub(super) struct Reader {
    pub(super) consumer: Arc<BaseConsumer<Context>>,
    pub(super) shared: Arc<Shared>,
    pub(super) voice: Voice,
    pub(super) sender: mpsc::Sender<Vec<Event>>,
    pub(super) topic: String,
    pub(super) group: String,
    pub(super) reading: Option<Reading>,
    /// Events that the channel has no room for yet.
    pub(super) pending: Vec<Event>,
    pub(super) paused: bool,
    /// The offset that was committed last.
    pub(super) committed: u64,
    pub(super) committing: Arc<AtomicUsize>,
    pub(super) trouble_at: Option<Instant>,
    /// Where records go that are no envelopes, if they do not stop us.
    pub(super) parking: Option<Parking>,
}

/// A partition that is being read.
pub(super) struct Reading {
    /// The offset of the next record.
    next: u64,
    transactions: Transactions,
    metadata: String,
}

impl Reader {
    pub(super) fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) && !self.sender.is_closed() {
            if let Err(error) = self.turn() {
                *lock(&self.shared.failure) = Some(error);
                break;
            }
        }
        self.leave();
    }

    fn turn(&mut self) -> Result<(), ConsumeError> {
        let start = lock(&self.shared.start).take();
        if let Some(start) = start {
            self.begin(start)?;
        }
        self.commit();
        self.gather()?;
        if *self.shared.assignment.borrow() == Assignment::Lost {
            return Err(ConsumeError::Lost { group: self.group.clone() });
        }
        self.deliver()
    }

    fn begin(&mut self, start: Start) -> Result<(), ConsumeError> {
        let Start { from, transactions, metadata } = start;
        let began = Instant::now();
        let offset = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
        // It can be read only once the assignment has got through librdkafka.
        while let Err(error) =
            self.consumer.seek(&self.topic, PARTITION, offset, Duration::from_secs(5))
        {
            if began.elapsed() > SEEK_LIMIT {
                return Err(self.voice.explain("begin to read the partition", &error).into());
            }
            thread::sleep(FULL_POLL);
        }
        self.reading = Some(Reading { next: from, transactions, metadata });
        self.resume()
    }

    /// Polls once at least, and on while there are records and room for them.
    fn gather(&mut self) -> Result<(), ConsumeError> {
        let (mut records, mut bytes) = (0, 0);
        let mut wait = if self.paused { FULL_POLL } else { IDLE_POLL };
        let consumer = self.consumer.clone();
        while records < BATCH_RECORDS && bytes < BATCH_BYTES {
            match consumer.poll(wait) {
                None => break,
                Some(Err(error)) => self.trouble(&error)?,
                Some(Ok(message)) => {
                    bytes += message.payload_len() + message.key_len();
                    self.record(&message)?;
                }
            }
            records += 1;
            wait = Duration::ZERO;
        }
        Ok(())
    }

    fn record(&mut self, message: &BorrowedMessage<'_>) -> Result<(), ConsumeError> {
        let Some(reading) = &mut self.reading else { return Ok(()) };
        let offset = message.offset().unsigned_abs();
        if offset < reading.next {
            return Ok(());
        }
        if offset > reading.next {
            check_hole(&self.consumer, &self.voice, &self.topic, reading.next)?;
        }
        reading.next = offset + 1;
        let record = offsets::record_of(message);
        let taken = reading.transactions.record(offset, &record, &mut self.pending);
        if let (Err(RecordError::Malformed(why)), Some(parking)) = (&taken, &self.parking) {
            parking.park(message, &why.to_string())?;
            reading.transactions.pass_over(offset, &mut self.pending);
            return Ok(());
        }
        taken.map_err(|error| ConsumeError::Record { topic: self.topic.clone(), offset, error })
    }

    /// Hands over what was gathered; pauses while there is no room for it.
    fn deliver(&mut self) -> Result<(), ConsumeError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        match self.sender.try_send(mem::take(&mut self.pending)) {
            Ok(()) if self.paused => self.resume(),
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(events)) => {
                self.pending = events;
                if !self.paused {
                    let paused = self.consumer.pause(&offsets::partition_of(&self.topic));
                    paused.map_err(|error| self.voice.explain("pause the partition", &error))?;
                    self.paused = true;
                }
                Ok(())
            }
        }
    }

    fn resume(&mut self) -> Result<(), ConsumeError> {
        let resumed = self.consumer.resume(&offsets::partition_of(&self.topic));
        resumed.map_err(|error| self.voice.explain("resume the partition", &error))?;
        self.paused = false;
        Ok(())
    }

    /// What librdkafka can not help by itself is the end; of the rest it is told now and then.
    fn trouble(&mut self, error: &KafkaError) -> Result<(), ConsumeError> {
        let code = error.rdkafka_error_code();
        let lost = || Err(ConsumeError::Lost { group: self.group.clone() });
        match (code, error) {
            (Some(Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation), _) => {
                let Some(reading) = &self.reading else { return Ok(()) };
                check_hole(&self.consumer, &self.voice, &self.topic, reading.next)
            }
            (Some(Code::PollExceeded), _) => lost(),
            (Some(code), error) if is_transient(code) && !is_fatal(error) => {
                if self.trouble_at.is_none_or(|at| at.elapsed() > TROUBLE_INTERVAL) {
                    self.trouble_at = Some(Instant::now());
                    tracing::warn!(%error, "Kafka is in trouble; reading goes on when it is not");
                }
                Ok(())
            }
            (_, error) => Err(self.voice.explain("read the partition", error).into()),
        }
    }

    /// Commits what the graph has, if that is new.
    fn commit(&mut self) {
        let Some(reading) = &self.reading else { return };
        let offset = self.shared.acknowledged.load(Ordering::Relaxed);
        if offset == NONE || offset == self.committed {
            return;
        }
        let offsets = offsets::committed_list(&self.topic, offset, &reading.metadata);
        match offsets.and_then(|offsets| self.consumer.commit(&offsets, CommitMode::Async)) {
            Ok(()) => {
                self.committed = offset;
                self.committing.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => tracing::debug!(%error, "the group's offset was not committed"),
        }
    }

    /// Leaves the group, so that it can be reset. librdkafka keeps static members in it until
    /// their session ends.
    fn leave(mut self) {
        let began = Instant::now();
        self.commit();
        while self.committing.load(Ordering::Relaxed) > 0 && began.elapsed() < LEAVE_LIMIT {
            let _ = self.consumer.poll(FULL_POLL);
        }
        if let Some(reading) = &self.reading
            && reading.transactions.duplicates() > 0
        {
            let records = reading.transactions.duplicates();
            tracing::info!(records, "what the topic has twice was applied once");
        }
        self.consumer.unsubscribe();
        while began.elapsed() < LEAVE_LIMIT {
            let _ = self.consumer.poll(IDLE_POLL);
            if self.consumer.assignment().is_ok_and(|it| it.count() == 0) {
                break;
            }
        }
    }
}

fn is_fatal(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageConsumptionFatal(_))
}

/// The record at `next` did not come. Compaction and the markers of transactions leave holes that
/// are none; what is before the topic's start, or behind its end, is gone.
fn check_hole(
    consumer: &BaseConsumer<Context>,
    voice: &Voice,
    topic: &str,
    next: u64,
) -> Result<(), ConsumeError> {
    let log = offsets::watermarks(consumer, voice, topic)?;
    if next < log.start {
        return Err(ConsumeError::Gap { topic: topic.to_owned(), missing: next..log.start });
    }
    if next > log.end {
        let end = log.end;
        return Err(ConsumeError::Truncated { topic: topic.to_owned(), read: next, end });
    }
    Ok(())
}
