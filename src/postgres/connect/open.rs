//! Connects to a server of the URL and logs in.

use std::{collections::HashMap, time::Duration};

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use tokio::time::timeout;

use crate::pipeline::Failure;

use super::{
    ConnectError, Server, SourceUrl,
    login::{Purpose, log_in},
    raw::RawConnection,
    session,
    socket::{Opened, Place, open, places},
    url::Target,
};

/// Without a time limit, the log names a server that has not answered for this long.
const PATIENCE: Duration = Duration::from_secs(15);

/// Connects to the first usable server of the URL and logs in, with pinned settings. Also
/// returns the server's messages after the log-in, through ReadyForQuery, as bytes.
///
/// What one server refuses, the next one may take: a standby that is behind does not know the database or the role yet.
pub async fn connect(
    url: &SourceUrl,
    purpose: Purpose,
) -> Result<(RawConnection, BytesMut), ConnectError> {
    let mut failures = Vec::new();
    for server in &url.servers {
        let name = server.to_string();
        let looking_up = async {
            places(server).await.map_err(|error| ConnectError::unreachable(&name, &error))
        };
        let places = match within(url.connect_limit, &name, looking_up).await {
            Ok(places) => places,
            Err(error) => {
                failures.push(error);
                continue;
            }
        };
        for place in places {
            let connecting = connect_to(url, server, &place, purpose);
            match within(url.connect_limit, &name, connecting).await {
                Err(error) if error.is_transient() => failures.push(error),
                // Another address is the same server.
                Err(error) => {
                    failures.push(error);
                    break;
                }
                connected => return connected,
            }
        }
    }
    Err(ConnectError::of_all(failures))
}

async fn connect_to(
    url: &SourceUrl,
    server: &Server,
    place: &Place,
    purpose: Purpose,
) -> Result<(RawConnection, BytesMut), ConnectError> {
    let name = server.to_string();
    let Opened { socket, encryption } = open(url, &name, place).await?;
    let mut connection = RawConnection { socket, buffer: BytesMut::new(), server: name };
    log_in(&mut connection, url, server, purpose, &encryption).await?;
    let greeting = connection.greeting().await?;
    let said = parameters(&greeting);
    if url.target == Target::Primary && said.get("in_hot_standby").is_some_and(|it| it == "on") {
        return Err(ConnectError::Standby { server: connection.server });
    }
    let settling = session::settling(|name| said.get(name).cloned());
    if !settling.is_empty() {
        let settled = connection.query(&settling).await;
        settled.map_err(|error| connection.refused(error))?;
    }
    Ok((connection, greeting))
}

/// Waits within the limit. Without a limit, the log names the server.
async fn within<T>(
    limit: Option<Duration>,
    server: &str,
    waiting: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    let Some(limit) = limit else {
        tokio::pin!(waiting);
        loop {
            match timeout(PATIENCE, &mut waiting).await {
                Ok(done) => return done,
                Err(_) => tracing::info!(server, "still connecting (connect_timeout=0: no limit)"),
            }
        }
    };
    timeout(limit, waiting).await.unwrap_or_else(|_| {
        let cause = format!("no answer for {} s", limit.as_secs());
        Err(ConnectError::Unreachable { server: server.to_owned(), cause })
    })
}

/// The parameters that a greeting names.
fn parameters(greeting: &BytesMut) -> HashMap<String, String> {
    let mut greeting = greeting.clone();
    let mut parameters = HashMap::new();
    while let Ok(Some(message)) = Message::parse(&mut greeting) {
        if let Message::ParameterStatus(body) = message
            && let (Ok(name), Ok(value)) = (body.name(), body.value())
        {
            parameters.insert(name.to_owned(), value.to_owned());
        }
    }
    parameters
}
