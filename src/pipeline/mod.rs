//! Source to sink: the loop that feeds the engine and carries out its outputs.
//!
//! ```text
//! Source::next --> Engine --Apply--> Prepare::prepare --> Sink::write    (a task each: one batch is
//!      ^              |                                                   made ready, one is written)
//!      |              +-----Held---> Copier::turn                         (the stream stands still)
//!      +--------Acknowledge
//! ```
//!
//! It knows no product. It decides neither order nor progress: the engine does, and a simulation
//! tests it. This module only waits for several things at once.

mod copying;
mod kept_letter;
mod letters;
mod named;
mod observer;
mod remark;
mod removal;
mod run;
mod sole;
mod store;
mod store_error;
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

use tokio::{sync::Notify, task::JoinError};

use crate::{
    change::{Event, Relation, Sent, Timestamp},
    checkpoint::{Advance, Log, Newest, Position},
    copy::AppliedTransactions,
    engine::{Batch, EngineError, Place, Refused},
    health::Side,
    lsn::{Lsn, Stamp},
};

pub use copying::{
    ChunkReader, ChunkWriter, CopyError, Differing, GraphReader, HeldAt, IsOwn, Lane, OwnEntities,
    OwnRows, OwnWrites, Report, Reported, Search, Strays, TableCopier, Taken, TurnLength, Waiting,
};
pub use kept_letter::{KeptChange, KeptLetter};
pub use letters::{Kept, KnownLetter, Letters, NotSetAside, Rules as LetterRules};
pub use named::Named;
pub use observer::{Observer, Operation, Tally, Written};
pub use remark::{NextShape, Note, Remark, Weight};
pub use removal::{Extent, Footprint, Made, Removed, Rows};
pub use run::{Ended, Pipeline, Status, Until};
pub use sole::{Sole, shortened};
pub use store::Store;
pub use store_error::{StoreError, Witness};
pub use translated::{Observed, PrepareError, Ready, Translate, Translated};

/// The clock's time.
pub fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { unix_micros: i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX) }
}

/// The answer to an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same attempt may succeed later, without anyone's help.
    Again,
    /// Someone has to change something first.
    Stop,
    /// Another writer has claimed what this one writes. This one never writes again.
    Fenced,
    /// What this one writes is at an older state than it was left in, or has no checkpoint any more: somebody
    /// has restored or emptied it. All that is written there has to go on from what is there now.
    PutBack,
}

impl Verdict {
    /// Of an error that is no other writer's doing.
    pub fn again_if(is_transient: bool) -> Self {
        if is_transient { Verdict::Again } else { Verdict::Stop }
    }
}

/// An error that can answer the one question of the pipeline's edge: try again, stop, or fenced?
pub trait Failure: Error + Send + Sync + 'static {
    /// The answer.
    fn verdict(&self) -> Verdict;

    /// Whether the same attempt may succeed later, without anyone's help.
    fn is_transient(&self) -> bool {
        matches!(self.verdict(), Verdict::Again | Verdict::PutBack)
    }

    /// The error within, if this one only says where it came from. Then that one answers all below.
    fn within(&self) -> Option<&dyn Failure> {
        None
    }

    /// Whether the sink may accept fewer changes at once. Then it is known that nothing of them was written, or will
    /// be.
    fn refused(&self) -> Option<Refused> {
        self.within().and_then(Failure::refused)
    }

    /// The product refuses something of a change or a row, and will again, whatever is written beside it. What may
    /// be a failure of the product is none.
    fn is_of_a_row(&self) -> bool {
        self.within().is_some_and(Failure::is_of_a_row)
    }

    /// The full text, for the error that ends the program. It may contain values of rows.
    fn in_full(&self) -> String {
        self.within().map_or_else(|| self.to_string(), Failure::in_full)
    }

    /// What may be kept where many may read it: nothing of it is a row's.
    fn without_values(&self) -> String {
        self.within().map_or_else(|| self.to_string(), Failure::without_values)
    }

    /// The error recurs as long as the log is read from here. Only a copy, with its own log, can
    /// continue.
    fn needs_copy(&self) -> bool {
        self.within().is_some_and(Failure::needs_copy)
    }

    /// The side that refuses user or password: by now others may be in a file.
    fn refused_login(&self) -> Option<Side> {
        self.within().and_then(Failure::refused_login)
    }

    /// A table has another shape than it was looked at with.
    fn reshaped(&self) -> Option<Reshaped> {
        self.within().and_then(Failure::reshaped)
    }
}

/// A change came with other columns than its table has had when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reshaped {
    /// The tables have changed since.
    Since,
    /// The change is older than the look.
    Before(Sent),
}

/// Where changes come from.
pub trait Source: Send {
    /// The type of its errors.
    type Error: Failure;

    /// The next events, in order; waits for them. Cancel-safe: dropping the future loses nothing.
    fn next(&mut self) -> impl Future<Output = Result<Vec<Event>, Self::Error>> + Send;

    /// Everything before `lsn` is durable in the graph and may be forgotten.
    fn acknowledge(&mut self, lsn: Lsn);
}

/// Prepares a batch for the sink. This is work for the processor and runs while an earlier batch is
/// being written.
pub trait Prepare: Send + 'static {
    /// A batch that is ready.
    type Prepared: Send + 'static;
    /// The type of its errors.
    type Error: Failure;

    /// Prepares the batch. `settled`: no table is being copied.
    fn prepare(&mut self, batch: &Batch, settled: bool) -> Result<Self::Prepared, Self::Error>;

    /// The last batches that it has prepared, so many, are not written. Their changes come again.
    fn take_back(&mut self, _batches: usize) {}

    /// The sink has refused a change alone, for this reason. Whether the change, when it comes again, is made ready
    /// without being written itself.
    fn sets_aside(&mut self, _at: Place, _error: &dyn Failure) -> bool {
        false
    }
}

/// The destination of prepared batches.
pub trait Sink<B>: Send + 'static {
    /// The type of its errors.
    type Error: Failure;

    /// Writes the batch, and moves the checkpoint from `advance.from` to `advance.to`.
    ///
    /// - **Order.** Batches come in the log's order, one at a time: each begins where the one before
    ///   it ended. Within a batch, statements take effect in their order.
    /// - **Atomicity.** Rows and position are written in one transaction. A reader never sees one
    ///   without the other. Only statements that clear a table may run before it, in transactions of
    ///   their own at the same position, since a repetition finds less to clear.
    /// - **Fencing.** The first thing in that transaction compares, under a lock, epoch and position
    ///   with what this writer expects. If another writer has claimed the log or moved it, nothing is
    ///   written, and the error is [`Verdict::Fenced`], now and for every later call. If the log is at an
    ///   earlier place under the same epoch, or under an earlier epoch, or has no checkpoint, no writer did
    ///   that: the product was restored or emptied, and the error is [`Verdict::PutBack`].
    /// - **Duplicates.** The comparison is also why a batch is never applied twice: an earlier attempt
    ///   whose answer was lost has moved the position.
    /// - **Lost answers.** The sink settles them by itself: it reads the position under the lock, and
    ///   returns success if the batch is there. It gives up with [`Verdict::Again`] after a bounded
    ///   time. Then the batch may be in the graph or not, or may still arrive; the next life claims
    ///   the log, which ends that, and goes on from the position that it finds.
    /// - **Durability.** After success the log is acknowledged through `advance.to` and the source
    ///   forgets it, so the batch must survive a crash of the product.
    /// - **Refusals.** If the product does not take so much at once, or something in the batch,
    ///   nothing is written, now or later, and [`Failure::refused`] says which. The engine comes again
    ///   with less.
    /// - **Cancellation.** A dropped call is like a lost answer. The same sink may not be used for
    ///   another batch afterwards; drop it, too.
    /// - **Parallel calls.** Sinks of other logs, and lanes of a copy, write at the same time.
    fn write(
        &mut self,
        advance: Advance,
        batch: B,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The flag that says whether batches must be narrow; `None`: never. The loop asks once, before
    /// the first batch.
    fn narrow(&self) -> Option<Arc<Narrow>> {
        None
    }
}

/// Whether batches must be narrow: with few kinds of changes that are new to the sink.
#[derive(Debug, Default)]
pub struct Narrow {
    needed: AtomicBool,
    times: AtomicU64,
}

impl Narrow {
    /// The sink has prepared few of its statements, or has lost them.
    pub fn begin(&self) {
        self.times.fetch_add(1, Ordering::Relaxed);
        self.needed.store(true, Ordering::Relaxed);
    }

    /// The sink has prepared all of its statements.
    pub fn end(&self) {
        self.needed.store(false, Ordering::Relaxed);
    }

    /// The number of this period, if batches must be narrow now.
    pub fn is_needed(&self) -> Option<u64> {
        let needed = self.needed.load(Ordering::Relaxed);
        needed.then(|| self.times.load(Ordering::Relaxed))
    }
}

/// Copies tables while the stream is held.
pub trait Copier: Send + 'static {
    /// The type of its errors.
    type Error: Failure;

    /// Whether it writes rows: then batches must not rely on the state of the graph.
    fn writes(&self) -> bool {
        true
    }

    /// Whether the graph lacks rows until it is done.
    fn copies(&self) -> bool {
        self.writes()
    }

    /// Copies for a bounded time, while the stream stands still, or until [`Held::free`].
    fn turn(&mut self, held: &mut Held) -> impl Future<Output = Result<Turn, Self::Error>> + Send;
}

/// The state in which the stream is held.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// The graph's position.
    pub position: Position,
    /// The source's position through which the graph has everything of this log.
    pub complete: Lsn,
    /// The last change that this life has applied, where changes are stamped.
    pub last_change: Option<Stamp>,
    /// What stamps the rows that are written meanwhile, if rows have stamps.
    pub stamp: Option<Stamp>,
    /// The newest transaction that it has something of, if that is known.
    pub newest: Option<Newest>,
    /// The transactions that rows read now must not be older than.
    pub applied: AppliedTransactions,
    waits: Arc<AtomicBool>,
    freed: Arc<Notify>,
}

impl Held {
    /// Lets the stream run beside the rest of the turn. The turn must write nothing, and the graph changes
    /// under it from now on.
    pub fn free(&self) {
        self.freed.notify_one();
    }

    /// Whether the stream waits for its turn: it has changes to apply, or must stop.
    pub fn stream_waits(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }
}

/// The copy's next need after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Another turn, after a turn of the stream.
    More,
    /// Another turn, after the stream has run for at least this long.
    Later(Duration),
    /// Another turn, once the graph has everything through this position of the source.
    After(Lsn),
    /// Nothing: every row is in the graph and complete.
    Settled,
}

/// The copier of a pipeline that copies no tables.
#[derive(Debug)]
pub enum NoCopy {}

impl Copier for NoCopy {
    type Error = std::convert::Infallible;

    async fn turn(&mut self, _: &mut Held) -> Result<Turn, Self::Error> {
        match *self {}
    }
}

impl Failure for std::convert::Infallible {
    fn verdict(&self) -> Verdict {
        match *self {}
    }
}

/// Why a pipeline stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The source ended.
    #[error("{0}")]
    Source(Box<dyn Failure>),
    /// Preparing a batch failed.
    #[error("{0}")]
    Prepare(Box<dyn Failure>),
    /// The sink could not write.
    #[error("{0}")]
    Sink(Box<dyn Failure>),
    /// The sink refuses a single change.
    #[error(
        "one change can not be written: {what}. {}. With `on_error: park` in the file such a row waits as a dead \
         letter, and everything else goes on",
        .error.in_full()
    )]
    Row {
        /// The change.
        what: Box<Sole>,
        /// The sink's error.
        error: Box<dyn Failure>,
    },
    /// The copy could not go on.
    #[error("{0}")]
    Copy(Box<dyn Failure>),
    /// The stream does not fit the checkpoint.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A task of the program panicked.
    #[error("a task of wal2graph ended in a bug: {0}")]
    Bug(#[from] JoinError),
}

impl PipelineError {
    /// Whether to reconnect and go on from the checkpoint.
    pub fn verdict(&self) -> Verdict {
        match self {
            PipelineError::Source(error)
            | PipelineError::Prepare(error)
            | PipelineError::Sink(error)
            | PipelineError::Copy(error)
            | PipelineError::Row { error, .. } => error.verdict(),
            PipelineError::Engine(_) | PipelineError::Bug(_) => Verdict::Stop,
        }
    }

    /// What may be kept where many may read it: nothing of it is a row's.
    pub fn without_values(&self) -> String {
        match self {
            PipelineError::Source(error)
            | PipelineError::Prepare(error)
            | PipelineError::Sink(error)
            | PipelineError::Copy(error) => error.without_values(),
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

    /// The side that refuses user or password.
    pub fn refused_login(&self) -> Option<Side> {
        match self {
            PipelineError::Source(error)
            | PipelineError::Prepare(error)
            | PipelineError::Sink(error)
            | PipelineError::Copy(error)
            | PipelineError::Row { error, .. } => error.refused_login(),
            PipelineError::Engine(_) | PipelineError::Bug(_) => None,
        }
    }

    /// A table has another shape than it was looked at with.
    pub fn reshaped(&self) -> Option<Reshaped> {
        match self {
            PipelineError::Source(error) | PipelineError::Prepare(error) => error.reshaped(),
            _ => None,
        }
    }

    /// Whether only a copy can continue.
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
            PipelineError::Row { error, .. } => error.needs_copy(),
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
