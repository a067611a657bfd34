//! The copy into the topic: the rows of a table as read records, while the stream is held.
//!
//! ```text
//! turn:  begin (lock, snapshot) -> seen? -> rows -> records -> ... -> heartbeat: the table is there
//! ```
//!
//! A table is read under one snapshot, during one hold. The snapshot sees every transaction that was
//! published, so a row is never older than what is in the topic before it; what comes after it is in
//! the row already, and ends equal, or is newer. Because one snapshot has the whole table, each row
//! is read exactly once, whole, and no later change can find it missing.
//!
//! Nobody waits long for that: a table that somebody waits for is given up, in the middle of its rows
//! too, and published again from its first row in another turn.
//!
//! Progress is a table: a heartbeat names those that are there, in every partition. A publisher that
//! was killed in the middle of one publishes that one again.
//!
//! The snapshot may see commits that are not published yet. Until the stream is past them, heartbeats say up to where
//! they may be, the first one before the rows: a standby that is promoted has to have them all.
//!
//! A row's record says where the stream stood. Nothing behind that position precedes it in its
//! partition: the producer notices if somebody else's records come between. The publisher first publishes
//! again everything that partitions have beyond the one that is furthest back, and all transactions without
//! their end. So a row's record behind a later position can only come late from a publisher that was killed,
//! and is passed over.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::{
    catalog::{Catalog, Table},
    change::{Relation, Tuple},
    copy::Progress,
    envelope::{DecodeOptions, Decoder, EncodeError, Encoder, Snapshot},
    graph::Pass,
    kafka::{
        self,
        encode::{EncodingError, HEARTBEAT_RECORDS, Reached, heartbeat},
        producer::Producer,
    },
    lsn::Lsn,
    metrics::Copying,
    pipeline::{Copier, Failure, Held, Turn, Verdict, now},
    postgres::{error::ReadError, rows::TableReader},
    service::attempts::stopped,
    shown::seconds,
    topic::{
        copied::Told,
        routing::{Layout, Routed},
        whose::Through,
    },
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// How long a table is left alone that others want.
const TAKEN_PAUSE: Duration = Duration::from_millis(500);
/// The pause before a snapshot is taken again that did not see all that is published, or before the
/// stream is held again that stood within a transaction.
const PAUSE: Duration = Duration::from_millis(10);

/// Where the rows come from.
pub struct Rows {
    /// Reads them.
    pub reader: TableReader,
    /// The tables, in the catalog.
    pub tables: Vec<Table>,
    /// A transaction id that was given out after this instance had the slot. Transactions that ran
    /// then must have ended: an earlier instance may have published them, and a snapshot may not
    /// see them yet.
    pub ended_before: u64,
    /// What the topic has in some partition goes up to here: it has to be in all of them first.
    pub after: Lsn,
}

/// Where the rows go.
pub struct To {
    /// Makes records of them.
    pub encoder: Encoder,
    /// Produces them.
    pub producer: Producer,
    /// What heartbeats say of the copy.
    pub copied: watch::Sender<Told>,
    /// What the source is read through.
    pub through: Through,
    /// Whose records go where.
    pub layout: Layout,
}

impl To {
    /// A heartbeat of a stream that stands still. It names the tables that are there.
    fn heartbeat(&self, held: &Held) -> Routed {
        let (end_lsn, newest) = (held.position.lsn, held.newest);
        let reached = Reached { end_lsn, newest, through: &self.through };
        heartbeat(&self.encoder, reached, &self.copied.borrow(), &self.layout)
    }
}

/// Copies tables, one after the other.
pub struct RowCopier {
    reader: TableReader,
    tables: VecDeque<(Table, Arc<Relation>)>,
    ended_before: u64,
    after: Lsn,
    to: To,
    stop: watch::Receiver<bool>,
    /// No row was read yet, by this instance.
    is_first: bool,
    /// How far each table is, for who watches: a table is one range.
    progress: watch::Sender<Vec<Progress>>,
}

/// Why the copy can not go on.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source can not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A row can not be encoded.
    #[error(transparent)]
    Encode(#[from] EncodingError),
    /// A row can not be produced.
    #[error(transparent)]
    Produce(#[from] kafka::Error),
}

impl From<EncodeError> for CopyError {
    fn from(error: EncodeError) -> Self {
        CopyError::Encode(error.into())
    }
}

impl Failure for CopyError {
    fn verdict(&self) -> Verdict {
        match self {
            CopyError::Read(error) => error.verdict(),
            CopyError::Encode(_) => Verdict::Stop,
            CopyError::Produce(error) => error.verdict(),
        }
    }

    fn within(&self) -> Option<&dyn Failure> {
        match self {
            CopyError::Read(error) => Some(error),
            CopyError::Encode(error) => Some(error),
            CopyError::Produce(error) => Some(error),
        }
    }
}

impl RowCopier {
    /// Copies the tables of the catalog. When `stop` says so, a turn ends early, and its table is
    /// not there.
    ///
    /// # Panics
    /// When the tables are not the catalog's.
    pub fn new(from: Rows, catalog: &Catalog, to: To, stop: watch::Receiver<bool>) -> Self {
        let Rows { reader, tables, ended_before, after } = from;
        let decoder = Decoder::new(catalog, DecodeOptions::default());
        let progress = watch::Sender::new(tables.iter().map(beginning).collect());
        let tables = tables.into_iter().map(|table| {
            let relation = decoder.relation(&table.name).expect("the table is in the catalog");
            (table, relation.clone())
        });
        let tables = tables.collect();
        RowCopier { reader, tables, ended_before, after, to, stop, is_first: true, progress }
    }

    /// What metrics may know of it.
    pub fn watched(&self, catalog: &Catalog) -> Copying {
        let rows = |table: &Table| Some((table.name.in_file(), table.estimated_rows?));
        let expected = catalog.tables.iter().filter_map(rows).collect();
        Copying { ranges: self.progress.subscribe(), expected }
    }

    fn show(&self, table: &Table, rows: usize, done: bool) {
        let name = table.name.in_file();
        self.progress.send_modify(|ranges| {
            if let Some(range) = ranges.iter_mut().find(|range| range.table == name) {
                (range.rows, range.done) = (rows as u64, done);
            }
        });
    }

    /// Publishes all rows of a table; false when it was stopped before the last, or somebody waits for
    /// the table.
    async fn publish(
        &mut self,
        table: &Table,
        relation: &Arc<Relation>,
        held: &Held,
    ) -> Result<bool, CopyError> {
        let at = held.position.lsn;
        self.reader.open(table).await?;
        let wanted = self.reader.wanted(table);
        tokio::pin!(wanted);
        let is_last_table = self.tables.len() == 1;
        // The last row is known to be the last when there is no other.
        let mut held_back: Option<Tuple> = None;
        let (mut count, mut since) = (0, 0);
        loop {
            let rows = tokio::select! {
                biased;
                waiting = &mut wanted => {
                    self.reader.give_way(table, &waiting?).await?;
                    return Ok(false);
                }
                () = stopped(self.stop.clone()) => return Ok(false),
                rows = self.reader.rows() => rows?,
            };
            let is_end = rows.is_none();
            let mut ready: Vec<Tuple> = held_back.take().into_iter().collect();
            ready.extend(rows.unwrap_or_default());
            if !is_end {
                held_back = ready.pop();
            }
            count += ready.len();
            let mut records: Vec<Routed> = Vec::with_capacity(ready.len());
            for row in &ready {
                let snapshot = match (std::mem::take(&mut self.is_first), is_end && is_last_table) {
                    (_, true) => Snapshot::Last,
                    (true, false) => Snapshot::First,
                    (false, false) => Snapshot::Inside,
                };
                let record = self.to.encoder.read(at, snapshot, relation, row, now())?;
                let routed = self.to.layout.row(record, relation);
                records.push(routed.map_err(|why| EncodingError::of(why, relation))?);
            }
            since += records.len();
            if since >= HEARTBEAT_RECORDS {
                records.push(self.to.heartbeat(held));
                since = 0;
            }
            let produced = self.to.producer.produce(&records);
            tokio::pin!(produced);
            let is_wanted = tokio::select! {
                biased;
                produced = &mut produced => {
                    produced?;
                    false
                }
                waiting = &mut wanted => {
                    // What was read is still published: the hold protects it, not the lock.
                    self.reader.give_way(table, &waiting?).await?;
                    produced.await?;
                    true
                }
            };
            if is_wanted {
                return Ok(false);
            }
            self.show(table, count, is_end);
            if is_end {
                tracing::info!(table = %table.name, rows = count, "copied a table to the topic");
                return Ok(true);
            }
        }
    }
}

fn beginning(table: &Table) -> Progress {
    Progress::new(&table.name.in_file(), Pass::Nodes)
}

impl Copier for RowCopier {
    type Error = CopyError;

    async fn turn(&mut self, held: &mut Held) -> Result<Turn, CopyError> {
        let Some((table, relation)) = self.tables.front().cloned() else {
            return Ok(Turn::Settled);
        };
        if held.position.part.is_some() {
            // A read record in a transaction would cut it in two.
            sleep(PAUSE).await;
            return Ok(Turn::More);
        }
        if held.position.lsn < self.after {
            return Ok(Turn::After(self.after));
        }
        let started = Instant::now();
        let Some(taken) = self.reader.begin(&table).await? else {
            self.reader.release(&table).await?;
            return Ok(Turn::Later(TAKEN_PAUSE));
        };
        let ended = taken.snapshot.xmin() >= self.ended_before;
        if !ended || !held.applied.are_seen_by(&taken.snapshot) {
            self.reader.release(&table).await?;
            sleep(PAUSE).await;
            return Ok(Turn::More);
        }
        if taken.inserted > held.position.lsn {
            let through =
                |told: &mut Told| told.read_through = told.read_through.max(taken.inserted);
            self.to.copied.send_modify(through);
            let before = self.to.heartbeat(held);
            self.to.producer.produce(&[before]).await?;
        }
        if !self.publish(&table, &relation, held).await? {
            self.reader.release(&table).await?;
            return Ok(Turn::Later(TAKEN_PAUSE));
        }
        self.reader.release(&table).await?;
        self.to.copied.send_modify(|told| told.tables.push(table.oid));
        let there = self.to.heartbeat(held);
        self.to.producer.produce(&[there]).await?;
        self.tables.pop_front();
        tracing::debug!(seconds = seconds(started.elapsed()), "the stream was held");
        Ok(if self.tables.is_empty() { Turn::Settled } else { Turn::More })
    }
}
