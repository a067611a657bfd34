//! Batches as records.
//!
//! ```text
//! shares of a batch:  [tx 1: 0 1 2 end] [tx 2: 0 1 ...   ]      idle position
//! records:             r r r+end_lsn     r r                    heartbeat+end_lsn
//! ```
//!
//! A position is said by the last record of the transaction that leads to it, or by a heartbeat.
//! Every position that a batch leads to is said, so that the topic's end is never behind what was
//! acknowledged.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    change::{Change, Relation, Timestamp},
    engine::Batch,
    envelope::{EncodeError, Encoder, Place, Record},
    graph::TableIndex,
    lsn::Lsn,
    mapping::Mapping,
    pipeline::{Failure, Operation, Prepare, Ready, Tally},
};

use super::tail::COPIED_HEADER;

/// A stream that is never idle has a heartbeat at least this often: whoever looks for one at the
/// topic's end need not look far.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// Which tables are in the topic, by object id: what heartbeats say.
pub type Copied = watch::Receiver<Vec<u32>>;

/// A heartbeat: the topic has everything before `end_lsn`, and the rows of these tables.
pub fn heartbeat(encoder: &Encoder, end_lsn: Lsn, copied: &[u32]) -> Record {
    let mut record = encoder.heartbeat(end_lsn, now());
    let list: Vec<String> = copied.iter().map(u32::to_string).collect();
    record.headers.push((COPIED_HEADER.to_owned(), Bytes::from(list.join(","))));
    record
}

/// The clock's time.
pub fn now() -> Timestamp {
    Timestamp { unix_micros: chrono::Utc::now().timestamp_micros() }
}

/// Makes records of batches.
pub struct Encoding {
    encoder: Encoder,
    mapping: Arc<Mapping>,
    copied: Copied,
    /// Where each table that was met is in the mapping.
    indexes: HashMap<u32, Option<TableIndex>>,
    last_heartbeat: Instant,
}

impl Failure for EncodeError {
    fn is_transient(&self) -> bool {
        false
    }
}

impl Encoding {
    /// Counts changes of the mapping's tables; all that come are encoded.
    pub fn new(encoder: Encoder, mapping: Arc<Mapping>, copied: Copied) -> Self {
        let (indexes, last_heartbeat) = (HashMap::new(), Instant::now());
        Encoding { encoder, mapping, copied, indexes, last_heartbeat }
    }

    fn count(&mut self, tally: &mut Tally, change: &Change) {
        let (relations, operation) = match change {
            Change::Insert { relation, .. } => (std::slice::from_ref(relation), Operation::Insert),
            Change::Update { relation, .. } => (std::slice::from_ref(relation), Operation::Update),
            Change::Delete { relation, .. } => (std::slice::from_ref(relation), Operation::Delete),
            Change::Truncate { relations } => (relations.as_slice(), Operation::Truncate),
        };
        for relation in relations {
            if let Some(table) = self.index(relation) {
                tally.add(table, operation);
            }
        }
    }

    fn index(&mut self, relation: &Relation) -> Option<TableIndex> {
        let find = || self.mapping.table_index(&relation.schema, &relation.name);
        *self.indexes.entry(relation.oid).or_insert_with(find)
    }
}

impl Prepare for Encoding {
    type Prepared = Ready<Vec<Record>>;
    type Error = EncodeError;

    fn prepare(&mut self, batch: Batch, _: bool) -> Result<Self::Prepared, EncodeError> {
        let now = now();
        let commits = batch.commits();
        let Batch { changes, shares, advance, .. } = batch;
        let mut tally = Tally::new(self.mapping.model.tables.len());
        let mut records = Vec::with_capacity(changes.len() + 1);
        let mut said = None;
        let mut rest = changes.iter();
        for share in &shares {
            for (index, change) in rest.by_ref().take(share.changes).enumerate() {
                let place = Place {
                    commit_lsn: share.commit_lsn,
                    event_index: share.first_event + index as u64,
                    xid: share.xid,
                    committed_at: share.committed_at,
                    end: share.end.filter(|_| index + 1 == share.changes),
                };
                let encoded = self.encoder.change(&place, change, now)?;
                if !encoded.is_empty() {
                    said = place.end;
                }
                records.extend(encoded);
                self.count(&mut tally, change);
            }
        }
        assert!(rest.next().is_none(), "every change of a batch belongs to a share");
        let due = self.last_heartbeat.elapsed() >= HEARTBEAT_INTERVAL;
        if advance.to.part.is_none() && (due || said != Some(advance.to.lsn)) {
            records.push(heartbeat(&self.encoder, advance.to.lsn, &self.copied.borrow()));
            self.last_heartbeat = Instant::now();
        }
        Ok(Ready::new(records, changes.len(), tally, commits))
    }
}
