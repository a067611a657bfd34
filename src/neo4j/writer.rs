//! The writer of one lane. It writes a batch and its position in one transaction, and retries until
//! the batch is known to be in the graph.
//!
//! ```text
//!          +--------------------------- again, after a pause ---------------------------+
//!          v                                                                            |
//! BEGIN -> lock and compare-and-set --passed--> statements -> COMMIT --no answer, or transient --+
//!              |                                         \--answered--> written
//!              refused -> lock and read: where it leads, under our epoch -> written (the COMMIT had got through)
//!                                        where it begins                 -> again
//!                                        earlier, or an earlier epoch    -> put back
//!                                        no checkpoint                   -> gone
//!                                        anything else                   -> fenced
//! ```
//!
//! It tries a small, familiar batch as one statement first ([`fused`]). If that does not succeed,
//! the attempts above find out what happened.
//!
//! Why an unanswered COMMIT needs no special case: the next attempt's compare-and-set waits for the
//! node's lock, so it sees the result of the last one. After a refusal, the writer reads the node
//! under the lock. Reading without the lock would be wrong: a COMMIT in progress would look as if
//! it had not happened.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use neo4rs::summary::Counters;

use crate::{
    checkpoint::{Advance, Claim, Epoch, Identity, Position, PutBack, place},
    copy::{ChunkStep, Progress},
    lsn::Lsn,
};

pub use super::write_error::WriteError;

use super::{
    checkpoint, checkpoint_row,
    connect::{Connection, Transaction},
    copy_progress,
    cypher::Query,
    error::Error,
    fused::{self, Familiar},
    parameter, requests,
    retry::{Retry, Warnings},
    write_error::given_up,
};

/// The time limit for a fused transaction; then the writer sends the statements one by one.
const FUSED_LIMIT: Duration = Duration::from_secs(30);

/// One call retries this often after an administrator has ended its transaction.
const TERMINATED_LIMIT: u32 = 1;

/// The retries of a writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retries {
    /// Neo4j asked for it: deadlocks and the like.
    pub transient: u64,
    /// The connection broke.
    pub lost: u64,
    /// An administrator ended the transaction.
    pub terminated: u64,
    /// Unanswered COMMITs that had taken effect, out of all of these.
    pub settled: u64,
}

/// Writes for one log of a pipeline under one epoch, one transaction at a time.
///
/// Do not drop a call's future and continue with another writer: the open transaction keeps its
/// locks until this writer begins the next one, or is dropped.
pub struct Writer {
    connection: Connection,
    identity: Identity,
    epoch: Epoch,
    retries: Retries,
    tell: TellRetry,
    warnings: Warnings,
    familiar: Familiar,
}

/// Receives the reason of every retry: `deadlock`, `transient`, `lost`, `terminated`, and `settled`
/// for a COMMIT.
pub type TellRetry = Arc<dyn Fn(&'static str) + Send + Sync>;

/// A statement of one attempt.
struct Run<'a> {
    query: neo4rs::Query,
    /// The query that it comes from, if that has a fallback.
    of: Option<&'a Query>,
}

impl<'a> From<neo4rs::Query> for Run<'a> {
    fn from(query: neo4rs::Query) -> Self {
        Run { query, of: None }
    }
}

impl<'a> From<&'a Query> for Run<'a> {
    fn from(of: &'a Query) -> Self {
        Run { query: parameter::query(of), of: Some(of) }
    }
}

/// The statements of one attempt.
type Runs<'a> = Box<dyn Iterator<Item = Run<'a>> + Send + 'a>;

/// The compare-and-set before a transaction's data.
enum Guard<'a> {
    Advance(&'a Advance),
    Hold(&'a Position),
    Chunk(&'a ChunkStep),
}

/// The place where an attempt failed.
enum Attempt {
    /// The compare-and-set did not find the expected state.
    Refused,
    /// Before, or beside, the data's statements.
    Around(Error),
    /// At this statement.
    At(usize, Error),
}

/// The meaning of a refused compare-and-set.
enum Found {
    Before,
    After,
    PutBack(PutBack),
    Other { expected: String, found: String },
}

impl Writer {
    /// A writer under a claimed epoch. `connection` must be its own.
    pub fn new(connection: Connection, identity: Identity, epoch: Epoch) -> Self {
        let (retries, tell): (_, TellRetry) = (Retries::default(), Arc::new(|_| {}));
        let (warnings, familiar) = (Warnings::default(), Familiar::default());
        Writer { connection, identity, epoch, retries, tell, warnings, familiar }
    }

    /// Reports every retry from now on.
    pub fn telling(self, tell: TellRetry) -> Self {
        Writer { tell, ..self }
    }

    /// Reports a retry for a reason outside the writer.
    pub(super) fn tell(&self, reason: &'static str) {
        (self.tell)(reason);
    }

    /// The epoch it writes under.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Its retries so far.
    pub fn retries(&self) -> Retries {
        self.retries
    }

    /// Writes the statements and moves the checkpoint, atomically.
    pub async fn write(&mut self, advance: &Advance, queries: &[Query]) -> Result<(), WriteError> {
        assert!(advance.from != advance.to, "a step that leads nowhere can not be settled");
        self.guarded(&Guard::Advance(advance), queries).await.map(drop)
    }

    /// The same with the queries prepared for the first attempt; `queries` serve the later ones.
    pub async fn write_ready(
        &mut self,
        advance: &Advance,
        ready: Vec<neo4rs::Query>,
        queries: &[Query],
    ) -> Result<(), WriteError> {
        assert!(advance.from != advance.to, "a step that leads nowhere can not be settled");
        if self.familiar.meet(queries) && self.write_fused(advance, queries).await {
            return Ok(());
        }
        let mut ready = Some(ready);
        let queries = || -> Runs<'_> {
            let again = queries.iter();
            match ready.take() {
                Some(ready) => {
                    let of = again.map(Some);
                    Box::new(ready.into_iter().zip(of).map(|(query, of)| Run { query, of }))
                }
                None => Box::new(again.map(Run::from)),
            }
        };
        self.until_settled(&Guard::Advance(advance), queries).await.map(drop)
    }

    /// Tries both in one statement. Returns whether it is known to have succeeded.
    async fn write_fused(&mut self, advance: &Advance, queries: &[Query]) -> bool {
        let then = fused::calls(queries);
        let query = checkpoint::advance_query(&self.identity, self.epoch, advance, &then);
        let ran =
            self.connection.run_alone(parameter::with_rows(query, queries), FUSED_LIMIT).await;
        match ran {
            Ok(did) => checkpoint::passed(&did),
            Err(error) => {
                tracing::debug!(%error, "Neo4j did not take one statement");
                self.count(&error);
                false
            }
        }
    }

    /// Writes the statements and moves a copy's progress, atomically.
    pub async fn write_chunk(
        &mut self,
        step: &ChunkStep,
        queries: &[Query],
    ) -> Result<(), WriteError> {
        self.guarded(&Guard::Chunk(step), queries).await.map(drop)
    }

    /// Writes repeatable statements, such as pieces of a truncate or sweeps. The checkpoint stays
    /// `at` its position. Returns their counters; after an unanswered COMMIT, those of the
    /// repetition.
    pub async fn write_piece(
        &mut self,
        at: &Position,
        queries: &[Query],
    ) -> Result<Counters, WriteError> {
        self.guarded(&Guard::Hold(at), queries).await
    }

    /// Moves the checkpoint to the reset position. Records before `until` are applied again.
    pub async fn reset(&mut self, advance: &Advance, until: Lsn) -> Result<(), WriteError> {
        assert!(advance.from != advance.to, "a step that leads nowhere can not be settled");
        let query = checkpoint::replay_query(&self.identity, until);
        let queries = || [Run::from(query.clone())].into_iter();
        self.until_settled(&Guard::Advance(advance), queries).await.map(drop)
    }

    /// Restarts the copy of tables: replaces their progress nodes by these.
    pub async fn restart_copy(
        &mut self,
        at: &Position,
        tables: &[&str],
        progress: &[Progress],
    ) -> Result<(), WriteError> {
        let queries = [
            copy_progress::remove_query(&self.identity.pipeline, tables),
            copy_progress::create_query(&self.identity.pipeline, self.epoch, progress),
        ];
        self.until_settled(&Guard::Hold(at), || queries.iter().cloned().map(Run::from))
            .await
            .map(drop)
    }

    /// Ends the copy: deletes its progress nodes. A repair that runs is done with it.
    pub async fn end_copy(&mut self, at: &Position) -> Result<(), WriteError> {
        let pipeline = &self.identity.pipeline;
        let queries = [copy_progress::end_query(pipeline), requests::done_query(pipeline)];
        let all = || queries.iter().cloned().map(Run::from);
        self.until_settled(&Guard::Hold(at), all).await.map(drop)
    }

    async fn guarded(
        &mut self,
        guard: &Guard<'_>,
        queries: &[Query],
    ) -> Result<Counters, WriteError> {
        self.until_settled(guard, || queries.iter().map(Run::from)).await
    }

    /// Tries until the outcome is known.
    async fn until_settled<'q, Q: Iterator<Item = Run<'q>>>(
        &mut self,
        guard: &Guard<'_>,
        mut queries: impl FnMut() -> Q,
    ) -> Result<Counters, WriteError> {
        let mut retry = Retry::new();
        let mut terminated = 0;
        loop {
            let (statement, error) = match self.attempt(guard, queries()).await {
                Ok(counters) => return Ok(counters),
                Err(Attempt::Refused) => match self.look(guard).await {
                    Ok(Found::After) => {
                        self.retries.settled += 1;
                        (self.tell)("settled");
                        return Ok(Counters::default());
                    }
                    Ok(Found::Before) => {
                        (None, Error::Lost("the last COMMIT had no answer".to_owned()))
                    }
                    Ok(Found::PutBack(put_back)) => return Err(WriteError::PutBack(put_back)),
                    Ok(Found::Other { expected, found }) => {
                        return Err(WriteError::Fenced { expected, found });
                    }
                    Err(error) => (None, error),
                },
                Err(Attempt::Around(error)) => (None, error),
                Err(Attempt::At(statement, error)) => (Some(statement), error),
            };
            match (&error, statement) {
                (Error::Terminated(_), _) => terminated += 1,
                (Error::TooLarge(_), Some(_)) => return Err(WriteError::TooLarge { error }),
                (Error::Data(_), Some(statement)) => {
                    return Err(WriteError::Data { statement, error });
                }
                (Error::Login(_) | Error::Fatal(_) | Error::Data(_), _) => {
                    return Err(WriteError::Fatal(error));
                }
                (
                    Error::Transient(_) | Error::Failed(_) | Error::Lost(_) | Error::TooLarge(_),
                    _,
                ) => {}
            }
            if terminated > TERMINATED_LIMIT {
                return Err(WriteError::Fatal(error));
            }
            match self.warnings.due(&error, Instant::now()) {
                Some(others) => {
                    tracing::warn!(%error, others, "Neo4j did not take a write: trying again")
                }
                None => tracing::debug!(%error, "Neo4j did not take a write: trying again"),
            }
            if !retry.wait().await {
                return Err(given_up(error, statement));
            }
            self.count(&error);
        }
    }

    async fn attempt(
        &self,
        guard: &Guard<'_>,
        queries: impl Iterator<Item = Run<'_>>,
    ) -> Result<Counters, Attempt> {
        let mut transaction = self.connection.begin().await.map_err(Attempt::Around)?;
        let compared =
            transaction.run(self.compare_and_set(guard)).await.map_err(Attempt::Around)?;
        if !checkpoint::passed(&compared) {
            transaction.rollback().await;
            return Err(Attempt::Refused);
        }
        let counters = run_all(&mut transaction, queries).await?;
        // Memory may run out at COMMIT too. The error then names the last statement, as good as
        // any.
        transaction.commit().await.map_err(|error| match error {
            Error::TooLarge(_) | Error::Data(_) => Attempt::At(usize::MAX, error),
            error => Attempt::Around(error),
        })?;
        Ok(counters)
    }

    fn compare_and_set(&self, guard: &Guard<'_>) -> neo4rs::Query {
        match guard {
            Guard::Advance(advance) => {
                checkpoint::advance_query(&self.identity, self.epoch, advance, "")
            }
            Guard::Hold(at) => checkpoint::hold_query(&self.identity, self.epoch, at),
            Guard::Chunk(step) => {
                copy_progress::step_query(&self.identity.pipeline, self.epoch, step)
            }
        }
    }

    /// Reads under the node's lock why a compare-and-set was refused.
    async fn look(&self, guard: &Guard<'_>) -> Result<Found, Error> {
        let mut transaction = self.connection.begin().await?;
        let found = match guard {
            Guard::Advance(advance) => {
                self.look_at_checkpoint(&mut transaction, &advance.from, Some(&advance.to)).await
            }
            Guard::Hold(at) => self.look_at_checkpoint(&mut transaction, at, None).await,
            Guard::Chunk(step) => self.look_at_progress(&mut transaction, step).await,
        };
        transaction.rollback().await;
        found
    }

    async fn look_at_checkpoint(
        &self,
        transaction: &mut Transaction,
        from: &Position,
        to: Option<&Position>,
    ) -> Result<Found, Error> {
        let rows = transaction.rows(checkpoint::locked_read_query(&self.identity)).await?;
        let found = rows.first().map(checkpoint_row::checkpoint_of).transpose()?;
        let position = found.as_ref().filter(|it| it.epoch == self.epoch).map(|it| it.position);
        match position {
            Some(position) if position == *from => return Ok(Found::Before),
            Some(position) if Some(&position) == to => return Ok(Found::After),
            _ => {}
        }
        let claim = Claim { identity: self.identity.clone(), epoch: self.epoch };
        if let Some(put_back) = PutBack::of(found.as_ref(), &claim, from) {
            return Ok(Found::PutBack(put_back));
        }
        let log = &self.identity.log;
        let found = found.map(|it| place(log, it.epoch, &it.position)).unwrap_or_default();
        Ok(Found::Other { expected: place(log, self.epoch, from), found })
    }

    async fn look_at_progress(
        &self,
        transaction: &mut Transaction,
        step: &ChunkStep,
    ) -> Result<Found, Error> {
        let place = |epoch, block, done, file| {
            format!("epoch {epoch}, block {block} of {} (file {file}, done: {done})", step.table)
        };
        let expected =
            |block, done| place(self.epoch.0, i64::from(block), done, i64::from(step.relfilenode));
        let rows = transaction
            .rows(copy_progress::locked_read_query(&self.identity.pipeline, step))
            .await?;
        let before = expected(step.from_block, false);
        let Some(row) = rows.first() else {
            // Another writer may have copied the rest, but leaves the checkpoint.
            let query = checkpoint::locked_read_query(&self.identity);
            return Ok(match transaction.rows(query).await?.is_empty() {
                true => Found::PutBack(PutBack::Gone { expected: before }),
                false => Found::Other { expected: before, found: "no progress node".to_owned() },
            });
        };
        let epoch: i64 = checkpoint_row::get(row, "epoch")?;
        let block: i64 = checkpoint_row::get(row, "next_block")?;
        let file: i64 = checkpoint_row::get(row, "relfilenode")?;
        let is_older = epoch < self.epoch.0
            || (epoch, file) == (self.epoch.0, i64::from(step.relfilenode))
                && block < i64::from(step.from_block);
        Ok(match place(epoch, block, checkpoint_row::get(row, "done")?, file) {
            found if found == before => Found::Before,
            found if found == expected(step.to_block, step.done) => Found::After,
            found if is_older => Found::PutBack(PutBack::Older { expected: before, found }),
            found => Found::Other { expected: before, found },
        })
    }

    fn count(&mut self, error: &Error) {
        let (count, reason) = match error {
            Error::Terminated(_) => (&mut self.retries.terminated, "terminated"),
            Error::Lost(_) => (&mut self.retries.lost, "lost"),
            // Several writers meet at rows that many other rows refer to.
            _ if error.is_deadlock() => (&mut self.retries.transient, "deadlock"),
            // These recur, and are reported then.
            Error::Login(_) | Error::Fatal(_) | Error::Data(_) => return,
            _ => (&mut self.retries.transient, "transient"),
        };
        *count += 1;
        (self.tell)(reason);
    }
}

async fn run_all(
    transaction: &mut Transaction,
    queries: impl Iterator<Item = Run<'_>>,
) -> Result<Counters, Attempt> {
    let mut counters = Counters::default();
    for (statement, Run { query, of }) in queries.enumerate() {
        let ran = match of {
            Some(of) => transaction.run_rendered(query, of).await,
            None => transaction.run(query).await,
        };
        counters.merge(&ran.map_err(|error| Attempt::At(statement, error))?);
    }
    Ok(counters)
}
