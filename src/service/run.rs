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

use std::{cell::Cell, collections::BTreeMap, sync::Arc};

use tokio::sync::watch;
use tokio_postgres::Client;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    catalog::Catalog,
    checkpoint::{Checkpoint, Claim, Epoch, Log},
    cli::{IntoExistingGraph, RunArgs, UntilArg},
    config::Config,
    copy::{Progress, RECONCILED},
    engine::{Engine, Limits, Portion},
    graph::{Circumstances, Model, Statement, TableIndex},
    mapping::{Mapping, Translator},
    metrics::{Comparing, Copying, Metrics, TableCounts},
    pipeline::{
        Ended, Failure, Lane, Named, Observed, Pipeline, Reported, Status, Store, TableCopier,
        Translated, Until,
    },
    postgres::{
        self,
        connect::{Sql, sql},
        copy::CopyReader,
        locks::Beside,
        replication,
        sizes::TableSize,
        sources::Sources,
        unsent::Whole,
    },
    request::{Purpose, RequestId},
    start::{Again, Refusal, Refusals, TableFacts},
};

use super::{
    ServiceError,
    attempts::{self, stopped, unless_stopped},
    begin::{Begun, begin},
    facts,
    graph::{self, Graph, Planner, Wait},
    left_out::LeftOut,
    left_over,
    notices::{Notices, Noticing},
    renew,
    requests::{self, Following, Passes, Taken},
    setup,
    slot::{HeldSlot, Slot},
    tables,
    watch::{progress, serve},
};

/// Runs until it is stopped, or `--until` is reached, or something has to be changed first.
pub async fn execute(config: &Config, args: &RunArgs) -> Result<(), ServiceError> {
    config.graph()?;
    let run = Run::new(config, args.into_existing_graph == IntoExistingGraph::Adopt);
    let _serving = serve::start(config, &run.metrics).await?;
    let mut until = args.until;
    let ended =
        attempts::live(&run.metrics, async |stop| run.attempt(&mut until, stop).await).await;
    if let (Err(error), Some(epoch)) = (&ended, run.claimed.get()) {
        graph::tell_why(config, Log::Slot(config.slot.clone()), epoch, error).await;
    }
    ended
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
}

/// Everything that a life needs, connected and claimed.
struct Ready {
    source: Whole<replication::Stream>,
    pipeline: Parts,
    status: Status,
    copying: Option<Copying>,
    /// The request that it works on.
    request: Option<(RequestId, Reported)>,
    again: Again,
    mapping: Arc<Mapping>,
    followed: TableFacts,
    /// What looks at them while the pipeline runs.
    sql: Client,
    _constraints: AbortOnDropHandle<()>,
    /// What keeps the request's findings.
    findings: Option<Following>,
}

/// Where lanes write.
struct To<'a> {
    graph: &'a Graph,
    claim: &'a Claim,
    model: &'a Arc<Model>,
    planner: &'a Arc<Planner>,
}

/// A pipeline that can start.
struct Admitted {
    source: facts::Source,
    checkpoint: Option<Checkpoint>,
    again: Again,
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
        Run { config, metrics, notices, portion, claimed, adopts, left_out }
    }

    /// Connected lives of the pipeline. One that ends for a request is followed by the next at once.
    async fn attempt(
        &self,
        until: &mut Option<UntilArg>,
        stop: &watch::Receiver<bool>,
    ) -> Result<Ended, ServiceError> {
        loop {
            let ended = match self.life(until, stop).await {
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

    /// One connected life of the pipeline.
    async fn life(
        &self,
        until: &mut Option<UntilArg>,
        stop: &watch::Receiver<bool>,
    ) -> Result<Ended, ServiceError> {
        let Some(ready) = unless_stopped(stop, self.prepare(until)).await? else {
            return Ok(Ended::Stopped);
        };
        let Ready { mut source, pipeline, status, copying, request, again, mapping, .. } = ready;
        let (followed, sql, _constraints) = (ready.followed, ready.sql, ready._constraints);
        let findings = ready.findings;
        let position = status.applied.lsn;
        tracing::info!(%position, copying = status.copying, "streaming");
        let status = watch::Sender::new(status);
        self.metrics.connected(status.subscribe(), copying.clone());
        let last = status.subscribe();
        let watcher = progress::watch(status.subscribe(), copying);
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
        let ended = tokio::select! {
            ended = ended => ended,
            differences = tables::different(self.config, sql, &followed) => {
                let claimed = self.claimed.get();
                return Err(tables::stopped(self.config, claimed, &followed, &differences, again).await);
            }
        };
        if let Some(findings) = findings {
            findings.finish().await;
        }
        // It ends by itself with the pipeline, whose status it watches.
        let _ = watcher.await;
        self.portion.set(attempts::learned(last.borrow().portion, &ended));
        let ended = ended.map_err(|error| {
            let log = Log::Slot(self.config.slot.clone());
            let error = error.about(|relation| mapping.key_columns(relation.oid), &log);
            ServiceError::from(error).with(&again)
        })?;
        tracing::info!(reason = ?ended, "stopped");
        Ok(ended)
    }

    async fn prepare(&self, until: &mut Option<UntilArg>) -> Result<Ready, ServiceError> {
        let config = self.config;
        let (Sql { client, .. }, catalog) = super::read_catalog(config).await?;
        let mapping = self.mapped(&client, &catalog).await?;
        let model = Arc::new(mapping.model.clone());
        let looked = match self.admit(&client, &catalog, &mapping).await {
            Err(ServiceError::Start(refusals)) if renew::comes_by_itself(config, &refusals) => {
                renew::by_itself(config, &client, (&catalog, &mapping), &refusals).await?;
                self.admit(&client, &catalog, &mapping).await?
            }
            looked => looked?,
        };
        let Admitted { source: looked, checkpoint: before, again } = looked;
        let target = target(until, &client).await?;
        let graph = graph::open_counted(config, &self.metrics)?;
        graph::establish(&graph, &model).await?;
        let translator = Translator::new(mapping.clone());
        let mut connection = replication::Connection::connect(&config.source).await?;
        let system = connection.identify().await?;
        let of = graph::identity(config, Log::Slot(config.slot.clone()));
        let slot = Slot {
            config,
            metrics: &self.metrics,
            claimed: &self.claimed,
            client: &client,
            connection,
            server: &looked.server,
            system,
            mapped: (&catalog, &mapping),
            again: &again,
            adopts: self.adopts,
        };
        let claimable = (&of, Some(config.publication.as_str()));
        let begun = begin(&graph, slot, claimable, before, &model).await?;
        let engine = begun.engine(Limits::DEFAULT).in_portions(self.portion.get());
        let copies = begun.copies();
        let Begun {
            log: HeldSlot { held, .. }, agreed: followed, claim, progress, checkpoint, ..
        } = begun;
        left_over::clear(&graph, &claim, &checkpoint, (&model, &mapping.labels())).await?;
        let Passes { progress, taken } = match copies && progress.is_empty() {
            // Rows are left to complete, before anything else.
            true => Passes { progress, taken: None },
            false => self.passes(&graph, &claim, (&client, &catalog, &mapping), progress).await?,
        };
        let verifies = taken.as_ref().is_some_and(|it| it.purpose == Purpose::Verify);
        let works = copies || !progress.is_empty();
        let status = graph::status_at(&checkpoint, works && !verifies);
        let named = Named::default();
        let planner = graph.planner(&model, Some(Circumstances::Settled))?;
        let mut rows = BTreeMap::new();
        let copier = match works {
            false => None,
            true => {
                let sizes = setup::sizes(&client, &catalog, &mapping).await?;
                rows = table_rows(&model, &sizes);
                let sources = Sources::new(&catalog, &translator);
                let to = To { graph: &graph, claim: &claim, model: &model, planner: &planner };
                let lanes = self.lanes(to, &sources, &translator).await?;
                let blocks = sizes.iter().map(|(table, size)| (*table, size.chunk_blocks));
                let blocks = blocks.collect();
                let ended_before = begun.ended_before;
                let copier = TableCopier::new(model.clone(), lanes, blocks, ended_before, progress);
                Some(match &taken {
                    None => copier,
                    Some(taken) => {
                        let compared: Vec<TableIndex> =
                            taken.reported.get().compared.keys().copied().collect();
                        let keys = requests::keys(taken.keys.as_deref(), &compared, &translator);
                        let (named, reported) = (named.clone(), taken.reported.clone());
                        copier.reconciling(taken.purpose, named, reported, keys)
                    }
                })
            }
        };
        let copying = copier.as_ref().filter(|_| taken.is_none());
        let copying = copying.map(|it| Copying { ranges: it.progress(), expected: rows.clone() });
        let tables = model.iter().map(|(_, table)| table.name.as_str());
        let counts = self.metrics.counts().of_tables(tables);
        let translator = Noticing::new(translator, self.notices.clone());
        let pipeline = Parts {
            preparer: Translated { translator, named, finish: Graph::prepared },
            sink: Observed { sink: graph.sink(&claim, &model, &planner)?, observer: counts },
            copier,
            engine,
            until: target,
        };
        let mapped = mapping.published_tables().filter_map(|name| catalog.table(name));
        let mapped = mapped.map(|table| table.oid).collect();
        let source = Whole::new(held.stream, config.source.clone(), mapped);
        let findings = match &taken {
            Some(taken) => {
                let (reported, model) = (taken.reported.clone(), model.clone());
                self.metrics.compares(Comparing { reported, model: model.clone() });
                let own = graph::open(config, Wait::Usual)?;
                requests::follow(own, claim, taken, model, rows)
            }
            None => None,
        };
        let request = taken.and_then(|Taken { id, reported, .. }| Some((id?, reported)));
        let _constraints = graph::keep_constraints(graph, model);
        let sql = client;
        Ok(Ready {
            source,
            pipeline,
            status,
            copying,
            request,
            again,
            mapping,
            followed,
            sql,
            _constraints,
            findings,
        })
    }

    /// What the copier of this life has to do.
    async fn passes(
        &self,
        graph: &Graph,
        claim: &Claim,
        (client, catalog, mapping): (&Client, &Catalog, &Mapping),
        progress: Vec<Progress>,
    ) -> Result<Passes, ServiceError> {
        let (model, lanes) = (&mapping.model, self.config.copy_lanes);
        let new = async |tables: &[TableIndex]| {
            let mut sizes = setup::sizes(client, catalog, mapping).await?;
            sizes.retain(|(table, _)| tables.contains(table));
            Ok(setup::new_progress(model, &sizes, lanes, |_| RECONCILED.to_vec()))
        };
        requests::take_up(graph, claim, model, progress, new).await
    }

    /// The mapping. One that can not be is refused with what is different in the tables: mending the one
    /// does not bring back what the other took.
    async fn mapped(
        &self,
        client: &Client,
        catalog: &Catalog,
    ) -> Result<Arc<Mapping>, ServiceError> {
        let error = match super::mapping(self.config, catalog) {
            Ok(mapping) => {
                self.left_out.tell(&mapping);
                return Ok(Arc::new(mapping));
            }
            Err(error) => error,
        };
        Err(match (error, self.of_tables(client).await) {
            (_, Err(error)) if error.is_transient() => error,
            (ServiceError::Refused(unmapped), Ok(Some(different))) => {
                let unmapped = unmapped.into_iter().map(Refusal::from);
                ServiceError::Start(Refusals::of(different).and(unmapped))
            }
            (error, _) => error,
        })
    }

    /// What is different in the tables that the graph followed.
    async fn of_tables(&self, client: &Client) -> Result<Option<Refusal>, ServiceError> {
        let config = self.config;
        let source = facts::Source::look(config, client, None).await?;
        let graph = graph::open(config, Wait::Usual)?;
        let made = facts::Made::look(config, client, &graph).await?;
        let made = facts::Made { through_topic: false, ..made };
        let again = Again::FromTables;
        let facts = source.facts(None, &made, &again);
        tables::refused(config, &made.checkpoints, &facts.differences()).await;
        let mut refusals = facts.refusals().into_iter();
        Ok(refusals.find(|refusal| matches!(refusal, Refusal::Tables(_))))
    }

    /// Asks whether the pipeline can start, before anything is made.
    async fn admit(
        &self,
        client: &Client,
        catalog: &Catalog,
        mapping: &Mapping,
    ) -> Result<Admitted, ServiceError> {
        let config = self.config;
        let source = facts::Source::look(config, client, Some(mapping)).await?;
        let graph = graph::open(config, Wait::Long)?;
        let made = facts::Made::look(config, client, &graph).await?;
        // A graph that follows a topic is another log's.
        let made = facts::Made { through_topic: false, ..made };
        let again = Again::FromTables;
        let checkpoint = made.checkpoint().cloned();
        let is_first = checkpoint.is_none();
        let facts = source.facts(Some((catalog, mapping)), &made, &again);
        let (mut refusals, different) = (facts.refusals(), facts.differences());
        let of_graph = facts::graph_refusals(&graph, mapping, is_first, self.adopts);
        refusals.extend(of_graph.await?);
        if let Err(refusals) = Refusals::check(refusals) {
            tables::refused(config, &made.checkpoints, &different).await;
            return Err(ServiceError::Start(refusals));
        }
        Ok(Admitted { source, checkpoint, again })
    }

    async fn lanes(
        &self,
        to: To<'_>,
        sources: &Sources,
        translator: &Translator,
    ) -> Result<Vec<Lane<CopyReader, Sink, Reader>>, ServiceError> {
        let mut lanes = Vec::with_capacity(self.config.copy_lanes);
        let beside = Beside::new(sql(&self.config.source).await?.client);
        for _ in 0..self.config.copy_lanes {
            let client = sql(&self.config.source).await?.client;
            let notices = self.notices.clone();
            let (sources, translator) = (sources.clone(), translator.clone());
            let reader = CopyReader::new(client, beside.clone(), sources, translator).await?;
            let reader = reader.telling(Arc::new(move |met| notices.tell(met)));
            let writer = to.graph.sink(to.claim, to.model, to.planner)?;
            lanes.push(Lane { reader, writer, graph: to.graph.reader(to.model)? });
        }
        beside.guard(sql(&self.config.source).await?.client);
        Ok(lanes)
    }
}

/// Where `--until` leads; `current` is what is committed when it is looked up first.
pub async fn target(until: &mut Option<UntilArg>, client: &Client) -> Result<Until, ServiceError> {
    Ok(match until {
        None => Until::Forever,
        Some(UntilArg::Lsn(lsn)) => Until::Applied(*lsn),
        Some(UntilArg::Current) => {
            let current = postgres::setup::flushed(client).await?.without_page_header();
            *until = Some(UntilArg::Lsn(current));
            Until::Applied(current)
        }
    })
}

fn table_rows(model: &Model, sizes: &[(TableIndex, TableSize)]) -> BTreeMap<String, u64> {
    sizes.iter().map(|(table, size)| (model.table(*table).name.clone(), size.rows)).collect()
}
