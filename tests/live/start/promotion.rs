//! A standby that is promoted, with a copy of the slot: PostgreSQL 17 and newer.

use tempfile::NamedTempFile;
use wal2graph_servers::{Postgres, PostgresOptions, Stop};

use super::{follow, log, number, printed, refused};
use crate::support::{PATIENCE, Pipeline, client, eventually, until};

/// A primary and its standby.
pub struct Pair {
    pub primary: Postgres,
    pub standby: Postgres,
}

impl Pair {
    pub async fn start(version: u32) -> Self {
        let options = PostgresOptions { version, ..PostgresOptions::default() };
        let mut primary = Postgres::start(&options).unwrap();
        let sql = client(&primary.url("postgres")).await;
        let slot = "SELECT pg_create_physical_replication_slot('standby', true)";
        sql.batch_execute(slot).await.unwrap();
        let standby = primary.standby().unwrap();
        Pair { primary, standby }
    }

    /// A pipeline whose URL names both, the standby first.
    pub async fn pipeline(&self, name: &str, schema: &str) -> Pipeline {
        let pipeline = Pipeline::on(&self.primary, name, schema).await;
        let (first, second) = (self.standby.port(), self.primary.port());
        let url =
            format!("postgres://postgres@127.0.0.1:{first},127.0.0.1:{second}/{}", pipeline.name);
        let Pipeline { name, sql, .. } = pipeline;
        Pipeline::of(name, sql, url).configured("source: {failover: true}")
    }

    /// Waits until the standby has the slot, and everything that is committed.
    pub async fn is_copied(&self, pipeline: &Pipeline) {
        let standby = client(&self.standby.url("postgres")).await;
        let slot = format!("wal2graph_{}", pipeline.name);
        until("the standby has the slot and the log", async || {
            // A slot is copied once it can go on from what the standby has.
            pipeline.sql.batch_execute("SELECT pg_log_standby_snapshot()").await.unwrap();
            let end = "SELECT pg_current_wal_flush_lsn()::text";
            let end: String = pipeline.sql.query_one(end, &[]).await.unwrap().get(0);
            let text = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn \
                 AND EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $2 AND synced AND NOT temporary)";
            standby.query_one(text, &[&end, &slot]).await.unwrap().get(0)
        })
        .await;
    }

    /// From now on nothing is sent that the standby does not have.
    pub async fn waits_for_the_standby(&self, pipeline: &Pipeline) {
        let waits = "ALTER SYSTEM SET synchronized_standby_slots = 'standby'";
        pipeline.sql.batch_execute(waits).await.unwrap();
        pipeline.sql.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    }

    /// The primary is lost, and the standby takes its place.
    pub async fn promotes(&mut self, pipeline: &mut Pipeline) {
        self.primary.stop(Stop::Immediate).unwrap();
        pipeline.sql = client(&self.standby.url(&pipeline.name)).await;
        pipeline.sql.batch_execute("SELECT pg_promote()").await.unwrap();
    }
}

/// What a program logs. It is shown when the test fails.
struct Logged(NamedTempFile);

impl Logged {
    fn text(&self) -> String {
        std::fs::read_to_string(self.0.path()).unwrap()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        println!("{}", self.text());
    }
}

#[tokio::test]
async fn a_pipeline_goes_on_by_itself_after_a_promotion_that_lost_nothing_of_it() {
    let mut pair = Pair::start(17).await;
    let schema = "CREATE TABLE po_things (id int PRIMARY KEY, v text); INSERT INTO po_things VALUES (1, 'copied')";
    // A busy standby does not know the database yet, and the URL names it first: that ended the program.
    let standby = client(&pair.standby.url("postgres")).await;
    standby.batch_execute("SELECT pg_wal_replay_pause()").await.unwrap();
    let mut pipeline = pair.pipeline("promotion", schema).await;
    let logged = Logged(NamedTempFile::new().unwrap());
    let mut running = pipeline.start_logging(&["run"], logged.0.reopen().unwrap());
    eventually("it is copied", "RETURN EXISTS { (:PoThing {id: 1}) } AS yes").await;
    standby.batch_execute("SELECT pg_wal_replay_resume()").await.unwrap();
    pair.waits_for_the_standby(&pipeline).await;
    pipeline.sql.batch_execute("INSERT INTO po_things VALUES (2, 'before')").await.unwrap();
    eventually("it streams", "RETURN EXISTS { (:PoThing {id: 2}) } AS yes").await;
    pair.is_copied(&pipeline).await;
    pipeline.sql.batch_execute("INSERT INTO po_things VALUES (3, 'last')").await.unwrap();
    eventually("it streams", "RETURN EXISTS { (:PoThing {id: 3}) } AS yes").await;
    drop(standby);
    pair.promotes(&mut pipeline).await;
    pipeline.sql.batch_execute("INSERT INTO po_things VALUES (4, 'after')").await.unwrap();
    eventually("it goes on", "RETURN EXISTS { (:PoThing {id: 4}) } AS yes").await;
    let said = logged.text();
    assert!(said.contains("the source was promoted") && said.contains("now=2"), "{said}");
    assert_eq!(running.terminate(PATIENCE).await, Some(0));
    for command in [&["check"][..], &["status"], &["verify"]] {
        let output = pipeline.output(command).await;
        let said = printed(&output) + &log(&output);
        assert!(output.status.success(), "{command:?}: {said}");
    }
    let timeline = "MATCH (c:_Wal2GraphCheckpoint) WHERE c.pipeline = '{}' RETURN c.timeline AS n";
    assert_eq!(number(&timeline.replace("{}", &pipeline.name)).await, 2);
}

#[tokio::test]
async fn a_promoted_standby_that_lacks_changes_of_the_graph_is_refused_and_a_new_slot_mends_it() {
    let mut pair = Pair::start(18).await;
    let schema = "CREATE TABLE pl_things (id int PRIMARY KEY); INSERT INTO pl_things VALUES (1)";
    let mut pipeline = pair.pipeline("lossy", schema).await;
    let mut running = pipeline.start();
    eventually("it is copied", "RETURN EXISTS { (:PlThing {id: 1}) } AS yes").await;
    pair.is_copied(&pipeline).await;
    assert_eq!(running.terminate(PATIENCE).await, Some(0));
    pair.standby.stop(Stop::Fast).unwrap();
    pipeline.sql.batch_execute("INSERT INTO pl_things VALUES (2), (3)").await.unwrap();
    pipeline.catch_up().await;
    assert_eq!(number("MATCH (n:PlThing) RETURN count(n) AS n").await, 3);
    pair.primary.stop(Stop::Immediate).unwrap();
    pair.standby.start_again().unwrap();
    pair.promotes(&mut pipeline).await;
    pipeline.sql.batch_execute("INSERT INTO pl_things VALUES (9)").await.unwrap();
    for command in ["check", "status"] {
        let output = pipeline.output(&[command]).await;
        let said = printed(&output) + &log(&output);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.contains("the new timeline begins at"), "{command:?}: {said}");
    }
    let said = refused(&pipeline.output(&["run", "--until", "current"]).await);
    assert!(said.contains("the new timeline begins at"), "{said}");
    follow(&pipeline, &said).await;
    pipeline.catch_up().await;
    assert_eq!(number("MATCH (n:PlThing) RETURN count(n) AS n").await, 2, "1 and 9");
}
