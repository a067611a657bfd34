//! What must be there before the stream starts: made on the first start, checked on every one.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::{Client, error::SqlState};

use crate::{
    catalog::Catalog,
    checkpoint::{Checkpoint, Log, NewCheckpoint, Origin},
    config::Config,
    copy::{Progress, RECONCILED, passes, ranges},
    graph::{Model, Outlines, Pass, TableIndex},
    lsn::Lsn,
    mapping::Mapping,
    pipeline::{Failure, Rows, Store},
    postgres::{
        connect::describe,
        setup::{self, Slot},
        sizes::{HeapSize, TableSize, table_size},
    },
    start::{
        SlotState, System, generation,
        publication::{create_sql, mark_sql},
    },
};

use super::{ServiceError, graph::identity, others::Others};

/// A table is copied by several lanes only if it has this many blocks for each range.
const BLOCKS_PER_PART: u32 = 64;
/// Ranges for each lane: the more, the less one lane waits for the other at the end of a pass.
const PARTS_PER_LANE: u32 = 4;

fn definite(text: impl Into<String>) -> ServiceError {
    ServiceError::Definite(text.into())
}

/// Blocks, files and row counts of the mapped tables that are not paused.
pub async fn sizes(
    client: &Client,
    catalog: &Catalog,
    mapping: &Mapping,
) -> Result<Vec<(TableIndex, TableSize)>, ServiceError> {
    let all: Vec<TableIndex> = mapping.followed_tables().map(|(table, _)| table).collect();
    sizes_of(client, catalog, mapping, &all).await
}

/// The same of some tables.
pub async fn sizes_of(
    client: &Client,
    catalog: &Catalog,
    mapping: &Mapping,
    tables: &[TableIndex],
) -> Result<Vec<(TableIndex, TableSize)>, ServiceError> {
    let mut sizes = Vec::new();
    for &table in tables {
        let name = &mapping.columns(table).name;
        let size = table_size(client, catalog, name).await.map_err(|error| {
            let text = error.to_string();
            if error.is_transient() { ServiceError::NotYet(text) } else { definite(text) }
        });
        sizes.push((table, size?));
    }
    Ok(sizes)
}

/// What a pipeline is made in, when the graph has no checkpoint of it.
pub struct FirstStart<'a, G> {
    /// What it is to be.
    pub config: &'a Config,
    /// An ordinary connection to the source.
    pub client: &'a Client,
    /// The graph.
    pub graph: &'a G,
    /// What the source says of itself.
    pub system: &'a System,
    /// Nodes that are there become the tables' rows, or go.
    pub adopts: bool,
}

impl<G: Store> FirstStart<'_, G> {
    /// Publication, slot, checkpoint: in this order.
    pub async fn prepare(
        &self,
        catalog: &Catalog,
        mapping: &Mapping,
    ) -> Result<Checkpoint, ServiceError> {
        let FirstStart { config, client, graph, .. } = self;
        create_publication(config, client, mapping).await?;
        let lsn = match setup::slot(client, &config.slot).await? {
            Some(slot) => confirmed(&slot, config.source().database()).ok_or_else(|| {
                ServiceError::NotYet(format!("another instance makes the slot {}", config.slot))
            })?,
            None => create_slot(config, client, |_| ()).await?,
        };
        let new = self.checkpoint_at(lsn, mapping).await?;
        let progress = match self.adopts && self.holds_something(mapping).await? {
            true => self.owed(catalog, mapping).await?,
            false => {
                let sizes = sizes(client, catalog, mapping).await?;
                let of_copy = |table| passes(&mapping.model, table).collect();
                new_progress(&mapping.model, &sizes, config.limits.copy_lanes, of_copy)
            }
        };
        graph.create(&config.pipeline, &new, &progress).await?;
        let created = graph.checkpoint(&identity(config, new.origin.log)).await?;
        created.ok_or_else(|| definite("the checkpoint that was just made is gone"))
    }

    /// The checkpoint of a slot that was just made.
    pub async fn checkpoint_at(
        &self,
        lsn: Lsn,
        mapping: &Mapping,
    ) -> Result<NewCheckpoint, ServiceError> {
        let FirstStart { config, client, system, .. } = self;
        // Whatever changes from now on is in the stream, or in the copy.
        let tables = super::tables::now(config, client, mapping).await?;
        let facts = generation::first(&tables, mapping);
        Ok(NewCheckpoint {
            start: lsn,
            origin: Origin {
                system_identifier: system.identifier.clone(),
                timeline: system.timeline,
                log: Log::Slot(config.slot.clone()),
            },
            publication: Some(config.publication.clone()),
            partitions: 1,
            topic_id: None,
            is_whole: false,
            publisher: None,
            mapping_digest: mapping.digest(),
            labels: mapping.labels(),
            table_facts: Some(facts.text()),
            outlines: Some(Outlines::of(&mapping.model).text()),
        })
    }

    /// Whether the graph has anything under the mapping's labels that may go, placeholders included. What
    /// has no row here may be a row of another pipeline that has the label, too.
    async fn holds_something(&self, mapping: &Mapping) -> Result<bool, ServiceError> {
        let others = Others::look(self.graph, &self.config.pipeline).await?;
        let shared = mapping.labels().iter().find_map(|label| others.having(label));
        if let Some(other) = shared.or(others.silent()) {
            tracing::warn!(
                other,
                "nodes without a row stay: the other pipeline has labels of this one, too"
            );
            return Ok(false);
        }
        if !self.graph.rows(&mapping.model).await?.is_empty() {
            return Ok(true);
        }
        let labels = mapping.labels().into_iter().collect();
        let extent = self.graph.extent(&Rows { labels, ..Rows::default() }).await?;
        Ok(!extent.nodes.is_empty())
    }

    /// The work that the graph is owed where it may differ from the tables in anything.
    pub async fn owed(
        &self,
        catalog: &Catalog,
        mapping: &Mapping,
    ) -> Result<Vec<Progress>, ServiceError> {
        let sizes = sizes(self.client, catalog, mapping).await?;
        let passes = |_| RECONCILED.to_vec();
        let progress = new_progress(&mapping.model, &sizes, self.config.limits.copy_lanes, passes);
        Ok(progress.into_iter().map(|range| Progress { is_owed: true, ..range }).collect())
    }
}

/// Makes the publication, if there is none.
pub async fn create_publication(
    config: &Config,
    client: &Client,
    mapping: &Mapping,
) -> Result<(), ServiceError> {
    if setup::publication(client, &config.publication).await?.is_none() {
        let tables: Vec<_> = mapping.published_tables().cloned().collect();
        let create = create_sql(&config.publication, &tables);
        let sql = format!("{create}; {}", mark_sql(&config.publication, &config.pipeline));
        setup::patiently(client, &sql, &tables).await.map_err(|error| not_alone(error.into()))?;
        tracing::info!(publication = config.publication, "publication created");
    }
    Ok(())
}

/// Two instances that start for the first time make the same: the one that comes second goes on with
/// what is there, once it is.
fn not_alone(error: ServiceError) -> ServiceError {
    let is_made = |code: &SqlState| {
        *code == SqlState::UNIQUE_VIOLATION || *code == SqlState::DUPLICATE_OBJECT
    };
    match &error {
        ServiceError::Sql(refusal) if refusal.code().is_some_and(is_made) => ServiceError::NotYet(
            format!("another instance starts at the same moment: {}", describe(refusal)),
        ),
        _ => error,
    }
}

/// What was acknowledged to a slot; `None` if it can not be used.
fn confirmed(slot: &Slot, database: &str) -> Option<Lsn> {
    match slot.state(database) {
        SlotState::Usable { confirmed } => Some(confirmed),
        SlotState::Foreign(_) | SlotState::BeingMade { .. } | SlotState::Lost(_) => None,
    }
}

/// Makes the slot, and says whom it waits for, in the log and to `tell`. When it is not waited for any more, its
/// making ends.
pub async fn create_slot(
    config: &Config,
    client: &Client,
    tell: impl Fn(String),
) -> Result<Lsn, ServiceError> {
    const PATIENCE: Duration = Duration::from_secs(3);
    let watcher = crate::postgres::connect::sql(&config.source()).await?;
    let making = setup::Making::start(client, watcher.client).await?;
    let creating = setup::create_slot(client, &config.slot, config.failover);
    tokio::pin!(creating);
    let mut timer = interval(PATIENCE);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer.tick().await;
    loop {
        tokio::select! {
            created = &mut creating => {
                let created = created.map_err(|error| not_alone(error.into()))?;
                making.done();
                tracing::info!(slot = config.slot, "slot created");
                return Ok(created);
            }
            _ = timer.tick() => {
                let running = setup::running_transactions(making.watcher()).await?;
                tracing::info!(?running, "the slot waits for transactions to end");
                tell(format!("the slot waits for transactions to end: {running:?}"));
            }
        }
    }
}

/// The progress of work that has not begun: one range for each pass over each part of a table. A pass
/// over the graph has no parts.
pub fn new_progress(
    model: &Model,
    sizes: &[(TableIndex, TableSize)],
    lanes: usize,
    passes: impl Fn(TableIndex) -> Vec<Pass>,
) -> Vec<Progress> {
    let parts_max = u32::try_from(lanes).unwrap_or(1) * PARTS_PER_LANE;
    let mut progress = Vec::new();
    for (table, size) in sizes {
        let name = &model.table(*table).name;
        let blocks: u64 = size.heaps.iter().map(|heap| u64::from(heap.blocks)).sum();
        for pass in passes(*table) {
            if pass == Pass::Graph {
                progress.push(Progress::new(name, pass));
                continue;
            }
            let of_heap = |heap: &HeapSize| {
                let share = u64::from(parts_max) * u64::from(heap.blocks) / blocks.max(1);
                let share = u32::try_from(share).unwrap_or(1).max(1);
                let parts = (heap.blocks / BLOCKS_PER_PART).clamp(1, share);
                let heap = *heap;
                ranges(heap.blocks, parts).into_iter().map(move |range| (heap, range))
            };
            let ranges = size.heaps.iter().flat_map(of_heap);
            progress.extend((0..).zip(ranges).map(|(part, (heap, (next_block, end_block)))| {
                Progress {
                    partition: heap.partition,
                    part,
                    next_block,
                    end_block,
                    relfilenode: heap.relfilenode,
                    ..Progress::new(name, pass)
                }
            }));
        }
    }
    progress
}
