//! Metrics and health over HTTP/1.1: five pages, all for reading.
//!
//! ```text
//! accept (while fewer than CONNECTIONS_MAX) -> one task a connection -> path -> pages -> answer
//! ```
//!
//! Everything a client can do is bounded: how many there are, how long a request's head is and how
//! long it may take, how long a connection lives. Bodies are not read.

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

/// Connections at a time; a further one waits to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// The longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// The most header fields of a request.
const HEADERS_MAX: usize = 64;
/// How long the head of a request may take to come, and an idle connection is kept.
const HEAD_LIMIT: Duration = Duration::from_secs(20);
/// How long a connection lives before its client has to make another one.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);
/// How long an answer that is under way then may still take.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// The pause after a connection could not be accepted: usually there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The address can not be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "HTTP can not listen on {address}: {cause}. Name another address with --http or http.listen (port 0: any free \
     one), or `off`"
)]
pub struct BindError {
    /// The address as it was given.
    pub address: String,
    /// Why.
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
    // What breaks a connection is the client's business.
    tokio::select! {
        _ = &mut connection => {}
        () = sleep(CONNECTION_LIFE) => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(CLOSE_LIMIT, connection).await;
        }
    }
}

/// The response to a request; HEAD's body is left out on the way.
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
