//! A sink of statements as a sink of batches: translation, folding and planning in between.
//!
//! ```text
//! Batch of changes --Translate--> events --fold--> mutations --plan--> statements --> StatementSink
//! ```

use std::{error::Error, future::Future};

use crate::{
    change::Change,
    checkpoint::Advance,
    engine::Batch,
    graph::{self, Circumstances, Model, Mutations, Statement},
};

use super::{Failure, Sink};

/// Turns changes into the graph's terms.
pub trait Translate: Send + 'static {
    /// A change that does not fit the mapping: never transient.
    type Error: Error + Send + Sync + 'static;

    /// The event a change is in the graph's terms; `None` when its table is not mapped.
    fn translate(&mut self, change: &Change) -> Result<Option<graph::Event>, Self::Error>;

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
pub struct Translated<T, K> {
    /// What translates.
    pub translator: T,
    /// What writes.
    pub sink: K,
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

impl<T: Translate, K: StatementSink> Sink for Translated<T, K> {
    type Error = TranslatedError<T::Error, K::Error>;

    async fn write(&mut self, batch: Batch, settled: bool) -> Result<(), Self::Error> {
        let Batch { changes, advance, whole_transactions, .. } = batch;
        let mut mutations = Mutations::default();
        for change in changes {
            let event = self.translator.translate(&change).map_err(TranslatedError::Translate)?;
            event.into_iter().for_each(|event| mutations.push(event));
        }
        let circumstances = Circumstances { whole_transactions, settled };
        let statements = graph::plan(self.translator.model(), mutations, circumstances);
        self.sink.write(advance, statements).await.map_err(TranslatedError::Write)
    }
}
