//! The slot of a source: how it is held, and its part in how `run` begins.

use std::{cell::Cell, sync::Arc, time::Duration};

use tokio_postgres::Client;

use crate::{
    checkpoint::{Checkpoint, Claim, Epoch, Newest},
    config::Config,
    lsn::Lsn,
    metrics::Metrics,
    pipeline::{Note, Store},
    postgres::{
        self,
        connect::{Sql, sql},
        replication,
    },
    start::{Again, Refusals, Server, System, origin},
};

use super::{
    ServiceError,
    begin::{self, HeldLog, Sent},
    facts,
    following::{self, Agreed, Learned, Seen},
    graph, setup, tables,
};

/// How often a server that allows any silence is told our position.
const FEEDBACK_MAX: Duration = Duration::from_secs(1);

/// The slot of a start, before it is held.
pub struct Slot<'a> {
    /// Its name, and everything else that is configured.
    pub config: &'a Config,
    /// Learn that it is held.
    pub metrics: &'a Metrics,
    /// Learns which epoch was claimed, whether or not the start succeeds.
    pub claimed: &'a Cell<Option<Epoch>>,
    /// An ordinary connection to the source.
    pub client: &'a Client,
    /// The connection that is to read.
    pub connection: replication::Connection,
    /// The server.
    pub server: &'a Server,
    /// Where its log is.
    pub system: System,
    /// The tables, and what they become.
    pub seen: Seen<'a>,
    /// What is known of earlier shapes of the tables.
    pub learned: &'a Learned,
    /// What a copy again takes.
    pub again: &'a Again,
    /// A first copy takes over nodes that are there.
    pub adopts: bool,
}

/// The same once it is held.
pub struct HeldSlot<'a> {
    config: &'a Config,
    claimed: &'a Cell<Option<Epoch>>,
    client: &'a Client,
    system: System,
    seen: Seen<'a>,
    learned: &'a Learned,
    again: &'a Again,
    /// Its stream.
    pub held: Held,
}

impl<'a> begin::Log for Slot<'a> {
    type Held = HeldSlot<'a>;

    async fn make(&mut self, graph: &impl Store) -> Result<Checkpoint, ServiceError> {
        let Slot { config, client, system, seen, adopts, .. } = self;
        setup::FirstStart { config, client, graph, system, adopts: *adopts }
            .prepare(seen.catalog, seen.mapping)
            .await
    }

    async fn hold(self, checkpoint: &Checkpoint) -> Result<HeldSlot<'a>, ServiceError> {
        let Slot { config, client, connection, server, system, seen, learned, again, .. } = self;
        let (at, newest) =
            (checkpoint.position.lsn, checkpoint.newest_through(&config.publication));
        let held = hold_slot(config, connection, server, at, newest).await;
        let held = held.map_err(|error| error.with(again))?;
        self.metrics.slot_is_held();
        let claimed = self.claimed;
        Ok(HeldSlot { config, claimed, client, system, seen, learned, again, held })
    }
}

impl HeldLog for HeldSlot<'_> {
    type Agreed = Agreed;

    fn confirmed(&self) -> Lsn {
        self.held.confirmed
    }

    async fn agree(
        &mut self,
        graph: &impl Store,
        claimed: &Checkpoint,
    ) -> Result<Agreed, ServiceError> {
        self.claimed.set(Some(claimed.epoch));
        if claimed.origin.timeline != self.system.timeline {
            self.goes_over(graph, claimed).await?;
        }
        let HeldSlot { config, client, seen, learned, again, .. } = self;
        if following::follows(config) {
            return following::agreed(config, client, *seen, graph, (claimed, again), learned)
                .await;
        }
        let facts = tables::agreed(config, client, seen.mapping, graph, (claimed, again)).await?;
        let (outlines, labels) = (claimed.outlines.clone(), claimed.labels.clone());
        Ok(Agreed { facts, outlines, labels })
    }

    async fn next_transaction(&mut self) -> Result<u64, ServiceError> {
        Ok(postgres::copy::current_xid(self.client).await?)
    }
}

impl HeldSlot<'_> {
    /// The source is on another timeline than when the graph was at it last. As it was claimed, the graph has nothing
    /// that this one lacks: another instance may have gone on with the old one until then.
    async fn goes_over(
        &self,
        graph: &impl Store,
        claimed: &Checkpoint,
    ) -> Result<(), ServiceError> {
        let HeldSlot { config, system, again, .. } = self;
        let checkpoints = std::slice::from_ref(claimed);
        let system = facts::with_timelines(config, graph, checkpoints, system.clone()).await?;
        if let Some(refusal) = origin::judge(claimed, &system, again) {
            return Err(ServiceError::Start(Refusals::of(refusal)));
        }
        let (before, now) = (claimed.origin.timeline, system.timeline);
        let identity = graph::identity(config, claimed.origin.log.clone());
        let claim = Claim { identity, epoch: claimed.epoch };
        if graph.note(&claim, Note::Timeline(now)).await? {
            let begins = system.before.ended(before).map(tracing::field::display);
            tracing::info!(
                before,
                now,
                begins,
                "the source was promoted: its log is the graph's, and goes on"
            );
        }
        Ok(())
    }
}

/// A stream that nobody else can start, and what its slot has confirmed. Only this stream's
/// acknowledgements move that.
pub struct Held {
    /// The stream.
    pub stream: replication::Stream,
    /// The slot's position.
    pub confirmed: Lsn,
}

/// Starts the stream where the sink is, or before the newest transaction that it has.
pub async fn hold_slot(
    config: &Config,
    connection: replication::Connection,
    server: &postgres::setup::Server,
    at: Lsn,
    newest: Option<Newest>,
) -> Result<Held, ServiceError> {
    let sentinel = sql(&config.source()).await?;
    let third = Duration::from_millis(server.sender_timeout_ms.unsigned_abs() / 3);
    let interval = if third.is_zero() { FEEDBACK_MAX } else { third.min(FEEDBACK_MAX) };
    let Sql { client, closed } = sentinel;
    let client = Arc::new(client);
    // The connection stays open for as long as its client lives.
    let closed = closed.keeping(client.clone());
    let Sent { from, reached } = Sent::of(at, newest);
    let (slot, publication) = (&config.slot, &config.publication);
    let stream = connection.start(slot, publication, from, reached, interval, closed).await?;
    let confirmed = postgres::setup::slot(&client, slot).await?.and_then(|slot| slot.confirmed);
    let gone = || ServiceError::NotYet(format!("the slot {slot} is not there any more"));
    Ok(Held { stream, confirmed: confirmed.ok_or_else(gone)? })
}
