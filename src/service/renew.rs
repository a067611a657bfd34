//! A pipeline begins anew with the graph that it has: `repair --new-slot`.
//!
//! ```text
//! judged as a first start -> old slot dropped -> new slot made -> checkpoint, and what is owed: one transaction
//! next life of `run`:  claims, streams from the new slot, compares all tables with the graph, writes what differs
//! ```
//!
//! The changes between the graph and the new slot are lost, or can not be read. So every row and every
//! entity may differ: both passes of a repair go over all tables, and nobody can cancel them.
//!
//! A kill leaves one of three states. The old slot is gone, or a new one is ahead of the graph: a start is
//! refused as before, and the command begins again. Or the checkpoint is the new slot's: any start goes on.
//!
//! Whoever has written before is fenced by the new epoch. Two that begin anew at once both make a slot; the
//! checkpoint of one is set, and the slot of the other is ahead of it, or equal.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::sleep;
use tokio_postgres::{Client, error::SqlState};

use crate::{
    catalog::Catalog,
    checkpoint::{Checkpoint, Identity, NewCheckpoint},
    config::{Config, OnSlotLost},
    copy::Progress,
    graph::Outlines,
    mapping::Mapping,
    pipeline::Store,
    postgres::{
        self,
        connect::{Sql, sql},
        removal,
    },
    start::{Facts, Refusals, SlotRefusal, SlotState, System, TableFacts},
};

use super::{
    ServiceError, facts,
    graph::{self, Wait},
    setup,
};

/// How often it is looked whether a slot's reader has gone: a process that was just stopped may be.
const LOOKS: usize = 10;
const LOOK: Duration = Duration::from_millis(200);

/// A log that is made anew.
#[allow(async_fn_in_trait)]
pub trait NewLog {
    /// Makes it, in the place of the one before. Returns the checkpoint that begins there, and the work
    /// that the graph is owed.
    async fn make(&mut self) -> Result<(NewCheckpoint, Vec<Progress>), ServiceError>;
}

/// Makes the log anew, and the graph begins there. `as_read` is its checkpoint from before the log goes.
pub async fn renew(
    graph: &impl Store,
    log: &mut impl NewLog,
    (of, as_read): (&Identity, &Checkpoint),
) -> Result<(), ServiceError> {
    let (new, progress) = log.make().await?;
    if graph.renew(of, as_read, &new, &progress).await? {
        return Ok(());
    }
    // The store may have repeated what took effect.
    let is_ours = |it: &Checkpoint| it.epoch.0 == as_read.epoch.0 + 1 && it.lsn == new.start;
    let begun = Identity { pipeline: of.pipeline.clone(), log: new.origin.log.clone() };
    let is_begun = graph.checkpoint(&begun).await?.as_ref().is_some_and(is_ours);
    let owes = graph.copy_progress(&of.pipeline).await?.iter().any(|range| range.is_owed);
    match is_begun && owes {
        true => Ok(()),
        false => Err(ServiceError::NotYet(
            "another instance has begun to write to the graph meanwhile. Stop it, and run the command again"
                .to_owned(),
        )),
    }
}

/// A pipeline whose slot may be made anew.
pub struct Renewable {
    checkpoint: Checkpoint,
    /// Slots that go: the pipeline's, and that of its checkpoint.
    slots: Vec<String>,
    system: System,
}

/// Asks whether a pipeline can begin anew, before anything is made or dropped.
pub async fn admit(
    config: &Config,
    client: &Client,
    (catalog, mapping): (&Catalog, &Mapping),
    graph: &impl Store,
) -> Result<Renewable, ServiceError> {
    let source = facts::Source::look(config, client, Some(mapping)).await?;
    let made = facts::Made::look(config, client, graph).await?;
    let checkpoint = of_a_slot(config, &made.checkpoints)?;
    let slots = [Some(config.slot.clone()), checkpoint.origin.log.slot().map(str::to_owned)];
    let slots: BTreeSet<String> = slots.into_iter().flatten().collect();
    let again = facts::again(config, Some(mapping), &made.checkpoints);
    // What stands against a first start: everything that has been no longer counts.
    let first = facts::Made { checkpoints: Vec::new(), tables_now: None, ..made };
    let facts = source.facts(Some((catalog, mapping)), &first, &again);
    let mut refusals = Facts { slot: None, ..facts }.refusals();
    refusals.extend(facts::graph_refusals(graph, &config.pipeline, mapping, false, true).await?);
    if let Some(slot) = &source.slot
        && let Some(refusal @ SlotRefusal::Foreign { .. }) = source.unusable(slot, &again)
    {
        refusals.push(refusal.into());
    }
    Refusals::check(refusals).map_err(ServiceError::Start)?;
    let slots = not_read(client, slots).await?;
    let system = first.system.ok_or_else(|| definite("the source is a standby"))?;
    Ok(Renewable { checkpoint: checkpoint.clone(), slots, system })
}

/// The one checkpoint of a graph that `run` keeps.
pub fn of_a_slot<'a>(
    config: &Config,
    checkpoints: &'a [Checkpoint],
) -> Result<&'a Checkpoint, ServiceError> {
    match checkpoints.iter().find(|it| it.partition().is_none()) {
        Some(checkpoint) => Ok(checkpoint),
        None if checkpoints.is_empty() => Err(nothing_to_compare(config)),
        None => Err(definite(
            "the graph follows a topic: `--new-slot` and `--counts` are for a graph that `wal2graph run` keeps. \
             Without them, `wal2graph verify` and `repair` compare this one. `wal2graph publish --new-slot` makes a \
             new slot for its topic",
        )),
    }
}

/// A graph without a checkpoint of the pipeline.
pub fn nothing_to_compare(config: &Config) -> ServiceError {
    let fills = match config.kafka() {
        Ok(_) => "`wal2graph apply` fills it from the topic",
        Err(_) => "`wal2graph run` copies the tables",
    };
    ServiceError::Definite(format!(
        "the graph has no checkpoint of pipeline {:?}: there is nothing to compare. {fills}",
        config.pipeline
    ))
}

/// The slots, once nobody reads from one of them. A slot that works is not taken from its reader.
async fn not_read(client: &Client, slots: BTreeSet<String>) -> Result<Vec<String>, ServiceError> {
    for slot in &slots {
        for look in 0..LOOKS {
            match removal::reader(client, slot).await? {
                None => break,
                Some(reader) if look + 1 == LOOKS => {
                    return Err(ServiceError::Definite(format!(
                        "the slot {slot} is in use by {reader}, so it is not replaced. `wal2graph repair` compares \
                         and mends the graph while `run` is up. For a new slot, stop `run` first"
                    )));
                }
                Some(_) => sleep(LOOK).await,
            }
        }
    }
    Ok(slots.into_iter().collect())
}

fn definite(text: &str) -> ServiceError {
    ServiceError::Definite(text.to_owned())
}

impl Renewable {
    /// Makes the slot anew, and the graph begins there.
    pub async fn renew(
        self,
        config: &Config,
        client: &Client,
        (catalog, mapping): (&Catalog, &Mapping),
        graph: &impl Store,
    ) -> Result<(), ServiceError> {
        let Renewable { checkpoint, slots, system } = self;
        let of = graph::identity(config, checkpoint.origin.log.clone());
        let first = setup::FirstStart { config, client, graph, system: &system, adopts: false };
        let mut log = NewSlot { first, slots, catalog, mapping, before: &checkpoint };
        renew(graph, &mut log, (&of, &checkpoint)).await?;
        tracing::info!(
            slot = config.slot,
            "the graph begins anew: all tables are compared with it"
        );
        Ok(())
    }
}

/// Somebody began to read the slot after it was looked at.
fn in_use(slot: &str, error: tokio_postgres::Error) -> ServiceError {
    match error.code() {
        Some(&SqlState::OBJECT_IN_USE) => ServiceError::NotYet(format!(
            "another instance has begun to read the slot {slot}. `wal2graph repair` compares and mends the graph while \
             it is up. For a new slot, stop it, and run the command again"
        )),
        _ => error.into(),
    }
}

/// A slot that is made in the place of those before it.
struct NewSlot<'a, G> {
    first: setup::FirstStart<'a, G>,
    slots: Vec<String>,
    catalog: &'a Catalog,
    mapping: &'a Mapping,
    before: &'a Checkpoint,
}

impl<G: Store> NewLog for NewSlot<'_, G> {
    async fn make(&mut self) -> Result<(NewCheckpoint, Vec<Progress>), ServiceError> {
        let NewSlot { first, slots, catalog, mapping, before } = self;
        let setup::FirstStart { config, client, .. } = first;
        setup::create_publication(config, client, mapping).await?;
        for slot in slots {
            removal::drop_slot(client, slot).await.map_err(|error| in_use(slot, error))?;
        }
        let lsn = setup::create_slot(config, client, |_| ()).await?;
        let mut new = first.checkpoint_at(lsn, mapping).await?;
        let facts = |text: &Option<String>| TableFacts::parse(text.as_deref()?).ok();
        if let (Some(now), Some(before)) = (facts(&new.table_facts), facts(&before.table_facts)) {
            // What is paused stays as it is, and is compared once it goes on.
            let paused = mapping.paused().iter().map(|table| mapping.columns(*table).oid);
            new.table_facts = Some(now.keeping(&before, &paused.collect()).text());
        }
        // Nodes of tables that have gone are still there.
        let labels: BTreeSet<String> =
            new.labels.into_iter().chain(before.labels.clone()).collect();
        new.labels = labels.into_iter().collect();
        let outlines = before.outlines.as_deref().map(Outlines::parse).unwrap_or_default();
        new.outlines = Some(outlines.and(&mapping.model, &BTreeSet::new()).text());
        Ok((new, first.owed(catalog, mapping).await?))
    }
}

/// Whether `run` makes a new slot without being told, because that is all that is needed. Another source and
/// another mapping are for a person to judge.
pub fn comes_by_itself(config: &Config, refusals: &Refusals) -> bool {
    config.policies.on_slot_lost == OnSlotLost::Repair && refusals.are_of_a_lost_slot()
}

/// Whether it is to be asked again at once, since the slot was lost while it was read.
pub async fn has_lost_slot(config: &Config) -> bool {
    config.policies.on_slot_lost == OnSlotLost::Repair && slot_is_lost(config).await
}

/// Whether the slot is lost, or nobody knows.
pub async fn slot_is_lost(config: &Config) -> bool {
    let Ok(Sql { client, .. }) = sql(&config.source()).await else { return true };
    match postgres::setup::slot(&client, &config.slot).await {
        Ok(Some(slot)) => matches!(slot.state(config.source().database()), SlotState::Lost(_)),
        // A source that is away says nothing: the next life asks it.
        Ok(None) | Err(_) => true,
    }
}

/// Makes a new slot, in a life of `run`. Another instance may do the same: what keeps this one from it may
/// go away.
pub async fn by_itself(
    config: &Config,
    client: &Client,
    mapped: (&Catalog, &Mapping),
    refusals: &Refusals,
) -> Result<(), ServiceError> {
    tracing::warn!(
        cause = %refusals,
        "on_slot_lost: repair. Making a new slot, and comparing all tables with the graph"
    );
    let graph = graph::open(config, Wait::Long)?;
    let renewed = async {
        let renewable = admit(config, client, mapped, &graph).await?;
        renewable.renew(config, client, mapped, &graph).await
    };
    renewed.await.map_err(|error| ServiceError::NotYet(error.to_string()))
}
