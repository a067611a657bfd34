//! Batches of changes as statements: translation, folding and planning.
//!
//! ```text
//! Batch of changes --Translate--> events --fold--> mutations --plan--> statements --finish--> what the sink takes
//! ```

use std::error::Error;

use crate::{
    change::Change,
    engine::Batch,
    graph::{self, Circumstances, Event, Model, Mutations, Statement},
};

use super::{
    Failure, Prepare,
    observer::{Counted, Tally},
};

/// Turns changes into the graph's terms.
pub trait Translate: Send + 'static {
    /// A change that does not fit the mapping: never transient.
    type Error: Error + Send + Sync + 'static;

    /// The events that the changes are in the graph's terms, in order, each given to `take`; those
    /// of tables that are not mapped are left out.
    fn translate(&mut self, changes: &[Change], take: impl FnMut(Event))
    -> Result<(), Self::Error>;

    /// The shapes the events speak of.
    fn model(&self) -> &Model;
}

/// Makes statements of batches, and of those what a sink takes.
pub struct Translated<T, F> {
    /// What translates.
    pub translator: T,
    /// What becomes of the statements: still work for the processor.
    pub finish: F,
}

/// A change does not fit the mapping.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TranslateFailure<T: Error + 'static>(T);

impl<T: Error + Send + Sync + 'static> Failure for TranslateFailure<T> {
    fn is_transient(&self) -> bool {
        false
    }
}

impl<T, F, B> Prepare for Translated<T, F>
where
    T: Translate,
    F: FnMut(&Model, Vec<Statement>) -> B + Send + 'static,
    B: Send + 'static,
{
    type Prepared = Counted<B>;
    type Error = TranslateFailure<T::Error>;

    fn prepare(&mut self, batch: Batch, settled: bool) -> Result<Counted<B>, Self::Error> {
        let Batch { changes, whole_transactions, commits, .. } = batch;
        let mut mutations = Mutations::default();
        let mut tally = Tally::new(self.translator.model().tables.len());
        let translated = self.translator.translate(&changes, |event| {
            tally.count(&event);
            mutations.push(event);
        });
        translated.map_err(TranslateFailure)?;
        let circumstances = Circumstances { whole_transactions, settled };
        let model = self.translator.model();
        let batch = (self.finish)(model, graph::plan(model, mutations, circumstances));
        Ok(Counted { batch, changes: changes.len(), tally, commits })
    }
}
