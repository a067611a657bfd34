//! The graph follows the tables' shape through a topic.

use std::time::Duration;

use tokio::time::sleep;

use super::partitions::{Spread, stops};
use crate::{
    reconcile::differing,
    support::{PATIENCE, Running, eventually, holds, until},
};

/// `XX` stands for a prefix that no other test has.
const SCHEMA: &str = "
    CREATE TYPE XX_mood AS ENUM ('sad', 'happy');
    CREATE TABLE XX_people (id int PRIMARY KEY, name text, n int, mood XX_mood);
    CREATE TABLE XX_orders (id int PRIMARY KEY, person_id int, total int);
    CREATE TABLE XX_gone (id int PRIMARY KEY);
    CREATE TABLE XX_parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
    CREATE TABLE XX_first PARTITION OF XX_parts FOR VALUES FROM (0) TO (100);
    CREATE SCHEMA XX_s;
    CREATE TABLE XX_s.XX_things (id int PRIMARY KEY);
    INSERT INTO XX_s.XX_things VALUES (1);
    INSERT INTO XX_people SELECT g, 'p' || g, g, 'sad' FROM generate_series(1, 60) g;
    INSERT INTO XX_orders SELECT g, 1 + g % 60, g FROM generate_series(1, 60) g;
    INSERT INTO XX_gone SELECT generate_series(1, 20);
    INSERT INTO XX_parts SELECT g, 'v' FROM generate_series(1, 40) g";

/// A change of the tables, and what is so then. `PUB` is the publication.
const CHANGES: &[(&str, &str)] = &[
    (
        "ALTER TABLE XX_people ADD COLUMN c text DEFAULT 'dflt'; UPDATE XX_people SET name = 'u' WHERE id = 1",
        "RETURN COUNT { (:XxPerson {c: 'dflt'}) } = 60 AND EXISTS { (:XxPerson {id: 1, name: 'u'}) } AS yes",
    ),
    (
        "ALTER TABLE XX_people ALTER n TYPE int USING n * 100",
        "RETURN EXISTS { (:XxPerson {id: 7, n: 700}) } AS yes",
    ),
    (
        "UPDATE XX_people SET name = 'v' WHERE id = 2; ALTER TABLE XX_people RENAME name TO title; \
         UPDATE XX_people SET title = 'w' WHERE id = 3",
        "RETURN COUNT { (p:XxPerson) WHERE p.title IS NOT NULL AND p.name IS NULL } = 60 \
         AND EXISTS { (:XxPerson {id: 2, title: 'v'}) } AND EXISTS { (:XxPerson {id: 3, title: 'w'}) } AS yes",
    ),
    (
        "ALTER TABLE XX_people DROP COLUMN c",
        "RETURN COUNT { (p:XxPerson) WHERE p.c IS NULL } = 60 AS yes",
    ),
    (
        "ALTER TYPE XX_mood RENAME VALUE 'sad' TO 'blue'",
        "RETURN COUNT { (:XxPerson {mood: 'blue'}) } = 60 AS yes",
    ),
    (
        "ALTER TABLE XX_orders ADD FOREIGN KEY (person_id) REFERENCES XX_people",
        "RETURN COUNT { (:XxOrder)-[:PERSON]->(:XxPerson) } = 60 AS yes",
    ),
    (
        "CREATE TABLE XX_new (id int PRIMARY KEY, v text); INSERT INTO XX_new VALUES (1, 'a'), (2, 'b')",
        "RETURN COUNT { (n:XxNew) WHERE n.v IS NOT NULL } = 2 AS yes",
    ),
    (
        // It does not take the name of the one that is there.
        "CREATE TABLE XX_things (id int PRIMARY KEY); INSERT INTO XX_things VALUES (1), (2)",
        "RETURN COUNT { (:XxThing) } = 1 AND COUNT { (:PublicXxThing) } = 2 AS yes",
    ),
    ("DROP TABLE XX_gone", "RETURN COUNT { (:XxGone) } = 0 AS yes"),
    (
        "CREATE TABLE XX_second (id int PRIMARY KEY, v text); INSERT INTO XX_second VALUES (101, 'x'), (102, 'y'); \
         ALTER TABLE XX_parts ATTACH PARTITION XX_second FOR VALUES FROM (100) TO (200)",
        "RETURN COUNT { (:XxPart) } = 42 AS yes",
    ),
    ("TRUNCATE XX_first", "RETURN COUNT { (:XxPart) } = 2 AS yes"),
    (
        "ALTER PUBLICATION PUB DROP TABLE XX_orders; DELETE FROM XX_orders WHERE id > 30; \
         ALTER PUBLICATION PUB ADD TABLE ONLY XX_orders",
        "RETURN COUNT { (:XxOrder) } = 30 AS yes",
    ),
    (
        "DROP TABLE XX_new; CREATE TABLE XX_new (id int PRIMARY KEY, v text); INSERT INTO XX_new VALUES (2, 'c')",
        "RETURN COUNT { (:XxNew) } = 1 AND EXISTS { (:XxNew {id: 2, v: 'c'}) } AS yes",
    ),
    (
        "UPDATE XX_people SET n = 5 WHERE id = 5; ALTER TABLE XX_people RENAME id TO nr; \
         UPDATE XX_people SET n = 6 WHERE nr = 6",
        "RETURN COUNT { (p:XxPerson) WHERE p.nr IS NOT NULL AND p.id IS NULL } = 60 \
         AND EXISTS { (:XxPerson {nr: 5, n: 5}) } AND EXISTS { (:XxPerson {nr: 6, n: 6}) } AS yes",
    ),
];

async fn change(spread: &Spread, sql: &str, prefix: &str) {
    let publication = format!("wal2graph_{}", spread.pipeline.name);
    // One by one: some are refused within a transaction.
    for statement in sql.split("; ") {
        let statement =
            statement.replace("XX", prefix).replace(" PUB ", &format!(" {publication} "));
        let done = spread.pipeline.sql.batch_execute(&statement).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

/// Nothing is to be compared any more, and all is equal.
pub async fn is_equal(spread: &Spread) {
    let open = format!(
        "RETURN NOT EXISTS {{ (r:_Wal2GraphRequest {{pipeline: '{}'}}) WHERE r.state IN ['asked', 'running'] }} AS yes",
        spread.pipeline.name
    );
    eventually("all is compared", &open).await;
    let (is_right, findings) = spread.compared("verify").await;
    assert!(is_right && differing(&findings) == 0, "{findings:#}");
}

/// All changes, one after the other, with two processes, one of which is killed now and then.
async fn each_is_followed(name: &str, prefix: &str, section: &str) {
    let spread = Spread::with(name, &SCHEMA.replace("XX", prefix), section).await;
    let mut publish = spread.start("publish");
    let mut processes = vec![spread.start("apply"), spread.start("apply")];
    let label = format!("{}{}", prefix[..1].to_uppercase(), &prefix[1..]);
    let of = |cypher: &str| cypher.replace("Xx", &label);
    eventually(
        "all is copied",
        &of("RETURN COUNT { (:XxPart) } = 40 AND COUNT { (:XxPerson) } = 60 AS yes"),
    )
    .await;
    for (round, (sql, cypher)) in CHANGES.iter().enumerate() {
        change(&spread, sql, prefix).await;
        if round % 4 == 1 {
            sleep(Duration::from_millis(2_500)).await;
            processes.remove(0).kill();
            processes.push(spread.start("apply"));
        }
        until(sql, async || {
            for process in processes.iter_mut().chain([&mut publish]) {
                assert!(process.0.try_wait().unwrap().is_none(), "it has ended");
            }
            holds(&of(cypher)).await
        })
        .await;
    }
    is_equal(&spread).await;
    for process in &mut processes {
        stops(process).await;
    }
}

#[tokio::test]
async fn tables_that_change_while_two_processes_apply_three_partitions_are_followed() {
    each_is_followed("kfollow", "kfa", "partitions: 3").await;
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn tables_that_change_while_each_has_a_topic_are_followed() {
    each_is_followed("kfollowtable", "kfb", "topics_by: table").await;
}

/// A publication that lacked operations was forgotten once it was put right, and a table that was created while nobody
/// was up ended the next start of `publish`.
#[tokio::test]
async fn what_a_publication_lacked_is_compared_once_it_is_put_right() {
    let schema = "CREATE TABLE kfd_a (id int PRIMARY KEY, v text); CREATE TABLE kfd_b (id int PRIMARY KEY); \
                  INSERT INTO kfd_a SELECT g, 'a' FROM generate_series(1, 20) g; INSERT INTO kfd_b VALUES (1), (2)";
    let spread = Spread::with("kfollowlacked", schema, "partitions: 1").await;
    let mut running = [spread.start("publish"), spread.start("apply")];
    eventually("all is copied", "RETURN COUNT { (:KfdA) } = 20 AS yes").await;
    change(&spread, "ALTER PUBLICATION PUB SET (publish = 'insert')", "kfd").await;
    for process in &mut running {
        let status = process.status(PATIENCE).await;
        assert_eq!(status.and_then(|it| it.code()), Some(1), "it went on: {}", spread.said());
    }
    assert!(spread.said().contains("compares what was missed"), "{}", spread.said());
    let sql = "DELETE FROM XX_a WHERE id = 7; UPDATE XX_a SET v = 'missed' WHERE id = 8; \
               ALTER PUBLICATION PUB SET (publish = 'insert, update, delete, truncate'); \
               ALTER PUBLICATION PUB DROP TABLE XX_b; CREATE TABLE XX_late (id int PRIMARY KEY); \
               INSERT INTO XX_late VALUES (1)";
    change(&spread, sql, "kfd").await;
    let _running = [spread.start("publish"), spread.start("apply")];
    let is_so = "RETURN COUNT { (:KfdA) } = 19 AND EXISTS { (:KfdA {id: 8, v: 'missed'}) } \
                 AND COUNT { (:KfdLate) } = 1 AND COUNT { (:KfdB) } = 2 AS yes";
    eventually("what was missed is there", is_so).await;
}

/// What changed while nobody was up is found by the next start. `apply` passes over what has no key any more.
#[tokio::test]
async fn tables_that_change_while_nobody_is_up_are_followed() {
    let spread = Spread::with("kfollowdown", &SCHEMA.replace("XX", "kfc"), "partitions: 2").await;
    spread.catch_up().await;
    change(
        &spread,
        "UPDATE XX_people SET n = 9 WHERE id = 9; DELETE FROM XX_people WHERE id = 10",
        "kfc",
    )
    .await;
    let (code, said) = spread.output(&["publish", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{said}");
    let sql = "ALTER TABLE XX_people RENAME id TO nr; ALTER TABLE XX_people ALTER n TYPE int USING n + 1; \
               ALTER TABLE XX_orders ADD COLUMN late int DEFAULT 3";
    change(&spread, sql, "kfc").await;
    let _running: [Running; 2] = [spread.start("publish"), spread.start("apply")];
    let is_so = "RETURN COUNT { (p:KfcPerson) WHERE p.id IS NULL AND p.nr IS NOT NULL } = 59 \
                 AND EXISTS { (:KfcPerson {nr: 9, n: 10}) } AND COUNT { (:KfcOrder {late: 3}) } = 60 AS yes";
    eventually("it follows", is_so).await;
    is_equal(&spread).await;
}

/// No record says that a table was rewritten, or that another one took its name.
#[tokio::test]
async fn a_replay_over_changes_of_tables_brought_back_rows_from_before_them() {
    let schema = "CREATE TABLE kfe_made (id int PRIMARY KEY); INSERT INTO kfe_made SELECT generate_series(1, 20); \
                  CREATE TABLE kfe_typed (id int PRIMARY KEY, n int); INSERT INTO kfe_typed VALUES (1, 1), (2, 2)";
    let spread = Spread::with("kfollowreplay", schema, "partitions: 2").await;
    let both = || [spread.start("publish"), spread.start("apply")];
    let mut running = both();
    eventually(
        "all is copied",
        "RETURN COUNT { (:KfeMade) } = 20 AND COUNT { (:KfeTyped) } = 2 AS yes",
    )
    .await;
    let sql = "DROP TABLE XX_made; CREATE TABLE XX_made (id int PRIMARY KEY); INSERT INTO XX_made VALUES (7), (30); \
               ALTER TABLE XX_typed ALTER n TYPE int USING n * 100; UPDATE XX_typed SET n = 5 WHERE id = 2";
    change(&spread, sql, "kfe").await;
    let is_so = "RETURN COUNT { (:KfeMade) } = 2 AND EXISTS { (:KfeMade {id: 30}) } \
                 AND EXISTS { (:KfeTyped {id: 1, n: 100}) } AND EXISTS { (:KfeTyped {id: 2, n: 5}) } AS yes";
    eventually("the changes are followed", is_so).await;
    is_equal(&spread).await;
    for process in &mut running {
        stops(process).await;
    }
    let (code, said) = spread.output(&["replay", "--from", "earliest"]).await;
    assert_eq!(code, Some(0), "{said}");
    let _running = both();
    until("it has applied everything again", async || {
        let checkpoints = spread.checkpoints().await;
        spread.said().contains("the offsets were reset")
            && checkpoints.iter().all(|it| it.replaying.is_none())
    })
    .await;
    is_equal(&spread).await;
    assert!(holds(is_so).await);
}

/// Records that are older than an ALTER TABLE have values that are none of the new type.
#[tokio::test]
async fn records_of_a_type_that_is_another_one_now_ended_apply() {
    let schema = "CREATE TABLE kp17g_a (id int PRIMARY KEY, n int); \
                  INSERT INTO kp17g_a SELECT g, g FROM generate_series(1, 20) g";
    let spread = Spread::with("kp17g", schema, "partitions: 2").await;
    spread.catch_up().await;
    let sql = "UPDATE XX_a SET n = n + 1; INSERT INTO XX_a VALUES (21, 21); DELETE FROM XX_a WHERE id = 3";
    change(&spread, sql, "kp17g").await;
    let (code, said) = spread.output(&["publish", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{said}");
    change(&spread, "ALTER TABLE XX_a ALTER n TYPE boolean USING n > 10", "kp17g").await;
    let mut running = [spread.start("publish"), spread.start("apply")];
    let is_so =
        "RETURN COUNT { (:Kp17gA {n: true}) } = 12 AND COUNT { (:Kp17gA {n: false}) } = 8 AS yes";
    until("the new values are there", async || {
        assert!(running[1].0.try_wait().unwrap().is_none(), "it has ended: {}", spread.said());
        holds(is_so).await
    })
    .await;
    // The same while it runs.
    let sql = "UPDATE XX_a SET n = NOT n WHERE id = 1; ALTER TABLE XX_a ALTER n TYPE bytea USING 'x'; \
               UPDATE XX_a SET n = 'y' WHERE id = 2";
    change(&spread, sql, "kp17g").await;
    until("the newest values are there", async || {
        for process in &mut running {
            assert!(process.0.try_wait().unwrap().is_none(), "it has ended: {}", spread.said());
        }
        holds("RETURN COUNT { (a:Kp17gA) WHERE a.n IS NOT NULL AND NOT a.n IN [true, false] } = 20 AS yes").await
    })
    .await;
    is_equal(&spread).await;
}
