//! `wait`, and the recipes of docs/read-your-writes.md: what was committed is in the graph once they end.

use std::time::{Duration, Instant};

use neo4rs::Query;

use crate::{
    guide::blocks,
    support::{Pipeline, eventually, graph, holds, until},
};

/// The exit code, what it said, and how long it took.
async fn wait(pipeline: &Pipeline, arguments: &[&str]) -> (Option<i32>, String, Duration) {
    let began = Instant::now();
    let output = pipeline.output(&[&["wait"], arguments].concat()).await;
    let both = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&both).into_owned();
    println!("{said}{:?}", began.elapsed());
    (output.status.code(), said, began.elapsed())
}

#[tokio::test]
async fn what_was_committed_before_is_in_the_graph() {
    let pipeline = Pipeline::new("wait", "CREATE TABLE wt_things (id int PRIMARY KEY)").await;
    let _running = pipeline.start();
    eventually("the checkpoint", &checkpoint(&pipeline)).await;
    for id in 0..10 {
        pipeline.sql.batch_execute(&format!("INSERT INTO wt_things VALUES ({id})")).await.unwrap();
        let (code, said, _) = wait(&pipeline, &["--timeout", "60s"]).await;
        assert_eq!(code, Some(0), "{said}");
        let found = format!("MATCH (n:WtThing {{id: {id}}}) RETURN count(n) = 1 AS yes");
        assert!(holds(&found).await, "{id}: {said}");
    }
}

fn checkpoint(pipeline: &Pipeline) -> String {
    format!(
        "OPTIONAL MATCH (c:_Wal2GraphCheckpoint {{pipeline: '{0}'}}) OPTIONAL MATCH (p:_Wal2GraphCopy {{pipeline: '{0}'}}) \
         RETURN count(c) = 1 AND count(p) = 0 AS yes",
        pipeline.name
    )
}

/// An idle source: what is written is not for the graph, or not committed, or not even flushed.
#[tokio::test]
async fn a_source_without_changes_for_the_graph_holds_nobody_up() {
    let schema = "CREATE TABLE wi_things (id int PRIMARY KEY)";
    let pipeline = Pipeline::new("waitidle", schema).await;
    let _running = pipeline.start();
    eventually("the checkpoint", &checkpoint(&pipeline)).await;
    // Nobody publishes it.
    pipeline.sql.batch_execute("CREATE TABLE wi_elsewhere (id int, v text)").await.unwrap();
    let other = crate::support::client(&pipeline.source_url).await;
    for round in 0..6 {
        let sql =
            "INSERT INTO wi_elsewhere SELECT g, repeat('x', 50) FROM generate_series(1, 40) g";
        // Half of the rounds leave a transaction open, with log that nobody has flushed.
        let open = if round % 2 == 0 { "" } else { "BEGIN;" };
        other.batch_execute(&format!("{open}{sql}")).await.unwrap();
        let (code, said, took) = wait(&pipeline, &["--now", "--timeout", "60s"]).await;
        assert_eq!(code, Some(0), "{said}");
        let at: String = pipeline
            .sql
            .query_one("SELECT pg_current_wal_insert_lsn()::text", &[])
            .await
            .unwrap()
            .get(0);
        let (code, said, named) = wait(&pipeline, &["--lsn", &at, "--timeout", "60s"]).await;
        assert_eq!(code, Some(0), "{said}");
        // Far less than the 15 seconds after which the server flushes by itself; the machine is busy.
        assert!(took.max(named) < Duration::from_secs(10), "{took:?} {named:?}");
        if round % 2 == 1 {
            other.batch_execute("ROLLBACK").await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_not_reached_in_time_is_said_with_how_far_the_graph_is() {
    let schema = "CREATE TABLE wl_things (id int PRIMARY KEY)";
    let pipeline = Pipeline::new("waitlate", schema).await;
    let (code, said, _) = wait(&pipeline, &["--timeout", "5s"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no checkpoint of the pipeline"), "{said}");
    pipeline.catch_up().await;
    pipeline.sql.batch_execute("INSERT INTO wl_things VALUES (1)").await.unwrap();
    let (code, said, took) = wait(&pipeline, &["--timeout", "5s"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("the graph is complete through") && said.contains("bytes before"),
        "{said}"
    );
    assert!(took < Duration::from_secs(30), "{took:?}");
    // What the graph has needs nothing of the source.
    let (code, said, _) = wait(&pipeline, &["--lsn", "0/1"]).await;
    assert_eq!(code, Some(0), "{said}");
    for wrong in [["--timeout", "5"], ["--lsn", "tomorrow"]] {
        let (code, said, _) = wait(&pipeline, &wrong).await;
        assert_eq!(code, Some(2), "{said}");
    }
}

/// A position counts only once every row is there.
#[tokio::test]
async fn a_copy_under_way_is_waited_for() {
    let schema = "CREATE TABLE wc_things (id int PRIMARY KEY); INSERT INTO wc_things VALUES (1)";
    let pipeline = Pipeline::new("waitcopy", schema).await;
    pipeline.catch_up().await;
    let progress = format!(
        "CREATE (:_Wal2GraphCopy {{pipeline: '{}', table: 'public.wc_things', pass: 'nodes', part: 0, \
         next_block: 0, relfilenode: 1, rows: 0, done: false, epoch: 0}})",
        pipeline.name
    );
    graph().run(Query::new(progress)).await.unwrap();
    let (code, said, _) = wait(&pipeline, &["--lsn", "0/1", "--timeout", "300ms"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the copy of the tables is not complete"), "{said}");
}

/// Each recipe of the page: a position by its SQL, then its Cypher until that says so.
#[tokio::test]
async fn the_recipes_of_the_page_read_what_was_written() {
    let blocks = blocks(include_str!("../../docs/read-your-writes.md"));
    let of = |wanted: &str| -> Vec<String> {
        let found = blocks.iter().filter(|(language, _)| language == wanted);
        found.map(|(_, text)| text.trim_end().trim_end_matches(';').to_owned()).collect()
    };
    let (positions, questions) = (of("sql"), of("cypher"));
    assert_eq!((positions.len(), questions.len()), (2, 2));
    let pipeline = Pipeline::new("waitrecipe", "CREATE TABLE wr_things (id int PRIMARY KEY)").await;
    let _running = pipeline.start();
    eventually("the checkpoint", &checkpoint(&pipeline)).await;
    for id in 0..20 {
        pipeline.sql.batch_execute(&format!("INSERT INTO wr_things VALUES ({id})")).await.unwrap();
        let position = &positions[id % positions.len()];
        let lsn: i64 = pipeline.sql.query_one(position, &[]).await.unwrap().get("lsn");
        let mut looks = 0;
        until("the graph has it", async || {
            looks += 1;
            let query = Query::new(questions[0].clone()).param("pipeline", pipeline.name.as_str());
            let rows = graph().rows(query.param("lsn", lsn)).await.unwrap();
            rows[0].get::<bool>("complete").unwrap()
        })
        .await;
        println!("{id}: {looks} looks");
        assert!(holds(&format!("MATCH (n:WrThing {{id: {id}}}) RETURN count(n) = 1 AS yes")).await);
    }
    // Rows of one commit; there are no accounts here.
    until("nothing is copied any more", async || {
        let query = Query::new(questions[1].clone()).param("pipeline", pipeline.name.as_str());
        let rows = graph().rows(query).await.unwrap();
        rows.first().is_some_and(|row| row.get::<i64>("total").unwrap() == 0)
    })
    .await;
}
