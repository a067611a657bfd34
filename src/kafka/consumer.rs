//! A partition as a source: a member of the consumer group, on a thread of its own.
//!
//! ```text
//!            thread: poll, always                                    pipeline
//! broker --> record --Transactions--> events --bounded channel--> Source::next
//!              |  the channel is full: pause, and poll on             |
//!              +--------- offset, epoch <------------- acknowledge ---+
//! ```
//!
//! The thread polls whatever the graph does, so `max.poll.interval.ms` is never exceeded: when the
//! channel is full the partition is paused, and nothing is fetched until there is room. A partition
//! that is assigned is paused at once, too, and read only when it was decided from where.
//!
//! The group's offset follows the graph and decides nothing: it is committed after the graph has
//! what is before it, and where reading begins is [`crate::replay`]'s to say. A member that loses
//! its partition stops; what it still has in flight is refused by the graph's epoch once the next
//! one has claimed it.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
    message::BorrowedMessage,
    types::RDKafkaRespErr,
};
use tokio::sync::{mpsc, watch};

use crate::{
    change::Event,
    lsn::Lsn,
    pipeline::{Failure, Source},
};

use super::{
    Error, Options,
    connect::{Voice, settings},
    error::is_transient,
    offsets::{self, PARTITION},
    transactions::{RecordError, Transactions},
};

/// How long an idle poll waits for a record; commits of offsets wait for no longer.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// How long a poll waits while the channel is full.
const FULL_POLL: Duration = Duration::from_millis(10);
/// The channel takes this many batches of events.
const CHANNEL_BATCHES: usize = 8;
/// A batch of events takes no further record once it has this many.
const BATCH_RECORDS: usize = 1_000;
/// A batch of events takes no further record once it has this many bytes of them.
const BATCH_BYTES: usize = 1 << 20;
/// How often librdkafka looks whether the topic is still there, in milliseconds.
const TOPIC_LOOK_MS: &str = "10000";
/// How long it takes a topic for new, which brokers may not know yet, in milliseconds.
const TOPIC_NEW_MS: &str = "5000";
/// How much librdkafka fetches ahead, in KiB: what is fetched is thrown away by a pause.
const PREFETCH_KIB: &str = "16384";
/// How long a partition that was just assigned may take before it can be read from an offset.
const SEEK_LIMIT: Duration = Duration::from_secs(20);
/// How long the last commit and leaving the group may take together.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);
/// The same trouble is told of once in this time.
const TROUBLE_INTERVAL: Duration = Duration::from_secs(30);
/// No offset was acknowledged.
const NONE: u64 = u64::MAX;

/// Why a partition is not read any more.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// Kafka says no.
    #[error(transparent)]
    Kafka(#[from] Error),
    /// The partition went to another member, or we were too late for the group.
    #[error(
        "the group {group} took the partition away, for another member or because the broker did not hear of us"
    )]
    Lost {
        /// The group.
        group: String,
    },
    /// Records are gone.
    #[error(
        "the records of {topic} at offsets {}..{} are gone and were never applied: its retention is shorter than the \
         graph was behind, or they were deleted. Copy again through a new topic and pipeline; or, to go on without \
         them: wal2graph replay --from earliest --yes", .missing.start, .missing.end
    )]
    Gap {
        /// The topic.
        topic: String,
        /// The offsets.
        missing: std::ops::Range<u64>,
    },
    /// The topic ends before what was read of it.
    #[error(
        "{topic} ends at offset {end}, but was read up to {read}: it was re-created, or its records were lost. If it \
         begins with a copy, apply it from there: wal2graph replay --from earliest --yes"
    )]
    Truncated {
        /// The topic.
        topic: String,
        /// What was read.
        read: u64,
        /// Where it ends.
        end: u64,
    },
    /// A record can not be applied.
    #[error(
        "the record at offset {offset} of partition {PARTITION} of {topic} can not be applied: {error}"
    )]
    Record {
        /// The topic.
        topic: String,
        /// Its offset.
        offset: u64,
        /// Why.
        error: RecordError,
    },
}

impl Failure for ConsumeError {
    fn is_transient(&self) -> bool {
        match self {
            ConsumeError::Kafka(error) => error.is_transient(),
            ConsumeError::Lost { .. } => true,
            ConsumeError::Gap { .. }
            | ConsumeError::Truncated { .. }
            | ConsumeError::Record { .. } => false,
        }
    }
}

/// Whose the partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Assignment {
    /// Not ours yet.
    Awaited,
    Ours,
    /// It was ours.
    Lost,
}

/// Where to read from, and what to make of it.
struct Start {
    from: u64,
    transactions: Transactions,
    metadata: String,
}

/// What thread and pipeline share.
struct Shared {
    assignment: watch::Sender<Assignment>,
    start: Mutex<Option<Start>>,
    acknowledged: AtomicU64,
    stop: AtomicBool,
    failure: Mutex<Option<ConsumeError>>,
}

/// A member of the group. It leaves the group when it is closed or dropped.
pub struct Member {
    shared: Arc<Shared>,
    events: mpsc::Receiver<Vec<Event>>,
    thread: Option<thread::JoinHandle<()>>,
    topic: String,
}

impl Member {
    /// Joins the group, and waits until the topic's partition is ours: another member may have it.
    ///
    /// # Errors
    /// Kafka does not let us, or the topic is not one that can be read.
    pub async fn join(options: &Options) -> Result<Self, ConsumeError> {
        let topic = options.topic.as_str().to_owned();
        let voice = Voice::new(options);
        let assignment = watch::Sender::new(Assignment::Awaited);
        let committing = Arc::new(AtomicUsize::new(0));
        let context = Context {
            voice: voice.clone(),
            assignment: assignment.clone(),
            committing: committing.clone(),
        };
        let created = member_settings(options).create_with_context(context);
        let consumer: BaseConsumer<Context> =
            created.map_err(|error| voice.explain("make a consumer", &error))?;
        let consumer = Arc::new(consumer);
        offsets::check_topic(&consumer, &voice, &topic).await?;
        consumer.subscribe(&[&topic]).map_err(|error| voice.explain("subscribe", &error))?;
        let shared = Arc::new(Shared {
            assignment,
            start: Mutex::default(),
            acknowledged: AtomicU64::new(NONE),
            stop: AtomicBool::new(false),
            failure: Mutex::default(),
        });
        let (sender, events) = mpsc::channel(CHANNEL_BATCHES);
        let reader = Reader {
            consumer,
            shared: shared.clone(),
            voice,
            sender,
            topic: topic.clone(),
            group: options.group.clone(),
            reading: None,
            pending: Vec::new(),
            paused: false,
            committed: NONE,
            committing,
            trouble_at: None,
        };
        let named = thread::Builder::new().name("kafka-consumer".to_owned());
        let spawned = named.spawn(move || reader.run());
        let thread = spawned.map_err(|error| Error::Definite(format!("no thread: {error}")))?;
        let mut member = Member { shared, events, thread: Some(thread), topic };
        member.assigned(&options.group).await?;
        Ok(member)
    }

    async fn assigned(&mut self, group: &str) -> Result<(), ConsumeError> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let mut assignment = self.shared.assignment.subscribe();
        let ours = assignment.wait_for(|it| *it != Assignment::Awaited);
        tokio::pin!(ours);
        tokio::select! {
            _ = &mut ours => return Ok(()),
            _ = self.events.recv() => return Err(self.shared.failure()),
            () = tokio::time::sleep(PATIENCE) => {}
        }
        tracing::info!(
            group,
            topic = self.topic,
            "waiting for the partition: another member of the group has it"
        );
        tokio::select! {
            _ = ours => Ok(()),
            _ = self.events.recv() => Err(self.shared.failure()),
        }
    }

    /// Begins to read. `metadata` goes with every offset that is committed.
    pub fn read(&self, from: u64, transactions: Transactions, metadata: String) {
        *lock(&self.shared.start) = Some(Start { from, transactions, metadata });
    }

    /// Commits what was acknowledged and leaves the group.
    pub async fn close(mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in it was told of on stderr.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Source for Member {
    type Error = ConsumeError;

    async fn next(&mut self) -> Result<Vec<Event>, ConsumeError> {
        match self.events.recv().await {
            Some(events) => Ok(events),
            None => Err(self.shared.failure()),
        }
    }

    fn acknowledge(&mut self, offset: Lsn) {
        self.shared.acknowledged.store(offset.0, Ordering::Relaxed);
    }
}

impl Shared {
    /// Why the thread ended.
    fn failure(&self) -> ConsumeError {
        let failure = lock(&self.failure).take();
        failure.unwrap_or_else(|| Error::Definite("the consumer has ended".to_owned()).into())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn member_settings(options: &Options) -> rdkafka::ClientConfig {
    let mut config = settings(options);
    let is_set = |name: &str| options.properties.iter().any(|(other, _)| other == name);
    let next_generation = options.properties.iter().any(|it| it == ("group.protocol", "consumer"));
    if !next_generation && !is_set("partition.assignment.strategy") {
        config.set("partition.assignment.strategy", "cooperative-sticky");
    }
    for (name, value) in [
        ("queued.max.messages.kbytes", PREFETCH_KIB),
        ("topic.metadata.refresh.interval.ms", TOPIC_LOOK_MS),
        ("topic.metadata.propagation.max.ms", TOPIC_NEW_MS),
    ] {
        if !is_set(name) {
            config.set(name, value);
        }
    }
    config
        .set("group.id", &options.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "false")
        .set("auto.offset.reset", "error");
    config
}

/// What librdkafka calls back, in the thread that polls.
struct Context {
    voice: Voice,
    assignment: watch::Sender<Assignment>,
    /// Commits without an answer yet.
    committing: Arc<AtomicUsize>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.voice.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.voice.error(error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let ours = partitions.count() > 0;
        let done = match (what, cooperative) {
            (RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS, _) => {
                self.assign(consumer, partitions, cooperative)
            }
            (_, true) => consumer.incremental_unassign(partitions),
            (_, false) => consumer.unassign(),
        };
        let assigned = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        tracing::debug!(assigned, ours, "rebalance");
        if let Err(error) = done {
            tracing::warn!(%error, "the group's assignment could not be followed");
        }
        if ours {
            let now = if assigned { Assignment::Ours } else { Assignment::Lost };
            self.assignment.send_replace(now);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        self.committing.fetch_sub(1, Ordering::Relaxed);
        if let Err(error) = result {
            // The next one will do; the graph's checkpoint is what counts.
            tracing::debug!(%error, "the group's offset was not committed");
        }
    }
}

impl Context {
    /// Takes what is assigned and pauses it: from where it is read is decided later.
    fn assign(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &mut TopicPartitionList,
        cooperative: bool,
    ) -> KafkaResult<()> {
        partitions.set_all_offsets(Offset::Beginning)?;
        match cooperative {
            true => consumer.incremental_assign(partitions)?,
            false => consumer.assign(partitions)?,
        }
        match partitions.count() {
            0 => Ok(()),
            _ => consumer.pause(partitions),
        }
    }
}

/// The thread's state.
struct Reader {
    consumer: Arc<BaseConsumer<Context>>,
    shared: Arc<Shared>,
    voice: Voice,
    sender: mpsc::Sender<Vec<Event>>,
    topic: String,
    group: String,
    reading: Option<Reading>,
    /// Events that the channel has no room for yet.
    pending: Vec<Event>,
    paused: bool,
    /// The offset that was committed last.
    committed: u64,
    committing: Arc<AtomicUsize>,
    trouble_at: Option<Instant>,
}

/// A partition that is being read.
struct Reading {
    /// The offset of the next record.
    next: u64,
    transactions: Transactions,
    metadata: String,
}

impl Reader {
    fn run(mut self) {
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

    /// Leaves the group, static members too: an inactive group can be reset.
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
