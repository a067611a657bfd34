//! Rows that are set aside as dead letters, while a pipeline runs.
//!
//! ```text
//! a change of its own batch is refused -> its place is known, and the batches in flight are prepared again
//! preparer:   a change at a known place, or of a row that is set aside -> its letter, in the batch's transaction
//!             TRUNCATE -> the letters of its tables go
//! copier:     rows that are refused one by one -> letters, at the position where the stream is held
//!             a repair has compared and written a row that is set aside -> its letter goes
//! ```
//!
//! Preparer and copier share one value. The copier changes it only while the stream is held: then nothing is in
//! flight, and the next change is prepared by what the copier has left. A life begins with the letters that the
//! graph has. A letter that was not written, with its batch, is forgotten with it: [`Letters::take_back`].

mod error;
mod kept;
mod set_aside;
mod texts;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    change::Change,
    checkpoint::{Log, Position},
    copy::ChunkStep,
    engine::Place,
    graph::{
        Event, Key, Model, Row, Statement, TableIndex,
        letter::{LastChange, Letter, LetterId, Refusal},
    },
};

use super::{ChunkWriter, Failure, KeptLetter, Operation, named::Of, shortened};

pub use error::NotSetAside;
pub(super) use error::NotWritten;
pub use kept::Kept;
use set_aside::SetAside;
use texts::{shown_row, shown_table, too_large, too_large_row, values};

/// What is done with rows that the graph does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// They are set aside, and the pipeline goes on. Otherwise one ends it.
    pub sets_aside: bool,
    /// The most rows that are set aside.
    pub rows_max: usize,
    /// The largest value that is sent to the graph.
    pub value_bytes: usize,
    /// The largest row.
    pub row_bytes: usize,
}

/// A letter that the graph has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownLetter {
    /// Which one.
    pub name: String,
    /// The row's table.
    pub table: TableIndex,
    /// Its key.
    pub key: Key,
}

impl KnownLetter {
    /// A letter as it is read. `None`: the model has no table of its row, or others have changed its key.
    pub fn of(model: &Model, letter: KeptLetter) -> Option<Self> {
        let (table, _) = model.iter().find(|(_, table)| table.name == letter.table)?;
        Some(KnownLetter { name: letter.name, table, key: letter.key? })
    }
}

/// The rows of a log that are set aside. A clone is the same value.
#[derive(Clone, Debug)]
pub struct Letters(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    rules: Rules,
    pipeline: Arc<str>,
    log: Log,
    log_name: Arc<str>,
    /// Changes that the graph has refused, each in a batch of its own.
    refused: Mutex<BTreeMap<Place, Refusal>>,
    /// Whether a change may be one to set aside.
    is_used: AtomicBool,
    rows: Mutex<SetAside>,
}

/// Rows of a table that a copier writes.
pub(super) struct Rows<'a, P> {
    pub model: &'a Model,
    pub table: TableIndex,
    /// Where the stream is held.
    pub at: Position,
    /// The statements that write some of them.
    pub plan: P,
}

impl Letters {
    /// The rows of a log that the graph has letters of.
    pub fn new(rules: Rules, pipeline: &str, log: &Log, known: Vec<KnownLetter>) -> Self {
        let is_used = !known.is_empty();
        let rows = known.into_iter().map(|it| ((it.table, it.key), it.name));
        Letters(Arc::new(Shared {
            rules,
            pipeline: pipeline.into(),
            log: log.clone(),
            log_name: log.name().into(),
            refused: Mutex::default(),
            is_used: AtomicBool::new(is_used),
            rows: Mutex::new(SetAside::of(rows)),
        }))
    }

    /// Nothing is set aside, and nothing will be.
    pub fn none() -> Self {
        let log = Log::Slot(String::new());
        Letters::new(Rules::NONE, "", &log, Vec::new())
    }

    /// What the next batch sets aside: nothing yet.
    pub fn of_next_batch(&self) -> Kept {
        self.rows().next_batch();
        Kept::default()
    }

    /// The last batches, so many, are not written: what they have set aside is not, and what they have not is again.
    pub fn take_back(&self, batches: usize) {
        self.rows().take_back(batches);
    }

    /// The graph has refused a change alone. Whether it is set aside when it comes again. It is not where the graph
    /// does not take its letter, or may take the change later.
    pub fn refused(&self, place: Place, error: &dyn Failure) -> bool {
        let shared = &self.0;
        if !shared.rules.sets_aside || !error.is_of_a_row() {
            return false;
        }
        shared.is_used.store(true, Ordering::Relaxed);
        lock(&shared.refused).insert(place, refusal(error)).is_none()
    }

    /// Whether no row is set aside.
    pub fn is_empty(&self) -> bool {
        !self.0.is_used.load(Ordering::Relaxed) || self.rows().is_empty()
    }

    /// The rows of the letters with these names.
    pub fn named(&self, names: &BTreeSet<String>) -> Vec<Of> {
        let rows = self.rows();
        rows.iter().filter(|(_, name)| names.contains(*name)).map(|(of, _)| of.clone()).collect()
    }

    /// Those of these letters that it goes by.
    pub fn among(&self, names: &BTreeSet<String>) -> BTreeSet<String> {
        let rows = self.rows();
        rows.iter().map(|(_, name)| name).filter(|name| names.contains(*name)).cloned().collect()
    }

    /// These letters are gone: their rows are set aside no longer. Nothing may be in flight.
    pub fn forget(&self, names: &BTreeSet<String>) {
        self.rows().remove_if(|_, name| names.contains(name));
    }

    /// Whether a row is set aside.
    pub(super) fn has(&self, table: TableIndex, key: &Key) -> bool {
        !self.is_empty() && self.rows().get(&(table, key.clone())).is_some()
    }

    /// Those of these keys of a table whose rows are set aside.
    pub(super) fn waiting<'a>(
        &self,
        table: TableIndex,
        keys: impl IntoIterator<Item = &'a Key>,
    ) -> BTreeSet<Key> {
        if self.is_empty() {
            return BTreeSet::new();
        }
        let rows = self.rows();
        let waits = |key: &&Key| rows.get(&(table, (*key).clone())).is_some();
        keys.into_iter().filter(waits).cloned().collect()
    }

    /// All rows that are set aside.
    pub(super) fn all(&self) -> Vec<Of> {
        self.rows().iter().map(|(of, _)| of.clone()).collect()
    }

    /// Passes a change on, unless it is set aside: then `kept` has it. `model` has its table.
    ///
    /// # Errors
    /// It is neither.
    pub fn pass(
        &self,
        kept: &mut Kept,
        model: &Model,
        event: Event,
        change: &Change,
        place: Place,
    ) -> Result<Option<Event>, NotSetAside> {
        let shared = &self.0;
        let is_known = shared.is_used.load(Ordering::Relaxed);
        let too_large = too_large(change, shared.rules);
        if !is_known && too_large.is_none() {
            return Ok(Some(event));
        }
        let (table, keys) = match &event {
            Event::Insert { table, key, .. }
            | Event::Update { table, key, .. }
            | Event::Delete { table, key } => (*table, vec![key.clone()]),
            Event::Move { table, from, to, .. } => (*table, vec![from.clone(), to.clone()]),
            Event::Truncate { tables } => {
                kept.truncated(tables, self.truncated(tables));
                return Ok(Some(event));
            }
        };
        let mut rows = self.rows();
        let refusal = match too_large {
            Some(reason) => {
                if !shared.rules.sets_aside {
                    let row = shown_row(model, table, keys.last());
                    return Err(NotSetAside::TooLarge { row, reason });
                }
                Some(Refusal { error: reason.clone(), reason })
            }
            None => lock(&shared.refused).get(&place).cloned(),
        };
        let is_behind = keys.iter().any(|key| rows.get(&(table, key.clone())).is_some());
        if refusal.is_none() && !is_behind {
            return Ok(Some(event));
        }
        let last = LastChange {
            operation: Operation::of(&event).name(),
            at: place.at,
            place: shared.log.place(place.at),
            values: values(change),
        };
        for key in keys {
            let letter = self.letter(&mut rows, model, (table, key), refusal.clone())?;
            kept.add(table, Letter { changes: 1, last: Some(last.clone()), ..letter });
        }
        Ok(None)
    }

    /// All rows of tables went: the letters of theirs go.
    fn truncated(&self, tables: &[TableIndex]) -> Option<Statement> {
        if self.is_empty() {
            return None;
        }
        let names = self.rows().remove_if(|(table, _), _| tables.contains(table));
        self.removal(names)
    }

    fn removal(&self, names: Vec<String>) -> Option<Statement> {
        let pipeline = &self.0.pipeline;
        let ids = names.into_iter().map(|name| LetterId { pipeline: pipeline.clone(), name });
        let letters: Vec<LetterId> = ids.collect();
        (!letters.is_empty()).then_some(Statement::RemoveLetters { letters })
    }

    /// The letter of a row, which is set aside from now on.
    fn letter(
        &self,
        rows: &mut SetAside,
        model: &Model,
        of: Of,
        refusal: Option<Refusal>,
    ) -> Result<Letter, NotSetAside> {
        let shared = &self.0;
        let name = match rows.get(&of) {
            Some(name) => name.clone(),
            None => {
                // What comes behind another row has to wait with it.
                if let Some(Refusal { error, .. }) = &refusal
                    && rows.len() >= shared.rules.rows_max
                {
                    let (row, error) = (shown_row(model, of.0, Some(&of.1)), error.clone());
                    return Err(NotSetAside::TooMany { rows: rows.len(), row, error });
                }
                let id = LetterId::of_row(&shared.pipeline, model, of.0, &of.1);
                rows.insert(of.clone(), id.name.clone());
                shared.is_used.store(true, Ordering::Relaxed);
                tell(&shown_table(model, of.0), &id.name, refusal.as_ref());
                id.name
            }
        };
        let id = LetterId { pipeline: shared.pipeline.clone(), name };
        let (log, key) = (shared.log_name.clone(), of.1);
        let shown_key = shortened(&model.shown_key(of.0, &key));
        Ok(Letter { id, log, key, shown_key, changes: 0, last: None, refusal })
    }

    /// Whether a row that is refused is set aside. One that is already stays so.
    fn sets_aside(&self, table: TableIndex, key: &Key) -> bool {
        self.0.rules.sets_aside || self.has(table, key)
    }

    /// Whether any is.
    fn may_set_aside(&self) -> bool {
        self.0.rules.sets_aside || !self.is_empty()
    }

    /// Writes rows: of a chunk, with its step, or of none. Those that the graph refuses one by one become letters.
    /// Returns their keys.
    pub(super) async fn write<W: ChunkWriter>(
        &self,
        writer: &mut W,
        of: &Rows<'_, impl Fn(Vec<(Key, Row)>) -> Vec<Statement>>,
        step: Option<&ChunkStep>,
        rows: Vec<(Key, Row)>,
    ) -> Result<Vec<Key>, NotWritten<W::Error>> {
        let (rows, mut refused) = self.without_large(of, rows)?;
        let again = self.may_set_aside().then(|| rows.clone());
        let mut statements = (of.plan)(rows);
        statements.extend(keep(of.table, refused.clone()));
        if let Err(error) = put(writer, of, step, statements).await {
            let Some(rows) = again.filter(|_| error.is_of_a_row()) else {
                return Err(error.into());
            };
            refused.extend(self.one_by_one(writer, of, rows).await?);
            let letters = keep(of.table, refused.clone()).into_iter().collect();
            put(writer, of, step, letters).await?;
        }
        Ok(refused.into_iter().map(|letter| letter.key).collect())
    }

    /// The same, after which the graph has the rows that wait as their table has them: their letters go, but for those
    /// that are refused again.
    pub(super) async fn write_equal<W: ChunkWriter>(
        &self,
        writer: &mut W,
        of: &Rows<'_, impl Fn(Vec<(Key, Row)>) -> Vec<Statement>>,
        step: Option<&ChunkStep>,
        rows: Vec<(Key, Row)>,
        mut waiting: BTreeSet<Key>,
    ) -> Result<(), NotWritten<W::Error>> {
        for refused in self.write(writer, of, step, rows).await? {
            waiting.remove(&refused);
        }
        Ok(self.release(writer, of.at, of.table, &waiting).await?)
    }

    /// Writes each row by itself. Returns the letters of those that are refused; they are not in the graph yet.
    async fn one_by_one<W: ChunkWriter>(
        &self,
        writer: &mut W,
        of: &Rows<'_, impl Fn(Vec<(Key, Row)>) -> Vec<Statement>>,
        rows: Vec<(Key, Row)>,
    ) -> Result<Vec<Letter>, NotWritten<W::Error>> {
        let mut letters = Vec::new();
        for row in rows {
            let key = row.0.clone();
            let statements = (of.plan)(vec![row]);
            if statements.is_empty() {
                continue;
            }
            match writer.write_rows(of.at, of.table, statements).await {
                Ok(()) => {}
                Err(error) if error.is_of_a_row() && self.sets_aside(of.table, &key) => {
                    let refusal = refusal(&error);
                    letters.push(self.letter_of(of, key, refusal)?);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(letters)
    }

    fn letter_of<P, E>(
        &self,
        of: &Rows<'_, P>,
        key: Key,
        refusal: Refusal,
    ) -> Result<Letter, NotWritten<E>> {
        let letter = self.letter(&mut self.rows(), of.model, (of.table, key), Some(refusal));
        letter.map_err(NotWritten::Row)
    }

    /// The rows whose values are small enough, and the letters of the others.
    #[expect(clippy::type_complexity, reason = "rows, and letters")]
    fn without_large<P, E>(
        &self,
        of: &Rows<'_, P>,
        rows: Vec<(Key, Row)>,
    ) -> Result<(Vec<(Key, Row)>, Vec<Letter>), NotWritten<E>> {
        let rules = self.0.rules;
        if rows.iter().all(|(_, row)| row.size_bytes() <= rules.smallest()) {
            return Ok((rows, Vec::new()));
        }
        let (mut fits, mut letters) = (Vec::new(), Vec::new());
        for (key, row) in rows {
            let name = |property| of.model.property_name(of.table, property);
            let Some(reason) = too_large_row(&row, rules, name) else {
                fits.push((key, row));
                continue;
            };
            if !self.sets_aside(of.table, &key) {
                let row = shown_row(of.model, of.table, Some(&key));
                return Err(NotWritten::Row(NotSetAside::TooLarge { row, reason }));
            }
            let refusal = Refusal { error: reason.clone(), reason };
            letters.push(self.letter_of(of, key, refusal)?);
        }
        Ok((fits, letters))
    }

    /// Rows were compared and written, while the stream is held: their letters go.
    pub(super) async fn release<'a, W: ChunkWriter>(
        &self,
        writer: &mut W,
        at: Position,
        table: TableIndex,
        keys: impl IntoIterator<Item = &'a Key>,
    ) -> Result<(), W::Error> {
        let of = self.waiting(table, keys).into_iter().map(|key| (table, key)).collect::<Vec<_>>();
        let names = of.iter().filter_map(|of| self.rows().get(of).cloned()).collect();
        if let Some(removal) = self.removal(names) {
            writer.write_rows(at, table, vec![removal]).await?;
            let mut rows = self.rows();
            of.iter().for_each(|of| rows.remove(of));
        }
        Ok(())
    }

    fn rows(&self) -> MutexGuard<'_, SetAside> {
        lock(&self.0.rows)
    }
}

impl Rules {
    /// Every row is sent, and one that is refused ends the pipeline.
    pub const NONE: Rules = Rules {
        sets_aside: false,
        rows_max: usize::MAX,
        value_bytes: usize::MAX,
        row_bytes: usize::MAX,
    };

    /// What is not larger breaks no limit.
    fn smallest(self) -> usize {
        self.value_bytes.min(self.row_bytes)
    }
}

fn refusal(error: &(impl Failure + ?Sized)) -> Refusal {
    Refusal { reason: error.without_values(), error: error.in_full() }
}

async fn put<W: ChunkWriter, P>(
    writer: &mut W,
    of: &Rows<'_, P>,
    step: Option<&ChunkStep>,
    statements: Vec<Statement>,
) -> Result<(), W::Error> {
    match step {
        Some(step) => writer.write_chunk(step, statements).await,
        None if statements.is_empty() => Ok(()),
        None => writer.write_rows(of.at, of.table, statements).await,
    }
}

fn keep(table: TableIndex, letters: Vec<Letter>) -> Option<Statement> {
    (!letters.is_empty()).then_some(Statement::KeepLetters { table, letters })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tell(table: &str, letter: &str, refusal: Option<&Refusal>) {
    match refusal {
        Some(Refusal { reason, .. }) => tracing::warn!(
            table,
            letter,
            reason,
            "a row is set aside as a dead letter: `wal2graph dead-letters list` shows it"
        ),
        None => tracing::warn!(
            table,
            letter,
            "a row is set aside, since it takes or leaves the key of one that waits"
        ),
    }
}
