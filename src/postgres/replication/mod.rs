//! The replication connection: CopyBoth, feedback, every end of stream.
//!
//! ```text
//! walsender --frames--> reader task --batches of events, bounded in bytes--> Stream::next
//!     ^                                                                           |
//!     +------- feedback task <-- its own timer, or a new acknowledgement ---------+
//! ```
//!
//! Back-pressure means not reading: the reader waits while the queue is full. Feedback continues
//! meanwhile, because a server that receives nothing for `wal_sender_timeout` closes the
//! connection, even while it is sending. The acknowledged position comes from the engine; it is
//! never the received one.

mod error;
mod feedback;
mod reader;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::split,
    sync::{Notify, Semaphore, mpsc, oneshot, watch},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    catalog::{quote_identifier, quote_replication_literal},
    change::Event,
    lsn::Lsn,
    pipeline::Source,
};

use super::connect::{self, Closed, ConnectError, RawConnection, RawError, SourceUrl};

pub use crate::start::{System, Timelines};
pub use error::StreamError;

/// Events wait in the queue up to about this many bytes; a larger one passes alone.
const QUEUE_BYTES: u32 = 4 << 20;
/// How long closing may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// A replication connection that does not stream yet.
pub struct Connection {
    raw: RawConnection,
    with_messages: bool,
}

impl Connection {
    /// Connects and logs in.
    pub async fn connect(url: &SourceUrl) -> Result<Self, ConnectError> {
        Ok(Connection { raw: connect::replication(url).await?, with_messages: false })
    }

    /// The same, whose stream has the messages that transactions emit, too (`pg_logical_emit_message`).
    #[must_use]
    pub fn with_messages(self, with_messages: bool) -> Self {
        Connection { with_messages, ..self }
    }

    /// IDENTIFY_SYSTEM.
    pub async fn identify(&mut self) -> Result<System, StreamError> {
        let rows = self.raw.query("IDENTIFY_SYSTEM").await.map_err(StreamError::of_command)?;
        let column = |index: usize| rows.first()?.get(index)?.clone();
        let system = || {
            Some(System {
                identifier: column(0)?,
                timeline: column(1)?.parse().ok()?,
                flushed: column(2)?.parse().ok()?,
                before: Timelines::default(),
            })
        };
        system().ok_or(StreamError::Protocol("IDENTIFY_SYSTEM has no answer".to_owned()))
    }

    /// The timelines before a server's own. The first one has none.
    pub async fn timelines_before(&mut self, timeline: i64) -> Result<Timelines, StreamError> {
        if timeline < 2 {
            return Ok(Timelines::default());
        }
        let command = format!("TIMELINE_HISTORY {timeline}");
        let rows = self.raw.query(&command).await.map_err(StreamError::of_command)?;
        let text = rows.first().and_then(|row| row.get(1)?.clone()).unwrap_or_default();
        Ok(Timelines::parse(&text))
    }

    /// Starts the stream of a slot at `from`, or at what the slot has confirmed if that is later. The
    /// server's log must have been at `reached`: that is asked here, on this connection, for the
    /// server may have been put back to an older state since somebody else asked. `sentinel` is an
    /// ordinary connection to the same server: when the server ends it, it is shutting down, and the
    /// stream gives it a moment and then lets go.
    pub async fn start(
        mut self,
        slot: &str,
        publication: &str,
        from: Lsn,
        reached: Lsn,
        feedback_interval: Duration,
        sentinel: Closed,
    ) -> Result<Stream, StreamError> {
        let name = quote_replication_literal(&quote_identifier(publication));
        let messages = if self.with_messages { ", messages 'true'" } else { "" };
        let command = format!(
            "START_REPLICATION SLOT {} LOGICAL {from} (proto_version '1', publication_names {name}{messages})",
            quote_identifier(slot)
        );
        let system = self.identify().await?;
        if !system.has_been_at(reached) {
            return Err(StreamError::EndsBefore { end: system.flushed, from: reached });
        }
        self.raw.copy_both(&command).await.map_err(StreamError::of_command)?;
        let named = system.flushed;
        Ok(Stream::new(self.raw, named, publication, feedback_interval, sentinel))
    }
}

/// The state that reader, feedback and consumer share.
struct Shared {
    /// The furthest position that the server has named on this connection. Nothing beyond it is
    /// ever acknowledged.
    received: AtomicU64,
    /// The server wants an answer now.
    reply: Notify,
    /// Room in the queue, in bytes.
    room: Semaphore,
    /// Nothing more is read.
    ended: Notify,
}

/// A running stream.
pub struct Stream {
    queue: mpsc::UnboundedReceiver<Result<reader::Portion, StreamError>>,
    shared: Arc<Shared>,
    acknowledged: watch::Sender<Lsn>,
    close: Option<oneshot::Sender<()>>,
    _reader: AbortOnDropHandle<()>,
    feedback: AbortOnDropHandle<()>,
}

impl Stream {
    /// `named` is a position that the server has named on this connection.
    fn new(
        raw: RawConnection,
        named: Lsn,
        publication: &str,
        interval: Duration,
        sentinel: Closed,
    ) -> Self {
        let (read_half, write_half) = split(raw.socket);
        let shared = Arc::new(Shared {
            received: AtomicU64::new(named.0),
            reply: Notify::new(),
            room: Semaphore::new(QUEUE_BYTES as usize),
            ended: Notify::new(),
        });
        let (portions, queue) = mpsc::unbounded_channel();
        let (acknowledged, watched) = watch::channel(Lsn::ZERO);
        let (close, closing) = oneshot::channel();
        let reader = reader::Reader::new(
            read_half,
            raw.buffer,
            shared.clone(),
            publication.to_owned(),
            watched.clone(),
        );
        let _reader = AbortOnDropHandle::new(tokio::spawn(reader.run(portions, sentinel)));
        let feedback = feedback::run(write_half, shared.clone(), watched, interval, closing);
        let feedback = AbortOnDropHandle::new(tokio::spawn(feedback));
        Stream { queue, shared, acknowledged, close: Some(close), _reader, feedback }
    }

    /// Sends the last acknowledgement to the server and ends the connection; the slot stays.
    pub async fn close(mut self) {
        if let Some(close) = self.close.take() {
            // The feedback task may have ended with the connection.
            let _ = close.send(());
        }
        let _ = timeout(CLOSE_LIMIT, &mut self.feedback).await;
    }
}

impl Source for Stream {
    type Error = StreamError;

    async fn next(&mut self) -> Result<Vec<Event>, StreamError> {
        match self.queue.recv().await {
            Some(Ok(portion)) => {
                self.shared.room.add_permits(portion.bytes as usize);
                Ok(portion.events)
            }
            Some(Err(error)) => Err(error),
            None => Err(StreamError::Broken("the stream has ended already".to_owned())),
        }
    }

    fn acknowledge(&mut self, lsn: Lsn) {
        let received = Lsn(self.shared.received.load(Ordering::Acquire));
        let named = lsn.without_page_header() <= received;
        assert!(named, "acknowledged {lsn}, but only {received} was received");
        // The server may not have been behind a page's header.
        let lsn = lsn.min(received);
        self.acknowledged.send_if_modified(|acknowledged| {
            let further = lsn > *acknowledged;
            *acknowledged = lsn.max(*acknowledged);
            further
        });
    }
}

impl StreamError {
    fn of_command(error: RawError) -> Self {
        match error {
            RawError::Server(error) => StreamError::of_server(error),
            RawError::Io(error) => StreamError::Broken(error.to_string()),
        }
    }
}
