//! Dead letters: rows whose changes the graph does not take, set aside.
//!
//! ```text
//! change of a row --refused--> a letter of the row: why, how many changes, the last of them
//! later changes of it -------> the same letter
//! the row is compared with its table, and written --> the letter goes
//! ```
//!
//! A letter is in the graph, and every write of it is in the transaction that writes the changes beside it. It
//! keeps no queue: what the row is by then is read from its table.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::lsn::Lsn;

use super::{Key, TableIndex, model::Model};

/// The label of a letter's node.
pub const DEAD_LETTER: &str = "_DeadLetter";

/// What the name of a letter begins with. The rest is a digest of its row.
const NAME_PREFIX: &str = "row-";
/// So many bytes of the digest tell the rows of a pipeline apart.
const DIGEST_BYTES: usize = 8;

/// Identifies a letter in a graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterId {
    /// The pipeline whose row it is.
    pub pipeline: Arc<str>,
    /// Which of its letters.
    pub name: String,
}

impl LetterId {
    /// The id for a row that has no letter.
    pub fn of_row(pipeline: &Arc<str>, model: &Model, table: TableIndex, key: &Key) -> Self {
        let row = format!("{}\n{key:?}", model.table(table).name);
        let digest = Sha256::digest(row);
        let hex: String = digest[..DIGEST_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
        LetterId { pipeline: pipeline.clone(), name: format!("{NAME_PREFIX}{hex}") }
    }

    /// Whether a name is a letter's of a row.
    pub fn is_name(name: &str) -> bool {
        name.starts_with(NAME_PREFIX)
    }
}

/// Why the graph does not take a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Without values of rows.
    pub reason: String,
    /// In full.
    pub error: String,
}

/// Changes of a row that are set aside in one transaction: a letter, or more of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Which one.
    pub id: LetterId,
    /// The log that the changes came by.
    pub log: Arc<str>,
    /// The row's key.
    pub key: Key,
    /// The same as people read it.
    pub shown_key: String,
    /// How many changes; none for a row that a copy or a repair has read.
    pub changes: u64,
    /// The last change: what it did, and the row's values as JSON.
    pub last: Option<LastChange>,
    /// Why; `None` for changes that only come behind others.
    pub refusal: Option<Refusal>,
}

/// The last change of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastChange {
    /// `insert`, `update` or `delete`.
    pub operation: &'static str,
    /// Where its transaction committed, in the log's positions.
    pub at: Lsn,
    /// The same as people read it.
    pub place: String,
    /// Its values by column, as JSON. Long ones are cut.
    pub values: String,
}

impl Letter {
    /// Adds later changes of the row.
    pub fn add(&mut self, later: Letter) {
        self.changes += later.changes;
        self.last = later.last.or(self.last.take());
        self.refusal = later.refusal.or(self.refusal.take());
    }
}
