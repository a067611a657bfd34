//! Constraints and indexes: made when missing, left when there, refused when the data is not fit.

use std::collections::BTreeSet;

use wal2graph::neo4j::{
    Error,
    schema::{self, Entity, Requirement, RowLabel},
};

use wal2graph::start::Obstacle;

use super::Graph;

fn requirement(entity: Entity, unique: bool, properties: &[&str]) -> Requirement {
    let properties = properties.iter().map(|name| (*name).to_owned()).collect();
    Requirement { entity, unique, properties }
}

fn node(label: &str, unique: bool, properties: &[&str]) -> BTreeSet<Requirement> {
    BTreeSet::from([requirement(Entity::Node(label.to_owned()), unique, properties)])
}

#[tokio::test]
async fn what_is_missing_is_made_and_what_is_there_is_left() {
    let graph = Graph::new("WriterSchema").await;
    let relationship = Entity::Relationship("WRITER `SCHEMA`".to_owned());
    let mut all = node("Writer `Schema`", true, &["a b", "c"]);
    all.append(&mut node("Writer `Schema`", false, &["d"]));
    all.append(&mut node("WriterSchemaForeign", true, &["id"]));
    all.insert(requirement(relationship, false, &["_pk"]));
    for requirement in &all {
        let (kind, name) =
            (if requirement.unique { "CONSTRAINT" } else { "INDEX" }, requirement.name());
        graph.run(&format!("DROP {kind} `{}` IF EXISTS", name.replace('`', "``"))).await;
    }
    let foreign = "CREATE CONSTRAINT writer_foreign IF NOT EXISTS FOR (n:WriterSchemaForeign) REQUIRE n.id IS UNIQUE";
    graph.run(foreign).await;

    let made = schema::establish(&graph.connection, &all).await.unwrap();
    assert_eq!(made.len(), 3, "{made:?}");
    assert_eq!(schema::establish(&graph.connection, &all).await.unwrap(), []);
    assert_eq!(schema::missing(&graph.connection, &all).await.unwrap(), []);
}

#[tokio::test]
async fn a_label_and_a_relationship_type_may_have_one_name() {
    let graph = Graph::new("WriterLink").await;
    let mut all = node("WriterLink", true, &["id"]);
    all.append(&mut node("WriterLink.a", true, &["id"]));
    all.append(&mut node("WriterLink", false, &["a.id"]));
    let relationship = Entity::Relationship("WriterLink".to_owned());
    all.insert(requirement(relationship, false, &["id"]));
    schema::establish(&graph.connection, &all).await.unwrap();
    assert_eq!(schema::missing(&graph.connection, &all).await.unwrap(), []);
}

/// It knew the relationship's type only, and so refused what another join table has.
#[tokio::test]
async fn a_constraint_on_relationships_of_an_earlier_version_becomes_an_index() {
    let graph = Graph::new("WriterEarlier").await;
    let earlier = "CREATE CONSTRAINT `wal2graph_unique_WRITER_EARLIER.id` IF NOT EXISTS \
        FOR ()-[e:WRITER_EARLIER]-() REQUIRE (e.id) IS UNIQUE";
    graph.run(earlier).await;
    let theirs = "CREATE CONSTRAINT writer_theirs IF NOT EXISTS \
        FOR ()-[e:WRITER_THEIRS]-() REQUIRE (e.id) IS UNIQUE";
    graph.run(theirs).await;
    let of = |kind: &str| requirement(Entity::Relationship(kind.to_owned()), false, &["id"]);
    let all = BTreeSet::from([of("WRITER_EARLIER"), of("WRITER_THEIRS")]);
    let made = schema::establish(&graph.connection, &all).await.unwrap();
    assert_eq!(made, [of("WRITER_EARLIER")], "theirs is an index too");
    graph.run("UNWIND [1, 2] AS x CREATE (:WriterEarlier)-[:WRITER_EARLIER {id: 1}]->(:WriterEarlier)").await;
    assert_eq!(schema::establish(&graph.connection, &all).await.unwrap(), []);
}

#[tokio::test]
async fn data_that_is_not_unique_is_said_without_its_values() {
    let graph = Graph::new("WriterTwice").await;
    graph.run("UNWIND [1, 2] AS x CREATE (:WriterTwice {id: 'secret'})").await;
    let made = schema::establish(&graph.connection, &node("WriterTwice", true, &["id"])).await;
    let Err(Error::Fatal(text)) = made else { panic!("{made:?}") };
    assert!(text.contains("WriterTwice") && !text.contains("secret"), "{text}");
}

#[tokio::test]
async fn a_name_taken_by_something_else_is_said() {
    let graph = Graph::new("WriterTaken").await;
    let all = node("WriterTaken", true, &["id"]);
    graph.run("CREATE INDEX `wal2graph_unique_node_WriterTaken.id` IF NOT EXISTS FOR (n:WriterTaken) ON (n.other)").await;
    let made = schema::establish(&graph.connection, &all).await;
    let Err(Error::Fatal(text)) = made else { panic!("{made:?}") };
    assert!(text.contains("wal2graph_unique_node_WriterTaken.id"), "{text}");
}

#[tokio::test]
async fn the_server_says_what_it_is() {
    let graph = Graph::new("WriterDescribed").await;
    let server = schema::describe(&graph.connection).await.unwrap();
    assert!(server.version.starts_with("5.") || server.version.starts_with("202"), "{server:?}");
    assert_eq!((server.edition.as_str(), server.database.as_str()), ("community", "neo4j"));
    schema::may_change_schema(&graph.connection).await.unwrap();
    graph.run("UNWIND [1, 2, 3] AS x CREATE (:WriterDescribed)").await;
    graph.run("CREATE (:WriterDescribed:_Placeholder), (:WriterDescribedOnly:_Placeholder)").await;
    let rows = async |has_placeholders| {
        let labels = ["WriterDescribed", "WriterDescribedOnly", "No `such` label"];
        let label = |name: &str| RowLabel { name: name.to_owned(), has_placeholders };
        schema::rows_under(&graph.connection, &labels.map(label)).await.unwrap()
    };
    assert_eq!(rows(true).await, [("WriterDescribed".to_owned(), 3)], "a placeholder is no row");
    let all = [("WriterDescribed".to_owned(), 4), ("WriterDescribedOnly".to_owned(), 1)];
    assert_eq!(rows(false).await, all, "nobody would take it over");
    graph.run("MATCH (n:WriterDescribedOnly) DELETE n").await;
}

#[tokio::test]
async fn what_keeps_a_constraint_from_being_made_is_found_before() {
    let graph = Graph::new("WriterObstacle").await;
    let all = node("WriterObstacle", true, &["id"]);
    let obstacles = async || schema::obstacles(&graph.connection, &all).await.unwrap();
    assert_eq!(obstacles().await, []);
    graph
        .run("CREATE INDEX writer_obstacle_theirs IF NOT EXISTS FOR (n:WriterObstacle) ON (n.id)")
        .await;
    let found = obstacles().await;
    let [only] = &found[..] else { panic!("{found:?}") };
    let Obstacle::Index { name, quoted } = only else { panic!("{only:?}") };
    assert_eq!(name, "writer_obstacle_theirs");
    // The fix, word by word.
    graph.run(&format!("DROP INDEX {quoted}")).await;
    graph.run("UNWIND [1, 2] AS x CREATE (:WriterObstacle {id: 'secret'})").await;
    let found = obstacles().await;
    let [Obstacle::SharedValues { values: 1, .. }] = &found[..] else { panic!("{found:?}") };
    assert!(!found[0].to_string().contains("secret"), "{found:?}");
    graph.run("MATCH (n:WriterObstacle) DELETE n").await;
    let name = all.first().unwrap().name();
    let taken = format!("CREATE INDEX `{name}` IF NOT EXISTS FOR (n:WriterObstacle) ON (n.other)");
    graph.run(&taken).await;
    let found = obstacles().await;
    let [Obstacle::NameTaken { drop, .. }] = &found[..] else { panic!("{found:?}") };
    graph.run(drop).await;
    assert_eq!(obstacles().await, []);
    schema::establish(&graph.connection, &all).await.unwrap();
}

/// Neo4j makes a constraint's index first, and keeps it alone when who asked for the constraint is killed.
#[tokio::test]
async fn an_index_of_our_own_without_its_constraint_is_no_obstacle_and_becomes_the_constraint() {
    let graph = Graph::new("WriterLeftOver").await;
    let all = node("WriterLeftOver", true, &["id"]);
    let name = all.first().unwrap().name();
    graph.run(&format!("DROP CONSTRAINT `{name}` IF EXISTS")).await;
    graph
        .run(&format!("CREATE INDEX `{name}` IF NOT EXISTS FOR (n:WriterLeftOver) ON (n.id)"))
        .await;
    graph
        .run("CREATE INDEX writer_left_over_theirs IF NOT EXISTS FOR (n:WriterLeftOver) ON (n.a)")
        .await;
    assert_eq!(schema::obstacles(&graph.connection, &all).await.unwrap(), []);
    let made = schema::establish(&graph.connection, &all).await.unwrap();
    assert_eq!(made, all.iter().cloned().collect::<Vec<_>>());
    assert_eq!(schema::missing(&graph.connection, &all).await.unwrap(), []);
    let theirs = "SHOW INDEXES YIELD name WHERE name = 'writer_left_over_theirs' RETURN name";
    let rows = graph.connection.rows(neo4rs::Query::new(theirs.to_owned())).await.unwrap();
    assert_eq!(rows.len(), 1, "an index of another name is somebody else's");
}

#[tokio::test]
async fn two_instances_that_make_one_constraint_at_once_both_have_it() {
    let graph = Graph::new("WriterAtOnce").await;
    let all = node("WriterAtOnce", true, &["id"]);
    let name = all.first().unwrap().name();
    graph.run(&format!("DROP CONSTRAINT `{name}` IF EXISTS")).await;
    graph.run("UNWIND range(1, 20000) AS x CREATE (:WriterAtOnce {id: x})").await;
    let other = crate::support::graph();
    let (one, other) =
        tokio::join!(schema::establish(&graph.connection, &all), schema::establish(&other, &all));
    one.unwrap();
    other.unwrap();
    assert_eq!(schema::missing(&graph.connection, &all).await.unwrap(), []);
    graph.run("MATCH (n:WriterAtOnce) DELETE n").await;
}
