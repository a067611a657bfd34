//! Obstacles to creating constraints and indexes.

use std::collections::BTreeSet;

use neo4rs::Query;

use crate::{
    shown::shown_list,
    start::{
        again::{pasteable, pasteable_text},
        graph::{Holders, Obstacle},
    },
};

use super::{
    super::{connect::Connection, error::Error},
    Entity, Requirement, in_use, missing, requirement_of, violations,
};

/// The obstacles to the missing requirements: another index in a constraint's place, a name in use,
/// shared values.
///
/// An index with a constraint's own name is none: a start drops it.
pub async fn obstacles(
    connection: &Connection,
    requirements: &BTreeSet<Requirement>,
) -> Result<Vec<Obstacle>, Error> {
    let missing = missing(connection, requirements).await?;
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let named = named(connection).await?;
    let mut found = Vec::new();
    for requirement in &missing {
        let is_in_place = |it: &&Named| {
            let is_index = it.is_index() && it.what.properties == requirement.properties;
            requirement.unique && is_index && it.what.entity == requirement.entity
        };
        let name = requirement.name();
        if let Some(index) = named.iter().find(is_in_place) {
            if index.name == name {
                continue;
            }
            let (name, quoted) = (index.name.clone(), pasteable(&index.name));
            found.push((requirement.clone(), Obstacle::Index { name, quoted }));
        } else if let Some(other) = named.iter().find(|it| it.name == name) {
            let drop = format!("DROP {} {}", other.kind, pasteable(&name));
            let needed = pasteable_text(&requirement.cypher());
            found.push((requirement.clone(), Obstacle::NameTaken { name, drop, needed }));
        }
    }
    // Another instance may have made one between the two looks. An index with the name belongs to it.
    let missing = match found.is_empty() {
        true => missing,
        false => self::missing(connection, requirements).await?,
    };
    found.retain(|(requirement, _)| missing.contains(requirement));
    let mut found: Vec<Obstacle> = found.into_iter().map(|(_, obstacle)| obstacle).collect();
    // Neo4j has to plan a text for each check, so this checks only labels and types in use.
    let in_use = in_use(connection).await?;
    let missing: Vec<_> = missing.into_iter().filter(|it| in_use.contains(&it.entity)).collect();
    for (requirement, values) in violations(connection, &missing).await? {
        found.push(Obstacle::SharedValues {
            values,
            properties: shown_list(&requirement.properties),
            of: match &requirement.entity {
                Entity::Node(label) => Holders::Nodes(label.clone()),
                Entity::Relationship(of) => Holders::Relationships(of.clone()),
            },
            needed: pasteable_text(&requirement.cypher()),
        });
    }
    Ok(found)
}

/// A constraint or an index that has a name.
pub(super) struct Named {
    pub name: String,
    kind: &'static str,
    pub what: Requirement,
}

impl Named {
    pub fn is_index(&self) -> bool {
        self.kind == "INDEX"
    }
}

pub(super) async fn named(connection: &Connection) -> Result<Vec<Named>, Error> {
    let constraints = "SHOW CONSTRAINTS YIELD name, entityType, labelsOrTypes, properties \
         RETURN name, true AS unique, entityType, labelsOrTypes, properties";
    // A constraint's own index has the constraint's name.
    let indexes = "SHOW INDEXES YIELD name, type, entityType, labelsOrTypes, properties, owningConstraint \
         WHERE type = 'RANGE' AND owningConstraint IS NULL AND size(labelsOrTypes) = 1 \
         RETURN name, false AS unique, entityType, labelsOrTypes, properties";
    let mut all = Vec::new();
    for (kind, text) in [("CONSTRAINT", constraints), ("INDEX", indexes)] {
        let rows = connection.rows(Query::new(text.to_owned())).await?;
        all.extend(rows.iter().filter_map(|row| {
            Some(Named { name: row.get("name").ok()?, kind, what: requirement_of(row)? })
        }));
    }
    Ok(all)
}
