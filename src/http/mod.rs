//! Metrics and health over HTTP/1.1: five read-only pages.
//!
//! ```text
//! accept (while fewer than CONNECTIONS_MAX) -> one task a connection -> path -> pages -> answer
//! ```
//!
//! Everything a client can do has a limit: the number of connections, the size and time of a
//! request's head, the life of a connection. Bodies are not read.

mod pages;

use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::metrics::Metrics;

use pages::Page;

/// The maximum of simultaneous connections; another one waits to be accepted.
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
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let place = room.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((socket, _)) => {
                let metrics = metrics.clone();
                connections.spawn(async move {
                    converse(socket, &metrics).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "an HTTP connection was not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(socket: TcpStream, metrics: &Metrics) {
    let service = service_fn(|request| {
        let response = answer(&request, metrics);
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
fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    let page = match pages::page(request.uri().path(), metrics) {
        Some(_) if !is_read => {
            Page::text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n".to_owned())
        }
        Some(page) => page,
        None => Page::text(
            StatusCode::NOT_FOUND,
            "there is /, /metrics, /live, /ready, /status\n".to_owned(),
        ),
    };
    let mut response = Response::builder()
        .status(page.status)
        .header(CONTENT_TYPE, page.content_type)
        .header(CACHE_CONTROL, "no-store");
    if page.status == StatusCode::METHOD_NOT_ALLOWED {
        response = response.header(ALLOW, "GET, HEAD");
    }
    response.body(Full::new(Bytes::from(page.body))).expect("the headers are constants")
}
