//! Random transactions on the tables, as PostgreSQL would send them.

use fastrand::Rng;
use wal2graph::{
    change::{Before, Cell, Change, Tuple},
    graph::{TableIndex, model::Shape},
};

use super::schema::{LARGE, RowKey, Schema, SimRow, Tables, text};

/// Keys have so few values that they collide all the time.
const KEYS: i64 = 5;
const VALUES: i64 = 100;
pub const BLOCKS: u32 = 3;

/// A transaction under construction.
pub struct Transaction<'a> {
    schema: &'a Schema,
    rng: &'a mut Rng,
    /// Foreign keys are checked. In a session with `session_replication_role = replica` they are
    /// not.
    checks: bool,
    /// The number of its next insert.
    born: u64,
    pub tables: Tables,
    pub changes: Vec<Change>,
}

impl<'a> Transaction<'a> {
    /// `born`: the number of its first insert.
    pub fn new(schema: &'a Schema, rng: &'a mut Rng, tables: Tables, born: u64) -> Self {
        let checks = schema.enforced && rng.u8(0..8) > 0;
        Transaction { schema, rng, checks, born, tables, changes: Vec::new() }
    }

    /// One to eight random statements.
    pub fn run(&mut self) {
        for _ in 0..self.rng.usize(1..=8) {
            let table = TableIndex(self.rng.usize(0..self.tables.len()));
            match self.rng.u8(0..22) {
                0..8 => self.insert(table),
                8..13 => self.update(table),
                13..16 => self.change_key(table),
                16..19 => self.delete(table),
                19 => self.replace(table),
                20 => self.change_all(),
                _ if self.rng.u8(0..3) == 0 => self.truncate(table),
                _ => {}
            }
        }
    }

    /// Deletes a row and inserts it again in one statement. PostgreSQL checks foreign keys at the
    /// statement's end, so referring rows stay, and the stream has no events for them.
    fn replace(&mut self, table: TableIndex) {
        let Some((key, _)) = self.any_row(table) else { return };
        let Some(row) = self.fresh_row(table) else { return };
        self.delete_alone(table, &key);
        self.insert_at(table, key, row);
    }

    /// Inserts or deletes rows of all tables, owners and targets in any order.
    fn change_all(&mut self) {
        let mut tables: Vec<TableIndex> = self.schema.tables().collect();
        self.rng.shuffle(&mut tables);
        for table in tables {
            match self.rng.bool() {
                true => self.delete(table),
                false => self.insert(table),
            }
        }
    }

    fn insert(&mut self, table: TableIndex) {
        let Some(key) = self.free_key(table) else { return };
        let Some(row) = self.fresh_row(table) else { return };
        self.insert_at(table, key, row);
    }

    fn fresh_row(&mut self, table: TableIndex) -> Option<SimRow> {
        let properties = self.schema.toast[table.0].len();
        let properties = (0..properties).map(|index| self.value(table, index)).collect();
        let references = self.references(table)?;
        let (block, born) = (self.rng.u32(0..BLOCKS), self.born);
        self.born += 1;
        Some(SimRow { properties, references, block, born })
    }

    fn insert_at(&mut self, table: TableIndex, key: RowKey, mut row: SimRow) {
        self.derive(table, &mut row);
        let new = self.tuple(table, &key, &row, None);
        self.tables[table.0].insert(key, row);
        self.changes.push(Change::Insert { relation: self.schema.relations[table.0].clone(), new });
    }

    fn update(&mut self, table: TableIndex) {
        let Some((key, old)) = self.any_row(table) else { return };
        let Some(row) = self.changed(table, &old) else { return };
        // With a TOASTed key column the server sends the old key even without a change.
        let before = if self.rng.u8(0..8) == 0 { self.before(table, &key) } else { Before::Absent };
        self.put(table, &key, &key, before, &old, row);
    }

    fn change_key(&mut self, table: TableIndex) {
        let (Some((key, old)), Some(to)) = (self.any_row(table), self.free_key(table)) else {
            return;
        };
        let row = if self.rng.bool() { Some(old.clone()) } else { self.changed(table, &old) };
        let Some(mut row) = row else { return };
        row.block = self.rng.u32(0..BLOCKS);
        self.tables[table.0].remove(&key);
        let before = self.before(table, &key);
        self.put(table, &key, &to, before, &old, row);
        self.referrers(table, &key, Some(&to));
    }

    fn delete(&mut self, table: TableIndex) {
        let Some((key, _)) = self.any_row(table) else { return };
        self.delete_row(table, &key);
    }

    fn delete_row(&mut self, table: TableIndex, key: &RowKey) {
        self.delete_alone(table, key);
        self.referrers(table, key, None);
    }

    fn delete_alone(&mut self, table: TableIndex, key: &RowKey) {
        self.tables[table.0].remove(key);
        let before = self.before(table, key);
        let relation = self.schema.relations[table.0].clone();
        self.changes.push(Change::Delete { relation, before });
    }

    fn truncate(&mut self, table: TableIndex) {
        let mut reached = vec![table];
        if self.schema.enforced {
            let mut next = 0;
            while next < reached.len() {
                for table in self.schema.tables() {
                    let mut targets = self.schema.reference_targets(table);
                    targets.extend(self.schema.key_targets(table));
                    if targets.contains(&reached[next]) && !reached.contains(&table) {
                        reached.push(table);
                    }
                }
                next += 1;
            }
        }
        for table in &reached {
            self.tables[table.0].clear();
        }
        let relations = reached.iter().map(|table| self.schema.relations[table.0].clone());
        self.changes.push(Change::Truncate { relations: relations.collect() });
    }

    /// Rows that point at a deleted or changed key follow by their foreign keys. The parent's event
    /// came first.
    fn referrers(&mut self, target: TableIndex, old: &RowKey, new: Option<&RowKey>) {
        if !self.checks || old.len() != 1 {
            return;
        }
        for table in self.schema.tables() {
            let references = self.schema.reference_targets(table);
            let ends = self.schema.key_targets(table);
            for (key, row) in self.tables[table.0].clone() {
                let points = |targets: &[TableIndex], values: &[Option<i64>]| {
                    let mut pairs = targets.iter().zip(values);
                    pairs.any(|(to, value)| *to == target && *value == Some(old[0]))
                };
                let key_values: Vec<_> = key.iter().copied().map(Some).collect();
                let by_reference = points(&references, &row.references);
                let by_end = points(&ends, &key_values);
                if !(by_reference || by_end) || !self.tables[table.0].contains_key(&key) {
                    continue;
                }
                match new {
                    None if by_end || self.rng.bool() => self.delete_row(table, &key),
                    None => self.repoint(table, &key, &row, target, old[0], None),
                    Some(new) if by_end => {
                        self.move_ends(table, &key, &row, &ends, target, old, new)
                    }
                    Some(new) => self.repoint(table, &key, &row, target, old[0], Some(new[0])),
                }
            }
        }
    }

    fn repoint(
        &mut self,
        table: TableIndex,
        key: &RowKey,
        old: &SimRow,
        target: TableIndex,
        from: i64,
        to: Option<i64>,
    ) {
        let mut row = old.clone();
        for (reference, leads_to) in
            row.references.iter_mut().zip(self.schema.reference_targets(table))
        {
            if leads_to == target && *reference == Some(from) {
                *reference = to;
            }
        }
        self.put(table, key, key, Before::Absent, old, row);
    }

    #[allow(clippy::too_many_arguments)]
    fn move_ends(
        &mut self,
        table: TableIndex,
        key: &RowKey,
        row: &SimRow,
        ends: &[TableIndex],
        target: TableIndex,
        old: &RowKey,
        new: &RowKey,
    ) {
        let moved = key
            .iter()
            .zip(ends)
            .map(|(value, end)| if *end == target && *value == old[0] { new[0] } else { *value });
        let moved = moved.collect();
        if self.tables[table.0].contains_key(&moved) {
            // A row without its target, from a session without checks, exists already.
            return self.delete_row(table, key);
        }
        self.tables[table.0].remove(key);
        let before = self.before(table, key);
        self.put(table, key, &moved, before, row, row.clone());
    }

    fn put(
        &mut self,
        table: TableIndex,
        _from: &RowKey,
        to: &RowKey,
        before: Before,
        old: &SimRow,
        mut row: SimRow,
    ) {
        self.derive(table, &mut row);
        let new = self.tuple(table, to, &row, Some(old));
        self.tables[table.0].insert(to.clone(), row);
        let relation = self.schema.relations[table.0].clone();
        self.changes.push(Change::Update { relation, before, new });
    }

    /// A reference by a unique value is the property with that value.
    fn derive(&self, table: TableIndex, row: &mut SimRow) {
        if let Some((target, _)) = self.schema.unique
            && let Shape::Node(shape) = &self.schema.model.table(table).shape
        {
            let unique = |shape: &wal2graph::graph::model::ReferenceShape| {
                shape.target == target && shape.by != wal2graph::graph::model::ReferenceBy::Key
            };
            for (index, _) in shape.references.iter().enumerate().filter(|(_, found)| unique(found))
            {
                row.references[index] = row.properties[0];
            }
        }
    }

    fn changed(&mut self, table: TableIndex, old: &SimRow) -> Option<SimRow> {
        let mut row = old.clone();
        for index in 0..row.properties.len() {
            if self.rng.bool() {
                row.properties[index] = self.value(table, index);
            }
        }
        let fresh = self.references(table)?;
        for (reference, fresh) in row.references.iter_mut().zip(fresh) {
            if self.rng.u8(0..3) == 0 {
                *reference = fresh;
            }
        }
        row.block = self.rng.u32(0..BLOCKS);
        Some(row)
    }

    fn value(&mut self, table: TableIndex, index: usize) -> Option<i64> {
        let value = (self.rng.u8(0..4) > 0).then(|| self.rng.i64(0..VALUES))?;
        let name = match &self.schema.model.table(table).shape {
            Shape::Node(shape) => &shape.properties[index],
            Shape::Relationship(shape) => &shape.properties[index],
        };
        if name != "code" {
            return Some(value);
        }
        let code = value % KEYS;
        let taken = self.schema.unique == Some((table, index))
            && self.tables[table.0].values().any(|row| row.properties[index] == Some(code));
        (!taken).then_some(code)
    }

    /// Targets for a row; `None` if one is required and none exists.
    fn references(&mut self, table: TableIndex) -> Option<Vec<Option<i64>>> {
        let must = matches!(self.schema.model.table(table).shape, Shape::Relationship(_));
        let targets = self.schema.reference_targets(table);
        let chosen: Vec<_> = targets.iter().map(|target| self.target(*target)).collect();
        if must && chosen.contains(&None) {
            return None;
        }
        let keep = |target: Option<i64>, rng: &mut Rng| target.filter(|_| must || rng.u8(0..4) > 0);
        Some(chosen.into_iter().map(|target| keep(target, self.rng)).collect())
    }

    fn target(&mut self, table: TableIndex) -> Option<i64> {
        if !self.checks {
            return Some(self.rng.i64(0..KEYS));
        }
        let keys: Vec<i64> = self.tables[table.0].keys().map(|key| key[0]).collect();
        self.rng.choice(keys)
    }

    fn free_key(&mut self, table: TableIndex) -> Option<RowKey> {
        let ends = self.schema.key_targets(table);
        let key: RowKey = match ends.is_empty() {
            true => vec![self.rng.i64(0..KEYS)],
            false => ends.iter().map(|end| self.target(*end)).collect::<Option<_>>()?,
        };
        (!self.tables[table.0].contains_key(&key)).then_some(key)
    }

    fn any_row(&mut self, table: TableIndex) -> Option<(RowKey, SimRow)> {
        let keys: Vec<RowKey> = self.tables[table.0].keys().cloned().collect();
        let key = self.rng.choice(keys)?;
        let row = self.tables[table.0][&key].clone();
        Some((key, row))
    }

    fn before(&self, table: TableIndex, key: &RowKey) -> Before {
        let width = self.schema.toast[table.0].len() + self.schema.reference_targets(table).len();
        let key = key.iter().map(|part| text(Some(*part)));
        Before::Key(key.chain(std::iter::repeat_n(Cell::Null, width)).collect())
    }

    fn tuple(&self, table: TableIndex, key: &RowKey, row: &SimRow, old: Option<&SimRow>) -> Tuple {
        let properties = row.properties.iter().enumerate().map(|(index, value)| {
            let toasted = self.schema.toast[table.0][index]
                && value.is_some_and(|value| value >= LARGE)
                && old.is_some_and(|old| old.properties[index] == *value);
            if toasted { Cell::Unchanged } else { text(*value) }
        });
        let references = row.references.iter().map(|target| text(*target));
        key.iter().map(|part| text(Some(*part))).chain(properties).chain(references).collect()
    }
}
