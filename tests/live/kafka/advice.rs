//! What is advised where a graph does not go on, followed word by word to an equal graph.

use neo4rs::Query;

use super::{kafka, partitions::Spread};
use crate::support::{PATIENCE, graph, holds, until};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

/// Does what the text says, in its order: topics, source, graph, and then each command behind "Then".
async fn follow(spread: &Spread, text: &str) {
    let topics =
        text.split_once("In Kafka, delete ").expect(text).1.split(" (or name").next().unwrap();
    let pattern = match topics.split_once("--delete --topic ") {
        Some((_, pattern)) => pattern.trim_matches('\''),
        None => topics.strip_prefix("the topic ").expect(text),
    };
    let gone = kafka().tool(TOPICS, &["--delete", "--topic", pattern]);
    gone.unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let is_gone = async || {
        let list = kafka().tool(TOPICS, &["--list"]).unwrap();
        !list.lines().any(|topic| topic.starts_with(&spread.topic()))
    };
    until("the topics are gone", is_gone).await;
    let steps = text.split_once("In Kafka, delete ").expect(text).1;
    for line in steps.lines().map(str::trim) {
        if line.starts_with("SELECT pg_drop_replication_slot") {
            let sql = &spread.pipeline.sql;
            until("the slot is free", async || sql.batch_execute(line).await.is_ok()).await;
        } else if line.starts_with("MATCH ") {
            graph()
                .run_alone(Query::new(line.trim_end_matches(';').to_owned()), PATIENCE)
                .await
                .unwrap();
        } else if line.starts_with("Then start `wal2graph publish`, and `wal2graph apply`") {
            return spread.catch_up().await;
        }
    }
    panic!("the steps have no end: {text}");
}

/// It is refused; all that it says.
async fn refused(spread: &Spread, arguments: &[&str], cause: &str) -> String {
    let (code, said) = spread.output(arguments).await;
    assert!(code == Some(1) && said.contains(cause), "{cause:?}: {code:?} {said}");
    said
}

async fn is_so(cypher: &str) {
    assert!(holds(cypher).await, "{cypher}");
}

/// The topic's copy had no values of the column, and the graph stayed without them for good.
async fn a_new_column(name: &str, prefix: &str, section: &str) {
    let schema = format!(
        "CREATE TABLE {prefix}_things (id int PRIMARY KEY, name text);
         INSERT INTO {prefix}_things SELECT g, 'a' FROM generate_series(1, 20) g"
    );
    let spread = Spread::stopping(name, &schema, section).await;
    spread.catch_up().await;
    let change = format!(
        "ALTER TABLE {prefix}_things ADD COLUMN c text DEFAULT 'dflt';
         UPDATE {prefix}_things SET name = 'u' WHERE id = 1; DELETE FROM {prefix}_things WHERE id = 2"
    );
    spread.pipeline.sql.batch_execute(&change).await.unwrap();
    let (code, said) = spread.output(&["publish", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{said}");
    let text = refused(&spread, &["apply", "--until", "current"], "the mapping has changed").await;
    let checked = refused(&spread, &["check"], "the mapping has changed").await;
    assert!(checked.contains("publish a new topic"), "one advice: {checked}");
    follow(&spread, &text).await;
    let label = format!("{}{}Thing", prefix[..1].to_uppercase(), &prefix[1..]);
    is_so(&format!("MATCH (n:{label}) RETURN count(n) = 19 AND count(CASE n.c WHEN 'dflt' THEN 1 END) = 19 AS yes"))
        .await;
    let (code, said) = spread.output(&["check"]).await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn a_graph_was_to_be_filled_from_a_topic_without_the_new_columns_values() {
    a_new_column("newcolumn", "nca", "partitions: 1").await;
}

#[tokio::test]
async fn a_graph_was_to_be_filled_from_tables_topics_without_the_new_columns_values() {
    a_new_column("newcolumns", "ncb", "topics_by: table").await;
}

/// The topic is what lacked the changes.
#[tokio::test]
async fn a_graph_was_to_be_filled_from_a_topic_that_the_publication_kept_changes_from() {
    let schema = "CREATE TABLE mop_things (id int PRIMARY KEY, name text);
        INSERT INTO mop_things SELECT g, 'a' FROM generate_series(1, 20) g";
    let spread = Spread::with("misses", schema, "partitions: 1").await;
    spread.catch_up().await;
    let publication = format!("wal2graph_{}", spread.pipeline.name);
    let change = format!(
        "ALTER PUBLICATION {publication} SET (publish = 'insert, update'); DELETE FROM mop_things WHERE id < 3"
    );
    spread.pipeline.sql.batch_execute(&change).await.unwrap();
    let text = refused(&spread, &["check"], "misses operations").await;
    let statement = text.split_once("fix: ALTER PUBLICATION ").expect(&text).1;
    let statement = statement.split_once(". That alone").expect(&text).0;
    let sql = format!("ALTER PUBLICATION {statement}");
    spread.pipeline.sql.batch_execute(&sql).await.unwrap();
    follow(&spread, &text).await;
    is_so("MATCH (n:MopThing) RETURN count(n) = 18 AS yes").await;
}

/// The cause that was named was a replica identity that is right, and "copy again" had no steps.
#[tokio::test]
async fn a_record_from_before_a_key_column_was_renamed_was_said_to_lack_the_replica_identity() {
    let schema = "CREATE TABLE rkc_things (id int PRIMARY KEY, name text);
        INSERT INTO rkc_things SELECT g, 'a' FROM generate_series(1, 5) g";
    let spread = Spread::stopping("renamedkey", schema, "partitions: 1").await;
    let (code, said) = spread.output(&["publish", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{said}");
    let rename = "ALTER TABLE rkc_things RENAME id TO nr";
    spread.pipeline.sql.batch_execute(rename).await.unwrap();
    let cause = "does not carry key column \"nr\", which is in the table's key now";
    let text = refused(&spread, &["apply", "--until", "current"], cause).await;
    assert!(!text.contains("REPLICA IDENTITY"), "{text}");
    follow(&spread, &text).await;
    is_so("MATCH (n:RkcThing) RETURN count(n.nr) = 5 AS yes").await;
}

/// `check` advised to delete a topic that is another pipeline's.
#[tokio::test]
async fn the_topic_of_anothers_table_was_advised_to_be_deleted() {
    let schema = "CREATE TABLE ott_things (id int PRIMARY KEY); INSERT INTO ott_things VALUES (1)";
    let owner = Spread::with("tableowner", schema, "topics_by: table").await;
    let (code, said) = owner.output(&["publish", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{said}");
    let section = format!("topic: {}.public.ott_things", owner.topic());
    let guest = Spread::with("tableguest", schema, &section).await;
    for arguments in [&["check"][..], &["apply", "--until", "current"]] {
        let said = refused(&guest, arguments, "belongs to the pipeline").await;
        assert!(!said.contains("delete"), "{said}");
    }
}

/// A start that is refused made topics before.
#[tokio::test]
async fn a_refused_publisher_of_tables_topics_made_some_before_it_looked() {
    let schema = "CREATE TABLE rft_things (id int PRIMARY KEY)";
    let owner = Spread::with("prefixowner", schema, "topics_by: table").await;
    let (code, said) = owner.output(&["publish", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{said}");
    let section = format!("topics_by: table\n  topic: {}", owner.topic());
    let guest =
        Spread::with("prefixguest", "CREATE TABLE rft_others (id int PRIMARY KEY)", &section);
    let guest = guest.await;
    refused(&guest, &["publish", "--until", "current"], "belongs to the pipeline").await;
    let list = kafka().tool(TOPICS, &["--list"]).unwrap();
    assert!(!list.contains("rft_others"), "{list}");
}

/// A table that was dropped and made again was copied into the topic beside its rows of before, without a word.
async fn a_table_made_again(name: &str, prefix: &str, section: &str) {
    let create = format!("CREATE TABLE {prefix}_things (id int PRIMARY KEY)");
    let keep = format!("CREATE TABLE {prefix}_kept (id int PRIMARY KEY)");
    let insert = format!("INSERT INTO {prefix}_things VALUES (1), (2)");
    let spread = Spread::stopping(name, &format!("{create}; {keep}; {insert}"), section).await;
    spread.catch_up().await;
    let again = format!(
        "DROP TABLE {prefix}_things; {create}; INSERT INTO {prefix}_things VALUES (2), (3);
         ALTER PUBLICATION wal2graph_{} ADD TABLE ONLY {prefix}_things",
        spread.pipeline.name
    );
    spread.pipeline.sql.batch_execute(&again).await.unwrap();
    let said = "copied again into a topic that may have rows from before";
    let (_, checked) = spread.output(&["check"]).await;
    assert!(checked.contains("warning") && checked.contains(said), "{checked}");
    let (code, log) = spread.output(&["publish", "--until", "current"]).await;
    assert!(code == Some(0) && log.contains("WARN") && log.contains(said), "{log}");
    let (_, checked) = spread.output(&["check"]).await;
    let gone = "that the source does not have any more (object ids";
    assert!(checked.contains(gone), "{checked}");
    let (_, status) = spread.output(&["status"]).await;
    assert!(status.contains("warning ") && status.contains(gone), "{status}");
}

#[tokio::test]
async fn a_table_that_was_made_again_was_copied_again_without_a_word() {
    a_table_made_again("madeagain", "mda", "partitions: 1").await;
}

#[tokio::test]
async fn a_table_of_its_own_topic_that_was_made_again_was_copied_again_without_a_word() {
    a_table_made_again("madeagains", "mdb", "topics_by: table").await;
}

/// The broker refused the record, and its error named neither topic, nor table, nor size.
#[tokio::test]
async fn a_record_too_large_for_one_of_the_tables_topics_was_not_named() {
    let schema = "CREATE TABLE rtl_things (id int PRIMARY KEY, body text); CREATE TABLE rtl_kept (id int PRIMARY KEY);
        INSERT INTO rtl_things VALUES (1, 'small')";
    let spread = Spread::with("toolarges", schema, "topics_by: table").await;
    spread.catch_up().await;
    let topic = format!("{}.public.rtl_things", spread.topic());
    let alter = ["--alter", "--topic", &topic, "--add-config", "max.message.bytes=3000"];
    kafka().tool("kafka.admin.ConfigCommand", &alter).unwrap();
    let grow = "UPDATE rtl_things SET body = (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 500) g)";
    spread.pipeline.sql.batch_execute(grow).await.unwrap();
    let said =
        refused(&spread, &["publish", "--until", "current"], "a row of public.rtl_things").await;
    assert!(said.contains(&format!("more than the topic {topic} takes")), "{said}");
    assert!(said.contains("Raise max.message.bytes"), "{said}");
}

/// Changes are lost with the slot. The graph is emptied, and filled from a topic that begins with a copy.
#[tokio::test]
async fn a_publisher_without_its_slot_ends_with_an_equal_graph() {
    let schema = "CREATE TABLE lsl_things (id int PRIMARY KEY, name text);
        INSERT INTO lsl_things SELECT g, 'a' FROM generate_series(1, 20) g";
    let spread = Spread::with("lostslot", schema, "partitions: 1").await;
    spread.catch_up().await;
    let sql = &spread.pipeline.sql;
    let slot = format!("wal2graph_{}", spread.pipeline.name);
    let dropped = format!("SELECT pg_drop_replication_slot('{slot}')");
    until("the slot is free", async || sql.batch_execute(&dropped).await.is_ok()).await;
    let lost = "DELETE FROM lsl_things WHERE id < 5; INSERT INTO lsl_things VALUES (30, 'lost');
        UPDATE lsl_things SET name = 'lost' WHERE id = 10";
    sql.batch_execute(lost).await.unwrap();
    let text = refused(&spread, &["publish", "--until", "current"], "is gone").await;
    let topic = text.split_once("delete the topic ").expect(&text).1.split(" (or name").next();
    let topic = topic.expect(&text).to_owned();
    kafka().tool(TOPICS, &["--delete", "--topic", &topic]).unwrap();
    let is_gone = async || {
        let list = kafka().tool(TOPICS, &["--list"]).unwrap();
        !list.lines().any(|it| it == topic)
    };
    until("the topic is gone", is_gone).await;
    let (code, said) = spread.output(&["publish", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{said}");
    let text = refused(&spread, &["apply", "--until", "current"], "deleted and made again").await;
    for line in text.lines().map(str::trim).filter(|line| line.starts_with("MATCH ")) {
        let cypher = Query::new(line.trim_end_matches(';').to_owned());
        graph().run_alone(cypher, PATIENCE).await.unwrap();
    }
    for command in [&["replay", "--from", "earliest"][..], &["apply", "--until", "current"]] {
        let (code, said) = spread.output(command).await;
        assert_eq!(code, Some(0), "{text}\n{said}");
    }
    is_so("MATCH (n:LslThing) RETURN count(n) = 17 AND count(CASE n.name WHEN 'lost' THEN 1 END) = 2 AS yes")
        .await;
}
