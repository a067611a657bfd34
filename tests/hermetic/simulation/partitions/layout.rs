//! Which partitions there are, and which of them have a table's records.

use std::ops::Range;

use fastrand::Rng;

/// One topic for all tables, or one for each.
#[derive(Clone)]
pub enum Layout {
    /// All tables are in these partitions.
    One(usize),
    /// Each table has partitions of its own; heartbeats are elsewhere.
    ByTable(Vec<Range<usize>>),
}

impl Layout {
    /// One of two to four partitions, or one to three for each table.
    pub fn any(tables: usize, rng: &mut Rng) -> Self {
        if rng.bool() {
            return Layout::One(rng.usize(2..=4));
        }
        let mut next = 0;
        let mut own = || {
            let start = next;
            next += [1, 1, 2, 3][rng.usize(0..4)];
            start..next
        };
        Layout::ByTable((0..tables).map(|_| own()).collect())
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> usize {
        match self {
            Layout::One(count) => *count,
            Layout::ByTable(tables) => tables.last().map_or(0, |last| last.end),
        }
    }

    /// Those that have a table's records.
    pub fn of_table(&self, table: usize) -> Range<usize> {
        match self {
            Layout::One(count) => 0..*count,
            Layout::ByTable(tables) => tables[table].clone(),
        }
    }

    /// Each table has a topic.
    pub fn is_by_table(&self) -> bool {
        matches!(self, Layout::ByTable(_))
    }
}
