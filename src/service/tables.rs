//! The tables of the source while `run` follows them: kept with the checkpoint, looked at again and again.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;

use crate::{
    checkpoint::{Checkpoint, Epoch, Log},
    config::Config,
    mapping::Mapping,
    pipeline::{Note, Store},
    postgres,
    start::{
        Again, Difference, Refusals, TableFacts, TablesRefusal,
        found::listed,
        generation,
        tables::{Now, Wanted},
    },
};

use super::{
    ServiceError,
    graph::{self, Wait},
};

/// How long the end of the program waits for the graph to keep what was seen.
const KEEP_LIMIT: Duration = Duration::from_secs(5);

/// The mapped tables as they are now.
pub async fn now(
    config: &Config,
    client: &Client,
    mapping: &Mapping,
) -> Result<Now, tokio_postgres::Error> {
    postgres::tables::now(client, &config.publication, &Wanted::of(mapping)).await
}

/// The tables that a claimed checkpoint goes on with, if they are those that it had. A checkpoint of an
/// earlier build had any. Another instance may have run since the start was admitted.
pub async fn agreed(
    config: &Config,
    client: &Client,
    mapping: &Mapping,
    graph: &impl Store,
    (claimed, again): (&Checkpoint, &Again),
) -> Result<TableFacts, ServiceError> {
    let refused = |refusal: TablesRefusal| ServiceError::Start(Refusals::of(refusal));
    let now = now(config, client, mapping).await?;
    let before = claimed.table_facts.as_deref().map(TableFacts::parse).transpose();
    let before = before.map_err(|_| refused(TablesRefusal::Unreadable { again: again.clone() }))?;
    let before = before.unwrap_or_else(|| now.facts.clone());
    let differences = before.differences(&now);
    if !differences.is_empty() {
        keep_seen(config, claimed.epoch, &before, &differences).await;
        return Err(refused(TablesRefusal::Different { differences, again: again.clone() }));
    }
    let found = generation::since(claimed, &before, &now, mapping);
    if claimed.mapping_digest == mapping.digest() && !found.is_empty() {
        return Err(refused(TablesRefusal::Reshaped { found, again: again.clone() }));
    }
    let facts = generation::first(&now, mapping);
    let text = facts.text();
    if claimed.table_facts.as_ref() != Some(&text) {
        let claim = graph::claimed(config, Log::Slot(config.slot.clone()), claimed.epoch);
        graph.note(&claim, Note::Tables(&text)).await?;
    }
    Ok(facts)
}

/// The end of a life whose tables are different. The checkpoint keeps it, so that nothing goes on when
/// they look as before.
pub async fn stopped(
    config: &Config,
    epoch: Option<Epoch>,
    before: &TableFacts,
    differences: &[Difference],
    again: Again,
) -> ServiceError {
    if let Some(epoch) = epoch {
        keep_seen(config, epoch, before, differences).await;
    }
    let cause = Box::new(ServiceError::Definite(listed(differences)));
    ServiceError::NeedsCopy { cause, again: Box::new(again) }
}

/// The same of a start that is refused. Nothing is kept where nothing was.
pub async fn refused(config: &Config, checkpoints: &[Checkpoint], differences: &[Difference]) {
    let Some(checkpoint) = checkpoints.first() else { return };
    let before = checkpoint.table_facts.as_deref().map(TableFacts::parse);
    if let Some(Ok(before)) = before {
        keep_seen(config, checkpoint.epoch, &before, differences).await;
    }
}

async fn keep_seen(config: &Config, epoch: Epoch, before: &TableFacts, differences: &[Difference]) {
    if before.seen != differences {
        keep(config, epoch, &before.having_seen(differences)).await;
    }
}

/// The checkpoint keeps the tables as they are, if it can: a graph that is away keeps nothing.
pub async fn keep(config: &Config, epoch: Epoch, facts: &TableFacts) -> bool {
    let claim = graph::claimed(config, Log::Slot(config.slot.clone()), epoch);
    let keeping = async {
        let graph = graph::open(config, Wait::AtMost(KEEP_LIMIT))?;
        graph.note(&claim, Note::Tables(&facts.text())).await?;
        Ok::<(), ServiceError>(())
    };
    match timeout(KEEP_LIMIT, keeping).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the graph could not store what changed about the tables")
        }
        Err(_) => tracing::warn!(
            "the graph could not store what changed about the tables: it does not answer"
        ),
    }
    false
}
