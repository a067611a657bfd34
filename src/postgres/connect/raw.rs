//! A connection in the server's own protocol: messages, simple queries, then a two-way copy.

use std::{collections::HashMap, io};

use bytes::{Buf, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::{
    backend::{self, Header, Message},
    frontend,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{ConnectError, socket::Socket};

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
    pub(super) async fn greeting(&mut self) -> Result<BytesMut, ConnectError> {
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

    pub(super) fn without_password(&self, what: String) -> ConnectError {
        ConnectError::NoPassword { server: self.server.clone(), what }
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
