//! Broken connections, deadlocks, refused data: what is written once, and what is said.

use wal2graph::{
    checkpoint::Position,
    lsn::Lsn,
    neo4j::{Connection, Error, Options, WriteError, Writer, connect::ANSWER_LIMIT, parameter},
};

use super::{
    Graph, identity,
    proxy::{COMMIT, FUSED, Lose, relay},
    query, step,
};
use crate::support::until;

async fn writer_through_relay(
    graph: &Graph,
    what: &'static [u8],
    lose: Lose,
    count: u32,
) -> Writer {
    let server = graph.options.url.trim_start_matches("bolt://").to_owned();
    let url = format!("bolt://127.0.0.1:{}", relay(server, what, lose, count).await);
    let epoch = graph.claim().await.checkpoint.epoch;
    let options = Options { url, ..graph.options.clone() };
    Writer::new(Connection::new(&options, ANSWER_LIMIT).unwrap(), identity(&graph.pipeline), epoch)
}

#[tokio::test]
async fn a_lost_commit_is_written_once() {
    for (name, lose, settled) in
        [("WriterRequestLost", Lose::Request, 0), ("WriterAnswerLost", Lose::Answer, 1)]
    {
        let graph = Graph::new(name).await;
        let mut writer = writer_through_relay(&graph, COMMIT, lose, 1).await;
        writer.write(&step(100, 200), &[graph.create_nodes(&[1])]).await.unwrap();
        writer.write(&step(200, 300), &[graph.create_nodes(&[2])]).await.unwrap();
        assert_eq!((graph.count().await, graph.position().await), (2, Position::at(Lsn(300))));
        let retries = writer.retries();
        assert_eq!((retries.lost, retries.settled), (1, settled), "{lose:?}");
    }
}

/// What came together before is one statement, which may be lost as a COMMIT may.
#[tokio::test]
async fn a_lost_transaction_of_one_statement_is_written_once() {
    for (name, lose, settled) in
        [("WriterFusedRequest", Lose::Request, 0), ("WriterFusedAnswer", Lose::Answer, 1)]
    {
        let graph = Graph::new(name).await;
        let mut writer = writer_through_relay(&graph, FUSED, lose, 1).await;
        let mut write = async |at: u64| {
            let queries = [at as i64, -(at as i64)].map(|id| graph.create_nodes(&[id]));
            let ready = queries.iter().map(parameter::query).collect();
            writer.write_ready(&step(at * 100, at * 100 + 100), ready, &queries).await
        };
        for at in 1..=8 {
            write(at).await.unwrap();
        }
        assert_eq!((graph.count().await, graph.position().await), (16, Position::at(Lsn(900))));
        // Nor is one that another writer has fenced.
        graph.claim().await;
        let refused = write(9).await.unwrap_err();
        assert!(matches!(refused, WriteError::Fenced { .. }), "{refused}");
        assert_eq!(graph.count().await, 16);
        let retries = writer.retries();
        assert_eq!((retries.lost, retries.settled), (1, settled), "{lose:?}");
    }
}

#[tokio::test]
async fn a_deadlock_is_retried() {
    let (a, b) = (Graph::new("WriterDeadlockA").await, Graph::new("WriterDeadlockB").await);
    a.run("UNWIND [1, 2] AS id CREATE (:WriterDeadlockA {id: id, hits: 0})").await;
    let (mut writer_a, mut writer_b) = (a.writer().await, b.writer().await);
    let hit = |id| {
        let text = "UNWIND $rows[0] AS r MATCH (n:WriterDeadlockA {id: r}) SET n.hits = n.hits + 1";
        query(text, &[id])
    };
    let wait = || {
        query(
            "UNWIND range(1, 300000) AS x WITH max(sin(x)) AS y CREATE (:WriterDeadlockB {y: y})",
            &[],
        )
    };
    let (rows_a, rows_b) = ([hit(1), wait(), hit(2)], [hit(2), wait(), hit(1)]);
    let retries = |a: &Writer, b: &Writer| a.retries().transient + b.retries().transient;
    let mut rounds = 0;
    while retries(&writer_a, &writer_b) == 0 {
        assert!(rounds < 20, "they never met");
        let to = step(100 + rounds, 101 + rounds);
        let (of_a, of_b) = tokio::join!(writer_a.write(&to, &rows_a), writer_b.write(&to, &rows_b));
        assert_eq!((of_a, of_b), (Ok(()), Ok(())));
        rounds += 1;
    }
    let text = "MATCH (n:WriterDeadlockA) RETURN sum(n.hits) AS hits";
    let rows = a.connection.rows(neo4rs::Query::new(text.to_owned())).await.unwrap();
    assert_eq!(rows[0].get::<i64>("hits").unwrap(), 4 * rounds as i64);
}

#[tokio::test]
async fn a_transaction_ended_by_an_administrator_is_tried_once_more() {
    let graph = Graph::new("WriterEnded").await;
    let mut writer = graph.writer().await;
    let slow = "UNWIND range(1, 20000000) AS x WITH max(sin(x)) AS y CREATE (:WriterEnded {y: y})";
    let connection = Connection::new(&graph.options, ANSWER_LIMIT).unwrap();
    let find = "SHOW TRANSACTIONS YIELD transactionId AS id, currentQuery AS query \
        WHERE query CONTAINS 'range(1, 20000000)' AND NOT query CONTAINS 'SHOW' RETURN id";
    let is_ended = async || {
        let rows = connection.rows(neo4rs::Query::new(find.to_owned())).await.unwrap();
        let Some(row) = rows.first() else { return false };
        let id: String = row.get("id").unwrap();
        let end = neo4rs::Query::new("TERMINATE TRANSACTIONS $id".to_owned());
        connection.rows(end.param("id", id)).await.unwrap();
        true
    };
    let (step, queries) = (step(100, 200), [query(slow, &[])]);
    let (written, ()) =
        tokio::join!(writer.write(&step, &queries), until("it runs, and is ended", is_ended));
    written.unwrap();
    assert_eq!((writer.retries().terminated, graph.count().await), (1, 1));
}

#[tokio::test]
async fn refused_data_is_named_without_its_values() {
    let graph = Graph::new("WriterRefused").await;
    graph.run("CREATE CONSTRAINT writer_refused IF NOT EXISTS FOR (n:WriterRefused) REQUIRE n.id IS UNIQUE").await;
    let mut writer = graph.writer().await;
    let fine = graph.create_nodes(&[1]);
    let statements = [fine.clone(), graph.create_nodes(&[73_313, 73_313])];
    for (refused, code) in [
        (statements, "Schema.ConstraintValidationFailed"),
        (
            [fine.clone(), query("UNWIND $rows[0] AS r CREATE (:X {id: {a: r}})", &[73_313])],
            "Statement.TypeError",
        ),
        (
            [fine, query("UNWIND $rows[0] AS r MERGE (:WriterRefused {id: null})", &[73_313])],
            "Statement.SemanticError",
        ),
    ] {
        let result = writer.write(&step(100, 200), &refused).await;
        let Err(WriteError::Data { statement: 1, error }) = result else {
            panic!("{code}: {result:?}")
        };
        assert!(error.to_string().contains(code), "{error}");
        assert!(!format!("{error:?}").contains("73313"), "{error:?}");
    }
    assert_eq!((graph.position().await, graph.count().await), (Position::at(Lsn(100)), 0));
    writer.write(&step(100, 200), &[graph.create_nodes(&[1])]).await.unwrap();
}

#[tokio::test]
async fn a_wrong_statement_or_database_is_fatal_and_nobody_home_is_not() {
    let graph = Graph::new("WriterWrong").await;
    let mut writer = graph.writer().await;
    let result = writer.write(&step(100, 200), &[query("MERGE nothing", &[])]).await;
    assert!(matches!(result, Err(WriteError::Fatal(_))), "{result:?}");
    let options = Options { database: Some("nowhere".to_owned()), ..graph.options.clone() };
    let begun = Connection::new(&options, ANSWER_LIMIT).unwrap().begin().await.map(drop);
    let Err(Error::Fatal(text)) = begun else { panic!("{begun:?}") };
    assert!(text.contains("Check the name of the database"), "{text}");
    let options = Options { url: "bolt://127.0.0.1:1".to_owned(), ..graph.options.clone() };
    let begun = Connection::new(&options, ANSWER_LIMIT).unwrap().begin().await.map(drop);
    assert!(matches!(begun, Err(Error::Lost(_))), "{begun:?}");
}
