//! The catalog's trace, looked at again and again: with another one, something may have changed that a mapping or the
//! shape of a table depends on.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use crate::{
    config::Config,
    pipeline::{Failure, Verdict},
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
                None => client.insert(sql(&config.source()).await?.client),
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

/// How a life has ended that began with this trace, empty if nothing is followed. One that fails while the tables
/// change is no failure: the next one looks at them.
pub async fn as_it_is<T>(
    config: &Config,
    trace: &str,
    ended: Result<T, ServiceError>,
) -> Result<T, ServiceError> {
    match ended {
        Err(error) if error.verdict() == Verdict::Stop && !trace.is_empty() => {
            match Traces::new(config, None).now().await {
                Some(now) if now != trace => Err(ServiceError::Reshaped(error.to_string())),
                _ => Err(error),
            }
        }
        ended => ended,
    }
}
