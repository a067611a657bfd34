//! HTTP beside the pipeline: bound before anything else, gone with the run.

use std::sync::Arc;

use tokio::{net::TcpListener, task::JoinSet, time::sleep};

use crate::{
    config::{Config, Listen},
    http::{self, Access, BindError},
    metrics::{Metrics, SAMPLE_INTERVAL, now},
};

use super::{checks, looks};

/// Serves the metrics, and looks at what they are made of, until the result is dropped. An address that was
/// named and can not be had is an error; the default one is done without.
pub async fn start(config: &Config, metrics: &Arc<Metrics>) -> Result<JoinSet<()>, BindError> {
    let mut tasks = JoinSet::new();
    let listener = listener(&config.http.listen).await?;
    if listener.is_some() || config.wal_budget.is_set() {
        tasks.spawn(looks::at_source(config.clone(), metrics.clone()));
    }
    if let Some(listener) = listener {
        // A publisher may have none.
        if config.graph().is_ok() {
            tasks.spawn(looks::at_graph(config.clone(), metrics.clone()));
            tasks.spawn(looks::at_requests(config.clone(), metrics.clone()));
        }
        tasks.spawn(sampling(metrics.clone()));
        tasks.spawn(checks::now_and_then(config.clone(), metrics.clone()));
        let access = Access::new(config.http.token.clone(), config.http.hosts.clone());
        tasks.spawn(http::serve(listener, access, metrics.clone()));
    }
    Ok(tasks)
}

/// What the pages draw of the last hour.
async fn sampling(metrics: Arc<Metrics>) {
    loop {
        metrics.sample(now());
        sleep(SAMPLE_INTERVAL).await;
    }
}

async fn listener(listen: &Listen) -> Result<Option<TcpListener>, BindError> {
    let bound = match listen {
        Listen::Off => return Ok(None),
        Listen::Default => http::bind(Listen::DEFAULT).await,
        Listen::At(address) => http::bind(address).await,
    };
    match bound {
        Ok(listener) => {
            if let Ok(address) = listener.local_addr() {
                tracing::info!(%address, "serving metrics and health over HTTP");
            }
            Ok(Some(listener))
        }
        Err(error) if *listen == Listen::Default => {
            tracing::warn!(%error, "metrics and health are not served");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
