//! The turns of a reconciliation that read rows by key: the pass over the graph, the looks at single
//! rows, and the verdicts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::try_join;
use tokio::time::Instant;

use crate::{
    copy::Heap,
    graph::{Found, Key, Model, Pass, Remedy, Repair, TableIndex, compare, plan_repaired, remedy},
    lsn::Lsn,
    request::Purpose,
};

use super::{
    super::letters::Rows,
    ChunkReader, ChunkWriter, Copied, CopyError, Failure, GraphReader, Held, Lane, Letters, Search,
    TAKEN_PAUSE, TableCopier, Turn,
    by_key::write_by_key,
    incomplete::INCOMPLETE_ROWS,
    reconcile::{Next, Reconcile, Suspect},
    sees,
};

/// Entities of a page.
const PAGE: usize = 4_000;
/// The same where rows can not be found by their keys' text: each page reads the whole table.
const PAGE_WITHOUT_TEXT: usize = 50_000;

/// The same while the stream has changes: its turn comes after a page, or it runs beside it.
const PAGE_IN_A_HURRY: usize = 1_000;

/// How many entities the next page has.
fn page_limit(after: Option<&Key>, held: &Held) -> usize {
    match after {
        Some(key) if key.0.iter().any(|value| value.postgres_text().is_none()) => PAGE_WITHOUT_TEXT,
        _ if held.stream_waits() => PAGE_IN_A_HURRY,
        _ => PAGE,
    }
}

/// A look at rows of a table, under a snapshot.
struct Look<'a> {
    model: &'a Model,
    reconcile: &'a Mutex<Reconcile>,
    letters: &'a Letters,
    held: &'a Held,
    table: TableIndex,
    /// The log's end behind the snapshot.
    through: Lsn,
}

/// What a look has found.
struct Compared {
    /// Keys of entities that differ from having no row: the search has found none.
    without_row: Vec<Key>,
    /// Keys that have neither a row nor a difference, as far as the search tells.
    without_both: Vec<Key>,
    /// A repair has written rows.
    has_written: bool,
}

impl Look<'_> {
    /// Reads the rows with these keys and compares them with the entities of these keys. `None` if
    /// another session wants the table.
    async fn compare<R: ChunkReader, W: ChunkWriter>(
        &self,
        sides: (&mut R, &mut W),
        keys: &[Key],
        entities: &ByKey,
        search: Search,
    ) -> Copied<Option<Compared>, R, W> {
        let Look { model, reconcile, letters, held, table, through } = *self;
        let mut has_written = false;
        let choose = |rows| {
            let write = known(reconcile).differing(model, table, rows, entities, through);
            has_written |= !write.is_empty();
            write
        };
        let plan = |write| {
            plan_repaired(model, table, Repair { write, stamp: held.stamp, ..Repair::default() })
        };
        let of = Rows { model, table, at: held.position, plan };
        let repairs = known(reconcile).purpose == Purpose::Repair;
        let rows = (&of, keys);
        let not_found = write_by_key(sides, (letters, repairs), rows, search, choose).await?;
        let Some(not_found) = not_found else { return Ok(None) };
        let (mut without_row, mut without_both) = (Vec::new(), Vec::new());
        let mut known = known(reconcile);
        let is_spared = known.reported.get().spared.contains(&table);
        for key in not_found {
            if is_spared || compare(model, table, None, entities.get(&key)).is_empty() {
                known.is_well(&(table, key.clone()));
                without_both.push(key);
            } else {
                without_row.push(key);
            }
        }
        Ok(Some(Compared { without_row, without_both, has_written }))
    }
}

/// What a reconciliation knows.
pub(super) fn known(reconcile: &Mutex<Reconcile>) -> MutexGuard<'_, Reconcile> {
    reconcile.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The graph can not be read.
fn of_graph<R: Failure, W: Failure>(error: impl Into<W>) -> CopyError<R, W> {
    CopyError::Write(error.into())
}

/// Entities by their keys.
pub(super) type ByKey = BTreeMap<Key, Found>;

/// Entities by their keys.
pub(super) fn by_key(found: Vec<Found>) -> ByKey {
    found.into_iter().map(|found| (found.key.clone(), found)).collect()
}

impl<R: ChunkReader, W: ChunkWriter, G: GraphReader<Error: Into<W::Error>>> TableCopier<R, W, G> {
    /// The reconciliation's turn; `None`: the next chunks of rows come first, or all is done.
    pub(super) async fn reconcile(&mut self, held: &mut Held) -> Copied<Option<Turn>, R, W> {
        let over = self.ranges().progress.iter().all(|range| range.done);
        if self.reconciliation().is_some_and(|mut known| known.begins()) {
            // Rows may have changed without events, by ALTER TABLE. Older events have to come before.
            let end = self.lanes[0].reader.log_end().await.map_err(CopyError::Read)?;
            return Ok(Some(Turn::After(end)));
        }
        let (is_new, purpose) = {
            let Some(mut known) = self.reconciliation() else { return Ok(None) };
            (over && known.end(), (known.purpose, known.is_by_keys))
        };
        if is_new && purpose == (Purpose::Repair, false) {
            let set_aside = self.letters.all();
            self.known().look_at_asked(set_aside);
        }
        if is_new && purpose == (Purpose::Verify, false) {
            // A repair completes these rows like a copy.
            let writer = &mut self.lanes[0].writer;
            let found = writer.incomplete(INCOMPLETE_ROWS).await.map_err(CopyError::Write)?;
            let found = found.into_iter().filter(|(table, _)| !self.paused.contains(table));
            let found: Vec<_> = found.collect();
            let of = |(table, keys): (TableIndex, Vec<Key>)| {
                keys.into_iter().map(move |key| (table, key))
            };
            self.known().look_at_asked(found.into_iter().flat_map(of));
        }
        let next = self.known().next(held.complete, over);
        match next {
            Next::Judge(table, suspects) => {
                self.judge(held, table, suspects).await?;
                Ok(Some(Turn::More))
            }
            Next::Look { table, keys, is_held } => {
                self.look((held, is_held), table, keys).await.map(Some)
            }
            Next::Wait(through) => Ok(Some(Turn::After(through))),
            Next::Nothing => match self.next_in_graph() {
                Some(index) => self.pages(held, index).await.map(Some),
                None => Ok(None),
            },
        }
    }

    /// Lets the stream run beside the rest of the turn, if nothing is written: the snapshot is taken. The
    /// rows that the stream names from now on are recorded.
    pub(super) fn free(&self, held: &Held) {
        if let Some(known) = self.reconciliation()
            && known.purpose == Purpose::Verify
        {
            known.named.record();
            held.free();
        }
    }

    /// Tells that nothing more is compared.
    pub(super) fn is_over(&self) {
        if let Some(known) = self.reconciliation() {
            known.reported.get().is_over = true;
        }
    }

    pub(super) fn reconciliation(&self) -> Option<MutexGuard<'_, Reconcile>> {
        self.reconcile.as_deref().map(known)
    }

    fn known(&self) -> MutexGuard<'_, Reconcile> {
        self.reconciliation().expect("a reconciliation is under way")
    }

    fn reconciled(&self) -> Arc<Mutex<Reconcile>> {
        self.reconcile.clone().expect("a reconciliation is under way")
    }

    /// The range of the next table in the pass over the graph, once the earlier passes are over.
    fn next_in_graph(&self) -> Option<usize> {
        let ranges = self.ranges();
        let open = || ranges.progress.iter().enumerate().filter(|(_, range)| !range.done);
        let first = open().map(|(_, range)| range.pass).min()?;
        if first != Pass::Graph {
            return None;
        }
        open().next().map(|(index, _)| index)
    }

    /// Locks the table and takes a snapshot for a look. `Err`: the turn to take instead. Returns the
    /// log's end behind the snapshot.
    async fn begin_look(
        &mut self,
        held: &mut Held,
        table: TableIndex,
    ) -> Copied<Result<Lsn, Turn>, R, W> {
        let heap = Heap { table, partition: None };
        let reader = &mut self.lanes[0].reader;
        let taken = reader.begin(&[heap]).await.map_err(CopyError::Read)?;
        let sees = sees(&taken, self.ended_before, &mut held.applied);
        if sees && taken.files.contains_key(&heap) {
            self.unseen = 0;
            return Ok(Ok(self.lanes[0].reader.log_end().await.map_err(CopyError::Read)?));
        }
        self.lanes[0].reader.release().await.map_err(CopyError::Read)?;
        Ok(Err(match sees {
            true => Turn::Later(TAKEN_PAUSE),
            false => self.unseen().await?,
        }))
    }

    /// Compares pages of a table's entities with its rows, for one turn. The next page is read beside
    /// the comparison of one, if the turn has time for it.
    async fn pages(&mut self, held: &mut Held, index: usize) -> Copied<Turn, R, W> {
        let table = {
            let range = self.ranges().progress[index].clone();
            super::heap_of(&self.model, &range).table
        };
        let (began, length) = (Instant::now(), self.turn);
        let through = match self.begin_look(held, table).await? {
            Ok(through) => through,
            Err(turn) => return Ok(turn),
        };
        self.free(held);
        let (model, reconcile) = (self.model.clone(), self.reconciled());
        let letters = self.letters.clone();
        let (mut turn, mut ahead, mut page_took) = (Turn::More, None, Duration::ZERO);
        loop {
            let page_began = Instant::now();
            let Lane { reader, writer, graph } = &mut self.lanes[0];
            let after = known(&reconcile).cursors.get(&table).cloned();
            let page = match ahead.take() {
                Some(page) => page,
                None => {
                    let limit = page_limit(after.as_ref(), held);
                    graph.page(table, after.as_ref(), limit).await.map_err(of_graph)?
                }
            };
            let Some(last) = page.last().map(|found| found.key.clone()) else {
                known(&reconcile).cursors.remove(&table);
                self.ranges().progress[index].done = true;
                break;
            };
            let is_over = |took: Duration| {
                took >= length.idle || (took >= length.waiting && held.stream_waits())
            };
            let keys: Vec<Key> = page.iter().map(|found| found.key.clone()).collect();
            let look = Look {
                model: &model,
                reconcile: &reconcile,
                letters: &letters,
                held,
                table,
                through,
            };
            let entities = by_key(page);
            let compared = look.compare((reader, writer), &keys, &entities, Search::ByText);
            let next = async {
                match is_over(began.elapsed() + page_took) {
                    true => Ok(None),
                    false => {
                        let limit = page_limit(Some(&last), held);
                        graph.page(table, Some(&last), limit).await.map(Some).map_err(of_graph)
                    }
                }
            };
            let (compared, next) = try_join(compared, next).await?;
            let Some(Compared { without_row, has_written, .. }) = compared else {
                turn = Turn::Later(TAKEN_PAUSE);
                break;
            };
            // What was written may have changed the next page.
            ahead = next.filter(|_| !has_written);
            page_took = page_began.elapsed();
            let is_full = {
                let mut known = known(&reconcile);
                known.look_at(without_row.into_iter().map(|key| (table, key)));
                known.cursors.insert(table, last);
                known.compared(table, keys.len());
                known.is_full()
            };
            if is_full || is_over(began.elapsed()) {
                break;
            }
        }
        self.shown.send_replace(self.ranges().progress.clone());
        self.lanes[0].reader.release().await.map_err(CopyError::Read)?;
        Ok(turn)
    }

    /// Looks at rows of a table once more: to its end under the hold, if it `is_held`.
    async fn look(
        &mut self,
        (held, is_held): (&mut Held, bool),
        table: TableIndex,
        keys: Vec<Key>,
    ) -> Copied<Turn, R, W> {
        let through = match self.begin_look(held, table).await? {
            Ok(through) => through,
            Err(turn) => {
                self.known().abandon();
                return Ok(turn);
            }
        };
        if !is_held {
            self.free(held);
        }
        let (model, reconcile) = (self.model.clone(), self.reconciled());
        let letters = self.letters.clone();
        let Lane { reader, writer, graph } = &mut self.lanes[0];
        let entities = by_key(graph.found(table, &keys).await.map_err(of_graph)?);
        let look =
            Look { model: &model, reconcile: &reconcile, letters: &letters, held, table, through };
        let sides = (&mut *reader, &mut *writer);
        let mut compared = look.compare(sides, &keys, &entities, Search::ByText).await?;
        let repairs = known(&reconcile).purpose == Purpose::Repair;
        let left = compared.as_mut().map(|it| {
            let set_aside = std::mem::take(&mut it.without_both);
            let mut left = std::mem::take(&mut it.without_row);
            left.extend(set_aside.into_iter().filter(|key| repairs && letters.has(table, key)));
            left
        });
        let left = left.map(|left| known(&reconcile).untouched(table, left, through));
        if let Some(left) = left.filter(|left| !left.is_empty()) {
            // The text of a key may find no row where the key itself does.
            let sides = (&mut *reader, &mut *writer);
            compared = look.compare(sides, &left, &entities, Search::AmongAll).await?;
        }
        reader.release().await.map_err(CopyError::Read)?;
        // The hold protects what the look saw.
        if let Some(Compared { without_both, .. }) = &compared
            && repairs
        {
            let released = letters.release(writer, held.position, table, without_both).await;
            released.map_err(CopyError::Write)?;
        }
        let mut known = known(&reconcile);
        let turn = match compared {
            Some(Compared { without_row, .. }) => {
                for key in without_row {
                    known.suspect((table, key), None, through);
                }
                Turn::More
            }
            None => Turn::Later(TAKEN_PAUSE),
        };
        known.abandon();
        Ok(turn)
    }

    /// Reports suspects that are real. A repair removes what has no row.
    async fn judge(
        &mut self,
        held: &Held,
        table: TableIndex,
        suspects: Vec<(Key, Suspect)>,
    ) -> Copied<(), R, W> {
        let mut untouched = Vec::new();
        {
            let mut known = self.known();
            for (key, suspect) in suspects {
                if !known.was_named(&(table, key.clone()), &suspect) {
                    untouched.push((key, suspect));
                }
            }
        }
        let keys: Vec<Key> = untouched.iter().map(|(key, _)| key.clone()).collect();
        let without_row = match self.known().purpose {
            Purpose::Repair => keys.clone(),
            Purpose::Verify => Vec::new(),
        };
        let graph = &mut self.lanes[0].graph;
        let entities = by_key(graph.found(table, &keys).await.map_err(of_graph)?);
        let mut repair = Repair::default();
        {
            let mut known = self.known();
            for (key, suspect) in untouched {
                let found = entities.get(&key);
                let row = suspect.row.as_ref().map(|row| (&key, row));
                let differences = compare(&self.model, table, row, found);
                if differences.is_empty() {
                    continue;
                }
                if known.purpose == Purpose::Repair {
                    match remedy(&differences, suspect.row.is_some()) {
                        Some(Remedy::Write) => panic!("a repair writes rows at once"),
                        Some(Remedy::Remove) => repair.remove.push(key.clone()),
                        Some(Remedy::Empty) => repair.empty.push(key.clone()),
                        None => {}
                    }
                }
                known.differs(table, &key, differences);
            }
        }
        let statements = plan_repaired(&self.model, table, repair);
        let writer = &mut self.lanes[0].writer;
        if !statements.is_empty() {
            writer.write_rows(held.position, table, statements).await.map_err(CopyError::Write)?;
        }
        let released = self.letters.release(writer, held.position, table, &without_row).await;
        released.map_err(CopyError::Write)
    }
}
