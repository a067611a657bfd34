//! The graph's requirements before the first row: constraints, indexes, and a suitable server.
//!
//! Without its constraint a MERGE scans the label, and two writers could create one key twice.
//! Community Edition has everything needed: uniqueness constraints on nodes, and range indexes.
//!
//! The key of a join table's relationship is unique only between its labels: other join tables, and
//! relationships of other applications, may have the same type and key. A constraint knows only the
//! type, so the key has an index instead. The writer guarantees that a key comes once: all changes
//! of a row come to one writer, in order.

mod left_over;
mod made;
mod obstacles;

use std::collections::BTreeSet;

use neo4rs::{Query, Row};

use crate::{
    graph::{
        CountOf,
        model::{Model, ReferenceBy, RelationshipKey, Shape, Table, TableIndex},
        statement::{INCOMPLETE_PROPERTY, PLACEHOLDER},
    },
    pipeline::Failure,
    start::again::pasteable_text,
};

use super::{connect::Connection, cypher::quote, error::Error, names::CHECKPOINT};

pub use made::{made, unmake};
pub use obstacles::obstacles;

/// The time limit for building an index over existing data, in seconds.
const INDEX_LIMIT_SECONDS: u32 = 600;

/// A requirement on the graph's schema.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// The label or type.
    pub entity: Entity,
    /// At most one entity has the same values.
    pub unique: bool,
    /// The properties, in the order of the key.
    pub properties: Vec<String>,
}

/// Nodes of a label, or relationships of a type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entity {
    /// Nodes with this label.
    Node(String),
    /// Relationships of this type.
    Relationship(String),
}

/// The mapping's requirements: its nodes' keys are unique. Its relationships' keys, both sides of
/// its unique references, and the mark of incomplete relationships are indexed.
pub fn requirements(model: &Model) -> BTreeSet<Requirement> {
    let mut all = BTreeSet::new();
    for (_, table) in model.iter() {
        match &table.shape {
            Shape::Relationship(shape) => {
                let of = |properties| {
                    let entity = Entity::Relationship(shape.relationship_type.clone());
                    Requirement { entity, unique: false, properties }
                };
                if let RelationshipKey::Own(key) = &shape.key {
                    all.insert(of(key.clone()));
                }
                if !shape.properties.is_empty() {
                    all.insert(of(vec![INCOMPLETE_PROPERTY.to_owned()]));
                }
            }
            Shape::Node(node) => {
                let label = || Entity::Node(node.label.clone());
                all.insert(Requirement {
                    entity: label(),
                    unique: true,
                    properties: node.key.clone(),
                });
                for reference in &node.references {
                    if let ReferenceBy::Unique { owner_properties, target_properties } =
                        &reference.by
                    {
                        let target = Entity::Node(model.node(reference.target).label.clone());
                        for (entity, properties) in
                            [(label(), owner_properties), (target, target_properties)]
                        {
                            let properties = properties.clone();
                            all.insert(Requirement { entity, unique: false, properties });
                        }
                    }
                }
            }
        }
    }
    // A constraint has an index of its own, and Neo4j refuses one beside another.
    let is_key = |it: &Requirement| all.contains(&Requirement { unique: true, ..it.clone() });
    all.iter().filter(|it| it.unique || !is_key(it)).cloned().collect()
}

impl Entity {
    /// The pattern that finds the entity as `e`; `arrow` ends a relationship's pattern.
    fn pattern(&self, arrow: &str) -> String {
        match self {
            Entity::Node(label) => format!("(e:{})", quote(label)),
            Entity::Relationship(of) => format!("()-[e:{}]{arrow}()", quote(of)),
        }
    }
}

impl Requirement {
    /// Its name in the graph, different for each requirement.
    pub fn name(&self) -> String {
        let kind = if self.unique { "unique" } else { "index" };
        let (entity, of) = match &self.entity {
            Entity::Node(label) => ("node", label),
            Entity::Relationship(of) => ("relationship", of),
        };
        let parts: Vec<_> =
            std::iter::once(of).chain(&self.properties).map(|it| name_part(it)).collect();
        format!("wal2graph_{kind}_{entity}_{}", parts.join("."))
    }

    /// The statement that makes it.
    pub fn cypher(&self) -> String {
        let pattern = self.entity.pattern("-");
        let properties: Vec<_> =
            self.properties.iter().map(|name| format!("e.{}", quote(name))).collect();
        let (name, properties) = (quote(&self.name()), properties.join(", "));
        match self.unique {
            true => format!(
                "CREATE CONSTRAINT {name} IF NOT EXISTS FOR {pattern} REQUIRE ({properties}) IS UNIQUE"
            ),
            false => format!("CREATE INDEX {name} IF NOT EXISTS FOR {pattern} ON ({properties})"),
        }
    }

    /// The query that counts the values that several entities share.
    fn shared_values(&self) -> String {
        let property = |name: &String| format!("e.{}", quote(name));
        let all: Vec<_> = self.properties.iter().map(property).collect();
        let present: Vec<_> = all.iter().map(|it| format!("{it} IS NOT NULL")).collect();
        format!(
            "MATCH {} WHERE {} WITH [{}] AS value, count(*) AS entities WHERE entities > 1 \
             RETURN count(*) AS count",
            self.entity.pattern("->"),
            present.join(" AND "),
            all.join(", ")
        )
    }

    /// Whether `other` also meets it: a uniqueness constraint is an index too.
    fn is_met_by(&self, other: &Requirement) -> bool {
        let sorted = |of: &Requirement| of.properties.iter().cloned().collect::<BTreeSet<_>>();
        self.entity == other.entity
            && (other.unique || !self.unique)
            && sorted(self) == sorted(other)
    }
}

/// A name as a part of a constraint's name. Neo4j removes blanks and control characters from the
/// end of such a name, and a dot ends a part, so these become their code points.
fn name_part(name: &str) -> String {
    let mut part = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '.' | '%' => part.push_str(&format!("%{:X}%", u32::from(character))),
            _ if character.is_whitespace() || character.is_control() => {
                part.push_str(&format!("%{:X}%", u32::from(character)));
            }
            _ => part.push(character),
        }
    }
    part
}

/// Creates the missing requirements and waits until they are usable. Keeps existing ones, except
/// constraints of an earlier version that are wrong today, and indexes that were to become constraints.
/// Returns the created ones.
///
/// `connection` needs a long answer limit: a constraint scans the existing data.
pub async fn establish(
    connection: &Connection,
    requirements: &BTreeSet<Requirement>,
) -> Result<Vec<Requirement>, Error> {
    for name in outdated(connection, requirements).await? {
        let drop = format!("DROP CONSTRAINT {} IF EXISTS", quote(&name));
        connection.run(Query::new(drop)).await?;
        tracing::info!(name, "constraint of an earlier version dropped: an index takes its place");
    }
    let mut missing = missing(connection, requirements).await?;
    if left_over::clear(connection, &missing).await? {
        missing = self::missing(connection, requirements).await?;
    }
    // One that can not be made keeps no other one away.
    let mut made = Ok(());
    for requirement in &missing {
        made = made.and(connection.run(Query::new(requirement.cypher())).await.map(drop));
    }
    made?;
    // An existing uniqueness constraint is complete. Not awaitIndexes: it would fail for failed
    // indexes of other applications.
    for index in missing.iter().filter(|it| !it.unique) {
        let wait = format!("CALL db.awaitIndex($name, {INDEX_LIMIT_SECONDS})");
        connection.rows(Query::new(wait).param("name", index.name())).await?;
    }
    // If another object has the name, IF NOT EXISTS succeeds and creates nothing.
    match self::missing(connection, requirements).await?.first() {
        None => Ok(missing),
        Some(requirement) => Err(Error::Fatal(format!(
            "{:?} exists in the graph and is something else: drop it, it must be made by: {}",
            requirement.name(),
            pasteable_text(&requirement.cypher())
        ))),
    }
}

/// The requirements that the graph does not meet.
pub async fn missing(
    connection: &Connection,
    requirements: &BTreeSet<Requirement>,
) -> Result<Vec<Requirement>, Error> {
    let existing = existing(connection).await?;
    let is_missing = |it: &&Requirement| !existing.iter().any(|other| it.is_met_by(other));
    Ok(requirements.iter().filter(is_missing).cloned().collect())
}

/// The names of our uniqueness constraints on relationships. They are wrong because the type alone
/// does not determine a relationship's owner.
async fn outdated(
    connection: &Connection,
    requirements: &BTreeSet<Requirement>,
) -> Result<Vec<String>, Error> {
    let text = "SHOW CONSTRAINTS YIELD name, type, entityType, labelsOrTypes, properties \
         WHERE type ENDS WITH 'UNIQUENESS' AND entityType = 'RELATIONSHIP' \
           AND name STARTS WITH 'wal2graph_unique_' \
         RETURN name, false AS unique, entityType, labelsOrTypes, properties";
    let rows = connection.rows(Query::new(text.to_owned())).await?;
    let ours = |row: &&Row| requirement_of(row).is_some_and(|it| requirements.contains(&it));
    Ok(rows.iter().filter(ours).filter_map(|row| row.get("name").ok()).collect())
}

async fn existing(connection: &Connection) -> Result<Vec<Requirement>, Error> {
    let constraints = "SHOW CONSTRAINTS YIELD type, entityType, labelsOrTypes, properties \
         WHERE type ENDS WITH 'UNIQUENESS' OR type ENDS WITH 'KEY' \
         RETURN true AS unique, entityType, labelsOrTypes, properties";
    let indexes = "SHOW INDEXES YIELD type, state, entityType, labelsOrTypes, properties \
         WHERE type = 'RANGE' AND state <> 'FAILED' AND size(labelsOrTypes) = 1 \
         RETURN false AS unique, entityType, labelsOrTypes, properties";
    let mut all = Vec::new();
    for text in [constraints, indexes] {
        let rows = connection.rows(Query::new(text.to_owned())).await?;
        all.extend(rows.iter().filter_map(requirement_of));
    }
    Ok(all)
}

/// A constraint of another application on what the mapping writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its name.
    pub name: String,
    /// The label or type.
    pub of: String,
    /// The properties it is about.
    pub properties: Vec<String>,
}

/// Constraints on properties that the mapping writes, but does not require. They may refuse rows
/// that the source holds.
pub async fn foreign_constraints(
    connection: &Connection,
    model: &Model,
) -> Result<Vec<Foreign>, Error> {
    let text = "SHOW CONSTRAINTS YIELD name, type, entityType, labelsOrTypes, properties \
         RETURN name, type ENDS WITH 'UNIQUENESS' AS unique, entityType, labelsOrTypes, properties ORDER BY name";
    let rows = connection.rows(Query::new(text.to_owned())).await?;
    let (needed, written) = (requirements(model), written(model));
    let foreign = |row: &Row| {
        let Requirement { entity, unique, properties } = requirement_of(row)?;
        let is_written = written.iter().any(|(of, names)| {
            *of == entity && properties.iter().any(|property| names.contains(property))
        });
        let as_unique = Requirement { entity, unique: true, properties };
        let is_needed = unique && needed.iter().any(|it| it.is_met_by(&as_unique));
        let Requirement { entity: Entity::Node(of) | Entity::Relationship(of), properties, .. } =
            as_unique;
        let name = row.get("name").ok()?;
        (is_written && !is_needed).then_some(Foreign { name, of, properties })
    };
    Ok(rows.iter().filter_map(foreign).collect())
}

/// The properties that the mapping writes, by label and type.
fn written(model: &Model) -> Vec<(Entity, BTreeSet<String>)> {
    let mut all = Vec::new();
    for (_, table) in model.iter() {
        match &table.shape {
            Shape::Node(node) => {
                let names: BTreeSet<_> = node.key.iter().chain(&node.properties).cloned().collect();
                let labels = std::iter::once(&node.label).chain(&node.extra_labels);
                all.extend(labels.map(|label| (Entity::Node(label.clone()), names.clone())));
            }
            Shape::Relationship(join) => {
                let own = match &join.key {
                    RelationshipKey::Own(own) => own.as_slice(),
                    RelationshipKey::Ends => &[],
                };
                let names = own.iter().chain(&join.properties).cloned().collect();
                all.push((Entity::Relationship(join.relationship_type.clone()), names));
            }
        }
    }
    all
}

fn requirement_of(row: &Row) -> Option<Requirement> {
    let of = row.get::<Vec<String>>("labelsOrTypes").ok()?.into_iter().next()?;
    let entity = match row.get::<String>("entityType").ok()?.as_str() {
        "NODE" => Entity::Node(of),
        _ => Entity::Relationship(of),
    };
    let properties = row.get("properties").ok()?;
    Some(Requirement { entity, unique: row.get("unique").ok()?, properties })
}

/// The facts about the server, needed before writing to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its version, such as `5.26.28`.
    pub version: String,
    /// `community` or `enterprise`.
    pub edition: String,
    /// The database that is written to.
    pub database: String,
}

/// Asks the server for its version and edition. Also fails if the database is missing or the log-in
/// is refused.
pub async fn describe(connection: &Connection) -> Result<Server, Error> {
    let text = "CALL dbms.components() YIELD name, versions, edition WHERE name = 'Neo4j Kernel' \
         CALL db.info() YIELD name AS database RETURN versions[0] AS version, edition, database";
    let rows = connection.rows(Query::new(text.to_owned())).await?;
    let field =
        |name| rows.first().and_then(|row| row.get::<String>(name).ok()).unwrap_or_default();
    Ok(Server { version: field("version"), edition: field("edition"), database: field("database") })
}

/// The id of the database that is written to. A user who may not ask is not told.
pub async fn id(connection: &Connection) -> Result<Option<String>, Error> {
    let text = "CALL db.info() YIELD id RETURN id";
    match connection.rows(Query::new(text.to_owned())).await {
        Ok(rows) => Ok(rows.first().and_then(|row| row.get::<String>("id").ok())),
        Err(error) if !error.is_transient() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The setting for the number of plans that a database keeps.
pub const PLAN_CACHE_SETTING: &str = "server.memory.query_cache.per_db_cache_num_entries";
/// Its default.
pub const PLAN_CACHE_ENTRIES: usize = 1_000;

/// Room for plans of other applications, and of our texts outside the mapping.
pub const OTHERS_PLANS: usize = 150;

/// The number of plans that the database keeps; `None` if the user may not know.
pub async fn plan_cache_entries(connection: &Connection) -> Result<Option<usize>, Error> {
    let text = format!("SHOW SETTINGS '{PLAN_CACHE_SETTING}' YIELD value RETURN value");
    let rows = connection.rows(Query::new(text)).await?;
    let value = rows.first().and_then(|row| row.get::<String>("value").ok());
    Ok(value.and_then(|value| value.parse().ok()))
}

/// For each unique requirement, the number of values that several entities share. They prevent a
/// constraint. Omits requirements without any.
pub async fn violations<'a>(
    connection: &Connection,
    requirements: &'a [Requirement],
) -> Result<Vec<(&'a Requirement, u64)>, Error> {
    let mut found = Vec::new();
    for requirement in requirements.iter().filter(|it| it.unique) {
        let rows = connection.rows(Query::new(requirement.shared_values())).await?;
        match rows.first().and_then(|row| row.get::<i64>("count").ok()) {
            None | Some(0) => {}
            Some(count) => found.push((requirement, count.unsigned_abs())),
        }
    }
    Ok(found)
}

/// A label of the mapping's nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowLabel {
    /// The label.
    pub name: String,
    /// Nodes may exist without a row, because others refer to them. They become rows when their
    /// rows come.
    pub has_placeholders: bool,
}

/// The labels of a model's nodes.
pub fn row_labels(model: &Model) -> Vec<RowLabel> {
    let label = |(index, table): (TableIndex, &Table)| match &table.shape {
        Shape::Node(node) => Some(RowLabel {
            name: node.label.clone(),
            has_placeholders: model.may_be_placeholder(index),
        }),
        Shape::Relationship(_) => None,
    };
    model.iter().filter_map(label).collect()
}

/// The number of rows in the graph under each label that has some. A placeholder counts as a row if
/// no row would take it over.
pub async fn rows_under(
    connection: &Connection,
    labels: &[RowLabel],
) -> Result<Vec<(String, u64)>, Error> {
    let mut found = Vec::new();
    let in_use = in_use(connection).await?;
    for label in labels.iter().filter(|it| in_use.contains(&Entity::Node(it.name.clone()))) {
        // Neo4j maintains the count of a label; placeholders are few.
        let name = quote(&label.name);
        let count = |pattern: &str| format!("MATCH (n:{pattern}) RETURN count(n) AS count");
        let all = count_of(connection, count(&name)).await?;
        let placeholders = match label.has_placeholders && all > 0 {
            false => 0,
            true => count_of(connection, count(&format!("{name}&{PLACEHOLDER}"))).await?,
        };
        if all > placeholders {
            found.push((label.name.clone(), all - placeholders));
        }
    }
    Ok(found)
}

/// Numbers that Neo4j keeps, but for those of placeholders, which are few.
pub async fn counts(connection: &Connection, of: &[CountOf]) -> Result<Vec<u64>, Error> {
    let mut counts = Vec::with_capacity(of.len());
    for count in of {
        counts.push(match count {
            CountOf::Rows { label } => {
                let name = quote(label);
                let placeholders =
                    format!("MATCH (n:{name}&{PLACEHOLDER}) RETURN count(n) AS count");
                let placeholders = count_of(connection, placeholders).await?;
                self::count(connection, label).await?.saturating_sub(placeholders)
            }
            CountOf::Relationships { label, relationship_type, is_outgoing } => {
                let (label, kind) = (quote(label), quote(relationship_type));
                let pattern = match is_outgoing {
                    true => format!("(:{label})-[x:{kind}]->()"),
                    false => format!("()-[x:{kind}]->(:{label})"),
                };
                let text = format!("MATCH {pattern} RETURN count(x) AS count");
                count_of(connection, text).await?
            }
        });
    }
    Ok(counts)
}

/// The labels and types that are in use.
async fn in_use(connection: &Connection) -> Result<BTreeSet<Entity>, Error> {
    let mut found = BTreeSet::new();
    let labels = Query::new("CALL db.labels() YIELD label RETURN label AS name".to_owned());
    let types =
        "CALL db.relationshipTypes() YIELD relationshipType RETURN relationshipType AS name";
    let name = |row: &Row| row.get::<String>("name").ok();
    found.extend(connection.rows(labels).await?.iter().filter_map(name).map(Entity::Node));
    let types = connection.rows(Query::new(types.to_owned())).await?;
    found.extend(types.iter().filter_map(name).map(Entity::Relationship));
    Ok(found)
}

/// How many nodes have the label: Neo4j keeps that count.
pub async fn count(connection: &Connection, label: &str) -> Result<u64, Error> {
    let text = format!("MATCH (n:{}) RETURN count(n) AS count", quote(label));
    count_of(connection, text).await
}

pub(super) async fn count_of(connection: &Connection, text: String) -> Result<u64, Error> {
    let rows = connection.rows(Query::new(text)).await?;
    Ok(rows.first().and_then(|row| row.get::<i64>("count").ok()).unwrap_or(0).unsigned_abs())
}

/// Whether the user may change the schema. Tries it and rolls it back.
pub async fn may_change_schema(connection: &Connection) -> Result<(), Error> {
    let mut transaction = connection.begin().await?;
    let text = format!(
        "CREATE CONSTRAINT _wal2graph_checkpoint_log IF NOT EXISTS FOR (c:{CHECKPOINT}) \
         REQUIRE (c.pipeline, c.log) IS UNIQUE"
    );
    transaction.run(Query::new(text)).await?;
    transaction.rollback().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Entity, Requirement};

    #[test]
    fn two_requirements_never_share_a_name() {
        let of = |entity: Entity, properties: &[&str]| Requirement {
            entity,
            unique: true,
            properties: properties.iter().map(|name| (*name).to_owned()).collect(),
        };
        let node = |label: &str| Entity::Node(label.to_owned());
        let all = [
            of(node("LINK"), &["id"]),
            of(Entity::Relationship("LINK".to_owned()), &["id"]),
            of(node("A.b"), &["c"]),
            of(node("A"), &["b", "c"]),
            of(node("A"), &["b.c"]),
            of(node("A"), &["b%2E%c"]),
            of(node("LINK"), &["id "]),
            of(node("LINK"), &["id\u{2028}"]),
            of(node("LINK"), &["id\u{1}"]),
        ];
        // A name in Neo4j's stored form.
        let blank = |c: char| c.is_whitespace() || c <= ' ';
        let names: BTreeSet<_> =
            all.iter().map(|it| it.name().trim_matches(blank).to_owned()).collect();
        assert_eq!(names.len(), all.len(), "{names:?}");
    }

    #[test]
    fn names_are_quoted() {
        let node = Requirement {
            entity: Entity::Node("A`B".to_owned()),
            unique: true,
            properties: vec!["x y".to_owned(), "z".to_owned()],
        };
        assert_eq!(
            node.cypher(),
            "CREATE CONSTRAINT `wal2graph_unique_node_A``B.x%20%y.z` IF NOT EXISTS FOR (e:`A``B`) \
             REQUIRE (e.`x y`, e.`z`) IS UNIQUE"
        );
        let index =
            Requirement { unique: false, entity: Entity::Relationship("T".to_owned()), ..node };
        assert!(index.cypher().ends_with("FOR ()-[e:`T`]-() ON (e.`x y`, e.`z`)"));
        assert!(
            !index
                .is_met_by(&Requirement { entity: Entity::Node("T".to_owned()), ..index.clone() })
        );
        let unique = Requirement { unique: true, ..index.clone() };
        assert!(
            index.is_met_by(&unique) && !unique.is_met_by(&index),
            "a uniqueness is an index too"
        );
    }
}
