//! The letters of a batch.

use std::collections::BTreeMap;

use crate::graph::{
    Statement, TableIndex,
    letter::{Letter, LetterId},
};

/// What a batch sets aside.
#[derive(Debug, Default)]
pub struct Kept {
    removed: Vec<Statement>,
    letters: BTreeMap<TableIndex, BTreeMap<LetterId, Letter>>,
}

impl Kept {
    pub(super) fn add(&mut self, table: TableIndex, letter: Letter) {
        let of_table = self.letters.entry(table).or_default();
        match of_table.get_mut(&letter.id) {
            Some(known) => known.add(letter),
            None => drop(of_table.insert(letter.id.clone(), letter)),
        }
    }

    pub(super) fn truncated(&mut self, tables: &[TableIndex], removal: Option<Statement>) {
        tables.iter().for_each(|table| drop(self.letters.remove(table)));
        self.removed.extend(removal);
    }

    /// What writes them, with the rest of the batch.
    pub fn statements(self) -> impl Iterator<Item = Statement> {
        let kept = self.letters.into_iter().map(|(table, letters)| {
            let letters = letters.into_values().collect();
            Statement::KeepLetters { table, letters }
        });
        self.removed.into_iter().chain(kept)
    }
}
