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

mod progress;
pub(super) mod setup;

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    change::Change,
    checkpoint::{Checkpoint, Epoch},
    cli::{RunArgs, UntilArg},
    config::Config,
    engine::{Engine, Limits},
    graph::{Event, Model, TableIndex},
    mapping::Translator,
    neo4j::{self, Connection, Writer, claim, copy_progress},
    pipeline::{Ended, Failure, Lane, Pipeline, Status, TableCopier, Translate, Translated, Until},
    postgres::{
        self,
        connect::{Sql, sql},
        copy::{CopyReader, Sources, TableSize},
        replication,
    },
    shutdown,
};

use super::CommandError;

/// The first pause before everything is connected again.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// A run that lasted this long starts again with the shortest pause.
const HEALTHY: Duration = Duration::from_secs(30);
/// How often a server that allows any silence is told our position.
const FEEDBACK_MAX: Duration = Duration::from_secs(1);

/// Runs until it is stopped, or `--until` is reached, or something has to be changed first.
pub async fn execute(config: &Config, args: &RunArgs) -> Result<(), CommandError> {
    let (stopping, stop) = watch::channel(false);
    tokio::spawn(async move {
        let requested = shutdown::requested().await;
        stopping.send_replace(requested.is_ok());
    });
    let mut until = args.until;
    let mut pause = PAUSE_MIN;
    loop {
        let started = Instant::now();
        let error = match attempt(config, &mut until, &stop).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_transient() => error,
            Err(error) => return Err(error),
        };
        if started.elapsed() > HEALTHY {
            pause = PAUSE_MIN;
        }
        tracing::warn!(%error, again_in_ms = pause.as_millis() as u64, "not connected");
        tokio::select! {
            () = stopped(stop.clone()) => return Ok(()),
            () = sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
        }
    }
}

/// Resolves once the program is asked to stop.
async fn stopped(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

/// Gives up connecting and preparing when the program is asked to stop: nothing is in flight then.
async fn unless_stopped<T>(
    stop: &watch::Receiver<bool>,
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<Option<T>, CommandError> {
    tokio::select! {
        result = work => result.map(Some),
        () = stopped(stop.clone()) => Ok(None),
    }
}

/// One connected life of the pipeline.
async fn attempt(
    config: &Config,
    until: &mut Option<UntilArg>,
    stop: &watch::Receiver<bool>,
) -> Result<Ended, CommandError> {
    let Some(ready) = unless_stopped(stop, prepare(config, until)).await? else {
        return Ok(Ended::Stopped);
    };
    let Ready { mut source, pipeline, position, copying, .. } = ready;
    tracing::info!(%position, copying, "streaming");
    let status = watch::Sender::new(Status::default());
    let watcher = progress::watch(status.subscribe(), pipeline.progress());
    let run = Pipeline {
        source: &mut source,
        preparer: Translated { translator: pipeline.translator, finish: neo4j::sink::Texts::of },
        sink: pipeline.sink,
        copier: pipeline.copier,
        engine: pipeline.engine,
        until: pipeline.until,
        status,
    };
    let ended = run.run(stopped(stop.clone())).await;
    // It ends by itself with the pipeline, whose status it watches.
    let _ = watcher.await;
    source.close().await;
    let ended = ended?;
    tracing::info!(reason = ?ended, "stopped");
    Ok(ended)
}

/// Everything that a life needs, connected and claimed.
struct Ready {
    source: replication::Stream,
    pipeline: Parts,
    position: crate::lsn::Lsn,
    copying: bool,
    /// Kept open for as long as the pipeline runs.
    _sql: tokio_postgres::Client,
}

struct Parts {
    translator: Translator,
    sink: neo4j::Sink,
    copier: Option<TableCopier<CopyReader, neo4j::Sink>>,
    engine: Engine,
    until: Until,
    tables: Vec<(String, Option<u64>)>,
}

impl Parts {
    fn progress(&self) -> Option<progress::CopyProgress> {
        let copier = self.copier.as_ref()?;
        Some(progress::CopyProgress { ranges: copier.progress(), tables: self.tables.clone() })
    }
}

async fn prepare(config: &Config, until: &mut Option<UntilArg>) -> Result<Ready, CommandError> {
    let (Sql { client, .. }, catalog) = super::read_catalog(config).await?;
    let server = postgres::setup::server(&client).await?;
    setup::check_server(&server)?;
    let mapping = Arc::new(super::mapping(config, &catalog)?);
    let model = Arc::new(mapping.model.clone());
    let target = match until {
        None => Until::Forever,
        Some(UntilArg::Lsn(lsn)) => Until::Applied(*lsn),
        Some(UntilArg::Current) => {
            let current = postgres::setup::flushed(&client).await?.without_page_header();
            *until = Some(UntilArg::Lsn(current));
            Until::Applied(current)
        }
    };
    let graph = Connection::new(&config.graph, neo4j::connect::LONG_ANSWER_LIMIT)?;
    neo4j::checkpoint::prepare(&graph).await?;
    let requirements = neo4j::schema::requirements(&model);
    for made in neo4j::schema::establish(&graph, &requirements).await? {
        tracing::info!(constraint = made.name(), "made in the graph");
    }
    let translator = Translator::new(mapping.clone());
    let mut connection = replication::Connection::connect(&config.source).await?;
    let system = connection.identify().await?;
    let before = neo4j::checkpoint::read(&graph, &config.pipeline).await?;
    let checkpoint = match before {
        Some(checkpoint) => checkpoint,
        None => {
            let first =
                setup::FirstStart { config, client: &client, graph: &graph, system: &system };
            first.prepare(&catalog, &mapping).await?
        }
    };
    setup::check_origin(&checkpoint, &system)?;
    setup::check_checkpoint(config, &client, &mapping, &checkpoint).await?;
    let source = hold_slot(config, connection, &server, &checkpoint).await?;
    let claimed = claim::claim(&config.graph, &config.pipeline, claim::PATIENCE).await;
    let claimed = claimed.map_err(|error| CommandError::NotYet(error.to_string()))?;
    for transaction in &claimed.terminated {
        tracing::warn!(transaction, "ended a stopped writer's transaction");
    }
    let Checkpoint { position, epoch, .. } = claimed.checkpoint;
    let progress = copy_progress::read(&graph, &config.pipeline).await?;
    let ended_before = postgres::copy::current_xid(&client).await?;
    let copying = !progress.is_empty();
    let mut tables = Vec::new();
    let copier = match copying {
        false => None,
        true => {
            let sizes = setup::sizes(&client, &catalog, &mapping).await?;
            let named = |(table, size): &(TableIndex, TableSize)| {
                (model.table(*table).name.clone(), size.rows)
            };
            tables.extend(sizes.iter().map(named));
            let sources = Sources::new(&catalog, &translator);
            let lanes = lanes(config, epoch, &model, &sources, &translator).await?;
            let blocks = sizes.iter().map(|(table, size)| (*table, size.chunk_blocks)).collect();
            Some(TableCopier::new(model.clone(), lanes, blocks, ended_before, progress))
        }
    };
    let pipeline = Parts {
        translator,
        sink: sink(config, epoch, &model)?,
        copier,
        engine: Engine::new(Limits::DEFAULT, position),
        until: target,
        tables,
    };
    Ok(Ready { source, pipeline, position: position.lsn, copying, _sql: client })
}

/// Starts the stream at the checkpoint: from then on nobody else can.
async fn hold_slot(
    config: &Config,
    connection: replication::Connection,
    server: &postgres::setup::Server,
    checkpoint: &Checkpoint,
) -> Result<replication::Stream, CommandError> {
    let sentinel = sql(&config.source).await?;
    let third = Duration::from_millis(server.sender_timeout_ms.unsigned_abs() / 3);
    let interval = if third.is_zero() { FEEDBACK_MAX } else { third.min(FEEDBACK_MAX) };
    let Sql { client, closed } = sentinel;
    // The connection stays open for as long as its client lives.
    let closed = closed.keeping(client);
    let stream = connection
        .start(&config.slot, &config.publication, checkpoint.position.lsn, interval, closed)
        .await?;
    Ok(stream)
}

async fn lanes(
    config: &Config,
    epoch: Epoch,
    model: &Arc<Model>,
    sources: &Sources,
    translator: &Translator,
) -> Result<Vec<Lane<CopyReader, neo4j::Sink>>, CommandError> {
    let mut lanes = Vec::with_capacity(config.copy_lanes);
    for _ in 0..config.copy_lanes {
        let client = sql(&config.source).await?.client;
        let reader = CopyReader::new(client, sources.clone(), translator.clone());
        lanes.push(Lane { reader, writer: sink(config, epoch, model)? });
    }
    Ok(lanes)
}

fn sink(config: &Config, epoch: Epoch, model: &Arc<Model>) -> Result<neo4j::Sink, CommandError> {
    let connect = || Connection::new(&config.graph, neo4j::connect::ANSWER_LIMIT);
    let writer = Writer::new(connect()?, &config.pipeline, epoch);
    Ok(neo4j::Sink::new(writer, connect()?, model.clone()))
}

impl Translate for Translator {
    type Error = crate::mapping::TranslateError;

    fn translate(
        &mut self,
        changes: &[Change],
        mut take: impl FnMut(Event),
    ) -> Result<(), Self::Error> {
        for change in changes {
            Translator::translate(self, change)?.into_iter().for_each(&mut take);
        }
        for notice in self.take_notices() {
            tracing::warn!("{notice}");
        }
        Ok(())
    }

    fn model(&self) -> &Model {
        &self.mapping().model
    }
}
