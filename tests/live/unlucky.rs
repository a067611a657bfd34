//! Damage that a repair once left in the graph without a word, or made itself.

use std::process::{Output, Stdio};

use crate::support::{Pipeline, graph, holds, until};
use neo4rs::Query;

async fn run(cypher: &str) {
    graph().run(Query::new(cypher.to_owned())).await.unwrap();
}

fn said(output: &Output) -> String {
    [output.stdout.as_slice(), &output.stderr].map(String::from_utf8_lossy).concat()
}

/// What a command says, and that it ends so.
async fn ends(pipeline: &Pipeline, arguments: &[&str], code: i32) -> String {
    let output = pipeline.output(arguments).await;
    let said = said(&output);
    println!("{arguments:?}: {said}");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

/// The rows of one are no row of the other.
#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_repair_beside_another_pipeline_with_the_label_spares_its_rows() {
    let rows = |from: u32| {
        format!(
            "CREATE TABLE sh_things (id int PRIMARY KEY, next_id int REFERENCES sh_things); \
             INSERT INTO sh_things SELECT g, g FROM generate_series({from}, {from} + 9) g"
        )
    };
    let first = Pipeline::new("sharesa", &rows(1)).await;
    first.catch_up().await;
    let second = Pipeline::new("sharesb", &rows(101)).await;
    let adopt = ["run", "--until", "current", "--into-existing-graph", "adopt"];
    ends(&second, &adopt, 0).await;
    let all = "RETURN COUNT { (:ShThing)-[:NEXT]->(:ShThing) } = 20 AS yes";
    assert!(holds(all).await);
    for (own, other) in [(&first, &second), (&second, &first)] {
        for command in ["verify", "repair"] {
            let said = ends(own, &[command], 0).await;
            assert!(said.contains("ShThing") && said.contains(&other.name), "{said}");
        }
        let said = ends(own, &["verify", "--counts"], 0).await;
        assert!(
            said.contains("20 in the graph: not judged") && said.contains(&other.name),
            "{said}"
        );
    }
    assert!(holds(all).await, "a repair took rows of the other pipeline");
    run("MATCH (n:ShThing {id: 3}) DETACH DELETE n").await;
    assert!(ends(&first, &["verify"], 1).await.contains("id: 3"));
    ends(&first, &["repair"], 0).await;
    assert!(holds(all).await, "rows of its own are repaired");
}

/// Neo4j finds 7.0 by 7, and MERGE leaves it as it is.
#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_key_of_another_type_that_the_graph_holds_equal_is_named_and_mended() {
    let pipeline = Pipeline::new(
        "equalkeys",
        "CREATE TABLE eqk_a (id bigint PRIMARY KEY, t text); \
         CREATE TABLE eqk_b (id bigint PRIMARY KEY, a_id bigint REFERENCES eqk_a); \
         CREATE TABLE eqk_j (a_id bigint REFERENCES eqk_a, b_id bigint REFERENCES eqk_b, w int, \
            PRIMARY KEY (a_id, b_id)); \
         INSERT INTO eqk_a SELECT g, 'a' FROM generate_series(1, 20) g; \
         INSERT INTO eqk_b SELECT g, g FROM generate_series(1, 20) g; \
         INSERT INTO eqk_j SELECT g, g, g FROM generate_series(1, 20) g",
    )
    .await;
    pipeline.catch_up().await;
    run("MATCH (n:EqkA {id: 7}) SET n.id = 7.0").await;
    let named = ends(&pipeline, &["verify"], 1).await;
    assert!(named.contains("id: the table has 7, the graph 7.0"), "{named}");
    assert!(named.contains("eqk_a: 1 rows") && named.contains("eqk_b: 0 rows"), "{named}");
    ends(&pipeline, &["repair"], 0).await;
    ends(&pipeline, &["verify"], 0).await;
    let is_right = "MATCH (b:EqkB {id: 7})-[:A]->(a:EqkA {id: 7, t: 'a'})-[:EQK_J]->(b) \
                    RETURN a.id IS :: INTEGER NOT NULL AND NOT a:_Placeholder AS yes";
    assert!(holds(is_right).await, "one repair is enough");
}

/// Neo4j holds it for another value, and PostgreSQL for the same instant. So is -0.0 to an index.
#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_key_that_only_postgresql_holds_equal_is_a_node_without_a_row() {
    let pipeline = Pipeline::new(
        "zonedkeys",
        "CREATE TABLE zky_a (at timestamptz PRIMARY KEY, t text); \
         CREATE TABLE zky_b (id int PRIMARY KEY, at timestamptz REFERENCES zky_a); \
         INSERT INTO zky_a SELECT '2024-01-01Z'::timestamptz + g * interval '1 hour', 'a' FROM generate_series(0, 19) g; \
         INSERT INTO zky_b SELECT g, '2024-01-01Z'::timestamptz + g * interval '1 hour' FROM generate_series(0, 19) g",
    )
    .await;
    pipeline.catch_up().await;
    run("MATCH (n:ZkyA {at: datetime('2024-01-01T03:00Z')}) SET n.at = datetime('2024-01-01T08:00+05:00')").await;
    run("CREATE (:ZkyA {at: datetime('2023-12-31T23:00-05:00'), t: 'a'})").await;
    run("MATCH (n:ZkyB {id: 0}) SET n.id = -0.0").await;
    let named = ends(&pipeline, &["verify"], 1).await;
    for row in ["03:00:00+00", "08:00:00+05", "23:00:00-05", "(id: 0)", "(id: -0.0)"] {
        assert!(named.contains(row), "{row}: {named}");
    }
    // The owner of the third leads to another key.
    assert!(named.contains("zky_a: 3 rows") && named.contains("zky_b: 3 rows"), "{named}");
    ends(&pipeline, &["repair"], 0).await;
    ends(&pipeline, &["verify"], 0).await;
    let is_right = "MATCH (:ZkyB)-->(a:ZkyA) RETURN count(DISTINCT a) = 20 \
                    AND COUNT { (:ZkyA) } = 20 AND COUNT { (:ZkyB) } = 20 AS yes";
    assert!(holds(is_right).await, "one node for a row");
}

/// Without its constraint a key can be there twice. What others put on either node is on the one that stays.
#[tokio::test]
async fn nodes_that_were_doubled_without_their_constraint_become_one_again() {
    let pipeline = Pipeline::new(
        "doublednodes",
        "CREATE TABLE dbl_a (id int PRIMARY KEY, t text); \
         CREATE TABLE dbl_b (id int PRIMARY KEY, a_id int REFERENCES dbl_a); \
         INSERT INTO dbl_a SELECT g, 'a' FROM generate_series(1, 20) g; \
         INSERT INTO dbl_b SELECT g, g % 21 FROM generate_series(1, 20) g",
    )
    .await;
    pipeline.catch_up().await;
    run("DROP CONSTRAINT `wal2graph_unique_node_DblA.id`").await;
    run("MATCH (n:DblA {id: 7}) SET n.mine = 1 CREATE (n)-[:MINE]->(:DblOthers {id: 1})").await;
    run("CREATE (n:DblA:Mine {id: 7, t: 'b', also: 2})-[:MINE]->(:DblOthers {id: 2})").await;
    // The owner's relationship leads to the double.
    run("MATCH (b:DblB {id: 7})-[r]->(), (n:DblA {id: 7, also: 2}) DELETE r CREATE (b)-[:A]->(n)")
        .await;
    run("CREATE (:DblA {id: 99}), (:DblA {id: 99})").await;
    let named = ends(&pipeline, &["verify"], 1).await;
    assert!(named.contains("dbl_a (id: 7)") && named.contains("2 times"), "{named}");
    assert!(named.contains("dbl_a (id: 99)"), "{named}");
    ends(&pipeline, &["repair"], 0).await;
    let is_right = "MATCH (b:DblB {id: 7})-[:A]->(n:DblA:Mine {id: 7, t: 'a', mine: 1, also: 2}) \
                    RETURN count(*) = 1 AND COUNT { (:DblA) } = 20 AND COUNT { (:DblB)-[:A]->(:DblA) } = 20 \
                    AND COUNT { (:DblA {id: 7})-[:MINE]->(:DblOthers) } = 2 AS yes";
    assert!(holds(is_right).await, "one node, with all that others put on both");
    let refused = graph().run(Query::new("CREATE (:DblA {id: 7})".to_owned())).await;
    assert!(refused.is_err(), "the constraint is there again");
    ends(&pipeline, &["verify"], 0).await;
}

/// Its row is made anew. What leads to the old node is no relationship of the owner's row.
#[tokio::test]
async fn a_relationship_to_a_node_without_its_label_is_named_and_taken() {
    let pipeline = Pipeline::new(
        "unlabelled",
        "CREATE TABLE unl_a (id int PRIMARY KEY); \
         CREATE TABLE unl_b (id int PRIMARY KEY, a_id int REFERENCES unl_a, up_id int REFERENCES unl_b); \
         INSERT INTO unl_a SELECT g FROM generate_series(1, 20) g; \
         INSERT INTO unl_b SELECT g, g, g FROM generate_series(1, 20) g",
    )
    .await;
    pipeline.catch_up().await;
    run("MATCH (n:UnlA {id: 9}) REMOVE n:UnlA").await;
    run("MATCH (b:UnlB {id: 5}), (other:UnlB {id: 6}) CREATE (b)-[:A]->(other)").await;
    let named = ends(&pipeline, &["verify"], 1).await;
    assert!(named.contains("the graph to a node without its label or key"), "{named}");
    assert!(named.contains("id: 5") && named.contains("5; a node without"), "{named}");
    ends(&pipeline, &["repair"], 0).await;
    ends(&pipeline, &["verify"], 0).await;
    let once = "MATCH (b:UnlB) WITH b, COUNT { (b)-[:A]->() } AS all, COUNT { (b)-[:A]->(:UnlA {id: b.id}) } AS right \
                RETURN count(b) = 20 AND all(it IN collect([all, right]) WHERE it = [1, 1]) AS yes";
    assert!(holds(once).await, "each owner leads to its one target");
}

/// The row of the one table stands. The label of the other, and what is that table's alone, go.
#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_row_s_node_that_others_gave_another_table_s_label_stays() {
    let pipeline = Pipeline::new(
        "twolabels",
        "CREATE TABLE twl_a (id int PRIMARY KEY, t text); \
         CREATE TABLE twl_b (id int PRIMARY KEY, note text, a_id int REFERENCES twl_a); \
         INSERT INTO twl_a SELECT g, 'a' FROM generate_series(1, 60) g; \
         INSERT INTO twl_b SELECT g, 'b', g FROM generate_series(1, 50) g",
    )
    .await;
    pipeline.catch_up().await;
    run("MATCH (n:TwlA {id: 60}), (a:TwlA {id: 1}) SET n:TwlB, n.note = 'others', n.mine = 1 CREATE (n)-[:A]->(a)")
        .await;
    let named = ends(&pipeline, &["verify"], 1).await;
    assert!(named.contains("twl_b (id: 60)") && named.contains("no such row"), "{named}");
    ends(&pipeline, &["repair"], 0).await;
    let stands = "MATCH (n:TwlA {id: 60, t: 'a', mine: 1}) \
                  RETURN NOT n:TwlB AND n.note IS NULL AND COUNT { (n)--() } = 0 AS yes";
    assert!(holds(stands).await, "the row of the other table is gone, or not itself");
    ends(&pipeline, &["verify"], 0).await;
}

/// They have no answer: that is another exit code than that of a difference.
#[tokio::test]
async fn what_could_not_be_compared_has_another_exit_code_than_a_difference() {
    let schema = "CREATE TABLE exc_things (id int PRIMARY KEY); INSERT INTO exc_things VALUES (1)";
    let pipeline = Pipeline::new("exitcodes", schema).await;
    ends(&pipeline, &["verify"], 3).await;
    ends(&pipeline, &["verify", "--counts"], 3).await;
    pipeline.catch_up().await;
    run("CREATE (:ExcThing {id: 2})").await;
    ends(&pipeline, &["verify"], 1).await;
    ends(&pipeline, &["verify", "--counts"], 1).await;
    ends(&pipeline, &["repair", "--dry-run"], 1).await;
    ends(&pipeline, &["verify", "exc_things", "--where", "id = $1"], 2).await;
    let slot = format!("SELECT pg_drop_replication_slot('wal2graph_{}')", pipeline.name);
    pipeline.sql.batch_execute(&slot).await.unwrap();
    ends(&pipeline, &["verify"], 3).await;
}

/// Nobody follows the source: the graph never gets what other databases of the cluster write.
#[tokio::test]
async fn counts_are_compared_where_no_run_is_up_and_the_log_has_grown() {
    let schema = "CREATE TABLE cnr_things (id int PRIMARY KEY); INSERT INTO cnr_things VALUES (1)";
    let pipeline = Pipeline::new("countsalone", schema).await;
    pipeline.catch_up().await;
    let grow = "SELECT pg_logical_emit_message(false, 'others', 'write')";
    pipeline.sql.batch_execute(grow).await.unwrap();
    ends(&pipeline, &["verify", "--counts"], 0).await;
    pipeline.sql.batch_execute("INSERT INTO cnr_things VALUES (2)").await.unwrap();
    run("CREATE (:CnrThing {id: 3})").await;
    let said = ends(&pipeline, &["verify", "--counts"], 1).await;
    assert!(said.contains("2 in the source, 3 in the graph: differs"), "{said}");
}

/// Each request makes `run` connect again, and its slot has no reader for a while.
#[tokio::test]
async fn several_requests_at_once_wait_for_the_one_run() {
    let schema = "CREATE TABLE srq_things (id int PRIMARY KEY); \
                  INSERT INTO srq_things SELECT g FROM generate_series(1, 100) g";
    let pipeline = Pipeline::new("severalreq", schema).await;
    pipeline.catch_up().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let http = port.to_string();
    let _running = pipeline.start_with(&["--http", &http]);
    let is_read = "SELECT count(*) FROM pg_replication_slots WHERE active";
    let is_read = async || pipeline.sql.query_one(is_read, &[]).await.unwrap().get::<_, i64>(0) > 0;
    until("it reads", is_read).await;
    let commands = (0..5).map(|number| {
        let purpose = if number == 4 { "repair" } else { "verify" };
        let mut command = pipeline.command(&[purpose, "--http", &http]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    });
    let commands: Vec<_> = commands.collect();
    for command in commands {
        let output = tokio::task::spawn_blocking(|| command.wait_with_output());
        let output = output.await.unwrap().unwrap();
        let log = said(&output);
        assert!(output.status.success() && !log.contains("no `wal2graph run` is up"), "{log}");
    }
}

/// Its rows are all there: applications may go on to read what they have written.
#[tokio::test]
async fn a_repair_under_way_is_no_first_copy() {
    let schema = "CREATE TABLE nfc_things (id int PRIMARY KEY); INSERT INTO nfc_things VALUES (1)";
    let pipeline = Pipeline::new("nofirstcopy", schema).await;
    pipeline.catch_up().await;
    let progress = |owed: &str| {
        format!(
            "MERGE (p:_Wal2GraphCopy {{pipeline: '{}', table: 'public.nfc_things', pass: 'rows', part: 0}}) \
             SET p.next_block = 0, p.relfilenode = 1, p.rows = 0, p.done = false, p.epoch = 0, p.owed = {owed}",
            pipeline.name
        )
    };
    run(&progress("null")).await;
    ends(&pipeline, &["wait", "--lsn", "0/1", "--timeout", "60s"], 0).await;
    assert!(!ends(&pipeline, &["status"], 0).await.contains("ranges done"));
    // With a new slot the graph lacks what no log has.
    run(&progress("true")).await;
    let late = ends(&pipeline, &["wait", "--lsn", "0/1", "--timeout", "300ms"], 1).await;
    assert!(late.contains("the copy of the tables is not complete"), "{late}");
    assert!(ends(&pipeline, &["status"], 0).await.contains("ranges done"));
}

/// Nobody fetches its findings, which have values of rows.
#[tokio::test]
async fn the_request_of_a_killed_command_goes_with_a_later_one() {
    let schema = "CREATE TABLE krq_things (id int PRIMARY KEY); INSERT INTO krq_things VALUES (1)";
    let pipeline = Pipeline::new("killedreq", schema).await;
    pipeline.catch_up().await;
    let request = |id: &str, minutes: u32| {
        format!(
            "CREATE (:_Wal2GraphRequest {{pipeline: '{0}', id: '{id}', purpose: 'repair', tables: [], state: 'done', \
             asked_at: datetime(), updated_at: datetime() - duration({{minutes: {minutes}}}), findings: '{{}}'}})",
            pipeline.name
        )
    };
    run(&request("killed", 6)).await;
    run(&request("just done", 1)).await;
    ends(&pipeline, &["verify"], 0).await;
    let left = format!(
        "MATCH (r:_Wal2GraphRequest {{pipeline: '{}'}}) WITH collect(r.id) AS ids \
         RETURN size(ids) = 2 AND 'just done' IN ids AS yes",
        pipeline.name
    );
    assert!(holds(&left).await);
}

/// The operator that psql takes is in the type's schema.
#[tokio::test]
async fn a_condition_on_citext_takes_the_rows_that_psql_takes() {
    let pipeline = Pipeline::new(
        "wherecitext",
        "CREATE EXTENSION citext; CREATE TABLE wct_things (sku citext PRIMARY KEY); \
         INSERT INTO wct_things VALUES ('Sku-7'), ('sku-8')",
    )
    .await;
    pipeline.catch_up().await;
    let said =
        ends(&pipeline, &["verify", "wct_things", "--where", "sku = 'sKU-7'", "--json"], 0).await;
    assert!(said.contains("\"compared\": 1"), "{said}");
}
