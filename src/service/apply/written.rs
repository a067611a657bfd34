//! How the batches of a partition are made ready and written.

use std::sync::Arc;

use crate::{
    checkpoint::Advance,
    engine::{Batch, Place},
    pipeline::{Failure, Narrow, Prepare, Sink},
    topic::before::LastRecords,
};

/// Makes batches ready for a graph that may have what is in them.
pub struct Unsettled<P>(pub P);

impl<P: Prepare> Prepare for Unsettled<P> {
    type Prepared = P::Prepared;
    type Error = P::Error;

    fn prepare(&mut self, batch: &Batch, _: bool) -> Result<P::Prepared, P::Error> {
        self.0.prepare(batch, false)
    }

    fn take_back(&mut self, batches: usize) {
        self.0.take_back(batches);
    }

    fn sets_aside(&mut self, at: Place, error: &dyn Failure) -> bool {
        self.0.sets_aside(at, error)
    }
}

/// Writes the last record before each position to the checkpoint, which answers for all before it.
pub struct Answering<K> {
    /// Writes the batches.
    pub sink: K,
    /// Those that came.
    pub last_records: LastRecords,
}

impl<B: Send + 'static, K: Sink<B>> Sink<B> for Answering<K> {
    type Error = K::Error;

    async fn write(&mut self, advance: Advance, batch: B) -> Result<(), K::Error> {
        let last_record = self.last_records.before(advance.to.lsn);
        self.sink.write(Advance { last_record, ..advance }, batch).await?;
        self.last_records.forget_before(advance.to.lsn);
        Ok(())
    }

    fn narrow(&self) -> Option<Arc<Narrow>> {
        self.sink.narrow()
    }
}
