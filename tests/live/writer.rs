//! The writer: transactions, checkpoint, fencing, retries.
#![allow(clippy::unwrap_used)]

mod checkpoint;
mod failures;
mod proxy;
mod schema;
mod values;

use std::sync::Arc;

use wal2graph::{
    change::Timestamp,
    checkpoint::{Advance, Epoch, Identity, Log, NewCheckpoint, Origin, Part, Position},
    lsn::Lsn,
    neo4j::{
        Connection, Options, Writer,
        checkpoint::{create, prepare},
        claim::{self, Claimed},
        connect::ANSWER_LIMIT,
        cypher::{Parameter, Query},
    },
    value::Value,
};

/// A graph of a real server, with a pipeline of the test's own.
struct Graph {
    options: Options,
    connection: Connection,
    pipeline: String,
}

impl Graph {
    /// A pipeline at 0/64 that nobody has claimed, and no nodes with the pipeline's name as label.
    async fn new(pipeline: &str) -> Self {
        let options = crate::support::graph_options();
        let graph = Graph {
            connection: Connection::new(&options, ANSWER_LIMIT).unwrap(),
            options,
            pipeline: pipeline.to_owned(),
        };
        prepare(&graph.connection).await.unwrap();
        wal2graph::neo4j::checkpoint::destroy(&graph.connection, pipeline).await.unwrap();
        graph.run(&format!("MATCH (n:{pipeline}) DETACH DELETE n")).await;
        assert!(create(&graph.connection, pipeline, &new_checkpoint(), &[]).await.unwrap());
        graph
    }

    async fn claim(&self) -> Claimed {
        claim::claim(&self.options, &identity(&self.pipeline), Some("p"), claim::PATIENCE)
            .await
            .unwrap()
    }

    async fn writer(&self) -> Writer {
        let epoch = self.claim().await.checkpoint.epoch;
        self.writer_at(epoch)
    }

    fn writer_at(&self, epoch: Epoch) -> Writer {
        let connection = Connection::new(&self.options, ANSWER_LIMIT).unwrap();
        Writer::new(connection, identity(&self.pipeline), epoch)
    }

    async fn position(&self) -> Position {
        let checkpoint = wal2graph::neo4j::checkpoint::read(&self.connection, &self.pipeline);
        checkpoint.await.unwrap().expect("a checkpoint").position
    }

    /// How many nodes have the pipeline's name as label.
    async fn count(&self) -> i64 {
        let text = format!("MATCH (n:{}) RETURN count(n) AS count", self.pipeline);
        let rows = self.connection.rows(neo4rs::Query::new(text)).await.unwrap();
        rows[0].get("count").unwrap()
    }

    async fn run(&self, text: &str) {
        self.connection.run(neo4rs::Query::new(text.to_owned())).await.unwrap();
    }

    /// A statement that is not idempotent: it makes a node for every row.
    fn create_nodes(&self, ids: &[i64]) -> Query {
        query(&format!("UNWIND $rows[0] AS r CREATE (:{} {{id: r}})", self.pipeline), ids)
    }
}

fn identity(pipeline: &str) -> Identity {
    Identity { pipeline: pipeline.to_owned(), log: Log::Slot("s".to_owned()) }
}

fn new_checkpoint() -> NewCheckpoint {
    NewCheckpoint {
        publication: Some("p".to_owned()),
        partitions: 1,
        topic_id: None,
        is_whole: false,
        publisher: None,
        start: Lsn(100),
        origin: Origin {
            system_identifier: "7".to_owned(),
            timeline: 1,
            log: Log::Slot("s".to_owned()),
        },
        mapping_digest: "d".to_owned(),
        labels: vec!["Writer".to_owned()],
        table_facts: None,
        outlines: None,
    }
}

fn query(text: &str, rows: &[i64]) -> Query {
    let rows = rows.iter().map(|it| Parameter::Value(Value::Integer(*it))).collect();
    Query { text: Arc::from(text), rows, otherwise: None }
}

fn step(from: u64, to: u64) -> Advance {
    Advance {
        from: Position::at(Lsn(from)),
        to: Position::at(Lsn(to)),
        source_lsn: Lsn(to),
        committed_at: Some(Timestamp { unix_micros: 1_700_000_000_123_456 }),
        last_change: None,
        last_record: None,
        newest: None,
    }
}

fn in_part(lsn: u64, commit_lsn: u64, events: u64) -> Position {
    Position { lsn: Lsn(lsn), part: Some(Part { commit_lsn: Lsn(commit_lsn), events }) }
}
