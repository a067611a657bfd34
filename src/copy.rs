//! The copy of tables beside the stream: chunks, the hold, and what it leaves to read again.
//!
//! ```text
//! stream  ──────┤ hold ├──────────────┤ hold ├───────────── until it passes the last chunk ── settled
//! copy          [ snapshot, chunks ]  [ snapshot, chunks ]                        [ incomplete rows by key ]
//! ```
//!
//! It is correct because of the hold: the stream stands still from before a chunk's MVCC snapshot
//! is taken until the chunk is committed, and the snapshot sees every transaction that the graph
//! already has. So a chunk is never older than what the graph has of its rows, and what the stream
//! applies later is either in the chunk already (and ends equal) or newer. The few values that a
//! stream does not carry are marked incomplete and read again by key.
//!
//! An LSN can not stand in for the snapshot: PostgreSQL makes a commit visible after it is in the
//! log, so a new snapshot may miss a transaction that the stream has delivered.

use std::{collections::BTreeMap, str::FromStr};

use crate::{
    graph::{Model, Pass, TableIndex, model::Shape},
    lsn::Lsn,
};

/// An MVCC snapshot as `pg_current_snapshot()` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Every transaction before it has ended.
    xmin: u64,
    /// No transaction from here on is seen.
    xmax: u64,
    /// Those between that had not ended.
    in_progress: Vec<u64>,
}

impl Snapshot {
    /// Whether the snapshot sees a committed transaction whose id is known modulo 2^32, as the
    /// stream sends it.
    pub fn sees(&self, xid: u32) -> bool {
        let xid = self.widen(xid);
        xid < self.xmin || (xid < self.xmax && !self.in_progress.contains(&xid))
    }

    /// Every transaction with an id below it had ended.
    pub fn xmin(&self) -> u64 {
        self.xmin
    }

    /// The full id nearest to the snapshot: a running server's ids lie within 2^31 of each other.
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

/// The transactions that are in the graph and that a new snapshot might not see yet.
#[derive(Clone, Debug, Default)]
pub struct AppliedTransactions {
    xids: Vec<u32>,
}

impl AppliedTransactions {
    /// A batch with these transactions is in the graph.
    pub fn applied(&mut self, xids: &[u32]) {
        self.xids.extend_from_slice(xids);
    }

    /// Whether rows read under the snapshot are at least as new as the graph. Transactions that
    /// every later snapshot sees too are forgotten.
    pub fn are_seen_by(&mut self, snapshot: &Snapshot) -> bool {
        self.xids.retain(|xid| !(snapshot.sees(*xid) && snapshot.widen(*xid) < snapshot.xmin));
        self.xids.iter().all(|xid| snapshot.sees(*xid))
    }
}

/// What has rows in blocks of its own: a table, or one of the partitions of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Heap {
    /// The table, which the rows are of.
    pub table: TableIndex,
    /// The partition's object id, which stays when it is renamed or rewritten.
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

/// How far one pass over one range of a table's blocks is: a node in the graph, moved with each
/// chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// `schema.name` of the table.
    pub table: String,
    /// The partition that the blocks are of, by its object id, where the table has partitions.
    pub partition: Option<u32>,
    /// Which pass.
    pub pass: Pass,
    /// Which range of the table, counted from 0.
    pub part: u32,
    /// The next block to read.
    pub next_block: u32,
    /// The block after the range; `None`: to the table's end, wherever that is when it is reached.
    pub end_block: Option<u32>,
    /// The file that the blocks are in. Another one means that the rows have moved: the table
    /// starts again.
    pub relfilenode: u32,
    /// Rows written by this pass over this range.
    pub rows: u64,
    /// The range is done.
    pub done: bool,
}

impl Progress {
    /// The chunk of `blocks` blocks that comes next.
    pub fn next_chunk(&self, blocks: u32) -> Chunk {
        let end = self.next_block.saturating_add(blocks.max(1));
        let end_block = self.end_block.map(|stop| end.min(stop));
        Chunk { from_block: self.next_block, end_block: end_block.or(Some(end)) }
    }

    /// The step that a chunk is, with as many rows as it had. A range without an end is done by the
    /// chunk that reads to the table's end, and found out so: by `last`.
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

    /// The blocks are in a file that has not been read yet. The first range takes over all of them;
    /// other ranges have nothing left.
    pub fn restart(&mut self, relfilenode: u32, is_first: bool) {
        self.relfilenode = relfilenode;
        (self.next_block, self.end_block) = (0, None);
        (self.rows, self.done) = (0, !is_first);
    }
}

/// A range of a table's blocks that is written in one graph transaction, or in several when its
/// rows are wide.
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
    /// Which pass.
    pub pass: Pass,
    /// Which range.
    pub part: u32,
    /// Where the range must be.
    pub from_block: u32,
    /// Where it is after the chunk.
    pub to_block: u32,
    /// The file the blocks were read from; it must be the one the progress is about.
    pub relfilenode: u32,
    /// How many rows the step adds.
    pub rows: u64,
    /// The range is done with it.
    pub done: bool,
}

impl ChunkStep {
    /// A step that writes some rows of the chunk and leaves the range where it is: the chunk's last
    /// step moves it. Should the chunk be read again, its rows are written again, and end the same.
    pub fn piece(&self) -> Self {
        ChunkStep { to_block: self.from_block, rows: 0, done: false, ..self.clone() }
    }
}

/// Rows of a table that a copy writes, those of both passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopiedRows {
    /// Written so far.
    pub rows: u64,
    /// To be written in all. Where the table's size is not known, what is written so far.
    pub expected: u64,
}

/// What is written of each table, whose sizes are known more or less.
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

/// Rows of a chunk are about this many: a graph transaction costs as much besides as some hundred
/// rows do.
const CHUNK_ROWS: u64 = 4_000;

/// How many blocks make a chunk of a table with about this many rows and blocks.
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

/// What a log that is read says of the copy that it begins with.
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
    /// Whether a graph that has the log before `applied` still lacks rows of the copy.
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
