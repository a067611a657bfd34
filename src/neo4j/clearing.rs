//! What an earlier mapping has left goes, in bounded transactions under the claims: see
//! [`crate::graph::LeftOver`]. Nodes go by [`super::removal`].

use neo4rs::Query;

use crate::{
    checkpoint::Claims,
    graph::{Between, LeftOver},
};

use super::{
    connect::Connection,
    cypher::quote,
    removal::{repeated, under},
    write_error::WriteError,
};

/// How much goes in a transaction.
const ROWS: i64 = 10_000;

/// Removes a bounded number. Returns how many; 0: nothing is left.
pub async fn clear(
    connection: &Connection,
    pipeline: &str,
    claims: Claims<'_>,
    left: &LeftOver,
) -> Result<u64, WriteError> {
    let Some(text) = text(left) else { return Ok(0) };
    let step = async || {
        let mut transaction = under(connection, pipeline, claims).await?;
        let query = Query::new(text.clone()).param("rows", ROWS);
        let did = transaction.run(query).await?;
        transaction.commit().await?;
        Ok((did.properties_set + did.labels_removed + did.relationships_deleted) as u64)
    };
    repeated(step).await
}

fn text(left: &LeftOver) -> Option<String> {
    let limit = "LIMIT $rows";
    Some(match left {
        LeftOver::Nodes { .. } => return None,
        LeftOver::Key { label, names } => {
            let label = quote(label);
            let has = names.iter().map(|(was, _)| format!("n.{} IS NOT NULL", quote(was)));
            let has = has.collect::<Vec<_>>().join(" OR ");
            let set = names.iter().map(|(was, is)| {
                let (was, is) = (quote(was), quote(is));
                // Something else may have had the new name.
                format!("n.{is} = n.{was}")
            });
            let set = set.collect::<Vec<_>>().join(", ");
            let remove = names.iter().map(|(was, _)| format!("n.{}", quote(was)));
            let remove = remove.collect::<Vec<_>>().join(", ");
            format!("MATCH (n:{label}) WHERE {has} WITH n {limit} SET {set} REMOVE {remove}")
        }
        LeftOver::Property { label, property } => {
            let (label, property) = (quote(label), quote(property));
            format!(
                "MATCH (n:{label}) WHERE n.{property} IS NOT NULL WITH n {limit} REMOVE n.{property}"
            )
        }
        LeftOver::Label { label, extra } => {
            let (label, extra) = (quote(label), quote(extra));
            format!("MATCH (n:{label}) WHERE n:{extra} WITH n {limit} REMOVE n:{extra}")
        }
        LeftOver::Relationships(of) => {
            format!("MATCH {} WITH r {limit} DELETE r", between(of))
        }
        LeftOver::RelationshipProperty { of, property } => {
            let property = quote(property);
            format!(
                "MATCH {} WHERE r.{property} IS NOT NULL WITH r {limit} REMOVE r.{property}",
                between(of)
            )
        }
    })
}

fn between(Between { relationship_type, from, to }: &Between) -> String {
    format!("(:{})-[r:{}]->(:{})", quote(from), quote(relationship_type), quote(to))
}
