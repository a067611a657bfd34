//! Partitions as sources: a member of the consumer group, on a thread of its own.
//!
//! ```text
//!            thread: poll, always                                    pipeline, one a partition
//! broker --> record --Transactions--> events --bounded channel--> Source::next
//!              |  the channel is full: pause, and poll on             |
//!              +--------- offset, epoch <------------- acknowledge ---+
//! ```
//!
//! The thread polls whatever the graph does, so `max.poll.interval.ms` is never exceeded: when a
//! channel is full its partition is paused, and nothing is fetched of it until there is room. A
//! partition that is assigned is paused at once, too, and read only when it was decided from where.
//! Partitions do not wait for each other: one that can not go on says so to its own pipeline.
//!
//! The group's offset follows the graph and decides nothing: it is committed after the graph has
//! what is before it, and where reading begins is [`crate::replay`]'s to say. A member that loses
//! a partition ends what reads it; what that still has in flight is refused by the graph's epoch
//! once the next one has claimed it.

mod context;
mod error;
mod partition;
mod reader;
mod reading;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc as std_mpsc,
    },
    thread,
};

use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::{mpsc, watch};

use crate::{
    checkpoint::TopicPartition,
    topic::{before::LastRecords, gap::Gaps, holes::Holes, transactions::Transactions},
};

use super::{
    Error, Options,
    connect::{Voice, settings},
    dead_letters::DeadLetters,
    offsets,
};

pub use error::ConsumeError;
pub use partition::{PartitionEnd, PartitionSource};

use context::Context;
use reader::Reader;
use reading::{Client, Order, Start};

/// A channel takes this many batches of events.
const CHANNEL_BATCHES: usize = 8;
/// How often librdkafka looks whether the topic is still there, in milliseconds.
const TOPIC_LOOK_MS: &str = "10000";
/// How long it takes a topic for new, which brokers may not know yet, in milliseconds.
const TOPIC_NEW_MS: &str = "5000";
/// How much librdkafka fetches ahead, in KiB: what is fetched is thrown away by a pause.
const PREFETCH_KIB: &str = "16384";

/// The partitions that the member has, each with a number that no other assignment has: one that
/// went and came back is another.
pub type Assignment = BTreeMap<TopicPartition, u64>;

/// What thread and pipelines share.
struct Shared {
    assignment: watch::Sender<Assignment>,
    ended: watch::Sender<bool>,
    stop: AtomicBool,
    failure: Mutex<Option<ConsumeError>>,
}

/// A member of the group. It leaves the group when it is closed or dropped.
pub struct Member {
    shared: Arc<Shared>,
    orders: std_mpsc::Sender<Order>,
    thread: Option<thread::JoinHandle<()>>,
    group: String,
}

impl Member {
    /// Joins the group. What it is assigned is told later: other members may have all partitions.
    /// Records that are no envelopes become dead letters; where there are none, they are an error.
    /// `rebalanced` is called whenever the group gives it partitions, or takes some away.
    ///
    /// # Errors
    /// Kafka does not let us, or a topic is not there.
    pub async fn join(
        options: &Options,
        topics: &[&str],
        dead_letters: Option<DeadLetters>,
        rebalanced: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, ConsumeError> {
        let voice = Voice::new(options);
        let assignment = watch::Sender::new(Assignment::new());
        let context = Context {
            voice: voice.clone(),
            assignment: assignment.clone(),
            assignments: AtomicU64::new(0),
            rebalanced: Box::new(rebalanced),
        };
        let created = member_settings(options).create_with_context(context);
        let consumer: BaseConsumer<Context> =
            created.map_err(|error| voice.explain("make a consumer", &error))?;
        voice.log_in(consumer.client())?;
        let consumer = Arc::new(consumer);
        for topic in topics {
            offsets::partitions(&consumer, &voice, topic).await?;
        }
        consumer.subscribe(topics).map_err(|error| voice.explain("subscribe", &error))?;
        let shared = Arc::new(Shared {
            assignment,
            ended: watch::Sender::new(false),
            stop: AtomicBool::new(false),
            failure: Mutex::default(),
        });
        let group = options.group.clone();
        let (orders, to_do) = std_mpsc::channel();
        let client = Client { consumer, voice, dead_letters };
        let reader = Reader::new(client, shared.clone(), to_do, group.clone());
        let named = thread::Builder::new().name("kafka-consumer".to_owned());
        let spawned = named.spawn(move || reader.run());
        let thread = spawned.map_err(|error| Error::Definite(format!("no thread: {error}")))?;
        Ok(Member { shared, orders, thread: Some(thread), group })
    }

    /// What it is assigned, now and from now on.
    pub fn assignment(&self) -> watch::Receiver<Assignment> {
        self.shared.assignment.subscribe()
    }

    /// Begins to read a partition that is assigned; `last_records` learn of each record, `holes` of missing offsets,
    /// and `gaps` of changes that were never published. `metadata` goes with every offset of it that is committed. The
    /// one that read it before reads no more.
    pub fn read(
        &self,
        at: &TopicPartition,
        from: u64,
        transactions: Transactions,
        (last_records, holes, gaps): (LastRecords, Holes, Gaps),
        metadata: String,
    ) -> PartitionSource {
        let (sender, events) = mpsc::channel(CHANNEL_BATCHES);
        let acknowledged = Arc::new(AtomicU64::new(from));
        let next = Arc::new(AtomicU64::new(from));
        let is_full = Arc::new(AtomicBool::new(false));
        let orders = self.orders.clone();
        let end =
            PartitionEnd { at: at.clone(), next: next.clone(), is_full: is_full.clone(), orders };
        let source = PartitionSource {
            events,
            acknowledged: acknowledged.clone(),
            group: self.group.clone(),
            end,
        };
        let at = at.clone();
        let start = Start {
            at,
            from,
            transactions,
            last_records,
            holes,
            gaps,
            metadata,
            sender,
            next,
            is_full,
            acknowledged,
        };
        // Without the thread the source ends at once, as it should.
        let _ = self.orders.send(Order::Read(Box::new(start)));
        source
    }

    /// Resolves when the member can read nothing any more, with the reason.
    pub async fn failed(&self) -> ConsumeError {
        let mut ended = self.shared.ended.subscribe();
        // The sender is in `shared`, which is there.
        let _ = ended.wait_for(|ended| *ended).await;
        let failure = lock(&self.shared.failure).take();
        failure.unwrap_or_else(|| Error::Definite("the consumer has ended".to_owned()).into())
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn member_settings(options: &Options) -> rdkafka::ClientConfig {
    let mut config = settings(options);
    let properties = options.properties.now();
    let is_set = |name: &str| properties.contains_key(name);
    if !options.is_next_generation() && !is_set("partition.assignment.strategy") {
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
        // What a transaction that was aborted wrote was never so.
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error");
    config
}
