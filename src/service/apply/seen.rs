//! What a life of `apply` has seen of the tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Mutex as AsyncMutex;

use crate::{
    change::Sent,
    checkpoint::TopicPartition,
    config::Config,
    lsn::Lsn,
    service::trace::Traces,
    start::{
        shape::ReadAt,
        tables::{Now, TableIs},
    },
};

/// What a life has seen of the tables that its graph follows.
pub struct Seen {
    /// Their facts.
    pub now: Now,
    /// Tables that are paused, as the graph has them.
    pub paused: Vec<TableIs>,
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
        paused: Vec<TableIs>,
        (at, trace): (ReadAt, String),
        unexplained: &Arc<Unexplained>,
    ) -> Option<Self> {
        let now = now.filter(|now| !now.in_recovery)?.clone();
        let (unexplained, turn) = (unexplained.clone(), AsyncMutex::default());
        Some(Seen { now, paused, at, trace: Mutex::new(trace), unexplained, turn })
    }

    /// The catalog's trace of the last look.
    pub fn trace(&self) -> String {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another look has found nothing of consequence.
    pub fn looked(&self, trace: String) {
        *self.trace.lock().unwrap_or_else(PoisonError::into_inner) = trace;
    }

    /// Where the log was, if records from there on are compared with the catalog. Behind the same catalog they are
    /// so once: what it does not show can not be waited for.
    pub fn compares_from(&self) -> Option<Lsn> {
        let met = self.unexplained.trace.lock().unwrap_or_else(PoisonError::into_inner);
        let is_published = self.now.facts.publication.is_some();
        (is_published && *met != self.trace()).then_some(self.at.from)
    }

    /// A record has come that is not of the tables as they were looked at.
    pub fn met(&self) {
        let mut met = self.unexplained.trace.lock().unwrap_or_else(PoisonError::into_inner);
        *met = self.trace();
    }

    /// Whether the catalog is still as it was looked at. False: it is not, or nobody knows.
    pub async fn is_of_now(&self, config: &Config) -> bool {
        Traces::new(config, None).now().await.is_some_and(|now| now == self.trace())
    }
}

/// The tables of which a change can not be read, by partition. They last from one life to the next.
#[derive(Debug, Default)]
pub struct Unexplained {
    tables: Mutex<BTreeMap<TopicPartition, BTreeSet<u32>>>,
    /// The catalog's trace behind which a record came that is not of its tables.
    trace: Mutex<String>,
}

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
        work(&mut self.tables.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
