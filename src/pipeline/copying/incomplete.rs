//! Completes rows that lack values, because the stream did not carry them: reads them by key at the
//! end of a copy.
//!
//! ```text
//! look in the graph -> keys -> rows under a snapshot -> written -> the stream passes the log's end -> look again
//! ```
//!
//! If a row is not found under its key, a change in the stream has moved it away. The row may still
//! be in the graph after the stream has passed the snapshot. If that repeats round after round, the
//! search by key can not find it. The copy then settles, and ends with an error, instead of running for ever:
//! a repair that is asked for removes such rows, and it would wait for a copy that does not end.

use std::collections::BTreeMap;

use crate::{
    copy::Heap,
    graph::{Key, Repair, TableIndex, plan_completed, plan_repaired},
};

use super::{
    super::letters::Rows, ChunkReader, ChunkWriter, Copied, CopyError, GraphReader, Held, Lane,
    Search, TAKEN_PAUSE, TableCopier, Turn, by_key::write_by_key, sees,
};

/// Incomplete rows are read in portions of this many.
pub(super) const INCOMPLETE_ROWS: usize = 1_000;
/// After this many misses in sequence, a row is searched among all rows instead of by its key's
/// text.
const MISSES_BY_TEXT: u32 = 2;
/// After this many misses in sequence, each passed by the stream, a missing row is an error. The
/// limit is above one because a row may go back and forth between two keys.
const MISSES_MAX: u32 = 8;

/// Misses in sequence for each key.
#[derive(Debug, Default)]
pub(super) struct Missed(BTreeMap<(TableIndex, Key), u32>);

impl Missed {
    fn of(&self, table: TableIndex, key: &Key) -> u32 {
        self.0.get(&(table, key.clone())).copied().unwrap_or(0)
    }
}

impl<R: ChunkReader, W: ChunkWriter, G: GraphReader<Error: Into<W::Error>>> TableCopier<R, W, G> {
    /// Reads incomplete rows by key. Settled once the stream has passed the last chunk and a later
    /// search finds none. The search comes second because it scans whole tables.
    pub(super) async fn complete(&mut self, held: &mut Held) -> Copied<Turn, R, W> {
        if self.verifies() {
            self.is_over();
            return Ok(Turn::Settled);
        }
        let lane = &mut self.lanes[0];
        if !self.has_waited {
            self.has_waited = true;
            return Ok(Turn::After(lane.reader.log_end().await.map_err(CopyError::Read)?));
        }
        if let Some(error) = self.lost() {
            let writer = &mut self.lanes[0].writer;
            writer.settle(held.position).await.map_err(CopyError::Write)?;
            self.is_over();
            return Err(error);
        }
        let lane = &mut self.lanes[0];
        let incomplete = lane.writer.incomplete(INCOMPLETE_ROWS).await;
        let mut incomplete = incomplete.map_err(CopyError::Write)?;
        incomplete.retain(|table, _| !self.paused.contains(table));
        if incomplete.is_empty() {
            lane.writer.settle(held.position).await.map_err(CopyError::Write)?;
            self.is_over();
            return Ok(Turn::Settled);
        }
        let (mut missed, mut was_taken) = (BTreeMap::new(), false);
        for (table, keys) in incomplete {
            let heap = Heap { table, partition: None };
            let reader = &mut self.lanes[0].reader;
            let taken = reader.begin(&[heap]).await.map_err(CopyError::Read)?;
            if !sees(&taken, self.ended_before, &mut held.applied) {
                reader.release().await.map_err(CopyError::Read)?;
                return self.unseen().await;
            }
            self.unseen = 0;
            let not_found = match taken.files.contains_key(&heap) {
                true => self.complete_table(held, table, keys).await?,
                false => None,
            };
            self.lanes[0].reader.release().await.map_err(CopyError::Read)?;
            match not_found {
                Some(keys) => missed.extend(keys.into_iter().map(|key| {
                    let misses = self.missed.of(table, &key) + 1;
                    ((table, key), misses)
                })),
                None => was_taken = true,
            }
        }
        self.missed = Missed(missed);
        let log_end = self.lanes[0].reader.log_end().await.map_err(CopyError::Read)?;
        // What was written beside a table that others have has to be passed, too.
        self.has_waited = !was_taken;
        Ok(if was_taken { Turn::Later(TAKEN_PAUSE) } else { Turn::After(log_end) })
    }

    /// Writes the rows of a locked table that have these keys. Returns the keys that were not
    /// found; `None` if another session wants the table.
    async fn complete_table(
        &mut self,
        held: &Held,
        table: TableIndex,
        keys: Vec<Key>,
    ) -> Copied<Option<Vec<Key>>, R, W> {
        let is_elusive = |key: &Key| self.missed.of(table, key) >= MISSES_BY_TEXT;
        let search = match keys.iter().any(is_elusive) {
            true => Search::AmongAll,
            false => Search::ByText,
        };
        let (model, letters) = (self.model.clone(), self.letters.clone());
        let plan = |write| match held.stamp {
            None => plan_completed(&model, table, write),
            // Other partitions are written beside this one.
            stamp => plan_repaired(&model, table, Repair { write, stamp, ..Repair::default() }),
        };
        let of = Rows { model: &model, table, at: held.position, plan };
        let Lane { reader, writer, .. } = &mut self.lanes[0];
        let (sides, letters) = ((reader, writer), (&letters, true));
        let not_found = write_by_key(sides, letters, (&of, &keys), search, |rows| rows).await?;
        Ok(not_found.map(|keys| keys.into_iter().collect()))
    }

    /// Why it ends, once rows were not found round after round.
    fn lost(&self) -> Option<CopyError<R::Error, W::Error>> {
        let is_lost = |((table, _), misses): (&(TableIndex, Key), &u32)| {
            (*misses >= MISSES_MAX).then_some(*table)
        };
        let mut lost = self.missed.0.iter().filter_map(is_lost);
        let table = lost.next()?;
        let rows = 1 + lost.filter(|other| *other == table).count();
        let (table, key) = (self.model.table(table).name.clone(), self.model.key_names(table));
        Some(CopyError::NotFound { table, key, rows })
    }
}
