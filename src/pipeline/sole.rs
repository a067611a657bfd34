//! The change that an error is about.

use std::fmt;

use crate::{
    change::{Before, Cell, Change, Relation, Tuple},
    engine::{Batch, Share},
};

/// Characters of a key that an error shows.
const KEY_CHARACTERS_MAX: usize = 100;

/// The only change of a batch. Its text names table, operation, key and transaction: a key's values
/// are for the error that ends the program, and for no log besides.
#[derive(Clone, Debug)]
pub struct Sole {
    change: Change,
    share: Share,
}

impl Sole {
    /// The only change of the batch; `None` if it has another number of them.
    pub fn of(batch: &Batch) -> Option<Self> {
        let [change] = batch.changes.as_slice() else { return None };
        let share = *batch.shares.iter().find(|share| share.changes == 1)?;
        Some(Sole { change: change.clone(), share })
    }
}

impl fmt::Display for Sole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.change {
            Change::Insert { relation, new } => row(f, "INSERT into", relation, new)?,
            Change::Update { relation, before: Before::Absent, new } => {
                row(f, "UPDATE of", relation, new)?;
            }
            Change::Update { relation, before: Before::Key(old) | Before::Full(old), new } => {
                row(f, "UPDATE of", relation, old)?;
                write!(f, " to ({})", key(relation, new))?;
            }
            Change::Delete { relation, before: Before::Key(old) | Before::Full(old) } => {
                row(f, "DELETE from", relation, old)?;
            }
            Change::Delete { relation, before: Before::Absent } => {
                write!(f, "DELETE from {}.{}", relation.schema, relation.name)?;
            }
            Change::Truncate { relations } => {
                let names = relations.iter().map(|it| format!("{}.{}", it.schema, it.name));
                write!(f, "TRUNCATE of {}", names.collect::<Vec<_>>().join(", "))?;
            }
        }
        let Share { xid, commit_lsn, first_event, stamp, .. } = self.share;
        let at = stamp.map_or(commit_lsn, |stamp| stamp.lsn);
        write!(f, ", change {} of transaction {xid} at {at}", first_event + 1)
    }
}

fn row(f: &mut fmt::Formatter<'_>, what: &str, of: &Relation, row: &Tuple) -> fmt::Result {
    write!(f, "{what} {}.{} ({})", of.schema, of.name, key(of, row))
}

/// `column = value` for the columns of the replica identity.
fn key(relation: &Relation, row: &Tuple) -> String {
    let columns = relation.columns.iter().zip(row).filter(|(column, _)| column.identity);
    let pairs = columns.map(|(column, cell)| match cell {
        Cell::Null => format!("{} = NULL", column.name),
        Cell::Unchanged => format!("{} unchanged", column.name),
        Cell::Text(text) => format!("{} = {}", column.name, String::from_utf8_lossy(text)),
    });
    shortened(&pairs.collect::<Vec<_>>().join(", "))
}

/// A text's first characters.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(KEY_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}
