//! Requests of commands to the pipeline that runs: one node each.
//!
//! ```text
//! (:_Wal2GraphRequest {pipeline, id, purpose, tables, keys, state, why, asked_at, updated_at, findings, is_concluded,
//!                      `share_<log>`: the findings of a log, where a graph is made from several})
//! ```
//!
//! A command writes without a claim. The pipeline writes under its epoch, so that an instance that lost the slot
//! answers nothing.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use neo4rs::{Query, Row};

use crate::{
    change::Timestamp,
    checkpoint::{Claim, Epoch, Identity},
    copy::{Progress, RECONCILED},
    graph::Pass,
    request::{Findings, Purpose, Request, RequestId, State},
};

use super::{
    checkpoint::{self, passed},
    checkpoint_row::get,
    connect::Connection,
    copy_progress,
    error::Error,
    names::REQUEST,
    parameter, retry,
};

/// States of requests that somebody may still work on.
const OPEN: &str = "['asked', 'running']";
/// What the name of a share's property begins with. The rest is the log's name.
const SHARE: &str = "share_";
/// The same with the end of a repair, whose last findings come later.
const ANSWERED: &str = "['asked', 'running', 'done']";

/// Keeps a new request. A second call with its id changes nothing.
pub async fn ask(connection: &Connection, pipeline: &str, request: &Request) -> Result<(), Error> {
    let text = format!(
        "MERGE (r:{REQUEST} {{pipeline: $pipeline, id: $id}}) ON CREATE SET r.purpose = $purpose, \
         r.tables = $tables, r.keys = $keys, r.state = 'asked', r.asked_at = $now, r.updated_at = $now, \
         r.findings = $findings"
    );
    let tables = parameter::list(request.tables.iter().map(|table| table.as_str().into()));
    let keys = request.rows.as_ref().and_then(|rows| serde_json::to_string(rows).ok());
    let query = which(Query::new(text), pipeline, &request.id)
        .param("purpose", request.purpose.name())
        .param("tables", tables)
        .param("keys", keys)
        .param("findings", request.findings.to_string())
        .param("now", Utc::now());
    retry::while_transient(|| connection.run(query.clone())).await.map(drop)
}

/// All requests of a pipeline, the oldest first.
pub async fn read(connection: &Connection, pipeline: &str) -> Result<Vec<Request>, Error> {
    let text = format!(
        "MATCH (r:{REQUEST} {{pipeline: $pipeline}}) RETURN r.id AS id, r.purpose AS purpose, r.tables AS tables, \
         r.keys AS keys, r.state AS state, r.why AS why, r.asked_at AS asked_at, r.updated_at AS updated_at, \
         r.findings AS findings, {} AS shares ORDER BY r.asked_at, r.id",
        shares_of("r")
    );
    let rows = connection.rows(Query::new(text).param("pipeline", pipeline)).await?;
    rows.iter().map(request_of).collect()
}

/// Begins with a request: it is running, and `progress` is that of its passes. False, and nothing is
/// written, if the epoch is an older one or the request is not open.
pub async fn take_up(
    connection: &Connection,
    Claim { identity, epoch }: &Claim,
    request: &RequestId,
    progress: &[Progress],
) -> Result<bool, Error> {
    let pipeline = &identity.pipeline;
    let open = set_query(pipeline, request, OPEN, "r.state = 'running'");
    let created = copy_progress::create_query(pipeline, *epoch, progress);
    let passes = [remove_passes_query(pipeline), created];
    retry::while_transient(|| under(connection, identity, *epoch, &open, &passes)).await
}

/// Keeps the state and what was found. What is done stays done. False, and nothing is written, if the
/// epoch is an older one, or somebody has ended the request.
pub async fn answer(
    connection: &Connection,
    Claim { identity, epoch }: &Claim,
    request: &RequestId,
    state: &State,
    findings: &Findings,
) -> Result<bool, Error> {
    let why = match state {
        State::Failed(why) => Some(why.as_str()),
        _ => None,
    };
    let set = "r.state = CASE WHEN now.state = 'done' THEN 'done' ELSE $state END, r.why = $why, \
               r.findings = $findings";
    let query = set_query(&identity.pipeline, request, ANSWERED, set)
        .param("state", state.name())
        .param("why", why)
        .param("findings", findings.to_string());
    retry::while_transient(|| under(connection, identity, *epoch, &query, &[])).await
}

/// Keeps the findings of a log's share, and with them the state of all. False, and nothing is written, if the
/// epoch is an older one, or the request is not open.
pub async fn answer_share(
    connection: &Connection,
    claim: &Claim,
    request: &RequestId,
    all: &[String],
    findings: &Findings,
) -> Result<bool, Error> {
    retry::while_transient(|| keep_share(connection, claim, request, all, findings)).await
}

async fn keep_share(
    connection: &Connection,
    Claim { identity, epoch }: &Claim,
    request: &RequestId,
    all: &[String],
    findings: &Findings,
) -> Result<bool, Error> {
    let (pipeline, log) = (&identity.pipeline, identity.log.name());
    let mut transaction = connection.begin().await?;
    let held = checkpoint::under_epoch(identity, *epoch, "c.updated_at = $now");
    let is_ours = passed(&transaction.run(held.param("now", Utc::now())).await?);
    let look = Query::new(format!(
        "MATCH (r:{REQUEST} {{pipeline: $pipeline, id: $id}}) SET r:{REQUEST} WITH r, properties(r) AS now \
         WHERE now.state IN {OPEN} RETURN {} AS shares",
        shares_of("now")
    ));
    let rows = match is_ours {
        true => transaction.rows(which(look, pipeline, request)).await?,
        false => Vec::new(),
    };
    let Some(row) = rows.first() else {
        transaction.rollback().await;
        return Ok(false);
    };
    let mut shares = shares_in(row)?;
    let is_over_already = shares.get(&log).is_some_and(|share| share.is_over);
    if !is_over_already {
        shares.insert(log.clone(), findings.clone());
    }
    let is_over = |log: &String| shares.get(log).is_some_and(|share| share.is_over);
    let state = if all.iter().all(is_over) { State::Done } else { State::Running };
    let share = HashMap::from([(format!("{SHARE}{log}"), shares[&log].to_string())]);
    let keep = set_query(pipeline, request, OPEN, "r.state = $state, r += $share");
    transaction.run(keep.param("state", state.name()).param("share", share)).await?;
    transaction.commit().await?;
    Ok(true)
}

/// The shares among these properties, as pairs.
fn shares_of(properties: &str) -> String {
    format!(
        "[name IN keys({properties}) WHERE name STARTS WITH '{SHARE}' | [name, {properties}[name]]]"
    )
}

/// The shares of a request by the names of their logs.
fn shares_in(row: &Row) -> Result<BTreeMap<String, Findings>, Error> {
    let shares: Vec<Vec<String>> = get(row, "shares")?;
    let share = |pair: Vec<String>| {
        let [name, findings] = <[String; 2]>::try_from(pair).ok()?;
        Some((name.strip_prefix(SHARE)?.to_owned(), findings.parse().ok()?))
    };
    let read: Option<_> = shares.into_iter().map(share).collect();
    read.ok_or_else(|| unknown("share"))
}

/// Sets something of a request under the writer's epoch, and runs the others with it. False, and
/// nothing is written, if the epoch is an older one or the request is in another state.
async fn under(
    connection: &Connection,
    identity: &Identity,
    epoch: Epoch,
    set: &Query,
    others: &[Query],
) -> Result<bool, Error> {
    let mut transaction = connection.begin().await?;
    let held = checkpoint::under_epoch(identity, epoch, "c.updated_at = $now");
    let is_ours = passed(&transaction.run(held.param("now", Utc::now())).await?);
    if !is_ours || !passed(&transaction.run(set.clone()).await?) {
        transaction.rollback().await;
        return Ok(false);
    }
    for query in others {
        transaction.run(query.clone()).await?;
    }
    transaction.commit().await?;
    Ok(true)
}

/// Ends an open request at a person's word. False if it is not open.
pub async fn cancel(
    connection: &Connection,
    pipeline: &str,
    request: &RequestId,
) -> Result<bool, Error> {
    let query = set_query(pipeline, request, OPEN, "r.state = 'cancelled'");
    retry::while_transient(|| connection.run(query.clone())).await.map(|did| passed(&did))
}

/// Keeps these findings of a request that is done, in the place of those that were kept before.
pub async fn conclude(
    connection: &Connection,
    pipeline: &str,
    request: &RequestId,
    findings: &Findings,
) -> Result<(), Error> {
    let text = format!(
        "MATCH (r:{REQUEST} {{pipeline: $pipeline}}) \
         WHERE r.id = $id AND r.state = 'done' OR r.id <> $id AND (r.is_concluded \
            OR NOT r.state IN {OPEN} AND r.updated_at < $now - duration({{minutes: 5}})) \
         FOREACH (own IN CASE r.id WHEN $id THEN [r] ELSE [] END | \
            SET own = {{pipeline: own.pipeline, id: own.id, purpose: own.purpose, tables: own.tables, \
           state: own.state, asked_at: own.asked_at, updated_at: own.updated_at, findings: $findings, \
           is_concluded: true}}) \
         FOREACH (other IN CASE r.id WHEN $id THEN [] ELSE [r] END | DELETE other)"
    );
    let query = which(Query::new(text), pipeline, request)
        .param("findings", findings.to_string())
        .param("now", Utc::now());
    retry::while_transient(|| connection.run(query.clone())).await.map(drop)
}

/// Removes a request.
pub async fn withdraw(
    connection: &Connection,
    pipeline: &str,
    request: &RequestId,
) -> Result<(), Error> {
    let text = format!("MATCH (r:{REQUEST} {{pipeline: $pipeline, id: $id}}) DELETE r");
    let query = which(Query::new(text), pipeline, request);
    retry::while_transient(|| connection.run(query.clone())).await.map(drop)
}

/// Removes all requests of a pipeline.
pub(super) fn end_query(pipeline: &str) -> Query {
    let text = format!("MATCH (r:{REQUEST} {{pipeline: $pipeline}}) DELETE r");
    Query::new(text).param("pipeline", pipeline)
}

/// A repair that runs is done. Goes with the end of its passes, in their transaction.
pub(super) fn done_query(pipeline: &str) -> Query {
    let text = format!(
        "MATCH (r:{REQUEST} {{pipeline: $pipeline, state: 'running', purpose: $purpose}}) \
         SET r.state = 'done', r.updated_at = $now"
    );
    Query::new(text)
        .param("pipeline", pipeline)
        .param("purpose", Purpose::Repair.name())
        .param("now", Utc::now())
}

/// Locks a request, then sets something if it is in one of the states.
fn set_query(pipeline: &str, request: &RequestId, states: &str, set: &str) -> Query {
    let text = format!(
        "MATCH (r:{REQUEST} {{pipeline: $pipeline, id: $id}}) SET r:{REQUEST} WITH r, properties(r) AS now \
         WHERE now.state IN {states} SET r.updated_at = $now, {set}"
    );
    which(Query::new(text), pipeline, request).param("now", Utc::now())
}

/// Removes the progress of an earlier reconciliation.
fn remove_passes_query(pipeline: &str) -> Query {
    let text = format!(
        "MATCH (p:{} {{pipeline: $pipeline}}) WHERE p.pass IN $passes DETACH DELETE p",
        super::names::COPY
    );
    let passes = parameter::list(RECONCILED.iter().map(|pass: &Pass| pass.name().into()));
    Query::new(text).param("pipeline", pipeline).param("passes", passes)
}

fn which(query: Query, pipeline: &str, request: &RequestId) -> Query {
    query.param("pipeline", pipeline).param("id", request.0.as_str())
}

fn request_of(row: &Row) -> Result<Request, Error> {
    let (purpose, state): (String, String) = (get(row, "purpose")?, get(row, "state")?);
    let why: Option<String> = get(row, "why")?;
    let moment = |name| {
        let at: DateTime<Utc> = get(row, name)?;
        Ok::<_, Error>(Timestamp { unix_micros: at.timestamp_micros() })
    };
    let findings: String = get(row, "findings")?;
    let keys: Option<String> = get(row, "keys")?;
    let keys = keys.map(|keys| serde_json::from_str(&keys)).transpose();
    let shares = shares_in(row)?;
    let findings = match shares.is_empty() {
        true => findings.parse().map_err(|_| unknown("form of findings"))?,
        false => Findings::together(shares.values()),
    };
    let over = shares.into_iter().filter(|(_, share)| share.is_over);
    Ok(Request {
        id: RequestId(get(row, "id")?),
        purpose: Purpose::from_name(&purpose).ok_or_else(|| unknown("purpose"))?,
        tables: get(row, "tables")?,
        rows: keys.map_err(|_| unknown("form of keys"))?,
        state: State::from_name(&state, why).ok_or_else(|| unknown("state"))?,
        asked_at: moment("asked_at")?,
        updated_at: moment("updated_at")?,
        findings,
        shares_over: over.map(|(log, _)| log).collect(),
    })
}

fn unknown(what: &str) -> Error {
    Error::Fatal(format!(
        "a {REQUEST} node has an unknown {what}: somebody edited it, or a newer version wrote it. Delete it: \
         MATCH (r:{REQUEST}) DELETE r"
    ))
}
