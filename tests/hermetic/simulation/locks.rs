//! Locks on tables: those of the copy's readers, and an application that wants a table exclusively.
//!
//! ```text
//! ALTER TABLE:  waits behind the readers' locks -> has the table -> is done
//! a reader:     can not lock a table that somebody has, or waits for
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use wal2graph::graph::TableIndex;

use super::{faults::Fault, world::Shared};

/// The longest that an application may wait for a table, in virtual time. The copy checks for
/// waiting sessions every few milliseconds, and each of its own steps takes tens of them.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Who has which table.
#[derive(Default)]
pub struct Locks {
    next_reader: u64,
    readers: BTreeMap<u64, BTreeSet<TableIndex>>,
    /// The table that an application waits for or holds.
    application: Option<TableIndex>,
}

impl Locks {
    /// A name for a reader.
    pub fn reader(&mut self) -> u64 {
        self.next_reader += 1;
        self.next_reader
    }

    /// No other session holds the table or waits for it.
    pub fn is_free(&self, table: TableIndex) -> bool {
        self.application != Some(table)
    }

    pub fn lock(&mut self, reader: u64, tables: impl IntoIterator<Item = TableIndex>) {
        self.readers.insert(reader, tables.into_iter().collect());
    }

    pub fn release(&mut self, reader: u64) {
        self.readers.remove(&reader);
    }

    pub fn has(&self, reader: u64, table: TableIndex) -> bool {
        self.readers.get(&reader).is_some_and(|tables| tables.contains(&table))
    }

    /// A reader has the table.
    pub fn is_read(&self, table: TableIndex) -> bool {
        self.readers.values().any(|tables| tables.contains(&table))
    }

    /// The application waits for a reader.
    pub fn is_wanted(&self) -> bool {
        self.application.is_some_and(|table| self.is_read(table))
    }
}

/// Resolves when a session waits for a table that a reader has locked.
pub async fn wanted(world: Shared) {
    if matches!(world.lock().fault, Some(Fault::WantedTableKept | Fault::LaneReadsUnlocked)) {
        std::future::pending().await
    }
    loop {
        let pause = world.lock().rng.u64(1..6);
        sleep(Duration::from_millis(pause)).await;
        if world.lock().locks.is_wanted() {
            return;
        }
    }
}

/// A graph that does not answer while an application waits for a table. The copy releases the table
/// anyway.
pub async fn stall(world: &Shared) {
    let since = Instant::now();
    while since.elapsed() <= WAIT_MAX && world.lock().locks.is_wanted() {
        sleep(Duration::from_millis(1)).await;
    }
}

/// An application that alters tables.
pub async fn alter_tables(world: Shared) {
    loop {
        let (pause, held, table) = {
            let mut world = world.lock();
            let tables = world.schema.model.tables.len();
            let rng = &mut world.rng;
            (rng.u64(0..300), rng.u64(0..30), TableIndex(rng.usize(0..tables)))
        };
        sleep(Duration::from_millis(pause)).await;
        let since = Instant::now();
        world.lock().locks.application = Some(table);
        while world.lock().locks.is_wanted() {
            sleep(Duration::from_millis(1)).await;
            if since.elapsed() > WAIT_MAX {
                world.lock().violate(format!("an application waits for {table:?} that is copied"));
                return;
            }
        }
        sleep(Duration::from_millis(held)).await;
        world.lock().locks.application = None;
    }
}
