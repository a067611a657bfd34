//! One partition: read, decided, claimed, applied; again when a side was away.
//!
//! ```text
//! assigned -> decided -> claimed -> pipeline ... taken away, stopped, or at its end
//!     ^                                 |
//!     +--- transient failure: a pause --+
//! ```
//!
//! It lives for itself: another partition's pipeline does not stop for it, nor it for another's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    catalog::{Catalog, TableName},
    checkpoint::{Advance, Checkpoint, Log, Position, TopicPartition},
    config::Config,
    engine::{Batch, Engine, Limits, Portion},
    envelope::Decoder,
    graph::{Model, Statement},
    kafka::{consumer::Member, copied::CopyWatch, offsets::Asking, transactions::Transactions},
    lsn::Lsn,
    mapping::{Mapping, Translator},
    metrics::Metrics,
    neo4j::{self, Connection, Planner, sink::Prepared},
    pipeline::{Ended, Failure, NoCopy, Observed, Pipeline, Prepare, Translated, Until},
    replay::{Decision, applied_metadata},
};

use super::{
    super::{
        CommandError, graph,
        lives::{Pause, learned, refused, stopped, unless_stopped},
        run::notices::{Notices, Noticing},
    },
    replaying,
    start::{self, Creation, Found},
    topology::Topology,
};

/// What the partitions of a member share.
pub struct Shared {
    /// The configuration.
    pub config: Config,
    /// What the run knows of itself.
    pub metrics: Arc<Metrics>,
    /// What was met in the rows.
    pub notices: Arc<Notices>,
    /// The source's.
    pub catalog: Catalog,
    /// What tables become.
    pub mapping: Arc<Mapping>,
    /// The graph's side of it.
    pub model: Arc<Model>,
    /// For questions.
    pub asking: Asking,
    /// A connection to the graph, for reading.
    pub graph: Connection,
    /// The member of the group.
    pub member: Member,
    /// Has their statements planned.
    pub planner: Arc<Planner>,
    /// The partitions there are.
    pub topology: Topology,
    /// Where each partition ends, if it does.
    pub targets: Option<BTreeMap<TopicPartition, u64>>,
}

/// Makes batches ready for a graph that may have what is in them.
struct Unsettled<P>(P);

impl<P: Prepare> Prepare for Unsettled<P> {
    type Prepared = P::Prepared;
    type Error = P::Error;

    fn prepare(&mut self, batch: Batch, _: bool) -> Result<P::Prepared, P::Error> {
        self.0.prepare(batch, false)
    }
}

/// Applies the partition until it is stopped, has reached its target, or something has to be changed
/// first. While it `is_ours`: whoever went on with one that was taken away would claim it from its new
/// owner.
pub async fn live(
    shared: &Shared,
    at: &TopicPartition,
    is_ours: impl Fn() -> bool,
    stop: &watch::Receiver<bool>,
) -> Result<Ended, CommandError> {
    let (mut pause, mut portion) = (Pause::default(), Portion::WHOLE);
    loop {
        if !is_ours() {
            return Ok(Ended::Stopped);
        }
        let started = Instant::now();
        let error = match attempt(shared, at, stop, &mut portion).await {
            Err(error) if error.is_transient() && !*stop.borrow() && is_ours() => error,
            ended => return ended,
        };
        if let Some(refused) = refused(&error) {
            shared.metrics.counts().retried(refused.name());
            continue;
        }
        let pause = pause.after(started.elapsed());
        tracing::warn!(%at, %error, again_in_ms = pause.as_millis() as u64, "not connected");
        shared.metrics.partition_waiting(at, error.to_string());
        shared.metrics.counts().retried("reconnect");
        tokio::select! {
            () = stopped(stop.clone()) => return Ok(Ended::Stopped),
            () = sleep(pause) => {}
        }
    }
}

/// One connected life of its pipeline.
async fn attempt(
    shared: &Shared,
    at: &TopicPartition,
    stop: &watch::Receiver<bool>,
    portion: &mut Portion,
) -> Result<Ended, CommandError> {
    let target = shared.targets.as_ref().and_then(|targets| targets.get(at).copied());
    if target == Some(0) && shared.topology.is_spread() {
        // It has no records, and so no checkpoint.
        return Ok(Ended::Reached);
    }
    let Some(checkpoint) = unless_stopped(stop, prepare(shared, at)).await? else {
        return Ok(Ended::Stopped);
    };
    let Shared { config, metrics, mapping, model, planner, .. } = shared;
    let reached = start::reached(&checkpoint);
    let decoder = Decoder::new(&shared.catalog, config.kafka()?.decoding);
    let origin = checkpoint.origin.clone();
    let transactions = match shared.topology.is_spread() {
        true => Transactions::each_alone(decoder, origin, reached, checkpoint.last_change),
        false => Transactions::new(decoder, origin, reached),
    };
    let (copy, copied) = CopyWatch::new(mapped_tables(shared));
    let transactions = transactions.telling(copy);
    let metadata = applied_metadata(&config.pipeline, checkpoint.epoch);
    let log = Log::Partition(at.clone());
    let writer = graph::writer(config, metrics, log, checkpoint.epoch)?;
    let tables = model.iter().map(|(_, table)| table.name.as_str());
    let observer = metrics.counts().of_tables(tables);
    let translator = Noticing::new(Translator::new(mapping.clone()), shared.notices.clone());
    let finish: fn(&Model, Vec<Statement>) -> Prepared = Prepared::of;
    let status = watch::Sender::new(graph::status_at(&checkpoint, false));
    let (offset, lsn) = (checkpoint.position.lsn, checkpoint.lsn);
    let mut source = shared.member.read(at, offset.0, transactions, metadata);
    tracing::info!(%at, offset = offset.0, %lsn, "applying");
    metrics.partition_connected(at, status.subscribe(), copied);
    let until = checkpoint.replaying.map(|it| it.until);
    let replaying = replaying::watch(at.clone(), status.subscribe(), until);
    let last = status.subscribe();
    let copier: Option<NoCopy> = None;
    let run = Pipeline {
        source: &mut source,
        preparer: Unsettled(Translated { translator, finish }),
        sink: Observed {
            sink: graph::sink(config, writer, model)?.planning(planner.clone()),
            observer,
        },
        copier,
        engine: Engine::new(Limits::DEFAULT, checkpoint.position)
            .complete_through(lsn)
            .in_portions(*portion),
        until: target.map_or(Until::Forever, |target| Until::Applied(Lsn(target))),
        status,
    };
    let ended = run.run(stopped(stop.clone())).await;
    // It ends by itself with the pipeline, whose status it watches.
    let _ = replaying.await;
    *portion = learned(last.borrow().portion, &ended);
    let ended = ended?;
    tracing::info!(%at, reason = ?ended, "stopped");
    Ok(ended)
}

/// The tables that the graph is made of, by object id.
fn mapped_tables(shared: &Shared) -> BTreeSet<u32> {
    let Shared { catalog, mapping, .. } = shared;
    let mapped: BTreeSet<&TableName> = mapping.published_tables().collect();
    let tables = catalog.tables.iter().filter(|table| mapped.contains(&table.name));
    tables.map(|table| table.oid).collect()
}

/// Decides from where it is read, and claims it there.
async fn prepare(shared: &Shared, at: &TopicPartition) -> Result<Checkpoint, CommandError> {
    let Shared { config, catalog, asking, graph, mapping, topology, .. } = shared;
    let found = Found::look(config, catalog, asking, graph, at).await?;
    let decision = found.decide(config, found.group.clone());
    if let Some(checkpoint) = &found.checkpoint {
        start::check_checkpoint(config, mapping, checkpoint)?;
    }
    if let Decision::Begin { from } = decision {
        let partitions = topology.counts.get(&at.topic).copied().unwrap_or(1);
        let creation = Creation { config, catalog, mapping, asking, graph, at, partitions };
        creation.create(&found.log, from).await?;
    }
    if let Decision::Refuse(refusal) = decision {
        let log = Log::Partition(at.clone());
        let now = neo4j::checkpoint::read_one(graph, &graph::identity(config, log)).await?;
        if now != found.checkpoint {
            // What was read of it may be half of one state and half of the next.
            return Err(CommandError::NotYet(format!("whoever had {at} before still writes")));
        }
        return Err(CommandError::Definite(match topology.is_spread() {
            true => format!("{at}: {refusal}"),
            false => refusal.to_string(),
        }));
    }
    claim_and_reset(shared, at, &decision).await
}

/// Claims the partition's checkpoint, and moves it to where the offsets were reset to. The group's
/// offset follows once the pipeline runs; if it does not come to that, the reset still stands there,
/// and is found again.
async fn claim_and_reset(
    shared: &Shared,
    at: &TopicPartition,
    decision: &Decision,
) -> Result<Checkpoint, CommandError> {
    let (config, log) = (&shared.config, Log::Partition(at.clone()));
    let claimed = graph::claim(config, &log).await?;
    let now = claimed.position.lsn;
    let (to, until) = match *decision {
        Decision::Replay { from, until } => (Lsn(from), Lsn(until).max(now)),
        Decision::Skip { to } => (Lsn(to), Lsn(to)),
        _ => return Ok(claimed),
    };
    let (from, to) = (claimed.position, Position::at(to));
    if to.lsn > from.lsn {
        tracing::warn!(%at, from = now.0, to = to.lsn.0, "records are skipped, as was confirmed");
    } else {
        tracing::info!(
            %at,
            from = to.lsn.0,
            until = until.0,
            "the offsets were reset: records are applied again"
        );
    }
    if from == to {
        return Ok(claimed);
    }
    let advance =
        Advance { from, to, source_lsn: Lsn::ZERO, committed_at: None, last_change: None };
    let mut writer = graph::writer(config, &shared.metrics, log.clone(), claimed.epoch)?;
    writer.reset(&advance, until).await?;
    let identity = graph::identity(config, log);
    let checkpoint = neo4j::checkpoint::read_one(&shared.graph, &identity).await?;
    checkpoint.ok_or_else(|| CommandError::NotYet("the checkpoint is gone".to_owned()))
}
