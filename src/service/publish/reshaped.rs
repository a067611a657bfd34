//! The publisher reads the tables again when they change: it knows their keys, and copies new ones.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    config::Config,
    kafka::{Options, tail, tails, topic},
    mapping::Mapping,
    service::{
        ServiceError,
        left_out::LeftOut,
        looked::{Known, Looked},
        trace::Traces,
    },
};

use super::loosened;

/// The object ids of the tables that are published.
pub fn known(mapping: &Mapping) -> BTreeSet<u32> {
    mapping.tables.iter().map(|table| table.oid).collect()
}

/// The same of those whose rows are in the topic; `None`: it has none.
pub async fn copied(kafka: &Options) -> Result<Option<BTreeSet<u32>>, ServiceError> {
    if topic::look(kafka).await?.is_none() {
        return Ok(None);
    }
    let copied = match kafka.heartbeats() {
        Some(heartbeats) => {
            tails::last(kafka, heartbeats.as_str()).await?.copied.unwrap_or_default()
        }
        None => tail::read(kafka).await?.copied(),
    };
    Ok((!copied.is_empty()).then(|| copied.into_iter().collect()))
}

/// Resolves once other tables, columns or keys are published than those of the mapping. `trace` is the catalog's, as
/// of that. A source that is away says nothing, and neither does one whose tables can not be published any more: the
/// stream goes on, and says what it lacks.
pub async fn changed(config: &Config, mapping: Arc<Mapping>, mut trace: String, told: &LeftOut) {
    let known = Known::of_all(known(&mapping));
    let mut traces = Traces::new(config, None);
    loop {
        traces.changed(&trace).await;
        let looked = loosened::look(config, Some(&known), told).await;
        let Ok(looked) = looked else { continue };
        if looked.now.as_ref().is_some_and(|now| !now.all_operations) {
            // The next life is refused, and says the statement.
            return;
        }
        if is_published(&looked)
            && let Ok(now) = &looked.mapping
            && now.tables != mapping.tables
        {
            return;
        }
        trace = looked.trace;
    }
}

/// The publication has all that is mapped.
fn is_published(looked: &Looked) -> bool {
    let facts = looked.now.as_ref().map(|now| &now.facts);
    facts.is_some_and(|facts| facts.tables.iter().all(|table| !table.by.is_empty()))
}
