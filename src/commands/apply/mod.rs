//! `apply`: topic to graph; connects again when a side was away.
//!
//! ```text
//! catalog -> mapping -> constraints -> partition held -> decided -> claim -> pipeline
//!    ^                  (member of the group)                                   |
//!    +--------- transient failure: let go of everything, wait, again -----------+
//! ```
//!
//! The order is that of `run`, with the partition in the slot's place: it is held before the epoch
//! is claimed, so that a waiting second instance can not fence a healthy first one. Where it is read
//! from is decided by [`crate::replay`].
//!
//! What goes to the graph is planned as if tables were being copied, always: a record may be in the
//! graph already, in any state, when it is a row that was read, or applied again after a reset. So
//! an insert may not skip the removal of what its row owned before, and a delete looks who points at
//! its node.

mod replaying;
pub(super) mod start;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{
    checkpoint::{Advance, Checkpoint, Position},
    cli::{ApplyArgs, UntilOffset},
    config::Config,
    engine::{Batch, Engine, Limits},
    envelope::Decoder,
    graph::{Model, Statement},
    kafka::{
        consumer::{ConsumeError, Member},
        offsets::Asking,
        parking::Parking,
        transactions::Transactions,
    },
    lsn::Lsn,
    mapping::Translator,
    metrics::{Metrics, SOURCE_INTERVAL, TableCounts, TopicLook, now},
    neo4j::{self, WriteError, checkpoint::Follows, sink::Prepared},
    pipeline::{Ended, Failure, NoCopy, Observed, Pipeline, Prepare, Status, Translated, Until},
    postgres::connect::Sql,
    replay::{Decision, applied_metadata},
};

use super::{
    CommandError, graph,
    lives::{self, stopped, unless_stopped},
    run::{
        notices::{Notices, Noticing},
        serve,
    },
};
use start::Found;

/// Runs until it is stopped, or `--until` is reached, or something has to be changed first.
pub async fn execute(config: &Config, args: &ApplyArgs) -> Result<(), CommandError> {
    config.graph()?;
    config.kafka()?;
    let apply = Apply::new(config);
    let mut serving = serve::start(config, &apply.metrics).await?;
    if !serving.is_empty() {
        serving.spawn(look_at_topic(config.clone(), apply.metrics.clone()));
    }
    let mut until = args.until;
    lives::live(&apply.metrics, async |stop| apply.attempt(&mut until, stop).await).await
}

/// What lasts from one connected life to the next.
struct Apply<'a> {
    config: &'a Config,
    metrics: Arc<Metrics>,
    notices: Arc<Notices>,
}

/// Everything that a life needs, connected and claimed.
struct Ready {
    source: Member,
    preparer: Unsettled<Preparer>,
    sink: Observed<neo4j::Sink, TableCounts>,
    engine: Engine,
    until: Until,
    status: Status,
    /// What is applied again ends here.
    replay_until: Option<Lsn>,
}

type Preparer = Translated<Noticing, fn(&Model, Vec<Statement>) -> Prepared>;

/// Makes batches ready for a graph that may have what is in them.
struct Unsettled<P>(P);

impl<P: Prepare> Prepare for Unsettled<P> {
    type Prepared = P::Prepared;
    type Error = P::Error;

    fn prepare(&mut self, batch: Batch, _: bool) -> Result<P::Prepared, P::Error> {
        self.0.prepare(batch, false)
    }
}

impl<'a> Apply<'a> {
    fn new(config: &'a Config) -> Self {
        let metrics = Arc::new(Metrics::new(&config.pipeline, config.http.limits));
        let notices = Arc::new(Notices::new(metrics.clone()));
        Apply { config, metrics, notices }
    }

    /// One connected life of the pipeline.
    async fn attempt(
        &self,
        until: &mut Option<UntilOffset>,
        stop: &watch::Receiver<bool>,
    ) -> Result<Ended, CommandError> {
        let Some(ready) = unless_stopped(stop, self.prepare(until)).await? else {
            return Ok(Ended::Stopped);
        };
        let Ready { mut source, preparer, sink, engine, until, status, replay_until } = ready;
        let (offset, lsn) = (status.applied.lsn.0, status.complete);
        tracing::info!(offset, %lsn, "applying");
        let status = watch::Sender::new(status);
        self.metrics.connected(status.subscribe(), None);
        let replaying = replaying::watch(status.subscribe(), replay_until);
        let source_of = &mut source;
        let copier: Option<NoCopy> = None;
        let run = Pipeline { source: source_of, preparer, sink, copier, engine, until, status };
        let ended = run.run(stopped(stop.clone())).await;
        // It ends by itself with the pipeline, whose status it watches.
        let _ = replaying.await;
        source.close().await;
        let ended = ended?;
        tracing::info!(reason = ?ended, "stopped");
        Ok(ended)
    }

    async fn prepare(&self, until: &mut Option<UntilOffset>) -> Result<Ready, CommandError> {
        let config = self.config;
        let (Sql { .. }, catalog) = super::read_catalog(config).await?;
        let mapping = Arc::new(super::mapping(config, &catalog)?);
        let model = Arc::new(mapping.model.clone());
        let graph = graph::open(config, &model).await?;
        let asking = Asking::new(config.kafka()?)?;
        start::check_topic(config, &asking, &graph).await?;
        let target = target(until, &asking).await?;
        let metrics = self.metrics.clone();
        let parking = Parking::open(config.kafka()?, move || metrics.counts().parked()).await?;
        let member = Member::join(config.kafka()?, parking).await?;
        let found = Found::look(config, &catalog, &asking, &graph).await?;
        let decision = found.decide(config, found.group.clone());
        if let Some(checkpoint) = &found.checkpoint {
            start::check_checkpoint(config, &mapping, checkpoint)?;
        }
        if let Decision::Begin { from } = decision {
            let digest = mapping.digest();
            start::create(config, &catalog, &asking, &graph, &found.log, from, digest).await?;
        }
        if let Decision::Refuse(refusal) = decision {
            return Err(CommandError::Definite(refusal.to_string()));
        }
        let checkpoint = self.claim_and_reset(&decision).await?;
        let reached = start::reached(&checkpoint);
        let decoder = Decoder::new(&catalog, config.kafka()?.decoding);
        let transactions = Transactions::new(decoder, checkpoint.origin.clone(), reached);
        let metadata = applied_metadata(&config.pipeline, checkpoint.epoch);
        member.read(checkpoint.position.lsn.0, transactions, metadata);
        let writer = graph::writer(config, &self.metrics, checkpoint.epoch, Follows::Partition)?;
        let tables = model.iter().map(|(_, table)| table.name.as_str());
        let observer = self.metrics.counts().of_tables(tables);
        let translator = Noticing::new(Translator::new(mapping.clone()), self.notices.clone());
        Ok(Ready {
            source: member,
            preparer: Unsettled(Translated { translator, finish: Prepared::of }),
            sink: Observed { sink: graph::sink(config, writer, &model)?, observer },
            engine: Engine::new(Limits::DEFAULT, checkpoint.position)
                .complete_through(checkpoint.lsn),
            until: target,
            status: graph::status_at(&checkpoint, false),
            replay_until: checkpoint.replaying.map(|it| it.until),
        })
    }

    /// Claims the graph, and moves its checkpoint to where the offsets were reset to. The group's
    /// offset follows once the pipeline runs; if it does not come to that, the reset still stands
    /// there, and is found again.
    async fn claim_and_reset(&self, decision: &Decision) -> Result<Checkpoint, CommandError> {
        let config = self.config;
        let claimed = graph::claim(config).await?;
        let at = claimed.position.lsn;
        let (to, until) = match *decision {
            Decision::Replay { from, until } => (Lsn(from), Lsn(until).max(at)),
            Decision::Skip { to } => (Lsn(to), Lsn(to)),
            _ => return Ok(claimed),
        };
        let (from, to) = (claimed.position, Position::at(to));
        if to.lsn > from.lsn {
            tracing::warn!(from = at.0, to = to.lsn.0, "records are skipped, as was confirmed");
        } else {
            tracing::info!(
                from = to.lsn.0,
                until = until.0,
                "the offsets were reset: records are applied again"
            );
        }
        if from == to {
            return Ok(claimed);
        }
        let advance = Advance { from, to, source_lsn: Lsn::ZERO, committed_at: None };
        let mut writer = graph::writer(config, &self.metrics, claimed.epoch, Follows::Partition)?;
        writer.reset(&advance, until).await?;
        let graph = neo4j::Connection::new(config.graph()?, neo4j::connect::ANSWER_LIMIT)?;
        let checkpoint = neo4j::checkpoint::read(&graph, &config.pipeline).await?;
        checkpoint.ok_or_else(|| CommandError::NotYet("the checkpoint is gone".to_owned()))
    }
}

/// Where `--until` leads; `current` is the topic's end when it is looked up first.
async fn target(until: &mut Option<UntilOffset>, asking: &Asking) -> Result<Until, CommandError> {
    Ok(match until {
        None => Until::Forever,
        Some(UntilOffset::Offset(offset)) => Until::Applied(Lsn(*offset)),
        Some(UntilOffset::Current) => {
            let end = asking.log().await?.end;
            *until = Some(UntilOffset::Offset(end));
            Until::Applied(Lsn(end))
        }
    })
}

/// Looks at the topic's end, until it is dropped: for the lag.
async fn look_at_topic(config: Config, metrics: Arc<Metrics>) {
    const PATIENCE: Duration = Duration::from_secs(5);
    let mut asking = None;
    let mut timer = interval(SOURCE_INTERVAL);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let at = now();
        if asking.is_none() {
            asking = config.kafka().ok().and_then(|options| Asking::new(options).ok());
        }
        let Some(asking) = &asking else { continue };
        let log = tokio::time::timeout(PATIENCE, asking.log()).await;
        let end = log.ok().and_then(Result::ok).map(|log| log.end);
        metrics.looked_at_topic(end.map(|end| TopicLook { at, end }));
    }
}

impl From<ConsumeError> for CommandError {
    fn from(error: ConsumeError) -> Self {
        match (error.is_transient(), error) {
            (_, ConsumeError::Kafka(error)) => CommandError::Kafka(error),
            (true, error) => CommandError::NotYet(error.to_string()),
            (false, error) => CommandError::Definite(error.to_string()),
        }
    }
}

impl From<WriteError> for CommandError {
    fn from(error: WriteError) -> Self {
        match error.is_transient() {
            true => CommandError::NotYet(error.to_string()),
            false => CommandError::Definite(error.to_string()),
        }
    }
}
