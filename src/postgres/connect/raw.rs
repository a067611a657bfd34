//! A connection in the server's own protocol: messages, simple queries, then a two-way copy.

use std::{collections::HashMap, io, time::Duration};

use bytes::{Buf, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::{
    backend::{self, Header, Message},
    frontend,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::pipeline::Failure;

use super::{
    ConnectError, Server, SourceUrl,
    login::{Purpose, log_in},
    session,
    socket::{Opened, Place, Socket, open, places},
    url::Target,
};

/// Without a time limit, the log names a server that has not answered for this long.
const PATIENCE: Duration = Duration::from_secs(15);

/// A connection that is logged in.
pub struct RawConnection {
    pub(in crate::postgres) socket: Box<dyn Socket>,
    pub(in crate::postgres) buffer: BytesMut,
    pub(super) server: String,
}

/// An error that the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// The SQLSTATE.
    pub code: String,
    /// The message and its detail.
    pub message: String,
}

/// The cause of a failed command.
#[derive(Debug)]
pub enum RawError {
    /// The server reported an error.
    Server(ServerError),
    /// The connection broke, or the peer violated the protocol.
    Io(io::Error),
}

impl From<io::Error> for RawError {
    fn from(error: io::Error) -> Self {
        RawError::Io(error)
    }
}

impl RawConnection {
    /// Connects to the first usable server of the URL and logs in, with pinned settings. Also
    /// returns the server's messages after the log-in, through ReadyForQuery, as bytes.
    pub(super) async fn connect(
        url: &SourceUrl,
        purpose: Purpose,
    ) -> Result<(Self, BytesMut), ConnectError> {
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
                let connecting = Self::connect_to(url, server, &place, purpose);
                match within(url.connect_limit, &name, connecting).await {
                    Err(error) if error.is_transient() => failures.push(error),
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
    ) -> Result<(Self, BytesMut), ConnectError> {
        let name = server.to_string();
        let Opened { socket, encryption } = open(url, &name, place).await?;
        let mut connection = RawConnection { socket, buffer: BytesMut::new(), server: name };
        log_in(&mut connection, url, server, purpose, &encryption).await?;
        let greeting = connection.greeting().await?;
        let said = parameters(&greeting);
        if url.target == Target::Primary && said.get("in_hot_standby").is_some_and(|it| it == "on")
        {
            return Err(ConnectError::Standby { server: connection.server });
        }
        let settling = session::settling(|name| said.get(name).cloned());
        if !settling.is_empty() {
            let settled = connection.query(&settling).await;
            settled.map_err(|error| connection.refused(error))?;
        }
        Ok((connection, greeting))
    }

    async fn greeting(&mut self) -> Result<BytesMut, ConnectError> {
        const READY: u8 = b'Z';
        const ERROR: u8 = b'E';
        let mut greeting = BytesMut::new();
        loop {
            let header = match Header::parse(&self.buffer).map_err(|error| self.broken(&error))? {
                Some(header) if header.tag() == ERROR => {
                    let none = || io::Error::from(io::ErrorKind::InvalidData).into();
                    let error = self.receive().await.err().unwrap_or_else(none);
                    return Err(self.refused(error));
                }
                Some(header) if self.buffer.len() > header.len() as usize => header,
                _ => {
                    self.fill().await.map_err(|error| self.broken(&error))?;
                    continue;
                }
            };
            greeting.unsplit(self.buffer.split_to(1 + header.len() as usize));
            if header.tag() == READY {
                return Ok(greeting);
            }
        }
    }

    pub(super) fn broken(&self, error: &io::Error) -> ConnectError {
        ConnectError::unreachable(&self.server, error)
    }

    pub(super) fn denied(&self, what: impl Into<String>) -> ConnectError {
        ConnectError::Authentication { server: self.server.clone(), what: what.into() }
    }

    pub(super) fn refused(&self, error: RawError) -> ConnectError {
        match error {
            RawError::Io(error) => self.broken(&error),
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

    /// The next message. An error message is an error; notices and parameters are skipped.
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
                // Any other message is one that postgres-protocol knows, usually an error.
                Some(_) => drop(self.receive().await?),
                None => self.fill().await?,
            }
        }
    }
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

/// The content of an error message.
pub fn error_of(body: &backend::ErrorResponseBody) -> ServerError {
    said(body.fields())
}

/// The content of a notice or a warning.
pub fn notice_of(body: &backend::NoticeResponseBody) -> ServerError {
    said(body.fields())
}

fn said(fields: backend::ErrorFields<'_>) -> ServerError {
    let fields = fields.map(|field| {
        Ok((field.type_(), String::from_utf8_lossy(field.value_bytes()).into_owned()))
    });
    let mut fields: HashMap<u8, String> = fields.collect().unwrap_or_default();
    let mut take = |field: u8| fields.remove(&field).unwrap_or_default();
    let (code, message, detail) = (take(b'C'), take(b'M'), take(b'D'));
    let message = if detail.is_empty() { message } else { format!("{message}: {detail}") };
    ServerError { code, message }
}
