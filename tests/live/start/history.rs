//! The source's history is the graph's history.

use std::fs::File;

use wal2graph::{
    checkpoint::{Newest, Position},
    cli::Global,
    config::Config,
    lsn::Lsn,
    postgres::setup,
    service::proof,
    start::Slot,
};
use wal2graph_servers::Stop;

use super::{follow, log, number, printed, refused};
use crate::support::{PATIENCE, Pipeline, Restorable, client, document, eventually, until};

/// The same identifier and the same timeline: only the log's end tells.
#[tokio::test]
async fn a_source_put_back_to_an_older_state_is_refused_by_every_command() {
    let mut source = Restorable::start();
    let schema = "CREATE TABLE pb_things (id int PRIMARY KEY, v text); INSERT INTO pb_things VALUES (1, 'base')";
    let mut pipeline = Pipeline::on(&source.server, "putback", schema).await;
    pipeline.catch_up().await;
    source.keep();
    pipeline.sql = client(&pipeline.source_url).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut running = pipeline.start_logging(&["run"], File::create(&path).unwrap());
    let rows = "INSERT INTO pb_things SELECT g, 'lost' FROM generate_series(10, 5000) g";
    pipeline.sql.batch_execute(rows).await.unwrap();
    eventually("it streams", "RETURN EXISTS { (:PbThing {id: 5000}) } AS yes").await;
    // While it runs: it connects again, and finds another server.
    source.put_back();
    assert_eq!(running.ended(PATIENCE).await, Some(1));
    let ended = std::fs::read_to_string(&path).unwrap();
    assert!(ended.contains("put back to an older state"), "{ended}");
    pipeline.sql = client(&pipeline.source_url).await;
    let acknowledged =
        "SELECT confirmed_flush_lsn <= pg_current_wal_flush_lsn() FROM pg_replication_slots";
    let is_within: bool = pipeline.sql.query_one(acknowledged, &[]).await.unwrap().get(0);
    assert!(is_within, "the slot was acknowledged beyond the server's own log");
    pipeline.sql.batch_execute("INSERT INTO pb_things VALUES (2, 'after')").await.unwrap();
    let check = pipeline.output(&["check"]).await;
    assert!(printed(&check).contains("put back to an older state"), "{}", printed(&check));
    assert_eq!(check.status.code(), Some(1));
    let status = pipeline.output(&["status", "--json"]).await;
    assert_eq!(status.status.code(), Some(1), "{}", log(&status));
    let status = document::status(&printed(&status));
    assert_eq!(
        (&status["state"], &status["lag"]["applied_bytes"]),
        (&"refused".into(), &serde_json::Value::Null)
    );
    let said = refused(&pipeline.output(&["wait", "--timeout", "60s"]).await);
    assert!(said.contains("put back to an older state"), "{said}");
    let said = refused(&pipeline.output(&["run", "--until", "current"]).await);
    assert!(said.contains("put back to an older state"), "{said}");
    follow(&pipeline, &said).await;
    pipeline.catch_up().await;
    assert_eq!(number("MATCH (n:PbThing) RETURN count(n) AS n").await, 2);
    assert_eq!(number("MATCH (n:PbThing {id: 2, v: 'after'}) RETURN count(n) AS n").await, 1);
    assert!(pipeline.output(&["check"]).await.status.success());
}

/// Between the look at the slot and the look into it.
#[tokio::test]
async fn a_slot_that_somebody_begins_to_read_fails_no_look_at_it() {
    let schema = "CREATE TABLE kqh_things (id int PRIMARY KEY)";
    let pipeline = Pipeline::new("kqh", schema).await;
    let _running = pipeline.start();
    let flags = Global { source_url: Some(pipeline.source_url.clone()), ..Global::default() };
    let config = Config::load(&flags, &|_| None).unwrap();
    let slot = async || setup::slot(&pipeline.sql, &config.slot).await.unwrap();
    let is_read = |slot: &Slot| slot.active_pid.is_some() && slot.confirmed.is_some();
    until("it is read", async || slot().await.as_ref().is_some_and(is_read)).await;
    let free = Slot { active_pid: None, ..slot().await.unwrap() };
    let at = Position::at(Lsn(free.confirmed.unwrap().0 + 1_000));
    let followed = (at, Some(Newest::Nothing));
    proof::look(&config, &pipeline.sql, Some(&free), followed).await.unwrap();
}

/// Where the slot is.
async fn confirmed(pipeline: &Pipeline) -> u64 {
    pipeline.positions().await.1.expect("there is a slot")
}

/// Nothing that the server says of itself is different then: only its slot and its log tell.
#[tokio::test]
async fn a_source_put_back_to_an_older_state_and_written_past_the_graph_is_refused() {
    let mut source = Restorable::start();
    let schema = "CREATE TABLE pp_things (id int PRIMARY KEY, v text); INSERT INTO pp_things VALUES (1, 'base')";
    let mut pipeline = Pipeline::on(&source.server, "putpast", schema).await;
    pipeline.catch_up().await;
    source.keep();
    pipeline.sql = client(&pipeline.source_url).await;
    let rows = "INSERT INTO pp_things SELECT g, 'lost' FROM generate_series(10, 100) g";
    pipeline.sql.batch_execute(rows).await.unwrap();
    pipeline.catch_up().await;
    let reached = pipeline.positions().await.0.unwrap();
    source.put_back();
    pipeline.sql = client(&pipeline.source_url).await;
    let flushed = "SELECT (pg_current_wal_flush_lsn() - '0/0')::int8";
    let rows = "INSERT INTO pp_things SELECT coalesce(max(id), 0) + 1, 'kept' FROM pp_things";
    while pipeline.sql.query_one(flushed, &[]).await.unwrap().get::<_, i64>(0) <= reached as i64 {
        pipeline.sql.batch_execute(rows).await.unwrap();
    }
    let before = confirmed(&pipeline).await;
    assert!(before < reached, "the slot was put back too");
    for _ in 0..2 {
        let check = printed(&pipeline.output(&["check"]).await);
        assert!(
            check.contains("put back to an older state") && check.contains("repair --new-slot"),
            "{check}"
        );
        let status = pipeline.output(&["status", "--json"]).await;
        assert_eq!(status.status.code(), Some(1), "{}", log(&status));
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
        assert_eq!(status["state"], "refused", "{status:#}");
        let said = refused(&pipeline.output(&["run", "--until", "current"]).await);
        assert!(said.contains("put back to an older state") && said.contains("is gone"), "{said}");
        assert_eq!(confirmed(&pipeline).await, before, "nothing is acknowledged");
        assert_eq!(number("MATCH (n:PpThing) RETURN count(n) AS n").await, 92, "nor applied");
    }
    let said = refused(&pipeline.output(&["run"]).await);
    follow(&pipeline, &said).await;
    pipeline.catch_up().await;
    assert_eq!(number("MATCH (n:PpThing {v: 'lost'}) RETURN count(n) AS n").await, 0);
    let rows: i64 =
        pipeline.sql.query_one("SELECT count(*) FROM pp_things", &[]).await.unwrap().get(0);
    assert_eq!(number("MATCH (n:PpThing) RETURN count(n) AS n").await, rows);
}

/// Its slot forgets what it was told since PostgreSQL's last checkpoint, and sends it again.
#[tokio::test]
async fn a_source_that_crashed_is_followed_on() {
    let mut source = Restorable::start();
    let schema = "CREATE TABLE cr_things (id int PRIMARY KEY, v text); INSERT INTO cr_things VALUES (1, 'base')";
    let mut pipeline = Pipeline::on(&source.server, "crashed", schema).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut running = pipeline.start_logging(&["run"], File::create(&path).unwrap());
    for round in 1..=3 {
        let first = round * 1_000;
        let rows = format!(
            "INSERT INTO cr_things SELECT g, 'x' FROM generate_series({first}, {first} + 99) g; \
             UPDATE cr_things SET v = 'round {round}' WHERE id = 1"
        );
        pipeline.sql.batch_execute(&rows).await.unwrap();
        let it_is_there =
            format!("RETURN EXISTS {{ (:CrThing {{id: 1, v: 'round {round}'}}) }} AS yes");
        eventually("it streams", &it_is_there).await;
        let (applied, acknowledged) = pipeline.positions().await;
        source.server.stop(Stop::Immediate).unwrap();
        source.server.start_again().unwrap();
        pipeline.sql = client(&pipeline.source_url).await;
        println!("applied {applied:?}, acknowledged {acknowledged:?}");
    }
    assert_eq!(running.terminate(PATIENCE).await, Some(0));
    // One whose slot is behind the graph, with nothing that runs. PostgreSQL may have written the slot
    // down just before.
    let mut is_older = false;
    for id in 1..=10 {
        let row = format!("INSERT INTO cr_things VALUES ({id} + 100, 'y')");
        pipeline.sql.batch_execute(&row).await.unwrap();
        pipeline.catch_up().await;
        source.server.stop(Stop::Immediate).unwrap();
        source.server.start_again().unwrap();
        pipeline.sql = client(&pipeline.source_url).await;
        let (applied, acknowledged) = pipeline.positions().await;
        is_older = acknowledged < applied;
        if is_older {
            break;
        }
    }
    assert!(is_older, "a crash takes the acknowledgement");
    let check = pipeline.output(&["check"]).await;
    assert!(check.status.success(), "{}", printed(&check));
    pipeline.catch_up().await;
    // The server reads the last acknowledgement after the program has ended.
    until("it is acknowledged again", async || {
        let (applied, acknowledged) = pipeline.positions().await;
        acknowledged >= applied
    })
    .await;
    let rows = "SELECT count(*) FROM cr_things";
    let rows: i64 = pipeline.sql.query_one(rows, &[]).await.unwrap().get(0);
    assert_eq!(number("MATCH (n:CrThing) RETURN count(n) AS n").await, rows);
}

/// A standby is refused; promoted where the graph is, it is gone on with.
#[tokio::test]
async fn a_source_that_is_a_standby_is_refused_until_it_is_promoted() {
    let mut source = Restorable::start();
    let schema =
        "CREATE TABLE pm_things (id int PRIMARY KEY); INSERT INTO pm_things VALUES (1), (2)";
    let mut pipeline = Pipeline::on(&source.server, "promoted", schema).await;
    pipeline.catch_up().await;
    source.server.stop(Stop::Fast).unwrap();
    File::create(source.data.join("standby.signal")).unwrap();
    source.server.start_again().unwrap();
    let check = pipeline.output(&["check"]).await;
    assert!(printed(&check).contains("is a standby"), "{}\n{}", printed(&check), log(&check));
    let status = pipeline.output(&["status"]).await;
    assert!(printed(&status).contains("is a standby"), "{}\n{}", printed(&status), log(&status));
    pipeline.sql = client(&pipeline.source_url).await;
    pipeline.sql.batch_execute("SELECT pg_promote()").await.unwrap();
    pipeline.sql.batch_execute("DELETE FROM pm_things WHERE id = 1").await.unwrap();
    let check = pipeline.output(&["check"]).await;
    assert!(check.status.success(), "{}\n{}", printed(&check), log(&check));
    pipeline.catch_up().await;
    assert_eq!(number("MATCH (n:PmThing) RETURN count(n) AS n").await, 1);
}

/// Rows that a copy has read may be of what was lost: the stream does not tell.
#[tokio::test]
async fn a_promotion_in_the_middle_of_a_copy_is_refused() {
    let mut source = Restorable::start();
    let schema =
        "CREATE TABLE pmc_things (id int PRIMARY KEY); INSERT INTO pmc_things VALUES (1), (2)";
    let mut pipeline = Pipeline::on(&source.server, "promoted_copy", schema).await;
    pipeline.catch_up().await;
    let owed = format!(
        "MATCH (c:_Wal2GraphCheckpoint {{pipeline: '{0}'}}) CREATE (:_Wal2GraphCopy {{pipeline: '{0}', \
         table: 'public.pmc_things', pass: 'rows', part: 0, next_block: 0, relfilenode: 1, rows: 0, done: false, \
         epoch: c.epoch}})",
        pipeline.name
    );
    crate::support::graph().run(neo4rs::Query::new(owed)).await.unwrap();
    source.server.stop(Stop::Fast).unwrap();
    File::create(source.data.join("standby.signal")).unwrap();
    source.server.start_again().unwrap();
    pipeline.sql = client(&pipeline.source_url).await;
    pipeline.sql.batch_execute("SELECT pg_promote()").await.unwrap();
    for command in [&["check"][..], &["status"], &["run", "--until", "current"]] {
        let output = pipeline.output(command).await;
        let said = printed(&output) + &log(&output);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.contains("timeline 2") && said.contains("promoted"), "{command:?}: {said}");
    }
}
