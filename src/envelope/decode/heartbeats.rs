//! Heartbeats, and markers of transactions: what is no change and no message.

use bytes::Bytes;

use crate::lsn::Lsn;

use super::super::join::Next;
use super::super::json::{Json, Object, Problem};
use super::super::source::{history, timestamp_of_millis};
use super::{Decoded, Decoder};

impl Decoder {
    /// A heartbeat, or a marker of a transaction: recognised by all of its form, since a row without an
    /// envelope may have columns of any name.
    pub(super) fn without_op(
        &mut self,
        object: &Object<'_>,
        key: Option<&Bytes>,
    ) -> Result<Next, Problem> {
        if is_marker(object) {
            return Ok(Next::Alone(Decoded::Transaction));
        }
        if ["before", "after", "source"].iter().any(|name| object.get(name).is_some()) {
            return Err(Problem::new("it is missing, or null").within("op"));
        }
        let has_only = |names: &[&str]| object.0.iter().all(|(name, _)| names.contains(&&**name));
        let at = object.read("ts_ms", timestamp_of_millis)?;
        match at {
            Some(at) if has_only(&["ts_ms"]) && server_name(key).is_some() => {
                self.has_history(None)?;
                Ok(Next::Alone(Decoded::Heartbeat { end_lsn: None, history: None, at }))
            }
            Some(at)
                if object.get("system_identifier").is_some()
                    && has_only(&["ts_ms", "system_identifier", "timeline", "end_lsn"]) =>
            {
                let history = history(object, self.history.as_ref())?;
                let end_lsn = Some(Lsn(object.require("end_lsn", Json::u64)?));
                let publisher = server_name(key).ok_or_else(|| {
                    Problem::new("a heartbeat names its publisher in its key (serverName)")
                })?;
                self.is_of_publisher(Some(&publisher))?;
                Ok(Next::Alone(Decoded::Heartbeat { end_lsn, history, at }))
            }
            _ => Err(Problem::new(
                "it is neither an envelope (op, before, after, source) nor a heartbeat (ts_ms alone, and the key \
                 serverName). Of rows that ExtractNewRecordState has left, say so: kafka.debezium.records: rows",
            )),
        }
    }
}

/// A marker of Debezium's transaction topic.
fn is_marker(object: &Object<'_>) -> bool {
    const FIELDS: [&str; 5] = ["status", "id", "event_count", "data_collections", "ts_ms"];
    let text = |name| object.some(name).and_then(|it| it.string().ok());
    let is_status = text("status").is_some_and(|it| matches!(&*it, "BEGIN" | "END"));
    let has_only = object.0.iter().all(|(name, _)| FIELDS.contains(&&**name));
    is_status && has_only && text("id").is_some() && object.get("event_count").is_some()
}

/// The name in the key of a heartbeat, with or without a schema block: the publisher's.
fn server_name(key: Option<&Bytes>) -> Option<String> {
    let key = Json::parse(key?).and_then(Json::object).ok()?;
    let payload = key.get("payload").filter(|_| key.get("schema").is_some());
    let key = payload.map_or(Ok(key), Json::object).ok()?;
    let [(name, value)] = &key.0[..] else { return None };
    let value = value.string().ok()?;
    (name == "serverName").then(|| value.into_owned())
}
