//! Turns batches of changes into statements, and reports them to the observer once they are
//! written.
//!
//! ```text
//! Batch of changes --Translate--> events --fold--> mutations --plan--> statements --finish--> Ready
//!                                    |                                                         |
//!                                    +-- Tally ------- Observer <----- once written ---- Observed sink
//! ```

use std::{error::Error, sync::Arc, time::Instant};

use crate::{
    change::{Change, Timestamp},
    checkpoint::Advance,
    engine::{Batch, Place},
    graph::{self, Circumstances, Event, Model, Mutations, Statement},
    lsn::Lsn,
};

use super::{
    Failure, Letters, Named, Narrow, NotSetAside, Prepare, Sink, Verdict,
    observer::{Observer, Tally, Written},
};

/// Turns changes into the graph's terms.
pub trait Translate: Send + 'static {
    /// A change does not fit the mapping.
    type Error: Failure;

    /// Translates a change into an event; `None` if its table is not mapped. Its transaction committed at
    /// this position of the source.
    fn translate(&mut self, change: &Change, committed: Lsn) -> Result<Option<Event>, Self::Error>;

    /// All changes of a batch are translated: the translator may report its notices.
    fn batch_translated(&mut self) {}

    /// The model that the events refer to.
    fn model(&self) -> &Model;
}

/// Translates batches into statements, and the statements into the sink's form.
pub struct Translated<T, F> {
    /// Translates changes.
    pub translator: T,
    /// Learns which rows the events name.
    pub named: Named,
    /// The rows that are set aside.
    pub letters: Letters,
    /// Converts the statements for the sink. This is still work for the processor.
    pub finish: F,
}

/// A batch in the sink's form, with the facts for the observer.
pub struct Ready<B> {
    batch: B,
    changes: usize,
    tally: Tally,
    commits: Vec<Timestamp>,
}

impl<B> Ready<B> {
    /// A batch that came from `changes` changes, including those of unmapped tables. `commits`: the
    /// commit times of the transactions that it completes.
    pub fn new(batch: B, changes: usize, tally: Tally, commits: Vec<Timestamp>) -> Self {
        Ready { batch, changes, tally, commits }
    }
}

impl<T, F, B> Prepare for Translated<T, F>
where
    T: Translate,
    F: FnMut(&Model, Vec<Statement>) -> B + Send + 'static,
    B: Send + 'static,
{
    type Prepared = Ready<B>;
    type Error = PrepareError<T::Error>;

    fn prepare(&mut self, batch: &Batch, settled: bool) -> Result<Ready<B>, Self::Error> {
        let (commits, places) = (batch.commits(), batch.stamps().zip(batch.places()));
        let count = batch.changes.len();
        let mut tally = Tally::new(self.translator.model().tables.len());
        let mut mutations = Mutations::default();
        let mut kept = self.letters.of_next_batch();
        for (change, (stamp, place)) in batch.changes.iter().zip(places) {
            let event = self.translator.translate(change, place.at)?;
            let Some(event) = event else { continue };
            tally.count(&event);
            self.named.event(&event);
            let model = self.translator.model();
            let passed = self.letters.pass(&mut kept, model, event, change, place);
            if let Some(event) = passed.map_err(PrepareError::Row)? {
                mutations.push_at(event, stamp);
            }
        }
        self.translator.batch_translated();
        // A row that is set aside is not in the graph as it is in its table.
        let circumstances = match settled && self.letters.is_empty() {
            true => Circumstances::Settled,
            false => Circumstances::Unsettled,
        };
        let model = self.translator.model();
        let mut statements = graph::plan(model, mutations, circumstances);
        statements.extend(kept.statements());
        let batch = (self.finish)(model, statements);
        Ok(Ready::new(batch, count, tally, commits))
    }

    fn take_back(&mut self, batches: usize) {
        self.letters.take_back(batches);
    }

    fn sets_aside(&mut self, at: Place, error: &dyn Failure) -> bool {
        self.letters.refused(at, error)
    }
}

/// Why a batch can not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError<E: Error + 'static> {
    /// A change does not fit the mapping.
    #[error(transparent)]
    Translate(#[from] E),
    /// A row is neither written nor set aside.
    #[error("{0}")]
    Row(NotSetAside),
}

impl<E: Failure> Failure for PrepareError<E> {
    fn verdict(&self) -> Verdict {
        match self {
            PrepareError::Translate(error) => error.verdict(),
            PrepareError::Row(error) => error.verdict(),
        }
    }

    fn within(&self) -> Option<&dyn Failure> {
        Some(match self {
            PrepareError::Translate(error) => error,
            PrepareError::Row(error) => error,
        })
    }
}

/// A sink that reports every written batch to an observer.
pub struct Observed<K, O = ()> {
    /// Writes.
    pub sink: K,
    /// Receives the reports.
    pub observer: O,
}

impl<K: Sink<B>, O: Observer, B: Send + 'static> Sink<Ready<B>> for Observed<K, O> {
    type Error = K::Error;

    async fn write(&mut self, advance: Advance, ready: Ready<B>) -> Result<(), K::Error> {
        let Ready { batch, changes, tally, commits } = ready;
        let started = Instant::now();
        let written = self.sink.write(advance, batch).await;
        if let Some(refused) = written.as_ref().err().and_then(Failure::refused) {
            self.observer.refused(refused);
        }
        written?;
        if changes > 0 {
            let (tally, commits, took) = (&tally, commits.as_slice(), started.elapsed());
            self.observer.written(&Written { changes, tally, commits, took });
        }
        Ok(())
    }

    fn narrow(&self) -> Option<Arc<Narrow>> {
        self.sink.narrow()
    }
}
