//! A topic that begins where a graph of `run` is, instead of with a copy.
//!
//! ```text
//! slot: confirmed E <= checkpoint L     the topic begins at E; what is before L the graph has
//! ```
//!
//! The graph has all rows, so the topic counts every table as copied, and needs only what comes
//! after the slot's position. Nothing is lost between: the slot never passes the graph's checkpoint.

use crate::{
    catalog::Catalog,
    checkpoint::{Log, Mark, Newest},
    config::Config,
    mapping::Mapping,
    pipeline::Store,
    service::{
        ServiceError,
        graph::{Wait, open},
    },
    start::System,
};

use super::start::Start;

/// The tables whose rows the graph has: all mapped ones, or an error that says what is missing.
pub async fn tables(
    config: &Config,
    catalog: &Catalog,
    mapping: &Mapping,
    system: &System,
    begin: Start,
) -> Result<Vec<u32>, ServiceError> {
    let stop = |why: String| {
        Err(ServiceError::Definite(format!(
            "--from-graph: {why}. Without --from-graph the topic begins with a copy of the tables"
        )))
    };
    let Start::At(begin) = begin else {
        return stop(format!("there is no slot {}, so `run` has made no graph", config.slot));
    };
    let graph = open(config, Wait::Usual)?;
    let checkpoints = graph.checkpoints(&config.pipeline).await?;
    let [checkpoint] = checkpoints.as_slice() else {
        return stop(format!("the graph is not one that `run` made as {:?}", config.pipeline));
    };
    let origin = &checkpoint.origin;
    if origin.log != Log::Slot(config.slot.clone()) {
        return stop(format!("the graph follows {}, not the slot {}", origin.log, config.slot));
    }
    if (&origin.system_identifier, origin.timeline) != (&system.identifier, system.timeline) {
        return stop("the graph is of another database cluster".to_owned());
    }
    if !system.has_been_at(checkpoint.lsn) {
        let (end, at) = (system.flushed, checkpoint.lsn);
        return stop(format!(
            "the source's log ends at {end}, before the graph at {at}: it was put back to an older state"
        ));
    }
    if let Some(Newest::Transaction(mark)) = checkpoint.newest
        && mark.commit_lsn >= begin
    {
        let Mark { xid, commit_lsn, .. } = mark;
        return stop(format!(
            "the slot {} is at {begin} and has not confirmed the graph's newest transaction {xid}, committed at \
             {commit_lsn}: let `run` see that the source still has it, with `wal2graph run --until current`",
            config.slot
        ));
    }
    if checkpoint.mapping_digest != mapping.digest() {
        return stop("the mapping has changed since the graph was made".to_owned());
    }
    let progress = graph.copy_progress(&config.pipeline).await?;
    if !progress.is_empty() || begin > checkpoint.lsn {
        return stop("`run` has not finished its copy: let it".to_owned());
    }
    let mapped = mapping.published_tables().filter_map(|name| catalog.table(name));
    Ok(mapped.map(|table| table.oid).collect())
}
