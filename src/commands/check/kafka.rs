//! What would keep `publish` and `apply` from working: topics, the group, and how they fit the graph.

use crate::{checkpoint::Checkpoint, config::Config, mapping::Mapping, report::Findings};

#[cfg(feature = "kafka")]
use crate::service::apply::topology::is_of_gone_table;

/// A graph that `apply` has made.
pub fn checkpoint(
    config: &Config,
    mapping: &Mapping,
    checkpoint: &Checkpoint,
    found: &mut Findings,
) {
    #[cfg(feature = "kafka")]
    if config.kafka().is_ok_and(|kafka| is_of_gone_table(kafka, checkpoint)) {
        return;
    }
    let (log, offset) = (&checkpoint.origin.log, checkpoint.position.lsn.0);
    let is_named = config.kafka().is_ok_and(|kafka| {
        checkpoint.partition().is_some_and(|at| kafka.topic_names().any(|topic| topic == at.topic))
    });
    if !is_named {
        found.failure(
            format!("the graph is made from {log}, which the configuration does not name"),
            "name it with kafka.topic, or another pipeline",
        );
    } else if checkpoint.mapping_digest == mapping.digest() {
        let lsn = checkpoint.lsn;
        found.ok(format!("the graph is at {lsn}, before offset {offset} of {log}"));
    }
}

#[cfg(not(feature = "kafka"))]
mod broker {
    use crate::{
        catalog::Catalog,
        config::Config,
        mapping::Mapping,
        report::Findings,
        service::{ServiceError, checks::Looked, graph::Graph, with_topics},
    };

    pub async fn named(config: &Config, mapping: &Mapping) -> Result<Config, ServiceError> {
        with_topics(config, mapping)
    }

    pub async fn takes_over(_: &Config, _: &Catalog, _: &Graph) -> bool {
        false
    }

    pub async fn apply(_: &Config, _: &Mapping, _: &Looked, _: &mut Findings) {}

    pub async fn publish(_: &Config, _: &Looked, _: &mut Findings) {}
}

#[cfg(feature = "kafka")]
mod broker;

pub use crate::commands::check::kafka::broker::apply;
pub use crate::commands::check::kafka::broker::named;
pub use crate::commands::check::kafka::broker::publish;
pub use crate::commands::check::kafka::broker::takes_over;
