//! What the file says of tables that change.

use crate::{config::Config, start::rules::Rules};

/// Whether `run` lets the graph follow.
pub fn follows(config: &Config) -> bool {
    rules(config).follow()
}

/// What the file says of tables that change.
pub fn rules(config: &Config) -> Rules {
    let named = config.edits.tables.iter();
    let named = named.filter_map(|(name, edit)| Some((name.clone(), edit.schema_changes?)));
    Rules {
        all: config.policies.schema_changes,
        tables: named.collect(),
        dropped: config.policies.dropped_tables,
    }
}
