//! What must be there before the stream starts: made on the first start, checked on every one.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::Client;

use crate::{
    catalog::{Catalog, quote_identifier},
    checkpoint::{Checkpoint, Log, Origin},
    config::Config,
    copy::{Progress, passes, ranges},
    graph::{Model, TableIndex},
    lsn::Lsn,
    mapping::Mapping,
    neo4j::{
        self, Connection,
        checkpoint::{NewCheckpoint, create},
    },
    pipeline::Failure,
    postgres::{
        replication::System,
        setup::{self, Server, Slot, SlotState},
        sizes::{HeapSize, TableSize, table_size},
    },
};

use super::CommandError;

/// A table is copied by several lanes only if it has this many blocks for each range.
const BLOCKS_PER_PART: u32 = 64;
/// Ranges for each lane: the more, the less one lane waits for the other at the end of a pass.
const PARTS_PER_LANE: u32 = 4;

fn definite(text: impl Into<String>) -> CommandError {
    CommandError::Definite(text.into())
}

/// What a server must be, whatever the pipeline.
pub fn check_server(server: &Server) -> Result<(), CommandError> {
    if server.in_recovery {
        return Err(definite("the source is a standby: connect to the primary"));
    }
    if server.version < 140_000 {
        return Err(definite(
            "the source is older than PostgreSQL 14, the oldest that is supported",
        ));
    }
    if !server.can_decode() {
        return Err(definite(format!(
            "wal_level is {}: ALTER SYSTEM SET wal_level = logical, then restart the source",
            server.wal_level
        )));
    }
    if !server.may_replicate {
        return Err(definite(format!(
            "the role {} may not replicate: ALTER ROLE {} REPLICATION",
            server.role,
            quote_identifier(&server.role)
        )));
    }
    Ok(())
}

/// Blocks, files and row counts of the mapped tables.
pub async fn sizes(
    client: &Client,
    catalog: &Catalog,
    mapping: &Mapping,
) -> Result<Vec<(TableIndex, TableSize)>, CommandError> {
    let mut sizes = Vec::new();
    for (table, _) in mapping.model.iter() {
        let name = &mapping.columns(table).name;
        let size = table_size(client, catalog, name).await.map_err(|error| {
            let text = error.to_string();
            if error.is_transient() { CommandError::NotYet(text) } else { definite(text) }
        });
        sizes.push((table, size?));
    }
    Ok(sizes)
}

/// What a pipeline is made in, when the graph has no checkpoint of it.
pub struct FirstStart<'a> {
    /// What it is to be.
    pub config: &'a Config,
    /// An ordinary connection to the source.
    pub client: &'a Client,
    /// The graph.
    pub graph: &'a Connection,
    /// What the source says of itself.
    pub system: &'a System,
}

impl FirstStart<'_> {
    /// Publication, slot, checkpoint: in this order.
    pub async fn prepare(
        &self,
        catalog: &Catalog,
        mapping: &Mapping,
    ) -> Result<Checkpoint, CommandError> {
        let FirstStart { config, client, graph, system } = self;
        create_publication(config, client, mapping).await?;
        let lsn = match setup::slot(client, &config.slot).await? {
            Some(slot) => confirmed(config, &slot)?,
            None => create_slot(config, client).await?,
        };
        let new = NewCheckpoint {
            start: lsn,
            origin: Origin {
                system_identifier: system.identifier.clone(),
                timeline: system.timeline,
                log: Log::Slot(config.slot.clone()),
            },
            partitions: 1,
            mapping_digest: mapping.digest(),
        };
        let sizes = sizes(client, catalog, mapping).await?;
        let progress = new_progress(&mapping.model, &sizes, config.copy_lanes);
        create(graph, &config.pipeline, &new, &progress).await?;
        let created = neo4j::checkpoint::read(graph, &config.pipeline).await?;
        created.ok_or_else(|| definite("the checkpoint that was just made is gone"))
    }
}

/// Makes the publication, if there is none.
pub async fn create_publication(
    config: &Config,
    client: &Client,
    mapping: &Mapping,
) -> Result<(), CommandError> {
    if mapping.model.tables.is_empty() {
        return Err(definite(
            "there is no table to map: wal2graph plan says which are left out and why",
        ));
    }
    if setup::publication(client, &config.publication).await?.is_none() {
        let tables = mapping.published_tables();
        let tables: Vec<_> = tables.cloned().collect();
        let sql = setup::create_publication_sql(&config.publication, &tables);
        setup::patiently(client, &sql, &tables).await?;
        tracing::info!(publication = config.publication, "publication created");
    }
    Ok(())
}

/// What was acknowledged to a slot.
pub fn confirmed(config: &Config, slot: &Slot) -> Result<Lsn, CommandError> {
    let name = &config.slot;
    match slot.state {
        SlotState::Ready(confirmed) => Ok(confirmed),
        SlotState::InTheMaking => {
            let by = slot.active_pid.map_or(String::new(), |pid| format!(" by process {pid}"));
            Err(CommandError::NotYet(format!("the slot {name} is being made{by}")))
        }
        SlotState::Physical => Err(definite(format!(
            "the slot {name} is a physical one: name another with source.slot, or `pipeline`"
        ))),
    }
}

/// Makes the slot, and says whom it waits for. When it is not waited for any more, its making ends.
pub async fn create_slot(config: &Config, client: &Client) -> Result<Lsn, CommandError> {
    const PATIENCE: Duration = Duration::from_secs(3);
    let watcher = crate::postgres::connect::sql(&config.source).await?;
    let making = setup::Making::start(client, watcher.client).await?;
    let creating = setup::create_slot(client, &config.slot);
    tokio::pin!(creating);
    let mut timer = interval(PATIENCE);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer.tick().await;
    loop {
        tokio::select! {
            created = &mut creating => {
                let created = created?;
                making.done();
                tracing::info!(slot = config.slot, "slot created");
                return Ok(created);
            }
            _ = timer.tick() => {
                let running = setup::running_transactions(making.watcher()).await?;
                tracing::info!(?running, "the slot waits for transactions to end");
            }
        }
    }
}

/// The progress of a copy that has not begun: one range for each pass over each part of a table.
fn new_progress(model: &Model, sizes: &[(TableIndex, TableSize)], lanes: usize) -> Vec<Progress> {
    let parts_max = u32::try_from(lanes).unwrap_or(1) * PARTS_PER_LANE;
    let mut progress = Vec::new();
    for (table, size) in sizes {
        let name = &model.table(*table).name;
        let blocks: u64 = size.heaps.iter().map(|heap| u64::from(heap.blocks)).sum();
        for pass in passes(model, *table) {
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
                    table: name.clone(),
                    partition: heap.partition,
                    pass,
                    part,
                    next_block,
                    end_block,
                    relfilenode: heap.relfilenode,
                    rows: 0,
                    done: false,
                }
            }));
        }
    }
    progress
}

/// The checkpoint, the slot and the publication fit each other and the mapping.
pub async fn check_checkpoint(
    config: &Config,
    client: &Client,
    mapping: &Mapping,
    checkpoint: &Checkpoint,
) -> Result<(), CommandError> {
    let again = format!(
        "delete the checkpoint in the graph (MATCH (c:{} {{pipeline: '{}'}}) DETACH DELETE c) to copy again",
        neo4j::checkpoint::LABEL,
        config.pipeline
    );
    if checkpoint.mapping_digest != mapping.digest() {
        return Err(definite(format!(
            "the mapping has changed since the graph was made: restore the configuration and the tables, or {again}"
        )));
    }
    let log = Log::Slot(config.slot.clone());
    if checkpoint.origin.log != log {
        return Err(definite(format!(
            "the graph was made through {}, not {log}: name that one, or {again}",
            checkpoint.origin.log
        )));
    }
    let slot = setup::slot(client, &config.slot).await?;
    let Some(slot) = slot else {
        return Err(definite(format!(
            "the slot {} is gone, and with it the changes since {}: {again}",
            config.slot, checkpoint.position.lsn
        )));
    };
    if slot.wal_status.as_deref() == Some("lost") {
        return Err(definite(format!(
            "the slot {0} is lost (max_slot_wal_keep_size): SELECT pg_drop_replication_slot('{0}'), and {again}",
            config.slot
        )));
    }
    if let Some(confirmed) = slot.confirmed().filter(|lsn| *lsn > checkpoint.position.lsn) {
        return Err(definite(format!(
            "the slot {} is at {confirmed}, ahead of the graph at {}: the changes between are gone \
             (the slot was re-created or advanced, or the graph restored). To go on, {again}",
            config.slot, checkpoint.position.lsn
        )));
    }
    check_publication(config, client, mapping).await
}

/// The publication has all mapped tables, and all operations.
pub async fn check_publication(
    config: &Config,
    client: &Client,
    mapping: &Mapping,
) -> Result<(), CommandError> {
    let name = &config.publication;
    let Some(publication) = setup::publication(client, name).await? else {
        return Err(definite(format!(
            "the publication {name} is gone; the slot can not be read without it"
        )));
    };
    let missing: Vec<String> = mapping
        .published_tables()
        .filter(|table| !publication.tables.contains(table))
        .map(|table| table.sql())
        .collect();
    if !missing.is_empty() {
        return Err(definite(format!(
            "the publication {name} misses tables: ALTER PUBLICATION {} ADD TABLE {}",
            quote_identifier(name),
            missing.join(", ")
        )));
    }
    if !publication.all_operations {
        return Err(definite(format!(
            "the publication {name} misses operations: ALTER PUBLICATION {} SET (publish = 'insert, update, \
             delete, truncate')",
            quote_identifier(name)
        )));
    }
    Ok(())
}

/// The stream is the one that the graph was made from.
pub fn check_origin(checkpoint: &Checkpoint, system: &System) -> Result<(), CommandError> {
    let origin = &checkpoint.origin;
    if origin.system_identifier != system.identifier {
        return Err(definite(format!(
            "the source is another cluster ({}) than the one the graph was made from ({})",
            system.identifier, origin.system_identifier
        )));
    }
    if origin.timeline != system.timeline {
        return Err(definite(format!(
            "the source is on timeline {}, the graph was made from timeline {}: it was restored or failed over, \
             and may lack what the graph has",
            system.timeline, origin.timeline
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Server, check_server};

    fn server(version: i32, wal_level: &str) -> Server {
        Server {
            version,
            wal_level: wal_level.to_owned(),
            slots: (10, 0),
            senders: (10, 0),
            sender_timeout_ms: 60_000,
            database: "shop".to_owned(),
            role: "cdc".to_owned(),
            may_replicate: true,
            may_create: true,
            in_recovery: false,
        }
    }

    #[test]
    fn postgresql_19_was_refused_with_its_default_wal_level() {
        for (version, wal_level, is_enough) in [
            (140_000, "logical", true),
            (180_004, "replica", false),
            (180_004, "minimal", false),
            (190_000, "replica", true),
            (190_000, "logical", true),
            (190_000, "minimal", false),
        ] {
            let checked = check_server(&server(version, wal_level));
            assert_eq!(checked.is_ok(), is_enough, "{version} {wal_level}");
            if let Err(error) = checked {
                let fix = "ALTER SYSTEM SET wal_level = logical, then restart";
                assert!(error.to_string().contains(fix), "{error}");
            }
        }
    }
}
