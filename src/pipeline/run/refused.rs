//! The sink refuses a batch: the batches in flight are ordered again, divided in another way, in the same life.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    engine::{Batch, Input},
    pipeline::Sole,
};

use super::{Copier, Failure, Loop, PipelineError, Prepare, Sink, Source, Worker};

/// What the sink has refused.
pub(super) enum NotTaken {
    /// Several changes, of which fewer may be taken.
    Several,
    /// One.
    One(Sole),
    /// Nothing of the batch: it may come again as it is, in another life.
    Else,
}

impl NotTaken {
    /// The sink has not taken a batch, for this reason.
    pub fn of(batch: &Arc<Batch>, error: &impl Failure) -> Self {
        let events = batch.events();
        match (error.refused(), Sole::of(batch)) {
            (Some(_), _) if events > 1 => NotTaken::Several,
            // The program logs what it retries, and a log must show no values.
            (Some(_), Some(sole)) if !error.is_transient() => NotTaken::One(sole),
            _ => NotTaken::Else,
        }
    }
}

impl<S: Source, P: Prepare, K: Sink<P::Prepared>, C: Copier> Loop<'_, S, P, K, C> {
    /// The first batch in flight was refused. Where that is of use, all come again, in other ones.
    pub(super) async fn not_taken(&mut self, error: K::Error) -> Result<(), PipelineError> {
        let batch = self.flights.front().expect("a refused batch was in flight");
        let not_taken = NotTaken::of(batch, &error);
        if let NotTaken::Else = not_taken {
            return Err(PipelineError::Sink(Box::new(error)));
        }
        if self.preparer.is_away() {
            // If the batch behind can not be prepared, that comes again, too.
            let _behind = self.preparer.back().await?;
        }
        let Worker::Resting(preparer) = &mut self.preparer else {
            panic!("the preparer is never gone");
        };
        let refused = match not_taken {
            NotTaken::One(sole) => match preparer.sets_aside(sole.stands(), &error) {
                true => None,
                false => {
                    let (what, error) = (Box::new(sole), Box::new(error));
                    return Err(PipelineError::Row { what, error });
                }
            },
            NotTaken::Several | NotTaken::Else => error.refused(),
        };
        preparer.take_back(self.flights.len() - self.ordered.len());
        (self.ready, self.ordered) = (None, VecDeque::new());
        let before = self.engine.portion().limit();
        let batches = self.flights.drain(..).map(Arc::unwrap_or_clone).collect();
        self.engine.handle(Input::Back { refused, batches })?;
        let now = self.engine.portion().limit();
        match now == before {
            true => tracing::debug!(%error, "the graph refuses a change: looking for it"),
            false => {
                tracing::warn!(%error, now, "Neo4j does not take so many changes at once: going on with fewer")
            }
        }
        Ok(())
    }
}
