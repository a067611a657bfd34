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
    start::{FromGraphRefusal, NoGraph, System},
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
    let stop = |why: NoGraph| Err(FromGraphRefusal(why).into());
    let slot = config.slot.clone();
    let Start::At(begin) = begin else {
        return stop(NoGraph::NoSlot { slot });
    };
    let graph = open(config, Wait::Usual)?;
    let checkpoints = graph.checkpoints(&config.pipeline).await?;
    let [checkpoint] = checkpoints.as_slice() else {
        return stop(NoGraph::OfAnother { pipeline: config.pipeline.clone() });
    };
    let origin = &checkpoint.origin;
    if origin.log != Log::Slot(config.slot.clone()) {
        return stop(NoGraph::OtherLog { log: origin.log.clone(), slot });
    }
    if (&origin.system_identifier, origin.timeline) != (&system.identifier, system.timeline) {
        return stop(NoGraph::OtherCluster);
    }
    if !system.has_been_at(checkpoint.lsn) {
        return stop(NoGraph::EndsBefore { end: system.flushed, at: checkpoint.lsn });
    }
    if let Some(Newest::Transaction(mark)) = checkpoint.newest
        && mark.commit_lsn >= begin
    {
        let Mark { xid, commit_lsn, .. } = mark;
        return stop(NoGraph::NotConfirmed { slot, begin, xid, commit_lsn });
    }
    if checkpoint.mapping_digest != mapping.digest() {
        return stop(NoGraph::OtherMapping);
    }
    let progress = graph.copy_progress(&config.pipeline).await?;
    if !progress.is_empty() || begin > checkpoint.lsn {
        return stop(NoGraph::StillCopying);
    }
    let mapped = mapping.published_tables().filter_map(|name| catalog.table(name));
    Ok(mapped.map(|table| table.oid).collect())
}
