//! `replay`: sets the group's offset, so that the next `apply` begins there.
//!
//! It does what Kafka's own reset tool does, and what that can not: it says beforehand what `apply`
//! will make of it, and carries the user's word where something would be lost.

use crate::{
    change::Timestamp,
    cli::{ReplayArgs, ReplayFrom},
    config::Config,
    kafka::offsets::Asking,
    neo4j::{self, Connection},
    replay::{Decision, GroupOffset, requested_metadata},
};

use super::{
    CommandError,
    apply::start::{self, Found},
    print, read_catalog,
};

/// Sets the offset, and prints what the next `apply` does.
pub async fn execute(config: &Config, args: &ReplayArgs) -> Result<(), CommandError> {
    let from = args.from().map_err(CommandError::Usage)?;
    let asking = Asking::new(config.kafka()?)?;
    let graph = Connection::new(config.graph()?, neo4j::connect::ANSWER_LIMIT)?;
    start::check_topic(config, &asking, &graph).await?;
    let (_sql, catalog) = read_catalog(config).await?;
    let found = Found::look(config, &catalog, &asking, &graph).await?;
    let offset = match from {
        ReplayFrom::Earliest => found.log.start,
        ReplayFrom::Offset(offset) => offset,
        ReplayFrom::DateTime(at) => {
            let at = Timestamp { unix_micros: at.timestamp_micros() };
            asking.offset_at(at).await?
        }
    };
    let metadata = requested_metadata(&config.pipeline, args.yes);
    let group = GroupOffset { offset, metadata };
    let text = match found.decide(config, Some(group.clone())) {
        Decision::Refuse(refusal) => return Err(CommandError::Definite(refusal.to_string())),
        Decision::Replay { from, until } => {
            format!(
                "the next `wal2graph apply` applies offsets {from} to {until} again, and goes on"
            )
        }
        Decision::Skip { to } => {
            format!(
                "the next `wal2graph apply` skips to offset {to}; what is before it is never applied"
            )
        }
        Decision::Begin { from } => {
            format!("the next `wal2graph apply` fills the graph from offset {from}")
        }
        Decision::FromCheckpoint => "nothing changes".to_owned(),
    };
    asking.set_group_offset(group).await?;
    print(&text)
}
