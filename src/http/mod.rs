//! Metrics and health over HTTP/1.1: five read-only pages.
//!
//! ```text
//! accept (with CONNECTIONS_MAX open, the oldest one goes) -> one task a connection -> path -> pages -> answer
//! ```
//!
//! Everything a client can do has a limit: the number of connections, the size and time of a
//! request's head, the life of a connection. Bodies are not read.

mod access;
mod page;
mod pages;
mod report;

use std::{collections::VecDeque, convert::Infallible, io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{
        ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST,
        WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    },
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

use crate::metrics::Metrics;

pub use access::Access;
use access::Denied;
use pages::Page;

/// The maximum of simultaneous connections. Another one takes the place of the oldest: idle clients silence nobody.
const CONNECTIONS_MAX: usize = 64;
/// The maximum size of a request's head, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// The maximum number of header fields.
const HEADERS_MAX: usize = 64;
/// The time limit for a request's head, and for an idle connection.
const HEAD_LIMIT: Duration = Duration::from_secs(20);
/// The life of a connection; then its client has to open another one.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);
/// The time that a response in progress still gets after that.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// The page's own style and script stand in it, and it asks this program alone.
const OWN_CONTENT_ALONE: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
     connect-src 'self'; img-src data:; frame-ancestors 'none'";
/// The pause after a failed accept: usually the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The program can not listen on the address.
#[derive(Debug, thiserror::Error)]
#[error(
    "HTTP can not listen on {address}: {cause}. Name another address with --http or http.listen (port 0: any free \
     one), or `off`"
)]
pub struct BindError {
    /// The address as it was given.
    pub address: String,
    /// The cause.
    pub cause: io::Error,
}

/// Listens on `HOST:PORT`.
pub async fn bind(address: &str) -> Result<TcpListener, BindError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|cause| BindError { address: address.to_owned(), cause })
}

/// Answers until it is dropped.
pub async fn serve(listener: TcpListener, access: Access, metrics: Arc<Metrics>) {
    let access = Arc::new(access);
    let (mut connections, mut open) = (JoinSet::new(), VecDeque::<AbortHandle>::new());
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                open.retain(|connection| !connection.is_finished());
                if open.len() == CONNECTIONS_MAX
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                }
                let (access, metrics) = (access.clone(), metrics.clone());
                open.push_back(
                    connections.spawn(async move { converse(socket, &access, &metrics).await }),
                );
            }
            Err(error) => {
                tracing::debug!(%error, "an HTTP connection was not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(socket: TcpStream, access: &Access, metrics: &Metrics) {
    let service = service_fn(|request| {
        let response = answer(&request, access, metrics);
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    // A broken connection is the client's problem.
    tokio::select! {
        _ = &mut connection => {}
        () = sleep(CONNECTION_LIFE) => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(CLOSE_LIMIT, connection).await;
        }
    }
}

/// The response to a request. hyper omits HEAD's body.
fn answer(
    request: &Request<Incoming>,
    access: &Access,
    metrics: &Metrics,
) -> Response<Full<Bytes>> {
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    let path = request.uri().path();
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let said = |status, text: &str| Page::text(status, format!("{text}\n"));
    let page = match access.check(path, header(HOST), header(AUTHORIZATION)) {
        Err(Denied::Host) => said(
            StatusCode::MISDIRECTED_REQUEST,
            "this host is not one of http.hosts in the configuration file",
        ),
        Err(Denied::Token) => said(StatusCode::UNAUTHORIZED, "http.token is wanted"),
        Ok(()) => match pages::page(path, metrics) {
            Some(_) if !is_read => said(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD"),
            Some(page) => page,
            None => said(StatusCode::NOT_FOUND, "there is /, /metrics, /live, /ready, /status"),
        },
    };
    let mut response = Response::builder()
        .status(page.status)
        .header(CONTENT_TYPE, page.content_type)
        .header(CACHE_CONTROL, "no-store")
        .header(CONTENT_SECURITY_POLICY, OWN_CONTENT_ALONE)
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff");
    response = match page.status {
        StatusCode::METHOD_NOT_ALLOWED => response.header(ALLOW, "GET, HEAD"),
        StatusCode::UNAUTHORIZED => response.header(WWW_AUTHENTICATE, "Basic realm=\"wal2graph\""),
        _ => response,
    };
    response.body(Full::new(Bytes::from(page.body))).expect("the headers are constants")
}
