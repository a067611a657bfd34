//! What the partitions of a member share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    catalog::Catalog,
    change::Timestamp,
    checkpoint::{Checkpoint, TopicPartition},
    config::Config,
    graph::Model,
    kafka::{consumer::Member, offsets::Asking},
    mapping::Mapping,
    metrics::Metrics,
    service::{
        graph::{Graph, Planner},
        notices::Notices,
    },
    start::one_file::{self, Overtaken},
    topic::{copied::Tables, gap::Gaps, holes::Holes},
};

use super::{claims::Claims, looked::Looked, seen::Seen, topology::Topology};

/// What the partitions of a member share.
pub struct Shared {
    /// The configuration.
    pub config: Config,
    /// What the run knows of itself.
    pub metrics: Arc<Metrics>,
    /// What was met in the rows.
    pub notices: Arc<Notices>,
    /// The source's.
    pub catalog: Catalog,
    /// The source's name for itself.
    pub database: String,
    /// The tables that the graph is made of.
    pub tables: Tables,
    /// What tables become.
    pub mapping: Arc<Mapping>,
    /// What was seen of the tables; `None`: the graph does not follow what changes in them.
    pub seen: Option<Seen>,
    /// The graph's side of it.
    pub model: Arc<Model>,
    /// For questions.
    pub asking: Asking,
    /// The graph.
    pub graph: Graph,
    /// Its id, if it has one.
    pub graph_id: Option<String>,
    /// The member of the group.
    pub member: Member,
    /// Has their statements planned.
    pub planner: Arc<Planner>,
    /// The partitions there are.
    pub topology: Topology,
    /// Where each partition ends, if it does.
    pub targets: Option<BTreeMap<TopicPartition, u64>>,
    /// What this process has claimed.
    pub claims: Arc<Claims>,
    /// What the file of this process says.
    pub file: Arc<File>,
    /// What commands ask for.
    pub requests: Looked,
    /// What does not come in topics that a publisher of ours writes.
    pub missing: Arc<Missing>,
}

/// The file of this process, as far as it says what rows are made. It lasts from one life to the next.
#[derive(Debug)]
pub struct File {
    digest: String,
    /// Since when partitions have its rows.
    since: Mutex<Option<Timestamp>>,
}

impl File {
    /// One that no partition has rows of yet.
    pub fn new(config: &Config) -> Self {
        File { digest: config.edits.digest(), since: Mutex::default() }
    }

    /// The digest of what it says.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Some partition has its rows since this moment.
    pub fn is_followed_since(&self, since: Timestamp) {
        let mut known = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        *known = (*known).max(Some(since));
    }

    /// The partition that has gone over to a later file.
    pub fn overtaken(&self, checkpoints: &[Checkpoint]) -> Option<Overtaken> {
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        one_file::overtaken(&self.digest, since?, checkpoints)
    }
}

/// What does not come, of each partition: holes, and gaps that its publisher tells of. It lasts from one life to the
/// next.
#[derive(Debug, Default)]
pub struct Missing(Mutex<BTreeMap<TopicPartition, (Holes, Gaps)>>);

impl Missing {
    /// That of this partition.
    pub fn of(&self, at: &TopicPartition) -> (Holes, Gaps) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(at.clone()).or_insert_with(|| (Holes::watched(), Gaps::default())).clone()
    }
}
