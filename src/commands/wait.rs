//! `wait`: ends when the graph has everything up to a position of the source.
//!
//! ```text
//! the source's end, or --lsn --> target      checkpoints, copy --> reached? --no--> look again
//!                                                                     yes --> exit 0
//! ```
//!
//! It polls the checkpoint, as applications can (docs/read-your-writes.md). An idle source moves it
//! too: the position of a log that has nothing for the graph is written once a second.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    checkpoint::{Checkpoint, complete_through},
    cli::WaitArgs,
    config::{Config, duration},
    copy::Progress,
    lsn::Lsn,
    pipeline::{Failure, Store},
    postgres::{
        self,
        connect::Sql,
        setup::{self, LogEnd},
    },
    request::Request,
    service::{
        ServiceError, facts,
        graph::{Wait, open},
    },
    start::{TableFacts, origin},
};

use super::print;

/// The pause between two looks at the checkpoint.
const PAUSE: Duration = Duration::from_millis(50);
/// A position that is not reached by then may wait for the source to flush its log.
const FLUSHED_BY: Duration = Duration::from_millis(500);

/// Waits. A position that is not reached within the timeout is a failure.
pub async fn execute(config: &Config, args: &WaitArgs) -> Result<(), ServiceError> {
    let limit = duration::parse(&args.timeout).ok_or_else(|| {
        ServiceError::Usage(format!(
            "--timeout {:?}: expected a whole number and a unit, for example 500ms, 5s, 2m",
            args.timeout
        ))
    })?;
    let deadline = Instant::now() + limit;
    let target = match args.lsn {
        Some(lsn) => Target { lsn, cluster: None },
        None => match timeout_at(deadline, Target::now(config)).await {
            Ok(target) => target?,
            Err(_) => return Err(late(limit, "the source does not answer")),
        },
    };
    let graph = open(config, Wait::AtMost(limit))?;
    let mut waiting = Waiting { config, target: &target, reached: Reached::Unknown };
    match timeout_at(deadline, waiting.wait(&graph, args.lsn.is_some())).await {
        Ok(waited) => waited?,
        Err(_) => return Err(late(limit, &waiting.so_far())),
    }
    print(&format!("the graph has everything up to {}", target.lsn))
}

/// Waits until the graph has everything that is committed now.
pub(super) async fn caught_up(
    config: &Config,
    graph: &impl Store,
    limit: Duration,
) -> Result<(), ServiceError> {
    let deadline = Instant::now() + limit;
    let target = match timeout_at(deadline, Target::now(config)).await {
        Ok(target) => target?,
        Err(_) => return Err(ServiceError::NotYet("the source does not answer".to_owned())),
    };
    let mut waiting = Waiting { config, target: &target, reached: Reached::Unknown };
    match timeout_at(deadline, waiting.wait(graph, false)).await {
        Ok(waited) => waited,
        Err(_) => Err(ServiceError::NotYet(format!(
            "the graph does not have within {} s what is committed now: {}",
            limit.as_secs(),
            waiting.so_far()
        ))),
    }
}

fn late(limit: Duration, so_far: &str) -> ServiceError {
    let seconds = limit.as_secs_f32();
    ServiceError::Definite(format!("not within {seconds} s (--timeout): {so_far}"))
}

/// What is waited for.
struct Target {
    lsn: Lsn,
    /// The cluster whose position it is, if that is known.
    cluster: Option<String>,
}

impl Target {
    /// Everything that is committed now.
    async fn now(config: &Config) -> Result<Self, ServiceError> {
        let sql = postgres::connect::sql(&config.source()).await?;
        let end = setup::log_end(&sql.client).await?.ok_or_else(|| {
            ServiceError::Definite(
                "the source is a standby, whose log is not the one that the graph follows: name the primary \
                 (--source-url), or a position (--lsn)"
                    .to_owned(),
            )
        })?;
        let target = Target { lsn: end.inserted, cluster: setup::cluster(&sql.client).await? };
        target.flushed(&sql.client, end).await?;
        Ok(target)
    }

    /// What is not flushed is not sent. Without other traffic that could last: the server flushes what
    /// open transactions have written once in 15 seconds.
    async fn flushed(
        &self,
        client: &tokio_postgres::Client,
        end: LogEnd,
    ) -> Result<(), ServiceError> {
        let lsn = self.lsn.without_page_header();
        if end.flushed < lsn
            && lsn <= end.inserted
            && let Err(error) = setup::flush(client).await
        {
            tracing::debug!(%error, "the source does not flush its log for this command");
        }
        Ok(())
    }
}

/// A wait, with what was seen last.
struct Waiting<'a> {
    config: &'a Config,
    target: &'a Target,
    reached: Reached,
}

/// How far the graph is.
#[derive(Clone, Debug, PartialEq)]
enum Reached {
    /// No answer came yet.
    Unknown,
    /// The graph is away.
    Away(String),
    /// There is no checkpoint.
    Nothing,
    /// Some partitions of the topic have none.
    InPart,
    /// Records are applied again: rows may be in an older state.
    Replaying,
    /// Not all rows are there yet.
    Copying,
    /// Changes that no record brings are still to be found by a comparison.
    Comparing,
    /// Up to here.
    Through(Lsn),
}

impl Waiting<'_> {
    async fn wait(&mut self, graph: &impl Store, is_named: bool) -> Result<(), ServiceError> {
        let flush_at = Instant::now() + FLUSHED_BY;
        let mut may_flush = is_named;
        loop {
            self.look(graph).await?;
            if matches!(self.reached, Reached::Through(lsn) if lsn >= self.target.lsn.without_page_header())
            {
                if !is_named {
                    self.history(graph).await?;
                }
                return Ok(());
            }
            if may_flush && Instant::now() > flush_at {
                may_flush = false;
                if let Err(error) = self.flush().await {
                    tracing::debug!(%error, "whether the source has flushed this position is not known");
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Looks at the checkpoints, then at the copy: the position that was read counts if no copy is
    /// under way after it.
    async fn look(&mut self, graph: &impl Store) -> Result<(), ServiceError> {
        let pipeline = &self.config.pipeline;
        let looked = async {
            let checkpoints = graph.checkpoints(pipeline).await?;
            let is_copying = match reached(&checkpoints) {
                Reached::Through(_) => {
                    graph.copy_progress(pipeline).await?.iter().any(Progress::lacks_rows)
                }
                _ => false,
            };
            // A partition passes such changes only once the request is there.
            let through_topic = checkpoints.iter().any(|it| it.partition().is_some());
            let is_comparing = match reached(&checkpoints) {
                Reached::Through(_) if through_topic => {
                    let requests = graph.requests(pipeline).await?;
                    let paused = TableFacts::paused_in(&TableFacts::of_all(&checkpoints));
                    // What is owed of a paused table waits until that goes on.
                    let waits = |it: &Request| it.is_of(|table| paused.contains_key(table));
                    let mut open = requests.iter().filter(|it| it.state.is_open());
                    open.any(|it| it.id.is_owed() && !waits(it))
                }
                _ => false,
            };
            Ok((checkpoints, is_copying, is_comparing))
        };
        let (checkpoints, is_copying, is_comparing) = match looked.await {
            Ok(found) => found,
            Err(error) => {
                let error = ServiceError::Graph(error);
                if !error.is_transient() {
                    return Err(error);
                }
                self.reached = Reached::Away(error.to_string());
                return Ok(());
            }
        };
        self.check(&checkpoints)?;
        self.reached = match (is_copying, is_comparing) {
            (true, _) => Reached::Copying,
            (false, true) => Reached::Comparing,
            (false, false) => reached(&checkpoints),
        };
        Ok(())
    }

    /// A position that can be compared with the target.
    fn check(&self, checkpoints: &[Checkpoint]) -> Result<(), ServiceError> {
        let Some(first) = checkpoints.first() else { return Ok(()) };
        let cluster = &first.origin.system_identifier;
        if cluster.is_empty() && checkpoints.iter().all(|it| it.origin.system_identifier.is_empty())
        {
            return Err(ServiceError::Definite(
                "the topics' records name no position of the source, so there is none to wait for: they are \
                 somebody else's, as Debezium's are"
                    .to_owned(),
            ));
        }
        match &self.target.cluster {
            Some(other) if other != cluster && !cluster.is_empty() => {
                Err(ServiceError::Definite(format!(
                    "the graph is of the cluster {cluster}, and the source is {other}: positions of one say nothing of \
                     the other. `wal2graph status` says more"
                )))
            }
            _ => Ok(()),
        }
    }

    /// A source that was put back has never been where the graph is: what was committed now stands before that, and
    /// is not there. The graph is read first, since a pipeline moves it on.
    async fn history(&self, graph: &impl Store) -> Result<(), ServiceError> {
        if self.target.cluster.is_none() {
            // The role may not know it.
            return Ok(());
        }
        let config = self.config;
        let checkpoints = graph.checkpoints(&config.pipeline).await?;
        let Sql { client, .. } = postgres::connect::sql(&config.source()).await?;
        let (system, slot) =
            (setup::system(&client).await?, setup::slot(&client, &config.slot).await?);
        let system = facts::with_timelines(config, graph, &checkpoints, system).await?;
        let again = facts::again(config, None, &checkpoints);
        if let Some(refusal) = checkpoints.iter().find_map(|it| origin::judge(it, &system, &again))
        {
            return Err(ServiceError::Definite(refusal.to_string()));
        }
        match facts::history(config, (&client, slot.as_ref()), None, &checkpoints).await {
            Err(error @ ServiceError::NeedsCopy { .. }) => Err(error),
            // What can not be looked at says nothing: a start looks again.
            Err(error) => {
                tracing::debug!(%error, "what the slot has not confirmed can not be looked at");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn flush(&self) -> Result<(), ServiceError> {
        let sql = postgres::connect::sql(&self.config.source()).await?;
        match setup::log_end(&sql.client).await? {
            Some(end) => self.target.flushed(&sql.client, end).await,
            None => Ok(()),
        }
    }

    fn so_far(&self) -> String {
        let Waiting { config, target, reached } = self;
        let pipeline = &config.pipeline;
        let what = match reached {
            Reached::Unknown => return "the graph does not answer".to_owned(),
            Reached::Away(error) => return error.clone(),
            Reached::Nothing => format!("the graph has no checkpoint of the pipeline {pipeline}"),
            Reached::InPart => "some partitions of the topic were not applied yet".to_owned(),
            Reached::Replaying => {
                "records are applied again, and rows may be in an older state until that is over"
                    .to_owned()
            }
            Reached::Copying => "the copy of the tables is not complete".to_owned(),
            Reached::Comparing => {
                "tables are compared with the graph, which lacks changes that no record has: that \
                                   goes on while `wal2graph publish` and `wal2graph apply` run"
                    .to_owned()
            }
            Reached::Through(lsn) => format!(
                "the graph is complete through {lsn}, {} bytes before {}",
                target.lsn.bytes_since(*lsn),
                target.lsn
            ),
        };
        format!("{what}. `wal2graph status` says more")
    }
}

fn reached(checkpoints: &[Checkpoint]) -> Reached {
    match complete_through(checkpoints) {
        _ if checkpoints.is_empty() => Reached::Nothing,
        _ if checkpoints.iter().any(|it| it.replaying.is_some()) => Reached::Replaying,
        None => Reached::InPart,
        Some(lsn) => Reached::Through(lsn),
    }
}
