//! Constraints and indexes that were made for pipelines: found by the names that only we give.

use std::collections::BTreeSet;

use neo4rs::{Query, Row};

use crate::pipeline::{Footprint, Made};

use super::{
    super::{connect::Connection, cypher::quote, error::Error},
    Entity, Requirement, requirement_of, requirements,
};

/// What was made, and whether another pipeline needs it.
pub async fn made(connection: &Connection, of: Footprint<'_>) -> Result<Made, Error> {
    let needed = of.needed.map(requirements).unwrap_or_default();
    let mut made = Made::default();
    for (name, requirement) in ours(connection).await? {
        if needed.contains(&requirement) {
            continue;
        }
        match &requirement.entity {
            Entity::Node(label) if of.rows.labels.contains(label) => made.goes.push(name),
            Entity::Node(_) => {}
            Entity::Relationship(kind) => {
                let is_needed = match of.types {
                    _ if of.is_alone => false,
                    // It may be of any pipeline of the graph.
                    None => true,
                    Some(types) if !types.contains(kind) => continue,
                    Some(_) => is_spared(connection, kind, &of.rows.spared).await?,
                };
                if is_needed { made.stays.push(name) } else { made.goes.push(name) }
            }
        }
    }
    if of.is_alone {
        made.goes.extend(of_checkpoints(connection).await?);
    }
    Ok(made)
}

/// Drops them, unless they are gone.
pub async fn unmake(connection: &Connection, names: &[String]) -> Result<(), Error> {
    for name in names {
        for kind in ["CONSTRAINT", "INDEX"] {
            let drop = format!("DROP {kind} {} IF EXISTS", quote(name));
            connection.run(Query::new(drop)).await?;
        }
    }
    Ok(())
}

/// What bears the name that we would give it.
async fn ours(connection: &Connection) -> Result<Vec<(String, Requirement)>, Error> {
    let constraints = "SHOW CONSTRAINTS YIELD name, entityType, labelsOrTypes, properties \
         WHERE name STARTS WITH 'wal2graph_' \
         RETURN name, true AS unique, entityType, labelsOrTypes, properties ORDER BY name";
    // An index may be left of a constraint that was never complete: it has that one's name.
    let indexes = "SHOW INDEXES YIELD name, entityType, labelsOrTypes, properties, owningConstraint \
         WHERE name STARTS WITH 'wal2graph_' AND owningConstraint IS NULL AND size(labelsOrTypes) = 1 \
         RETURN name, name STARTS WITH 'wal2graph_unique_' AS unique, entityType, labelsOrTypes, properties \
         ORDER BY name";
    let named = |row: &Row| {
        let (name, requirement) = (row.get::<String>("name").ok()?, requirement_of(row)?);
        (requirement.name() == name).then_some((name, requirement))
    };
    let mut all = Vec::new();
    for text in [constraints, indexes] {
        let rows = connection.rows(Query::new(text.to_owned())).await?;
        all.extend(rows.iter().filter_map(named));
    }
    Ok(all)
}

/// The constraints of checkpoints and progress.
async fn of_checkpoints(connection: &Connection) -> Result<Vec<String>, Error> {
    let text = "SHOW CONSTRAINTS YIELD name WHERE name IN \
         ['_wal2graph_checkpoint_log', '_wal2graph_copy', '_wal2graph_request', '_wal2graph_dead_letter'] \
         RETURN name ORDER BY name";
    let rows = connection.rows(Query::new(text.to_owned())).await?;
    Ok(rows.iter().filter_map(|row| row.get("name").ok()).collect())
}

/// A node of another pipeline has a relationship of this type.
async fn is_spared(
    connection: &Connection,
    kind: &str,
    spared: &BTreeSet<String>,
) -> Result<bool, Error> {
    if spared.is_empty() {
        return Ok(false);
    }
    let labels = spared.iter().map(|label| quote(label)).collect::<Vec<_>>().join("|");
    let text = format!("MATCH (n:{labels})-[r:{}]-() RETURN 1 AS one LIMIT 1", quote(kind));
    Ok(!connection.rows(Query::new(text)).await?.is_empty())
}
