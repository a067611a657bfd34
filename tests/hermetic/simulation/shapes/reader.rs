//! Reads rows of tables by their names, as a comparison does, under delayed snapshots.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::{Future, pending},
};

use wal2graph::{
    copy::{Chunk, Heap},
    graph::{Key, Pass, Row, TableIndex},
    lsn::Lsn,
    mapping::{Selection, Translator},
    pipeline::{ChunkReader, Search, Taken, Waiting},
};

use super::{
    super::{
        copy::{next_piece, pause},
        program::SimError,
        traffic::BLOCKS,
        world::{Shared, World},
    },
    catalog::{SimRow, SimTable},
    faults::Unfollowed,
};

pub struct Reader {
    world: Shared,
    translator: Translator,
    /// Its name among the sessions that lock tables.
    id: u64,
    /// How many transactions the snapshot sees.
    open: Option<usize>,
    left: Vec<(Key, Row)>,
}

impl Reader {
    pub fn new(world: &Shared, translator: &Translator) -> Self {
        let id = world.lock().shapes().session();
        let (world, translator) = (world.clone(), translator.clone());
        Reader { world, translator, id, open: None, left: Vec::new() }
    }

    fn name(&self, table: TableIndex) -> String {
        self.translator.mapping().columns(table).name.name.clone()
    }

    /// Locks those of the heaps that nobody else has.
    fn lock(&self, heaps: &[Heap]) -> Result<Locked, SimError> {
        let mut world = self.world.lock();
        let state = world.latest_state().clone();
        let (mut files, mut gone, mut oids) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        for heap in heaps {
            let name = self.name(heap.table);
            let Some(SimTable { is: table, .. }) = state.named(&name) else {
                return Err(refused(&mut world, format!("there is no table {name}")));
            };
            if let (None, Some(leaves)) = (heap.partition, &table.leaves) {
                // A page of the graph: its rows may be in any partition.
                let all: Vec<u32> = leaves.keys().copied().chain([table.oid]).collect();
                if all.iter().all(|oid| world.is_free(*oid)) {
                    files.insert(*heap, 0);
                    oids.extend(all);
                }
                continue;
            }
            let found = table.heaps().into_iter().find(|(leaf, _)| *leaf == heap.partition);
            match found {
                None => drop(gone.insert(*heap)),
                Some((leaf, file)) => {
                    let oid = leaf.unwrap_or(table.oid);
                    if world.is_free(oid) {
                        files.insert(*heap, file);
                        oids.insert(oid);
                    }
                }
            }
        }
        world.shapes().held.insert(self.id, oids);
        Ok((files, gone))
    }

    fn read(
        &mut self,
        table: TableIndex,
        pass: Pass,
        is_one: impl Fn(&SimRow) -> bool,
    ) -> Result<Vec<(Key, Row)>, SimError> {
        let visible = self.open.expect("a snapshot is open");
        let mapping = self.translator.mapping().clone();
        let columns = mapping.columns(table);
        let selection = match pass {
            Pass::Relationships => Selection::of_pass(&mapping, table, pass),
            _ => Selection::all(columns),
        };
        let source: SimTable = {
            let mut world = self.world.lock();
            let state = &world.shapes().states[visible];
            match state.named(&columns.name.name).cloned() {
                Some(source) => source,
                None => return Err(refused(&mut world, format!("there is no {}", columns.name))),
            }
        };
        let numbers = selection.names(columns).map(|name| Some(source.is.named(name)?.number));
        let Some(numbers) = numbers.collect::<Option<Vec<i16>>>() else {
            let why = format!("{} has other columns", columns.name);
            return Err(refused(&mut self.world.lock(), why));
        };
        let rows = source.rows.values().filter(|row| is_one(row)).map(|row| {
            let texts: Vec<Option<&String>> =
                numbers.iter().map(|number| row.cells.get(number)).collect();
            self.translator.row_from_text(table, &selection, &texts)
        });
        let rows: Result<_, _> = rows.collect();
        rows.map_err(|error| refused(&mut self.world.lock(), error.to_string()))
    }
}

/// An error of SQL: the connection ends, and the next life looks.
fn refused(world: &mut World, why: String) -> SimError {
    world.moments.trace(|| format!("a read is refused: {why}"));
    SimError::Broken
}

type Locked = (BTreeMap<Heap, u32>, BTreeSet<Heap>);

impl ChunkReader for Reader {
    type Error = SimError;

    async fn begin(&mut self, heaps: &[Heap]) -> Result<Taken, SimError> {
        pause(&self.world, 10).await;
        let (files, gone) = self.lock(heaps)?;
        let (visible, text) = self.world.lock().snapshot();
        self.open = Some(visible);
        let (snapshot, name) = (text.parse().expect("a snapshot"), visible.to_string());
        Ok(Taken { snapshot, name, files, gone })
    }

    async fn join(&mut self, taken: &Taken) -> Result<bool, SimError> {
        pause(&self.world, 10).await;
        let heaps: Vec<Heap> = taken.files.keys().copied().collect();
        let (files, _) = self.lock(&heaps)?;
        if files.len() < heaps.len() {
            self.release().await?;
            return Ok(false);
        }
        self.open = Some(taken.name.parse().expect("a snapshot of another reader"));
        Ok(true)
    }

    async fn open(&mut self, heap: Heap, pass: Pass, chunk: Chunk) -> Result<(), SimError> {
        pause(&self.world, 4).await;
        let blocks = chunk.from_block..chunk.end_block.unwrap_or(u32::MAX);
        let is_one = |row: &SimRow| row.leaf == heap.partition && blocks.contains(&row.block);
        self.left = self.read(heap.table, pass, is_one)?;
        Ok(())
    }

    async fn rows(&mut self) -> Result<Option<Vec<(Key, Row)>>, SimError> {
        pause(&self.world, 4).await;
        Ok(next_piece(&mut self.left))
    }

    async fn ends_before(&mut self, _: Heap, block: u32) -> Result<bool, SimError> {
        Ok(block >= BLOCKS)
    }

    async fn open_keys(
        &mut self,
        table: TableIndex,
        keys: &[Key],
        _: Search,
    ) -> Result<(), SimError> {
        pause(&self.world, 4).await;
        let mut rows = self.read(table, Pass::Rows, |_| true)?;
        rows.retain(|(key, _)| keys.contains(key));
        self.left = rows;
        Ok(())
    }

    async fn release(&mut self) -> Result<(), SimError> {
        self.open = None;
        self.left.clear();
        self.world.lock().shapes().held.remove(&self.id);
        Ok(())
    }

    fn wanted(&self) -> impl Future<Output = Result<Waiting, SimError>> + Send + 'static {
        pending()
    }

    fn tell_given_way(&self, _: &Waiting) {}

    fn is_for_now(_: &SimError) -> bool {
        false
    }

    async fn partitions(&mut self, table: TableIndex) -> Result<BTreeMap<u32, u32>, SimError> {
        let name = self.name(table);
        let mut world = self.world.lock();
        let found = world.latest_state().named(&name).map(|table| table.is.heaps());
        let Some(heaps) = found else {
            return Err(refused(&mut world, format!("there is no table {name}")));
        };
        let heaps = heaps.into_iter();
        Ok(heaps.filter_map(|(leaf, file)| Some((leaf?, file))).collect())
    }

    async fn tell_unseen(&mut self) -> Result<(), SimError> {
        Ok(())
    }

    async fn log_end(&mut self) -> Result<Lsn, SimError> {
        let mut world = self.world.lock();
        match world.shapes().fault {
            Some(Unfollowed::ComparedAtOnce) => Ok(Lsn::ZERO),
            _ => Ok(Lsn(world.server.end)),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.world.lock().shapes().held.remove(&self.id);
    }
}
