//! Statements that change what tables are.

use std::collections::BTreeMap;

use super::{
    super::traffic::BLOCKS,
    catalog::{Definition, ForeignKey, INT, Leaf, Loose, MOOD, SimColumn, SimRow, SimTable, TEXT},
    traffic::Transaction,
};

const COLUMNS: &[&str] = &["a", "b", "c", "d"];
const TABLES: &[&str] = &["people", "items", "xs", "ys"];

/// Transactions that undo each other, with rows in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// The key has other columns for a while.
    Key,
    /// A partition comes and goes.
    Leaf,
    /// A table leaves the publication and comes back.
    Publication,
    /// Two tables exchange their names and exchange them back.
    Names,
    /// A column comes and goes.
    Column,
}

pub const VISITS: &[Visit] =
    &[Visit::Key, Visit::Leaf, Visit::Publication, Visit::Names, Visit::Column];

impl Transaction<'_> {
    /// A statement that changes a table. `None`: it can not be done.
    pub fn ddl(&mut self) -> Option<&'static str> {
        let oid = self.any_table(|_| true)?;
        Some(match self.rng.u8(0..30) {
            0..3 => self.add_column(oid, false)?,
            3 => self.add_column(oid, true)?,
            4 | 5 => self.drop_column(oid)?,
            6 => self.rename_column(oid)?,
            7 => self.rename_key(oid)?,
            8 => self.change_values(oid)?,
            9 => self.change_type(oid)?,
            10 | 11 => self.rewrite(oid),
            12 => self.replace_column(oid)?,
            13 => self.recreate_table(oid)?,
            14 => self.rename_table(oid)?,
            15 => self.exchange_names()?,
            16 | 17 => self.publish(oid)?,
            18 => self.add_foreign_key(oid)?,
            19 => self.drop_foreign_key(oid)?,
            20 => self.rename_label(),
            21 => self.truncate_leaf()?,
            22 => self.attach()?,
            23 => self.detach(false)?,
            24 => self.detach(true)?,
            25 => self.write_loose()?,
            26 => self.publish_anew()?,
            27 => self.create_table()?,
            28 => self.drop_table(oid)?,
            _ => self.write_unlogged(oid)?,
        })
    }

    /// One of the transactions of a visit.
    pub fn visit(&mut self, visit: Visit, step: usize) -> Option<&'static str> {
        Some(match (visit, step) {
            (Visit::Key, 0 | 2) => self.move_key(step == 0)?,
            (Visit::Key, _) => {
                let oid = self.any_table(|it| it.named("alt").is_some())?;
                let row = self.any_row(oid)?;
                self.delete(oid, row);
                "a row goes"
            }
            (Visit::Leaf, 0) => self.attach()?,
            (Visit::Leaf, 1) => {
                let oid = self.any_table(|it| it.leaves.is_some())?;
                for _ in 0..6 {
                    self.row(oid);
                }
                "rows"
            }
            (Visit::Leaf, _) => self.detach(false)?,
            (Visit::Publication, 0 | 2) => {
                let oid = self.any_table(|it| it.by.is_some() == (step == 0))?;
                self.publish(oid)?
            }
            (Visit::Names, 0 | 2) => self.exchange_names()?,
            (Visit::Column, 0) => {
                let oid = self.any_table(|_| true)?;
                self.add_column(oid, false)?
            }
            (Visit::Column, 2) => {
                let oid = self.any_table(|_| true)?;
                self.drop_column(oid)?
            }
            _ => {
                self.rows();
                "rows"
            }
        })
    }

    fn alter(&mut self, oid: u32, work: impl FnOnce(&mut Definition, u32)) {
        self.lock(oid);
        let xid = self.xid;
        work(&mut self.table_mut(oid).is, xid);
    }

    /// The blocks are in other files.
    fn new_files(&mut self, oid: u32) {
        let file = self.ids.next();
        self.ids.0 += 10;
        let table = self.table_mut(oid);
        table.is.file = file;
        for leaf in table.is.leaves.iter_mut().flat_map(BTreeMap::values_mut) {
            leaf.file = file + leaf.bound as u32;
        }
        table.is.columns.iter_mut().for_each(|column| column.has_default = false);
        let rows: Vec<u64> = table.rows.keys().copied().collect();
        for row in rows {
            let block = self.rng.u32(0..BLOCKS);
            self.table_mut(oid).rows.get_mut(&row).expect("it is there").block = block;
        }
    }

    /// A column that is no part of the key and refers to nothing.
    fn plain(&mut self, oid: u32) -> Option<SimColumn> {
        let table = self.is(oid);
        let is_plain = |column: &&SimColumn| {
            !table.is_key(column.number) && column.number != 1 && column.name != "alt"
        };
        let plain: Vec<SimColumn> = table.columns.iter().filter(is_plain).cloned().collect();
        self.rng.choice(plain)
    }

    fn free_name(&mut self, table: &Definition) -> Option<&'static str> {
        let free = COLUMNS.iter().copied().filter(|name| table.named(name).is_none());
        self.rng.choice(free.collect::<Vec<_>>())
    }

    fn add_column(&mut self, oid: u32, has_default: bool) -> Option<&'static str> {
        let name = self.free_name(&self.is(oid))?;
        let type_oid = self.rng.choice([INT, TEXT]).expect("there are two");
        self.add_named(oid, name, type_oid, has_default);
        Some(if has_default { "ADD COLUMN ... DEFAULT" } else { "ADD COLUMN" })
    }

    fn add_named(&mut self, oid: u32, name: &str, type_oid: u32, has_default: bool) {
        self.alter(oid, |table, xmin| {
            table.numbers += 1;
            let (name, number) = (name.to_owned(), table.numbers);
            table.columns.push(SimColumn { name, number, type_oid, xmin, has_default });
        });
        if has_default {
            let table = self.table_mut(oid);
            let number = table.is.numbers;
            table.rows.values_mut().for_each(|row| {
                row.cells.insert(number, "7".to_owned());
            });
        }
    }

    fn drop_column(&mut self, oid: u32) -> Option<&'static str> {
        let column = self.plain(oid)?;
        self.drop_number(oid, column.number);
        Some("DROP COLUMN")
    }

    fn drop_number(&mut self, oid: u32, number: i16) {
        self.alter(oid, |table, _| {
            table.columns.retain(|column| column.number != number);
            table.foreign_keys.retain(|key| !key.columns.contains(&number));
        });
        self.table_mut(oid).rows.values_mut().for_each(|row| drop(row.cells.remove(&number)));
    }

    fn replace_column(&mut self, oid: u32) -> Option<&'static str> {
        let SimColumn { name, number, type_oid, .. } = self.plain(oid)?;
        if type_oid == MOOD {
            return None;
        }
        self.drop_number(oid, number);
        self.add_named(oid, &name, type_oid, false);
        Some("DROP COLUMN, ADD COLUMN")
    }

    fn rename_column(&mut self, oid: u32) -> Option<&'static str> {
        let column = self.plain(oid)?;
        let name = self.free_name(&self.is(oid))?;
        self.rename_number(oid, column.number, name);
        Some("RENAME COLUMN")
    }

    fn rename_number(&mut self, oid: u32, number: i16, name: &str) {
        self.alter(oid, |table, xmin| {
            let mut columns = table.columns.iter_mut();
            let column = columns.find(|it| it.number == number).expect("it is there");
            (column.name, column.xmin) = (name.to_owned(), xmin);
        });
    }

    fn rename_key(&mut self, oid: u32) -> Option<&'static str> {
        let table = self.is(oid);
        let names = ["id", "ident"];
        let column = table.columns.iter().find(|it| names.contains(&it.name.as_str()))?;
        let name = names.iter().find(|name| **name != column.name)?;
        self.rename_number(oid, column.number, name);
        Some("RENAME COLUMN of the key")
    }

    fn change_values(&mut self, oid: u32) -> Option<&'static str> {
        let column = self.plain(oid)?;
        if self.is(oid).refers(column.number) {
            return None;
        }
        self.use_others(oid, column.number, column.type_oid);
        Some("ALTER COLUMN TYPE USING")
    }

    fn change_type(&mut self, oid: u32) -> Option<&'static str> {
        let column = self.plain(oid)?;
        let type_oid = match column.type_oid {
            INT => TEXT,
            TEXT => INT,
            _ => return None,
        };
        if self.is(oid).refers(column.number) {
            return None;
        }
        self.use_others(oid, column.number, type_oid);
        Some("ALTER COLUMN TYPE")
    }

    fn use_others(&mut self, oid: u32, number: i16, type_oid: u32) {
        self.alter(oid, |table, xmin| {
            let mut columns = table.columns.iter_mut();
            let column = columns.find(|it| it.number == number).expect("it is there");
            (column.type_oid, column.xmin) = (type_oid, xmin);
        });
        self.new_files(oid);
        let table = self.is(oid);
        let rows: Vec<u64> = self.table_mut(oid).rows.keys().copied().collect();
        for row in rows {
            let value = self.value(&table, table.column(number));
            let cells = &mut self.table_mut(oid).rows.get_mut(&row).expect("it is there").cells;
            cells.remove(&number);
            cells.extend(value.map(|value| (number, value)));
        }
    }

    fn rewrite(&mut self, oid: u32) -> &'static str {
        self.lock(oid);
        self.new_files(oid);
        "VACUUM FULL"
    }

    /// What others know it by.
    fn made(&mut self, name: &str, columns: Vec<SimColumn>) -> SimTable {
        let oid = self.ids.next();
        let is = Definition {
            oid,
            name: name.to_owned(),
            numbers: columns.len() as i16,
            columns,
            file: oid,
            key: vec![1],
            foreign_keys: Vec::new(),
            by: None,
            leaves: None,
        };
        SimTable { is, rows: BTreeMap::new() }
    }

    fn create_table(&mut self) -> Option<&'static str> {
        let free = TABLES.iter().filter(|name| self.state.named(name).is_none());
        let name = self.rng.choice(free.collect::<Vec<_>>())?;
        let xmin = self.xid;
        let column = |(name, number): (&str, i16)| {
            let (name, type_oid) = (name.to_owned(), INT);
            SimColumn { name, number, type_oid, xmin, has_default: false }
        };
        let table = self.made(name, vec![column(("id", 1)), column(("a", 2))]);
        self.put(table);
        Some("CREATE TABLE")
    }

    fn put(&mut self, mut table: SimTable) {
        let oid = table.is.oid;
        if !self.state.has_all && self.rng.u8(0..4) > 0 {
            table.is.by = Some(self.ids.next());
        }
        self.locks.insert(oid);
        self.state.tables.push(table);
        for _ in 0..self.rng.usize(0..3) {
            self.insert(oid);
        }
    }

    fn drop_table(&mut self, oid: u32) -> Option<&'static str> {
        if self.state.tables.len() < 4 || self.is(oid).leaves.is_some() {
            return None;
        }
        self.lock(oid);
        let referring = self
            .state
            .tables
            .iter()
            .filter(|table| table.is.foreign_keys.iter().any(|key| key.target == oid));
        for referring in referring.map(|table| table.is.oid).collect::<Vec<_>>() {
            self.alter(referring, |table, _| table.foreign_keys.retain(|key| key.target != oid));
        }
        self.state.tables.retain(|table| table.is.oid != oid);
        Some("DROP TABLE")
    }

    fn recreate_table(&mut self, oid: u32) -> Option<&'static str> {
        let was = self.is(oid);
        if was.key != [1] {
            return None;
        }
        let is_published = was.by.is_some();
        self.drop_table(oid)?;
        let xmin = self.xid;
        let columns = was.columns.into_iter().zip(1..).map(|(column, number)| SimColumn {
            number,
            xmin,
            has_default: false,
            ..column
        });
        let mut table = self.made(&was.name, columns.collect());
        table.is.by = is_published.then(|| self.ids.next());
        self.put(table);
        Some("DROP TABLE, CREATE TABLE")
    }

    fn rename_table(&mut self, oid: u32) -> Option<&'static str> {
        if !TABLES.contains(&self.is(oid).name.as_str()) {
            return None;
        }
        let free = TABLES.iter().filter(|name| self.state.named(name).is_none());
        let name = self.rng.choice(free.collect::<Vec<_>>())?;
        self.alter(oid, |table, _| table.name = (*name).to_owned());
        Some("RENAME TABLE")
    }

    fn exchange_names(&mut self) -> Option<&'static str> {
        let is_one = |table: &Definition| TABLES.contains(&table.name.as_str());
        let one = self.any_table(is_one)?;
        let other = self.any_table(|table| is_one(table) && table.oid != one)?;
        let (name, of_other) = (self.is(one).name, self.is(other).name);
        self.alter(one, |table, _| table.name = of_other);
        self.alter(other, |table, _| table.name = name);
        Some("two tables exchange their names")
    }

    /// Into the publication, or out of it.
    fn publish(&mut self, oid: u32) -> Option<&'static str> {
        if self.state.has_all {
            return None;
        }
        let by = self.is(oid).by.is_none().then(|| self.ids.next());
        self.table_mut(oid).is.by = by;
        Some(if by.is_some() { "ADD TABLE" } else { "DROP TABLE of the publication" })
    }

    fn publish_anew(&mut self) -> Option<&'static str> {
        self.state.publication = self.ids.next();
        for table in &mut self.state.tables {
            table.is.by = table.is.by.map(|_| self.ids.next());
        }
        Some("the publication is made anew")
    }

    fn add_foreign_key(&mut self, oid: u32) -> Option<&'static str> {
        let column = self.plain(oid)?;
        let table = self.is(oid);
        if column.type_oid != INT || table.refers(column.number) {
            return None;
        }
        let target = self.any_table(|it| it.key == [1] && it.leaves.is_none())?;
        let of_target = &self.state.table(target)?.rows;
        let ids: Vec<String> = of_target.values().map(|row| row.cells[&1].clone()).collect();
        for row in self.state.table(oid)?.rows.keys().copied().collect::<Vec<_>>() {
            let mut cells = self.state.table(oid)?.rows[&row].cells.clone();
            if cells.get(&column.number).is_some_and(|it| !ids.contains(it)) {
                cells.remove(&column.number);
                self.set(oid, row, cells);
            }
        }
        let key = ForeignKey { columns: vec![column.number], target };
        self.table_mut(oid).is.foreign_keys.push(key);
        Some("ADD FOREIGN KEY")
    }

    fn drop_foreign_key(&mut self, oid: u32) -> Option<&'static str> {
        let keys = self.is(oid).foreign_keys;
        let key = self.rng.choice(keys)?;
        self.alter(oid, |table, _| table.foreign_keys.retain(|it| *it != key));
        Some("DROP CONSTRAINT of a foreign key")
    }

    fn rename_label(&mut self) -> &'static str {
        let label = self.rng.choice([1, 2]).expect("there are two");
        let is = format!("mood{}", self.ids.next());
        let was = self.state.labels.insert(label, is.clone()).expect("it is there");
        for table in &mut self.state.tables {
            let moods = table.is.columns.iter().filter(|column| column.type_oid == MOOD);
            for number in moods.map(|column| column.number) {
                let values = table.rows.values_mut().filter_map(|row| row.cells.get_mut(&number));
                values.filter(|value| **value == was).for_each(|value| value.clone_from(&is));
            }
        }
        "ALTER TYPE ... RENAME VALUE"
    }

    fn any_leaf(&mut self) -> Option<(u32, u32)> {
        let oid = self.any_table(|table| table.leaves.is_some())?;
        let leaves: Vec<u32> =
            self.is(oid).leaves.into_iter().flatten().map(|(it, _)| it).collect();
        Some((oid, self.rng.choice(leaves)?))
    }

    fn truncate_leaf(&mut self) -> Option<&'static str> {
        let (oid, leaf) = self.any_leaf()?;
        self.locks.insert(leaf);
        let file = self.ids.next();
        let table = self.table_mut(oid);
        table.rows.retain(|_, row| row.leaf != Some(leaf));
        table.is.leaves.as_mut()?.get_mut(&leaf)?.file = file;
        Some("TRUNCATE of a partition")
    }

    fn attach(&mut self) -> Option<&'static str> {
        let oid = self.any_table(|table| table.leaves.is_some())?;
        let taken: Vec<i64> =
            self.is(oid).leaves.into_iter().flatten().map(|(_, leaf)| leaf.bound).collect();
        let free: Vec<i64> = (0..4).filter(|bound| !taken.contains(bound)).collect();
        let bound = self.rng.choice(free)?;
        let loose = self.state.loose.iter().position(|it| it.bound == bound);
        let Loose { oid: leaf, file, rows, .. } = match loose.filter(|_| self.rng.u8(0..4) > 0) {
            Some(at) => self.state.loose.remove(at),
            None => {
                let (leaf, mut rows) = (self.ids.next(), BTreeMap::new());
                for id in 0..self.rng.i64(0..3) {
                    let cells = BTreeMap::from([(1, (bound * 10 + id).to_string())]);
                    let row = SimRow { cells, block: self.rng.u32(0..BLOCKS), leaf: Some(leaf) };
                    rows.insert(u64::from(self.ids.next()), row);
                }
                Loose { oid: leaf, file: leaf, bound, rows }
            }
        };
        self.locks.insert(leaf);
        let xmin = self.xid;
        let numbers: Vec<i16> = self.is(oid).columns.iter().map(|it| it.number).collect();
        let table = self.table_mut(oid);
        // The columns that it lacks, and has too much, are put right before.
        table.rows.extend(rows.into_iter().map(|(number, mut row)| {
            row.cells.retain(|column, _| numbers.contains(column) && *column <= 2);
            (number, row)
        }));
        table.is.leaves.as_mut()?.insert(leaf, Leaf { bound, file, xmin });
        Some("ATTACH PARTITION")
    }

    fn detach(&mut self, is_dropped: bool) -> Option<&'static str> {
        let (oid, leaf) = self.any_leaf()?;
        self.locks.extend([oid, leaf]);
        let table = self.table_mut(oid);
        let Leaf { bound, file, .. } = table.is.leaves.as_mut()?.remove(&leaf)?;
        let rows = table.rows.extract_if(.., |_, row| row.leaf == Some(leaf)).collect();
        if !is_dropped {
            self.state.loose.push(Loose { oid: leaf, file, bound, rows });
        }
        Some("DETACH PARTITION")
    }

    /// Rows of a partition that was detached change, and no event says it.
    fn write_loose(&mut self) -> Option<&'static str> {
        let at = self.rng.choice(0..self.state.loose.len())?;
        let number = u64::from(self.ids.next());
        let value = self.rng.u8(0..6).to_string();
        let loose = &mut self.state.loose[at];
        if loose.rows.is_empty() || number % 2 == 0 {
            let cells = BTreeMap::from([(1, (loose.bound * 10 + 5).to_string()), (2, value)]);
            if loose.rows.values().all(|row| row.cells[&1] != cells[&1]) {
                loose.rows.insert(number, SimRow { cells, block: 0, leaf: Some(loose.oid) });
            }
        } else {
            loose.rows.pop_first();
        }
        Some("rows of a detached partition")
    }

    /// A table is UNLOGGED for a while, and written. Only FOR ALL TABLES lets it.
    fn write_unlogged(&mut self, oid: u32) -> Option<&'static str> {
        if !self.state.has_all || self.is(oid).leaves.is_some() {
            return None;
        }
        let known = self.changes.len();
        self.lock(oid);
        for _ in 0..3 {
            self.update(oid);
        }
        self.changes.truncate(known);
        self.new_files(oid);
        Some("UNLOGGED, and LOGGED again")
    }

    /// The primary key goes to another column, or back.
    pub fn move_key(&mut self, goes: bool) -> Option<&'static str> {
        let alt = |table: &Definition| table.named("alt").map(|it| it.number);
        let oid =
            self.any_table(|table| alt(table).is_some_and(|alt| (table.key == [alt]) != goes))?;
        self.alter(oid, |table, _| {
            table.key = if goes { vec![alt(table).unwrap_or(1)] } else { vec![1] }
        });
        Some("another PRIMARY KEY")
    }

    /// Everything is published, and has the key that it had.
    pub fn put_right(&mut self) {
        while self.move_key(false).is_some() {}
        for oid in self.state.tables.iter().map(|table| table.is.oid).collect::<Vec<_>>() {
            if self.is(oid).by.is_none() {
                self.publish(oid);
            }
        }
    }
}
