//! The tables are those that the graph followed, and all their changes came.

use std::{fs::File, time::Duration};

use super::{follow, log, number, printed, refused};
use crate::support::{PATIENCE, Pipeline, Running, eventually, until};

/// Longer than two looks of a pipeline that runs.
const LOOKS: Duration = Duration::from_secs(6);

/// `THING` and `PUB` stand for the table and the publication.
async fn change(pipeline: &Pipeline, table: &str, sql: &str) {
    let publication = format!(" wal2graph_{} ", pipeline.name);
    // One by one: some are refused within a transaction.
    for statement in sql.split("; ") {
        let statement = statement.replace("THING", table).replace(" PUB ", &publication);
        let done = pipeline.sql.batch_execute(&statement).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

/// A pipeline of one table with two rows, which is copied.
async fn followed(name: &str, table: &str, all_tables: bool) -> Pipeline {
    let schema = format!(
        "CREATE TABLE {table} (id int PRIMARY KEY, v text); INSERT INTO {table} VALUES (1, 'a'), (2, 'b')"
    );
    let pipeline = Pipeline::new(name, &schema).await.stopping();
    if all_tables {
        let publication =
            "CREATE PUBLICATION PUB FOR ALL TABLES WITH (publish_via_partition_root = true)";
        change(&pipeline, table, publication).await;
    }
    pipeline.catch_up().await;
    pipeline
}

/// `run` as it runs, with its log.
struct Watched {
    running: Running,
    folder: tempfile::TempDir,
}

impl Watched {
    async fn start(pipeline: &Pipeline) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let running = pipeline.start_logging(&["run"], log);
        let watched = Watched { running, folder };
        until("it streams", async || watched.log().contains("streaming")).await;
        watched
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// It ends by itself: what it said.
    async fn ended(mut self) -> String {
        let ended = self.running.ended(PATIENCE).await;
        assert_eq!(ended, Some(1), "{}", self.log());
        self.log()
    }
}

/// Every command says so, and what it says is enough.
async fn assert_only_a_copy_goes_on(pipeline: &Pipeline, label: &str, words: &str, rows: i64) {
    for command in ["check", "status"] {
        let said = printed(&pipeline.output(&[command]).await);
        assert!(said.contains(words) && said.contains("repair --new-slot"), "{command}: {said}");
    }
    let said = refused(&pipeline.output(&["run", "--until", "current"]).await);
    assert!(said.contains(words), "{words}: {said}");
    follow(pipeline, &said).await;
    pipeline.catch_up().await;
    let count = format!("MATCH (n:{label}) WHERE n.v STARTS WITH 'new' RETURN count(n) AS n");
    assert_eq!(number(&count).await, rows, "{words}");
    pipeline.catch_up().await;
}

/// What is done, what is undone, how the table is published, what is said of it, and how many rows are new.
const UNDONE: [(&str, &str, bool, &str, i64); 6] = [
    (
        "ALTER PUBLICATION PUB DROP TABLE THING; UPDATE THING SET v = 'new' WHERE id = 1; \
         INSERT INTO THING VALUES (3, 'new')",
        "ALTER PUBLICATION PUB ADD TABLE THING",
        false,
        "was taken out of the publication",
        2,
    ),
    (
        "ALTER PUBLICATION PUB SET TABLE THING WHERE (id > 100); UPDATE THING SET v = 'new' WHERE id = 1",
        "ALTER PUBLICATION PUB SET TABLE THING",
        false,
        "was taken out of the publication",
        1,
    ),
    (
        "DROP TABLE THING; CREATE TABLE THING (id int PRIMARY KEY, v text); INSERT INTO THING VALUES (2, 'new')",
        "ALTER PUBLICATION PUB ADD TABLE THING",
        false,
        "is another one than the graph has",
        1,
    ),
    (
        "DROP TABLE THING; CREATE TABLE THING (id int PRIMARY KEY, v text); INSERT INTO THING VALUES (2, 'new')",
        "SELECT 1",
        true,
        "is another one than the graph has",
        1,
    ),
    (
        "ALTER TABLE THING ADD v_new text; UPDATE THING SET v_new = 'new' || id; \
         ALTER TABLE THING RENAME v TO v_old; ALTER TABLE THING RENAME v_new TO v",
        "ALTER TABLE THING DROP v_old",
        false,
        "the column v of the table public.",
        2,
    ),
    (
        "CREATE TABLE THING_new (id int PRIMARY KEY, v text); INSERT INTO THING_new VALUES (1, 'new'); \
         ALTER TABLE THING RENAME TO THING_old; ALTER TABLE THING_new RENAME TO THING",
        "DROP TABLE THING_old",
        true,
        "is another one than the graph has",
        1,
    ),
];

#[ignore = "long: make nightly"]
#[tokio::test]
async fn what_was_undone_between_two_runs_left_the_graph_wrong_in_silence() {
    for (number_of, (done, undone, all_tables, words, rows)) in UNDONE.into_iter().enumerate() {
        let table = format!("tfb_{number_of}_things");
        let pipeline = followed("undone_between", &table, all_tables).await;
        change(&pipeline, &table, done).await;
        change(&pipeline, &table, undone).await;
        let label = format!("Tfb{number_of}Thing");
        assert_only_a_copy_goes_on(&pipeline, &label, words, rows).await;
    }
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn what_was_undone_while_it_ran_left_the_graph_wrong_in_silence() {
    let operations = (
        "ALTER PUBLICATION PUB SET (publish = 'insert'); UPDATE THING SET v = 'new' WHERE id = 1",
        "ALTER PUBLICATION PUB SET (publish = 'insert, update, delete, truncate')",
        false,
        "did not have all of INSERT",
        1,
    );
    let all = UNDONE.into_iter().chain([operations]).enumerate();
    for (number_of, (done, undone, all_tables, words, rows)) in all {
        let table = format!("tfr_{number_of}_things");
        let pipeline = followed("undone_running", &table, all_tables).await;
        let running = Watched::start(&pipeline).await;
        change(&pipeline, &table, done).await;
        let said = running.ended().await;
        assert!(said.contains("repair --new-slot"), "{said}");
        change(&pipeline, &table, undone).await;
        let label = format!("Tfr{number_of}Thing");
        assert_only_a_copy_goes_on(&pipeline, &label, words, rows).await;
    }
}

/// Its rows are sent under the root's replica identity, and without what that promises.
#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_partition_with_another_replica_identity_left_nodes_behind_also_after_the_advice() {
    let schema = "CREATE TABLE tfi_things (id int PRIMARY KEY, u int NOT NULL, v text) PARTITION BY LIST (id); \
        CREATE TABLE tfi_leaf PARTITION OF tfi_things FOR VALUES IN (1, 2, 3); \
        CREATE UNIQUE INDEX tfi_u ON tfi_leaf (u); INSERT INTO tfi_things VALUES (1, 1, 'a')";
    for runs in [true, false] {
        let pipeline = Pipeline::new("leaf_identity", schema).await.stopping();
        pipeline.catch_up().await;
        let bad = "ALTER TABLE tfi_leaf REPLICA IDENTITY USING INDEX tfi_u; UPDATE tfi_things SET id = 2, v = 'new'";
        match runs {
            true => {
                let running = Watched::start(&pipeline).await;
                change(&pipeline, "tfi_things", bad).await;
                let said = running.ended().await;
                assert!(said.contains("the replica identity of public.tfi_leaf"), "{said}");
            }
            false => change(&pipeline, "tfi_things", bad).await,
        }
        let said = refused(&pipeline.output(&["run", "--until", "current"]).await);
        let advice = "ALTER TABLE \"public\".\"tfi_leaf\" REPLICA IDENTITY DEFAULT";
        assert!(said.contains(advice) && said.contains("repair --new-slot"), "{said}");
        change(&pipeline, "tfi_things", advice).await;
        let words = "the replica identity of public.tfi_leaf";
        assert_only_a_copy_goes_on(&pipeline, "TfiThing", words, 1).await;
        assert_eq!(number("MATCH (n:TfiThing) RETURN count(n) AS n").await, 1);
        // A repair spares nodes under the label of another pipeline.
        let output = pipeline.output(&["destroy", "--graph", "--yes"]).await;
        assert!(output.status.success(), "{}", log(&output));
    }
}

#[tokio::test]
async fn what_changes_nothing_for_the_graph_is_not_refused() {
    let schema = "CREATE TABLE tfh_things (id int CONSTRAINT tfh_key PRIMARY KEY, v text DEFAULT 'x'); \
        CREATE TABLE tfh_parts (id int PRIMARY KEY, v text) PARTITION BY LIST (id); \
        CREATE TABLE tfh_one PARTITION OF tfh_parts FOR VALUES IN (1); \
        INSERT INTO tfh_things VALUES (1, 'a'); INSERT INTO tfh_parts VALUES (1, 'a')";
    let pipeline = Pipeline::new("harmless", schema).await.stopping();
    pipeline.catch_up().await;
    let owner = format!("owner_{}", pipeline.name);
    let create = format!("CREATE ROLE {owner}");
    pipeline.sql.batch_execute(&create).await.unwrap();
    let harmless = |round: usize| {
        format!(
            "ALTER TABLE THING OWNER TO {owner}; VACUUM FULL THING; \
             REINDEX TABLE THING; ANALYZE THING; CREATE TABLE tfh_keyless{round} (a int); \
             ALTER PUBLICATION PUB ADD TABLE tfh_keyless{round}; \
             ALTER TABLE THING RENAME CONSTRAINT tfh_key TO tfh_other; \
             ALTER TABLE THING RENAME CONSTRAINT tfh_other TO tfh_key; \
             CREATE INDEX tfh_index{round} ON THING (v); CLUSTER THING USING tfh_key; \
             ALTER TABLE THING ADD CHECK (id > 0); \
             COMMENT ON TABLE THING IS 'round {round}'; GRANT SELECT ON THING TO PUBLIC; \
             ALTER PUBLICATION PUB SET TABLE ONLY THING, ONLY tfh_parts, ONLY tfh_keyless{round}; \
             ALTER TABLE tfh_one REPLICA IDENTITY FULL; ALTER TABLE tfh_one REPLICA IDENTITY DEFAULT; \
             CREATE TABLE tfh_new{round} (id int PRIMARY KEY, v text); \
             ALTER TABLE tfh_parts ATTACH PARTITION tfh_new{round} FOR VALUES IN (1{round}); \
             ALTER TABLE tfh_one REPLICA IDENTITY FULL; \
             ALTER TABLE THING OWNER TO postgres; INSERT INTO THING VALUES (1{round}, 'new')"
        )
    };
    change(&pipeline, "tfh_things", &harmless(0)).await;
    let check = pipeline.output(&["check"]).await;
    assert!(check.status.success(), "{}", printed(&check));
    pipeline.catch_up().await;
    let running = Watched::start(&pipeline).await;
    // With another file it would look as ALTER COLUMN ... TYPE ... USING does.
    let touched =
        "ALTER TABLE THING ALTER v SET STATISTICS 500; ALTER TABLE THING ALTER v DROP DEFAULT";
    change(&pipeline, "tfh_things", touched).await;
    tokio::time::sleep(LOOKS).await;
    change(&pipeline, "tfh_things", &harmless(1)).await;
    tokio::time::sleep(LOOKS).await;
    let rows = "INSERT INTO tfh_parts VALUES (10, 'new'), (11, 'new')";
    change(&pipeline, "tfh_things", rows).await;
    let last =
        "INSERT INTO tfh_parts VALUES (1, 'again') ON CONFLICT (id) DO UPDATE SET v = 'again'";
    change(&pipeline, "tfh_things", last).await;
    let there = "MATCH (n:TfhPart {v: 'again'}) RETURN count(n) = 1 AS yes";
    eventually("it runs on", there).await;
    assert_eq!(running.log().matches("streaming").count(), 1, "{}", running.log());
    drop(running);
    assert_eq!(number("MATCH (n) WHERE n:TfhThing OR n:TfhPart RETURN count(n) AS n").await, 6);
    // What came while it ran is known to its next start.
    pipeline.catch_up().await;
}

#[tokio::test]
async fn what_no_event_brings_was_taken_over_in_silence_by_a_start_that_does_not_follow() {
    let schema = "CREATE TABLE tfu_things (id int PRIMARY KEY, v int); \
        CREATE TABLE tfu_parts (id int PRIMARY KEY) PARTITION BY LIST (id); \
        CREATE TABLE tfu_one PARTITION OF tfu_parts FOR VALUES IN (1); \
        INSERT INTO tfu_things VALUES (1, 1); INSERT INTO tfu_parts VALUES (1)";
    let pipeline = Pipeline::new("not_followed", schema).await.stopping();
    pipeline.catch_up().await;
    let all = "MATCH (n) WHERE n:TfuThing OR n:TfuPart RETURN sum(coalesce(n.v, 1)) AS n";
    for (sql, what, sum) in [
        ("ALTER TABLE THING ALTER v TYPE int USING v * 100", r#"the column "v" may have"#, 101),
        (
            "CREATE TABLE tfu_two (id int PRIMARY KEY); INSERT INTO tfu_two VALUES (2); \
             ALTER TABLE tfu_parts ATTACH PARTITION tfu_two FOR VALUES IN (2)",
            "it has new partitions",
            102,
        ),
        ("TRUNCATE tfu_two", "one of its partitions is another one", 101),
    ] {
        change(&pipeline, "tfu_things", sql).await;
        for command in [&["run", "--until", "current"][..], &["check"]] {
            let output = pipeline.output(command).await;
            assert!(!output.status.success(), "{sql}");
            let said = printed(&output) + &log(&output);
            assert!(said.contains(what) && said.contains("repair --new-slot"), "{said}");
        }
        let output = pipeline.output(&["repair", "--new-slot"]).await;
        assert!(output.status.success(), "{}", log(&output));
        pipeline.catch_up().await;
        assert_eq!(number(all).await, sum, "{sql}");
    }
}

/// It begins with the tables as they are at its next start.
#[tokio::test]
async fn a_checkpoint_of_an_earlier_build_gets_what_it_does_not_have() {
    let pipeline = followed("earlier_build", "tfe_things", false).await;
    let checkpoint = format!("(c:_Wal2GraphCheckpoint {{pipeline: '{}'}})", pipeline.name);
    super::run(&format!("MATCH {checkpoint} REMOVE c.table_facts")).await;
    let away = "ALTER PUBLICATION PUB DROP TABLE THING; ALTER PUBLICATION PUB ADD TABLE THING";
    change(&pipeline, "tfe_things", away).await;
    pipeline.catch_up().await;
    let kept = format!("MATCH {checkpoint} WHERE c.table_facts IS NOT NULL RETURN count(c) AS n");
    assert_eq!(number(&kept).await, 1);
    change(&pipeline, "tfe_things", away).await;
    let output = pipeline.output(&["run", "--until", "current"]).await;
    assert!(log(&output).contains("put back"), "{}", log(&output));
}

/// The statement that brings it back does not bring back what changed meanwhile.
#[tokio::test]
async fn a_table_that_is_away_while_it_runs_was_not_noticed() {
    let pipeline = followed("away", "tfa_things", false).await;
    let running = Watched::start(&pipeline).await;
    change(&pipeline, "tfa_things", "ALTER PUBLICATION PUB DROP TABLE THING").await;
    let said = running.ended().await;
    assert!(said.contains("the table public.tfa_things was taken out"), "{said}");
    let status = printed(&pipeline.output(&["status"]).await);
    assert!(status.contains("stopped ") && status.contains("was taken out"), "{status}");
    let said = refused(&pipeline.output(&["run", "--until", "current"]).await);
    assert!(said.contains("ADD TABLE ONLY") && said.contains("repair --new-slot"), "{said}");
    assert!(!said.contains("That alone is right"), "{said}");
    change(&pipeline, "tfa_things", "INSERT INTO THING VALUES (3, 'new')").await;
    change(&pipeline, "tfa_things", "ALTER PUBLICATION PUB ADD TABLE ONLY THING").await;
    assert_only_a_copy_goes_on(&pipeline, "TfaThing", "taken out of the publication", 1).await;
}
