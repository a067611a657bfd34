//! The catalog's trace, looked at again and again: with another one, something may have changed that a mapping or the
//! shape of a table depends on.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use crate::{
    config::Config,
    postgres::{self, connect::sql},
};

use super::ServiceError;

/// The pause between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How long a look may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Looks over one connection.
pub struct Traces<'a> {
    config: &'a Config,
    client: Option<Client>,
}

impl<'a> Traces<'a> {
    /// Over this connection, or one of its own.
    pub fn new(config: &'a Config, client: Option<Client>) -> Self {
        Traces { config, client }
    }

    /// The trace now; `None`: the source is away.
    pub async fn now(&mut self) -> Option<String> {
        let Traces { config, client } = self;
        let asked = async {
            let client = match client {
                Some(client) => client,
                None => client.insert(sql(&config.source).await?.client),
            };
            Ok::<_, ServiceError>(postgres::tables::trace(client, &config.publication).await?)
        };
        let asked = timeout(LIMIT, asked).await;
        let trace = match asked {
            Ok(Ok(trace)) => Some(trace),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the catalog can not be looked at");
                None
            }
            Err(_) => None,
        };
        if trace.is_none() {
            self.client = None;
        }
        trace
    }

    /// Resolves once the trace is another one than this. A source that is away says nothing.
    pub async fn changed(&mut self, before: &str) {
        loop {
            sleep(LOOK_INTERVAL).await;
            if self.now().await.is_some_and(|now| now != before) {
                return;
            }
        }
    }
}

/// Whether the catalog has another trace than this.
pub async fn has_changed(config: &Config, before: &str) -> bool {
    Traces::new(config, None).now().await.is_some_and(|now| now != before)
}
