//! The beginning of a topic: whether a graph that has nothing yet can be filled from it.
//!
//! | the first records | |
//! | --- | --- |
//! | of `publish`, a heartbeat that names none of the graph's tables as copied | all rows follow |
//! | of `publish`, one that names some: `--from-graph` | their rows are not in it |
//! | of `publish`, one that names some in another cluster's object ids | unknown |
//! | of `publish`, anything else: somebody made the topic while a publisher ran, or its head is gone | unknown |
//! | of Debezium, from offset 0, but for a change of a row that was there before | there is nothing before it |
//! | of Debezium, from a later offset, the first row of a snapshot | all rows follow |
//! | of Debezium, heartbeats and transaction markers alone | there are no rows |
//!
//! Rows without envelopes name no snapshot. A topic that begins at a later offset does not show the rows before it.

use std::ops::Range;

use crate::{
    catalog::Catalog,
    change::Change,
    checkpoint::TopicPartition,
    envelope::{Decoded, Record, Snapshot},
    kafka::{copied::Tables, offsets::Asking},
    service::ServiceError,
};

use super::start::{FIRST_RECORDS, history_of};

/// All rows that there were when the topic was made are in it, for a graph of `tables`.
pub async fn has_all_rows(
    asking: &Asking,
    catalog: &Catalog,
    tables: &Tables,
    at: &TopicPartition,
    log: &Range<u64>,
) -> Result<bool, ServiceError> {
    let range = log.start..log.end.min(log.start + FIRST_RECORDS);
    let records = asking.records(at, range).await?;
    let is_compacted = records.keys().next() != Some(&0);
    let mut decoder = asking.decoder(catalog, &at.topic)?;
    let said: Vec<(Record, Decoded)> = records
        .into_values()
        .filter_map(|record| {
            let mut decoded = Vec::new();
            // One that can not be read says nothing here: it is told of when it is applied.
            decoder.record(&record, &mut decoded).ok()?;
            Some((record, decoded.pop()?))
        })
        .collect();
    let ours = said.iter().find(|(_, said)| history_of(said).is_some());
    Ok(match (ours, log.start) {
        (Some((record, said)), start) => start == 0 && of_ours(record, said, tables),
        // Compaction has taken the first record, and leaves the last one of each row.
        (None, 0) => is_compacted || said.first().is_some_and(|(_, said)| !had_a_row(said)),
        (None, _) => {
            let rows = said.iter().find_map(|(_, said)| begins_snapshot(said));
            rows.unwrap_or_else(|| {
                !said.is_empty() && said.iter().all(|(_, said)| is_of_no_table(said))
            })
        }
    })
}

fn of_ours(record: &Record, said: &Decoded, tables: &Tables) -> bool {
    match said {
        Decoded::Heartbeat { history: Some(history), .. } => tables.are_to_come(record, history),
        Decoded::Read { snapshot, .. } => *snapshot == Snapshot::First,
        _ => false,
    }
}

/// It changes a row that was there before it.
fn had_a_row(said: &Decoded) -> bool {
    match said {
        Decoded::Change { change: Change::Update { .. } | Change::Delete { .. }, .. } => true,
        // The delete of a key change.
        Decoded::Held => true,
        _ => false,
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
