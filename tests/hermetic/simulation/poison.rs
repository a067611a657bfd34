//! Rows that the graph refuses, until somebody mends the cause.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use wal2graph::{
    graph::{Key, Statement, TableIndex},
    pipeline::LetterRules,
    request::{Purpose, Request, RequestId, Rows},
};

use super::{moments::Sometimes, store::PIPELINE, world::World};

/// One history of so many has such rows.
const HISTORIES: u64 = 12;
/// One row of so many is refused.
const ROWS: u64 = 5;

/// The rows that are refused.
pub struct Poison {
    seed: u64,
    /// The graph refuses rows in this history, now or earlier.
    pub is_here: bool,
    /// It refuses them now.
    is_active: bool,
    asked: u64,
}

impl Poison {
    pub fn new(seed: u64) -> Self {
        let is_here = seed % HISTORIES == 7;
        Poison { seed, is_here, is_active: is_here, asked: 0 }
    }

    /// A graph that takes all rows.
    pub fn none() -> Self {
        Poison { seed: 0, is_here: false, is_active: false, asked: 0 }
    }

    /// What the program does with them.
    pub fn rules(&self) -> LetterRules {
        LetterRules { sets_aside: self.is_here, ..LetterRules::NONE }
    }

    /// Whether the graph refuses one of these.
    pub fn refuses(&self, statements: &[Statement]) -> bool {
        self.is_active && statements.iter().any(|statement| self.is_in(statement))
    }

    fn is_in(&self, statement: &Statement) -> bool {
        let is = |table: &TableIndex, key: &Key| self.is_refused(*table, key);
        match statement {
            Statement::UpsertNodes { table, rows, .. } => {
                rows.iter().any(|row| is(table, &row.key))
            }
            Statement::FillNodes { table, rows } => rows.iter().any(|(row, _)| is(table, &row.key)),
            Statement::UpsertRelationships { table, rows, .. } => {
                rows.iter().any(|row| is(table, &row.key))
            }
            Statement::MoveNodes { table, moves }
            | Statement::MoveRelationships { table, moves } => {
                moves.iter().any(|(_, to)| is(table, to))
            }
            _ => false,
        }
    }

    fn is_refused(&self, table: TableIndex, key: &Key) -> bool {
        let mut hasher = DefaultHasher::new();
        (self.seed, table, key).hash(&mut hasher);
        hasher.finish().is_multiple_of(ROWS)
    }
}

impl World {
    /// At the end somebody mends the cause and has the rows put back. Whether something is still to be done.
    pub fn must_be_put_back(&mut self) -> bool {
        if !self.poison.is_here {
            return false;
        }
        let names: BTreeSet<String> =
            self.graph.memory.letters().map(|(_, letter)| letter.id.name.clone()).collect();
        let is_open = self.graph.records.requests(PIPELINE).iter().any(|it| it.state.is_open());
        if self.poison.is_active {
            self.poison.is_active = false;
            self.moments.trace(|| format!("{} rows are set aside", names.len()));
            if !names.is_empty() {
                self.moments.sometimes(Sometimes::SetAside);
            }
        } else if !names.is_empty() && self.poison.asked > 2 && !is_open {
            self.violate(format!("still set aside: {names:?}"));
        }
        if !names.is_empty() && !is_open {
            self.poison.asked += 1;
            let id = RequestId(format!("retry-{}", self.poison.asked));
            let request = Request::new(id, Purpose::Repair, Vec::new(), Default::default());
            let request =
                Request { rows: Some(Rows::Retried { retried: names.clone() }), ..request };
            self.graph.records.ask(PIPELINE, &request);
        }
        is_open || !names.is_empty()
    }

    /// All letters go, and nothing else happens.
    pub fn forget_letters(&mut self) {
        let letters = self.graph.memory.letters().map(|(_, letter)| letter.id.clone()).collect();
        let model = self.schema.model.clone();
        self.graph.memory.apply(&model, &Statement::RemoveLetters { letters });
    }
}
