//! Tables that are paused, kept or stop the program when they change.

use super::{Followed, number};
use crate::support::{PATIENCE, Pipeline, until};

const RUN: &[&str] = &["run"];

impl Followed {
    /// The same with another file, after a stop or a kill.
    pub(super) async fn restarted(self, file: &str) -> Self {
        let Followed { pipeline, running, .. } = self;
        running.kill();
        Followed::with(pipeline.configured(file), RUN)
    }

    pub(super) async fn status(&self) -> String {
        let output = self.pipeline.output(&["status"]).await;
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until `status` says that a table is paused, and returns what it says.
    async fn pauses(&self, table: &str) -> String {
        let begins = format!("paused        {table}: ");
        let line = async || {
            let status = self.status().await;
            status.lines().find_map(|line| Some(line.strip_prefix(&begins)?.to_owned()))
        };
        until(&format!("{table} is paused"), async || line().await.is_some()).await;
        line().await.expect("it is paused")
    }

    /// The setting in the file that a text of the program advises.
    fn advised(said: &str) -> String {
        let rest = said.split_once("let the graph follow: `").expect(said).1;
        rest.split_once('`').expect(said).0.to_owned()
    }
}

/// A file that pauses one table.
fn pausing(table: &str) -> String {
    format!("tables: {{public.{table}: {{schema_changes: pause}}}}")
}

#[tokio::test]
async fn a_paused_table_stands_still_while_all_others_go_on() {
    let schema = "CREATE TABLE spa_a (id int PRIMARY KEY, v text, n int); \
        CREATE TABLE spa_b (id int PRIMARY KEY, a_id int REFERENCES spa_a); CREATE TABLE spa_c (id int PRIMARY KEY); \
        INSERT INTO spa_a SELECT g, 'v' || g, g FROM generate_series(1, 50) g; \
        INSERT INTO spa_b SELECT g, g FROM generate_series(1, 40) g";
    let pipeline = Pipeline::new("shpause", schema).await.configured(&pausing("spa_a"));
    let mut followed = Followed::with(pipeline, RUN);
    followed.becomes("the copy", &[("(:SpaB)-[r]->(:SpaA) RETURN count(r)", 40)]).await;
    let changes = "ALTER TABLE spa_a RENAME v TO w; UPDATE spa_a SET w = 'x' WHERE id < 10; \
        INSERT INTO spa_a VALUES (100, 'new', 1); INSERT INTO spa_b VALUES (100, 100); INSERT INTO spa_c VALUES (1)";
    followed.sql(changes).await;
    let stands = "(n:SpaA) WHERE n.v STARTS WITH 'v' AND n.w IS NULL RETURN count(n)";
    let held = "(:SpaB {id: 100})-[r]->(:SpaA:_Placeholder {id: 100}) RETURN count(r)";
    let others = "(n:SpaC) RETURN count(n)";
    followed.becomes("all others go on", &[(stands, 50), (held, 1), (others, 1)]).await;
    let said = followed.pauses("public.spa_a").await;
    assert!(said.contains("the column v is called w"), "{said}");
    let log = followed.logged();
    assert!(log.contains("the table has changed and is paused"), "{log}");
    let output = followed.pipeline.output(&["check"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let output = followed.pipeline.output(&["plan", "--against-graph"]).await;
    let plan = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && plan.contains("it is paused"), "{plan}");

    // A kill, and changes of this table and of others.
    let mut followed = followed.restarted(&pausing("spa_a")).await;
    let changes = "ALTER TABLE spa_a DROP n, ADD d int DEFAULT 7; DELETE FROM spa_a WHERE id = 45; \
        ALTER TABLE spa_c ADD plain int; INSERT INTO spa_c VALUES (2, 5); UPDATE spa_b SET a_id = 1 WHERE id = 2";
    followed.sql(changes).await;
    let plain = "(n:SpaC {plain: 5}) RETURN count(n)";
    let moved = "(:SpaB {id: 2})-[r]->(:SpaA {id: 1}) RETURN count(r)";
    let checks = [(stands, 50), (held, 1), (plain, 1), (moved, 1)];
    followed.becomes("it is still paused", &checks).await;
    until("it says more", async || {
        followed.pauses("public.spa_a").await.contains("the column d was added: integer")
    })
    .await;

    // What compares tables and graph leaves it out, and says so.
    let output = followed.pipeline.output(&["repair", "public.spa_a"]).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("is paused"), "{told}");
    let output = followed.pipeline.output(&["repair"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(number(&format!("MATCH {stands} AS n")).await, 50);

    // The advice works word by word.
    let said = followed.pauses("public.spa_a").await;
    let mut followed = followed.restarted(&Followed::advised(&said)).await;
    let goes_on: &[(&str, i64)] = &[
        ("(n:SpaA {w: 'x', d: 7}) RETURN count(n)", 9),
        ("(n:SpaA) WHERE n.v IS NOT NULL OR n.n IS NOT NULL RETURN count(n)", 0),
        ("(n:SpaA) WHERE NOT n:_Placeholder RETURN count(n)", 50),
        ("(:SpaB)-[r]->(:SpaA) RETURN count(r)", 41),
    ];
    followed.becomes("it goes on", goes_on).await;
    assert!(!followed.status().await.contains("paused"));
}

#[tokio::test]
async fn a_change_that_is_taken_back_lets_the_table_go_on() {
    let schema = "CREATE TABLE spd_a (id int PRIMARY KEY, v text); CREATE TABLE spd_b (id int PRIMARY KEY); \
        INSERT INTO spd_a SELECT g, 'v' || g FROM generate_series(1, 30) g";
    let pipeline = Pipeline::new("shback", schema).await.configured("schema_changes: pause");
    let mut followed = Followed::with(pipeline, RUN);
    followed.becomes("the copy", &[("(n:SpdA) RETURN count(n)", 30)]).await;
    followed.sql("ALTER TABLE spd_a RENAME TO spd_away; ALTER TABLE spd_away RENAME v TO w").await;
    let said = followed.pauses("public.spd_a").await;
    assert!(said.contains("it is called public.spd_away, and was public.spd_a"), "{said}");
    followed.sql("INSERT INTO spd_away VALUES (31, 'y'); DELETE FROM spd_away WHERE id = 1").await;
    followed.sql("UPDATE spd_away SET w = 'z' WHERE id = 2; INSERT INTO spd_b VALUES (1)").await;
    let stands = [("(n:SpdA) RETURN count(n)", 30), ("(n:SpdB) RETURN count(n)", 1)];
    followed.becomes("it stands", &stands).await;
    followed.sql("ALTER TABLE spd_away RENAME w TO v; ALTER TABLE spd_away RENAME TO spd_a").await;
    let goes_on = [
        ("(n:SpdA {v: 'z'}) RETURN count(n)", 1),
        ("(n:SpdA {id: 1}) RETURN count(n)", 0),
        ("(n:SpdA {id: 31, v: 'y'}) RETURN count(n)", 1),
    ];
    followed.becomes("it goes on by itself", &goes_on).await;
    followed.sql("INSERT INTO spd_a VALUES (32, 'streams')").await;
    followed.becomes("it streams", &[("(n:SpdA {v: 'streams'}) RETURN count(n)", 1)]).await;
    assert!(followed.logged().contains("it was paused, and goes on"), "{}", followed.logged());
}

/// There was nothing to look at, so the publication was said to be gone.
#[tokio::test]
async fn the_only_table_is_paused() {
    let schema =
        "CREATE TABLE spi_a (id int PRIMARY KEY, v text); INSERT INTO spi_a VALUES (1, 'a')";
    let pipeline = Pipeline::new("shonly", schema).await.configured("schema_changes: pause");
    let mut followed = Followed::with(pipeline, RUN);
    followed.becomes("the copy", &[("(n:SpiA) RETURN count(n)", 1)]).await;
    followed.sql("ALTER TABLE spi_a RENAME v TO w; INSERT INTO spi_a VALUES (2, 'b')").await;
    let said = followed.pauses("public.spi_a").await;
    let mut followed = followed.restarted("schema_changes: pause").await;
    let output = followed.pipeline.output(&["verify"]).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("all tables have changed"), "{told}");
    assert_eq!(number("MATCH (n:SpiA {v: 'a'}) RETURN count(n) AS n").await, 1);
    assert_eq!(followed.pauses("public.spi_a").await, said);
    assert!(followed.running.0.try_wait().unwrap().is_none(), "{}", followed.logged());
    let mut followed = followed.restarted(&Followed::advised(&said)).await;
    followed.becomes("it goes on", &[("(n:SpiA {w: 'b'}) RETURN count(n)", 1)]).await;
}

/// Another key ends the program, so there the graph still has the table as it was.
#[tokio::test]
async fn a_table_with_another_key_is_paused_after_a_stop() {
    let schema = "CREATE TABLE spe_a (id int PRIMARY KEY, code int NOT NULL UNIQUE); \
        CREATE TABLE spe_b (id int PRIMARY KEY, a_id int); \
        INSERT INTO spe_a SELECT g, g + 100 FROM generate_series(1, 20) g";
    let mut followed = Followed::new("shkey", schema).await;
    followed.becomes("the copy", &[("(n:SpeA) RETURN count(n)", 20)]).await;
    super::run("MATCH (n:SpeA {id: 5}) SET n:SpeVip").await;
    let other = "ALTER TABLE spe_a DROP CONSTRAINT spe_a_pkey, ADD PRIMARY KEY (code)";
    followed.sql(other).await;
    assert_eq!(followed.running.ended(PATIENCE).await, Some(1));
    let mut followed = followed.restarted(&pausing("spe_a")).await;
    followed.sql("INSERT INTO spe_b VALUES (1, 5); DELETE FROM spe_a WHERE id = 1").await;
    let stands = [("(n:SpeA) RETURN count(n)", 20), ("(n:SpeB) RETURN count(n)", 1)];
    followed.becomes("all others go on", &stands).await;
    let said = followed.pauses("public.spe_a").await;
    assert!(said.contains("its primary key is (code), and was (id)"), "{said}");
    let statements = said.split_once("still there: ").expect(&said).1;
    let (statements, rest) = statements.split_once(", and set `").expect(&said);
    followed.sql(statements).await;
    let key = rest.split_once('`').expect(&said).0;
    let file = format!("tables: {{public.spe_a: {{schema_changes: pause, {key}}}}}");
    let mut followed = followed.restarted(&file).await;
    let goes_on =
        [("(n:SpeA) RETURN count(n)", 19), ("(n:SpeVip:SpeA {id: 5}) RETURN count(n)", 1)];
    followed.becomes("it goes on with the key that it had", &goes_on).await;
}

#[tokio::test]
async fn rows_of_a_dropped_table_stay_where_the_file_says_so() {
    let schema = "CREATE TABLE spf_a (id int PRIMARY KEY); CREATE TABLE spf_b (id int PRIMARY KEY); \
        CREATE TABLE spf_c (id int PRIMARY KEY, a_id int REFERENCES spf_a); INSERT INTO spf_a VALUES (1), (2); \
        INSERT INTO spf_b VALUES (1), (2); INSERT INTO spf_c VALUES (1, 1)";
    let pipeline = Pipeline::new("shkeep", schema).await.configured("dropped_tables: keep");
    let mut followed = Followed::with(pipeline, RUN);
    followed.becomes("the copy", &[("(n:SpfA) RETURN count(n)", 2)]).await;
    followed.sql("ALTER TABLE spf_b ADD x int DEFAULT 3; DROP TABLE spf_a CASCADE").await;
    let checks = [
        ("(n:SpfA) RETURN count(n)", 2),
        ("(n:SpfB {x: 3}) RETURN count(n)", 2),
        ("(:SpfC)-[r]->(:SpfA) RETURN count(r)", 0),
    ];
    followed.becomes("other changes are followed", &checks).await;
    let said = followed.pauses("public.spf_a").await;
    assert!(said.contains("the table was dropped"), "{said}");
    let mut followed = followed.restarted("dropped_tables: keep").await;
    followed.sql("INSERT INTO spf_c VALUES (2, 7)").await;
    let checks = [("(n:SpfA) RETURN count(n)", 2), ("(n:SpfC) RETURN count(n)", 2)];
    followed.becomes("its rows stay", &checks).await;
    followed.sql("CREATE TABLE spf_a (id int PRIMARY KEY); INSERT INTO spf_a VALUES (9)").await;
    let anew = [("(n:SpfA) RETURN count(n)", 1), ("(n:SpfA {id: 9}) RETURN count(n)", 1)];
    followed.becomes("another table has its name", &anew).await;
    followed.sql("DROP TABLE spf_a").await;
    followed.pauses("public.spf_a").await;
    let mut followed = followed.restarted("dropped_tables: clear").await;
    followed.becomes("they go", &[("(n:SpfA) RETURN count(n)", 0)]).await;
}

#[tokio::test]
async fn one_table_stops_the_program_and_others_are_followed() {
    let schema = "CREATE TABLE spg_a (id int PRIMARY KEY, v text); CREATE TABLE spg_b (id int PRIMARY KEY); \
        INSERT INTO spg_a VALUES (1, 'a'); INSERT INTO spg_b VALUES (1)";
    let stopping = "tables: {public.spg_a: {schema_changes: stop}}";
    let pipeline = Pipeline::new("shone", schema).await.configured(stopping);
    let mut followed = Followed::with(pipeline, RUN);
    followed.becomes("the copy", &[("(n:SpgA) RETURN count(n)", 1)]).await;
    followed.sql("ALTER TABLE spg_b ADD x int DEFAULT 3").await;
    followed.becomes("others are followed", &[("(n:SpgB {x: 3}) RETURN count(n)", 1)]).await;
    followed.sql("ALTER TABLE spg_a ADD y int DEFAULT 4").await;
    assert_eq!(followed.running.ended(PATIENCE).await, Some(1));
    let said = followed.logged();
    assert!(said.contains("public.spg_a: the column \"y\" was added"), "{said}");
    assert_eq!(number("MATCH (n:SpgA {y: 4}) RETURN count(n) AS n").await, 0);
    let output = followed.pipeline.output(&["run", "--until", "current"]).await;
    assert!(!output.status.success(), "the next start is refused");
    let mut followed = followed.restarted(&pausing("spg_a")).await;
    followed.sql("INSERT INTO spg_a VALUES (2, 'b', 5); INSERT INTO spg_b VALUES (2, 5)").await;
    let checks = [("(n:SpgA) RETURN count(n)", 1), ("(n:SpgB) RETURN count(n)", 2)];
    followed.becomes("it is paused instead", &checks).await;
    let mut followed = followed.restarted("schema_changes: apply").await;
    followed.becomes("it goes on", &[("(n:SpgA) WHERE n.y > 3 RETURN count(n)", 2)]).await;
}

/// A new slot forgets nothing of a pause.
#[tokio::test]
async fn a_pause_outlives_the_slot() {
    let schema = "CREATE TABLE sph_a (id int PRIMARY KEY, v text); CREATE TABLE sph_b (id int PRIMARY KEY); \
        INSERT INTO sph_a SELECT g, 'v' FROM generate_series(1, 20) g";
    let pipeline = Pipeline::new("shslot", schema).await.configured(&pausing("sph_a"));
    let mut followed = Followed::with(pipeline, RUN);
    followed.becomes("the copy", &[("(n:SphA) RETURN count(n)", 20)]).await;
    followed.sql("ALTER TABLE sph_a RENAME v TO w; UPDATE sph_a SET w = 'x'").await;
    followed.pauses("public.sph_a").await;
    let Followed { pipeline, running, .. } = followed;
    running.kill();
    pipeline.sql.batch_execute("INSERT INTO sph_b VALUES (1)").await.unwrap();
    until("the slot is made anew", async || {
        pipeline.output(&["repair", "--new-slot"]).await.status.success()
    })
    .await;
    let mut followed = Followed::with(pipeline, RUN);
    let stands = [
        ("(n:SphA {v: 'v'}) RETURN count(n)", 20),
        ("(n:SphA) WHERE n.w IS NOT NULL RETURN count(n)", 0),
        ("(n:SphB) RETURN count(n)", 1),
    ];
    followed.becomes("it is still paused", &stands).await;
    let said = followed.pauses("public.sph_a").await;
    let mut followed = followed.restarted(&Followed::advised(&said)).await;
    followed.becomes("it goes on", &[("(n:SphA {w: 'x'}) RETURN count(n)", 20)]).await;
}
