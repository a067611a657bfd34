//! What a life of `apply` has seen of the tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem::take,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Mutex as AsyncMutex;

use crate::{
    change::Sent,
    checkpoint::TopicPartition,
    config::Config,
    service::trace::Traces,
    start::{shape::ReadAt, tables::Now},
};

/// What a life has seen of the tables that its graph follows.
pub struct Seen {
    /// Their facts.
    pub now: Now,
    /// Where the log was.
    pub at: ReadAt,
    trace: Mutex<String>,
    /// What could not be read.
    pub unexplained: Arc<Unexplained>,
    /// Partitions go over one by one. What was told of the tables in this life.
    pub turn: AsyncMutex<BTreeSet<String>>,
}

impl Seen {
    /// Of a look. `None`: a standby may show what was, so the graph does not follow.
    pub fn new(
        now: Option<&Now>,
        (at, trace): (ReadAt, String),
        unexplained: &Arc<Unexplained>,
    ) -> Option<Self> {
        let now = now.filter(|now| !now.in_recovery)?.clone();
        let (unexplained, turn) = (unexplained.clone(), AsyncMutex::default());
        Some(Seen { now, at, trace: Mutex::new(trace), unexplained, turn })
    }

    /// The same of these tables alone, by object id.
    pub fn of(&self, tables: &BTreeSet<u32>) -> Now {
        let mut now = self.now.clone();
        let all = take(&mut now.facts.tables).into_iter().zip(take(&mut now.traces));
        (now.facts.tables, now.traces) =
            all.filter(|(table, _)| tables.contains(&table.oid)).unzip();
        now
    }

    /// The catalog's trace of the last look.
    pub fn trace(&self) -> String {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another look has found nothing of consequence.
    pub fn looked(&self, trace: String) {
        *self.trace.lock().unwrap_or_else(PoisonError::into_inner) = trace;
    }

    /// Whether the catalog is still as it was looked at. False: it is not, or nobody knows.
    pub async fn is_of_now(&self, config: &Config) -> bool {
        Traces::new(config, None).now().await.is_some_and(|now| now == self.trace())
    }
}

/// The tables of which a change can not be read, by partition. They last from one life to the next.
#[derive(Debug, Default)]
pub struct Unexplained(Mutex<BTreeMap<TopicPartition, BTreeSet<u32>>>);

impl Unexplained {
    /// One more.
    pub fn met(&self, at: &TopicPartition, sent: &Sent) {
        self.with(|all| {
            all.entry(at.clone()).or_default().insert(sent.oid);
        });
    }

    /// Those of a partition.
    pub fn of(&self, at: &TopicPartition) -> BTreeSet<u32> {
        self.with(|all| all.get(at).cloned().unwrap_or_default())
    }

    /// A comparison of them is asked for.
    pub fn is_kept(&self, at: &TopicPartition) {
        self.with(|all| {
            all.remove(at);
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<TopicPartition, BTreeSet<u32>>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
