//! Indexes of our own names without their constraints.
//!
//! ```text
//! CREATE CONSTRAINT:  index, without an owner ... populated ... constraint, the index's owner
//!                                    ^ the client is killed here: the index stays alone
//! ```
//!
//! Such an index keeps the constraint from being made, and nobody else needs it, so a start drops it. While
//! another instance makes the constraint, it looks the same: that one is waited for.

use std::time::Duration;

use neo4rs::{Query, Row};
use tokio::time::{Instant, sleep};

use super::{
    super::{connect::Connection, cypher::quote, error::Error},
    INDEX_LIMIT_SECONDS, Requirement,
    obstacles::named,
};

/// How long nobody makes the constraint until its index is dropped: between the end of the statement and
/// that of its transaction nothing shows that somebody does.
const SETTLED: Duration = Duration::from_secs(5);
/// The interval of looks.
const LOOK: Duration = Duration::from_millis(200);

/// Drops what an instance that was killed left of the missing constraints. True if there was something,
/// which another instance may have completed meanwhile.
pub(super) async fn clear(connection: &Connection, missing: &[Requirement]) -> Result<bool, Error> {
    let began = Instant::now();
    let mut quiet_since = None;
    let mut is_told = false;
    loop {
        let names = left_over(connection, missing).await?;
        if names.is_empty() {
            return Ok(is_told || quiet_since.is_some());
        }
        if are_made(connection, &names).await? {
            quiet_since = None;
            if !is_told {
                tracing::info!(constraints = ?names, "another instance makes them: it is waited for");
                is_told = true;
            }
            if began.elapsed() > Duration::from_secs(INDEX_LIMIT_SECONDS.into()) {
                return Err(Error::Lost(format!(
                    "another instance has made the constraint {:?} for {INDEX_LIMIT_SECONDS} s",
                    names[0]
                )));
            }
        } else if quiet_since.get_or_insert_with(Instant::now).elapsed() > SETTLED {
            for name in &names {
                drop_index(connection, missing, name).await?;
            }
            return Ok(true);
        }
        sleep(LOOK).await;
    }
}

async fn drop_index(
    connection: &Connection,
    missing: &[Requirement],
    name: &str,
) -> Result<(), Error> {
    let text = format!("DROP INDEX {} IF EXISTS", quote(name));
    if let Err(error) = connection.run(Query::new(text)).await {
        // It has got its owner in this moment, or another start has dropped it.
        return match left_over(connection, missing).await?.iter().any(|it| it == name) {
            true => Err(error),
            false => Ok(()),
        };
    }
    tracing::warn!(
        index = name,
        "it had no constraint, since a start was killed while Neo4j made it: dropped, the constraint is made again"
    );
    Ok(())
}

/// The indexes without an owner that are exactly those of missing constraints.
async fn left_over(connection: &Connection, missing: &[Requirement]) -> Result<Vec<String>, Error> {
    if !missing.iter().any(|it| it.unique) {
        return Ok(Vec::new());
    }
    let is_ours = |name: &str, what: &Requirement| {
        missing.iter().any(|it| {
            it.unique
                && it.name() == name
                && (&it.entity, &it.properties) == (&what.entity, &what.properties)
        })
    };
    let found = named(connection).await?.into_iter();
    Ok(found.filter(|it| it.is_index() && is_ours(&it.name, &it.what)).map(|it| it.name).collect())
}

/// A running statement makes one of the constraints.
async fn are_made(connection: &Connection, names: &[String]) -> Result<bool, Error> {
    let text = "SHOW TRANSACTIONS YIELD currentQuery RETURN coalesce(currentQuery, '') AS query";
    let rows = connection.rows(Query::new(text.to_owned())).await?;
    let makes = |row: &Row| {
        let query = row.get::<String>("query").unwrap_or_default();
        query.starts_with("CREATE CONSTRAINT")
            && names.iter().any(|name| query.contains(&quote(name)))
    };
    Ok(rows.iter().any(makes))
}
