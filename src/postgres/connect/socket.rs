//! A byte stream to the server: TCP, TLS or a unix socket.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream, lookup_host},
};
use tokio_rustls::TlsConnector;

use super::{ConnectError, Host, Server, SourceUrl, Tls, TlsMode, tls, url::Silence};

/// Any of TCP, TLS and a unix socket.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// A connection before the log-in.
pub struct Opened {
    pub socket: Box<dyn Socket>,
    /// Its encryption.
    pub encryption: Encryption,
}

/// The encryption of a connection, and the data for channel binding.
pub enum Encryption {
    None,
    Tls {
        /// The `tls-server-end-point` of the server's certificate, if it has one.
        end_point: Option<Vec<u8>>,
    },
}

/// One place where a server may listen.
pub enum Place {
    Socket(PathBuf),
    /// An address, and the name for its certificate.
    Address(SocketAddr, String),
}

/// The places of a server. A name may have several addresses, which may be several servers.
pub async fn places(server: &Server) -> io::Result<Vec<Place>> {
    let port = server.port;
    Ok(match &server.host {
        Host::Unix(directory) => vec![Place::Socket(directory.join(format!(".s.PGSQL.{port}")))],
        Host::Tcp { name, address: Some(address) } => {
            vec![Place::Address((*address, port).into(), name.clone())]
        }
        Host::Tcp { name, address: None } => {
            let addresses = lookup_host((name.as_str(), port)).await?;
            let places = addresses.map(|address| Place::Address(address, name.clone()));
            let places: Vec<Place> = places.collect();
            if places.is_empty() {
                return Err(io::Error::other("the name has no address"));
            }
            places
        }
    })
}

/// Connects to one place of a server with the URL's settings.
pub async fn open(url: &SourceUrl, server: &str, place: &Place) -> Result<Opened, ConnectError> {
    let unreachable = |error: io::Error| ConnectError::unreachable(server, &error);
    let (address, name) = match place {
        // As in libpq, sockets of this machine use no TLS.
        Place::Socket(path) => {
            return Ok(plain(UnixStream::connect(path).await.map_err(unreachable)?));
        }
        Place::Address(address, name) => (address, name),
    };
    let mut socket = TcpStream::connect(address).await.map_err(unreachable)?;
    prepare(&url.silence, &socket).map_err(unreachable)?;
    match negotiate(&mut socket, &url.tls).await.map_err(unreachable)? {
        true => encrypt(socket, &url.tls, name, server).await,
        false if url.tls.mode <= TlsMode::Prefer => Ok(plain(socket)),
        false => Err(ConnectError::Tls(format!(
            "{server} does not offer it, and sslmode requires it: set ssl = on there"
        ))),
    }
}

fn plain(socket: impl Socket + 'static) -> Opened {
    Opened { socket: Box::new(socket), encryption: Encryption::None }
}

fn prepare(silence: &Silence, socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    if let Some((idle, count, interval)) = silence.keepalive {
        let probes =
            TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(count);
        socket.set_tcp_keepalive(&probes)?;
    }
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(silence.unanswered)?;
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
    // Reads exactly one byte: anything after it was not encrypted, and must not count as encrypted.
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
