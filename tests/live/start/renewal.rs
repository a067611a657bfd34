//! `repair --new-slot`, and a `run` that does the same by itself.

use std::{fs::File, time::Duration};

use tokio::time::sleep;

use super::{follow, log, number, printed, refused, run};
use crate::support::{Pipeline, eventually, holds, rounds, until};

/// A pipeline whose graph has two tables, and ghosts that only a pass over the graph finds.
async fn followed(name: &str, prefix: &str) -> Pipeline {
    let schema = format!(
        "CREATE TABLE {prefix}_things (id int PRIMARY KEY, a text, b text); \
         CREATE TABLE {prefix}_parts (id int PRIMARY KEY, thing_id int REFERENCES {prefix}_things ON DELETE CASCADE); \
         INSERT INTO {prefix}_things SELECT g, 'a' || g, 'b' FROM generate_series(1, 200) g; \
         INSERT INTO {prefix}_parts SELECT g, g FROM generate_series(1, 200) g"
    );
    let pipeline = Pipeline::new(name, &schema).await;
    pipeline.catch_up().await;
    pipeline
}

fn drop_slot(pipeline: &Pipeline) -> String {
    format!("SELECT pg_drop_replication_slot('wal2graph_{}')", pipeline.name)
}

/// Writes that no slot keeps: rows go, come, and refer to others.
fn unseen(prefix: &str) -> String {
    format!(
        "DELETE FROM {prefix}_things WHERE id <= 50; INSERT INTO {prefix}_things VALUES (300, 'new', 'b'); \
         UPDATE {prefix}_things SET a = 'changed' WHERE id BETWEEN 191 AND 200; \
         UPDATE {prefix}_parts SET thing_id = 300 WHERE id > 195"
    )
}

/// What the tables are in the graph, by label, after [`unseen`].
async fn assert_equal(prefix: &str) {
    let of = |cypher: &str| cypher.replace("Xx", prefix);
    for (cypher, expected) in [
        ("MATCH (n:XxThing) RETURN count(n) AS n", 151),
        ("MATCH (n:XxPart) RETURN count(n) AS n", 150),
        ("MATCH (n:XxThing {a: 'changed'}) RETURN count(n) AS n", 10),
        ("MATCH (:XxPart)-[r]->(:XxThing) RETURN count(r) AS n", 150),
        ("MATCH (:XxPart)-[r]->(:XxThing {id: 300}) RETURN count(r) AS n", 5),
        ("MATCH (n:_Placeholder) WHERE n:XxThing OR n:XxPart RETURN count(n) AS n", 0),
    ] {
        assert_eq!(number(&of(cypher)).await, expected, "{}", of(cypher));
    }
}

/// Each way to lose the slot, the words that say so, and the statements that do it.
#[tokio::test]
async fn every_lost_slot_ends_with_an_equal_graph_by_the_programs_own_advice() {
    let make = "SELECT pg_create_logical_replication_slot('SLOT', 'pgoutput')";
    let drop = "SELECT pg_drop_replication_slot('SLOT')";
    for (number_of, (before, after, words)) in [
        (drop.to_owned(), "SELECT 1".to_owned(), "is gone"),
        (drop.to_owned(), make.to_owned(), "ahead of the graph"),
        (
            "SELECT 1".to_owned(),
            "SELECT pg_replication_slot_advance('SLOT', pg_current_wal_lsn())".to_owned(),
            "ahead of",
        ),
        ("DROP PUBLICATION SLOT".to_owned(), "SELECT 1".to_owned(), "is gone"),
    ]
    .into_iter()
    .enumerate()
    {
        let prefix = format!("ls{number_of}");
        let pipeline = followed("lostslot", &prefix).await;
        run(&format!("MATCH (n:Ls{number_of}Thing {{id: 100}}) SET n.mine = 'stays', n:Mine"))
            .await;
        let slot = format!("wal2graph_{}", pipeline.name);
        for sql in [before, unseen(&prefix), after] {
            pipeline.sql.batch_execute(&sql.replace("SLOT", &slot)).await.unwrap();
        }
        let check = pipeline.output(&["check"]).await;
        assert!(printed(&check).contains("repair --new-slot"), "{words}: {}", printed(&check));
        let said = refused(&pipeline.output(&["run", "--until", "current"]).await);
        assert!(said.contains(words), "{words}: {said}");
        follow(&pipeline, &said).await;
        assert_equal(&format!("Ls{number_of}")).await;
        let stays = format!(
            "MATCH (n:Ls{number_of}Thing:Mine {{id: 100, mine: 'stays'}}) RETURN count(n) AS n"
        );
        assert_eq!(number(&stays).await, 1, "what others put on a row's node");
        pipeline.sql.batch_execute(&format!("UPDATE {prefix}_things SET b = 'on'")).await.unwrap();
        pipeline.catch_up().await;
        let on = format!("MATCH (n:Ls{number_of}Thing {{b: 'on'}}) RETURN count(n) AS n");
        assert_eq!(number(&on).await, 151, "it streams on");
    }
}

/// Half of a copy, and then the slot goes.
#[tokio::test]
async fn an_unfinished_copy_without_its_slot_ends_with_an_equal_graph() {
    let schema = "CREATE TABLE uc_things (id int PRIMARY KEY, v text); \
        INSERT INTO uc_things SELECT g, repeat('x', 200) FROM generate_series(1, 60000) g";
    let pipeline = Pipeline::new("unfinished", schema).await;
    let running = pipeline.start();
    eventually("it copies", "RETURN EXISTS { (:UcThing) } AS yes").await;
    running.kill();
    let progress =
        format!("MATCH (p:_Wal2GraphCopy {{pipeline: '{}'}}) RETURN count(p) AS n", pipeline.name);
    assert!(number(&progress).await > 0, "the copy was over");
    until("the slot is free", async || {
        pipeline.sql.batch_execute(&drop_slot(&pipeline)).await.is_ok()
    })
    .await;
    pipeline.sql.batch_execute("DELETE FROM uc_things WHERE id % 2 = 0").await.unwrap();
    let said = refused(&pipeline.output(&["run", "--until", "current"]).await);
    follow(&pipeline, &said).await;
    assert_eq!(number("MATCH (n:UcThing) RETURN count(n) AS n").await, 30_000);
}

/// Columns, tables, keys and references that go leave nothing of theirs.
#[ignore = "long: make nightly"]
#[tokio::test]
async fn another_mapping_ends_with_an_equal_graph_by_the_programs_own_advice() {
    let schema = "CREATE TABLE am_things (id int PRIMARY KEY, code text NOT NULL UNIQUE, a text, b text); \
        CREATE TABLE am_parts (id int PRIMARY KEY, thing_id int REFERENCES am_things); \
        CREATE TABLE am_likes (a_id int REFERENCES am_things, b_id int REFERENCES am_things, since date, PRIMARY KEY (a_id, b_id)); \
        CREATE TABLE am_gone (id int PRIMARY KEY); CREATE TABLE am_keyed (id int PRIMARY KEY, code int NOT NULL UNIQUE); \
        INSERT INTO am_things SELECT g, 'c' || g, 'a', 'b' FROM generate_series(1, 9) g; \
        INSERT INTO am_parts SELECT g, g FROM generate_series(1, 9) g; \
        INSERT INTO am_likes SELECT g, g % 9 + 1, '2020-01-01' FROM generate_series(1, 9) g; \
        INSERT INTO am_gone VALUES (1); INSERT INTO am_keyed SELECT g, g * 10 FROM generate_series(1, 9) g";
    let pipeline = Pipeline::new("othermapping", schema).await.stopping();
    pipeline.catch_up().await;
    let count = async |cypher: &str, expected: i64| {
        assert_eq!(number(&format!("MATCH {cypher} AS n")).await, expected, "{cypher}");
    };
    for (change, checks) in [
        (
            "ALTER TABLE am_things DROP COLUMN b; ALTER TABLE am_likes DROP COLUMN since; DROP TABLE am_gone",
            &[
                ("(n:AmThing) WHERE n.b IS NOT NULL RETURN count(n)", 0),
                ("()-[r:AM_LIKES]->() WHERE r.since IS NOT NULL RETURN count(r)", 0),
                ("()-[r:AM_LIKES]->() RETURN count(r)", 9),
                ("(n:AmGone) RETURN count(n)", 0),
            ][..],
        ),
        (
            "ALTER TABLE am_parts DROP CONSTRAINT am_parts_thing_id_fkey; DROP TABLE am_likes; \
             ALTER TABLE am_things RENAME a TO c; ALTER TABLE am_things ADD d int DEFAULT 7",
            &[
                ("(:AmPart)-[r]-() RETURN count(r)", 0),
                ("()-[r:AM_LIKES]->() RETURN count(r)", 0),
                ("(n:AmThing {c: 'a', d: 7}) WHERE n.a IS NULL RETURN count(n)", 9),
            ],
        ),
        (
            "ALTER TABLE am_keyed DROP CONSTRAINT am_keyed_pkey; ALTER TABLE am_keyed ADD PRIMARY KEY (code); \
             UPDATE am_keyed SET id = 1",
            &[("(n:AmKeyed {id: 1}) RETURN count(n)", 9), ("(n:AmKeyed) RETURN count(n)", 9)],
        ),
    ] {
        pipeline.sql.batch_execute(change).await.unwrap();
        let said = refused(&pipeline.output(&["run", "--until", "current"]).await);
        assert!(said.contains("repair --new-slot"), "{change}: {said}");
        follow(&pipeline, &said).await;
        for (cypher, expected) in checks {
            count(cypher, *expected).await;
        }
        pipeline.catch_up().await;
    }
}

/// kill -9 at any moment: the same command again, or `run`, goes on.
#[tokio::test]
async fn a_renewal_that_is_killed_anywhere_ends_well() {
    let schema = "CREATE TABLE rk_things (id int PRIMARY KEY, v text); \
        INSERT INTO rk_things SELECT g, 'v' FROM generate_series(1, 3000) g";
    let pipeline = Pipeline::new("renewkill", schema).await;
    pipeline.catch_up().await;
    for round in 0..rounds(3, 20) {
        pipeline.sql.batch_execute(&drop_slot(&pipeline)).await.unwrap();
        let changes = format!(
            "DELETE FROM rk_things WHERE id % 10 = {}; UPDATE rk_things SET v = 'r{round}' WHERE id % 7 = 0; \
             INSERT INTO rk_things VALUES ({}, 'new')",
            round % 10,
            100_000 + round
        );
        pipeline.sql.batch_execute(&changes).await.unwrap();
        for _ in 0..4 {
            let mut command = pipeline.command(&["repair", "--new-slot"]);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
            let running = crate::support::Running(command.spawn().unwrap());
            let life = fastrand::u64(20..2_500);
            sleep(Duration::from_millis(life)).await;
            running.kill();
            until("nobody reads from the slot", async || {
                let active =
                    "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1 AND active";
                let slot = format!("wal2graph_{}", pipeline.name);
                pipeline.sql.query_one(active, &[&slot]).await.unwrap().get::<_, i64>(0) == 0
            })
            .await;
        }
        let ended = pipeline.output(&["run", "--until", "current"]).await;
        if !ended.status.success() {
            follow(&pipeline, &log(&ended)).await;
        }
        let verified = pipeline.output(&["verify"]).await;
        assert!(verified.status.success(), "{}{}", printed(&verified), log(&verified));
        let rows: i64 =
            pipeline.sql.query_one("SELECT count(*) FROM rk_things", &[]).await.unwrap().get(0);
        assert_eq!(number("MATCH (n:RkThing) RETURN count(n) AS n").await, rows);
    }
}

#[tokio::test]
async fn a_slot_that_is_read_is_not_taken_from_its_reader() {
    let pipeline = followed("readslot", "rs").await;
    let running = pipeline.start();
    until("it reads", async || {
        let active = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1 AND active";
        let slot = format!("wal2graph_{}", pipeline.name);
        pipeline.sql.query_one(active, &[&slot]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    let output = pipeline.output(&["repair", "--new-slot"]).await;
    let said = log(&output);
    assert!(output.status.code() == Some(3) && said.contains("is in use by process"), "{said}");
    assert!(said.contains("`wal2graph repair` compares"), "{said}");
    pipeline.sql.batch_execute("INSERT INTO rs_things VALUES (900)").await.unwrap();
    eventually("it goes on", "RETURN EXISTS { (:RsThing {id: 900}) } AS yes").await;
    drop(running);
}

/// Another name of the slot: the one before does not keep the log for ever.
#[tokio::test]
async fn another_slot_takes_the_place_of_the_one_before() {
    let pipeline = followed("otherslot", "os").await;
    pipeline.sql.batch_execute(&unseen("os")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.yaml");
    let slot = format!("other_{}", pipeline.name);
    std::fs::write(&path, format!("source: {{slot: {slot}}}")).unwrap();
    let path = path.to_str().unwrap();
    let said = refused(&pipeline.output(&["run", "--until", "current", "-c", path]).await);
    assert!(said.contains("was made through") && said.contains("repair --new-slot"), "{said}");
    let output = pipeline.output(&["repair", "--new-slot", "-c", path]).await;
    assert!(output.status.success(), "{}", log(&output));
    assert_equal("Os").await;
    let slots = "SELECT string_agg(slot_name, ' ') FROM pg_replication_slots WHERE database = current_database()";
    let there: String = pipeline.sql.query_one(slots, &[]).await.unwrap().get(0);
    assert_eq!(there, slot);
}

/// While it runs, and between two runs.
#[tokio::test]
async fn a_lost_slot_is_repaired_by_run_itself_where_it_may() {
    let pipeline = followed("byitself", "bi").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file.yaml");
    std::fs::write(&file, "on_slot_lost: repair\nschema_changes: stop").unwrap();
    let (file, path) = (file.to_str().unwrap(), folder.path().join("log"));
    let running = pipeline.start_logging(&["run", "-c", file], File::create(&path).unwrap());
    let said = || std::fs::read_to_string(&path).unwrap();
    until("it streams", async || said().contains("streaming")).await;
    running.signal("STOP");
    let end =
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1";
    let slot = format!("wal2graph_{}", pipeline.name);
    pipeline.sql.query(end, &[&slot]).await.unwrap();
    until("the slot is gone", async || {
        pipeline.sql.batch_execute(&drop_slot(&pipeline)).await.is_ok()
    })
    .await;
    pipeline.sql.batch_execute(&unseen("bi")).await.unwrap();
    running.signal("CONT");
    let is_equal =
        "RETURN COUNT { (:BiThing) } = 151 AND COUNT { (:BiThing {a: 'changed'}) } = 10 AS yes";
    eventually("the graph is equal", is_equal).await;
    let settled = format!(
        "RETURN NOT EXISTS {{ (:_Wal2GraphCopy {{pipeline: '{}'}}) }} AS yes",
        pipeline.name
    );
    eventually("all is compared", &settled).await;
    assert_equal("Bi").await;
    let told = said();
    let warned = told.lines().find(|line| line.contains("on_slot_lost: repair")).unwrap_or(&told);
    assert!(warned.contains("WARN") && told.contains("is gone"), "{told}");
    drop(running);
    // Another mapping is for a person to judge.
    pipeline.sql.batch_execute("ALTER TABLE bi_things DROP COLUMN b").await.unwrap();
    let said = refused(&pipeline.output(&["run", "--until", "current", "-c", file]).await);
    assert!(said.contains("the mapping has changed"), "{said}");
    let output = pipeline.output(&["repair", "--new-slot", "-c", file]).await;
    assert!(output.status.success(), "{}", log(&output));
}

/// What is there becomes the tables' rows, or goes: placeholders and relationships, too.
#[tokio::test]
async fn a_first_copy_that_adopts_a_graph_leaves_no_ghosts() {
    let pipeline = followed("adopts", "ad").await;
    run(&format!("MATCH (c:_Wal2GraphCheckpoint {{pipeline: '{}'}}) DELETE c", pipeline.name))
        .await;
    run("MATCH (n:AdThing {id: 100}) SET n.mine = 'stays'").await;
    run("CREATE (:AdThing:_Placeholder {id: 7777})").await;
    pipeline.sql.batch_execute(&unseen("ad")).await.unwrap();
    let said = refused(&pipeline.output(&["run", "--until", "current"]).await);
    assert!(said.contains("200 of AdThing") && said.contains("--into-existing-graph"), "{said}");
    let refuse = ["run", "--until", "current", "--into-existing-graph", "refuse"];
    assert_eq!(refused(&pipeline.output(&refuse).await).matches("200 of AdThing").count(), 1);
    let adopt = ["run", "--until", "current", "--into-existing-graph", "adopt"];
    let adopted = pipeline.output(&adopt).await;
    assert!(adopted.status.success(), "{}", log(&adopted));
    assert_equal("Ad").await;
    assert!(holds("RETURN EXISTS { (:AdThing {id: 100, mine: 'stays'}) } AS yes").await);
    let verified = pipeline.output(&["verify"]).await;
    assert!(verified.status.success(), "{}", printed(&verified));
}
