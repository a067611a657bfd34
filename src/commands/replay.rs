//! `replay`: sets the group's offsets, so that the next `apply` begins there.
//!
//! It does what Kafka's own reset tool does, and what that can not: it says beforehand what `apply`
//! will make of it, and carries the user's word where something would be lost. Of several partitions
//! all are set, or none.

use crate::{
    change::Timestamp,
    checkpoint::TopicPartition,
    cli::{ReplayArgs, ReplayFrom},
    config::Config,
    kafka::offsets::Asking,
    pipeline::Store,
    replay::{self, Decision, GroupOffset, in_graph, requested_metadata},
    service::{
        ServiceError,
        apply::{named, standing, start::Found, topology::Topology},
        following,
        graph::{Wait, open},
        looked::Followed,
        mapped_tables, read_catalog,
    },
};

use super::print;

/// Sets the offsets, and prints what the next `apply` does.
pub async fn execute(config: &Config, args: &ReplayArgs) -> Result<(), ServiceError> {
    let from = args.from().map_err(ServiceError::Usage)?;
    let (sql, catalog) = read_catalog(config).await?;
    let Followed { catalog, mapping, .. } =
        following::tables(config, &sql.client, catalog).await?.followed;
    let mapping = mapping?;
    let asking = Asking::new(config.kafka()?)?;
    let graph = open(config, Wait::Usual)?;
    let checkpoints = graph.checkpoints(&config.pipeline).await?;
    let config = &named::topics(config, &mapping, &asking, &checkpoints).await?.config;
    let topology = Topology::look(config, &asking, &checkpoints, (&catalog, &mapping)).await?;
    let mapped = (&catalog, &mapping);
    standing::check_empty(config, mapped, &asking, &topology, &checkpoints).await?;
    let chosen = chosen(&topology, args.partition.as_deref())?;
    if chosen.len() > 1 && matches!(from, ReplayFrom::Offset(_)) {
        return Err(ServiceError::Usage(
            "an offset is one of a partition, and there are several: name one with --partition"
                .to_owned(),
        ));
    }
    let tables = mapped_tables(&sql.client, &catalog, &mapping).await?;
    let id = graph.id().await?;
    let (mut to, mut text) = (Vec::new(), String::new());
    for at in chosen {
        if topology.is_spread() && asking.log(&at).await?.end == 0 {
            // Nothing was ever in it.
            continue;
        }
        let found = Found::look(config, &catalog, &tables, &asking, &graph, &at).await?;
        let offset = match from {
            ReplayFrom::Earliest => found.log.start,
            ReplayFrom::Offset(offset) => offset,
            ReplayFrom::DateTime(time) => {
                let time = Timestamp { unix_micros: time.timestamp_micros() };
                asking.offset_at(&at, time).await?
            }
        };
        let metadata = requested_metadata(&config.pipeline, args.yes);
        let metadata = in_graph(metadata, id.as_deref());
        let group = GroupOffset { offset, metadata };
        let decision = found.decide(config, Some(group.clone()));
        if let Decision::Refuse(refusal) = &decision {
            let text = found.refused(config, (&catalog, &mapping), &at, refusal)?;
            return Err(ServiceError::Definite(text));
        }
        let of = if topology.is_spread() { format!("{at}: ") } else { String::new() };
        text += &format!("{of}{}\n", said(&decision));
        match &decision {
            Decision::Begin { unshown: Some(unshown), .. } => {
                text += &format!("warning: {}\n", unshown.text(&at));
            }
            Decision::Skip { skipped } => {
                text += &format!("warning: {}\n", replay::skipped(&at, skipped));
            }
            _ => {}
        }
        to.push((at, group));
    }
    asking.set_group_offsets(&to).await?;
    print(&text)
}

/// The partition that was named, as `N` or `TOPIC/N`; all of them if none was.
fn chosen(topology: &Topology, named: Option<&str>) -> Result<Vec<TopicPartition>, ServiceError> {
    let is_named = |at: &TopicPartition| match named {
        None => true,
        Some(name) => {
            name == at.partition.to_string() || name == format!("{}/{}", at.topic, at.partition)
        }
    };
    let chosen: Vec<_> = topology.partitions().filter(is_named).collect();
    match chosen.is_empty() {
        true => Err(ServiceError::Usage(format!(
            "--partition {}: there is no such partition",
            named.unwrap_or_default()
        ))),
        false => Ok(chosen),
    }
}

/// What the next `apply` does.
fn said(decision: &Decision) -> String {
    match decision {
        Decision::Replay { from, until } => {
            format!(
                "the next `wal2graph apply` applies offsets {from} to {until} again, and goes on"
            )
        }
        Decision::Skip { skipped } => {
            format!("the next `wal2graph apply` skips to offset {}", skipped.end)
        }
        Decision::Begin { from, .. } => {
            format!("the next `wal2graph apply` fills the graph from offset {from}")
        }
        Decision::FromCheckpoint | Decision::Refuse(_) => "nothing changes".to_owned(),
    }
}
