//! The topics, as brokers have them.

use crate::{config::Config, mapping::Mapping, report::Findings, service::with_topics};

/// The topics that a program reads or writes, where the file or its tables name them.
pub async fn beside(config: &Config, mapping: Option<&Mapping>, found: &mut Findings) {
    let Ok(kafka) = config.kafka() else { return };
    // Which topics fit a pattern, the program has asked.
    if kafka.pattern.is_some() {
        return;
    }
    let named = match (kafka.is_by_table(), mapping) {
        (false, _) => Some(config.clone()),
        (true, mapping) => mapping.and_then(|mapping| with_topics(config, mapping).ok()),
    };
    if let Some(named) = named {
        all(&named, found).await;
    }
}

/// There are none in this build.
#[cfg(not(feature = "kafka"))]
pub async fn all(_: &Config, _: &mut Findings) -> bool {
    false
}

#[cfg(feature = "kafka")]
pub use broker::all;

#[cfg(feature = "kafka")]
mod broker;
