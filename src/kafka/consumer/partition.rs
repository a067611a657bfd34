//! The pipeline's end of a partition.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc;

use crate::{change::Event, checkpoint::TopicPartition, lsn::Lsn, pipeline::Source};

use super::ConsumeError;

/// A partition that is read. Dropping it ends that; the member stays in the group.
pub struct PartitionSource {
    pub(super) events: mpsc::Receiver<Result<Vec<Event>, ConsumeError>>,
    /// Everything before this offset is in the graph.
    pub(super) acknowledged: Arc<AtomicU64>,
    pub(super) group: String,
    pub(super) at: TopicPartition,
}

impl Source for PartitionSource {
    type Error = ConsumeError;

    async fn next(&mut self) -> Result<Vec<Event>, ConsumeError> {
        let lost = || ConsumeError::Lost { group: self.group.clone(), at: self.at.clone() };
        self.events.recv().await.unwrap_or_else(|| Err(lost()))
    }

    fn acknowledge(&mut self, offset: Lsn) {
        self.acknowledged.store(offset.0, Ordering::Relaxed);
    }
}
