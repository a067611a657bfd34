//! The lane of a log that has some of the tables' keys: it reads and writes no others.
//!
//! ```text
//! rows of a table    1 2 3 4 5 6      partition 0 has 2 and 5: its lane sees these alone, in rows and in graph
//! ```
//!
//! Its reconciliation keeps no progress: rows are written without a range's step, at the position where the
//! stream is held. After a kill all is compared again.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    checkpoint::Position,
    copy::{Chunk, ChunkStep, Heap, Progress},
    graph::{Found, Key, Pass, Row, Statement, TableIndex},
    lsn::Lsn,
};

use super::{ChunkReader, ChunkWriter, GraphReader, Lane, Search, Strays, Taken, Waiting};

/// Whether a key of a table is the log's.
pub type IsOwn = Arc<dyn Fn(TableIndex, &Key) -> bool + Send + Sync>;

/// Where the stream is held. A clone is the same value.
#[derive(Clone, Debug, Default)]
pub struct HeldAt(Arc<Mutex<Position>>);

impl HeldAt {
    /// It is held here.
    pub fn set(&self, position: Position) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = position;
    }

    fn get(&self) -> Position {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads rows of its own keys.
pub struct OwnRows<R> {
    inner: R,
    is_own: IsOwn,
    table: TableIndex,
}

/// Writes rows without a copy's progress.
pub struct OwnWrites<W> {
    inner: W,
    is_own: IsOwn,
    held_at: HeldAt,
    /// The tables by name.
    tables: Arc<BTreeMap<String, TableIndex>>,
}

/// Reads entities of its own keys.
pub struct OwnEntities<G> {
    inner: G,
    is_own: IsOwn,
}

impl<R, W, G> Lane<R, W, G> {
    /// The same for its own keys. `held_at` is set before each turn.
    pub fn of_own(
        self,
        is_own: &IsOwn,
        held_at: &HeldAt,
        tables: &Arc<BTreeMap<String, TableIndex>>,
    ) -> Lane<OwnRows<R>, OwnWrites<W>, OwnEntities<G>> {
        let Lane { reader, writer, graph } = self;
        let (held_at, tables) = (held_at.clone(), tables.clone());
        Lane {
            reader: OwnRows { inner: reader, is_own: is_own.clone(), table: TableIndex(0) },
            writer: OwnWrites { inner: writer, is_own: is_own.clone(), held_at, tables },
            graph: OwnEntities { inner: graph, is_own: is_own.clone() },
        }
    }
}

impl<R: ChunkReader> ChunkReader for OwnRows<R> {
    type Error = R::Error;

    async fn begin(&mut self, heaps: &[Heap]) -> Result<Taken, R::Error> {
        self.inner.begin(heaps).await
    }

    async fn join(&mut self, taken: &Taken) -> Result<bool, R::Error> {
        self.inner.join(taken).await
    }

    async fn open(&mut self, heap: Heap, pass: Pass, chunk: Chunk) -> Result<(), R::Error> {
        self.table = heap.table;
        self.inner.open(heap, pass, chunk).await
    }

    async fn open_keys(
        &mut self,
        table: TableIndex,
        keys: &[Key],
        search: Search,
    ) -> Result<(), R::Error> {
        self.table = table;
        self.inner.open_keys(table, keys, search).await
    }

    async fn rows(&mut self) -> Result<Option<Vec<(Key, Row)>>, R::Error> {
        while let Some(mut rows) = self.inner.rows().await? {
            rows.retain(|(key, _)| (self.is_own)(self.table, key));
            if !rows.is_empty() {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }

    async fn ends_before(&mut self, heap: Heap, block: u32) -> Result<bool, R::Error> {
        self.inner.ends_before(heap, block).await
    }

    async fn release(&mut self) -> Result<(), R::Error> {
        self.inner.release().await
    }

    fn wanted(&self) -> impl Future<Output = Result<Waiting, R::Error>> + Send + 'static {
        self.inner.wanted()
    }

    fn tell_given_way(&self, to: &Waiting) {
        self.inner.tell_given_way(to);
    }

    fn is_for_now(error: &R::Error) -> bool {
        R::is_for_now(error)
    }

    async fn partitions(&mut self, table: TableIndex) -> Result<BTreeMap<u32, u32>, R::Error> {
        self.inner.partitions(table).await
    }

    async fn tell_unseen(&mut self) -> Result<(), R::Error> {
        self.inner.tell_unseen().await
    }

    async fn log_end(&mut self) -> Result<Lsn, R::Error> {
        self.inner.log_end().await
    }
}

impl<W: ChunkWriter> ChunkWriter for OwnWrites<W> {
    type Error = W::Error;

    async fn write_chunk(
        &mut self,
        step: &ChunkStep,
        statements: Vec<Statement>,
    ) -> Result<(), W::Error> {
        if statements.is_empty() {
            return Ok(());
        }
        let table = self.tables.get(&step.table).copied().expect("a step's table is mapped");
        self.inner.write_rows(self.held_at.get(), table, statements).await
    }

    async fn write_rows(
        &mut self,
        at: Position,
        table: TableIndex,
        statements: Vec<Statement>,
    ) -> Result<(), W::Error> {
        self.inner.write_rows(at, table, statements).await
    }

    /// Nothing is stored.
    async fn restart(&mut self, _: Position, _: &[Progress]) -> Result<(), W::Error> {
        Ok(())
    }

    async fn incomplete(
        &mut self,
        limit: usize,
    ) -> Result<BTreeMap<TableIndex, Vec<Key>>, W::Error> {
        let mut asked = limit;
        loop {
            let mut found = self.inner.incomplete(asked).await?;
            let is_cut: BTreeSet<TableIndex> = found
                .iter()
                .filter(|(_, keys)| keys.len() >= asked)
                .map(|(table, _)| *table)
                .collect();
            for (table, keys) in &mut found {
                keys.retain(|key| (self.is_own)(*table, key));
                keys.truncate(limit);
            }
            // Other logs' rows may hide its own.
            let is_hidden = is_cut.iter().any(|table| found[table].is_empty());
            if is_hidden {
                asked *= 2;
                continue;
            }
            found.retain(|_, keys| !keys.is_empty());
            return Ok(found);
        }
    }

    /// There is no progress to delete.
    async fn settle(&mut self, _: Position) -> Result<(), W::Error> {
        Ok(())
    }
}

impl<G: GraphReader> GraphReader for OwnEntities<G> {
    type Error = G::Error;

    async fn page(
        &mut self,
        table: TableIndex,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Found>, G::Error> {
        let mut after = after.cloned();
        loop {
            let mut page = self.inner.page(table, after.as_ref(), limit).await?;
            let Some(last) = page.last() else { return Ok(page) };
            after = Some(last.key.clone());
            page.retain(|found| (self.is_own)(table, &found.key));
            if !page.is_empty() {
                return Ok(page);
            }
        }
    }

    async fn found(&mut self, table: TableIndex, keys: &[Key]) -> Result<Vec<Found>, G::Error> {
        self.inner.found(table, keys).await
    }

    async fn missing(&mut self, table: TableIndex, keys: &[Key]) -> Result<Vec<Key>, G::Error> {
        self.inner.missing(table, keys).await
    }

    async fn strays(&mut self, table: TableIndex) -> Result<Strays, G::Error> {
        self.inner.strays(table).await
    }
}
