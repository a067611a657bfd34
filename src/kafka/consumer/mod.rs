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

mod context;
mod error;
mod reader;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::{mpsc, watch};

use crate::{change::Event, lsn::Lsn, pipeline::Source};

use super::{
    Error, Options,
    connect::{Voice, settings},
    offsets,
    parking::Parking,
    transactions::Transactions,
};

pub use error::ConsumeError;

use context::Context;
use reader::Reader;

/// The channel takes this many batches of events.
const CHANNEL_BATCHES: usize = 8;
/// How often librdkafka looks whether the topic is still there, in milliseconds.
const TOPIC_LOOK_MS: &str = "10000";
/// How long it takes a topic for new, which brokers may not know yet, in milliseconds.
const TOPIC_NEW_MS: &str = "5000";
/// How much librdkafka fetches ahead, in KiB: what is fetched is thrown away by a pause.
const PREFETCH_KIB: &str = "16384";
/// No offset was acknowledged.
const NONE: u64 = u64::MAX;

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
    /// Records that are no envelopes are parked; without `parking` they are an error.
    ///
    /// # Errors
    /// Kafka does not let us, or the topic is not one that can be read.
    pub async fn join(options: &Options, parking: Option<Parking>) -> Result<Self, ConsumeError> {
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
            parking,
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
