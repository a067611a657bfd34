//! The publisher reads the tables again when they change: it knows their keys, and copies new ones.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use crate::{
    config::Config,
    mapping::Mapping,
    postgres::{self, connect::sql},
    service::{
        ServiceError,
        left_out::LeftOut,
        looked::{self, Looked, New},
    },
};

/// The pause between two looks at the catalog.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How long asking for the catalog's trace may take.
const TRACE_LIMIT: Duration = Duration::from_secs(5);

/// The object ids of the tables that are published.
pub fn known(mapping: &Mapping) -> BTreeSet<u32> {
    mapping.tables.iter().map(|table| table.oid).collect()
}

/// Resolves once other tables, columns or keys are published than those of the mapping. `trace` is the catalog's, as
/// of that. A source that is away says nothing, and neither does one whose tables can not be published any more: the
/// stream goes on, and says what it lacks.
pub async fn changed(config: &Config, mapping: Arc<Mapping>, mut trace: String, told: &LeftOut) {
    let known = known(&mapping);
    let mut kept = None;
    loop {
        sleep(LOOK_INTERVAL).await;
        let asked = async {
            let client = match &mut kept {
                Some(client) => client,
                None => kept.insert(sql(&config.source).await?.client),
            };
            Ok::<String, ServiceError>(postgres::tables::trace(client, &config.publication).await?)
        };
        match timeout(TRACE_LIMIT, asked).await {
            Ok(Ok(now)) if now == trace => continue,
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => {
                kept = None;
                continue;
            }
        }
        let looked = looked::look(config, Some(&known), New::Published, told).await;
        let Ok(looked) = looked else { continue };
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
