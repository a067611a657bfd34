//! The source before a start: slots and publications of others, rights, two instances at once.

use super::{assert_nothing_was_made, log, number, printed, refused};
use crate::support::{Pipeline, client, eventually, holds, output, until};

#[tokio::test]
async fn somebody_elses_slot_is_left_alone() {
    for plugin in ["pgoutput", "test_decoding"] {
        let pipeline =
            Pipeline::new("foreign", "CREATE TABLE fs_things (id int PRIMARY KEY)").await;
        let name = format!("wal2graph_{}", pipeline.name);
        // The first is of another database, the second speaks another protocol.
        let other = Pipeline::new("other", "CREATE TABLE fs_others (id int PRIMARY KEY)").await;
        let maker = if plugin == "pgoutput" { &other.sql } else { &pipeline.sql };
        let make = "SELECT pg_create_logical_replication_slot($1, $2)";
        maker.execute(make, &[&name, &plugin]).await.unwrap();
        let said = refused(&pipeline.output(&["run", "--until", "current"]).await);
        assert!(said.contains("name another slot") && !said.contains("drop"), "{said}");
        let check = printed(&pipeline.output(&["check"]).await);
        assert!(check.contains("name another slot"), "{check}");
        maker.execute("SELECT pg_drop_replication_slot($1)", &[&name]).await.unwrap();
        assert_nothing_was_made(&pipeline, "FsThing").await;
    }
}

#[tokio::test]
async fn a_slot_that_sends_what_is_not_committed_yet_is_refused() {
    let pipeline = Pipeline::new("twophase", "CREATE TABLE tp_things (id int PRIMARY KEY)").await;
    let name = format!("wal2graph_{}", pipeline.name);
    let make = "SELECT pg_create_logical_replication_slot($1, 'pgoutput', false, true)";
    pipeline.sql.execute(make, &[&name]).await.unwrap();
    let said = refused(&pipeline.output(&["run", "--until", "current"]).await);
    assert!(said.contains("two_phase"), "{said}");
    assert!(printed(&pipeline.output(&["check"]).await).contains("two_phase"));
}

#[tokio::test]
async fn a_publication_that_names_partitions_is_refused_with_the_statement_that_helps() {
    let schema = "CREATE TABLE vr_things (id int PRIMARY KEY) PARTITION BY RANGE (id); \
        CREATE TABLE vr_things_1 PARTITION OF vr_things FOR VALUES FROM (0) TO (100); \
        INSERT INTO vr_things VALUES (1)";
    let pipeline = Pipeline::new("viaroot", schema).await;
    let name = format!("wal2graph_{}", pipeline.name);
    let publication = format!("CREATE PUBLICATION {name} FOR ALL TABLES");
    pipeline.sql.batch_execute(&publication).await.unwrap();
    let said = refused(&pipeline.output(&["run", "--until", "current"]).await);
    let fix = format!("ALTER PUBLICATION \"{name}\" SET (publish_via_partition_root = true)");
    assert!(said.contains(&fix) && !said.contains("ADD TABLE"), "{said}");
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1";
    let slots: i64 = pipeline.sql.query_one(slots, &[&name]).await.unwrap().get(0);
    assert_eq!(slots, 0, "refused before a slot was made");
    pipeline.sql.batch_execute(&fix).await.unwrap();
    pipeline.catch_up().await;
    pipeline.sql.batch_execute("INSERT INTO vr_things VALUES (2)").await.unwrap();
    pipeline.catch_up().await;
    assert_eq!(number("MATCH (n:VrThing) RETURN count(n) AS n").await, 2);
}

/// What a publication leaves out for a while, by a statement that is taken back.
const LEFT_OUT: [(&str, &str); 2] = [
    ("publish = 'insert, truncate'", "publish = 'insert, update, delete, truncate'"),
    ("publish_via_partition_root = false", "publish_via_partition_root = true"),
];

/// The advice of an error did the same: `ALTER PUBLICATION ... SET (publish_via_partition_root = true)`.
#[tokio::test]
async fn what_a_publication_left_out_while_nobody_looked_was_lost() {
    let schema = "CREATE TABLE vl_things (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); \
        CREATE TABLE vl_things_1 PARTITION OF vl_things FOR VALUES FROM (0) TO (100); \
        CREATE TABLE vl_plain (id int PRIMARY KEY); INSERT INTO vl_plain VALUES (1), (2), (3); \
        INSERT INTO vl_things VALUES (1, 'old')";
    let pipeline = Pipeline::new("leftout", schema).await;
    let name = format!("wal2graph_{}", pipeline.name);
    pipeline.catch_up().await;
    let leave_out = async |without: &str, with: &str, id: i32| {
        let sql = format!(
            "ALTER PUBLICATION {name} SET ({without}); INSERT INTO vl_things VALUES ({id}, 'x'); \
             UPDATE vl_things SET v = 'new {id}' WHERE id = 1; DELETE FROM vl_plain WHERE id = {id}; \
             ALTER PUBLICATION {name} SET ({with})"
        );
        for statement in sql.split("; ") {
            pipeline.sql.batch_execute(statement).await.unwrap();
        }
    };
    let is_equal = |id: i32| {
        format!(
            "RETURN EXISTS {{ (:VlThing {{id: {id}}}) }} AND EXISTS {{ (:VlThing {{id: 1, v: 'new {id}'}}) }} \
             AND NOT EXISTS {{ (:VlPlain {{id: {id}}}) }} AS yes"
        )
    };
    for (id, (without, with)) in (2..).zip(LEFT_OUT) {
        leave_out(without, with, id).await;
        pipeline.catch_up().await;
        assert!(holds(&is_equal(id)).await, "{without}, while it was down");
    }
    let running = pipeline.start();
    until("it streams", async || {
        let sql = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1 AND active";
        pipeline.sql.query_one(sql, &[&name]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    for (id, (without, with)) in (4..).zip(LEFT_OUT) {
        leave_out(without, with, id).await;
        eventually(without, &is_equal(id)).await;
    }
    running.kill();
}

#[tokio::test]
async fn a_role_that_does_not_own_the_tables_is_told_by_check_and_before_anything_is_made() {
    let schema = "CREATE TABLE ow_things (id int PRIMARY KEY); CREATE SCHEMA hidden; \
        CREATE TABLE hidden.ow_others (id int PRIMARY KEY)";
    let pipeline = Pipeline::new("owner", schema).await;
    let role = format!("reader_{}", pipeline.name);
    let grants = format!(
        "CREATE ROLE {role} LOGIN REPLICATION; GRANT CREATE ON DATABASE {} TO {role}; \
         GRANT SELECT ON ow_things TO {role}",
        pipeline.name
    );
    pipeline.sql.batch_execute(&grants).await.unwrap();
    let check = output(pipeline.command_as(&role, &["check"])).await;
    let status = output(pipeline.command_as(&role, &["status"])).await;
    let run = output(pipeline.command_as(&role, &["run", "--until", "current"])).await;
    for said in [printed(&check), printed(&status), refused(&run)] {
        for expected in [
            "the ownership of \"hidden\".\"ow_others\", \"public\".\"ow_things\"",
            "CREATE PUBLICATION",
            "GRANT USAGE ON SCHEMA \"hidden\"",
            "GRANT SELECT ON \"hidden\".\"ow_others\"",
        ] {
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }
    assert_nothing_was_made(&pipeline, "OwThing").await;
    let granted = format!(
        "GRANT USAGE ON SCHEMA hidden TO {role}; GRANT SELECT ON hidden.ow_others TO {role}"
    );
    pipeline.sql.batch_execute(&granted).await.unwrap();
    // The statement that the report names, run by a superuser.
    let said = printed(&output(pipeline.command_as(&role, &["check"])).await);
    assert!(!said.contains("GRANT \"postgres\""), "its owner is a superuser: {said}");
    let create = said.lines().find(|line| line.trim().starts_with("CREATE PUBLICATION")).unwrap();
    pipeline.sql.batch_execute(create).await.unwrap();
    let check = output(pipeline.command_as(&role, &["check"])).await;
    assert!(check.status.success(), "{}", printed(&check));
    let run = output(pipeline.command_as(&role, &["run", "--until", "current"])).await;
    assert!(run.status.success(), "{}", log(&run));
    let policy = "ALTER TABLE ow_things ENABLE ROW LEVEL SECURITY";
    pipeline.sql.batch_execute(policy).await.unwrap();
}

#[tokio::test]
async fn rows_that_a_policy_hides_are_found_by_check() {
    let schema = "CREATE TABLE rl_things (id int PRIMARY KEY); ALTER TABLE rl_things ENABLE ROW LEVEL SECURITY";
    let pipeline = Pipeline::new("policy", schema).await;
    let role = format!("limited_{}", pipeline.name);
    let grants =
        format!("CREATE ROLE {role} LOGIN REPLICATION; GRANT SELECT ON rl_things TO {role}");
    pipeline.sql.batch_execute(&grants).await.unwrap();
    let check = printed(&output(pipeline.command_as(&role, &["check"])).await);
    assert!(check.contains(&format!("ALTER ROLE \"{role}\" BYPASSRLS")), "{check}");
}

/// On Amazon RDS no role has the attribute REPLICATION.
#[tokio::test]
async fn a_member_of_the_role_that_replicates_on_amazon_rds_may_replicate() {
    let pipeline = Pipeline::new("rds", "CREATE TABLE rd_things (id int PRIMARY KEY)").await;
    let role = format!("member_{}", pipeline.name);
    let make = format!(
        "CREATE ROLE rds_replication; CREATE ROLE {role} LOGIN; GRANT SELECT ON rd_things TO {role}"
    );
    pipeline.sql.batch_execute(&make).await.unwrap();
    let check = printed(&output(pipeline.command_as(&role, &["check"])).await);
    let grant = format!("GRANT rds_replication TO \"{role}\"");
    assert!(check.contains(&grant) && !check.contains("ALTER ROLE"), "{check}");
    pipeline.sql.batch_execute(&grant).await.unwrap();
    let check = printed(&output(pipeline.command_as(&role, &["check"])).await);
    assert!(!check.contains("may not replicate"), "{check}");
    pipeline.sql.batch_execute("DROP ROLE rds_replication").await.unwrap();
}

#[tokio::test]
async fn two_instances_that_start_for_the_first_time_at_once_both_get_there() {
    for attempt in 0..3 {
        let table = format!("tw_things{attempt}");
        let schema =
            format!("CREATE TABLE {table} (id int PRIMARY KEY); INSERT INTO {table} VALUES (1)");
        let pipeline = Pipeline::new("twice", &schema).await;
        let both = ["first", "second"].map(|_| pipeline.output(&["run", "--until", "current"]));
        let [first, second] = both;
        let (first, second) = tokio::join!(first, second);
        for ended in [first, second] {
            assert!(ended.status.success(), "{}", log(&ended));
        }
    }
}

#[tokio::test]
async fn run_says_once_what_it_leaves_out_and_why() {
    let schema = "CREATE TABLE lo_kept (id int PRIMARY KEY); CREATE TABLE lo_left (id int NOT NULL); \
        CREATE UNIQUE INDEX lo_left_id ON lo_left (id); CREATE UNLOGGED TABLE lo_unlogged (id int PRIMARY KEY); \
        CREATE TABLE lo_parts (id int PRIMARY KEY) PARTITION BY LIST (id); \
        CREATE TABLE lo_parts_1 PARTITION OF lo_parts FOR VALUES IN (1); \
        CREATE TABLE lo_made (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED)";
    let pipeline = Pipeline::new("leftout", schema).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let _running = pipeline.start_logging(&["run"], std::fs::File::create(&path).unwrap());
    let read = || std::fs::read_to_string(&path).unwrap();
    until("it streams", async || read().contains("streaming")).await;
    let end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = current_database()";
    pipeline.sql.batch_execute(end).await.unwrap();
    until("it streams again", async || read().matches("streaming").count() > 1).await;
    for expected in [
        "REPLICA IDENTITY USING INDEX \"lo_left_id\"",
        "\"lo_unlogged\" SET LOGGED",
        "lo_parts: what ATTACH PARTITION brings",
        "column \"twice\" is not mapped",
    ] {
        assert_eq!(read().matches(expected).count(), 1, "{expected}: {}", read());
    }
}

#[tokio::test]
async fn a_nasty_schema_is_written_down_and_run_from_the_file() {
    let schema = "CREATE TABLE ny_thing (id int PRIMARY KEY, _version int, \"_id\" text, version int); \
        CREATE TABLE ny_things (id int PRIMARY KEY, thing_id int REFERENCES ny_thing); \
        CREATE TABLE ny_late (id int PRIMARY KEY DEFERRABLE); CREATE TABLE ny_keyless (a int); \
        INSERT INTO ny_thing VALUES (1, 2, 'x', 3); INSERT INTO ny_things VALUES (7, 1)";
    let pipeline = Pipeline::new("nasty", schema).await;
    let plain = pipeline.output(&["run", "--until", "current"]).await;
    assert_eq!(plain.status.code(), Some(1), "without the file it is refused: {}", log(&plain));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wal2graph.yaml");
    let path = path.to_str().unwrap();
    // Without a graph, and with settings that must stay.
    let url = format!("{}?sslmode=prefer&connect_timeout=30", pipeline.source_url);
    let mut init = std::process::Command::new(env!("CARGO_BIN_EXE_wal2graph"));
    init.args(["init", "-o", path, "--source-url", &url]);
    let init = output(init).await;
    assert!(init.status.success(), "{}", log(&init));
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains("sslmode=prefer&connect_timeout=30"), "{text}");
    assert!(text.starts_with("# yaml-language-server: $schema=wal2graph.schema.json\n"), "{text}");
    assert!(folder.path().join("wal2graph.schema.json").exists());
    let run = pipeline.output(&["run", "--until", "current", "-c", path]).await;
    assert!(run.status.success(), "{}\n{text}", log(&run));
    let there = "MATCH (:NyThings {id: 7})-[:THING]->(n:NyThing {id: 1, version_2: 2, id_2: 'x', version: 3}) \
        RETURN count(n) AS n";
    assert_eq!(number(there).await, 1, "{text}");
}

#[tokio::test]
async fn a_lock_that_kept_the_catalog_from_being_read_was_nobodys() {
    let schema = "CREATE TABLE lk_things (id int PRIMARY KEY)";
    let pipeline = Pipeline::new("catalog_lock", schema).await;
    let mut holder = client(&pipeline.source_url).await;
    let process: i32 = holder.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let lock = holder.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE pg_publication IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let said = printed(&pipeline.output(&["check"]).await);
    lock.rollback().await.unwrap();
    let holds = format!("process {process} of postgres has pg_publication to itself");
    assert!(said.contains("lock timeout") && said.contains(&holds), "{said}");
}
