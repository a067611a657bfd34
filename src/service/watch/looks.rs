//! Looks at source and graph, on connections of their own: what they find holds whether or not the
//! pipeline is connected.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_postgres::Client;

use crate::{
    config::Config,
    graph::statement::PLACEHOLDER,
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
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Looks at the source and the slot, until it is dropped.
pub async fn at_source(config: Config, metrics: Arc<Metrics>) {
    let mut client = None;
    let mut answers = Answers::new("the source");
    let mut timer = timer(SOURCE_INTERVAL);
    loop {
        timer.tick().await;
        let look = answers.within_limit(source(&config, &mut client)).await;
        if look.is_none() {
            client = None;
        }
        metrics.looked_at_source(look);
    }
}

/// Looks at the graph, until it is dropped.
pub async fn at_graph(config: Config, metrics: Arc<Metrics>) {
    let mut answers = Answers::new("the graph");
    let mut timer = timer(GRAPH_INTERVAL);
    loop {
        timer.tick().await;
        metrics.looked_at_graph(answers.within_limit(graph(&config)).await);
    }
}

/// Looks at the requests in the graph, until it is dropped.
pub async fn at_requests(config: Config, metrics: Arc<Metrics>) {
    let mut graph = None;
    let mut timer = timer(SOURCE_INTERVAL);
    loop {
        timer.tick().await;
        let at = now();
        let look = timeout(LOOK_LIMIT, requests(&config, &mut graph)).await;
        // The look at the graph says that it is away.
        let look = look.ok().and_then(Result::ok);
        if look.is_none() {
            graph = None;
        }
        metrics.looked_at_requests(look.map(|requests| RequestLook { at, requests }));
    }
}

async fn requests(
    config: &Config,
    kept: &mut Option<Graph>,
) -> Result<Vec<RequestStatus>, ServiceError> {
    let graph = match kept {
        Some(graph) => graph,
        None => kept.insert(open(config, Wait::AtMost(LOOK_LIMIT))?),
    };
    Ok(RequestStatus::all(&graph.requests(&config.pipeline).await?))
}

fn timer(period: Duration) -> tokio::time::Interval {
    let mut timer = interval(period);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer
}

async fn source(config: &Config, kept: &mut Option<Client>) -> Result<SourceLook, ServiceError> {
    let client = match kept {
        Some(client) => client,
        None => kept.insert(sql(&config.source).await?.client),
    };
    let at = now();
    let flushed = setup::flushed(client).await?.without_page_header();
    let slot = setup::slot(client, &config.slot).await?.map(|slot| SlotLook {
        acknowledged: slot.confirmed,
        status: slot.wal_status,
        retained_bytes: slot.retained_bytes,
        safe_bytes: slot.safe_bytes,
    });
    Ok(SourceLook { at, flushed, slot })
}

async fn graph(config: &Config) -> Result<GraphLook, ServiceError> {
    let at = now();
    let graph = open(config, Wait::AtMost(LOOK_LIMIT))?;
    let placeholders = graph.marked(&config.pipeline, PLACEHOLDER).await?;
    Ok(GraphLook { at, placeholders })
}

/// Whether somebody answers; a change is logged.
struct Answers {
    who: &'static str,
    silent_since: Option<Instant>,
}

impl Answers {
    fn new(who: &'static str) -> Self {
        Answers { who, silent_since: None }
    }

    async fn within_limit<T, E: fmt::Display>(
        &mut self,
        look: impl Future<Output = Result<T, E>>,
    ) -> Option<T> {
        let error = match timeout(LOOK_LIMIT, look).await {
            Ok(Ok(look)) => {
                if let Some(since) = self.silent_since.take() {
                    let seconds = since.elapsed().as_secs();
                    tracing::info!(seconds, "{} can be measured again", self.who);
                }
                return Some(look);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer for {} s", LOOK_LIMIT.as_secs()),
        };
        if self.silent_since.is_none() {
            self.silent_since = Some(Instant::now());
            tracing::warn!(error, "{} can not be measured", self.who);
        }
        None
    }
}
