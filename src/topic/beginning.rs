//! What the first records of a partition say: whether a graph that has nothing yet can be filled from it.
//!
//! | the first records | |
//! | --- | --- |
//! | of `publish`, a heartbeat that names none of the graph's tables as copied | all rows follow |
//! | of `publish`, one that names some: `--from-graph` | their rows are not in it |
//! | of `publish`, one that names some in another cluster's object ids | unknown |
//! | of `publish`, anything else: somebody made the topic while a publisher ran, or its head is gone | unknown |
//! | of Debezium, a row of a snapshot at offset 0, or the first one of a snapshot at a later one | all rows follow |
//! | of Debezium, from offset 0, a new row | there was nothing before it, or no snapshot: nothing shows which |
//! | of Debezium, from offset 0, a change of a row that was there before | rows are missing |
//! | of Debezium, heartbeats and transaction markers alone | there are no rows |
//!
//! Rows without envelopes name no snapshot. A topic that begins at a later offset does not show the rows before
//! it. What comes before the first record that can be read does not count, but is told, unless it becomes a dead
//! letter.

use crate::{
    change::Change,
    envelope::{DecodeError, Decoded, History, Record, Snapshot, Source},
    replay::{Beginning, Unshown},
};

use super::copied::Tables;

/// One of the first records.
pub struct First {
    /// Its offset.
    pub offset: u64,
    /// The record.
    pub record: Record,
    /// What it says.
    pub read: Result<Decoded, DecodeError>,
}

/// How the topic is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Its records are rows without envelopes.
    pub rows: bool,
    /// What can not be read becomes a dead letter.
    pub parks: bool,
}

/// What these records say, of a partition that begins at `start`, for a graph of `tables`.
pub fn judge(first: &[First], start: u64, tables: &Tables, reading: Reading) -> Beginning {
    let said = first.iter().filter_map(|it| Some((&it.record, it.read.as_ref().ok()?)));
    let said: Vec<(&Record, &Decoded)> = said.collect();
    let begins_at = first.first().map(|it| it.offset);
    let judged = match said.is_empty() {
        true => None,
        false => Some(of_readable(&said, (start, begins_at), tables, reading)),
    };
    let unreadable = first.first().filter(|_| !reading.parks).and_then(|it| {
        let error = it.read.as_ref().err()?;
        Some(Beginning::Unreadable { offset: it.offset, why: error.to_string() })
    });
    match (judged, unreadable) {
        (Some(Beginning::Partial), _) => Beginning::Partial,
        (_, Some(unreadable)) => unreadable,
        (Some(judged), None) => judged,
        // Nothing but dead letters, or aborted records.
        (None, None) if start == 0 => Beginning::NoRows,
        (None, None) => Beginning::Partial,
    }
}

fn of_readable(
    said: &[(&Record, &Decoded)],
    (start, begins_at): (u64, Option<u64>),
    tables: &Tables,
    reading: Reading,
) -> Beginning {
    let copy = |is_there| match is_there {
        true => Beginning::Copy,
        false => Beginning::Partial,
    };
    if let Some((record, ours)) = said.iter().find(|(_, said)| history_of(said).is_some()) {
        return copy(start == 0 && of_ours(record, ours, tables));
    }
    let said = said.iter().map(|(_, said)| *said);
    let mut said = said.filter(|said| reading.rows || !is_tombstone(said));
    if start > 0 {
        return match said.clone().find_map(begins_snapshot) {
            Some(begins) => copy(begins),
            None if said.all(is_of_no_table) => Beginning::NoRows,
            None => Beginning::Partial,
        };
    }
    let unshown = match reading.rows {
        true => Unshown::Rows,
        false => Unshown::Change,
    };
    // Compaction has taken the first record, and leaves the last one of each row.
    let is_compacted = begins_at != Some(0);
    match said.find_map(first_row) {
        None => Beginning::NoRows,
        Some(FirstRow::Complete) => Beginning::Copy,
        Some(FirstRow::New) => Beginning::Unshown(unshown),
        Some(FirstRow::Known) if is_compacted => Beginning::Unshown(unshown),
        Some(FirstRow::Known) => Beginning::Partial,
    }
}

/// A delete of which compaction has left the tombstone alone says nothing of the rows before it.
fn is_tombstone(said: &Decoded) -> bool {
    matches!(said, Decoded::Change { source, change: Change::Delete { .. } } if *source == Source::default())
}

fn of_ours(record: &Record, said: &Decoded, tables: &Tables) -> bool {
    match said {
        Decoded::Heartbeat { history: Some(history), .. } => tables.are_to_come(record, history),
        Decoded::Read { snapshot, .. } => *snapshot == Snapshot::First,
        _ => false,
    }
}

/// What the first record of a row says of those before it.
enum FirstRow {
    /// It is of a snapshot, or there were none.
    Complete,
    /// The row was not there before.
    New,
    /// It was.
    Known,
}

fn first_row(said: &Decoded) -> Option<FirstRow> {
    match said {
        Decoded::Read { .. } | Decoded::Change { change: Change::Truncate { .. }, .. } => {
            Some(FirstRow::Complete)
        }
        Decoded::Change { change: Change::Insert { .. }, .. } => Some(FirstRow::New),
        // The delete of a key change is held.
        Decoded::Change { .. } | Decoded::Held => Some(FirstRow::Known),
        _ => None,
    }
}

/// Whether a row is the first of a snapshot; `None` for a record that is no row of the catalog's tables.
fn begins_snapshot(said: &Decoded) -> Option<bool> {
    match said {
        Decoded::Read { snapshot, .. } => Some(*snapshot == Snapshot::First),
        Decoded::Change { .. } | Decoded::Held => Some(false),
        _ => None,
    }
}

/// A topic of its own has it, without rows.
fn is_of_no_table(said: &Decoded) -> bool {
    matches!(said, Decoded::Heartbeat { .. } | Decoded::Transaction)
}

/// The history of the topic that the record names, if it does.
pub fn history_of(said: &Decoded) -> Option<&History> {
    match said {
        Decoded::Change { source, .. }
        | Decoded::Foreign { source, .. }
        | Decoded::Message { source }
        | Decoded::PassedOver { source }
        | Decoded::Read { source, .. } => source.history.as_deref(),
        Decoded::Heartbeat { history, .. } => history.as_deref(),
        _ => None,
    }
}
