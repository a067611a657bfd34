//! `run`: copies what is not copied, then streams; connects again when a side was away.
//!
//! ```text
//! catalog -> mapping -> constraints -> checkpoint -> slot held -> claim -> pipeline
//!    ^       (first start: publication, slot, checkpoint)                     |
//!    +------- transient failure: let go of everything, wait, again -----------+
//! ```
//!
//! The order matters. The publication is older than the slot, so that the slot can decode it. The
//! slot is held before the epoch is claimed, so that a waiting second instance can not fence a
//! healthy first one.

mod prepare;

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use tokio::sync::watch;
use tokio_postgres::Client;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    checkpoint::{Epoch, Log},
    cli::{IntoExistingGraph, RunArgs, UntilArg},
    config::Config,
    engine::{Engine, Portion},
    graph::{Model, Statement},
    lsn::Lsn,
    mapping::Mapping,
    metrics::{Comparing, Copying, Metrics, TableCounts},
    pipeline::{
        Ended, Observed, Pipeline, Reported, Status, Store, TableCopier, Translated, Until,
    },
    postgres::{self, copy::CopyReader, replication, unsent::Whole},
    request::RequestId,
    start::{
        Again, TableFacts, TablesRefusal,
        following::{Changed, Watched},
    },
};

use super::{
    ServiceError,
    attempts::{self, Service, stopped, unless_stopped},
    following::{self, Learned},
    graph::{self, Graph},
    left_out::LeftOut,
    notices::{Notices, Noticing},
    renew,
    requests::{self, Following},
    tables, trace,
    watch::{progress, serve},
};

/// Runs until it is stopped, or `--until` is reached, or something has to be changed first.
pub async fn execute(config: &Config, args: &RunArgs) -> Result<(), ServiceError> {
    config.graph()?;
    let run = Run::new(config, args.into_existing_graph == IntoExistingGraph::Adopt);
    let _serving = serve::start(config, &run.metrics).await?;
    let (metrics, ends) = (&run.metrics, args.until.is_some());
    let mut until = args.until;
    let told = async |error: &ServiceError| {
        if let Some(epoch) = run.claimed.get() {
            graph::tell_why(config, Log::Slot(config.slot.clone()), epoch, error).await;
        }
    };
    Service { config, metrics, holds_slot: true, ends }
        .live(async |stop| run.attempt(&mut until, stop).await, told)
        .await
}

/// What lasts from one connected life to the next.
struct Run<'a> {
    config: &'a Config,
    metrics: Arc<Metrics>,
    notices: Arc<Notices>,
    /// How many changes the graph takes at once.
    portion: Cell<Portion>,
    /// What was claimed last.
    claimed: Cell<Option<Epoch>>,
    /// A first copy takes over nodes that are there.
    adopts: bool,
    left_out: LeftOut,
    learned: Learned,
    /// The catalog's trace in this life.
    trace: RefCell<String>,
}

/// Everything that a life needs, connected and claimed.
struct Ready {
    source: Whole<replication::Stream>,
    pipeline: Parts,
    status: Status,
    copying: Option<Copying>,
    /// The comparison that the graph is owed, if no command has asked for one.
    owed: Option<Comparing>,
    /// The request that it works on.
    request: Option<(RequestId, Reported)>,
    again: Again,
    mapping: Arc<Mapping>,
    followed: TableFacts,
    /// What looks at them while the pipeline runs.
    sql: Client,
    /// How they are watched, and the catalog's trace.
    watched: (Watched, String),
    _constraints: AbortOnDropHandle<()>,
    /// What keeps the request's findings.
    findings: Option<Following>,
}

type Sink = <Graph as Store>::Sink;
type Reader = <Graph as Store>::Reader;
type Finish = fn(&Model, Vec<Statement>) -> <Graph as Store>::Prepared;

struct Parts {
    preparer: Translated<Noticing, Finish>,
    sink: Observed<Sink, TableCounts>,
    copier: Option<TableCopier<CopyReader, Sink, Reader>>,
    engine: Engine,
    until: Until,
}

impl<'a> Run<'a> {
    fn new(config: &'a Config, adopts: bool) -> Self {
        let metrics = Arc::new(Metrics::new(&config.pipeline, config.http.limits));
        let notices = Arc::new(Notices::new(metrics.clone()));
        let (portion, claimed, left_out) = (Cell::default(), Cell::default(), LeftOut::default());
        let (learned, trace) = (Learned::default(), RefCell::default());
        Run { config, metrics, notices, portion, claimed, adopts, left_out, learned, trace }
    }

    /// Connected lives of the pipeline. One that ends for a request is followed by the next at once.
    async fn attempt(
        &self,
        until: &mut Option<UntilArg>,
        stop: &watch::Receiver<bool>,
    ) -> Result<Ended, ServiceError> {
        let mut again = following::Again::default();
        loop {
            let ended = match self.life_as_it_is(until, stop).await {
                Err(ServiceError::Reshaped(what)) => {
                    tracing::info!(what, "looking at the tables again");
                    again.pause().await;
                    continue;
                }
                // The next life makes a new one, if that is what is configured.
                Err(error @ ServiceError::NeedsCopy { .. })
                    if renew::has_lost_slot(self.config).await =>
                {
                    return Err(ServiceError::NotYet(error.to_string()));
                }
                ended => ended?,
            };
            if ended == Ended::Reached || *stop.borrow() {
                return Ok(ended);
            }
        }
    }

    /// One connected life. One that fails while the tables change is no failure: the next one looks at them.
    async fn life_as_it_is(
        &self,
        until: &mut Option<UntilArg>,
        stop: &watch::Receiver<bool>,
    ) -> Result<Ended, ServiceError> {
        // A life is large, and a stack is not.
        let ended = Box::pin(self.life(until, stop)).await;
        let trace = self.trace.take();
        let follows = following::follows(self.config);
        trace::as_it_is(self.config, if follows { &trace } else { "" }, ended).await
    }

    /// One connected life of the pipeline.
    async fn life(
        &self,
        until: &mut Option<UntilArg>,
        stop: &watch::Receiver<bool>,
    ) -> Result<Ended, ServiceError> {
        let Some(ready) = unless_stopped(stop, Box::pin(self.prepare(until))).await? else {
            return Ok(Ended::Stopped);
        };
        let Ready { mut source, pipeline, status, copying, request, again, mapping, .. } = ready;
        let (followed, sql, _constraints) = (ready.followed, ready.sql, ready._constraints);
        let watched = ready.watched;
        let findings = ready.findings;
        let position = status.applied.lsn;
        tracing::info!(%position, copying = status.copying, "streaming");
        let status = watch::Sender::new(status);
        self.metrics.connected(status.subscribe(), copying.clone());
        let last = status.subscribe();
        let watcher = match ready.owed {
            Some(owed) => progress::compared(status.subscribe(), owed),
            None => progress::watch(status.subscribe(), copying),
        };
        let is_asked = stop.clone();
        let (stop, config, copies) = (stop.clone(), self.config.clone(), status.subscribe());
        let stopped = async move {
            tokio::select! {
                () = stopped(stop) => {}
                () = requests::changed(&config, request, copies) => {
                    tracing::info!("connecting again for a request");
                }
            }
        };
        let ended = attempts::on_a_worker(async move {
            let run = Pipeline {
                source: &mut source,
                preparer: pipeline.preparer,
                sink: pipeline.sink,
                copier: pipeline.copier,
                engine: pipeline.engine,
                until: pipeline.until,
                status,
            };
            let ended = run.run(stopped).await;
            source.into_inner().close().await;
            ended
        });
        let sql = (sql, self.claimed.get());
        let changed = Box::pin(following::changed(self.config, sql, watched, &self.left_out));
        let ended = tokio::select! {
            ended = ended => ended,
            changed = changed => match changed {
                Changed::Follow => {
                    let what = "the tables, the publication or the mapping have changed";
                    return Err(ServiceError::Reshaped(what.to_owned()));
                }
                Changed::Stop(found) => {
                    return Err(TablesRefusal::Reshaped { found, again }.into());
                }
                Changed::Blocked(differences) => {
                    let claimed = self.claimed.get();
                    return Err(tables::stopped(self.config, claimed, &followed, &differences, again).await);
                }
            }
        };
        if let Some(findings) = findings {
            findings.finish().await;
        }
        // It ends by itself with the pipeline, whose status it watches.
        let _ = watcher.await;
        self.portion.set(last.borrow().portion);
        let ended = ended.map_err(|error| {
            if let Some(reshaped) = error.reshaped() {
                self.learned.met(reshaped);
                return ServiceError::Reshaped(error.to_string());
            }
            let log = Log::Slot(self.config.slot.clone());
            let error = error.about(|relation| mapping.key_columns(relation.oid), &log);
            ServiceError::from(error).with(&again)
        })?;
        if ended == Ended::Reached || *is_asked.borrow() {
            tracing::info!(reason = ?ended, "stopped");
        }
        Ok(ended)
    }
}

/// What is committed is before it. What is not flushed is not sent: a commit with `synchronous_commit = off` would be
/// missed, or waited for until something else is flushed.
async fn committed(client: &Client) -> Result<Lsn, ServiceError> {
    let Some(end) = postgres::setup::log_end(client).await? else {
        return Ok(postgres::setup::flushed(client).await?);
    };
    if end.flushed < end.inserted
        && let Err(error) = postgres::setup::flush(client).await
    {
        tracing::debug!(%error, "the source does not flush its log for this start");
    }
    Ok(end.inserted)
}

/// Where `--until` leads; `current` is what is committed when it is looked up first.
pub async fn target(until: &mut Option<UntilArg>, client: &Client) -> Result<Until, ServiceError> {
    Ok(match until {
        None => Until::Forever,
        Some(UntilArg::Lsn(lsn)) => Until::Applied(*lsn),
        Some(UntilArg::Current) => {
            let current = committed(client).await?.without_page_header();
            *until = Some(UntilArg::Lsn(current));
            Until::Applied(current)
        }
    })
}
