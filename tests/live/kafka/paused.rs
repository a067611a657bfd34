//! Tables that are paused or kept while their records come through topics.

use super::{
    following::is_equal,
    kafka,
    partitions::{Spread, stops},
    served,
};
use crate::support::{Running, holds, until};

impl Spread {
    async fn sql(&self, sql: &str) {
        let ran = self.pipeline.sql.batch_execute(sql).await;
        ran.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Waits until `status` says that a table is paused, and returns what it says.
    async fn pauses(&self, table: &str) -> String {
        let begins = format!("paused        {table}: ");
        let line = async || {
            let (_, status) = self.output(&["status"]).await;
            status.lines().find_map(|line| Some(line.strip_prefix(&begins)?.to_owned()))
        };
        until(&format!("{table} is paused"), async || line().await.is_some()).await;
        line().await.expect("it is paused")
    }

    /// Everything that is committed now is in the graph, but for what is paused.
    async fn is_passed(&self) {
        let (code, said) = self.output(&["wait", "--timeout", "90s"]).await;
        assert_eq!(code, Some(0), "{said}\n{}", self.said());
    }
}

/// The setting in the file that a text of the program advises.
fn advised(said: &str) -> String {
    let rest = said.split_once("let the graph follow: `").expect(said).1;
    rest.split_once('`').expect(said).0.to_owned()
}

/// A file that pauses one table.
fn pausing(table: &str) -> String {
    format!("tables: {{public.{table}: {{schema_changes: pause}}}}")
}

fn yes(checks: &[(&str, i64)]) -> String {
    let all = checks.iter().map(|(cypher, count)| format!("COUNT {{ {cypher} }} = {count}"));
    format!("RETURN {} AS yes", all.collect::<Vec<_>>().join(" AND "))
}

/// Waits until it is so, while all of them run.
async fn becomes(spread: &Spread, all: &mut [Running], what: &str, checks: &[(&str, i64)]) {
    until(what, async || {
        for running in all.iter_mut() {
            assert!(running.0.try_wait().unwrap().is_none(), "{what}: {}", spread.said());
        }
        holds(&yes(checks)).await
    })
    .await;
}

const SCHEMA: &str = "CREATE TABLE XX_a (id int PRIMARY KEY, v text, n int); \
    CREATE TABLE XX_b (id int PRIMARY KEY, a_id int REFERENCES XX_a); CREATE TABLE XX_c (id int PRIMARY KEY); \
    INSERT INTO XX_a SELECT g, 'v' || g, g FROM generate_series(1, 50) g; \
    INSERT INTO XX_b SELECT g, g FROM generate_series(1, 40) g";

#[tokio::test]
async fn a_paused_table_stands_still_through_three_partitions_whoever_is_killed() {
    let (section, file) = ("partitions: 3", pausing("kp17a_a"));
    let spread = Spread::saying("kp17a", &SCHEMA.replace("XX", "kp17a"), section, &file).await;
    let with_http = spread.start_with(&["apply", "--http", "127.0.0.1:0"]);
    let mut all = vec![spread.start("publish"), with_http, spread.start("apply")];
    becomes(&spread, &mut all, "the copy", &[("(:Kp17aB)-->(:Kp17aA)", 40)]).await;
    // Its records are not of the columns that the graph has, nor of their types.
    let changes = "ALTER TABLE kp17a_a RENAME v TO w; ALTER TABLE kp17a_a ALTER n TYPE boolean USING n > 25; \
        UPDATE kp17a_a SET w = 'x' WHERE id < 10; INSERT INTO kp17a_a VALUES (100, 'new', true); \
        INSERT INTO kp17a_b VALUES (100, 100); INSERT INTO kp17a_c VALUES (1); DELETE FROM kp17a_a WHERE id = 44";
    spread.sql(changes).await;
    let stands = ("(n:Kp17aA) WHERE n.v STARTS WITH 'v' AND n.w IS NULL AND n.n = n.id", 50);
    let held = ("(:Kp17aB {id: 100})-->(:Kp17aA:_Placeholder {id: 100})", 1);
    let others = ("(:Kp17aC)", 1);
    becomes(&spread, &mut all, "all others go on", &[stands, held, others]).await;
    let said = spread.pauses("public.kp17a_a").await;
    assert!(said.contains("the column v is called w"), "{said}");
    assert!(said.contains("the column n is boolean, and was integer"), "{said}");
    let told = "the table has changed and is paused";
    assert!(spread.said().contains(told), "{}", spread.said());
    let page = served::until(&spread.log, "/status", |it| it.contains("is called w")).await;
    assert!(page.contains("public.kp17a_a"), "{page}");
    let metrics = served::get(&spread.log, "/metrics").await;
    assert!(metrics.contains("table_paused{"), "{metrics}");
    let (code, checked) = spread.output(&["check"]).await;
    assert_eq!(code, Some(0), "{checked}");
    let (code, plan) = spread.output(&["plan", "--against-graph"]).await;
    assert!(code == Some(0) && plan.contains("it is paused"), "{plan}");

    // A member that takes over, and one that comes, keep it paused.
    all.remove(1).kill();
    let changes = "ALTER TABLE kp17a_a ADD d int DEFAULT 7; TRUNCATE kp17a_c; INSERT INTO kp17a_c VALUES (2), (3); \
        UPDATE kp17a_a SET id = 200 WHERE id = 47; UPDATE kp17a_b SET a_id = 1 WHERE id = 2";
    spread.sql(changes).await;
    let others = ("(:Kp17aC)", 2);
    becomes(&spread, &mut all, "one has all partitions", &[stands, held, others]).await;
    all.push(spread.start("apply"));
    spread.sql("INSERT INTO kp17a_c SELECT generate_series(4, 30); ALTER TABLE kp17a_c ADD x int DEFAULT 5").await;
    let others = ("(n:Kp17aC {x: 5})", 29);
    becomes(&spread, &mut all, "another one has some of them", &[stands, held, others]).await;
    spread.is_passed().await;
    assert!(spread.pauses("public.kp17a_a").await.contains("the column d was added: integer"));

    // What compares tables and graph leaves it out, and says so.
    let (code, said) = spread.output(&["repair", "public.kp17a_a"]).await;
    assert!(code != Some(0) && said.contains("is paused"), "{said}");
    is_equal(&spread).await;
    assert!(holds(&yes(&[stands])).await);

    // The advice works word by word.
    let said = spread.pauses("public.kp17a_a").await;
    spread.says(section, &advised(&said));
    all.truncate(1);
    all.extend([spread.start("apply"), spread.start("apply")]);
    let goes_on = [
        ("(:Kp17aA {w: 'x', d: 7, n: false})", 9),
        ("(n:Kp17aA) WHERE n.v IS NOT NULL", 0),
        ("(n:Kp17aA) WHERE NOT n:_Placeholder", 50),
        ("(n:Kp17aA {id: 200, n: true})", 1),
        ("(:Kp17aB)-->(:Kp17aA)", 41),
    ];
    becomes(&spread, &mut all, "it goes on", &goes_on).await;
    is_equal(&spread).await;
    let (_, status) = spread.output(&["status"]).await;
    assert!(!status.contains("paused"), "{status}");
    for running in all.iter_mut().skip(1) {
        stops(running).await;
    }
}

#[tokio::test]
async fn a_change_that_is_taken_back_lets_a_table_with_its_own_topic_go_on() {
    let (section, file) = ("topics_by: table\n  partitions: 2", pausing("kp17b_a"));
    let spread = Spread::saying("kp17b", &SCHEMA.replace("XX", "kp17b"), section, &file).await;
    let mut all = vec![spread.start("publish"), spread.start("apply"), spread.start("apply")];
    becomes(&spread, &mut all, "the copy", &[("(:Kp17bB)-->(:Kp17bA)", 40)]).await;
    spread
        .sql("ALTER TABLE kp17b_a RENAME TO kp17b_away; ALTER TABLE kp17b_away RENAME v TO w")
        .await;
    let said = spread.pauses("public.kp17b_a").await;
    assert!(said.contains("it is called public.kp17b_away, and was public.kp17b_a"), "{said}");
    // The file names a table that is not there.
    all.remove(0).kill();
    all.insert(0, spread.start("publish"));
    let changes = "INSERT INTO kp17b_away VALUES (60, 'y', 1); DELETE FROM kp17b_away WHERE id = 45; \
        UPDATE kp17b_away SET w = 'z' WHERE id = 2; INSERT INTO kp17b_b VALUES (60, 60); \
        INSERT INTO kp17b_c VALUES (1)";
    spread.sql(changes).await;
    let stands = ("(n:Kp17bA) WHERE n.v STARTS WITH 'v'", 50);
    let others = [("(:Kp17bC)", 1), ("(:Kp17bB {id: 60})-->(:Kp17bA:_Placeholder)", 1)];
    becomes(&spread, &mut all, "it stands", &[stands, others[0], others[1]]).await;
    all.remove(1).kill();
    all.push(spread.start("apply"));
    spread.sql("INSERT INTO kp17b_c VALUES (2)").await;
    becomes(&spread, &mut all, "it stands after a kill", &[stands, ("(:Kp17bC)", 2)]).await;
    spread.is_passed().await;
    spread
        .sql("ALTER TABLE kp17b_away RENAME w TO v; ALTER TABLE kp17b_away RENAME TO kp17b_a")
        .await;
    let goes_on =
        [("(:Kp17bA {v: 'z'})", 1), ("(:Kp17bA {id: 45})", 0), ("(:Kp17bA {id: 60, v: 'y'})", 1)];
    becomes(&spread, &mut all, "it goes on by itself", &goes_on).await;
    spread.sql("INSERT INTO kp17b_a VALUES (61, 'streams', 1)").await;
    becomes(&spread, &mut all, "it streams", &[("(:Kp17bA {v: 'streams'})", 1)]).await;
    is_equal(&spread).await;
    let (_, status) = spread.output(&["status"]).await;
    assert!(!status.contains("paused"), "{status}");
    for running in all.iter_mut().skip(1) {
        stops(running).await;
    }
}

/// All tables are paused when they change, and a change of the file is none.
#[tokio::test]
async fn all_tables_are_paused_one_by_one() {
    let (section, file) = ("partitions: 2", "schema_changes: pause");
    let spread = Spread::saying("kp17c", &SCHEMA.replace("XX", "kp17c"), section, file).await;
    let mut all = vec![spread.start("publish"), spread.start("apply")];
    becomes(&spread, &mut all, "the copy", &[("(:Kp17cB)-->(:Kp17cA)", 40)]).await;
    spread.sql("ALTER TABLE kp17c_a DROP v; UPDATE kp17c_a SET n = 0").await;
    let said = spread.pauses("public.kp17c_a").await;
    assert!(said.contains("the column v is gone"), "{said}");
    spread.sql("ALTER TABLE kp17c_b ADD e int; INSERT INTO kp17c_b VALUES (60, 1, 5)").await;
    spread.pauses("public.kp17c_b").await;
    spread.sql("INSERT INTO kp17c_c VALUES (1)").await;
    let stands = [("(n:Kp17cA) WHERE n.v IS NOT NULL AND n.n > 0", 50), ("(:Kp17cB)", 40)];
    becomes(&spread, &mut all, "others go on", &[stands[0], stands[1], ("(:Kp17cC)", 1)]).await;
    spread.sql("ALTER TABLE kp17c_c ADD e int").await;
    spread.pauses("public.kp17c_c").await;
    let (code, said) = spread.output(&["verify"]).await;
    assert!(code != Some(0) && said.contains("all tables have changed"), "{said}");
    all.pop().expect("it runs").kill();
    let file = "schema_changes: pause\ntables: {public.kp17c_b: {schema_changes: apply, label: Kp17cOther}}";
    spread.says(section, file);
    all.push(spread.start("apply"));
    let goes_on = [stands[0], ("(:Kp17cOther {e: 5})", 1), ("(:Kp17cOther)", 41), ("(:Kp17cB)", 0)];
    becomes(&spread, &mut all, "one goes on", &goes_on).await;
    let said = spread.pauses("public.kp17c_a").await;
    assert!(said.contains("the column v is gone"), "{said}");
    spread.says(section, "schema_changes: apply");
    all.pop().expect("it runs").kill();
    all.push(spread.start("apply"));
    let goes_on = [("(n:Kp17cA {n: 0}) WHERE n.v IS NULL", 50), ("(:Kp17cB)", 41)];
    becomes(&spread, &mut all, "all go on", &goes_on).await;
    is_equal(&spread).await;
    for running in all.iter_mut().skip(1) {
        stops(running).await;
    }
}

const DROPPED: &str = "CREATE TABLE XX_a (id int PRIMARY KEY); CREATE TABLE XX_b (id int PRIMARY KEY); \
    CREATE TABLE XX_c (id int PRIMARY KEY, a_id int REFERENCES XX_a); INSERT INTO XX_a VALUES (1), (2); \
    INSERT INTO XX_b VALUES (1), (2); INSERT INTO XX_c VALUES (1, 1)";

#[tokio::test]
async fn rows_of_a_dropped_table_stay_in_all_partitions_where_the_file_says_so() {
    let (section, file) = ("partitions: 3", "dropped_tables: keep");
    let spread = Spread::saying("kp17d", &DROPPED.replace("XX", "kp17d"), section, file).await;
    let mut all = vec![spread.start("publish"), spread.start("apply"), spread.start("apply")];
    becomes(
        &spread,
        &mut all,
        "the copy",
        &[("(:Kp17dC)-->(:Kp17dA)", 1), ("(:Kp17dA)", 2), ("(:Kp17dB)", 2)],
    )
    .await;
    spread.sql("ALTER TABLE kp17d_b ADD x int DEFAULT 3; DROP TABLE kp17d_a CASCADE").await;
    let checks = [("(:Kp17dA)", 2), ("(:Kp17dB {x: 3})", 2), ("(:Kp17dC)-->(:Kp17dA)", 0)];
    becomes(&spread, &mut all, "other changes are followed", &checks).await;
    let said = spread.pauses("public.kp17d_a").await;
    assert!(said.contains("the table was dropped"), "{said}");
    all.remove(1).kill();
    all.push(spread.start("apply"));
    spread.sql("INSERT INTO kp17d_c VALUES (2, 7)").await;
    becomes(&spread, &mut all, "its rows stay", &[("(:Kp17dA)", 2), ("(:Kp17dC)", 2)]).await;
    spread.is_passed().await;
    spread.sql("CREATE TABLE kp17d_a (id int PRIMARY KEY); INSERT INTO kp17d_a VALUES (9)").await;
    let anew = [("(:Kp17dA)", 1), ("(:Kp17dA {id: 9})", 1)];
    becomes(&spread, &mut all, "another table takes them over", &anew).await;
    is_equal(&spread).await;
    spread.sql("DROP TABLE kp17d_a").await;
    spread.pauses("public.kp17d_a").await;
    spread.says(section, "dropped_tables: clear");
    all.truncate(1);
    all.push(spread.start("apply"));
    becomes(&spread, &mut all, "they go", &[("(:Kp17dA)", 0)]).await;
    is_equal(&spread).await;
}

/// The topic of a table that is gone may go, too.
#[tokio::test]
async fn rows_of_a_dropped_table_stay_without_its_topic() {
    let (section, file) = ("topics_by: table", "dropped_tables: keep");
    let spread = Spread::saying("kp17e", &DROPPED.replace("XX", "kp17e"), section, file).await;
    let mut all = vec![spread.start("publish"), spread.start("apply")];
    becomes(
        &spread,
        &mut all,
        "the copy",
        &[("(:Kp17eC)-->(:Kp17eA)", 1), ("(:Kp17eA)", 2), ("(:Kp17eB)", 2)],
    )
    .await;
    spread.sql("DROP TABLE kp17e_a CASCADE; INSERT INTO kp17e_b VALUES (3)").await;
    let stays = ("(:Kp17eA)", 2);
    becomes(&spread, &mut all, "they stay", &[stays, ("(:Kp17eB)", 3)]).await;
    spread.pauses("public.kp17e_a").await;
    all.pop().expect("it runs").kill();
    let topic = format!("{}.public.kp17e_a", spread.topic());
    kafka().tool("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", &topic]).unwrap();
    all.push(spread.start("apply"));
    spread.sql("INSERT INTO kp17e_b VALUES (4); ALTER TABLE kp17e_c ADD y int DEFAULT 4").await;
    becomes(
        &spread,
        &mut all,
        "all others go on",
        &[stays, ("(:Kp17eB)", 4), ("(:Kp17eC {y: 4})", 1)],
    )
    .await;
    spread.is_passed().await;
    is_equal(&spread).await;
}

#[tokio::test]
async fn new_tables_wait_for_somebody_who_publishes_them() {
    let schema = "CREATE TABLE kp17f_a (id int PRIMARY KEY); INSERT INTO kp17f_a VALUES (1)";
    let spread = Spread::saying("kp17f", schema, "partitions: 2", "new_tables: ask").await;
    let mut all = vec![spread.start("publish"), spread.start("apply")];
    becomes(&spread, &mut all, "the copy", &[("(:Kp17fA)", 1)]).await;
    spread
        .sql("CREATE TABLE kp17f_new (id int PRIMARY KEY); INSERT INTO kp17f_new VALUES (1), (2)")
        .await;
    let told = r#"ADD TABLE ONLY "public"."kp17f_new""#;
    until("the log has the statement", async || spread.said().contains(told)).await;
    spread.sql("INSERT INTO kp17f_a VALUES (2)").await;
    becomes(&spread, &mut all, "others go on", &[("(:Kp17fA)", 2), ("(:Kp17fNew)", 0)]).await;
    let said = spread.said();
    let statement = said.split("ALTER PUBLICATION").nth(1).expect(&said);
    let statement = statement.split_once(told).expect(&said).0;
    spread.sql(&format!("ALTER PUBLICATION{statement}{told}")).await;
    becomes(&spread, &mut all, "it is copied", &[("(:Kp17fNew)", 2)]).await;
    spread.sql("INSERT INTO kp17f_new VALUES (3)").await;
    becomes(&spread, &mut all, "it streams", &[("(:Kp17fNew)", 3)]).await;
}
