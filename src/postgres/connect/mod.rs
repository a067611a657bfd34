//! Connection URLs, TLS, authentication and pinned session settings.
//!
//! ```text
//! uri, service, PG* variables --> parameters --> url, servers, security, session: SourceUrl
//! SourceUrl --> socket (TCP, TLS, unix) --> log-in --+--> RawConnection: replication
//!                                                    +--> handover --> tokio_postgres::Client: SQL
//! ```
//!
//! Both kinds of connections share one way to connect and log in, so the URL's restrictions apply
//! to both. tokio-postgres does not support replication; it receives a connection that is already
//! logged in.
//!
//! Both use the same settings. Several settings of a server decide the text form of values: without
//! this, one `ALTER DATABASE ... SET datestyle` would change the form of a date on one of them.

mod certificate;
mod environment;
mod error;
mod handover;
mod login;
mod open;
mod parameters;
mod passfile;
mod raw;
mod security;
mod servers;
mod service;
mod session;
mod socket;
mod tls;
mod tls_error;
mod uri;
mod url;
mod url_error;

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls, config::SslMode};

use self::{handover::LoggedIn, login::Purpose};

pub use environment::Environment;
pub use error::{
    ConnectError, describe, describe_without_values, is_transient, may_name_a_value, without_words,
};
pub use raw::{RawConnection, RawError, ServerError};
pub use security::{Authentication, ChannelBinding, Tls, TlsMode, Versions};
use servers::{Host, Server};
pub use uri::decode as percent_decoded;
pub use url::SourceUrl;
pub use url_error::{Origin, UrlError};
pub(in crate::postgres) use {
    raw::{error_of, notice_of},
    socket::Socket,
};

/// The time limit for connecting to an address and logging in, without a connect_timeout.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// The time limit of an SQL statement for a lock. The error names the locked relation, and the
/// statement is retried: every wait has a limit and is reported.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '5s'";

/// An SQL connection and a signal of its end.
pub struct Sql {
    /// The client.
    pub client: Client,
    /// Resolves when the server has closed the connection, or it broke.
    pub closed: Closed,
}

/// The task that moves a connection's bytes.
pub struct Closed {
    task: JoinHandle<()>,
    client: Option<Arc<Client>>,
}

impl Closed {
    /// Keeps the client, and so the connection, for as long as its end is waited for.
    pub fn keeping(self, client: Arc<Client>) -> Self {
        Closed { client: Some(client), ..self }
    }

    /// Resolves when the connection is closed.
    pub async fn wait(self) {
        let Closed { task, client } = self;
        // A task that panicked has closed its connection too.
        let _ = task.await;
        drop(client);
    }
}

/// Opens a connection to the walsender of the URL's database.
pub async fn replication(url: &SourceUrl) -> Result<RawConnection, ConnectError> {
    let (connection, _) = open::connect(url, Purpose::Replication).await?;
    Ok(connection)
}

/// Opens an ordinary connection.
pub async fn sql(url: &SourceUrl) -> Result<Sql, ConnectError> {
    let (connection, greeting) = open::connect(url, Purpose::Sql).await?;
    let mut config = Config::new();
    // tokio-postgres insists on sending a startup message. `LoggedIn` swallows it, because the
    // connection is authenticated already.
    config.ssl_mode(SslMode::Disable).user(&url.user);
    let server = connection.server.clone();
    let handed = config.connect_raw(LoggedIn::new(connection, greeting), NoTls).await;
    let unreachable = |error: tokio_postgres::Error| ConnectError::Unreachable {
        server: server.clone(),
        cause: error.to_string(),
    };
    let (client, connection) = handed.map_err(unreachable)?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an SQL connection ended");
        }
    });
    let limited = client.simple_query(LOCK_TIMEOUT).await;
    limited.map_err(unreachable)?;
    Ok(Sql { client, closed: Closed { task, client: None } })
}
