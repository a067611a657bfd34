//! How many nodes of one pipeline have a mark, such as `_Placeholder`: a graph may have nodes of several.
//!
//! ```text
//! no node has the mark, or all pipelines of the graph are this one    Neo4j's own count of the label
//! else, and few nodes have it                                         looked at one by one
//! else                                                                not known
//! ```

use std::collections::BTreeSet;

use neo4rs::{Query, Row};

use super::{connect::Connection, cypher::quote, error::Error, names::CHECKPOINT, schema};

/// Up to so many nodes are looked at: some 40 ms. A million would take ten times that.
const LOOKED_AT_MAX: u64 = 100_000;

/// How many nodes with this mark have a label of the pipeline's checkpoints; `None` if that takes too long.
pub async fn count(
    connection: &Connection,
    pipeline: &str,
    mark: &str,
) -> Result<Option<u64>, Error> {
    let all = schema::count(connection, mark).await?;
    if all == 0 {
        return Ok(Some(0));
    }
    let text = format!(
        "MATCH (c:{CHECKPOINT}) RETURN c.pipeline = $pipeline AS is_own, coalesce(c.labels, []) AS labels"
    );
    let rows = connection.rows(Query::new(text).param("pipeline", pipeline)).await?;
    let is_own = |row: &&Row| row.get::<bool>("is_own").unwrap_or(false);
    let (own, others): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(is_own);
    let labels = own.iter().filter_map(|row| row.get::<Vec<String>>("labels").ok()).flatten();
    let labels: BTreeSet<String> = labels.map(|label| quote(&label)).collect();
    if others.is_empty() && !own.is_empty() {
        return Ok(Some(all));
    }
    if labels.is_empty() {
        return Ok(Some(0));
    }
    if all > LOOKED_AT_MAX {
        return Ok(None);
    }
    let labels = labels.into_iter().collect::<Vec<_>>().join("|");
    let text = format!("MATCH (n:{}) WHERE n:{labels} RETURN count(n) AS count", quote(mark));
    schema::count_of(connection, text).await.map(Some)
}
