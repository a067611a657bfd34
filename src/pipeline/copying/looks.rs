//! The turns of a reconciliation that read rows by key: the pass over the graph, the looks at single
//! rows, and the verdicts.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use crate::{
    copy::Heap,
    graph::{Found, Key, Pass, Remedy, Repair, TableIndex, compare, plan_repaired, remedy},
    lsn::Lsn,
    request::Purpose,
};

use super::{
    ChunkReader, ChunkWriter, Copied, CopyError, Failure, GraphReader, Held, Search, TAKEN_PAUSE,
    TableCopier, Turn,
    incomplete::INCOMPLETE_ROWS,
    reconcile::{Next, Reconcile, Suspect},
    sees,
};

/// Entities of a page.
const PAGE: usize = 1_000;
/// The same where rows can not be found by their keys' text: each page reads the whole table.
const PAGE_WITHOUT_TEXT: usize = 50_000;

/// Whether a turn may go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locks {
    Kept,
    /// Another session wants the table.
    GivenUp,
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
            (over && known.end(), known.purpose)
        };
        if is_new && purpose == Purpose::Verify {
            // A repair completes these rows like a copy.
            let writer = &mut self.lanes[0].writer;
            let found = writer.incomplete(INCOMPLETE_ROWS).await.map_err(CopyError::Write)?;
            let of = |(table, keys): (TableIndex, Vec<Key>)| {
                keys.into_iter().map(move |key| (table, key))
            };
            self.known().look_at(found.into_iter().flat_map(of));
        }
        let next = self.known().next(held.complete, over);
        match next {
            Next::Judge(table, suspects) => {
                self.judge(held, table, suspects).await?;
                Ok(Some(Turn::More))
            }
            Next::Look(table, keys) => self.look(held, table, keys).await.map(Some),
            Next::Wait(through) => Ok(Some(Turn::After(through))),
            Next::Nothing => match self.next_in_graph() {
                Some(index) => self.pages(held, index).await.map(Some),
                None => Ok(None),
            },
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

    /// Compares pages of a table's entities with its rows, for one turn.
    async fn pages(&mut self, held: &mut Held, index: usize) -> Copied<Turn, R, W> {
        let table = {
            let range = self.ranges().progress[index].clone();
            super::heap_of(&self.model, &range).table
        };
        let began = Instant::now();
        let through = match self.begin_look(held, table).await? {
            Ok(through) => through,
            Err(turn) => return Ok(turn),
        };
        let mut turn = Turn::More;
        loop {
            let after = self.known().cursors.get(&table).cloned();
            let limit = match &after {
                Some(key) if key.0.iter().any(|value| value.postgres_text().is_none()) => {
                    PAGE_WITHOUT_TEXT
                }
                _ => PAGE,
            };
            let graph = &mut self.lanes[0].graph;
            let page = graph.page(table, after.as_ref(), limit).await.map_err(of_graph)?;
            let Some(last) = page.last().map(|found| found.key.clone()) else {
                self.known().cursors.remove(&table);
                self.ranges().progress[index].done = true;
                break;
            };
            let keys: Vec<Key> = page.iter().map(|found| found.key.clone()).collect();
            let how = (Search::ByText, through);
            let locks = self.compare(held, table, &keys, &by_key(page), how).await?;
            if locks == Locks::GivenUp {
                turn = Turn::Later(TAKEN_PAUSE);
                break;
            }
            {
                let mut known = self.known();
                known.cursors.insert(table, last);
                known.compared(table, keys.len());
            }
            let elapsed = began.elapsed();
            let is_over = elapsed >= self.turn.idle
                || (elapsed >= self.turn.waiting && held.stream_waits())
                || self.known().is_full();
            if is_over {
                break;
            }
        }
        self.shown.send_replace(self.ranges().progress.clone());
        self.lanes[0].reader.release().await.map_err(CopyError::Read)?;
        Ok(turn)
    }

    /// Looks at rows of a table once more.
    async fn look(
        &mut self,
        held: &mut Held,
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
        let graph = &mut self.lanes[0].graph;
        let found = graph.found(table, &keys).await.map_err(of_graph)?;
        let how = (Search::AmongAll, through);
        let locks = self.compare(held, table, &keys, &by_key(found), how).await?;
        self.lanes[0].reader.release().await.map_err(CopyError::Read)?;
        self.known().abandon();
        Ok(match locks {
            Locks::Kept => Turn::More,
            Locks::GivenUp => Turn::Later(TAKEN_PAUSE),
        })
    }

    /// Reads the rows with these keys and compares them with the entities of these keys.
    async fn compare(
        &mut self,
        held: &Held,
        table: TableIndex,
        keys: &[Key],
        entities: &ByKey,
        (search, through): (Search, Lsn),
    ) -> Copied<Locks, R, W> {
        let (model, reconcile) = (self.model.clone(), self.reconcile.clone());
        let known = || known(reconcile.as_ref().expect("a reconciliation is under way"));
        let plan = |rows| {
            let write = known().differing(&model, table, rows, entities, through);
            plan_repaired(&model, table, Repair { write, stamp: held.stamp, ..Repair::default() })
        };
        let not_found = self.write_by_key(held, table, keys, search, plan).await?;
        let Some(not_found) = not_found else { return Ok(Locks::GivenUp) };
        let mut known = known();
        for key in not_found {
            let differs = !compare(&model, table, None, entities.get(&key)).is_empty();
            let of = (table, key);
            match search {
                _ if !differs => known.is_well(&of),
                Search::ByText => known.look_at([of]),
                Search::AmongAll => known.suspect(of, None, through),
            }
        }
        Ok(Locks::Kept)
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
        let graph = &mut self.lanes[0].graph;
        let entities = by_key(graph.found(table, &keys).await.map_err(of_graph)?);
        let mut repair = Repair::default();
        {
            let mut known = self.known();
            for (key, suspect) in untouched {
                let found = entities.get(&key);
                let differences = compare(&self.model, table, suspect.row.as_ref(), found);
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
        if statements.is_empty() {
            return Ok(());
        }
        let writer = &mut self.lanes[0].writer;
        writer.write_rows(held.position, table, statements).await.map_err(CopyError::Write)
    }
}
