//! `destroy`: what a pipeline made goes, whatever happens meanwhile, and nothing else does.

use std::{
    process::{Command, Output, Stdio},
    time::Duration,
};

use neo4rs::Query;
use tokio::time::sleep;
use wal2graph::neo4j::{Connection, Options, checkpoint, connect::ANSWER_LIMIT};
use wal2graph_servers::{Neo4j, Neo4jOptions};

use crate::support::{Pipeline, eventually, graph, graph_options, holds, neo4j, output};

async fn run(cypher: &str) {
    graph().run(Query::new(cypher.to_owned())).await.unwrap();
}

/// The suite's graph always has another pipeline: the last one takes the constraints of checkpoints with it.
async fn with_resident() {
    // Two MERGE at once make two nodes, unless the constraint is there.
    checkpoint::prepare(&graph()).await.unwrap();
    run("MERGE (c:_Wal2GraphCheckpoint {pipeline: 'resident', log: 'resident'}) \
         SET c.slot = 'resident', c.lsn = 1, c.epoch = 0, c.system_identifier = '1', c.timeline = 1, \
         c.mapping_digest = 'd', c.labels = ['Resident'], c.updated_at = datetime()")
    .await;
}

/// The exit code, and what it said on both streams.
fn said(output: &Output) -> (Option<i32>, String) {
    let both = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8_lossy(&both).into_owned();
    println!("{said}");
    (output.status.code(), said)
}

/// How many nodes and constraints the graph has of names that begin so, and checkpoints and progress of the
/// pipeline.
async fn left(prefix: &str, pipeline: &str) -> (i64, i64, i64) {
    let number = async |cypher: String| {
        let rows = graph().rows(Query::new(cypher)).await.unwrap();
        rows[0].get::<i64>("n").unwrap()
    };
    let nodes = format!(
        "MATCH (n) WHERE any(it IN labels(n) WHERE it STARTS WITH '{prefix}') RETURN count(n) AS n"
    );
    let constraints = format!(
        "SHOW INDEXES YIELD name, labelsOrTypes WHERE any(it IN labelsOrTypes WHERE it STARTS WITH '{prefix}') \
         RETURN count(name) AS n"
    );
    let records = format!(
        "MATCH (n:_Wal2GraphCheckpoint|_Wal2GraphCopy {{pipeline: '{pipeline}'}}) RETURN count(n) AS n"
    );
    (number(nodes).await, number(constraints).await, number(records).await)
}

/// Slots and publications of the pipeline in the source.
async fn left_in_source(pipeline: &Pipeline) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1) \
               + (SELECT count(*) FROM pg_publication WHERE pubname = $1)";
    let name = format!("wal2graph_{}", pipeline.name);
    pipeline.sql.query_one(sql, &[&name]).await.unwrap().get(0)
}

/// Nothing else would drop it: the type is no mapping's any more.
#[tokio::test]
async fn what_an_earlier_mapping_needed_goes_with_it() {
    let schema = "CREATE TABLE dxm_things (id int PRIMARY KEY); \
        CREATE TABLE dxm_joins (a_id int REFERENCES dxm_things, b_id int REFERENCES dxm_things, w int, \
                                PRIMARY KEY (a_id, b_id)); \
        INSERT INTO dxm_things SELECT g FROM generate_series(1, 3) g; \
        INSERT INTO dxm_joins SELECT g, g, g FROM generate_series(1, 3) g";
    with_resident().await;
    let pipeline = Pipeline::new("earlierindex", schema).await;
    pipeline.catch_up().await;
    let indexed = async |kind: &str| {
        let text = format!(
            "SHOW INDEXES YIELD labelsOrTypes WHERE labelsOrTypes = ['{kind}'] RETURN count(*) AS n"
        );
        graph().rows(Query::new(text)).await.unwrap()[0].get::<i64>("n").unwrap()
    };
    assert_eq!((indexed("DXM_JOINS").await, indexed("DxmThing").await), (1, 1));
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    let mapping = "tables:\n  public.dxm_joins:\n    relationship:\n      type: DXM_LINKS\n      \
                   from: {columns: [a_id], to: public.dxm_things}\n      \
                   to: {columns: [b_id], to: public.dxm_things}\n";
    std::fs::write(file.path(), mapping).unwrap();
    let file = file.path().to_str().unwrap();
    let (code, log) = said(&pipeline.output(&["run", "--until", "current", "-c", file]).await);
    assert_eq!(code, Some(0), "{log}");
    let made = (indexed("DXM_JOINS").await, indexed("DXM_LINKS").await, indexed("DxmThing").await);
    assert_eq!(made, (0, 1, 1));
    let (code, log) = said(&pipeline.output(&["destroy", "--graph", "--yes", "-c", file]).await);
    assert_eq!(code, Some(0), "{log}");
    assert_eq!((indexed("DXM_LINKS").await, indexed("DxmThing").await), (0, 0));
}

#[tokio::test]
async fn all_that_a_pipeline_made_goes_and_another_one_in_its_graph_stays() {
    let schema = "CREATE TABLE ds_things (id int PRIMARY KEY, v text); \
        CREATE TABLE ds_parts (id int PRIMARY KEY, thing_id int REFERENCES ds_things); \
        CREATE TABLE ds_joins (thing_id int REFERENCES ds_things, part_id int REFERENCES ds_parts, \
                               PRIMARY KEY (thing_id, part_id)); \
        INSERT INTO ds_things SELECT g FROM generate_series(1, 5) g; \
        INSERT INTO ds_parts SELECT g, g FROM generate_series(1, 4) g; \
        INSERT INTO ds_joins SELECT g, g FROM generate_series(1, 3) g";
    with_resident().await;
    let pipeline = Pipeline::new("destroyed", schema).await;
    let other =
        "CREATE TABLE dt_others (id int PRIMARY KEY); INSERT INTO dt_others VALUES (1), (2)";
    let other = Pipeline::new("spared", other).await;
    pipeline.catch_up().await;
    other.catch_up().await;
    run("MATCH (t:DsThing {id: 1}) CREATE (:Foreign_ds {name: 'of others'})-[:LIKES]->(t)").await;

    // Without a terminal nobody can be asked.
    let (code, shown) = said(&pipeline.output(&["destroy", "--graph"]).await);
    assert_eq!(code, Some(2), "{shown}");
    for line in [
        "5 with the label DsThing",
        "4 with the label DsPart",
        "4 of the type THING",
        "3 of the type DS_JOINS",
        "1 of the type LIKES",
        "1 of them lead to or from nodes that stay",
        "wal2graph_unique_node_DsThing.id",
        "checkpoint     of the slot wal2graph_destroyed",
        "publication    wal2graph_destroyed",
        "wal2graph destroy --graph --yes",
    ] {
        assert!(shown.contains(line), "{line:?} is not in {shown}");
    }
    assert_eq!((left("Ds", &pipeline.name).await.0, left_in_source(&pipeline).await), (9, 2));

    let (code, shown) = said(&pipeline.output(&["destroy", "--graph", "--yes"]).await);
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(left("Ds", &pipeline.name).await, (0, 0, 0));
    assert_eq!(left_in_source(&pipeline).await, 0);
    assert!(holds("MATCH (n:Foreign_ds) RETURN count(n) = 1 AS yes").await);

    let (code, shown) = said(&pipeline.output(&["destroy", "--graph", "--yes"]).await);
    assert_eq!((code, shown.contains("there is nothing to remove")), (Some(0), true), "{shown}");

    assert_eq!(left("DtOther", &other.name).await, (2, 1, 1));
    assert_eq!(left_in_source(&other).await, 2);
    other.sql.batch_execute("INSERT INTO dt_others VALUES (3)").await.unwrap();
    other.catch_up().await;
    assert_eq!(left("DtOther", &other.name).await.0, 3);
    // It can begin again, as if it had never been.
    pipeline.catch_up().await;
    assert_eq!(left("Ds", &pipeline.name).await.0, 9);
}

#[tokio::test]
async fn without_graph_the_rows_stay() {
    let schema = "CREATE TABLE dw_things (id int PRIMARY KEY); INSERT INTO dw_things VALUES (1)";
    with_resident().await;
    let pipeline = Pipeline::new("destroyrows", schema).await;
    pipeline.catch_up().await;
    let (code, shown) = said(&pipeline.output(&["destroy", "--yes"]).await);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("--graph removes them"), "{shown}");
    assert_eq!(left("Dw", &pipeline.name).await, (1, 0, 0));
    assert_eq!(left_in_source(&pipeline).await, 0);
}

/// kill -9 at any moment: the same command goes on, and finishes whole.
#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_removal_that_was_killed_is_finished_by_the_next_one() {
    let schema = "CREATE TABLE dqk_hubs (id int PRIMARY KEY); \
        CREATE TABLE dqk_spokes (id int PRIMARY KEY, hub_id int REFERENCES dqk_hubs); \
        INSERT INTO dqk_hubs VALUES (1), (2); \
        INSERT INTO dqk_spokes SELECT g, 1 + g % 2 FROM generate_series(1, 6000) g";
    with_resident().await;
    let pipeline = Pipeline::new("destroykill", schema).await;
    pipeline.catch_up().await;
    let mut kills = 0;
    // Each lasts longer than the one before, until one ends.
    for delay in (0..).map(|number| Duration::from_millis(60).mul_f64(1.7_f64.powi(number))) {
        let mut running = pipeline.start_logging(&["destroy", "--graph", "--yes"], Stdio::null());
        sleep(delay).await;
        match running.ended(Duration::from_millis(5)).await {
            Some(0) => break,
            Some(code) => panic!("it ended with {code}"),
            None => running.kill(),
        }
        kills += 1;
        // Neo4j may still be at what was killed.
        let (nodes, ..) = left("Dqk", &pipeline.name).await;
        println!(
            "killed after {delay:?}: {nodes} nodes, {} in the source",
            left_in_source(&pipeline).await
        );
    }
    assert!(kills > 3, "{kills}");
    let (code, shown) = said(&pipeline.output(&["destroy", "--graph", "--yes"]).await);
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(left("Dqk", &pipeline.name).await, (0, 0, 0));
    assert_eq!(left_in_source(&pipeline).await, 0);
}

#[tokio::test]
async fn a_pipeline_that_runs_is_not_removed() {
    let schema = "CREATE TABLE dr_things (id int PRIMARY KEY); INSERT INTO dr_things VALUES (1)";
    with_resident().await;
    let pipeline = Pipeline::new("destroyrun", schema).await;
    let mut running = pipeline.start();
    eventually("it is copied", "MATCH (n:DrThing) RETURN count(n) = 1 AS yes").await;
    let (code, shown) = said(&pipeline.output(&["destroy", "--graph", "--yes"]).await);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("runs: process") && shown.contains("reads the slot"), "{shown}");
    pipeline.sql.batch_execute("INSERT INTO dr_things VALUES (2)").await.unwrap();
    eventually("it still runs", "MATCH (n:DrThing) RETURN count(n) = 2 AS yes").await;
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
    let (code, shown) = said(&pipeline.output(&["destroy", "--graph", "--yes"]).await);
    assert_eq!(code, Some(0), "{shown}");
}

/// The last pipeline leaves nothing behind.
#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_graph_without_pipelines_has_nothing_of_ours() {
    let server = Neo4j::start(&Neo4jOptions::default()).unwrap();
    let schema = "CREATE TABLE de_things (id int PRIMARY KEY); INSERT INTO de_things VALUES (1); \
        CREATE TABLE de_links (id int PRIMARY KEY, a int REFERENCES de_things, b int REFERENCES de_things)";
    let pipeline = Pipeline::new("destroylast", schema).await;
    for arguments in [&["run", "--until", "current"][..], &["destroy", "--graph", "--yes"]] {
        let ended = pipeline.output_with_graph(arguments, &server.url()).await;
        assert_eq!(said(&ended).0, Some(0));
    }
    let options = Options { url: server.url(), ..graph_options() };
    let connection = Connection::new(&options, ANSWER_LIMIT).unwrap();
    let left = "SHOW INDEXES YIELD name, type WHERE type <> 'LOOKUP' RETURN collect(name) AS names";
    let rows = connection.rows(Query::new(left.to_owned())).await.unwrap();
    assert_eq!(rows[0].get::<Vec<String>>("names").unwrap(), Vec::<String>::new());
    let nodes = connection.rows(Query::new("MATCH (n) RETURN n".to_owned())).await.unwrap();
    assert_eq!(nodes.len(), 0);
}

/// What both have stays: nobody can tell whose a node is.
#[tokio::test]
async fn a_label_that_two_pipelines_have_stays() {
    let of = |rows: &str| {
        format!("CREATE TABLE dl_shared (id int PRIMARY KEY); INSERT INTO dl_shared VALUES {rows}")
    };
    let first = "CREATE TABLE dl_first (id int PRIMARY KEY, shared_id int REFERENCES dl_shared); \
                 INSERT INTO dl_first VALUES (1, 1)";
    with_resident().await;
    let first = Pipeline::new("destroylabel", &format!("{}; {first}", of("(1), (2)"))).await;
    let second = Pipeline::new("destroylabel", &of("(3)")).await;
    first.catch_up().await;
    let copied = second.output(&["run", "--until", "current", "--into-existing-graph"]).await;
    assert_eq!(said(&copied).0, Some(0));
    let (code, shown) = said(&first.output(&["destroy", "--graph", "--yes"]).await);
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.contains(&format!("DlShared: the pipeline {} has it, too", second.name)),
        "{shown}"
    );
    assert_eq!(left("DlFirst", &first.name).await, (0, 0, 0));
    assert_eq!(left("DlShared", &second.name).await, (3, 1, 1));
}

/// What can be removed goes, and the rest is named.
#[tokio::test]
async fn a_side_that_is_away_is_named() {
    let schema = "CREATE TABLE da_things (id int PRIMARY KEY); INSERT INTO da_things VALUES (1)";
    with_resident().await;
    let pipeline = Pipeline::new("destroyaway", schema).await;
    pipeline.catch_up().await;
    let away =
        pipeline.output_with_graph(&["destroy", "--graph", "--yes"], "bolt://127.0.0.1:1").await;
    let (code, shown) = said(&away);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains(&format!("pipeline: '{}'", pipeline.name)), "{shown}");
    assert_eq!(left_in_source(&pipeline).await, 0);
    assert_eq!(left("DaThing", &pipeline.name).await, (1, 1, 1));

    let mut gone = Command::new(env!("CARGO_BIN_EXE_wal2graph"));
    let source = pipeline.source_url.replace(&pipeline.name, "not_there_any_more");
    gone.args(["destroy", "--graph", "--yes", "--pipeline", &pipeline.name]);
    gone.args(["--source-url", &source, "--graph-url", &neo4j().url()]);
    let (code, shown) = said(&output(gone).await);
    assert_eq!(code, Some(1), "{shown}");
    assert!(
        shown.contains("pg_drop_replication_slot") && shown.contains("DROP PUBLICATION"),
        "{shown}"
    );
    assert_eq!(left("DaThing", &pipeline.name).await, (0, 0, 0));
}

/// A publication that somebody else made is theirs.
#[tokio::test]
async fn a_publication_of_somebody_else_stays() {
    let schema = "CREATE TABLE du_things (id int PRIMARY KEY)";
    with_resident().await;
    let pipeline = Pipeline::new("destroypub", schema).await;
    let create = format!("CREATE PUBLICATION wal2graph_{} FOR TABLE ONLY du_things", pipeline.name);
    pipeline.sql.batch_execute(&create).await.unwrap();
    pipeline.catch_up().await;
    let (code, shown) = said(&pipeline.output(&["destroy", "--yes"]).await);
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.contains("somebody else made it") && shown.contains("DROP PUBLICATION"),
        "{shown}"
    );
    assert_eq!(left_in_source(&pipeline).await, 1, "the publication is there");
}

/// On a terminal the user types the name.
#[tokio::test]
async fn the_name_is_asked_for() {
    let schema = "CREATE TABLE dq_things (id int PRIMARY KEY)";
    with_resident().await;
    let pipeline = Pipeline::new("destroyask", schema).await;
    pipeline.catch_up().await;
    for (answer, code) in [("yes", 1), (pipeline.name.as_str(), 0)] {
        let program = format!(
            "{} destroy --source-url '{}' --graph-url {}",
            env!("CARGO_BIN_EXE_wal2graph"),
            pipeline.source_url,
            neo4j().url()
        );
        let typed =
            format!("(sleep 3; echo {answer}; sleep 5) | script -qec \"{program}\" /dev/null");
        let mut terminal = Command::new("sh");
        terminal.args(["-c", &typed]);
        let (ended, shown) = said(&output(terminal).await);
        assert_eq!(ended, Some(code), "{shown}");
        assert!(
            shown.contains(&format!("Type the pipeline's name ({})", pipeline.name)),
            "{shown}"
        );
        let left = left_in_source(&pipeline).await;
        assert_eq!(left, if code == 0 { 0 } else { 2 });
    }
}
