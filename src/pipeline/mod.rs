//! Source to sink: the loop that feeds the engine and does what it asks.
//!
//! ```text
//! Source::next --> Engine --Apply--> Prepare::prepare --> Sink::write    (a task each: one batch is
//!      ^              |                                                   made ready, one is written)
//!      |              +-----Held---> Copier::turn                         (the stream stands still)
//!      +--------Acknowledge
//! ```
//!
//! It knows no product. It decides nothing about order or progress either: the engine does, and is
//! simulated. What is here is only waiting for several things at once.

mod copying;
mod observer;
mod run;
mod sole;
mod translated;

use std::{
    error::Error,
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::task::JoinError;

use crate::{
    change::{Event, Relation, Timestamp},
    checkpoint::{Advance, Log, Newest, Position},
    copy::AppliedTransactions,
    engine::{Batch, EngineError, Refused},
    lsn::Lsn,
};

pub use copying::{
    ChunkReader, ChunkWriter, CopyError, Lane, Search, TableCopier, Taken, TurnLength, Waiting,
};
pub use observer::{Observer, Operation, Tally, Written};
pub use run::{Ended, Pipeline, Status, Until};
pub use sole::{Sole, shortened};
pub use translated::{Observed, Ready, Translate, TranslateFailure, Translated};

/// The clock's time.
pub fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { unix_micros: i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX) }
}

/// An error with the one answer the edge needs: try again later, or stop.
pub trait Failure: Error + Send + Sync + 'static {
    /// The same may succeed later, without anybody changing anything.
    fn is_transient(&self) -> bool;

    /// Fewer changes at once may be taken.
    fn refused(&self) -> Option<Refused> {
        None
    }

    /// All that is known of it, for the error that ends the program: there may be values of rows in
    /// it.
    fn in_full(&self) -> String {
        self.to_string()
    }

    /// What may be kept where many may read it: nothing of it is a row's.
    fn without_values(&self) -> String {
        self.to_string()
    }

    /// It comes again as long as the log is read from here, so that only a copy, with a log of its
    /// own, goes on.
    fn needs_copy(&self) -> bool {
        false
    }
}

/// Where changes come from.
pub trait Source: Send {
    /// Why it ended.
    type Error: Failure;

    /// What comes next, in order; waits for it. Cancel-safe: nothing is lost when the future is
    /// dropped.
    fn next(&mut self) -> impl Future<Output = Result<Vec<Event>, Self::Error>> + Send;

    /// Everything before `lsn` is durable in the graph and may be forgotten.
    fn acknowledge(&mut self, lsn: Lsn);
}

/// What makes a batch ready for the sink: work for the processor, done while an earlier batch is on
/// its way.
pub trait Prepare: Send + 'static {
    /// A batch that is ready.
    type Prepared: Send + 'static;
    /// Why a batch can not be made ready.
    type Error: Failure;

    /// Makes the batch ready. `settled`: nothing is being copied.
    fn prepare(&mut self, batch: Batch, settled: bool) -> Result<Self::Prepared, Self::Error>;
}

/// Where batches go once they are ready.
pub trait Sink<B>: Send + 'static {
    /// Why a batch could not be written.
    type Error: Failure;

    /// Writes the batch and the checkpoint's step atomically.
    fn write(
        &mut self,
        advance: Advance,
        batch: B,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Says at any moment whether batches are to be narrow; nothing: they never are. Asked for once,
    /// before the first batch.
    fn narrow(&self) -> Option<Arc<Narrow>> {
        None
    }
}

/// Whether batches are to be narrow: of few kinds of changes that the sink has not met.
#[derive(Debug, Default)]
pub struct Narrow {
    needed: AtomicBool,
    times: AtomicU64,
}

impl Narrow {
    /// The sink has made few of its statements, or has lost those that it had.
    pub fn begin(&self) {
        self.times.fetch_add(1, Ordering::Relaxed);
        self.needed.store(true, Ordering::Relaxed);
    }

    /// It has made all that there are.
    pub fn end(&self) {
        self.needed.store(false, Ordering::Relaxed);
    }

    /// If it is so now, for which time.
    pub fn is_needed(&self) -> Option<u64> {
        let needed = self.needed.load(Ordering::Relaxed);
        needed.then(|| self.times.load(Ordering::Relaxed))
    }
}

/// What copies tables while the stream is held.
pub trait Copier: Send + 'static {
    /// Why it can not go on.
    type Error: Failure;

    /// Copies for a bounded time, while the stream stands still.
    fn turn(&mut self, held: &mut Held) -> impl Future<Output = Result<Turn, Self::Error>> + Send;
}

/// Where the stream stands still.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// How far the graph is.
    pub position: Position,
    /// The newest transaction that it has something of, if that is known.
    pub newest: Option<Newest>,
    /// The transactions that rows read now must not be older than.
    pub applied: AppliedTransactions,
    waits: Arc<AtomicBool>,
}

impl Held {
    /// Somebody waits for the stream to go on: it has something to apply, or is to stop.
    pub fn stream_waits(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }
}

/// What the copy needs after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Another turn, after the stream had its own.
    More,
    /// Another turn, after the stream had at least so long.
    Later(Duration),
    /// Another turn, once the stream is applied through this position.
    After(Lsn),
    /// Nothing: every row is in the graph and complete.
    Settled,
}

/// No tables are to be copied.
#[derive(Debug)]
pub enum NoCopy {}

impl Copier for NoCopy {
    type Error = std::convert::Infallible;

    async fn turn(&mut self, _: &mut Held) -> Result<Turn, Self::Error> {
        match *self {}
    }
}

impl Failure for std::convert::Infallible {
    fn is_transient(&self) -> bool {
        match *self {}
    }
}

/// Why a pipeline stopped before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The source ended.
    #[error("{0}")]
    Source(Box<dyn Failure>),
    /// A batch could not be made ready.
    #[error("{0}")]
    Prepare(Box<dyn Failure>),
    /// The sink could not write.
    #[error("{0}")]
    Sink(Box<dyn Failure>),
    /// The sink does not take so much at once: it may be taken in parts.
    #[error("{error}")]
    Refused {
        /// Why.
        refused: Refused,
        /// How many changes it was.
        changes: usize,
        /// What the sink said.
        error: Box<dyn Failure>,
    },
    /// The sink does not take a change, alone as it is.
    #[error("one change can not be written: {what}. {}", .error.in_full())]
    Row {
        /// Which.
        what: Box<Sole>,
        /// What the sink said.
        error: Box<dyn Failure>,
    },
    /// The copy could not go on.
    #[error("{0}")]
    Copy(Box<dyn Failure>),
    /// The stream does not fit the checkpoint.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A task of ours panicked.
    #[error("a task of wal2graph ended in a bug: {0}")]
    Bug(#[from] JoinError),
}

impl PipelineError {
    /// Whether to connect again and go on from the checkpoint.
    pub fn is_transient(&self) -> bool {
        match self {
            PipelineError::Source(error)
            | PipelineError::Prepare(error)
            | PipelineError::Sink(error)
            | PipelineError::Copy(error)
            | PipelineError::Row { error, .. } => error.is_transient(),
            PipelineError::Refused { .. } => true,
            PipelineError::Engine(_) | PipelineError::Bug(_) => false,
        }
    }

    /// What may be kept where many may read it: nothing of it is a row's.
    pub fn without_values(&self) -> String {
        match self {
            PipelineError::Source(error)
            | PipelineError::Prepare(error)
            | PipelineError::Sink(error)
            | PipelineError::Copy(error)
            | PipelineError::Refused { error, .. } => error.without_values(),
            PipelineError::Row { what, error } => {
                let (what, error) = (what.without_values(), error.without_values());
                format!("one change can not be written: {what}. {error}")
            }
            PipelineError::Engine(_) | PipelineError::Bug(_) => self.to_string(),
        }
    }

    /// The same with what is known of the change that it is about: of its table's key, and of the log
    /// that it came by. An LSN is an offset in a partition.
    pub fn about(self, key: impl FnOnce(&Relation) -> Option<Vec<String>>, log: &Log) -> Self {
        match self {
            PipelineError::Row { what, error } => {
                let key = what.relation().and_then(key);
                PipelineError::Row { what: Box::new(what.known(key, log.clone())), error }
            }
            PipelineError::Engine(EngineError::PartOfAnotherTransaction {
                expected,
                found,
                ..
            }) => {
                let log = Some(log.clone());
                EngineError::PartOfAnotherTransaction { expected, found, log }.into()
            }
            other => other,
        }
    }

    /// Whether only a copy goes on.
    pub fn needs_copy(&self) -> bool {
        match self {
            PipelineError::Source(error)
            | PipelineError::Prepare(error)
            | PipelineError::Sink(error)
            | PipelineError::Copy(error) => error.needs_copy(),
            PipelineError::Engine(
                EngineError::PartOfAnotherTransaction { .. } | EngineError::OtherHistory(_),
            ) => true,
            // The row comes again, but what refuses it may be mended in the graph.
            PipelineError::Refused { .. } | PipelineError::Row { .. } => false,
            PipelineError::Bug(_) => false,
        }
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Turn::More => write!(f, "more to copy"),
            Turn::Later(pause) => write!(f, "more to copy in {} ms", pause.as_millis()),
            Turn::After(lsn) => write!(f, "copied; waiting for {lsn}"),
            Turn::Settled => write!(f, "settled"),
        }
    }
}
