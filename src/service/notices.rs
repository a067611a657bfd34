//! What translations meet: counted each time, said once in a while.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    change::Change,
    graph::{Event, Model},
    lsn::Lsn,
    mapping::{Notice, TranslateError, Translator},
    metrics::Metrics,
    pipeline::{Failure, Reshaped, Translate, Verdict},
};

/// The same is said of a column at most once in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The notices of a run, from its stream and from the lanes of its copy.
pub struct Notices {
    metrics: Arc<Metrics>,
    /// What was said when, and how often it was met since. The key is the notice without its count.
    said: Mutex<HashMap<Notice, (Instant, u64)>>,
}

impl Notices {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Notices { metrics, said: Mutex::default() }
    }

    /// Counts what was met, and says what was not said just now.
    pub fn tell(&self, met: Vec<Notice>) {
        for notice in met {
            if let Notice::Fallback { table, column, count } = &notice {
                self.metrics.counts().unmapped(&table.in_file(), column, *count);
            }
            if let Some(notice) = self.due(notice) {
                tracing::warn!("{notice}");
            }
        }
    }

    /// The notice with everything that was met since it was said last, if it is time to say it.
    fn due(&self, mut notice: Notice) -> Option<Notice> {
        let count = notice.count_mut().map(std::mem::take).unwrap_or(0);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let (said_at, since) = match said.get_mut(&notice) {
            Some((said_at, since)) => (said_at, since),
            None => {
                said.insert(notice.clone(), (Instant::now(), 0));
                return Some(with_count(notice, count));
            }
        };
        *since += count;
        if said_at.elapsed() < LOG_INTERVAL {
            return None;
        }
        *said_at = Instant::now();
        let count = std::mem::take(since);
        Some(with_count(notice, count))
    }
}

fn with_count(mut notice: Notice, count: u64) -> Notice {
    if let Some(place) = notice.count_mut() {
        *place = count;
    }
    notice
}

/// A translator that tells its notices once a batch.
pub struct Noticing {
    translator: Translator,
    notices: Arc<Notices>,
}

impl Noticing {
    pub fn new(translator: Translator, notices: Arc<Notices>) -> Self {
        Noticing { translator, notices }
    }
}

impl Translate for Noticing {
    type Error = TranslateError;

    fn translate(&mut self, change: &Change, committed: Lsn) -> Result<Option<Event>, Self::Error> {
        self.translator.translate(change, committed)
    }

    fn batch_translated(&mut self) {
        let met = self.translator.take_notices();
        if !met.is_empty() {
            self.notices.tell(met);
        }
    }

    fn model(&self) -> &Model {
        &self.translator.mapping().model
    }
}

impl Failure for TranslateError {
    fn verdict(&self) -> Verdict {
        Verdict::again_if(self.is_reshaped())
    }

    fn needs_copy(&self) -> bool {
        !self.is_reshaped()
    }

    fn reshaped(&self) -> Option<Reshaped> {
        match self {
            TranslateError::Reshaped { .. } => Some(Reshaped::Since),
            TranslateError::Unexplained { sent, .. } => Some(Reshaped::Before(sent.clone())),
            _ => None,
        }
    }
}
