//! Transactions of rows, on tables whose shape changes.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use wal2graph::change::{Before, Cell, Change, Tuple};

use super::{
    super::traffic::BLOCKS,
    catalog::{
        Definition, ForeignKey, INT, Leaf, MOOD, SimColumn, SimRow, SimTable, State, TEXT, WIDE,
    },
};

/// Numbers that are given once.
#[derive(Debug)]
pub struct Ids(pub u32);

impl Ids {
    pub fn next(&mut self) -> u32 {
        self.0 += 1;
        self.0
    }
}

/// A transaction that is open.
pub struct Transaction<'a> {
    pub rng: &'a mut Rng,
    pub ids: &'a mut Ids,
    pub xid: u32,
    pub state: State,
    pub changes: Vec<Change>,
    /// The relations that it has to itself until its commit can be seen.
    pub locks: BTreeSet<u32>,
}

/// The tables at the beginning of a history.
pub fn first_state(has_all: bool) -> State {
    let column = |(name, type_oid, number): (&str, u32, i16)| SimColumn {
        name: name.to_owned(),
        number,
        type_oid,
        xmin: 1,
        has_default: false,
    };
    let table =
        |oid: u32, name: &str, columns: &[(&str, u32)], key: &[i16], refers: &[(i16, u32)]| {
            let columns: Vec<SimColumn> = columns
                .iter()
                .zip(1..)
                .map(|((name, of), number)| column((name, *of, number)))
                .collect();
            let foreign_key = |(column, target): &(i16, u32)| ForeignKey {
                columns: vec![*column],
                target: *target,
            };
            let is = Definition {
                oid,
                name: name.to_owned(),
                numbers: columns.len() as i16,
                columns,
                file: oid,
                key: key.to_vec(),
                foreign_keys: refers.iter().map(foreign_key).collect(),
                by: (!has_all).then_some(oid),
                leaves: None,
            };
            SimTable { is, rows: BTreeMap::new() }
        };
    let mut parts = table(1004, "parts", &[("id", INT), ("a", INT)], &[1], &[]);
    let leaf = |bound: i64| Leaf { bound, file: 1200 + bound as u32, xmin: 1 };
    parts.is.leaves = Some(BTreeMap::from([(1100, leaf(0)), (1101, leaf(1))]));
    let people = [("id", INT), ("alt", INT), ("a", INT), ("mood", MOOD), ("b", TEXT)];
    State {
        tables: vec![
            table(1001, "people", &people, &[1], &[]),
            table(
                1002,
                "items",
                &[("id", INT), ("person_id", INT), ("b", TEXT)],
                &[1],
                &[(2, 1001)],
            ),
            table(
                1003,
                "likes",
                &[("person_id", INT), ("item_id", INT), ("c", INT)],
                &[1, 2],
                &[(1, 1001), (2, 1002)],
            ),
            parts,
        ],
        loose: Vec::new(),
        labels: BTreeMap::from([(1, "sad".to_owned()), (2, "glad".to_owned())]),
        publication: 900,
        has_all,
    }
}

impl Transaction<'_> {
    pub fn is(&self, oid: u32) -> Definition {
        self.state.table(oid).expect("the table is there").is.clone()
    }

    pub fn table_mut(&mut self, oid: u32) -> &mut SimTable {
        let mut tables = self.state.tables.iter_mut();
        tables.find(|table| table.is.oid == oid).expect("the table is there")
    }

    pub fn any_table(&mut self, is_one: impl Fn(&Definition) -> bool) -> Option<u32> {
        let oids = self.state.tables.iter().map(|table| &table.is).filter(|it| is_one(it));
        let oids: Vec<u32> = oids.map(|it| it.oid).collect();
        self.rng.choice(oids)
    }

    pub fn any_row(&mut self, oid: u32) -> Option<u64> {
        let rows: Vec<u64> = self.state.table(oid)?.rows.keys().copied().collect();
        self.rng.choice(rows)
    }

    /// Some changes of rows.
    pub fn rows(&mut self) {
        for _ in 0..self.rng.usize(1..6) {
            let Some(oid) = self.any_table(|_| true) else { return };
            self.row(oid);
        }
    }

    /// A change of a row of the table.
    pub fn row(&mut self, oid: u32) {
        match self.rng.u8(0..20) {
            0..9 => self.insert(oid),
            9..15 => self.update(oid),
            15..19 => {
                if let Some(row) = self.any_row(oid) {
                    self.delete(oid, row);
                }
            }
            _ => self.truncate(oid),
        }
    }

    fn emit(&mut self, table: &Definition, change: Change) {
        if self.state.is_published(table) {
            self.changes.push(change);
        }
    }

    /// A value for a column; `None`: NULL.
    pub fn value(&mut self, table: &Definition, column: &SimColumn) -> Option<String> {
        if let Some(key) = table.foreign_keys.iter().find(|it| it.columns == [column.number]) {
            let target = self.state.table(key.target).expect("the target is there");
            let ids: Vec<String> = target.rows.values().map(|row| row.cells[&1].clone()).collect();
            return self.rng.choice(ids);
        }
        if column.name == "alt" {
            return Some(self.ids.next().to_string());
        }
        if !table.is_key(column.number) && self.rng.u8(0..5) == 0 {
            return None;
        }
        Some(match column.type_oid {
            INT => self.rng.i64(0..6).to_string(),
            MOOD => {
                let labels: Vec<String> = self.state.labels.values().cloned().collect();
                self.rng.choice(labels).expect("there are labels")
            }
            _ if self.rng.bool() => format!("{WIDE}{}", self.rng.u8(0..4)),
            _ => format!("t{}", self.rng.u8(0..4)),
        })
    }

    /// The leaf that a row belongs to; `None`: there is none for it.
    fn leaf_of(&self, table: &Definition, id: &str) -> Option<Option<u32>> {
        let Some(leaves) = &table.leaves else { return Some(None) };
        let bound = id.parse::<i64>().ok()? / 10;
        leaves.iter().find(|(_, leaf)| leaf.bound == bound).map(|(oid, _)| Some(*oid))
    }

    /// No other row has one of the values that are unique.
    fn is_unique(&self, oid: u32, cells: &BTreeMap<i16, String>, but: Option<u64>) -> bool {
        let table = self.state.table(oid).expect("the table is there");
        let of = |cells: &BTreeMap<i16, String>, numbers: &[i16]| {
            numbers.iter().map(|number| cells.get(number).cloned()).collect::<Vec<_>>()
        };
        let alt = table.is.named("alt").map(|it| vec![it.number]);
        let first = (table.is.key.len() == 1).then(|| vec![1]);
        let unique: Vec<Vec<i16>> =
            [Some(table.is.key.clone()), alt, first].into_iter().flatten().collect();
        let others = || table.rows.iter().filter(|(row, _)| Some(**row) != but);
        unique.iter().all(|it| others().all(|(_, row)| of(&row.cells, it) != of(cells, it)))
    }

    pub fn insert(&mut self, oid: u32) {
        let table = self.is(oid);
        let mut cells = BTreeMap::new();
        for column in &table.columns {
            let value = match (&table.leaves, column.number) {
                (Some(_), 1) => {
                    Some(self.rng.i64(0..4) * 10 + self.rng.i64(0..3)).map(|it| it.to_string())
                }
                _ => self.value(&table, column),
            };
            cells.extend(value.map(|value| (column.number, value)));
        }
        self.insert_row(oid, cells);
    }

    fn insert_row(&mut self, oid: u32, cells: BTreeMap<i16, String>) {
        let table = self.is(oid);
        if !table.key.iter().all(|number| cells.contains_key(number))
            || !self.is_unique(oid, &cells, None)
        {
            return;
        }
        let Some(leaf) = self.leaf_of(&table, &cells[&1]) else { return };
        let row = SimRow { cells, block: self.rng.u32(0..BLOCKS), leaf };
        let new = table.tuple(&row, |_| true);
        let number = u64::from(self.ids.next());
        self.table_mut(oid).rows.insert(number, row);
        self.emit(&table, Change::Insert { relation: table.relation(leaf), new });
    }

    pub fn update(&mut self, oid: u32) {
        let Some(row) = self.any_row(oid) else { return };
        let table = self.is(oid);
        let mut cells = self.state.table(oid).expect("it is there").rows[&row].cells.clone();
        let moves = self.rng.u8(0..4) == 0 && !self.is_referred_to(oid);
        for column in &table.columns {
            let is_it = match table.is_key(column.number) || column.number == 1 {
                true => moves,
                false => self.rng.bool() && column.name != "alt",
            };
            if is_it {
                cells.remove(&column.number);
                let value = self.value(&table, column);
                cells.extend(value.map(|value| (column.number, value)));
            }
        }
        self.set(oid, row, cells);
    }

    fn is_referred_to(&self, oid: u32) -> bool {
        let mut keys = self.state.tables.iter().flat_map(|table| &table.is.foreign_keys);
        keys.any(|key| key.target == oid)
    }

    /// An UPDATE of a row, if it may be.
    pub fn set(&mut self, oid: u32, row: u64, cells: BTreeMap<i16, String>) {
        let table = self.is(oid);
        let old = self.state.table(oid).expect("it is there").rows[&row].clone();
        if !table.key.iter().all(|number| cells.contains_key(number))
            || !cells.contains_key(&1)
            || !self.is_unique(oid, &cells, Some(row))
        {
            return;
        }
        let Some(leaf) = self.leaf_of(&table, &cells[&1]) else { return };
        if leaf != old.leaf {
            self.delete(oid, row);
            return self.insert_row(oid, cells);
        }
        let block = if self.rng.bool() { old.block } else { self.rng.u32(0..BLOCKS) };
        let new = SimRow { cells, block, leaf };
        let is_moved = table.key.iter().any(|it| old.cells.get(it) != new.cells.get(it));
        let before = match is_moved {
            true => Before::Key(table.tuple(&old, |column| table.is_key(column.number))),
            false => Before::Absent,
        };
        let cell = |column: &SimColumn, cell: &Cell| match new.cells.get(&column.number) {
            value @ Some(text)
                if column.type_oid != INT
                    && text.starts_with(WIDE)
                    && old.cells.get(&column.number) == value =>
            {
                Cell::Unchanged
            }
            _ => cell.clone(),
        };
        let tuple = table.tuple(&new, |_| true);
        let tuple: Tuple =
            table.columns.iter().zip(&tuple).map(|(column, it)| cell(column, it)).collect();
        self.table_mut(oid).rows.insert(row, new);
        let relation = table.relation(leaf);
        self.emit(&table, Change::Update { relation, before, new: tuple });
    }

    pub fn delete(&mut self, oid: u32, row: u64) {
        let table = self.is(oid);
        let Some(old) = self.table_mut(oid).rows.remove(&row) else { return };
        let before = Before::Key(table.tuple(&old, |column| table.is_key(column.number)));
        let relation = table.relation(old.leaf);
        self.emit(&table, Change::Delete { relation, before });
        self.let_go(oid, &old.cells[&1]);
    }

    /// What refers to a row that is gone goes, or refers to nothing.
    fn let_go(&mut self, target: u32, id: &str) {
        let referring = self.state.tables.iter().flat_map(|table| {
            let keys = table.is.foreign_keys.iter().filter(move |key| key.target == target);
            keys.map(move |key| (table.is.oid, key.columns[0]))
        });
        for (oid, column) in referring.collect::<Vec<_>>() {
            let is_key = self.is(oid).is_key(column);
            let rows = &self.state.table(oid).expect("it is there").rows;
            let rows =
                rows.iter().filter(|(_, it)| it.cells.get(&column).is_some_and(|it| it == id));
            for row in rows.map(|(row, _)| *row).collect::<Vec<_>>() {
                match is_key {
                    true => self.delete(oid, row),
                    false => {
                        let Some(it) = self.state.table(oid).and_then(|it| it.rows.get(&row))
                        else {
                            continue;
                        };
                        let mut cells = it.cells.clone();
                        cells.remove(&column);
                        self.set(oid, row, cells);
                    }
                }
            }
        }
    }

    pub fn truncate(&mut self, oid: u32) {
        if self.is_referred_to(oid) {
            return;
        }
        self.lock(oid);
        let file = self.ids.next();
        let table = self.table_mut(oid);
        table.rows.clear();
        table.is.file = file;
        for leaf in table.is.leaves.iter_mut().flat_map(BTreeMap::values_mut) {
            leaf.file = file + leaf.bound as u32;
        }
        self.ids.0 += 10;
        let table = self.is(oid);
        self.emit(&table, Change::Truncate { relations: vec![table.relation(None)] });
    }

    /// It has the table to itself, with its partitions.
    pub fn lock(&mut self, oid: u32) {
        let table = self.is(oid);
        self.locks.insert(oid);
        self.locks.extend(table.leaves.iter().flatten().map(|(leaf, _)| *leaf));
    }
}
