//! The copy of tables beside the stream: chunks, the hold, and the rows to read again.
//!
//! ```text
//! stream  ──────┤ hold ├──────────────┤ hold ├───────────── until it passes the last chunk ── settled
//! copy          [ snapshot, chunks ]  [ snapshot, chunks ]                        [ incomplete rows by key ]
//! ```
//!
//! The hold makes it correct. The stream stands still from before a chunk's MVCC snapshot until the
//! chunk's commit, and the snapshot sees every transaction that the graph already has. So a chunk
//! is never older than its rows in the graph. A later change of the stream is either in the chunk
//! already, and ends equal, or newer. The stream omits a few values; the copy marks their rows
//! incomplete and reads them again by key.
//!
//! An LSN can not replace the snapshot: PostgreSQL makes a commit visible after it has logged it,
//! so a new snapshot may miss a transaction that the stream has delivered.

use std::{collections::BTreeMap, str::FromStr};

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    graph::{Model, Pass, TableIndex, model::Shape},
    lsn::Lsn,
};

/// An MVCC snapshot as `pg_current_snapshot()` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Every transaction before it has ended.
    xmin: u64,
    /// The snapshot sees no transaction from this id on.
    xmax: u64,
    /// The transactions between that were running.
    in_progress: Vec<u64>,
}

impl Snapshot {
    /// Whether the snapshot sees a committed transaction. The stream sends its id modulo 2^32.
    pub fn sees(&self, xid: u32) -> bool {
        let xid = self.widen(xid);
        xid < self.xmin || (xid < self.xmax && !self.in_progress.contains(&xid))
    }

    /// Every transaction with a lower id has ended.
    pub fn xmin(&self) -> u64 {
        self.xmin
    }

    /// The full id nearest to the snapshot: the ids of a running server are within 2^31 of each
    /// other.
    fn widen(&self, xid: u32) -> u64 {
        let distance = xid.wrapping_sub(self.xmax as u32) as i32;
        self.xmax.saturating_add_signed(i64::from(distance))
    }
}

/// The text is not `xmin:xmax:xip,...`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a snapshot as pg_current_snapshot() prints it")]
pub struct ParseSnapshotError(String);

impl FromStr for Snapshot {
    type Err = ParseSnapshotError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.split(':');
            let (xmin, xmax, list) = (parts.next()?, parts.next()?, parts.next()?);
            let ids = list.split(',').filter(|id| !id.is_empty());
            let in_progress = ids.map(|id| id.parse().ok()).collect::<Option<_>>()?;
            let end = parts.next().is_none();
            end.then_some(Snapshot {
                xmin: xmin.parse().ok()?,
                xmax: xmax.parse().ok()?,
                in_progress,
            })
        };
        parse().ok_or_else(|| ParseSnapshotError(text.to_owned()))
    }
}

/// Transactions in the graph that a new snapshot might not see yet.
#[derive(Clone, Debug, Default)]
pub struct AppliedTransactions {
    xids: Vec<u32>,
}

impl AppliedTransactions {
    /// Adds the transactions of a batch that is in the graph.
    pub fn applied(&mut self, xids: &[u32]) {
        self.xids.extend_from_slice(xids);
    }

    /// Adds others that are in the graph.
    pub fn extend(&mut self, others: AppliedTransactions) {
        self.xids.extend(others.xids);
    }

    /// Forgets rows that were read, and came through a topic: they are of no transaction, and have zero.
    pub fn forget_reads(&mut self) {
        self.xids.retain(|xid| *xid != 0);
    }

    /// Whether rows read under the snapshot are at least as new as the graph. Forgets transactions
    /// that every later snapshot sees too.
    pub fn are_seen_by(&mut self, snapshot: &Snapshot) -> bool {
        self.xids.retain(|xid| !(snapshot.sees(*xid) && snapshot.widen(*xid) < snapshot.xmin));
        self.xids.iter().all(|xid| snapshot.sees(*xid))
    }
}

/// A relation with blocks of its own: a table, or a partition of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Heap {
    /// The mapped table that the rows belong to.
    pub table: TableIndex,
    /// The partition's object id, which survives renaming and rewriting.
    pub partition: Option<u32>,
}

/// The passes that a copy makes over a table.
pub fn passes(model: &Model, table: TableIndex) -> impl Iterator<Item = Pass> {
    let (nodes, relationships) = match &model.table(table).shape {
        Shape::Node(node) => (true, !node.references.is_empty()),
        Shape::Relationship(_) => (false, true),
    };
    let nodes = nodes.then_some(Pass::Nodes);
    nodes.into_iter().chain(relationships.then_some(Pass::Relationships))
}

/// The passes that a reconciliation makes over a table, in this order.
pub const RECONCILED: [Pass; 2] = [Pass::Rows, Pass::Graph];

/// The progress of one pass over one range of a table's blocks: a node in the graph, moved with
/// each chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// `schema.name` of the table.
    pub table: String,
    /// The object id of the partition that has the blocks, if the table has partitions.
    pub partition: Option<u32>,
    /// The pass.
    pub pass: Pass,
    /// The number of the range in its table, from 0.
    pub part: u32,
    /// The next block to read.
    pub next_block: u32,
    /// The block after the range; `None`: the range ends at the table's end, found while reading.
    pub end_block: Option<u32>,
    /// The file that holds the blocks. Another file means that the rows have moved, and the table
    /// starts again.
    pub relfilenode: u32,
    /// Rows that this pass has written over this range.
    pub rows: u64,
    /// The range is done.
    pub done: bool,
    /// The graph lacks changes that no log has any more, until the range is done. So nobody can cancel it.
    pub is_owed: bool,
    /// What is no row's stays: others had the label before the table.
    pub spares: bool,
}

impl Progress {
    /// A pass over a whole table that has not begun. Its blocks have no file yet.
    pub fn new(table: &str, pass: Pass) -> Self {
        Progress {
            table: table.to_owned(),
            partition: None,
            pass,
            part: 0,
            next_block: 0,
            end_block: None,
            relfilenode: 0,
            rows: 0,
            done: false,
            is_owed: false,
            spares: false,
        }
    }

    /// Whether its pass compares tables and graph.
    pub fn compares(&self) -> bool {
        RECONCILED.contains(&self.pass)
    }

    /// Whether the graph lacks rows until it is done. What a repair has still to compare is in the graph, as far as
    /// anybody knows.
    pub fn lacks_rows(&self) -> bool {
        self.is_owed || !self.compares()
    }

    /// The next chunk of `blocks` blocks.
    pub fn next_chunk(&self, blocks: u32) -> Chunk {
        let end = self.next_block.saturating_add(blocks.max(1));
        let end_block = self.end_block.map(|stop| end.min(stop));
        Chunk { from_block: self.next_block, end_block: end_block.or(Some(end)) }
    }

    /// The step of a chunk with this many rows. In a range without an end, `last` marks the chunk
    /// that has reached the table's end: it completes the range.
    pub fn step(&self, chunk: &Chunk, rows: u64, last: bool) -> ChunkStep {
        let to_block = chunk.end_block.unwrap_or(self.next_block);
        ChunkStep {
            table: self.table.clone(),
            pass: self.pass,
            part: self.part,
            from_block: self.next_block,
            to_block,
            relfilenode: self.relfilenode,
            rows,
            done: last || self.end_block.is_some_and(|stop| to_block >= stop),
        }
    }

    /// The step was written.
    pub fn advance(&mut self, step: &ChunkStep) {
        assert!(self.next_block == step.from_block && !self.done, "a step from elsewhere");
        self.next_block = step.to_block;
        self.rows += step.rows;
        self.done = step.done;
    }

    /// Starts again with a file that has not been read yet. The first range takes all of its
    /// blocks; the other ranges have nothing left.
    pub fn restart(&mut self, relfilenode: u32, is_first: bool) {
        self.relfilenode = relfilenode;
        (self.next_block, self.end_block) = (0, None);
        (self.rows, self.done) = (0, !is_first);
    }
}

/// A range of a table's blocks. One graph transaction writes it, or several if its rows are wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The first block.
    pub from_block: u32,
    /// The block after the last; `None`: to the end of the table.
    pub end_block: Option<u32>,
}

/// One step of a range's progress, compared and set in the transaction of the rows it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkStep {
    /// `schema.name` of the table.
    pub table: String,
    /// The pass.
    pub pass: Pass,
    /// The range.
    pub part: u32,
    /// The range's expected position.
    pub from_block: u32,
    /// The range's position after the chunk.
    pub to_block: u32,
    /// The file that the blocks were read from. It must be the file of the progress.
    pub relfilenode: u32,
    /// How many rows the step adds.
    pub rows: u64,
    /// The range is done with it.
    pub done: bool,
}

impl ChunkStep {
    /// Whether it moves its range, or ends it.
    pub fn moves(&self) -> bool {
        self.to_block != self.from_block || self.done
    }

    /// A step that writes some rows of the chunk and does not move the range: the chunk's last step
    /// does. A second reading of the chunk writes its rows again, with the same result.
    pub fn piece(&self) -> Self {
        ChunkStep { to_block: self.from_block, rows: 0, done: false, ..self.clone() }
    }
}

/// Rows of a table that a copy writes, in both passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CopiedRows {
    /// Written so far.
    pub rows: u64,
    /// Rows to write in all. If the table's size is unknown: the rows written so far.
    pub expected: u64,
}

/// The rows written for each table. The tables' sizes are estimates.
pub fn copied_rows(
    progress: &[Progress],
    table_rows: &BTreeMap<String, u64>,
) -> BTreeMap<String, CopiedRows> {
    let mut passes: BTreeMap<(&str, Pass), (u64, bool)> = BTreeMap::new();
    for range in progress {
        let (rows, done) = passes.entry((&range.table, range.pass)).or_insert((0, true));
        *rows += range.rows;
        *done &= range.done;
    }
    let mut copied: BTreeMap<String, CopiedRows> = BTreeMap::new();
    for ((table, _), (rows, done)) in passes {
        let of_table = copied.entry(table.to_owned()).or_default();
        let estimate = table_rows.get(table).copied().unwrap_or(0);
        of_table.rows += rows;
        of_table.expected += if done { rows } else { rows.max(estimate) };
    }
    copied
}

/// The target number of rows in a chunk: the fixed cost of a graph transaction equals that of some
/// hundred rows.
const CHUNK_ROWS: u64 = 4_000;

/// The number of blocks in a chunk, for a table of about this many rows and blocks.
pub fn chunk_blocks(rows: u64, blocks: u64) -> u32 {
    let blocks_per_chunk = (CHUNK_ROWS * blocks.max(1)) / rows.max(1);
    u32::try_from(blocks_per_chunk).unwrap_or(u32::MAX).clamp(1, 4_096)
}

/// Cuts a table's blocks into `parts` ranges of about equal size. The last has no end, because the
/// number of blocks is an estimate and the table may grow.
pub fn ranges(blocks: u32, parts: u32) -> Vec<(u32, Option<u32>)> {
    let parts = parts.clamp(1, blocks.max(1));
    let start = |part: u32| (u64::from(blocks) * u64::from(part) / u64::from(parts)) as u32;
    (0..parts).map(|part| (start(part), (part + 1 < parts).then(|| start(part + 1)))).collect()
}

/// Information in a log about the copy at its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogCopy {
    /// Nothing.
    #[default]
    Unknown,
    /// Rows are still to come.
    Unfinished,
    /// Every row is before this position of the log.
    FinishedBefore(Lsn),
}

impl LogCopy {
    /// Whether a graph with all of the log before `applied` still lacks rows of the copy.
    pub fn is_under_way(self, applied: Lsn) -> bool {
        match self {
            LogCopy::Unknown => false,
            LogCopy::Unfinished => true,
            LogCopy::FinishedBefore(end) => applied < end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AppliedTransactions, Snapshot, ranges};

    fn snapshot(text: &str) -> Snapshot {
        text.parse().expect("a snapshot")
    }

    #[test]
    fn a_snapshot_sees_what_had_ended() {
        let snapshot = snapshot("10:20:10,15");
        let seen: Vec<u32> = (8..22).filter(|xid| snapshot.sees(*xid)).collect();
        assert_eq!(seen, [8, 9, 11, 12, 13, 14, 16, 17, 18, 19]);
    }

    #[test]
    fn ids_are_compared_modulo_two_to_the_32() {
        let epoch = 1u64 << 32;
        let snapshot = snapshot(&format!("{}:{}:", epoch + 1, epoch + 5));
        assert!(snapshot.sees(u32::MAX), "just before the wrap");
        assert!(snapshot.sees(4) && !snapshot.sees(5));
    }

    #[test]
    fn malformed_snapshots_are_refused() {
        for text in ["", "1", "1:2", "1:2:x", "1:2:3:4", ":1:", "a:1:"] {
            assert!(text.parse::<Snapshot>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn applied_transactions_are_forgotten_once_every_snapshot_sees_them() {
        let mut applied = AppliedTransactions::default();
        applied.applied(&[5, 12]);
        assert!(!applied.are_seen_by(&snapshot("10:20:12")));
        assert_eq!(applied.xids, [12]);
        assert!(applied.are_seen_by(&snapshot("13:20:")));
        assert!(applied.xids.is_empty());
    }

    #[test]
    fn rows_that_were_read_have_no_transaction_to_see() {
        let mut applied = AppliedTransactions::default();
        applied.applied(&[0]);
        applied.forget_reads();
        let later = 3u64 << 30;
        assert!(applied.are_seen_by(&snapshot(&format!("{later}:{later}:"))));
    }

    #[test]
    fn ranges_cover_every_block_once() {
        for (blocks, parts) in [(0, 4), (1, 4), (7, 3), (1000, 2)] {
            let ranges = ranges(blocks, parts);
            assert_eq!(ranges[0].0, 0);
            assert_eq!(ranges.last().and_then(|range| range.1), None);
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].1, Some(pair[1].0));
            }
        }
    }
}
