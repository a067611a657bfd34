//! A checkpoint node as it is read.

use chrono::{DateTime, FixedOffset};
use neo4rs::Row;

use crate::{
    change::Timestamp,
    checkpoint::{
        Checkpoint, Epoch, LastRecord, Log, Newest, Origin, Part, Position, Replaying, Stopped,
        TopicId, TopicPartition,
    },
    lsn::{Lsn, Stamp},
};

use super::{
    error::Error,
    names::{CHECKPOINT, COPY},
};

pub(super) fn checkpoint_of(row: &Row) -> Result<Checkpoint, Error> {
    let lsn = |name| get::<Option<i64>>(row, name).map(|it| it.map(|it| Lsn(it.unsigned_abs())));
    let complete = Lsn(get::<i64>(row, "lsn")?.unsigned_abs());
    let (log, at, part) = match get::<Option<String>>(row, "topic")? {
        None => (Log::Slot(get(row, "slot")?), complete, lsn("part_commit_lsn")?),
        Some(topic) => {
            let partition = get::<i64>(row, "partition")? as i32;
            let offset = Lsn(get::<i64>(row, "offset")?.unsigned_abs());
            let log = Log::Partition(TopicPartition { topic, partition });
            (log, offset, lsn("part_offset")?)
        }
    };
    let events: Option<i64> = get(row, "part_events")?;
    let part = part
        .zip(events)
        .map(|(commit_lsn, events)| Part { commit_lsn, events: events.unsigned_abs() });
    let source_lsn = lsn("replay_lsn")?.unwrap_or_default();
    let replaying = lsn("replay_until")?.map(|until| Replaying { until, source_lsn });
    let timestamp = |name| {
        get::<Option<DateTime<FixedOffset>>>(row, name)
            .map(|at| at.map(|at| Timestamp { unix_micros: at.timestamp_micros() }))
    };
    let stopped = get::<Option<String>>(row, "stopped_because")?.zip(timestamp("stopped_at")?);
    let position = Position { lsn: at, part };
    Ok(Checkpoint {
        position,
        lsn: complete,
        replaying,
        last_change: last_change_of(row)?,
        last_record: last_record_of(row, position)?,
        newest: newest_of(row, position)?,
        publication: get(row, "publication")?,
        epoch: Epoch(get(row, "epoch")?),
        committed_at: timestamp("committed_at")?,
        updated_at: timestamp("updated_at")?.unwrap_or_default(),
        origin: Origin {
            system_identifier: get(row, "system_identifier")?,
            timeline: get(row, "timeline")?,
            log,
        },
        partitions: get::<Option<u32>>(row, "partitions")?.unwrap_or(1),
        topic_id: topic_id_of(row)?,
        publisher: get(row, "publisher")?,
        is_whole: get::<Option<bool>>(row, "whole")?.unwrap_or_default(),
        mapping_digest: get(row, "mapping_digest")?,
        labels: get::<Option<Vec<String>>>(row, "labels")?.unwrap_or_default(),
        table_facts: get(row, "table_facts")?,
        outlines: get(row, "outlines")?,
        mapping_file: get(row, "mapping_file")?,
        stopped: stopped.map(|(because, at)| Stopped { because, at }),
    })
}

fn last_change_of(row: &Row) -> Result<Option<Stamp>, Error> {
    let text: Option<String> = get(row, "last_change")?;
    text.map(|text| text.parse()).transpose().map_err(|_| edited("last_change"))
}

/// The last record; `None` if an earlier build, which does not know of it, has moved the checkpoint since.
fn last_record_of(row: &Row, position: Position) -> Result<Option<LastRecord>, Error> {
    let Some(text) = get::<Option<String>>(row, "last_record")? else { return Ok(None) };
    let parsed = || {
        let mut words = text.split(' ');
        let at: u64 = words.next()?.parse().ok()?;
        let offset = words.next()?.parse().ok()?;
        let digest = u64::from_str_radix(words.next()?, 16).ok()?;
        words.next().is_none().then_some((Lsn(at), LastRecord { offset, digest }))
    };
    let (at, record) = parsed().ok_or_else(|| edited("last_record"))?;
    Ok(Some(record).filter(|_| at == position.lsn))
}

/// The newest transaction; `None` if an earlier build, which does not know of it, has moved the
/// checkpoint since.
fn newest_of(row: &Row, position: Position) -> Result<Option<Newest>, Error> {
    let Some(text) = get::<Option<String>>(row, "newest")? else { return Ok(None) };
    let parts = text
        .split_once(' ')
        .and_then(|(at, newest)| Some((at.parse::<Lsn>().ok()?, newest.parse::<Newest>().ok()?)));
    let (at, newest) = parts.ok_or_else(|| edited("newest"))?;
    let is_of_part = position.part.is_none_or(|part| match newest {
        Newest::Nothing => false,
        Newest::Transaction(mark) => mark.commit_lsn == part.commit_lsn,
    });
    Ok(Some(newest).filter(|_| at == position.lsn && is_of_part))
}

fn topic_id_of(row: &Row) -> Result<Option<TopicId>, Error> {
    let text: Option<String> = get(row, "topic_id")?;
    text.map(|text| text.parse()).transpose().map_err(|_| edited("topic_id"))
}

/// A field of a row that only this program writes.
pub(super) fn get<'a, T: serde::Deserialize<'a>>(row: &'a Row, name: &str) -> Result<T, Error> {
    row.get(name).map_err(|_| edited(name))
}

fn edited(name: &str) -> Error {
    Error::Fatal(format!(
        "`{name}` of a {CHECKPOINT} or {COPY} node is missing or of another type: somebody edited it. \
         Restore it; or delete the nodes of these two labels that have the pipeline's name, and start `wal2graph \
         run --into-existing-graph adopt`"
    ))
}
