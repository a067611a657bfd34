//! Looks at source and graph, on connections of their own: what they find holds whether or not the
//! pipeline is connected.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_postgres::Client;

use crate::{
    change::Timestamp,
    config::Config,
    graph::statement::{INCOMPLETE, PLACEHOLDER},
    health::Side,
    metrics::{
        GRAPH_INTERVAL, GraphLook, Metrics, RequestLook, SOURCE_INTERVAL, SlotLook, SourceLook, now,
    },
    pipeline::Store,
    postgres::{connect::sql, setup},
    request::RequestStatus,
    service::{
        ServiceError,
        graph::{Graph, Wait, open},
    },
};

/// How long a look may take. Then there is no answer, and the next one begins with a new connection.
const LOOK_LIMIT: Duration = Duration::from_secs(3);
/// The same where the server counts.
const COUNT_LIMIT: Duration = Duration::from_secs(5);

/// Looks at the source and the slot, until it is dropped.
pub async fn at_source(config: Config, metrics: Arc<Metrics>) {
    let mut client = None;
    let mut looks = Looks::new(
        Side::Source,
        format!("PostgreSQL at {}", config.source().places()),
        metrics.clone(),
    );
    let mut timer = timer(SOURCE_INTERVAL);
    loop {
        timer.tick().await;
        let look = looks.within_limit(source(&config, &mut client)).await;
        if look.is_none() {
            client = None;
        }
        metrics.looked_at_source(look);
    }
}

/// Counts in the graph, until it is dropped.
pub async fn at_graph(config: Config, metrics: Arc<Metrics>) {
    let mut timer = timer(GRAPH_INTERVAL);
    loop {
        timer.tick().await;
        // The look at requests says that it is away.
        let look = timeout(COUNT_LIMIT, graph(&config)).await;
        metrics.looked_at_graph(look.ok().and_then(Result::ok));
    }
}

/// Looks at the requests in the graph, until it is dropped.
pub async fn at_requests(config: Config, metrics: Arc<Metrics>) {
    let mut graph = None;
    let place = config.graph().map(|graph| graph.place()).unwrap_or_default();
    let mut looks = Looks::new(Side::Graph, format!("Neo4j at {place}"), metrics.clone());
    let mut timer = timer(SOURCE_INTERVAL);
    loop {
        timer.tick().await;
        let at = now();
        let look = looks.within_limit(requests(&config, &mut graph)).await;
        if look.is_none() {
            graph = None;
        }
        let look = look.map(|(requests, letters)| RequestLook { at, requests, letters });
        metrics.looked_at_requests(look);
    }
}

async fn requests(
    config: &Config,
    kept: &mut Option<Graph>,
) -> Result<(Vec<RequestStatus>, u64), ServiceError> {
    let graph = match kept {
        Some(graph) => graph,
        None => kept.insert(open(config, Wait::AtMost(LOOK_LIMIT))?),
    };
    let requests = RequestStatus::all(&graph.requests(&config.pipeline).await?);
    Ok((requests, graph.letter_count(&config.pipeline).await?))
}

fn timer(period: Duration) -> tokio::time::Interval {
    let mut timer = interval(period);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer
}

async fn source(config: &Config, kept: &mut Option<Client>) -> Result<SourceLook, ServiceError> {
    let client = match kept {
        Some(client) => client,
        None => kept.insert(sql(&config.source()).await?.client),
    };
    let at = now();
    let flushed = setup::flushed(client).await?.without_page_header();
    let slot = setup::slot(client, &config.slot).await?.map(|slot| SlotLook {
        name: Some(config.slot.clone()),
        active_pid: slot.active_pid,
        acknowledged: slot.confirmed,
        status: slot.wal_status,
        retained_bytes: slot.retained_bytes,
        safe_bytes: slot.safe_bytes,
    });
    Ok(SourceLook { at, flushed, slot })
}

async fn graph(config: &Config) -> Result<GraphLook, ServiceError> {
    let at = now();
    let graph = open(config, Wait::AtMost(COUNT_LIMIT))?;
    let placeholders = graph.marked(&config.pipeline, PLACEHOLDER).await?;
    let incomplete = graph.marked(&config.pipeline, INCOMPLETE).await?;
    Ok(GraphLook { at, placeholders, incomplete })
}

/// Looks at one side: the metrics learn whether it answers, and a change is logged.
pub struct Looks {
    side: Side,
    /// The server, with host and port.
    who: String,
    metrics: Arc<Metrics>,
    silent_since: Option<Instant>,
}

impl Looks {
    pub fn new(side: Side, who: String, metrics: Arc<Metrics>) -> Self {
        metrics.uses(side);
        Looks { side, who, metrics, silent_since: None }
    }

    /// The result of a look; `None`: it failed, or was not answered in time.
    async fn within_limit<T, E: fmt::Display>(
        &mut self,
        look: impl Future<Output = Result<T, E>>,
    ) -> Option<T> {
        let at = now();
        let look = match timeout(LOOK_LIMIT, look).await {
            Ok(look) => look.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer for {} s", LOOK_LIMIT.as_secs())),
        };
        self.told(at, look)
    }

    /// The same of a look that has ended, and began at this moment.
    pub fn told<T>(&mut self, at: Timestamp, look: Result<T, String>) -> Option<T> {
        let named = |error: String| match error.contains(&self.who) {
            true => error,
            false => format!("{}: {error}", self.who),
        };
        let look = look.map_err(named);
        self.metrics.looked_at(self.side, at, look.as_ref().map(|_| ()).map_err(String::clone));
        match look {
            Ok(look) => {
                if let Some(since) = self.silent_since.take() {
                    let seconds = since.elapsed().as_secs();
                    tracing::info!(seconds, "{} answers again", self.side);
                }
                Some(look)
            }
            Err(error) => {
                if self.silent_since.is_none() {
                    self.silent_since = Some(Instant::now());
                    tracing::warn!(error, "{} does not answer", self.side);
                }
                None
            }
        }
    }
}
