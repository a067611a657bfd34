//! A connection in the server's own protocol: log-in, simple queries, then whatever comes.

use std::{collections::HashMap, io};

use bytes::{Buf, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::{
    authentication::{
        md5_hash,
        sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256},
    },
    message::{
        backend::{self, Header, Message},
        frontend,
    },
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_postgres::config::Host;
use tokio_rustls::TlsConnector;

use super::{CONNECT_LIMIT, ConnectError, PINNED, SourceUrl, TlsMode, tls};

/// Any of TCP, TLS and a unix socket.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// A replication connection that is logged in.
pub struct RawConnection {
    pub(in crate::postgres) socket: Box<dyn Socket>,
    pub(in crate::postgres) buffer: BytesMut,
    server: String,
}

/// An error that the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// The SQLSTATE.
    pub code: String,
    /// The message.
    pub message: String,
}

/// Why a command failed.
#[derive(Debug)]
pub enum RawError {
    /// The server said no.
    Server(ServerError),
    /// The connection broke, or something that is not the protocol came.
    Io(io::Error),
}

impl From<io::Error> for RawError {
    fn from(error: io::Error) -> Self {
        RawError::Io(error)
    }
}

impl RawConnection {
    /// Connects to the walsender of the URL's database and logs in, with pinned settings.
    pub async fn connect(url: &SourceUrl) -> Result<Self, ConnectError> {
        let server = url.server();
        match timeout(CONNECT_LIMIT, Self::log_in(url)).await {
            Ok(connected) => connected,
            Err(_) => {
                let cause = format!("no answer for {} s", CONNECT_LIMIT.as_secs());
                Err(ConnectError::Unreachable { server, cause })
            }
        }
    }

    async fn log_in(url: &SourceUrl) -> Result<Self, ConnectError> {
        let server = url.server();
        let unreachable = |error: io::Error| ConnectError::Unreachable {
            server: url.server(),
            cause: error.to_string(),
        };
        let (socket, binding) = open(url).await?;
        let mut connection = RawConnection { socket, buffer: BytesMut::new(), server };
        let user = url.config.get_user().unwrap_or_default();
        let application = url.config.get_application_name().unwrap_or("wal2graph");
        let mut message = BytesMut::new();
        let parameters = [
            ("user", user),
            ("database", url.database()),
            ("replication", "database"),
            ("options", PINNED),
            ("client_encoding", "UTF8"),
            ("application_name", application),
        ];
        frontend::startup_message(parameters, &mut message).map_err(unreachable)?;
        connection.send(&mut message).await.map_err(unreachable)?;
        connection.authenticate(url, binding).await?;
        connection.until_ready().await.map_err(|error| connection.refused(error))?;
        Ok(connection)
    }

    async fn authenticate(
        &mut self,
        url: &SourceUrl,
        binding: Binding,
    ) -> Result<(), ConnectError> {
        let server = self.server.clone();
        let password = || {
            url.config.get_password().ok_or_else(|| ConnectError::Authentication {
                server: server.clone(),
                what: "it asks for a password, and the URL has none".to_owned(),
            })
        };
        let weak = |method| ConnectError::WeakAuthentication { server: server.clone(), method };
        let mut reply = BytesMut::new();
        match self.receive().await.map_err(|error| self.refused(error))? {
            Message::AuthenticationOk => return Ok(()),
            Message::AuthenticationCleartextPassword if !url.weak_authentication.password => {
                return Err(weak("password"));
            }
            Message::AuthenticationMd5Password(_) if !url.weak_authentication.md5 => {
                return Err(weak("md5"));
            }
            Message::AuthenticationCleartextPassword => {
                frontend::password_message(password()?, &mut reply).map_err(|e| self.broken(e))?;
            }
            Message::AuthenticationMd5Password(body) => {
                let user = url.config.get_user().unwrap_or_default().as_bytes();
                let hash = md5_hash(user, password()?, body.salt());
                frontend::password_message(hash.as_bytes(), &mut reply)
                    .map_err(|e| self.broken(e))?;
            }
            Message::AuthenticationSasl(body) => {
                let mechanisms: Vec<String> = { body.mechanisms() }
                    .map(|name| Ok(name.to_owned()))
                    .collect()
                    .map_err(|error| self.broken(error))?;
                return self.scram(password()?, &mechanisms, binding).await;
            }
            _ => {
                let what =
                    "it asks for an authentication method other than SCRAM, MD5 and password";
                return Err(ConnectError::Authentication { server, what: what.to_owned() });
            }
        }
        self.send(&mut reply).await.map_err(|error| self.broken(error))?;
        match self.receive().await.map_err(|error| self.refused(error))? {
            Message::AuthenticationOk => Ok(()),
            _ => Err(self.broken(unexpected("after the password"))),
        }
    }

    async fn scram(
        &mut self,
        password: &[u8],
        mechanisms: &[String],
        binding: Binding,
    ) -> Result<(), ConnectError> {
        let offers = |name: &str| mechanisms.iter().any(|mechanism| mechanism == name);
        let (mechanism, binding) = match binding {
            Binding::EndPoint(hash) if offers(SCRAM_SHA_256_PLUS) => {
                (SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(hash))
            }
            Binding::EndPoint(_) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
            Binding::None => (SCRAM_SHA_256, ChannelBinding::unsupported()),
        };
        if !offers(mechanism) {
            let what = format!("it offers no {mechanism}");
            return Err(ConnectError::Authentication { server: self.server.clone(), what });
        }
        let mut scram = ScramSha256::new(password, binding);
        let mut message = BytesMut::new();
        frontend::sasl_initial_response(mechanism, scram.message(), &mut message)
            .map_err(|error| self.broken(error))?;
        self.send(&mut message).await.map_err(|error| self.broken(error))?;
        match self.receive().await.map_err(|error| self.refused(error))? {
            Message::AuthenticationSaslContinue(body) => {
                scram.update(body.data()).map_err(|error| self.broken(error))?;
            }
            _ => return Err(self.broken(unexpected("in the middle of SCRAM"))),
        }
        frontend::sasl_response(scram.message(), &mut message).map_err(|e| self.broken(e))?;
        self.send(&mut message).await.map_err(|error| self.broken(error))?;
        match self.receive().await.map_err(|error| self.refused(error))? {
            Message::AuthenticationSaslFinal(body) => {
                scram.finish(body.data()).map_err(|error| self.broken(error))?;
            }
            _ => return Err(self.broken(unexpected("at the end of SCRAM"))),
        }
        match self.receive().await.map_err(|error| self.refused(error))? {
            Message::AuthenticationOk => Ok(()),
            _ => Err(self.broken(unexpected("after SCRAM"))),
        }
    }

    fn broken(&self, error: io::Error) -> ConnectError {
        ConnectError::Unreachable { server: self.server.clone(), cause: error.to_string() }
    }

    fn refused(&self, error: RawError) -> ConnectError {
        match error {
            RawError::Io(error) => self.broken(error),
            RawError::Server(ServerError { code, message }) => {
                ConnectError::Refused { server: self.server.clone(), code, message }
            }
        }
    }

    pub(in crate::postgres) async fn send(&mut self, message: &mut BytesMut) -> io::Result<()> {
        self.socket.write_all(message).await?;
        message.clear();
        self.socket.flush().await
    }

    /// The next message; an error message is an error, notices and parameters are passed over.
    pub(in crate::postgres) async fn receive(&mut self) -> Result<Message, RawError> {
        loop {
            match Message::parse(&mut self.buffer)? {
                Some(Message::ErrorResponse(body)) => {
                    return Err(RawError::Server(error_of(&body)));
                }
                Some(Message::NoticeResponse(_) | Message::ParameterStatus(_)) => {}
                Some(message) => return Ok(message),
                None => self.fill().await?,
            }
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.socket.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn until_ready(&mut self) -> Result<(), RawError> {
        while !matches!(self.receive().await?, Message::ReadyForQuery(_)) {}
        Ok(())
    }

    /// The rows of a command, as text.
    pub(in crate::postgres) async fn query(
        &mut self,
        command: &str,
    ) -> Result<Vec<Vec<Option<String>>>, RawError> {
        let mut message = BytesMut::new();
        frontend::query(command, &mut message)?;
        self.send(&mut message).await?;
        let mut rows = Vec::new();
        loop {
            match self.receive().await? {
                Message::ReadyForQuery(_) => return Ok(rows),
                Message::DataRow(body) => {
                    let buffer = body.buffer();
                    let text = |range: std::ops::Range<usize>| {
                        String::from_utf8_lossy(&buffer[range]).into_owned()
                    };
                    rows.push(body.ranges().map(|range| Ok(range.map(text))).collect()?);
                }
                _ => {}
            }
        }
    }

    /// Sends a command that turns the connection into a two-way copy.
    pub(in crate::postgres) async fn copy_both(&mut self, command: &str) -> Result<(), RawError> {
        const COPY_BOTH_RESPONSE: u8 = b'W';
        let mut message = BytesMut::new();
        frontend::query(command, &mut message)?;
        self.send(&mut message).await?;
        loop {
            match Header::parse(&self.buffer)? {
                Some(header) if header.tag() == COPY_BOTH_RESPONSE => {
                    let length = 1 + usize::try_from(header.len()).map_err(io::Error::other)?;
                    while self.buffer.len() < length {
                        self.fill().await?;
                    }
                    self.buffer.advance(length);
                    return Ok(());
                }
                // Anything else is a message that postgres-protocol knows: an error, mostly.
                Some(_) => drop(self.receive().await?),
                None => self.fill().await?,
            }
        }
    }
}

fn unexpected(when: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("an unexpected message {when}"))
}

/// What an error message says.
pub fn error_of(body: &backend::ErrorResponseBody) -> ServerError {
    let fields = body.fields().map(|field| {
        Ok((field.type_(), String::from_utf8_lossy(field.value_bytes()).into_owned()))
    });
    let mut fields: HashMap<u8, String> = fields.collect().unwrap_or_default();
    let mut take = |field: u8| fields.remove(&field).unwrap_or_default();
    ServerError { code: take(b'C'), message: take(b'M') }
}

/// What a log-in can be bound to.
enum Binding {
    None,
    EndPoint(Vec<u8>),
}

async fn open(url: &SourceUrl) -> Result<(Box<dyn Socket>, Binding), ConnectError> {
    let server = url.server();
    let unreachable = |error: io::Error| ConnectError::Unreachable {
        server: server.clone(),
        cause: error.to_string(),
    };
    let name = match url.config.get_hosts().first() {
        Some(Host::Unix(directory)) => {
            let path = directory.join(format!(".s.PGSQL.{}", url.port()));
            let socket = UnixStream::connect(path).await.map_err(unreachable)?;
            return Ok((Box::new(socket), Binding::None));
        }
        Some(Host::Tcp(name)) => name.clone(),
        None => "localhost".to_owned(),
    };
    let mut socket = TcpStream::connect((name.as_str(), url.port())).await.map_err(unreachable)?;
    socket.set_nodelay(true).map_err(unreachable)?;
    if url.tls == TlsMode::Disable {
        return Ok((Box::new(socket), Binding::None));
    }
    let mut message = BytesMut::new();
    frontend::ssl_request(&mut message);
    socket.write_all(&message).await.map_err(unreachable)?;
    let offered = socket.read_u8().await.map_err(unreachable)? == b'S';
    match (offered, url.tls) {
        (true, _) => {}
        (false, TlsMode::Prefer) => return Ok((Box::new(socket), Binding::None)),
        (false, _) => {
            return Err(ConnectError::Tls(format!(
                "{server} does not offer it, and sslmode requires it"
            )));
        }
    }
    let server_name = ServerName::try_from(name.clone())
        .map_err(|_| ConnectError::Tls(format!("{name:?} is no host name")))?;
    let connector = TlsConnector::from(std::sync::Arc::new(tls::client_config(url)?));
    let socket = connector
        .connect(server_name, socket)
        .await
        .map_err(|error| ConnectError::Tls(format!("{server}: {error}")))?;
    let certificates = socket.get_ref().1.peer_certificates();
    let end_point = certificates.and_then(|chain| tls::server_end_point(chain.first()?));
    Ok((Box::new(socket), end_point.map_or(Binding::None, Binding::EndPoint)))
}
