//! The copy of tables: turns of several lanes, each with a reader and a writer of its own.
//!
//! ```text
//! turn:  begin (lock what is free, take a snapshot) -> seen? -> lanes join it -> pieces of chunks -> release
//! lane:  read a piece  ->  read the next  ->  ...
//!                    \-> write it         \-> ...
//! watch: somebody waits for a table of the turn -> chunks are broken off, the locks go at once
//! last turns:  incomplete rows, read by key, until a round finds none
//! ```
//!
//! [`crate::copy`] says why it is correct; the proof rests on the order of these steps. The copy
//! locks tables against rewriting before it takes the snapshot. Under that lock it compares their
//! files with the progress, so a chunk's blocks are those of the progress. All lanes of a turn read
//! under the same snapshot, so no row reaches two of them. Only the lane with a row looks for the
//! relationships that the row owns: two writers that look for the same one at once would both miss
//! it and create it twice.
//!
//! Other sessions do not wait long for a copy. Every lane takes its locks before it reads, and
//! never waits for one: it leaves a locked table to a later turn. During a turn, a query several
//! times a second finds the sessions that wait for it. Then every lane releases its locks, also in
//! the middle of a chunk. A lane keeps checking while it waits for the graph, which may be slow or
//! down.

mod by_key;
mod error;
mod incomplete;
mod lanes;
mod length;
mod looks;
mod own;
mod reconcile;
mod sides;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use futures_util::future::try_join_all;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

use crate::{
    checkpoint::Position,
    copy::{AppliedTransactions, Heap, Progress, passes},
    graph::{Key, Model, Pass, TableIndex},
    lsn::Lsn,
    request::Purpose,
};

use super::{Copier, Failure, Held, Letters, Named, Turn};
pub use error::CopyError;
use incomplete::Missed;
use lanes::{Broken, Way, Work};
pub use length::TurnLength;
pub use own::{HeldAt, IsOwn, OwnEntities, OwnRows, OwnWrites};
use reconcile::Reconcile;
pub use reconcile::{Differing, Report, Reported};
pub use sides::{ChunkReader, ChunkWriter, GraphReader, Lane, Search, Strays, Taken, Waiting};

/// The pause before retrying a snapshot that does not yet see everything the graph has. Each pause
/// is twice the one before.
const UNSEEN_PAUSE: Duration = Duration::from_millis(10);
/// The longest.
const UNSEEN_PAUSE_MAX: Duration = Duration::from_millis(500);
/// After this many such snapshots in sequence, the log names the session that the copy waits for.
const UNSEEN_TOLD: u32 = 10;
/// The pause before the next attempt to lock a table that was not available.
const TAKEN_PAUSE: Duration = Duration::from_millis(250);
/// A turn locks at most this many tables: all sessions share the server's lock table.
const HEAPS_MAX: usize = 32;
/// A chunk is halved at most this often.
const HALVINGS_MAX: u32 = 12;

/// A copy, from its progress to its end.
pub struct TableCopier<R, W, G> {
    model: Arc<Model>,
    lanes: Vec<Lane<R, W, G>>,
    /// The number of blocks in a chunk, by table.
    chunk_blocks: BTreeMap<TableIndex, u32>,
    /// Transactions that ran when this instance started must have ended. An earlier instance may
    /// have applied them, and a snapshot may not see them yet.
    ended_before: u64,
    ranges: Mutex<Ranges>,
    /// Tables that were not available, and when to try them again.
    resting: BTreeMap<Heap, Instant>,
    /// Tables of which nothing is read.
    paused: BTreeSet<TableIndex>,
    /// The number of halvings, by table.
    halvings: BTreeMap<Heap, u32>,
    /// Snapshots in sequence that did not see everything the graph has.
    unseen: u32,
    /// The stream has passed the last chunk.
    has_waited: bool,
    missed: Missed,
    turn: TurnLength,
    shown: watch::Sender<Vec<Progress>>,
    /// Beside or after the copy, tables and graph are compared.
    reconcile: Option<Arc<Mutex<Reconcile>>>,
    /// The rows that are set aside.
    letters: Letters,
}

/// The ranges of all passes, in processing order.
struct Ranges {
    progress: Vec<Progress>,
    taken: Vec<bool>,
}

type Copied<T, R, W> = Result<T, CopyError<<R as ChunkReader>::Error, <W as ChunkWriter>::Error>>;

impl<R: ChunkReader, W: ChunkWriter, G: GraphReader<Error: Into<W::Error>>> TableCopier<R, W, G> {
    /// A copy that continues from `progress`, which is in processing order. `ended_before` is a
    /// transaction id allocated after this instance had claimed the graph.
    pub fn new(
        model: Arc<Model>,
        lanes: Vec<Lane<R, W, G>>,
        chunk_blocks: BTreeMap<TableIndex, u32>,
        ended_before: u64,
        progress: Vec<Progress>,
    ) -> Self {
        assert!(!lanes.is_empty(), "a copy has a lane");
        let shown = watch::Sender::new(progress.clone());
        let ranges = Mutex::new(Ranges { taken: vec![false; progress.len()], progress });
        TableCopier {
            model,
            lanes,
            chunk_blocks,
            ended_before,
            ranges,
            resting: BTreeMap::new(),
            paused: BTreeSet::new(),
            halvings: BTreeMap::new(),
            unseen: 0,
            has_waited: false,
            missed: Missed::default(),
            turn: TurnLength::DEFAULT,
            shown,
            reconcile: None,
            letters: Letters::none(),
        }
    }

    /// Changes the length of turns.
    pub fn in_turns(self, turn: TurnLength) -> Self {
        TableCopier { turn, ..self }
    }

    /// Reads nothing of these tables.
    pub fn passing_over(self, paused: BTreeSet<TableIndex>) -> Self {
        TableCopier { paused, ..self }
    }

    /// Sets rows aside that the graph does not take. `letters` is what the preparer of the stream has, too.
    pub fn setting_aside(self, letters: Letters) -> Self {
        TableCopier { letters, ..self }
    }

    /// Compares tables and graph in the passes [`crate::copy::RECONCILED`] of the progress. `named` is
    /// what the preparer of the stream has, too. `keys`: only these rows, and no passes.
    pub fn reconciling(
        self,
        purpose: Purpose,
        named: Named,
        reported: Reported,
        keys: Option<Vec<(TableIndex, Key)>>,
    ) -> Self {
        let reconcile = Reconcile::new(purpose, named, reported, keys);
        let turn = match purpose {
            Purpose::Repair => {
                let waiting = self.turn.waiting.min(TurnLength::COMPARED.waiting);
                TurnLength { waiting, ..self.turn }
            }
            // The stream does not wait for its turns.
            Purpose::Verify => self.turn,
        };
        TableCopier { reconcile: Some(Arc::new(Mutex::new(reconcile))), turn, ..self }
    }

    /// Whether the graph is only compared.
    fn verifies(&self) -> bool {
        self.reconciliation().is_some_and(|it| it.purpose == Purpose::Verify)
    }

    /// Publishes the progress.
    pub fn progress(&self) -> watch::Receiver<Vec<Progress>> {
        self.shown.subscribe()
    }

    fn ranges(&self) -> MutexGuard<'_, Ranges> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The heaps to read next, of the earliest unfinished pass. If all rest: the time when the
    /// first may be tried again.
    fn next_heaps(&mut self) -> Result<Vec<Heap>, Instant> {
        let now = Instant::now();
        self.resting.retain(|_, until| *until > now);
        let ranges = self.ranges();
        let open = || ranges.progress.iter().filter(|range| !range.done);
        let pass = open().map(|range| range.pass).min();
        let of_pass = open().filter(|range| Some(range.pass) == pass);
        let heaps: BTreeSet<Heap> = of_pass.map(|range| heap_of(&self.model, range)).collect();
        let awake = heaps.iter().filter(|heap| !self.resting.contains_key(heap));
        let awake: Vec<Heap> = awake.copied().take(HEAPS_MAX).collect();
        match awake.is_empty() {
            false => Ok(awake),
            true => {
                let ends = heaps.iter().filter_map(|heap| self.resting.get(heap)).min();
                Err(ends.copied().unwrap_or(now))
            }
        }
    }

    fn rest(&mut self, heaps: impl IntoIterator<Item = Heap>) {
        let until = Instant::now() + TAKEN_PAUSE;
        self.resting.extend(heaps.into_iter().map(|heap| (heap, until)));
    }

    /// Starts a pass again if its table was rewritten meanwhile, and ends it if its partition is
    /// gone. Returns whether it changed anything; if so, it released the locks before it wrote to
    /// the graph.
    async fn restart_rewritten(&mut self, at: Position, taken: &Taken) -> Copied<bool, R, W> {
        let changed: Vec<Progress> = {
            let model = self.model.clone();
            let mut ranges = self.ranges();
            let changed = ranges.progress.iter().find_map(|range| {
                let heap = heap_of(&model, range);
                let file = taken.files.get(&heap).copied();
                let is_rewritten = file.is_some_and(|file| range.relfilenode != file);
                // A pass over the graph has no blocks.
                let is_of_blocks = range.pass != Pass::Graph;
                let is =
                    !range.done && is_of_blocks && (is_rewritten || taken.gone.contains(&heap));
                is.then_some((heap, range.pass, file))
            });
            let Some((heap, pass, file)) = changed else { return Ok(false) };
            let mut is_first = true;
            for range in &mut ranges.progress {
                if heap_of(&model, range) != heap {
                    continue;
                }
                match file {
                    Some(file) if range.pass == pass => {
                        range.restart(file, std::mem::take(&mut is_first));
                    }
                    Some(_) => {}
                    None => range.done = true,
                }
            }
            let name = &model.table(heap.table).name;
            ranges.progress.iter().filter(|range| range.table == *name).cloned().collect()
        };
        self.lanes[0].reader.release().await.map_err(CopyError::Read)?;
        self.store(at, &changed).await?;
        self.shown.send_replace(self.ranges().progress.clone());
        Ok(true)
    }

    /// Replaces the stored progress of the tables. That of a verification is not stored.
    async fn store(&mut self, at: Position, progress: &[Progress]) -> Copied<(), R, W> {
        if self.verifies() {
            return Ok(());
        }
        self.lanes[0].writer.restart(at, progress).await.map_err(CopyError::Write)
    }

    /// Adds partitions that appeared during the copy. Returns whether it added one.
    async fn add_partitions(&mut self, at: Position) -> Copied<bool, R, W> {
        let model = self.model.clone();
        for (table, named) in model.iter() {
            let is_compared = self.reconcile.is_some();
            let is_asked = self.ranges().progress.iter().any(|range| range.table == named.name);
            if (is_compared && !is_asked) || self.paused.contains(&table) {
                continue;
            }
            let there = self.lanes[0].reader.partitions(table).await.map_err(CopyError::Read)?;
            let passes = || match is_compared {
                // The pass over the graph is one for all partitions.
                true => vec![Pass::Rows],
                false => passes(&model, table).collect(),
            };
            let added: Vec<Progress> = {
                let mut ranges = self.ranges();
                let of_table = ranges.progress.iter().filter(|range| range.table == named.name);
                let known: BTreeSet<u32> = of_table.clone().filter_map(|it| it.partition).collect();
                let next_part = of_table.map(|range| range.part + 1).max().unwrap_or(0);
                let new = there.into_iter().filter(|(partition, _)| !known.contains(partition));
                let new: Vec<Progress> = (next_part..)
                    .zip(new)
                    .flat_map(|(part, (partition, relfilenode))| {
                        passes().into_iter().map(move |pass| Progress {
                            partition: Some(partition),
                            part,
                            relfilenode,
                            ..Progress::new(&named.name, pass)
                        })
                    })
                    .collect();
                if new.is_empty() {
                    continue;
                }
                ranges.progress.extend(new);
                ranges
                    .progress
                    .sort_by(|a, b| (a.pass, &a.table, a.part).cmp(&(b.pass, &b.table, b.part)));
                ranges.taken = vec![false; ranges.progress.len()];
                ranges.progress.iter().filter(|range| range.table == named.name).cloned().collect()
            };
            self.store(at, &added).await?;
            self.shown.send_replace(self.ranges().progress.clone());
            return Ok(true);
        }
        Ok(false)
    }

    /// The turn after a snapshot that did not see everything the graph has.
    async fn unseen(&mut self) -> Copied<Turn, R, W> {
        let pause = UNSEEN_PAUSE * 2_u32.saturating_pow(self.unseen);
        self.unseen += 1;
        if self.unseen.is_multiple_of(UNSEEN_TOLD) {
            self.lanes[0].reader.tell_unseen().await.map_err(CopyError::Read)?;
        }
        Ok(Turn::Later(pause.min(UNSEEN_PAUSE_MAX)))
    }

    /// One snapshot for all lanes, or the turn to take instead.
    async fn begin(&mut self, held: &mut Held) -> Copied<Result<Taken, Turn>, R, W> {
        let heaps = match self.next_heaps() {
            Ok(heaps) => heaps,
            Err(awake) => return Ok(Err(Turn::Later(awake - Instant::now()))),
        };
        let taken = self.lanes[0].reader.begin(&heaps).await.map_err(CopyError::Read)?;
        let is_left = |heap: &Heap| !taken.files.contains_key(heap) && !taken.gone.contains(heap);
        self.rest(heaps.into_iter().filter(is_left));
        if !sees(&taken, self.ended_before, &mut held.applied) {
            self.lanes[0].reader.release().await.map_err(CopyError::Read)?;
            return Ok(Err(self.unseen().await?));
        }
        if self.restart_rewritten(held.position, &taken).await? {
            return Ok(Err(Turn::More));
        }
        if taken.files.is_empty() {
            self.lanes[0].reader.release().await.map_err(CopyError::Read)?;
            return Ok(Err(Turn::More));
        }
        self.unseen = 0;
        for lane in 1..self.lanes.len() {
            if !self.lanes[lane].reader.join(&taken).await.map_err(CopyError::Read)? {
                for lane in &mut self.lanes[..lane] {
                    lane.reader.release().await.map_err(CopyError::Read)?;
                }
                return Ok(Err(Turn::Later(TAKEN_PAUSE)));
            }
        }
        Ok(Ok(taken))
    }

    /// The number of blocks in a chunk, for each locked heap.
    fn blocks(&self, taken: &Taken) -> BTreeMap<Heap, u32> {
        let blocks = |heap: &Heap| {
            let all = self.chunk_blocks.get(&heap.table).copied().unwrap_or(1);
            let halvings = self.halvings.get(heap).copied().unwrap_or(0);
            (*heap, (all >> halvings).max(1))
        };
        taken.files.keys().map(blocks).collect()
    }

    /// Halves the chunks of abandoned reads. If no chunk was abandoned, chunks grow again.
    fn learn(&mut self, broken: Broken) {
        let Broken { cut, blocked } = broken;
        if cut.is_empty() {
            self.halvings.values_mut().for_each(|halvings| *halvings -= 1);
            self.halvings.retain(|_, halvings| *halvings > 0);
        }
        for heap in cut {
            let halvings = self.halvings.entry(heap).or_default();
            *halvings = (*halvings + 1).min(HALVINGS_MAX);
        }
        self.rest(blocked);
    }
}

impl<R: ChunkReader, W: ChunkWriter, G: GraphReader<Error: Into<W::Error>>> Copier
    for TableCopier<R, W, G>
{
    type Error = CopyError<R::Error, W::Error>;

    fn writes(&self) -> bool {
        !self.verifies()
    }

    fn copies(&self) -> bool {
        self.reconcile.is_none() || self.ranges().progress.iter().any(Progress::lacks_rows)
    }

    async fn turn(&mut self, held: &mut Held) -> Result<Turn, Self::Error> {
        let turn = self.next_turn(held).await;
        if let Some(known) = self.reconciliation() {
            known.named.end_record();
        }
        turn
    }
}

impl<R: ChunkReader, W: ChunkWriter, G: GraphReader<Error: Into<W::Error>>> TableCopier<R, W, G> {
    async fn next_turn(&mut self, held: &mut Held) -> Copied<Turn, R, W> {
        if let Some(turn) = self.reconcile(held).await? {
            return Ok(turn);
        }
        if self.ranges().progress.iter().all(|range| range.done) {
            return match self.add_partitions(held.position).await? {
                true => Ok(Turn::More),
                false => self.complete(held).await,
            };
        }
        let taken = match self.begin(held).await? {
            Ok(taken) => taken,
            Err(turn) => return Ok(turn),
        };
        let through = match self.reconcile {
            Some(_) => self.lanes[0].reader.log_end().await.map_err(CopyError::Read)?,
            None => Lsn::ZERO,
        };
        self.free(held);
        let blocks = self.blocks(&taken);
        let began = Instant::now();
        let work = Work {
            model: &self.model,
            chunk_blocks: &blocks,
            ranges: &self.ranges,
            shown: &self.shown,
            held,
            locked: &taken.files,
            holding: AtomicUsize::new(self.lanes.len()),
            range_ended: Notify::new(),
            end: began + self.turn.waiting,
            end_max: began + self.turn.idle,
            way: watch::Sender::new(Way::Free),
            broken: Mutex::default(),
            reconcile: self.reconcile.as_deref(),
            letters: &self.letters,
            through,
        };
        let wanted = self.lanes[0].reader.wanted();
        let watching = async {
            let waiting = wanted.await.map_err(CopyError::Read)?;
            work.way.send_replace(Way::Wanted(waiting));
            pending::<Copied<Infallible, R, W>>().await
        };
        let timing = async {
            // A chunk that starts at the last moment has a turn's time too.
            sleep_until(began + self.turn.idle * 2).await;
            work.way.send_if_modified(|way| {
                let is = *way == Way::Free;
                if is {
                    *way = Way::TooLong;
                }
                is
            });
            pending::<Infallible>().await
        };
        tokio::select! {
            biased;
            done = try_join_all(self.lanes.iter_mut().map(|lane| work.lane(lane))) => drop(done?),
            failed = watching => match failed? {},
            never = timing => match never {},
        }
        let broken = work.broken.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.learn(broken);
        Ok(Turn::More)
    }
}

/// The heap of a range.
fn heap_of(model: &Model, range: &Progress) -> Heap {
    let found = model.iter().find(|(_, table)| table.name == range.table);
    let (table, _) =
        found.unwrap_or_else(|| panic!("{} is mapped, since it is being copied", range.table));
    Heap { table, partition: range.partition }
}

fn sees(taken: &Taken, ended_before: u64, applied: &mut AppliedTransactions) -> bool {
    taken.snapshot.xmin() >= ended_before && applied.are_seen_by(&taken.snapshot)
}
