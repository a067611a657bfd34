//! Dead letters: reads them, and removes them beside a stream. A stream writes them with its rows.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use neo4rs::{BoltMap, BoltType, Query, Row};

use crate::{
    change::Timestamp,
    checkpoint::Claim,
    graph::{Key, letter::DEAD_LETTER},
    pipeline::{KeptChange, KeptLetter},
};

use super::{
    checkpoint::{self, passed},
    checkpoint_row::get,
    connect::Connection,
    error::Error,
    names::KEY_PROPERTY,
    parameter, retry,
};

/// All of a pipeline, the oldest first.
pub async fn read(connection: &Connection, pipeline: &str) -> Result<Vec<KeptLetter>, Error> {
    let text = format!(
        "MATCH (d:{DEAD_LETTER} {{pipeline: $pipeline}}) RETURN d.name AS name, d.log AS log, d.table AS table, \
         d.key AS key, d.reason AS reason, d.error AS error, d.attempts AS attempts, d.changes AS changes, \
         d.operation AS operation, d.place AS place, d.values AS values, d.at AS at, d.updated_at AS updated_at, \
         d {{.*}} AS all ORDER BY d.at, d.name"
    );
    let rows = connection.rows(Query::new(text).param("pipeline", pipeline)).await?;
    rows.iter().map(letter_of).collect()
}

/// How many a pipeline has.
pub async fn count(connection: &Connection, pipeline: &str) -> Result<u64, Error> {
    let text = format!("MATCH (d:{DEAD_LETTER} {{pipeline: $pipeline}}) RETURN count(d) AS count");
    let rows = connection.rows(Query::new(text).param("pipeline", pipeline)).await?;
    let count: i64 = rows.first().map_or(Ok(0), |row| get(row, "count"))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Removes these, under a claim if there is one. False, and nothing goes, if its epoch is an older one.
pub async fn remove(
    connection: &Connection,
    pipeline: &str,
    claim: Option<&Claim>,
    names: &BTreeSet<String>,
) -> Result<bool, Error> {
    let text = format!(
        "MATCH (d:{DEAD_LETTER} {{pipeline: $pipeline}}) WHERE d.name IN $names DETACH DELETE d"
    );
    let names = parameter::list(names.iter().map(|name| name.as_str().into()));
    let removal = Query::new(text).param("pipeline", pipeline).param("names", names);
    let once = async || {
        let mut transaction = connection.begin().await?;
        if let Some(Claim { identity, epoch }) = claim {
            let held = checkpoint::under_epoch(identity, *epoch, "c.updated_at = $now");
            if !passed(&transaction.run(held.param("now", Utc::now())).await?) {
                transaction.rollback().await;
                return Ok(false);
            }
        }
        transaction.run(removal.clone()).await?;
        transaction.commit().await?;
        Ok(true)
    };
    retry::while_transient(once).await
}

/// Removes all of a pipeline.
pub(super) fn end_query(pipeline: &str) -> Query {
    let text = format!("MATCH (d:{DEAD_LETTER} {{pipeline: $pipeline}}) DETACH DELETE d");
    Query::new(text).param("pipeline", pipeline)
}

fn letter_of(row: &Row) -> Result<KeptLetter, Error> {
    let moment = |name| {
        let at: DateTime<Utc> = get(row, name)?;
        Ok::<_, Error>(Timestamp { unix_micros: at.timestamp_micros() })
    };
    let count = |name| Ok::<_, Error>(u64::try_from(get::<i64>(row, name)?).unwrap_or(0));
    let text = |name| Ok::<_, Error>(get::<Option<String>>(row, name)?.unwrap_or_default());
    let last = match get::<Option<String>>(row, "operation")? {
        Some(operation) => {
            Some(KeptChange { operation, place: text("place")?, values: text("values")? })
        }
        None => None,
    };
    let all: BoltType = row.get("all").unwrap_or(BoltType::Map(BoltMap::new()));
    Ok(KeptLetter {
        name: get(row, "name")?,
        log: text("log")?,
        table: text("table")?,
        key: key_of(all),
        shown_key: text("key")?,
        reason: text("reason")?,
        error: text("error")?,
        attempts: count("attempts")?,
        changes: count("changes")?,
        last,
        at: moment("at")?,
        updated_at: moment("updated_at")?,
    })
}

/// The key among a letter's properties.
fn key_of(all: BoltType) -> Option<Key> {
    let BoltType::Map(mut all) = all else { return None };
    let mut parts = Vec::new();
    while let Some(part) = all.value.remove(format!("{KEY_PROPERTY}{}", parts.len()).as_str()) {
        parts.push(parameter::value_of(part)?);
    }
    (!parts.is_empty()).then(|| Key(parts.into()))
}
