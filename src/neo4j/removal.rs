//! A pipeline leaves the graph: its rows in bounded transactions, then its progress and checkpoints.
//!
//! ```text
//! each step:  lock the checkpoints -> are these all, under our epochs? -> delete a bounded number -> COMMIT
//! the last:   the same, and delete progress and checkpoints
//! ```
//!
//! So a writer that begins meanwhile is not overwritten: the removal is fenced. Every step is right
//! again after it took effect, so one without an answer is simply repeated.

use std::collections::BTreeMap;

use neo4rs::{Query, Row};

use crate::{
    checkpoint::{Checkpoint, Claim, Claims, Epoch},
    pipeline::{Extent, Removed, Rows},
};

use super::{
    checkpoint,
    checkpoint_row::{checkpoint_of, get},
    connect::{Connection, Transaction},
    copy_progress,
    cypher::quote,
    error::Error,
    letters,
    names::CHECKPOINT,
    requests,
    retry::Retry,
    write_error::WriteError,
};

/// How many nodes go in a transaction, and how many relationships before them.
const NODES: u64 = 2_000;
const RELATIONSHIPS: u64 = 10_000;

/// Reads the checkpoints of all pipelines.
pub async fn all_checkpoints(connection: &Connection) -> Result<Vec<(String, Checkpoint)>, Error> {
    let text = format!(
        "MATCH (c:{CHECKPOINT}) RETURN c.pipeline AS pipeline, {} ORDER BY c.pipeline, c.topic, c.partition, c.log",
        checkpoint::RETURNED
    );
    let rows = connection.rows(Query::new(text)).await?;
    rows.iter().map(|row| Ok((get(row, "pipeline")?, checkpoint_of(row)?))).collect()
}

/// Counts the rows' nodes and relationships. It looks at each of them.
pub async fn extent(connection: &Connection, rows: &Rows) -> Result<Extent, Error> {
    let mut extent = Extent::default();
    if rows.labels.is_empty() {
        return Ok(extent);
    }
    for label in &rows.labels {
        let text = format!(
            "MATCH (n:{}) WHERE {} RETURN count(n) AS count",
            quote(label),
            not_spared("n", rows)
        );
        let found = connection.rows(Query::new(text)).await?;
        let count = found.first().map_or(0, |row| count_of(row, "count"));
        if count > 0 {
            extent.nodes.push((label.clone(), count));
        }
    }
    let (n, m) = (is_row("n", rows), is_row("m", rows));
    let mut by_type: BTreeMap<String, u64> = BTreeMap::new();
    for text in [
        format!(
            "MATCH (n:{})-[r]->(m) WHERE {n} RETURN type(r) AS type, count(r) AS count, \
             sum(CASE WHEN {m} THEN 0 ELSE 1 END) AS away",
            any(rows)
        ),
        format!(
            "MATCH (n:{})<-[r]-(m) WHERE {n} AND NOT ({m}) RETURN type(r) AS type, count(r) AS count, \
             count(r) AS away",
            any(rows)
        ),
    ] {
        for row in connection.rows(Query::new(text)).await? {
            *by_type.entry(get(&row, "type")?).or_default() += count_of(&row, "count");
            extent.leading_away += count_of(&row, "away");
        }
    }
    extent.relationships = by_type.into_iter().collect();
    Ok(extent)
}

/// Removes a bounded number of the rows' nodes, their relationships before them.
pub async fn remove(
    connection: &Connection,
    pipeline: &str,
    claims: Claims<'_>,
    rows: &Rows,
) -> Result<Removed, WriteError> {
    if rows.labels.is_empty() {
        return Ok(Removed::default());
    }
    let mut share = 1;
    loop {
        let step = async || {
            let mut transaction = under(connection, pipeline, claims).await?;
            let removed = remove_some(&mut transaction, rows, share).await?;
            transaction.commit().await?;
            Ok(removed)
        };
        match repeated(step).await {
            Err(WriteError::TooLarge { .. }) if share < NODES => share *= 2,
            removed => return removed,
        }
    }
}

/// The first nodes lose their relationships; once these are few enough, they go. A node with any
/// number of relationships takes several steps.
async fn remove_some(
    transaction: &mut Transaction,
    rows: &Rows,
    share: u64,
) -> Result<Removed, Error> {
    let (nodes, relationships) = (NODES / share, RELATIONSHIPS / share);
    let first = format!("MATCH (n:{}) WHERE {} WITH n LIMIT $nodes", any(rows), is_row("n", rows));
    let of = |text: String| {
        Query::new(text).param("nodes", nodes as i64).param("relationships", relationships as i64)
    };
    let text = format!("{first} MATCH (n)-[r]-() WITH DISTINCT r LIMIT $relationships DELETE r");
    let went = transaction.run(of(text)).await?.relationships_deleted as u64;
    if went >= relationships {
        return Ok(Removed { nodes: 0, relationships: went });
    }
    let counters = transaction.run(of(format!("{first} DETACH DELETE n"))).await?;
    Ok(Removed { nodes: counters.nodes_deleted as u64, relationships: went })
}

/// Removes the pipeline's progress and checkpoints.
pub async fn forget(
    connection: &Connection,
    pipeline: &str,
    claims: &[Claim],
) -> Result<(), WriteError> {
    let step = async || {
        let mut transaction = match under(connection, pipeline, Claims::All(claims)).await {
            Err(Refused::Else(found)) if found.is_empty() => connection.begin().await?,
            transaction => transaction?,
        };
        transaction.run(copy_progress::end_query(pipeline)).await?;
        transaction.run(requests::end_query(pipeline)).await?;
        transaction.run(letters::end_query(pipeline)).await?;
        let text = format!("MATCH (c:{CHECKPOINT} {{pipeline: $pipeline}}) DETACH DELETE c");
        transaction.run(Query::new(text).param("pipeline", pipeline)).await?;
        transaction.commit().await?;
        Ok(())
    };
    repeated(step).await
}

/// Why a step did not take effect, or may not have.
pub(super) enum Refused {
    /// The checkpoints are these, and not the claimed ones.
    Else(Vec<(String, Epoch)>),
    /// Neo4j did not do it.
    Neo4j(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::Neo4j(error)
    }
}

/// A transaction in which the claims hold, and stay so.
pub(super) async fn under(
    connection: &Connection,
    pipeline: &str,
    claims: Claims<'_>,
) -> Result<Transaction, Refused> {
    let mut transaction = connection.begin().await?;
    let text = format!(
        "MATCH (c:{CHECKPOINT} {{pipeline: $pipeline}}) WITH c ORDER BY c.log SET c:{CHECKPOINT} \
         WITH c, properties(c) AS now RETURN now.log AS log, now.epoch AS epoch ORDER BY log"
    );
    let rows = transaction.rows(Query::new(text).param("pipeline", pipeline)).await?;
    let found: Result<Vec<_>, Error> =
        rows.iter().map(|row| Ok((get(row, "log")?, Epoch(get(row, "epoch")?)))).collect();
    let found: Vec<(String, Epoch)> = found?;
    if claims.hold(&found) {
        return Ok(transaction);
    }
    transaction.rollback().await;
    Err(Refused::Else(found))
}

/// Repeats a step while Neo4j is away. It is right again after it took effect.
pub(super) async fn repeated<T, A: Future<Output = Result<T, Refused>>>(
    mut step: impl FnMut() -> A,
) -> Result<T, WriteError> {
    let mut retry = Retry::new();
    loop {
        let error = match step().await {
            Ok(done) => return Ok(done),
            Err(Refused::Neo4j(error)) => error,
            Err(Refused::Else(found)) => {
                return Err(WriteError::Fenced {
                    expected: "the epochs that this command has claimed".to_owned(),
                    found: shown(&found),
                });
            }
        };
        match error {
            Error::Transient(_) | Error::Failed(_) | Error::Terminated(_) | Error::Lost(_) => {
                if !retry.wait().await {
                    return Err(WriteError::Away { last: error });
                }
            }
            Error::TooLarge(_) => return Err(WriteError::TooLarge { error }),
            Error::Data(_) | Error::Login(_) | Error::Fatal(_) => {
                return Err(WriteError::Fatal(error));
            }
        }
    }
}

fn shown(found: &[(String, Epoch)]) -> String {
    let all: Vec<_> = found.iter().map(|(log, epoch)| format!("{log}: {}", epoch.0)).collect();
    match all.is_empty() {
        true => "no checkpoint".to_owned(),
        false => format!("epochs {}", all.join(", ")),
    }
}

/// A label expression: any of the rows' labels.
fn any(rows: &Rows) -> String {
    labels(rows.labels.iter())
}

fn labels<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(|name| quote(name)).collect::<Vec<_>>().join("|")
}

fn not_spared(variable: &str, rows: &Rows) -> String {
    match rows.spared.is_empty() {
        true => "true".to_owned(),
        false => format!("NOT {variable}:{}", labels(rows.spared.iter())),
    }
}

fn is_row(variable: &str, rows: &Rows) -> String {
    format!("{variable}:{} AND {}", any(rows), not_spared(variable, rows))
}

fn count_of(row: &Row, name: &str) -> u64 {
    row.get::<i64>(name).map_or(0, i64::unsigned_abs)
}
