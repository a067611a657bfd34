//! `verify` and `repair` on real servers: damage of every kind beside a stream, kills, cancelled requests.

mod every;

use std::time::Duration;

use neo4rs::Query;
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    http::Served,
    support::{Pipeline, eventually, graph, holds, neo4j, postgres, until},
};

/// Rows of each table.
pub const ROWS: u32 = 400;

/// Two tables of nodes and one of relationships.
pub fn schema(prefix: &str) -> String {
    format!(
        "CREATE TABLE {prefix}_people (id int PRIMARY KEY, name text, born date); \
         CREATE TABLE {prefix}_orders (id int PRIMARY KEY, person_id int REFERENCES {prefix}_people, total numeric(8,2)); \
         CREATE TABLE {prefix}_likes (a_id int REFERENCES {prefix}_people, b_id int REFERENCES {prefix}_people, since date, \
            PRIMARY KEY (a_id, b_id)); \
         INSERT INTO {prefix}_people SELECT g, 'n' || g, '2000-01-01'::date + g FROM generate_series(1, {ROWS}) g; \
         INSERT INTO {prefix}_orders SELECT g, g, g FROM generate_series(1, {ROWS}) g; \
         INSERT INTO {prefix}_likes SELECT g, g % {ROWS} + 1, '2020-01-01' FROM generate_series(1, {ROWS}) g"
    )
}

/// What others do, the row that it concerns, and a word of what is said of it.
pub const DAMAGES: &[(&str, &str, &str, &str)] = &[
    ("MATCH (p:Person {id: 5}) SET p.name = 'wrong'", "people", "id: 5", "name"),
    ("MATCH (p:Person {id: 6}) REMOVE p.born", "people", "id: 6", "born"),
    ("MATCH (p:Person {id: 7}) SET p.name = 7", "people", "id: 7", "name"),
    ("MATCH (p:Person {id: 8}) SET p.name = ['n8']", "people", "id: 8", "name"),
    ("MATCH (p:Person {id: 9}) SET p:_Placeholder", "people", "id: 9", "placeholder"),
    ("MATCH (p:Person {id: 11}) DETACH DELETE p", "people", "id: 11", "lacks"),
    ("CREATE (p:Person {id: 9999, name: 'ghost'})", "people", "id: 9999", "no such row"),
    ("CREATE (p:Person {id: 9998}) SET p:_Placeholder", "people", "id: 9998", "nothing points"),
    ("MATCH (o:Order {id: 12})-[r:PERSON]->() DELETE r", "orders", "id: 12", "nowhere"),
    (
        "MATCH (o:Order {id: 13})-[r:PERSON]->(p) CREATE (o)-[:PERSON]->(p)",
        "orders",
        "id: 13",
        "13; 13",
    ),
    (
        "MATCH (o:Order {id: 14}), (p:Person {id: 15}) CREATE (o)-[:PERSON]->(p)",
        "orders",
        "id: 14",
        "14; 15",
    ),
    (
        "MATCH (o:Order {id: 16})-[r:PERSON]->(), (p:Person {id: 17}) DELETE r CREATE (o)-[:PERSON]->(p)",
        "orders",
        "id: 16",
        "to 17",
    ),
    ("MATCH (a:Person {id: 18})-[r:LIKES]->() DELETE r", "likes", "18", "lacks"),
    (
        "MATCH (a:Person {id: 19})-[r:LIKES]->(b) CREATE (a)-[:LIKES {since: r.since}]->(b)",
        "likes",
        "19",
        "2 times",
    ),
    ("MATCH (a:Person {id: 20})-[r:LIKES]->() SET r.since = date()", "likes", "20", "since"),
    ("MATCH (a:Person {id: 21})-[r:LIKES]->() REMOVE r.since", "likes", "21", "since"),
    (
        "MATCH (a:Person {id: 22}), (b:Person {id: 30}) CREATE (a)-[:LIKES {since: date()}]->(b)",
        "likes",
        "22",
        "no such row",
    ),
];

/// A damage in the names of this test's own tables.
pub fn own(cypher: &str, label: &str) -> String {
    cypher
        .replace(":Person", &format!(":{label}Person"))
        .replace(":Order", &format!(":{label}Order"))
        .replace(":LIKES", &format!(":{}_LIKES", label.to_uppercase()))
}

/// Does something in the graph.
pub async fn run(cypher: &str) {
    graph().run(Query::new(cypher.to_owned())).await.unwrap();
}

/// The findings, and whether the command succeeded.
async fn compared(pipeline: &Pipeline, command: &str) -> (bool, Value) {
    found(pipeline, &[command]).await
}

/// The same of a command with these arguments.
async fn found(pipeline: &Pipeline, arguments: &[&str]) -> (bool, Value) {
    let output = pipeline.output(&[arguments, &["--json"]].concat()).await;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let findings = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{log}"));
    (output.status.success(), findings)
}

/// How many rows differ.
pub fn differing(findings: &Value) -> u64 {
    let tables = findings["tables"].as_array().unwrap();
    tables.iter().map(|table| table["differing"].as_u64().unwrap()).sum()
}

/// Whether a difference is named.
pub fn is_named(findings: &Value, table: &str, key: &str, word: &str) -> bool {
    findings["first"].as_array().unwrap().iter().any(|row| {
        row["table"].as_str().unwrap().contains(table)
            && row["key"].as_str().unwrap().contains(key)
            && row["differences"].to_string().contains(word)
    })
}

/// Some transactions a second, of rows that nobody damages, keys included.
pub async fn traffic(sql: tokio_postgres::Client, prefix: &str) {
    for round in 0.. {
        let id = 200 + round % 100;
        let statements = format!(
            "UPDATE {prefix}_people SET name = 'r{round}' WHERE id = {id}; \
             INSERT INTO {prefix}_people VALUES ({0}, 'new', NULL); \
             UPDATE {prefix}_people SET id = {0} + 500000 WHERE id = {0}; \
             DELETE FROM {prefix}_people WHERE id = {0} + 500000 AND id % 3 = 0; \
             UPDATE {prefix}_orders SET person_id = {1} WHERE id = {id}",
            100_000 + round,
            200 + (round + 7) % 100
        );
        sql.batch_execute(&statements).await.unwrap();
        // Each round leaves rows behind, which the next comparison reads, too.
        sleep(Duration::from_millis(30)).await;
    }
}

#[tokio::test]
async fn a_repair_goes_on_after_a_kill_and_ends_with_the_graph_equal_to_the_tables() {
    let pipeline = Pipeline::new("rekilled", &schema("rck")).await;
    pipeline
        .sql
        .batch_execute(
            "INSERT INTO rck_people SELECT g, 'more', NULL FROM generate_series(1000, 21000) g",
        )
        .await
        .unwrap();
    pipeline.catch_up().await;
    run("MATCH (p:RckPerson) WHERE p.id % 2 = 0 DETACH DELETE p").await;
    run("UNWIND range(50000, 50500) AS id CREATE (:RckPerson {id: id, name: 'ghost'})").await;
    let mut running = pipeline.start();
    let mut repairing = pipeline.command(&["repair"]);
    let repairing =
        repairing.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut repairing = crate::support::Running(repairing.spawn().unwrap());
    for _ in 0..3 {
        let under_way = format!(
            "RETURN EXISTS {{ (p:_Wal2GraphCopy {{pipeline: '{}'}}) WHERE p.pass IN ['rows', 'graph'] }} AS yes",
            pipeline.name
        );
        let is_over = async |repairing: &mut crate::support::Running| {
            repairing.0.try_wait().unwrap().is_some()
        };
        until("the repair is under way", async || {
            holds(&under_way).await || is_over(&mut repairing).await
        })
        .await;
        sleep(Duration::from_millis(300)).await;
        running.kill();
        running = pipeline.start();
    }
    assert_eq!(repairing.ended(Duration::from_secs(120)).await, Some(0));
    drop(running);
    let (is_right, findings) = compared(&pipeline, "verify").await;
    assert!(is_right && differing(&findings) == 0, "{findings:#}");
    let count = "RETURN COUNT { (:RckPerson) } = 20401 AS yes";
    assert!(holds(count).await);
}

#[tokio::test]
async fn what_can_not_be_compared_is_refused_and_an_interrupted_command_leaves_no_request() {
    let pipeline = Pipeline::new("rerefused", &schema("rcr")).await;
    let said = async |arguments: &[&str]| {
        let output = pipeline.output(arguments).await;
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, log) = said(&["verify"]).await;
    assert!(code == Some(3) && log.contains("`wal2graph run` copies the tables"), "{log}");
    pipeline.catch_up().await;
    let (code, log) = said(&["verify", "nope"]).await;
    assert!(code == Some(2) && log.contains("no table nope"), "{log}");
    let (code, log) = said(&["verify", "rcr_people", "public.rcr_likes"]).await;
    assert_eq!(code, Some(0), "{log}");
    let mut command = pipeline.command(&["verify"]);
    let mut waiting = crate::support::Running(command.spawn().unwrap());
    let asked = format!(
        "RETURN EXISTS {{ (r:_Wal2GraphRequest {{pipeline: '{}'}}) WHERE r.state <> 'done' }} AS yes",
        pipeline.name
    );
    eventually("the request is there", &asked).await;
    assert!(waiting.terminate(Duration::from_secs(30)).await.is_some());
    assert!(!holds(&asked).await, "the request of a command that was interrupted stays");
}

#[tokio::test]
async fn requests_and_what_they_find_are_seen_in_metrics_and_on_pages() {
    let pipeline = Pipeline::new("reseen", &schema("rcs")).await;
    let (source, graph) = (postgres().url(&pipeline.name), neo4j().url());
    let served =
        Served::of(&["run", "--source-url", &source, "--graph-url", &graph], "http: {}").await;
    let copied = format!("RETURN COUNT {{ ()-[:RCS_LIKES]->() }} = {ROWS} AS yes");
    eventually("all is copied", &copied).await;
    let differences =
        |table: &str, kind: &str| format!("differences_total{{kind=\"{kind}\",table=\"{table}\"}}");
    run("MATCH (p:RcsPerson {id: 5}) SET p.name = 'wrong', p.born = null").await;
    run("MATCH (p:RcsPerson {id: 6}) DETACH DELETE p").await;
    compared(&pipeline, "verify").await;
    let (_, findings) = compared(&pipeline, "repair").await;
    assert_eq!(differing(&findings), 5, "two people, and what leads to one: {findings:#}");
    let samples = served
        .until("the repair is shown", |samples| {
            samples.get("wal2graph_requests{state=\"running\"}") == Some(&0.0)
        })
        .await;
    let of = |series: &str| samples[&format!("wal2graph_{series}")];
    // A table's rows are compared twice for each request, and rows that differ once more.
    assert!(of("reconcile_rows_total{table=\"public.rcs_people\"}") >= 3.9 * f64::from(ROWS));
    assert_eq!(of(&differences("public.rcs_people", "property")), 4.0);
    assert_eq!(of(&differences("public.rcs_people", "missing")), 2.0);
    assert_eq!(of(&differences("public.rcs_people", "extra")), 0.0);
    let (_, json) = served.get("/status").await;
    let json: Value = serde_json::from_str(&json).unwrap();
    let (last, state) = (&json["requests"][0]["purpose"], &json["requests"][0]["state"]);
    assert!(last == "repair" && state == "done", "{json:#}");
    let (_, html) = served.get("/").await;
    assert!(html.contains("repair of all tables, asked at "), "{html}");
}

#[tokio::test]
async fn rows_that_fulfil_a_condition_are_compared_and_no_others() {
    let pipeline = Pipeline::new("rewhere", &schema("rcw")).await;
    pipeline.catch_up().await;
    let _running = pipeline.start();
    run("MATCH (p:RcwPerson) WHERE p.id IN [5, 6] SET p.name = 'wrong'").await;
    run("MATCH (p:RcwPerson {id: 7}) DETACH DELETE p").await;
    run("CREATE (p:RcwPerson {id: 9999, name: 'ghost'})").await;
    let compare = async |command: &str, table: &str, condition: &str| {
        let output = pipeline.output(&[command, table, "--where", condition, "--json"]).await;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).ok(), log)
    };
    let (code, findings, log) = compare("verify", "rcw_people", "id BETWEEN 1 AND 5").await;
    let findings = findings.unwrap_or_else(|| panic!("{log}"));
    assert_eq!((code, differing(&findings)), (Some(1), 1), "{findings:#}");
    assert_eq!(findings["tables"][0]["compared"], 5);
    assert!(is_named(&findings, "people", "id: 5", "name"), "{findings:#}");
    let (code, findings, _) = compare("verify", "rcw_people", "false").await;
    assert_eq!((code, differing(&findings.unwrap())), (Some(0), 0));
    // A row that is in the graph only fulfils nothing.
    let every = "name LIKE 'n%' -- of all";
    let (code, findings, _) = compare("repair", "rcw_people", every).await;
    let findings = findings.unwrap();
    assert_eq!((code, differing(&findings)), (Some(0), 3), "{findings:#}");
    let (code, findings, _) = compare("verify", "rcw_likes", "a_id IN (6, 7) OR b_id = 7").await;
    let findings = findings.unwrap();
    assert_eq!((code, differing(&findings)), (Some(1), 2), "{findings:#}");
    let (is_right, findings) = compared(&pipeline, "verify").await;
    // The likes that went with person 7, its order's relationship is there again as the order was.
    assert!(!is_right && is_named(&findings, "people", "id: 9999", "no such row"), "{findings:#}");
    for (condition, said) in [
        ("nope = 1", "column \"nope\" does not exist"),
        ("id", "argument of WHERE must be type boolean"),
        ("true) UNION SELECT ('1'", "syntax error"),
        ("true); DROP TABLE rcw_people; --", "syntax error"),
        ("true) THEN 1 END FROM rcw_people WHERE (true", "syntax error"),
        ("1 = (WITH x AS (DELETE FROM public.rcw_likes RETURNING 1) SELECT 1)", "WITH"),
        ("nextval('rcw_sequence') > 0", "read-only transaction"),
    ] {
        pipeline.sql.batch_execute("CREATE SEQUENCE IF NOT EXISTS rcw_sequence").await.unwrap();
        let condition = condition.replace("rcw_sequence", "public.rcw_sequence");
        let (code, _, log) = compare("verify", "rcw_people", &condition).await;
        assert!(code == Some(2) && log.contains(said), "{condition}: {code:?} {log}");
    }
    let output = pipeline.output(&["verify", "rcw_people", "rcw_likes", "--where", "true"]).await;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && log.contains("rows of one table"), "{log}");
}

#[tokio::test]
async fn numbers_are_compared_and_said_to_be_no_proof() {
    let pipeline = Pipeline::new("recounts", &schema("rcc")).await;
    pipeline.catch_up().await;
    let _running = pipeline.start();
    let counts = async || {
        let output = pipeline.output(&["verify", "--counts"]).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text + &String::from_utf8_lossy(&output.stderr))
    };
    run("MATCH (p:RccPerson {id: 5}) SET p.name = 'wrong'").await;
    run("CREATE (p:RccPerson:_Placeholder {id: 9998})").await;
    let (code, text) = counts().await;
    assert!(code == Some(0) && text.contains("do not prove"), "{text}");
    for line in [
        "public.rcc_people, (:RccPerson): 400 in the source, 400 in the graph: equal",
        "public.rcc_orders, (:RccOrder)-[:PERSON]->(): 400 in the source, 400 in the graph: equal",
        "public.rcc_likes, (:RccPerson)-[:RCC_LIKES]->(): 400 in the source, 400 in the graph: equal",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    run("MATCH (:RccOrder {id: 12})-[r:PERSON]->() DELETE r").await;
    run("MATCH (:RccPerson {id: 20})-[r:RCC_LIKES]->() DELETE r").await;
    let (code, text) = counts().await;
    assert!(code == Some(1) && text.contains("2 numbers differ"), "{text}");
    assert!(
        text.contains("(:RccOrder)-[:PERSON]->(): 400 in the source, 399 in the graph: differs")
    );
}

/// A partition of a table that was not asked for was taken for one that had come meanwhile.
#[tokio::test]
async fn a_partitioned_table_beside_the_compared_one_is_left_alone() {
    let schema = "CREATE TABLE rcp_plain (id int PRIMARY KEY, n text); \
        CREATE TABLE rcp_parts (id int, region int, n text, PRIMARY KEY (id, region)) PARTITION BY LIST (region); \
        CREATE TABLE rcp_parts_1 PARTITION OF rcp_parts FOR VALUES IN (1); \
        CREATE TABLE rcp_parts_2 PARTITION OF rcp_parts FOR VALUES IN (2); \
        INSERT INTO rcp_plain SELECT g, 'n' FROM generate_series(1, 50) g; \
        INSERT INTO rcp_parts SELECT g, g % 2 + 1, 'n' FROM generate_series(1, 50) g";
    let pipeline = Pipeline::new("reparts", schema).await;
    pipeline.catch_up().await;
    run("MATCH (p:RcpPart {id: 4}) SET p.n = 'wrong'").await;
    for (table, expected) in [("rcp_plain", 0), ("rcp_parts", 1)] {
        let output = pipeline.output(&["verify", table, "--json"]).await;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        let findings: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{log}"));
        assert_eq!(differing(&findings), expected, "{findings:#}");
        assert_eq!(findings["tables"].as_array().unwrap().len(), 1, "{findings:#}");
        assert_eq!(findings["tables"][0]["compared"], 100, "{findings:#}");
    }
    assert!(holds("RETURN COUNT { (:RcpPart {n: 'wrong'}) } = 1 AS yes").await, "it was written");
}

#[tokio::test]
async fn nodes_and_relationships_that_had_lost_their_key_were_reported_by_nobody() {
    let schema = "CREATE TABLE rnk_people (id int PRIMARY KEY, name text); \
        CREATE TABLE rnk_posts (id int PRIMARY KEY, a_id int NOT NULL REFERENCES rnk_people, \
            b_id int NOT NULL REFERENCES rnk_people); \
        CREATE TABLE rnk_days (at timestamptz PRIMARY KEY); INSERT INTO rnk_days VALUES ('2026-01-01 10:00Z'); \
        INSERT INTO rnk_people SELECT g, 'n' || g FROM generate_series(1, 4) g; \
        INSERT INTO rnk_posts VALUES (1, 1, 2), (2, 3, 4)";
    let pipeline = Pipeline::new("rekeyless", schema).await;
    let pipeline = pipeline.configured(
        "tables:\n  public.rnk_people: {label: RnkPerson}\n  public.rnk_posts:\n    relationship:\n      \
         type: RNK_POST\n      from: {columns: [a_id], to: public.rnk_people}\n      \
         to: {columns: [b_id], to: public.rnk_people}\n",
    );
    pipeline.catch_up().await;
    run("MATCH (n:RnkPerson {id: 1}) REMOVE n.id").await;
    run("MATCH ()-[x:RNK_POST {id: 2}]->() REMOVE x.id").await;
    run("CREATE (:RnkDay {at: datetime('2026-01-01T11:00[Europe/Berlin]')})").await;
    let (is_right, findings) = compared(&pipeline, "repair").await;
    assert!(is_right && differing(&findings) > 0, "{findings:#}");
    let keyless = |findings: &Value| {
        let tables = findings["tables"].as_array().unwrap();
        tables.iter().map(|table| table["keyless"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let output = pipeline.output(&["verify"]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}{log}");
    assert!(said.contains("1 nodes with the label RnkPerson have no whole key"), "{said}");
    assert!(said.contains("relationships of the type RNK_POST have no whole key"), "{said}");
    assert!(log.contains("that have no key"), "{log}");
    // What it prints shows them, and nothing else.
    let queries: Vec<&str> =
        said.lines().filter_map(|line| line.trim().strip_prefix("to see them: ")).collect();
    let mut shown = 0;
    for query in &queries {
        shown += graph().rows(Query::new((*query).to_owned())).await.unwrap().len();
        let (found, _) = query.split_once(" RETURN ").unwrap();
        let (entity, kind) = if found.contains("RNK_POST") { ("x", "") } else { ("n", "DETACH ") };
        run(&format!("{found} {kind}DELETE {entity}")).await;
    }
    assert_eq!(shown, 3, "{queries:?}");
    let (is_right, findings) = compared(&pipeline, "verify").await;
    assert!(is_right && keyless(&findings) == [0, 0, 0], "{findings:#}");
}

#[tokio::test]
async fn relationships_of_join_rows_between_nodes_of_other_labels_were_reported_by_nobody() {
    let schema = "CREATE TABLE rnw_people (id int PRIMARY KEY); CREATE TABLE rnw_clubs (id int PRIMARY KEY); \
        CREATE TABLE rnw_likes (a_id int REFERENCES rnw_people, b_id int REFERENCES rnw_clubs, PRIMARY KEY (a_id, b_id)); \
        CREATE TABLE rnw_posts (id int PRIMARY KEY, a_id int NOT NULL REFERENCES rnw_people, \
            b_id int NOT NULL REFERENCES rnw_clubs); \
        INSERT INTO rnw_people SELECT generate_series(1, 4); INSERT INTO rnw_clubs SELECT generate_series(1, 4); \
        INSERT INTO rnw_likes VALUES (1, 2), (3, 4); INSERT INTO rnw_posts VALUES (1, 1, 2), (2, 3, 4)";
    let pipeline = Pipeline::new("remisplaced", schema).await;
    let join = |table: &str, kind: &str| {
        format!(
            "  public.{table}:\n    relationship:\n      type: {kind}\n      \
             from: {{columns: [a_id], to: public.rnw_people}}\n      to: {{columns: [b_id], to: public.rnw_clubs}}\n"
        )
    };
    let pipeline = pipeline.configured(&format!(
        "tables:\n  public.rnw_people: {{label: RnwPerson}}\n  public.rnw_clubs: {{label: RnwClub}}\n{}{}",
        join("rnw_likes", "RNW_LIKES"),
        join("rnw_posts", "RNW_POST")
    ));
    pipeline.catch_up().await;
    // Others may have relationships of the type where no row of the table can be.
    run("MATCH (p:RnwPerson {id: 1}), (c:RnwClub {id: 1}) CREATE (c)-[:RNW_LIKES]->(p)").await;
    run("CREATE (:RnwStranger)-[:RNW_LIKES]->(:RnwStranger)").await;
    let (is_right, findings) = compared(&pipeline, "verify").await;
    assert!(is_right, "{findings:#}");
    for damage in [
        "MATCH (p:RnwPerson {id: 1})-[x:RNW_LIKES]->() DELETE x CREATE (p)-[:RNW_LIKES]->(:RnwStranger)",
        "MATCH (p)-[x:RNW_LIKES]->(:RnwClub {id: 4}) DELETE x CREATE (p)-[:RNW_LIKES]->(p)",
        "MATCH ()-[x:RNW_POST {id: 1}]->(c) DELETE x CREATE (:RnwStranger)-[:RNW_POST {id: 1}]->(c)",
        "MATCH (p)-[x:RNW_POST {id: 2}]->(c) DELETE x CREATE (c)-[:RNW_POST {id: 2}]->(p)",
    ] {
        run(damage).await;
    }
    for command in ["verify", "repair", "verify"] {
        let (_, findings) = compared(&pipeline, command).await;
        let tables = findings["tables"].as_array().unwrap();
        let of = |name: &str| {
            tables.iter().find(|it| it["table"].as_str().unwrap().ends_with(name)).unwrap()["keyless"].clone()
        };
        if command == "verify" {
            assert_eq!((of("rnw_likes"), of("rnw_posts")), (2.into(), 2.into()), "{findings:#}");
        }
    }
    let output = pipeline.output(&["verify"]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("2 relationships of the type RNW_LIKES have no whole key, or are between"),
        "{said}"
    );
    run("MATCH (a)-[x:RNW_LIKES|RNW_POST]->(b) WHERE NOT (a:RnwPerson AND b:RnwClub) DELETE x")
        .await;
    let (is_right, findings) = compared(&pipeline, "verify").await;
    assert!(is_right && differing(&findings) == 0, "{findings:#}");
}

/// After a seek Neo4j gives the sought value for the stored one, so the second look at a row saw nothing wrong.
#[tokio::test]
async fn a_key_of_another_type_was_missed_where_nothing_refers_to_the_table() {
    let schema = "CREATE TABLE rnv_solo (id int PRIMARY KEY, v int); \
        CREATE TABLE rnv_pairs (a int, b int, PRIMARY KEY (a, b)); \
        INSERT INTO rnv_solo SELECT g, g FROM generate_series(1, 30) g; INSERT INTO rnv_pairs VALUES (7, 7)";
    let pipeline = Pipeline::new("rekeytype", schema).await;
    pipeline.catch_up().await;
    let damage = "MATCH (n:RnvSolo {v: 7}) SET n.id = 7.0 WITH n MATCH (p:RnvPair) SET p.b = 7.0";
    graph().run(Query::new(damage.to_owned())).await.unwrap();
    for (command, code) in [("verify", 1), ("repair", 0), ("verify", 0)] {
        let output = pipeline.output(&[command]).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{command}: {said}");
        for named in ["id: the table has 7, the graph 7.0", "b: the table has 7, the graph 7.0"] {
            assert_eq!(said.contains(named), code == 1 || command == "repair", "{command}: {said}");
        }
    }
}
