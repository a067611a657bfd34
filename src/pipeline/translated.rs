//! A sink of statements as a sink of batches: translation, folding and planning in between.
//!
//! ```text
//! Batch of changes --Translate--> events --fold--> mutations --plan--> statements --> StatementSink
//!                                    |                                                     |
//!                                    +-- Tally -------------- once written --------> Observer
//! ```

use std::{error::Error, future::Future, time::Instant};

use crate::{
    change::Change,
    checkpoint::Advance,
    engine::Batch,
    graph::{self, Circumstances, Model, Mutations, Statement},
};

use super::{
    Failure, Sink,
    observer::{Observer, Tally, Written},
};

/// Turns changes into the graph's terms.
pub trait Translate: Send + 'static {
    /// A change that does not fit the mapping: never transient.
    type Error: Error + Send + Sync + 'static;

    /// The event a change is in the graph's terms; `None` when its table is not mapped.
    fn translate(&mut self, change: &Change) -> Result<Option<graph::Event>, Self::Error>;

    /// All changes of a batch have been translated: what was met may be told.
    fn batch_translated(&mut self) {}

    /// The shapes the events speak of.
    fn model(&self) -> &Model;
}

/// Where planned statements go.
pub trait StatementSink: Send + 'static {
    /// Why they could not be written.
    type Error: Failure;

    /// Writes them in order, with the checkpoint's step, atomically. Statements that clear a table
    /// come first and may be committed in pieces before the rest, each under the checkpoint's
    /// `from` position.
    fn write(
        &mut self,
        advance: Advance,
        statements: Vec<Statement>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// A [`Sink`] made of a translator and a [`StatementSink`].
pub struct Translated<T, K, O = ()> {
    translator: T,
    sink: K,
    observer: O,
    tally: Tally,
}

impl<T: Translate, K, O> Translated<T, K, O> {
    /// Translates, writes, and tells the observer.
    pub fn new(translator: T, sink: K, observer: O) -> Self {
        let tally = Tally::new(translator.model().tables.len());
        Translated { translator, sink, observer, tally }
    }
}

/// Why a batch did not get into the graph.
#[derive(Debug, thiserror::Error)]
pub enum TranslatedError<T: Error + 'static, K: Error + 'static> {
    /// A change does not fit the mapping.
    #[error(transparent)]
    Translate(T),
    /// The statements could not be written.
    #[error(transparent)]
    Write(K),
}

impl<T: Error + Send + Sync + 'static, K: Failure> Failure for TranslatedError<T, K> {
    fn is_transient(&self) -> bool {
        match self {
            TranslatedError::Translate(_) => false,
            TranslatedError::Write(error) => error.is_transient(),
        }
    }
}

impl<T: Translate, K: StatementSink, O: Observer> Sink for Translated<T, K, O> {
    type Error = TranslatedError<T::Error, K::Error>;

    async fn write(&mut self, batch: Batch, settled: bool) -> Result<(), Self::Error> {
        let Batch { changes, advance, whole_transactions, commits, .. } = batch;
        let count = changes.len();
        self.tally.clear();
        let mut mutations = Mutations::default();
        for change in changes {
            let event = self.translator.translate(&change).map_err(TranslatedError::Translate)?;
            if let Some(event) = event {
                self.tally.count(&event);
                mutations.push(event);
            }
        }
        self.translator.batch_translated();
        let circumstances = Circumstances { whole_transactions, settled };
        let statements = graph::plan(self.translator.model(), mutations, circumstances);
        let started = Instant::now();
        self.sink.write(advance, statements).await.map_err(TranslatedError::Write)?;
        if count > 0 {
            let (tally, took) = (&self.tally, started.elapsed());
            self.observer.written(&Written { changes: count, tally, commits: &commits, took });
        }
        Ok(())
    }
}
