//! The reading half: bytes become frames, frames become events, and events wait in the queue in
//! portions.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use postgres_protocol::message::backend::Message;
use tokio::{
    io::{AsyncReadExt, ReadHalf},
    sync::{mpsc, watch},
    time::{Instant, sleep},
};

use crate::{
    change::Event,
    lsn::Lsn,
    pgoutput::{Decoder, frame::Frame},
    postgres::connect::{Closed, ServerError, Socket, error_of, notice_of},
    shown::on_one_line,
};

use super::{QUEUE_BYTES, Shared, StreamError};

/// Input goes to buffers of this size. A buffer lives as long as the last value in it.
const BUFFER_BYTES: usize = 128 << 10;
/// A buffer is filled until it has less room than this. A new one for each read would keep a whole
/// buffer alive for the few bytes of a slow stream.
const READ_BYTES_MIN: usize = 8 << 10;
/// A longer message is refused: PostgreSQL's values end at 1 GB.
const MESSAGE_BYTES_MAX: usize = 0x4400_0000;
/// A portion is passed on at this size, even if more input is there.
const PORTION_BYTES: u32 = 256 << 10;
/// The SQLSTATE of a warning that the stream is incomplete.
const OBJECT_NOT_IN_PREREQUISITE_STATE: &str = "55000";
/// How long a server that is shutting down may wait for us.
const SHUTDOWN_PATIENCE: Duration = Duration::from_millis(1_500);

/// Events that are handed over together.
pub struct Portion {
    pub events: Vec<Event>,
    /// Their share of the queue's room.
    pub bytes: u32,
}

/// The reading half of a stream.
pub struct Reader {
    socket: ReadHalf<Box<dyn Socket>>,
    buffer: BytesMut,
    decoder: Decoder,
    shared: Arc<Shared>,
    publication: String,
    acknowledged: watch::Receiver<Lsn>,
    events: Vec<Event>,
    bytes: usize,
    asking: Asking,
}

/// The server repeats a request at one position: it is shutting down and waits until that position
/// is acknowledged.
struct Asking {
    position: Lsn,
    since: Instant,
}

type Portions = mpsc::UnboundedSender<Result<Portion, StreamError>>;

impl Reader {
    pub fn new(
        socket: ReadHalf<Box<dyn Socket>>,
        buffer: BytesMut,
        shared: Arc<Shared>,
        publication: String,
        acknowledged: watch::Receiver<Lsn>,
    ) -> Self {
        let asking = Asking { position: Lsn::ZERO, since: Instant::now() };
        let (decoder, events) = (Decoder::new(), Vec::new());
        let bytes = 0;
        Reader { socket, buffer, decoder, shared, publication, acknowledged, events, bytes, asking }
    }

    /// Reads until the stream ends. The last item in the queue is the reason.
    pub async fn run(mut self, portions: Portions, sentinel: Closed) {
        let shutting_down = async {
            sentinel.wait().await;
            sleep(SHUTDOWN_PATIENCE).await;
        };
        let end = tokio::select! {
            end = self.read(&portions) => end,
            () = shutting_down => StreamError::ShuttingDown,
        };
        // A consumer that stands still would see the end only later, and a server that stops waits for us.
        self.shared.ended.notify_one();
        // The receiver may be gone.
        let _ = portions.send(Err(end));
    }

    async fn read(&mut self, portions: &Portions) -> StreamError {
        loop {
            loop {
                match self.cut() {
                    Ok(Some((tag, message))) => {
                        if let Err(end) = self.message(tag, message) {
                            self.hand_over(portions).await;
                            return end;
                        }
                    }
                    Ok(None) => break,
                    Err(end) => return end,
                }
                if self.bytes >= PORTION_BYTES as usize {
                    self.hand_over(portions).await;
                }
            }
            self.hand_over(portions).await;
            if self.buffer.capacity() - self.buffer.len() < READ_BYTES_MIN {
                self.buffer.reserve(BUFFER_BYTES);
            }
            match self.socket.read_buf(&mut self.buffer).await {
                Ok(0) => {
                    return StreamError::Broken("the server closed it without a word".to_owned());
                }
                Ok(_) => {}
                Err(error) => return StreamError::Broken(error.to_string()),
            }
        }
    }

    /// The next whole message: its tag and bytes.
    fn cut(&mut self) -> Result<Option<(u8, BytesMut)>, StreamError> {
        let Some(header) = self.buffer.first_chunk::<5>() else { return Ok(None) };
        let [tag, length @ ..] = *header;
        let length = 1 + u32::from_be_bytes(length) as usize;
        if !(5..=MESSAGE_BYTES_MAX).contains(&length) {
            return Err(StreamError::Protocol(format!("a message of {length} bytes")));
        }
        if self.buffer.len() < length {
            self.buffer.reserve(length - self.buffer.len());
            return Ok(None);
        }
        Ok(Some((tag, self.buffer.split_to(length))))
    }

    fn message(&mut self, tag: u8, mut message: BytesMut) -> Result<(), StreamError> {
        match tag {
            b'd' => return self.frame(message.freeze().slice(5..)),
            b'c' | b'C' => return Err(StreamError::Ended),
            b'E' | b'N' => {}
            _ => return Ok(()),
        }
        match Message::parse(&mut message) {
            Ok(Some(Message::ErrorResponse(body))) => Err(StreamError::of_server(error_of(&body))),
            Ok(Some(Message::NoticeResponse(body))) => match notice_of(&body) {
                // Since PostgreSQL 18, changes that need a missing publication are skipped with
                // only this warning.
                ServerError { code, message }
                    if code == OBJECT_NOT_IN_PREREQUISITE_STATE
                        && message.contains(&self.publication) =>
                {
                    Err(StreamError::Missing { message: on_one_line(&message).into_owned() })
                }
                ServerError { code, message } => {
                    tracing::info!(code, "PostgreSQL reports: {}", on_one_line(&message));
                    Ok(())
                }
            },
            _ => Err(StreamError::Protocol("an error message that is none".to_owned())),
        }
    }

    fn frame(&mut self, frame: Bytes) -> Result<(), StreamError> {
        match Frame::decode(frame)? {
            Frame::XLogData(data) => {
                if let Some(event) = self.decoder.decode(data.payload)? {
                    if let Event::Commit(commit) = &event {
                        self.received(commit.end_lsn);
                    }
                    self.push(event);
                }
            }
            Frame::Keepalive(keepalive) => {
                let (wal_end, reply_requested) = (keepalive.wal_end, keepalive.reply_requested);
                self.received(wal_end);
                if reply_requested {
                    self.shared.reply.notify_one();
                    self.is_asked(wal_end)?;
                }
                self.push(Event::Keepalive { wal_end, source_lsn: wal_end, reply_requested });
            }
        }
        Ok(())
    }

    fn push(&mut self, event: Event) {
        self.bytes += match &event {
            Event::Change(change) => change.size_bytes(),
            Event::Begin(_) | Event::Commit(_) | Event::Keepalive { .. } => size_of::<Event>(),
        };
        self.events.push(event);
    }

    fn received(&self, lsn: Lsn) {
        self.shared.received.fetch_max(lsn.0, Ordering::AcqRel);
    }

    fn is_asked(&mut self, position: Lsn) -> Result<(), StreamError> {
        let again = position == self.asking.position;
        if !again || *self.acknowledged.borrow() >= position {
            self.asking = Asking { position, since: Instant::now() };
            return Ok(());
        }
        match self.asking.since.elapsed() > SHUTDOWN_PATIENCE {
            true => Err(StreamError::ShuttingDown),
            false => Ok(()),
        }
    }

    /// Puts the received events into the queue; waits while it is full.
    async fn hand_over(&mut self, portions: &Portions) {
        if self.events.is_empty() {
            return;
        }
        let bytes = u32::try_from(self.bytes).unwrap_or(u32::MAX).clamp(1, QUEUE_BYTES);
        if let Ok(room) = self.shared.room.acquire_many(bytes).await {
            room.forget();
        }
        self.bytes = 0;
        let events = std::mem::take(&mut self.events);
        // The receiver may be gone; then this task is about to end.
        let _ = portions.send(Ok(Portion { events, bytes }));
    }
}
