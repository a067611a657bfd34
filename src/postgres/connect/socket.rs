//! A byte stream to the server: TCP, TLS or a unix socket.

use std::{io, sync::Arc, time::Duration};

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};
use tokio_postgres::config::Host;
use tokio_rustls::TlsConnector;

use super::{ConnectError, SourceUrl, Tls, TlsMode, tls, url::server_name};

/// Data that nobody has acknowledged for this long is on its way to nobody: without a limit the
/// kernel tries for a quarter of an hour.
const UNANSWERED: Duration = Duration::from_secs(60);
/// A connection that is silent for this long is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(30);

/// Any of TCP, TLS and a unix socket.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// A connection that nobody has logged in on.
pub struct Opened {
    pub socket: Box<dyn Socket>,
    /// What TLS there is.
    pub encryption: Encryption,
}

/// What TLS a connection has, and what a log-in can be tied to.
pub enum Encryption {
    None,
    Tls {
        /// The `tls-server-end-point` of the server's certificate, where that has one.
        end_point: Option<Vec<u8>>,
    },
}

/// Connects to one server as the URL says.
pub async fn open(url: &SourceUrl, host: &Host, port: u16) -> Result<Opened, ConnectError> {
    let server = server_name(host, port);
    let unreachable = |error: io::Error| ConnectError::unreachable(&server, &error);
    let name = match host {
        // As in libpq, TLS is not for sockets of this machine.
        Host::Unix(directory) => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            let socket = UnixStream::connect(path).await.map_err(unreachable)?;
            return Ok(plain(socket));
        }
        Host::Tcp(name) => name,
    };
    let mut socket = TcpStream::connect((name.as_str(), port)).await.map_err(unreachable)?;
    prepare(url, &socket).map_err(unreachable)?;
    match negotiate(&mut socket, &url.tls).await.map_err(unreachable)? {
        true => encrypt(socket, &url.tls, name, &server).await,
        false if url.tls.mode <= TlsMode::Prefer => Ok(plain(socket)),
        false => Err(ConnectError::Tls(format!(
            "{server} does not offer it, and sslmode requires it: set ssl = on there"
        ))),
    }
}

fn plain(socket: impl Socket + 'static) -> Opened {
    Opened { socket: Box::new(socket), encryption: Encryption::None }
}

fn prepare(url: &SourceUrl, socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    let config = &url.config;
    if config.get_keepalives() {
        let interval = config.get_keepalives_interval().unwrap_or(SILENCE / 3);
        // tokio-postgres has two hours where the URL says nothing.
        let idle = config.get_keepalives_idle().min(SILENCE);
        socket.set_tcp_keepalive(
            &TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(3),
        )?;
    }
    #[cfg(target_os = "linux")]
    socket
        .set_tcp_user_timeout(Some(config.get_tcp_user_timeout().copied().unwrap_or(UNANSWERED)))?;
    Ok(())
}

/// Whether TLS comes next.
async fn negotiate(socket: &mut TcpStream, tls: &Tls) -> io::Result<bool> {
    if tls.mode == TlsMode::Disable || tls.direct {
        return Ok(tls.direct);
    }
    let mut message = BytesMut::new();
    frontend::ssl_request(&mut message);
    socket.write_all(&message).await?;
    // One byte and no more: what comes with it was not encrypted, and must not count as if it were.
    match socket.read_u8().await? {
        b'S' => Ok(true),
        b'N' => Ok(false),
        _ => Err(io::Error::other("it answers the request for TLS with an error")),
    }
}

async fn encrypt(
    socket: TcpStream,
    tls: &Tls,
    name: &str,
    server: &str,
) -> Result<Opened, ConnectError> {
    let config = tls::client_config(tls)?;
    let server_name = ServerName::try_from(name.to_owned())
        .map_err(|_| ConnectError::Tls(format!("{name:?} is no host name")))?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(server_name, socket);
    let socket = connecting.await.map_err(|error| ConnectError::unreachable(server, &error))?;
    let certificates = socket.get_ref().1.peer_certificates();
    let end_point = certificates.and_then(|chain| tls::server_end_point(chain.first()?));
    Ok(Opened { socket: Box::new(socket), encryption: Encryption::Tls { end_point } })
}
