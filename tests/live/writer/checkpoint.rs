//! The compare-and-set: who may move the checkpoint, from where.

use std::time::Duration;

use wal2graph::{
    checkpoint::{Advance, Checkpoint, Epoch, Newest, Position},
    copy::{ChunkStep, Progress},
    graph::Pass,
    lsn::Lsn,
    neo4j::{
        Connection, Error, WriteError,
        checkpoint::{create, destroy, read},
        claim,
        connect::ANSWER_LIMIT,
        copy_progress, stopped,
    },
    pipeline::{Failure, Verdict},
};

use super::{Graph, identity, in_part, new_checkpoint, step};
use crate::contract::range;

#[tokio::test]
async fn a_checkpoint_is_made_once_and_read_as_it_was_written() {
    let graph = Graph::new("WriterMade").await;
    assert!(!create(&graph.connection, "WriterMade", &new_checkpoint(), &[]).await.unwrap());
    let mut writer = graph.writer().await;
    assert_eq!(writer.epoch(), Epoch(1));
    let advance = step(100, 200);
    writer.write(&advance, &[graph.create_nodes(&[1, 2])]).await.unwrap();

    let read = read(&graph.connection, "WriterMade").await.unwrap().unwrap();
    assert_eq!(read.position, advance.to);
    assert_eq!(read.committed_at, advance.committed_at);
    assert_eq!((read.epoch, read.origin), (Epoch(1), new_checkpoint().origin));
    assert_eq!(read.mapping_digest, "d");
    let age = chrono::Utc::now().timestamp_micros() - read.updated_at.unix_micros;
    assert!((0..60_000_000).contains(&age), "{age} us old");
    assert_eq!(graph.count().await, 2);
    let text = "MATCH (c:_Wal2GraphCheckpoint {pipeline: 'WriterMade'}) RETURN c.lsn_text AS text, keys(c) AS keys";
    let rows = graph.connection.rows(neo4rs::Query::new(text.to_owned())).await.unwrap();
    assert_eq!(rows[0].get::<String>("text").unwrap(), "0/C8");
    let keys: Vec<String> = rows[0].get("keys").unwrap();
    assert!(!keys.iter().any(|key| key == "_lock"), "{keys:?}");
}

#[tokio::test]
async fn a_writer_that_was_fenced_does_not_say_why_it_stopped_and_a_claim_forgets_it() {
    let graph = Graph::new("WriterStopped").await;
    let (zombie, writer) = (graph.writer().await.epoch(), graph.writer().await.epoch());
    let identity = identity("WriterStopped");
    let tell =
        async |epoch| stopped::tell(&graph.connection, &identity, epoch, "why").await.unwrap();
    let told = async || read(&graph.connection, "WriterStopped").await.unwrap().unwrap().stopped;
    assert!(!tell(zombie).await);
    assert_eq!(told().await, None);
    assert!(tell(writer).await);
    assert_eq!(told().await.expect("it was told").because, "why");
    graph.writer().await;
    assert_eq!(told().await, None);
}

#[tokio::test]
async fn the_newest_transaction_is_kept_as_long_as_its_publication_shows_it() {
    let graph = Graph::new("WriterNewest").await;
    let read = async || read(&graph.connection, "WriterNewest").await.unwrap().unwrap();
    assert_eq!(read().await.newest_through("p"), Some(Newest::Nothing));
    let mut writer = graph.writer().await;
    let newest: Option<Newest> = "0/C0 7 1764398765123456".parse().ok();
    for (from, to) in [(100, 200), (200, 300)] {
        writer.write(&Advance { newest, ..step(from, to) }, &[]).await.unwrap();
        assert_eq!(read().await.newest, newest);
    }
    assert_eq!(graph.claim().await.checkpoint.newest, newest, "a claim leaves it");
    assert_eq!(read().await.newest_through("q"), None);
    let (options, identity) = (&graph.options, identity("WriterNewest"));
    let through = claim::claim(options, &identity, Some("q"), claim::PATIENCE).await.unwrap();
    let Checkpoint { newest: kept, publication, .. } = through.checkpoint;
    assert_eq!((kept, publication.as_deref()), (None, Some("q")));
    let mut writer = graph.writer().await;
    writer.write(&Advance { newest, ..step(300, 400) }, &[]).await.unwrap();
    // An earlier build moves the checkpoint and knows of nothing else.
    graph.run("MATCH (c:_Wal2GraphCheckpoint {pipeline: 'WriterNewest'}) SET c.lsn = 500").await;
    assert_eq!(read().await.newest, None);
}

#[tokio::test]
async fn a_step_from_elsewhere_is_fenced_and_writes_nothing() {
    let graph = Graph::new("WriterElsewhere").await;
    let mut writer = graph.writer().await;
    let refused = writer.write(&step(99, 200), &[graph.create_nodes(&[1])]).await;
    assert!(matches!(refused, Err(WriteError::Fenced { .. })), "{refused:?}");
    assert_eq!((graph.position().await, graph.count().await), (Position::at(Lsn(100)), 0));
}

#[tokio::test]
async fn a_graph_at_an_older_state_than_its_writer_left_was_said_to_be_another_writers() {
    let graph = Graph::new("WriterPutBack").await;
    let mut writer = graph.writer().await;
    let put_back = |refused: Result<(), WriteError>| {
        assert!(matches!(refused, Err(WriteError::PutBack { .. })), "{refused:?}");
        assert_eq!(refused.map_err(|it| it.verdict()), Err(Verdict::PutBack));
    };
    put_back(writer.write(&step(101, 200), &[graph.create_nodes(&[1])]).await);
    let from = in_part(100, 150, 3);
    let in_part = Advance { from, ..step(0, 200) };
    put_back(writer.write(&in_part, &[graph.create_nodes(&[1])]).await);
    // To before it was claimed.
    graph.run("MATCH (c:_Wal2GraphCheckpoint {pipeline: 'WriterPutBack'}) SET c.epoch = 0").await;
    put_back(writer.write(&step(100, 200), &[graph.create_nodes(&[1])]).await);
    assert_eq!((graph.position().await, graph.count().await), (Position::at(Lsn(100)), 0));
    let mut next = graph.writer().await;
    next.write(&step(100, 200), &[graph.create_nodes(&[1])]).await.unwrap();
}

#[tokio::test]
async fn an_idle_step_of_a_new_checkpoint_passes() {
    let graph = Graph::new("WriterIdle").await;
    let mut writer = graph.writer().await;
    writer.write(&Advance { committed_at: None, ..step(100, 200) }, &[]).await.unwrap();
    writer.write_piece(&Position::at(Lsn(200)), &[]).await.unwrap();
    assert_eq!(graph.position().await, Position::at(Lsn(200)));
    assert_eq!(writer.retries(), Default::default());
}

#[tokio::test]
async fn parts_are_steps_too() {
    let graph = Graph::new("WriterParts").await;
    let mut writer = graph.writer().await;
    let places = [
        Position::at(Lsn(100)),
        in_part(100, 150, 1000),
        in_part(100, 150, 2000),
        Position::at(Lsn(160)),
    ];
    for (number, pair) in places.windows(2).enumerate() {
        let advance = Advance {
            from: pair[0],
            to: pair[1],
            source_lsn: pair[1].lsn,
            committed_at: None,
            last_change: None,
            last_record: None,
            newest: None,
        };
        writer.write(&advance, &[graph.create_nodes(&[number as i64])]).await.unwrap();
        assert_eq!(graph.position().await, pair[1]);
    }
    assert_eq!(graph.count().await, 3);
}

#[tokio::test]
async fn the_same_step_again_is_done_already() {
    let graph = Graph::new("WriterAgain").await;
    let mut writer = graph.writer().await;
    for _ in 0..2 {
        writer.write(&step(100, 200), &[graph.create_nodes(&[1])]).await.unwrap();
    }
    assert_eq!((graph.count().await, writer.retries().settled), (1, 1));
}

#[tokio::test]
async fn a_claim_fences_the_writer_before() {
    let graph = Graph::new("WriterFenced").await;
    let mut first = graph.writer().await;
    first.write(&step(100, 200), &[graph.create_nodes(&[1])]).await.unwrap();
    let claimed = graph.claim().await;
    assert_eq!(claimed.checkpoint.position, Position::at(Lsn(200)));
    assert_eq!((claimed.checkpoint.epoch, claimed.terminated.len()), (Epoch(2), 0));
    let mut second = graph.writer_at(claimed.checkpoint.epoch);

    let refused = first.write(&step(200, 300), &[graph.create_nodes(&[2])]).await;
    assert!(matches!(refused, Err(WriteError::Fenced { .. })), "{refused:?}");
    let at = Position::at(Lsn(200));
    let refused = first.write_piece(&at, &[graph.create_nodes(&[2])]).await;
    assert!(matches!(refused, Err(WriteError::Fenced { .. })), "{refused:?}");
    let counters = second.write_piece(&at, &[graph.create_nodes(&[3])]).await.unwrap();
    assert_eq!((counters.nodes_created, graph.position().await), (1, at));
    second.write(&step(200, 300), &[graph.create_nodes(&[2])]).await.unwrap();
    assert_eq!(graph.count().await, 3);
}

#[tokio::test]
async fn of_two_steps_at_once_one_passes() {
    let graph = Graph::new("WriterRace").await;
    let epoch = graph.claim().await.checkpoint.epoch;
    let (mut a, mut b) = (graph.writer_at(epoch), graph.writer_at(epoch));
    let mut from = 100;
    for round in 0..30 {
        let (to_a, to_b) = (from + 1, from + 2);
        let rows = [graph.create_nodes(&[round])];
        let (step_a, step_b) = (step(from, to_a), step(from, to_b));
        let (of_a, of_b) = tokio::join!(a.write(&step_a, &rows), b.write(&step_b, &rows));
        assert!(of_a.is_ok() != of_b.is_ok(), "round {round}: {of_a:?} {of_b:?}");
        from = if of_a.is_ok() { to_a } else { to_b };
        assert_eq!(graph.position().await, Position::at(Lsn(from)));
    }
    assert_eq!(graph.count().await, 30);
}

#[tokio::test]
async fn writers_that_stopped_with_a_lock_are_ended_by_the_claim() {
    let graph = Graph::new("WriterStopped").await;
    destroy(&graph.connection, "WriterStopped").await.unwrap();
    assert!(
        create(&graph.connection, "WriterStopped", &new_checkpoint(), &[progress(0, None)])
            .await
            .unwrap()
    );
    let other = Connection::new(&graph.options, ANSWER_LIMIT).unwrap();
    let (mut stopped, mut lane) =
        (graph.connection.begin().await.unwrap(), other.begin().await.unwrap());
    for (transaction, label) in
        [(&mut stopped, "_Wal2GraphCheckpoint"), (&mut lane, "_Wal2GraphCopy")]
    {
        let lock = format!("MATCH (c:{label} {{pipeline: 'WriterStopped'}}) SET c:{label}");
        transaction.run(graph_query(&lock)).await.unwrap();
    }

    let patience = Duration::from_millis(300);
    let claimed = claim::claim(&graph.options, &identity("WriterStopped"), Some("p"), patience)
        .await
        .unwrap();
    assert_eq!((claimed.checkpoint.epoch, claimed.terminated.len()), (Epoch(1), 2));
    let late = stopped.run(graph_query("CREATE (:WriterStopped)")).await;
    assert!(matches!(late, Err(Error::Terminated(_))), "{late:?}");
    drop(stopped);
    assert_eq!(graph.count().await, 0);
}

/// It does not in a database that has never seen the property's name.
#[tokio::test]
async fn removing_the_lock_property_locks_once_the_graph_is_prepared() {
    let graph = Graph::new("WriterLock").await;
    graph.run("CREATE (:WriterLock)").await;
    let other = Connection::new(&graph.options, ANSWER_LIMIT).unwrap();
    let mut holder = other.begin().await.unwrap();
    holder.run(graph_query("MATCH (n:WriterLock) SET n._lock = null")).await.unwrap();
    let mut waiting = graph.connection.begin().await.unwrap();
    let waits = waiting.run(graph_query("MATCH (n:WriterLock) SET n.x = 1"));
    assert!(tokio::time::timeout(Duration::from_millis(500), waits).await.is_err(), "no lock");
    holder.rollback().await;
}

fn graph_query(text: &str) -> neo4rs::Query {
    neo4rs::Query::new(text.to_owned())
}

#[tokio::test]
async fn nothing_to_claim_is_said() {
    let graph = Graph::new("WriterNone").await;
    destroy(&graph.connection, "WriterNone").await.unwrap();
    let claimed =
        claim::claim(&graph.options, &identity("WriterNone"), Some("p"), claim::PATIENCE).await;
    assert_eq!(claimed, Err(claim::ClaimError::NoCheckpoint(identity("WriterNone"))));
    assert_eq!(read(&graph.connection, "WriterNone").await.unwrap(), None);
}

fn progress(part: u32, end_block: Option<u32>) -> Progress {
    Progress { end_block, ..range(part) }
}

fn chunk(part: u32, from_block: u32, to_block: u32, done: bool) -> ChunkStep {
    ChunkStep {
        table: "public.orders".to_owned(),
        pass: Pass::Nodes,
        part,
        from_block,
        to_block,
        relfilenode: 16_400,
        rows: 50,
        done,
    }
}

#[tokio::test]
async fn chunks_move_their_own_progress() {
    let graph = Graph::new("WriterChunks").await;
    let ranges = [progress(0, Some(10)), progress(1, None)];
    destroy(&graph.connection, "WriterChunks").await.unwrap();
    assert!(create(&graph.connection, "WriterChunks", &new_checkpoint(), &ranges).await.unwrap());
    assert_eq!(copy_progress::read(&graph.connection, "WriterChunks").await.unwrap(), ranges);

    let mut writer = graph.writer().await;
    writer.write_chunk(&chunk(0, 0, 4, false), &[graph.create_nodes(&[1])]).await.unwrap();
    writer.write_chunk(&chunk(0, 4, 10, true), &[graph.create_nodes(&[2])]).await.unwrap();
    let moved = Progress { next_block: 10, rows: 100, done: true, ..ranges[0].clone() };
    let read = copy_progress::read(&graph.connection, "WriterChunks").await.unwrap();
    assert_eq!(read, [moved, ranges[1].clone()]);

    let other_file = ChunkStep { relfilenode: 16_401, ..chunk(1, 0, 4, false) };
    for refused in [chunk(0, 4, 10, false), other_file] {
        let result = writer.write_chunk(&refused, &[graph.create_nodes(&[3])]).await;
        assert!(matches!(result, Err(WriteError::Fenced { .. })), "{refused:?} {result:?}");
    }
    let ahead = writer.write_chunk(&chunk(1, 4, 8, false), &[graph.create_nodes(&[3])]).await;
    assert!(matches!(ahead, Err(WriteError::PutBack { .. })), "{ahead:?}");
    let mut second = graph.writer().await;
    let fenced = writer.write_chunk(&chunk(1, 0, 4, false), &[graph.create_nodes(&[3])]).await;
    assert!(matches!(fenced, Err(WriteError::Fenced { .. })), "{fenced:?}");
    second.write_chunk(&chunk(1, 0, 4, false), &[graph.create_nodes(&[4])]).await.unwrap();

    let at = Position::at(Lsn(100));
    second.restart_copy(&at, &["public.orders"], &ranges[1..]).await.unwrap();
    let read = copy_progress::read(&graph.connection, "WriterChunks").await.unwrap();
    assert_eq!(read, ranges[1..]);
    second.write_chunk(&chunk(1, 0, 4, false), &[graph.create_nodes(&[5])]).await.unwrap();
    assert_eq!(graph.count().await, 4);
}

#[tokio::test]
async fn an_abandoned_transaction_is_reset_by_the_next() {
    let graph = Graph::new("WriterAbandoned").await;
    let connection = Connection::new(&graph.options, ANSWER_LIMIT).unwrap();
    let mut abandoned = connection.begin().await.unwrap();
    abandoned.run(graph_query("CREATE (:WriterAbandoned)")).await.unwrap();
    drop(abandoned);
    connection.begin().await.unwrap().commit().await.unwrap();
    assert_eq!(graph.count().await, 0);
}
