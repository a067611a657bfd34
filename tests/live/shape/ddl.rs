//! Each kind of DDL, on tables that stand still and on tables that are written to.

use super::{Followed, number};
use crate::support::Pipeline;

type Step = (&'static str, &'static [(&'static str, i64)]);

/// Statements one after the other, while it runs: after each the graph is what the tables are.
async fn steps(followed: &mut Followed, steps: &[Step]) {
    for (sql, checks) in steps {
        followed.sql(sql).await;
        followed.becomes(sql, checks).await;
    }
}

#[tokio::test]
async fn columns_come_and_go_while_it_runs() {
    let schema = "CREATE TABLE sh_a (id int PRIMARY KEY, v text, w int); \
        INSERT INTO sh_a SELECT g, 'v' || g, g FROM generate_series(1, 100) g";
    let mut followed = Followed::new("shcolumns", schema).await;
    followed.becomes("the copy", &[("(n:ShA) RETURN count(n)", 100)]).await;
    steps(
        &mut followed,
        &[
            (
                "ALTER TABLE sh_a ADD plain text; UPDATE sh_a SET plain = 'p' WHERE id <= 10",
                &[("(n:ShA {plain: 'p'}) RETURN count(n)", 10)],
            ),
            ("ALTER TABLE sh_a ADD d int DEFAULT 7", &[("(n:ShA {d: 7}) RETURN count(n)", 100)]),
            (
                "ALTER TABLE sh_a ADD u text DEFAULT gen_random_uuid()::text",
                &[("(n:ShA) WHERE n.u IS NOT NULL RETURN count(n)", 100)],
            ),
            ("ALTER TABLE sh_a DROP v", &[("(n:ShA) WHERE n.v IS NOT NULL RETURN count(n)", 0)]),
            (
                "ALTER TABLE sh_a ADD v text; UPDATE sh_a SET v = 'again' WHERE id = 1",
                &[("(n:ShA) WHERE n.v IS NOT NULL RETURN count(n)", 1)],
            ),
            (
                "ALTER TABLE sh_a DROP d, ADD d int",
                &[("(n:ShA) WHERE n.d IS NOT NULL RETURN count(n)", 0)],
            ),
            (
                "ALTER TABLE sh_a RENAME w TO weight",
                &[
                    ("(n:ShA) WHERE n.w IS NOT NULL RETURN count(n)", 0),
                    ("(n:ShA {weight: 5}) RETURN count(n)", 1),
                ],
            ),
            (
                "ALTER TABLE sh_a ALTER weight TYPE int USING weight * 10",
                &[("(n:ShA {weight: 50}) RETURN count(n)", 1)],
            ),
            (
                "ALTER TABLE sh_a ALTER weight TYPE text",
                &[("(n:ShA {weight: '50'}) RETURN count(n)", 1)],
            ),
            (
                "ALTER TABLE sh_a ADD gone int; UPDATE sh_a SET gone = 1; ALTER TABLE sh_a DROP gone",
                &[("(n:ShA) WHERE n.gone IS NOT NULL RETURN count(n)", 0)],
            ),
            (
                "ALTER TABLE sh_a ADD x1 int; UPDATE sh_a SET x1 = 3 WHERE id = 3; ALTER TABLE sh_a RENAME x1 TO x2",
                &[("(n:ShA {x2: 3}) RETURN count(n)", 1)],
            ),
        ],
    )
    .await;
    let _ = number("RETURN 1 AS n").await;
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn tables_come_and_go_while_it_runs() {
    let schema = "CREATE TABLE si_a (id int PRIMARY KEY, v text); \
        INSERT INTO si_a SELECT g, 'v' || g FROM generate_series(1, 50) g";
    let mut followed = Followed::new("shtables", schema).await;
    followed.becomes("the copy", &[("(n:SiA) RETURN count(n)", 50)]).await;
    steps(
        &mut followed,
        &[
            (
                "CREATE TABLE si_b (id int PRIMARY KEY, a_id int REFERENCES si_a); \
                 INSERT INTO si_b SELECT g, g FROM generate_series(1, 20) g",
                &[("(:SiB)-[r]->(:SiA) RETURN count(r)", 20)],
            ),
            ("INSERT INTO si_b VALUES (100, 1)", &[("(:SiB)-[r]->(:SiA) RETURN count(r)", 21)]),
            (
                "ALTER TABLE si_b DROP CONSTRAINT si_b_a_id_fkey",
                &[("(:SiB)-[r]->(:SiA) RETURN count(r)", 0)],
            ),
            (
                "ALTER TABLE si_b ADD CONSTRAINT again FOREIGN KEY (a_id) REFERENCES si_a ON DELETE CASCADE",
                &[("(:SiB)-[r]->(:SiA) RETURN count(r)", 21)],
            ),
            ("DELETE FROM si_a WHERE id = 1", &[("(n:SiB) RETURN count(n)", 19)]),
            (
                "ALTER TABLE si_b RENAME TO si_c",
                &[("(n:SiB) RETURN count(n)", 0), ("(:SiC)-[r]->(:SiA) RETURN count(r)", 19)],
            ),
            (
                "DROP TABLE si_c; CREATE TABLE si_c (id int PRIMARY KEY, a_id int REFERENCES si_a); \
                 INSERT INTO si_c VALUES (1000, 2)",
                &[("(n:SiC) RETURN count(n)", 1), ("(:SiC)-[r]->(:SiA) RETURN count(r)", 1)],
            ),
            ("DROP TABLE si_c", &[("(n:SiC) RETURN count(n)", 0)]),
            ("TRUNCATE si_a", &[("(n:SiA) RETURN count(n)", 0)]),
        ],
    )
    .await;
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn changes_while_it_is_down_are_followed_at_the_next_start() {
    let schema = "CREATE TABLE sj_a (id int PRIMARY KEY, v text, n int); CREATE TABLE sj_b (id int PRIMARY KEY); \
        CREATE TYPE sj_mood AS ENUM ('sad', 'glad'); CREATE TABLE sj_e (id int PRIMARY KEY, mood sj_mood); \
        INSERT INTO sj_a SELECT g, 'v' || g, g FROM generate_series(1, 50) g; INSERT INTO sj_b VALUES (1); \
        INSERT INTO sj_e SELECT g, 'sad' FROM generate_series(1, 5) g";
    let pipeline = Pipeline::new("shdown", schema).await;
    pipeline.catch_up().await;
    let changes = [
        "ALTER TABLE sj_a ADD c int DEFAULT 3",
        "UPDATE sj_a SET v = 'x' WHERE id = 1; ALTER TABLE sj_a DROP v; UPDATE sj_a SET n = 0 WHERE id = 2; \
         ALTER TABLE sj_a ADD v text; UPDATE sj_a SET v = 'y' WHERE id = 3",
        "ALTER TABLE sj_a RENAME TO sj_tmp; ALTER TABLE sj_b RENAME TO sj_a; INSERT INTO sj_a VALUES (77); \
         ALTER TABLE sj_a RENAME TO sj_b; ALTER TABLE sj_tmp RENAME TO sj_a",
        "ALTER TYPE sj_mood RENAME VALUE 'sad' TO 'blue'; ALTER TYPE sj_mood ADD VALUE 'new'",
        "ALTER PUBLICATION OWN DROP TABLE sj_a; UPDATE sj_a SET n = n + 1000; ALTER PUBLICATION OWN ADD TABLE sj_a",
        "ALTER TABLE sj_a ALTER n TYPE int USING n * 2",
        "DELETE FROM sj_b WHERE id = 1; ALTER TABLE sj_b RENAME id TO ident",
        "CREATE TABLE sj_new (id int PRIMARY KEY, a_id int REFERENCES sj_a); INSERT INTO sj_new VALUES (1, 1)",
    ];
    for sql in changes {
        let sql = sql.replace("OWN", &format!("wal2graph_{}", pipeline.name));
        pipeline.sql.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        pipeline.catch_up().await;
        let output = pipeline.output(&["verify"]).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {said}");
    }
    assert_eq!(number("MATCH (n:SjE {mood: 'blue'}) RETURN count(n) AS n").await, 5);
    assert_eq!(number("MATCH (n:SjB) RETURN count(n) AS n").await, 1);
    assert_eq!(number("MATCH (n:SjA {v: 'y'}) RETURN count(n) AS n").await, 1);
    assert_eq!(number("MATCH (n:SjA) WHERE n.v IS NOT NULL RETURN count(n) AS n").await, 1);
}

#[tokio::test]
async fn keys_enums_and_partitions_are_followed_while_it_runs() {
    let schema = "CREATE TYPE sk_mood AS ENUM ('sad', 'glad'); \
        CREATE TABLE sk_e (id int PRIMARY KEY, mood sk_mood, moods sk_mood[]); \
        INSERT INTO sk_e SELECT g, 'sad', ARRAY['sad', 'glad']::sk_mood[] FROM generate_series(1, 5) g; \
        CREATE TABLE sk_p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); \
        CREATE TABLE sk_p1 PARTITION OF sk_p FOR VALUES FROM (0) TO (100); \
        CREATE TABLE sk_old (id int PRIMARY KEY, v text); \
        INSERT INTO sk_p SELECT g, 'p' FROM generate_series(1, 10) g; \
        INSERT INTO sk_old SELECT g, 'old' FROM generate_series(101, 120) g";
    let mut followed = Followed::new("shkinds", schema).await;
    followed.becomes("the copy", &[("(n:SkP) RETURN count(n)", 10)]).await;
    super::run("MATCH (n:SkE {id: 3}) SET n.mine = 'stays', n:Mine CREATE (n)-[:SEEN]->(:SkSeen)")
        .await;
    steps(
        &mut followed,
        &[
            (
                "ALTER TYPE sk_mood RENAME VALUE 'sad' TO 'blue'",
                &[
                    ("(n:SkE {mood: 'blue'}) RETURN count(n)", 5),
                    ("(n:SkE) WHERE 'blue' IN n.moods RETURN count(n)", 5),
                ],
            ),
            (
                "ALTER TABLE sk_e RENAME id TO ident",
                &[
                    ("(n:SkE:Mine {ident: 3, mine: 'stays'})-[:SEEN]->() RETURN count(n)", 1),
                    ("(n:SkE) WHERE n.id IS NOT NULL RETURN count(n)", 0),
                    ("(n:SkE) RETURN count(n)", 5),
                ],
            ),
            (
                "UPDATE sk_e SET ident = 30 WHERE ident = 3",
                &[("(n:SkE:Mine {ident: 30}) RETURN count(n)", 1)],
            ),
        ],
    )
    .await;
    steps(
        &mut followed,
        &[
            (
                "ALTER TABLE sk_p ATTACH PARTITION sk_old FOR VALUES FROM (101) TO (200)",
                &[("(n:SkP) RETURN count(n)", 30), ("(n:SkOld) RETURN count(n)", 0)],
            ),
            ("UPDATE sk_p SET v = 'new' WHERE id = 110", &[("(n:SkP {v: 'new'}) RETURN count(n)", 1)]),
            ("TRUNCATE sk_p1", &[("(n:SkP) RETURN count(n)", 20)]),
            (
                "CREATE TABLE sk_p3 PARTITION OF sk_p FOR VALUES FROM (300) TO (400); INSERT INTO sk_p VALUES (301, 'c')",
                &[("(n:SkP) RETURN count(n)", 21)],
            ),
            ("ALTER TABLE sk_p DETACH PARTITION sk_old", &[("(n:SkP) RETURN count(n)", 1)]),
        ],
    )
    .await;
}

/// It leaves no trace in the catalog, and its rows go without an event.
#[tokio::test]
async fn a_partition_that_was_attached_written_and_detached_between_two_looks_left_its_rows() {
    let schema = "CREATE TABLE spa_p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); \
        CREATE TABLE spa_p1 PARTITION OF spa_p FOR VALUES FROM (0) TO (100); \
        CREATE TABLE spa_l (LIKE spa_p INCLUDING ALL); \
        INSERT INTO spa_p SELECT g, 'p' FROM generate_series(1, 10) g";
    let mut followed = Followed::new("shleaf", schema).await;
    followed.becomes("the copy", &[("(n:SpaP) RETURN count(n)", 10)]).await;
    let moment = |id: u32| {
        format!(
            "BEGIN; ALTER TABLE spa_p ATTACH PARTITION spa_l FOR VALUES FROM (100) TO (200); \
             INSERT INTO spa_p VALUES ({id}, 'for a moment'); ALTER TABLE spa_p DETACH PARTITION spa_l; \
             TRUNCATE spa_l; UPDATE spa_p SET v = 'q{id}' WHERE id = 1; COMMIT"
        )
    };
    followed.sql(&moment(101)).await;
    let after = |id: u32| format!("(n:SpaP {{id: 1, v: 'q{id}'}}) RETURN count(n)");
    let rows = ("(n:SpaP) RETURN count(n)", 10);
    followed.becomes("it runs", &[(&after(101), 1), rows]).await;
    let Followed { pipeline, running, .. } = followed;
    running.kill();
    pipeline.sql.batch_execute(&moment(102)).await.unwrap();
    pipeline.sql.batch_execute("ALTER TABLE spa_p ADD more int").await.unwrap();
    let mut followed = Followed::with(pipeline, &["run"]);
    followed.becomes("it was stopped", &[(&after(102), 1), rows]).await;
}

/// What a person has to judge ends it, with words that lead on.
#[tokio::test]
async fn another_primary_key_ends_it_with_what_to_do() {
    let schema = "CREATE TABLE sl_a (id int PRIMARY KEY, code text NOT NULL UNIQUE); \
        INSERT INTO sl_a SELECT g, 'c' || g FROM generate_series(1, 9) g";
    let pipeline = Pipeline::new("shkey", schema).await;
    pipeline.catch_up().await;
    let change = "ALTER TABLE sl_a DROP CONSTRAINT sl_a_pkey, ADD PRIMARY KEY (code)";
    pipeline.sql.batch_execute(change).await.unwrap();
    let output = pipeline.output(&["run", "--until", "current"]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("was (id) and is (code)"), "{said}");
    assert!(said.contains("repair --new-slot"), "{said}");
    assert!(!said.contains("created a constraint"), "a refused start leaves nothing: {said}");
    let plan = pipeline.output(&["plan", "--against-graph"]).await;
    let said = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert!(said.contains("was (id) and is (code)"), "{said}");
    let output = pipeline.output(&["repair", "--new-slot"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    pipeline.catch_up().await;
    assert_eq!(number("MATCH (n:SlA) WHERE n.code IS NOT NULL RETURN count(n) AS n").await, 9);
    let output = pipeline.output(&["verify"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// A table that is new must not stop what goes on, whatever is wrong with it.
#[tokio::test]
async fn new_tables_that_can_not_come_are_left_out() {
    let schema = "CREATE TABLE sm_a (id int PRIMARY KEY, v text); INSERT INTO sm_a VALUES (1, 'a'); \
        CREATE PUBLICATION OWN FOR TABLE sm_a";
    let pipeline = Pipeline::new("shleft", "SELECT 1").await;
    let own = format!("wal2graph_{}", pipeline.name);
    pipeline.sql.batch_execute(&schema.replace("OWN", &own)).await.unwrap();
    let mut followed = Followed::with(pipeline, &["run"]);
    followed.becomes("the copy", &[("(n:SmA) RETURN count(n)", 1)]).await;
    followed.sql("CREATE TABLE sm_b (id int PRIMARY KEY); INSERT INTO sm_b VALUES (1)").await;
    followed.sql("UPDATE sm_a SET v = 'b'").await;
    followed.becomes("the stream", &[("(n:SmA {v: 'b'}) RETURN count(n)", 1)]).await;
    followed.becomes("not published", &[("(n:SmB) RETURN count(n)", 0)]).await;
    let add = format!("ALTER PUBLICATION \"{own}\" ADD TABLE ONLY \"public\".\"sm_b\"");
    crate::support::until("it says so", async || followed.logged().contains(&add)).await;
    followed.sql(&add).await;
    followed.becomes("published", &[("(n:SmB) RETURN count(n)", 1)]).await;
}

#[tokio::test]
async fn a_new_table_waits_where_the_file_says_ask_and_is_no_matter_where_it_says_ignore() {
    let schema = "CREATE TABLE sna_a (id int PRIMARY KEY); INSERT INTO sna_a VALUES (1)";
    let pipeline = Pipeline::new("shask", schema).await.configured("new_tables: ask");
    let statement = format!(
        "ALTER PUBLICATION \"wal2graph_{}\" ADD TABLE ONLY \"public\".\"sna_b\"",
        pipeline.name
    );
    let mut followed = Followed::with(pipeline, &["run"]);
    followed.becomes("the copy", &[("(n:SnaA) RETURN count(n)", 1)]).await;
    followed.sql("CREATE TABLE sna_b (id int PRIMARY KEY); INSERT INTO sna_b VALUES (1)").await;
    crate::support::until("it says so", async || followed.logged().contains(&statement)).await;
    for command in ["status", "check"] {
        let output = followed.pipeline.output(&[command]).await;
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(&statement), "{command}: {text}");
    }
    let mut followed = followed.restarted("new_tables: ignore").await;
    followed.sql("INSERT INTO sna_a VALUES (2)").await;
    followed.becomes("the stream", &[("(n:SnaA) RETURN count(n)", 2)]).await;
    for command in ["status", "check"] {
        let output = followed.pipeline.output(&[command]).await;
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!text.contains("sna_b"), "{command}: {text}");
    }
    followed.sql(&statement).await;
    followed.becomes("published", &[("(n:SnaB) RETURN count(n)", 1)]).await;
}
