//! Passes a logged-in connection to tokio-postgres, which insists on logging in itself.
//!
//! ```text
//! tokio-postgres --its startup message--> swallowed
//!                <--"you are in", and what the server said to us-- greeting
//!                <=========== from then on: the server ===========>
//! ```
//!
//! Why it is correct: tokio-postgres writes its startup message first, in one piece. It writes
//! nothing else before it has read that it is logged in and the server is ready.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{raw::RawConnection, socket::Socket};

/// AuthenticationOk: tag, length, and zero.
const YOU_ARE_IN: [u8; 9] = [b'R', 0, 0, 0, 8, 0, 0, 0, 0];

/// The stream that tokio-postgres is given.
pub struct LoggedIn {
    socket: Box<dyn Socket>,
    /// The bytes that it still receives before the server's own.
    answer: BytesMut,
    has_started: bool,
}

impl LoggedIn {
    /// `greeting`: the server's messages after the log-in, through ReadyForQuery.
    pub fn new(connection: RawConnection, greeting: BytesMut) -> Self {
        let mut answer = BytesMut::from(&YOU_ARE_IN[..]);
        answer.unsplit(greeting);
        // The server sends nothing before the next request; if it did, nothing would be lost.
        answer.unsplit(connection.buffer);
        LoggedIn { socket: connection.socket, answer, has_started: false }
    }
}

impl AsyncRead for LoggedIn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.answer.is_empty() {
            return Pin::new(&mut self.socket).poll_read(context, buffer);
        }
        let length = self.answer.len().min(buffer.remaining());
        buffer.put_slice(&self.answer[..length]);
        self.answer.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LoggedIn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.has_started {
            return Pin::new(&mut self.socket).poll_write(context, bytes);
        }
        let declared = bytes.first_chunk().map(|length| u32::from_be_bytes(*length) as usize);
        assert_eq!(declared, Some(bytes.len()), "a startup message, whole and alone");
        self.has_started = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
