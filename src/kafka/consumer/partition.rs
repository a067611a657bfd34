//! The pipeline's end of a partition.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
    mpsc as std_mpsc,
};

use tokio::sync::mpsc;

use crate::{change::Event, checkpoint::TopicPartition, lsn::Lsn, pipeline::Source};

use super::{ConsumeError, reading::Order};

/// A partition that is read. Dropping it ends that; the member stays in the group.
pub struct PartitionSource {
    pub(super) events: mpsc::Receiver<Result<Vec<Event>, ConsumeError>>,
    /// Everything before this offset is in the graph.
    pub(super) acknowledged: Arc<AtomicU64>,
    pub(super) group: String,
    pub(super) end: PartitionEnd,
}

/// How far a partition is read. It can be moved to the partition's end, when nothing comes before that.
#[derive(Clone)]
pub struct PartitionEnd {
    pub(super) at: TopicPartition,
    /// The offset after the last record that came.
    pub(super) next: Arc<AtomicU64>,
    /// Nothing is read, because what came has not been taken.
    pub(super) is_full: Arc<AtomicBool>,
    pub(super) orders: std_mpsc::Sender<Order>,
}

impl PartitionEnd {
    /// The partition.
    pub fn at(&self) -> &TopicPartition {
        &self.at
    }

    /// Everything before this offset was read.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Nothing is read meanwhile, because the pipeline has not taken what came.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// There are no records between these offsets: it goes on behind them, unless it has read on
    /// meanwhile.
    pub fn pass(&self, from: u64, to: u64) {
        // Without the thread nothing is read any more.
        let _ = self.orders.send(Order::Pass { at: self.at.clone(), from, to });
    }
}

impl PartitionSource {
    /// How far it is read.
    pub fn end(&self) -> PartitionEnd {
        self.end.clone()
    }
}

impl Source for PartitionSource {
    type Error = ConsumeError;

    async fn next(&mut self) -> Result<Vec<Event>, ConsumeError> {
        let lost = || ConsumeError::Lost { group: self.group.clone(), at: self.end.at.clone() };
        self.events.recv().await.unwrap_or_else(|| Err(lost()))
    }

    fn acknowledge(&mut self, offset: Lsn) {
        self.acknowledged.store(offset.0, Ordering::Relaxed);
    }
}
