//! The loop: it waits for source, sink, copy and time at once.

mod refused;

use std::{
    collections::VecDeque,
    future::{Future, pending},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::JoinError,
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    change::{Event, Timestamp},
    checkpoint::Position,
    copy::AppliedTransactions,
    engine::{Batch, Engine, Input, Output, Portion},
    lsn::{Lsn, Stamp},
};

use super::{Copier, Failure, Held, Narrow, PipelineError, Prepare, Sink, Source, Turn, Verdict};

/// Between two turns of the copy the stream runs for at most this long while it has work.
const STREAM_TURN_MAX: Duration = Duration::from_secs(1);

/// A running pipeline's status, for observers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The furthest known position of the source.
    pub received: Lsn,
    /// The graph's position in the log that the pipeline reads.
    pub applied: Position,
    /// The source's position through which the graph is complete.
    pub complete: Lsn,
    /// The commit time of the last applied source transaction.
    pub committed_at: Option<Timestamp>,
    /// The commit time of the oldest source transaction that is received but not in the graph.
    pub oldest_unapplied: Option<Timestamp>,
    /// The copy still copies tables, or completes rows.
    pub copying: bool,
    /// The number of changes that a graph transaction may hold, as far as known.
    pub portion: Portion,
    /// When a change last reached the graph, or when the pipeline started.
    pub moved_at: Option<Instant>,
    /// When the loop last turned.
    pub turned_at: Option<Instant>,
}

/// When a pipeline stops by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Never.
    Forever,
    /// Once the graph has everything up to this position, and no table is being copied.
    Applied(Lsn),
}

/// Why a pipeline ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// [`Until`] was reached.
    Reached,
    /// The caller asked it to stop.
    Stopped,
}

/// A pipeline that is ready to run.
pub struct Pipeline<'a, S, P, K, C> {
    /// It starts at the engine's position.
    pub source: &'a mut S,
    /// Prepares batches.
    pub preparer: P,
    /// Its checkpoint is the engine's position.
    pub sink: K,
    /// Copies the remaining tables.
    pub copier: Option<C>,
    /// The state machine.
    pub engine: Engine,
    /// When to stop.
    pub until: Until,
    /// Publishes the status.
    pub status: watch::Sender<Status>,
}

/// A worker at rest here, or away in a task that returns it with a result.
enum Worker<T, R> {
    Resting(T),
    Away(AbortOnDropHandle<(T, R)>),
    Gone,
}

impl<T: Send + 'static, R: Send + 'static> Worker<T, R> {
    fn send<F>(&mut self, work: impl FnOnce(T) -> F)
    where
        F: Future<Output = (T, R)> + Send + 'static,
    {
        *self = match std::mem::replace(self, Worker::Gone) {
            Worker::Resting(worker) => {
                Worker::Away(AbortOnDropHandle::new(tokio::spawn(work(worker))))
            }
            Worker::Away(_) | Worker::Gone => panic!("the worker is not at rest"),
        };
    }

    /// The result of a worker that is away; otherwise waits for ever. Cancel-safe.
    async fn back(&mut self) -> Result<R, JoinError> {
        let Worker::Away(task) = self else { return pending().await };
        let (worker, result) = task.await?;
        *self = Worker::Resting(worker);
        Ok(result)
    }

    fn is_away(&self) -> bool {
        matches!(self, Worker::Away(_))
    }

    fn is_resting(&self) -> bool {
        matches!(self, Worker::Resting(_))
    }
}

/// The turns of stream and copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CopyState {
    /// The stream runs until it has nothing waiting, or until this moment.
    StreamTurn(Instant),
    /// The stream runs at least until this moment.
    Resting(Instant),
    /// The stream runs until it is applied through this position.
    CatchingUp(Lsn),
    /// The loop has asked the engine to hold.
    HoldWanted,
    /// A turn is running, and the stream stands still.
    Turn,
    /// A turn is running beside the stream.
    Beside,
    /// Nothing is being copied.
    Settled,
}

type Prepared<P> = <P as Prepare>::Prepared;
type PrepareResult<P> = Result<Prepared<P>, <P as Prepare>::Error>;
type WriteResult<P, K> = Result<(), <K as Sink<Prepared<P>>>::Error>;
type TurnResult<C> = Result<(Turn, Held), <C as Copier>::Error>;

/// The loop's state.
struct Loop<'a, S: Source, P: Prepare, K: Sink<P::Prepared>, C: Copier> {
    source: &'a mut S,
    preparer: Worker<P, PrepareResult<P>>,
    sink: Worker<K, WriteResult<P, K>>,
    copier: Worker<C, TurnResult<C>>,
    copier_writes: bool,
    copier_copies: bool,
    copy: CopyState,
    /// Tells a turn of the copy to end.
    stream_waits: Arc<AtomicBool>,
    /// The turn of the copy lets the stream run.
    freed: Arc<Notify>,
    /// The sink's flag for narrow batches.
    narrow: Option<Arc<Narrow>>,
    applied_transactions: AppliedTransactions,
    /// The last stamped change that was written.
    last_change: Option<Stamp>,
    /// Ordered batches that wait for the preparer.
    ordered: VecDeque<Arc<Batch>>,
    /// A prepared batch that waits for the sink.
    ready: Option<P::Prepared>,
    /// Ordered batches that are not applied, in any stage.
    flights: VecDeque<Arc<Batch>>,
    engine: Engine,
    until: Until,
    status: watch::Sender<Status>,
    started: Instant,
    /// Why the source brings no more. What came before is written first.
    source_ended: Option<S::Error>,
}

impl<S, P, K, C> Pipeline<'_, S, P, K, C>
where
    S: Source,
    P: Prepare,
    K: Sink<P::Prepared>,
    C: Copier,
{
    /// Runs until `stop` resolves, [`Until`] is reached, or something fails. On `stop` it first
    /// finishes and acknowledges the batch in flight.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<Ended, PipelineError> {
        let started = Instant::now();
        self.status.send_modify(|status| {
            (status.moved_at, status.turned_at) = (Some(started), Some(started));
            status.portion = self.engine.portion();
        });
        let copier_writes = self.copier.as_ref().is_some_and(Copier::writes);
        let copier_copies = self.copier.as_ref().is_some_and(Copier::copies);
        let (copier, copy) = match self.copier {
            Some(copier) => (Worker::Resting(copier), CopyState::StreamTurn(started)),
            None => (Worker::Gone, CopyState::Settled),
        };
        let mut running = Loop {
            source: self.source,
            preparer: Worker::Resting(self.preparer),
            narrow: self.sink.narrow(),
            sink: Worker::Resting(self.sink),
            copier,
            copier_writes,
            copier_copies,
            copy,
            stream_waits: Arc::default(),
            freed: Arc::default(),
            applied_transactions: AppliedTransactions::default(),
            last_change: None,
            ordered: VecDeque::new(),
            ready: None,
            flights: VecDeque::new(),
            engine: self.engine,
            until: self.until,
            status: self.status,
            started,
            source_ended: None,
        };
        running.run(stop).await
    }
}

impl<S: Source, P: Prepare, K: Sink<P::Prepared>, C: Copier> Loop<'_, S, P, K, C> {
    async fn run(&mut self, stop: impl Future<Output = ()>) -> Result<Ended, PipelineError> {
        tokio::pin!(stop);
        let mut stopping = false;
        loop {
            if stopping {
                if !self.sink.is_away() && !self.copier.is_away() {
                    return Ok(Ended::Stopped);
                }
            } else {
                if self.source_ended.is_none() {
                    self.take_turns()?;
                }
                self.ask_how_wide()?;
                self.do_what_is_asked();
                self.move_on();
                if self.has_reached_its_end() {
                    return Ok(Ended::Reached);
                }
                self.end_with_the_source()?;
            }
            let wakeup = self.wakeup();
            let freed = self.freed.clone();
            tokio::select! {
                // In a fixed order, so that a simulation repeats exactly.
                biased;
                () = &mut stop, if !stopping => {
                    stopping = true;
                    self.hurry(true);
                }
                written = self.sink.back() => self.written(written?).await?,
                prepared = self.preparer.back() => self.prepared(prepared?)?,
                turn = self.copier.back() => self.turned(turn?)?,
                () = freed.notified(), if self.copy == CopyState::Turn => {
                    self.copy = CopyState::Beside;
                    self.engine.handle(Input::Release)?;
                }
                events = self.source.next(), if !stopping && self.wants_input() => {
                    self.received(events)?;
                }
                () = sleep_until(wakeup) => {}
            }
            self.show();
        }
    }

    fn wants_input(&self) -> bool {
        self.source_ended.is_none() && self.engine.wants_input()
    }

    fn received(&mut self, events: Result<Vec<Event>, S::Error>) -> Result<(), PipelineError> {
        let events = match events {
            Ok(events) => events,
            // The next life reads everything unwritten again.
            Err(error) if error.verdict() != Verdict::Stop => {
                return Err(PipelineError::Source(Box::new(error)));
            }
            Err(error) => {
                self.source_ended = Some(error);
                self.engine.write_idle_soon();
                self.hurry(true);
                return Ok(());
            }
        };
        self.ask_how_wide()?;
        for event in events {
            self.engine.handle(Input::Event(event))?;
        }
        self.hurry(!self.engine.is_drained());
        Ok(())
    }

    /// Returns the source's error once everything before it is written. A start behind the error then loses
    /// nothing else.
    fn end_with_the_source(&mut self) -> Result<(), PipelineError> {
        if !self.flights.is_empty() || self.copier.is_away() {
            return Ok(());
        }
        match self.source_ended.take() {
            Some(error) => Err(PipelineError::Source(Box::new(error))),
            None => Ok(()),
        }
    }

    /// Starts the copy's turn once the stream's turn is over.
    fn take_turns(&mut self) -> Result<(), PipelineError> {
        let ready = match self.copy {
            CopyState::StreamTurn(end) => self.engine.is_drained() || Instant::now() >= end,
            CopyState::Resting(end) => Instant::now() >= end,
            CopyState::CatchingUp(through) => self.engine.complete() >= through,
            CopyState::HoldWanted | CopyState::Turn | CopyState::Beside | CopyState::Settled => {
                false
            }
        };
        if ready {
            self.copy = CopyState::HoldWanted;
            self.engine.handle(Input::Hold)?;
        }
        Ok(())
    }

    /// Tells the engine whether the sink wants narrow batches.
    fn ask_how_wide(&mut self) -> Result<(), PipelineError> {
        if let Some(narrow) = &self.narrow {
            self.engine.handle(Input::Narrow(narrow.is_needed()))?;
        }
        Ok(())
    }

    /// Asks the copy to end its turn soon, if `reason` holds.
    fn hurry(&self, reason: bool) {
        if reason {
            self.stream_waits.store(true, Ordering::Relaxed);
        }
    }

    fn do_what_is_asked(&mut self) {
        while let Some(output) = self.engine.poll(self.started.elapsed()) {
            match output {
                Output::Acknowledge(lsn) => self.source.acknowledge(lsn),
                Output::Apply(batch) => {
                    let batch = Arc::new(batch);
                    self.flights.push_back(batch.clone());
                    self.ordered.push_back(batch);
                }
                Output::Held => {
                    self.copy = CopyState::Turn;
                    let applied = std::mem::take(&mut self.applied_transactions);
                    self.stream_waits.store(!self.engine.is_drained(), Ordering::Relaxed);
                    let waits = self.stream_waits.clone();
                    // A turn that has ended may have left a permit.
                    self.freed = Arc::default();
                    let mut held = Held {
                        position: self.engine.applied(),
                        complete: self.engine.complete(),
                        last_change: self.last_change,
                        stamp: None,
                        newest: self.engine.newest(),
                        applied,
                        waits,
                        freed: self.freed.clone(),
                    };
                    self.copier.send(|mut copier| async move {
                        let turn = copier.turn(&mut held).await;
                        (copier, turn.map(|turn| (turn, held)))
                    });
                }
            }
        }
    }

    /// Moves batches to their next stage if it is free.
    fn move_on(&mut self) {
        if self.sink.is_resting()
            && let Some(batch) = self.ready.take()
        {
            let advance = self.flights.front().expect("what is ready was ordered").advance;
            self.sink.send(|mut sink| async move {
                let result = sink.write(advance, batch).await;
                (sink, result)
            });
        }
        if self.ready.is_none()
            && self.preparer.is_resting()
            && let Some(batch) = self.ordered.pop_front()
        {
            let settled = !self.is_copying();
            self.preparer.send(|mut preparer| async move {
                let result = preparer.prepare(&batch, settled);
                (preparer, result)
            });
        }
    }

    fn prepared(&mut self, result: PrepareResult<P>) -> Result<(), PipelineError> {
        self.ready = Some(result.map_err(|error| PipelineError::Prepare(Box::new(error)))?);
        Ok(())
    }

    async fn written(&mut self, result: WriteResult<P, K>) -> Result<(), PipelineError> {
        if let Err(error) = result {
            return self.not_taken(error).await;
        }
        let batch = self.flights.pop_front().expect("a written batch was in flight");
        let advance = batch.advance;
        self.engine.handle(Input::Applied)?;
        self.last_change = self.last_change.max(advance.last_change);
        if self.copy != CopyState::Settled {
            self.applied_transactions.applied(&batch.xids());
        }
        self.status.send_modify(|status| {
            status.committed_at = advance.committed_at.or(status.committed_at);
            status.moved_at = Some(Instant::now());
        });
        if let Some(lsn) = self.engine.take_acknowledgement() {
            self.source.acknowledge(lsn);
        }
        Ok(())
    }

    fn turned(&mut self, result: TurnResult<C>) -> Result<(), PipelineError> {
        let (turn, held) = result.map_err(|error| PipelineError::Copy(Box::new(error)))?;
        self.status.send_modify(|status| status.moved_at = Some(Instant::now()));
        // Those that the stream has applied beside the turn are there.
        self.applied_transactions.extend(held.applied);
        self.copy = match turn {
            Turn::More => CopyState::StreamTurn(Instant::now() + STREAM_TURN_MAX),
            Turn::Later(pause) => CopyState::Resting(Instant::now() + pause),
            Turn::After(lsn) => CopyState::CatchingUp(lsn),
            Turn::Settled => CopyState::Settled,
        };
        if turn == Turn::Settled {
            self.copier = Worker::Gone;
            self.applied_transactions = AppliedTransactions::default();
        }
        self.engine.handle(Input::Release)?;
        Ok(())
    }

    fn has_reached_its_end(&self) -> bool {
        match self.until {
            Until::Forever => false,
            Until::Applied(lsn) => {
                self.copy == CopyState::Settled
                    && self.engine.is_proven()
                    && self.engine.applied().lsn >= lsn
            }
        }
    }

    /// Rows are written beside the stream.
    fn is_copying(&self) -> bool {
        self.copier_writes && self.copy != CopyState::Settled
    }

    fn wakeup(&self) -> Instant {
        /// The loop turns at least this often.
        const IDLE_WAKEUP: Duration = Duration::from_secs(1);
        let engine = self.engine.wakeup().map(|since_start| self.started + since_start);
        let copy = match self.copy {
            CopyState::StreamTurn(end) | CopyState::Resting(end) => Some(end),
            _ => None,
        };
        let idle = Instant::now() + IDLE_WAKEUP;
        [engine, copy].into_iter().flatten().fold(idle, Instant::min)
    }

    fn show(&self) {
        self.status.send_modify(|status| {
            status.received = self.engine.received();
            status.applied = self.engine.applied();
            status.complete = self.engine.complete();
            status.portion = self.engine.portion();
            status.oldest_unapplied = self.engine.oldest_unapplied();
            status.copying = self.copier_copies && self.is_copying();
            status.turned_at = Some(Instant::now());
        });
    }
}
