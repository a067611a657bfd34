//! Heartbeats of topics that each have a table: the graph's position, once the tables have come that far.
//!
//! ```text
//! heartbeat: 0/16B3740, orders up to 4, customers up to 2 --held--+--> the checkpoint of heartbeats: 0/16B3740
//! checkpoints in the graph: orders 4, customers 3 ----------------+
//! ```
//!
//! The checkpoints in the graph say how far each table's topic is applied, by any member of the group. A table
//! that stands still has everything up to its topic's end, and blocks nothing.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::sleep;

use crate::{
    change::Event,
    checkpoint::TopicPartition,
    config::Config,
    kafka::consumer::{ConsumeError, PartitionEnd, PartitionSource},
    lsn::Lsn,
    pipeline::{Source, Store, StoreError},
    service::{
        ServiceError,
        graph::{Graph, Wait, open},
    },
    topic::ends::{EndsWatch, Pending, Said},
};

/// How often the checkpoints are read while heartbeats wait for them.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// What a pipeline of `apply` reads.
pub enum Reads {
    /// Rows.
    Rows(PartitionSource),
    /// Heartbeats, which wait for rows.
    Heartbeats(Box<Gate>),
}

/// A partition of heartbeats that wait for the tables' topics.
pub struct Gate {
    source: PartitionSource,
    said: EndsWatch,
    pending: Pending,
    graph: Graph,
    pipeline: String,
}

impl Gate {
    /// Of a graph that is complete through a position.
    pub fn new(
        config: &Config,
        source: PartitionSource,
        said: EndsWatch,
        through: Lsn,
    ) -> Result<Self, ServiceError> {
        let graph = open(config, Wait::Usual)?;
        let (pending, pipeline) = (Pending::new(through), config.pipeline.clone());
        Ok(Gate { source, said, pending, graph, pipeline })
    }

    fn take(&mut self, events: &[Event]) {
        for event in events {
            // Heartbeats bring nothing else.
            let Event::Keepalive { wal_end, .. } = event else { continue };
            let mut last = 0;
            for said in self.said.take(wal_end.0) {
                last = said.after;
                self.pending.push(said);
            }
            if last < wal_end.0 {
                // The source skipped something.
                self.pending.push(Said { after: wal_end.0, complete: None });
            }
        }
    }

    /// The next position that has become true of the graph.
    async fn passed(&mut self) -> Option<Event> {
        if !self.pending.waits() {
            return None;
        }
        let (wal_end, source_lsn) = match self.applied().await {
            Ok(applied) => self.pending.take(&applied)?,
            Err(error) => {
                // The writer reports it, too, and tries again.
                tracing::debug!(%error, "the checkpoints can not be read");
                return None;
            }
        };
        let wal_end = Lsn(wal_end);
        Some(Event::Keepalive { wal_end, source_lsn, reply_requested: false })
    }

    /// How far each of the tables' partitions is in the graph.
    async fn applied(&self) -> Result<Vec<u64>, StoreError> {
        let checkpoints = self.graph.positions(&self.pipeline).await?;
        let applied: BTreeMap<&TopicPartition, u64> = checkpoints
            .iter()
            .filter_map(|checkpoint| Some((checkpoint.partition()?, checkpoint.position.lsn.0)))
            .collect();
        let of = |at| applied.get(at).copied().unwrap_or_default();
        Ok(self.said.partitions().iter().map(|(at, _)| of(at)).collect())
    }
}

impl Reads {
    /// How far the partition is read.
    pub fn end(&self) -> PartitionEnd {
        match self {
            Reads::Rows(source) => source.end(),
            Reads::Heartbeats(gate) => gate.source.end(),
        }
    }
}

impl Source for Reads {
    type Error = ConsumeError;

    async fn next(&mut self) -> Result<Vec<Event>, ConsumeError> {
        let gate = match self {
            Reads::Rows(source) => return source.next().await,
            Reads::Heartbeats(gate) => gate,
        };
        loop {
            if let Some(event) = gate.passed().await {
                return Ok(vec![event]);
            }
            let waits = gate.pending.waits();
            tokio::select! {
                events = gate.source.next() => {
                    let events = events?;
                    gate.take(&events);
                }
                () = sleep(LOOK_INTERVAL), if waits => {}
            }
        }
    }

    fn acknowledge(&mut self, offset: Lsn) {
        match self {
            Reads::Rows(source) => source.acknowledge(offset),
            Reads::Heartbeats(gate) => gate.source.acknowledge(offset),
        }
    }
}
