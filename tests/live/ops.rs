//! Never stuck, never in the dark: the slot's budget, and a definite end that is told.

use wal2graph_servers::{Postgres, PostgresOptions};

use crate::{
    http::Served,
    support::{PATIENCE, Pipeline, document, eventually, neo4j},
};

fn server(version: u32, settings: &[(&str, &str)]) -> Postgres {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let settings = settings.iter().map(own).collect();
    Postgres::start(&PostgresOptions { version, settings, ..Default::default() }).unwrap()
}

fn default_version() -> u32 {
    PostgresOptions::default().version
}

impl Pipeline {
    async fn served(&self, file: &str) -> Served {
        let graph = neo4j().url();
        let arguments = ["run", "--source-url", &self.source_url, "--graph-url", &graph];
        Served::of(&arguments, file).await
    }

    async fn has_slot(&self) -> bool {
        let sql = "SELECT 1 FROM pg_replication_slots WHERE slot_name = $1";
        let slot = format!("wal2graph_{}", self.name);
        self.sql.query_opt(sql, &[&slot]).await.unwrap().is_some()
    }

    /// Writes so much log, in files of 16 MiB.
    async fn write_files(&self, count: usize) {
        for _ in 0..count {
            for sql in
                ["SELECT pg_logical_emit_message(false, 'noise', 'x')", "SELECT pg_switch_wal()"]
            {
                self.sql.batch_execute(sql).await.unwrap();
            }
        }
    }

    async fn epoch(&self) -> i64 {
        let checkpoint =
            wal2graph::neo4j::checkpoint::read(&crate::support::graph(), &self.name).await;
        checkpoint.expect("the graph answers").expect("there is one").epoch.0
    }
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

#[tokio::test]
async fn a_slot_above_its_budget_is_warned_of_and_then_ends_the_program() {
    let server = server(default_version(), &[]);
    let schema = "CREATE TABLE budgeted_things (id int PRIMARY KEY)";
    let pipeline = Pipeline::on(&server, "budgeted", schema).await;
    pipeline.catch_up().await;
    let mut served = pipeline
        .served("source: {wal_budget: {warn: 10MB, stop: 90MB}}\non_wal_budget: keep")
        .await;
    pipeline.sql.batch_execute("INSERT INTO budgeted_things VALUES (1)").await.unwrap();
    eventually("it streams", "RETURN EXISTS { (:BudgetedThing {id: 1}) } AS yes").await;
    // A transaction that does not end: the slot keeps everything since.
    let other = crate::support::client(&pipeline.source_url).await;
    other.batch_execute("BEGIN; INSERT INTO budgeted_things VALUES (2)").await.unwrap();
    pipeline.write_files(2).await;
    let warned = "keeps more log than source.wal_budget.warn";
    served.until_log(warned).await;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(count(&served.log(), warned), 1, "{}", served.log());
    pipeline.write_files(5).await;
    assert_eq!(served.ended(PATIENCE).await, Some(1), "{}", served.log());
    let log = served.log();
    for part in ["source.wal_budget.stop (90.0 MiB)", "pg_drop_replication_slot", "--new-slot"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(pipeline.has_slot().await, "it stays");
    let status = pipeline.output(&["status"]).await;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("stopped ") && status.contains("source.wal_budget.stop"), "{status}");
    other.batch_execute("ROLLBACK").await.unwrap();
    pipeline.sql.batch_execute("INSERT INTO budgeted_things VALUES (3)").await.unwrap();
    // Without the budget it goes on where the graph is.
    pipeline.catch_up().await;
    let verified = pipeline.output(&["verify"]).await;
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[tokio::test]
async fn a_slot_above_its_budget_is_dropped_where_the_file_says_so_and_a_new_one_comes_back() {
    let server = server(default_version(), &[]);
    let schema = "CREATE TABLE spent_things (id int PRIMARY KEY)";
    let pipeline = Pipeline::on(&server, "spent", schema).await;
    pipeline.catch_up().await;
    let other = crate::support::client(&pipeline.source_url).await;
    other.batch_execute("BEGIN; INSERT INTO spent_things VALUES (2)").await.unwrap();
    let mut served =
        pipeline.served("source: {wal_budget: {stop: 40MiB}}\non_wal_budget: drop").await;
    served.until_log("streaming").await;
    pipeline.write_files(4).await;
    assert_eq!(served.ended(PATIENCE).await, Some(1), "{}", served.log());
    let log = served.log();
    assert!(log.contains("It is dropped (on_wal_budget: drop)"), "{log}");
    assert!(!pipeline.has_slot().await, "the log is free");
    other.batch_execute("ROLLBACK").await.unwrap();
    pipeline.sql.batch_execute("INSERT INTO spent_things VALUES (3)").await.unwrap();
    let renewed = pipeline.output(&["repair", "--new-slot"]).await;
    assert!(renewed.status.success(), "{}", String::from_utf8_lossy(&renewed.stderr));
    pipeline.catch_up().await;
    eventually("the row is there", "RETURN EXISTS { (:SpentThing {id: 3}) } AS yes").await;
}

#[tokio::test]
async fn how_long_the_slot_is_safe_is_on_the_pages_and_in_the_status() {
    let server = server(default_version(), &[("max_slot_wal_keep_size", "10GB")]);
    let schema = "CREATE TABLE predicted_things (id int PRIMARY KEY)";
    let pipeline = Pipeline::on(&server, "predicted", schema).await;
    pipeline.catch_up().await;
    let served = pipeline.served("").await;
    let began = std::time::Instant::now();
    let mut seconds = None;
    while seconds.is_none() && began.elapsed() < PATIENCE {
        pipeline.write_files(1).await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let (_, metrics) = served.get("/metrics").await;
        seconds = crate::exposition::read(&metrics).get("wal2graph_slot_safe_seconds").copied();
    }
    let seconds = seconds.expect("it is served");
    // 10 GB at about 16 MiB a second.
    assert!((60.0..100_000.0).contains(&seconds), "{seconds}");
    let (_, status) = served.get("/status").await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert!(status["slot"]["safe_seconds"].is_number(), "{status}");
    let status = pipeline.output(&["status"]).await;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("safe for") && status.contains("which take about"), "{status}");
    let check = pipeline.output(&["check"]).await;
    let check = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(!check.contains("max_slot_wal_keep_size"), "{check}");
}

#[tokio::test]
async fn check_warns_of_a_slot_without_a_limit_and_of_one_that_may_not_be_idle() {
    let server = server(18, &[("idle_replication_slot_timeout", "2h")]);
    let schema = "CREATE TABLE idle_things (id int PRIMARY KEY)";
    let pipeline = Pipeline::on(&server, "idle", schema).await;
    let check = pipeline.output(&["check"]).await;
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    let check = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.contains("warning  max_slot_wal_keep_size is -1"), "{check}");
    assert!(check.contains("warning  idle_replication_slot_timeout is 2 h"), "{check}");
}

#[tokio::test]
async fn a_failover_slot_is_made_where_the_server_has_them_and_refused_by_name_elsewhere() {
    let file = "source: {failover: true}";
    let schema = "CREATE TABLE failing_things (id int PRIMARY KEY)";
    let old = Pipeline::new("nofailover", schema).await.configured(file);
    for command in [&["run", "--until", "current"][..], &["check"]] {
        let refused = old.output(command).await;
        let said = [refused.stdout, refused.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains("source.failover") && said.contains("17 is the first"), "{said}");
    }
    assert!(!old.has_slot().await, "nothing is made");
    let server = server(17, &[]);
    let schema = "CREATE TABLE failover_things (id int PRIMARY KEY)";
    let pipeline = Pipeline::on(&server, "failover", schema).await;
    pipeline.catch_up().await;
    let slot = format!("wal2graph_{}", pipeline.name);
    let pipeline = pipeline.configured(file);
    let check = pipeline.output(&["check"]).await;
    let check = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.contains("is no failover slot"), "{check}");
    let renewed = pipeline.output(&["repair", "--new-slot"]).await;
    assert!(renewed.status.success(), "{}", String::from_utf8_lossy(&renewed.stderr));
    let sql = "SELECT failover FROM pg_replication_slots WHERE slot_name = $1";
    assert!(pipeline.sql.query_one(sql, &[&slot]).await.unwrap().get::<_, bool>(0));
    let check = pipeline.output(&["check"]).await;
    let check = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(!check.contains("failover"), "{check}");
    pipeline.catch_up().await;
}

#[tokio::test]
async fn a_program_that_stays_after_a_definite_error_serves_it_until_sigterm() {
    let schema = "CREATE TABLE stayed_things (id int PRIMARY KEY)";
    let pipeline = Pipeline::new("stayed", schema).await;
    pipeline.catch_up().await;
    let slot = format!("wal2graph_{}", pipeline.name);
    let drop =
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1";
    pipeline.sql.query(drop, &[&slot]).await.unwrap();
    let epoch = pipeline.epoch().await;
    let mut served = pipeline.served("on_stop: stay").await;
    let stopped = "wal2graph_state{state=\"stopped\"}";
    served.until("stopped", |samples| samples[stopped] == 1.0).await;
    let (code, ready) = served.get("/ready").await;
    assert!(code == 503 && ready.contains("stopped: ") && ready.contains("--new-slot"), "{ready}");
    assert_eq!(served.get("/live").await.0, 200);
    let (_, status) = served.get("/status").await;
    let status = document::status(&status);
    assert_eq!(status["state"], "stopped", "{status}");
    for text in [&status["stopped_because"], &status["last_error"]["error"]] {
        assert!(text.as_str().is_some_and(|text| text.contains("--new-slot")), "{status}");
    }
    pipeline.sql.batch_execute("INSERT INTO stayed_things VALUES (1)").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(pipeline.epoch().await, epoch, "it writes nothing");
    served.signal("TERM");
    assert_eq!(served.ended(PATIENCE).await, Some(1), "the error's exit code");
    // For scripts it ends at once.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "on_stop: stay").unwrap();
    let path = file.path().to_str().unwrap();
    let ended = pipeline.output(&["run", "--until", "current", "-c", path]).await;
    assert_eq!(ended.status.code(), Some(1));
}

#[tokio::test]
async fn a_standby_is_named_is_ready_where_that_is_wanted_and_takes_over() {
    let schema = "CREATE TABLE standby_things (id int PRIMARY KEY)";
    let pipeline = Pipeline::new("standby", schema).await;
    pipeline.catch_up().await;
    let first = pipeline.served("").await;
    first
        .until("streaming", |samples| samples["wal2graph_state{state=\"streaming\"}"] == 1.0)
        .await;
    let standby = "wal2graph_state{state=\"standby\"}";
    let unready = pipeline.served("").await;
    unready.until("a standby", |samples| samples[standby] == 1.0).await;
    let (code, ready) = unready.get("/ready").await;
    assert!(
        code == 503
            && ready.contains("standby (http.standby_ready: false): ")
            && ready.contains("is active for PID"),
        "{ready}"
    );
    drop(unready);
    let second = pipeline.served("http: {standby_ready: true}").await;
    second.until("a standby", |samples| samples[standby] == 1.0).await;
    assert_eq!(second.get("/ready").await.0, 200);
    assert!(second.log().contains("standby: another instance has the slot"), "{}", second.log());
    first.signal("KILL");
    pipeline.sql.batch_execute("INSERT INTO standby_things VALUES (1)").await.unwrap();
    eventually("the second has taken over", "RETURN EXISTS { (:StandbyThing {id: 1}) } AS yes")
        .await;
    assert_eq!(second.get("/ready").await.0, 200);
}
