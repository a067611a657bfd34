//! The block `source` of a record, as it is read.

use std::borrow::Cow;
use std::sync::Arc;

use crate::change::Timestamp;
use crate::lsn::Lsn;

use super::json::{Json, Object, Problem};
use super::{History, Place, Snapshot, Source};

/// The block, with what only the decoder needs of it.
pub(super) struct Block<'a> {
    pub source: Source,
    schema: Option<Cow<'a, str>>,
    table: Option<Cow<'a, str>>,
    /// The table's object id, of ours alone.
    pub relid: Option<u32>,
    pub snapshot: Snapshot,
    /// Of one TRUNCATE's records, which one this is, and how many there are.
    pub truncate: (u64, u64),
}

impl<'a> Block<'a> {
    /// Reads the block; `known` is the history of the record before, which this one mostly shares.
    pub fn read(source: &Object<'a>, known: Option<&Arc<History>>) -> Result<Self, Problem> {
        let history = history(source, known)?;
        let lsn = source.read("lsn", Json::u64)?.map(Lsn);
        let xid = source.read("txId", Json::u64)?.map(modulo_2_32);
        let at = timestamp(source)?;
        let place = match &history {
            Some(_) => place(source, xid, at)?,
            None => None,
        };
        let name = |name| source.read(name, Json::string);
        let relid = source.read("relid", Json::u64)?.and_then(|relid| u32::try_from(relid).ok());
        let index = source.read("truncate_index", Json::u64)?.unwrap_or(0);
        let count = source.read("truncate_count", Json::u64)?.unwrap_or(1);
        Ok(Block {
            source: Source { place, history, lsn, xid, at, part: index },
            schema: name("schema")?,
            table: name("table")?,
            relid,
            snapshot: snapshot(source),
            truncate: (index, count),
        })
    }
}

impl Block<'_> {
    /// The schema and the name of the table. Messages have none.
    pub fn table(&self) -> Result<(&str, &str), Problem> {
        Ok((named("schema", self.schema.as_deref())?, named("table", self.table.as_deref())?))
    }
}

fn named<'a>(field: &str, name: Option<&'a str>) -> Result<&'a str, Problem> {
    name.filter(|name| !name.is_empty()).ok_or_else(|| {
        Problem::new("it is missing, null or empty, so the record names no table").within(field)
    })
}

/// Ours alone have one.
pub(super) fn history(
    object: &Object<'_>,
    known: Option<&Arc<History>>,
) -> Result<Option<Arc<History>>, Problem> {
    let Some(system_identifier) = object.read("system_identifier", Json::string)? else {
        return Ok(None);
    };
    let timeline = object.require("timeline", Json::i64)?;
    let is_known = |known: &&Arc<History>| {
        known.system_identifier == system_identifier && known.timeline == timeline
    };
    let new = || Arc::new(History { system_identifier: system_identifier.to_string(), timeline });
    Ok(Some(known.filter(is_known).cloned().unwrap_or_else(new)))
}

fn place(
    source: &Object<'_>,
    xid: Option<u32>,
    at: Option<Timestamp>,
) -> Result<Option<Place>, Problem> {
    let Some(commit_lsn) = source.read("commit_lsn", Json::u64)? else { return Ok(None) };
    let ends = source.get("tx_end").is_some_and(|it| it.text() == "true");
    let missing = |name| Problem::new("it is missing, or null").within(name);
    Ok(Some(Place {
        commit_lsn: Lsn(commit_lsn),
        event_index: source.require("event_index", Json::u64)?,
        xid: xid.ok_or_else(|| missing("txId"))?,
        committed_at: at.ok_or_else(|| missing("ts_us"))?,
        end: if ends { Some(Lsn(source.require("end_lsn", Json::u64)?)) } else { None },
    }))
}

/// The finest there is that loses nothing.
fn timestamp(source: &Object<'_>) -> Result<Option<Timestamp>, Problem> {
    if let Some(unix_micros) = source.read("ts_us", Json::i64)? {
        return Ok(Some(Timestamp { unix_micros }));
    }
    source.read("ts_ms", timestamp_of_millis)
}

pub(super) fn timestamp_of_millis(json: Json<'_>) -> Result<Timestamp, Problem> {
    let micros = json.i64()?.checked_mul(1_000);
    let unix_micros = micros.ok_or_else(|| Problem::new("it is no time in milliseconds"))?;
    Ok(Timestamp { unix_micros })
}

/// Debezium's has been a boolean, and has words for the first and last of each table too.
fn snapshot(source: &Object<'_>) -> Snapshot {
    match source.get("snapshot").map(Json::text) {
        Some("\"first\"") => Snapshot::First,
        Some("\"last\"") => Snapshot::Last,
        _ => Snapshot::Inside,
    }
}

fn modulo_2_32(xid: u64) -> u32 {
    (xid & u64::from(u32::MAX)) as u32
}
