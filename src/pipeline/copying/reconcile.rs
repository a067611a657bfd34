//! A reconciliation: tables and graph are compared, and what differs is written or reported.
//!
//! ```text
//! pass over rows:    a piece of rows  -> those that the graph lacks
//! pass over graph:   a page of entities -> the rows of their keys -> differences
//! ```
//!
//! Two passes need no common order of keys. The first finds rows that the graph lacks. The second
//! compares each entity with its row, and finds those that have none. An entity that the first pass
//! met is on a page of the second, unless the stream has written it since.
//!
//! Nothing is compared before the stream has passed the log's end of the beginning: a row that ALTER
//! TABLE has changed has no event, and an older event must not come behind it.
//!
//! The turns are a copy's: the stream is held, and the snapshot sees all that the graph has. So a row
//! that differs is at least as new as its entity, and a repair writes it at once. Nothing else is sure
//! at once: a row that is missing may be one that the stream is about to move. So a difference that is
//! reported, or removes something, is a *suspect* first. It is real once the stream has passed the
//! log's end of the look, no event has named its key since the hold, and the graph still differs: then the
//! tables are as the look saw them. A suspect that was named is looked at again. A row that a repair
//! has written is reported by the same rule: what the stream names since was only ahead of the graph.
//!
//! A verification writes nothing, so its turns hold the stream only until they have a snapshot. What the
//! stream names in the rest of the turn is recorded, and the graph may be newer than the snapshot there:
//! such a row is a suspect that is looked at again. A row that keeps changing is looked at under the hold
//! to the end, as a repair does it, where less changes meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    graph::{Difference, Found, Key, Model, Row, TableIndex, compare},
    lsn::Lsn,
    request::Purpose,
};

use super::super::named::{Named, Of};

/// More suspects than this wait for the stream before anything else is compared: their rows are in
/// memory.
const SUSPECTS_MAX: usize = 2_000;
/// A key that the stream names in this many looks in sequence changes faster than it can be looked at.
const ROUNDS_MAX: u32 = 10;
/// So many looks in sequence of a verification run beside the stream.
const ROUNDS_BESIDE: u32 = 3;
/// A look that holds the stream to its end has at most this many rows.
const HELD_MAX: usize = 100;
/// So many keys of differing rows are known, so that both passes name a row once.
const NAMED_MAX: usize = 100_000;
/// More written rows than this are reported at once: no stream brings as many between two looks.
const WRITTEN_MAX: usize = 20_000;
/// This many differing rows are kept with their differences.
const REPORTED_MAX: usize = 1_000;

/// A row that the graph has otherwise than its table.
#[derive(Clone, Debug, PartialEq)]
pub struct Differing {
    /// The table.
    pub table: TableIndex,
    /// The row's key.
    pub key: Key,
    /// How they differ.
    pub differences: Vec<Difference>,
}

/// What a reconciliation has found so far.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Rows and entities that were compared, for each table that is asked for. A row in both passes
    /// counts twice.
    pub compared: BTreeMap<TableIndex, u64>,
    /// Rows that differed, by table.
    pub differing: BTreeMap<TableIndex, u64>,
    /// Their differences, by table and [`Difference::kind`].
    pub kinds: BTreeMap<(TableIndex, &'static str), u64>,
    /// The first of them.
    pub first: Vec<Differing>,
    /// All is compared, and a repair has settled.
    pub is_over: bool,
    /// Rows that changed faster than they could be looked at, by table.
    pub undecided: BTreeMap<TableIndex, u64>,
    /// Tables whose entities without a row stay, and are no differences: they may be another pipeline's rows.
    pub spared: BTreeSet<TableIndex>,
}

/// A report that others may read while it grows. A clone is the same one.
#[derive(Clone, Debug, Default)]
pub struct Reported(Arc<Mutex<Report>>);

impl Reported {
    /// A report of these tables. Nothing is compared yet.
    pub fn of(tables: impl IntoIterator<Item = TableIndex>) -> Self {
        let compared = tables.into_iter().map(|table| (table, 0)).collect();
        Reported(Arc::new(Mutex::new(Report { compared, ..Report::default() })))
    }

    /// Whether no clone of it is left: it grows no more.
    pub fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// The report so far.
    pub fn get(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A difference that is not proven.
pub(super) struct Suspect {
    /// The row that the look saw; `None`: there was none.
    pub row: Option<Row>,
    /// The log's end after the look.
    pub through: Lsn,
    /// How many looks in sequence were in vain.
    rounds: u32,
}

/// What to do before the next piece is compared.
pub(super) enum Next {
    /// These suspects of a table may be judged.
    Judge(TableIndex, Vec<(Key, Suspect)>),
    /// These keys of a table are to be looked at, with the stream held meanwhile or not.
    Look { table: TableIndex, keys: Vec<Key>, is_held: bool },
    /// The stream has to pass this position.
    Wait(Lsn),
    /// Nothing.
    Nothing,
}

/// What a reconciliation knows between its turns.
pub(super) struct Reconcile {
    pub purpose: Purpose,
    pub named: Named,
    pub reported: Reported,
    /// Keys to look at, with the number of looks in vain.
    to_look_at: BTreeMap<Of, u32>,
    suspects: BTreeMap<Of, Suspect>,
    /// Rows that a repair has written, with their differences and the log's end after the look.
    written: BTreeMap<Of, (Vec<Difference>, Lsn)>,
    /// The rounds of keys that are being looked at.
    rounds: BTreeMap<Of, u32>,
    /// Where the pass over the graph is, by table.
    pub cursors: BTreeMap<TableIndex, Key>,
    /// Only the rows that were named are compared.
    pub is_by_keys: bool,
    /// Rows that differ, as far as they are told.
    told: BTreeSet<Of>,
    /// It has begun in this life.
    begun: bool,
    /// The passes are over.
    ended: bool,
}

impl Reconcile {
    pub fn new(purpose: Purpose, named: Named, reported: Reported, keys: Option<Vec<Of>>) -> Self {
        if keys.is_none() {
            named.keep_moved();
        }
        Reconcile {
            is_by_keys: keys.is_some(),
            purpose,
            named,
            reported,
            to_look_at: keys.into_iter().flatten().map(|of| (of, 0)).collect(),
            suspects: BTreeMap::new(),
            written: BTreeMap::new(),
            rounds: BTreeMap::new(),
            cursors: BTreeMap::new(),
            told: BTreeSet::new(),
            begun: false,
            ended: false,
        }
    }

    /// Whether this is the first call.
    pub fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    /// Counts compared rows.
    pub fn compared(&self, table: TableIndex, rows: usize) {
        *self.reported.get().compared.entry(table).or_default() += rows as u64;
    }

    /// A difference is real.
    pub fn differs(&mut self, table: TableIndex, key: &Key, differences: Vec<Difference>) {
        if self.told.len() < NAMED_MAX && !self.told.insert((table, key.clone())) {
            return;
        }
        let mut report = self.reported.get();
        *report.differing.entry(table).or_default() += 1;
        for difference in &differences {
            *report.kinds.entry((table, difference.kind())).or_default() += 1;
        }
        if report.first.len() < REPORTED_MAX {
            report.first.push(Differing { table, key: key.clone(), differences });
        }
    }

    /// A look saw a difference, while the stream was held.
    pub fn suspect(&mut self, of: Of, row: Option<Row>, through: Lsn) {
        let rounds = self.rounds.remove(&of).unwrap_or(0);
        // From here on the watch is the suspect's.
        self.written.remove(&of);
        self.named.watch(of.clone());
        self.suspects.insert(of, Suspect { row, through, rounds });
    }

    /// Those of these keys that the stream has not named beside the turn. The others have no row as far as
    /// the look tells, and are looked at again.
    pub fn untouched(&mut self, table: TableIndex, keys: Vec<Key>, through: Lsn) -> Vec<Key> {
        let mut untouched = Vec::new();
        for key in keys {
            let of = (table, key);
            match self.named.has_recorded(&of) {
                true => self.suspect(of, None, through),
                false => untouched.push(of.1),
            }
        }
        untouched
    }

    /// A look saw no difference.
    pub fn is_well(&mut self, of: &Of) {
        self.rounds.remove(of);
    }

    /// These keys are to be looked at.
    pub fn look_at(&mut self, of: impl IntoIterator<Item = Of>) {
        for of in of {
            self.to_look_at.entry(of).or_insert(0);
        }
    }

    /// Whether the stream has named a suspect since its look. If so, it is looked at again.
    pub fn was_named(&mut self, of: &Of, suspect: &Suspect) -> bool {
        if !self.named.end_watch(of) {
            return false;
        }
        if suspect.rounds + 1 < ROUNDS_MAX {
            self.to_look_at.insert(of.clone(), suspect.rounds + 1);
        } else {
            *self.reported.get().undecided.entry(of.0).or_default() += 1;
        }
        true
    }

    /// So many rows wait for their proof that nothing else is compared.
    pub fn is_full(&self) -> bool {
        self.suspects.len() + self.to_look_at.len() >= SUSPECTS_MAX
    }

    /// The rows to write among those that a look saw, while the stream was held. For a verification
    /// there are none: what differs is a suspect.
    pub fn differing(
        &mut self,
        model: &Model,
        table: TableIndex,
        rows: Vec<(Key, Row)>,
        entities: &BTreeMap<Key, Found>,
        through: Lsn,
    ) -> Vec<(Key, Row)> {
        let mut to_write = Vec::new();
        for (key, row) in rows {
            let differences = compare(model, table, Some((&key, &row)), entities.get(&key));
            if self.purpose == Purpose::Verify && !differences.is_empty() {
                self.suspect((table, key), Some(row), through);
                continue;
            }
            let of = (table, key);
            self.is_well(&of);
            if !differences.is_empty() {
                to_write.push((of.1.clone(), row));
                self.writes(of, differences, through);
            }
        }
        to_write
    }

    /// A repair writes a row. Whether it differed, or is one that the stream is about to bring, shows later.
    fn writes(&mut self, of: Of, differences: Vec<Difference>, through: Lsn) {
        // Beside a repair the stream marks rows itself. The watch of a suspect would not hear what was named before.
        if differences.contains(&Difference::Incomplete) || self.suspects.contains_key(&of) {
            return;
        }
        if self.written.len() >= WRITTEN_MAX {
            return self.differs(of.0, &of.1, differences);
        }
        self.named.watch(of.clone());
        self.written.insert(of, (differences, through));
    }

    /// Reports what a repair has written, once the stream has passed its look without naming it.
    fn report_written(&mut self, applied: Lsn) {
        let ripe = self.written.extract_if(.., |_, (_, through)| *through <= applied);
        for ((table, key), (differences, _)) in ripe.collect::<Vec<_>>() {
            let of = (table, key);
            if !self.named.end_watch(&of) {
                self.differs(table, &of.1, differences);
            }
        }
    }

    /// The look was broken off: what it has not judged is looked at again.
    pub fn abandon(&mut self) {
        self.to_look_at.append(&mut self.rounds);
    }

    /// The passes are over: keys that rows have moved to meanwhile are looked at. Returns whether
    /// this is new.
    pub fn end(&mut self) -> bool {
        let is_new = !std::mem::replace(&mut self.ended, true);
        let moved = self.named.take_moved();
        if is_new {
            self.look_at_asked(moved);
        }
        is_new
    }

    /// Those of these keys that are of compared tables are to be looked at.
    pub fn look_at_asked(&mut self, of: impl IntoIterator<Item = Of>) {
        let asked: Vec<Of> = {
            let report = self.reported.get();
            of.into_iter().filter(|(table, _)| report.compared.contains_key(table)).collect()
        };
        self.look_at(asked);
    }

    /// The next look at rows of a table that has some. Those that keep changing come last, and few at a time.
    fn next_look(&mut self, table: TableIndex) -> Next {
        let is_beside = |rounds: u32| rounds < ROUNDS_BESIDE;
        let repairs = self.purpose == Purpose::Repair;
        let mut of_table = self.to_look_at.iter().filter(|((of, _), _)| *of == table);
        let is_held = repairs || !of_table.any(|(_, rounds)| is_beside(*rounds));
        let most = if is_held && !repairs { HELD_MAX } else { SUSPECTS_MAX };
        let is_next = |of: TableIndex, rounds: u32| of == table && (is_held || is_beside(rounds));
        let next = self.to_look_at.extract_if(.., |(of, _), rounds| is_next(*of, *rounds));
        let next: BTreeMap<Of, u32> = next.take(most).collect();
        let keys = next.keys().map(|(_, key)| key.clone()).collect();
        if self.is_by_keys {
            self.compared(table, next.values().filter(|rounds| **rounds == 0).count());
        }
        self.rounds = next;
        Next::Look { table, keys, is_held }
    }

    /// What to do first, with the stream applied through `applied`.
    pub fn next(&mut self, applied: Lsn, passes_are_over: bool) -> Next {
        self.report_written(applied);
        let ripe = self.suspects.iter().find(|(_, suspect)| suspect.through <= applied);
        if let Some(((table, _), _)) = ripe {
            let table = *table;
            let ripe =
                |(of, _): &Of, suspect: &mut Suspect| *of == table && suspect.through <= applied;
            let ripe = self.suspects.extract_if(.., |of, suspect| ripe(of, suspect));
            return Next::Judge(table, ripe.map(|((_, key), suspect)| (key, suspect)).collect());
        }
        let least = self.suspects.values().map(|suspect| suspect.through).min();
        match least {
            Some(through) if self.suspects.len() >= SUSPECTS_MAX => return Next::Wait(through),
            _ => {}
        }
        if passes_are_over || self.to_look_at.len() >= SUSPECTS_MAX {
            if let Some(((table, _), _)) = self.to_look_at.first_key_value() {
                let table = *table;
                return self.next_look(table);
            }
            let written = self.written.values().map(|(_, through)| *through);
            if let Some(through) = written.chain(least).min() {
                return Next::Wait(through);
            }
        }
        Next::Nothing
    }
}
