//! A batch on its way to the sink.

use crate::{checkpoint::Advance, engine::Batch, lsn::Lsn};

use super::{Failure, PipelineError, Sole};

/// What is known of it.
pub(super) struct Flight {
    /// The checkpoint's step.
    pub advance: Advance,
    /// Its transactions.
    pub xids: Vec<u32>,
    changes: usize,
    /// Its change, if it is the only one.
    sole: Option<Sole>,
    /// The commit position of its transaction, if it is the only one.
    transaction: Option<Lsn>,
}

impl Flight {
    pub fn of(batch: &Batch) -> Self {
        Flight {
            advance: batch.advance,
            xids: batch.xids(),
            changes: batch.changes.len(),
            sole: Sole::of(batch),
            transaction: batch.only_transaction(),
        }
    }

    /// The sink has not taken it, for this reason.
    pub fn not_taken(self, error: Box<dyn Failure>) -> PipelineError {
        let Flight { changes, sole, transaction, .. } = self;
        match (error.refused(), sole) {
            (Some(refused), _) if changes > 1 => {
                PipelineError::Refused { refused, changes, transaction, error }
            }
            // The program logs what it retries, and a log must show no values.
            (Some(_), Some(what)) if !error.is_transient() => {
                PipelineError::Row { what: Box::new(what), error }
            }
            _ => PipelineError::Sink(error),
        }
    }
}
