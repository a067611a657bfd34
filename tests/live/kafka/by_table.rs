//! A topic for each table: what `publish` writes, and `apply` reads with the same file.

use std::time::Duration;

use fastrand::Rng;
use neo4rs::Query;
use tokio::time::{Instant, sleep};
use wal2graph::{
    checkpoint::complete_through, kafka::offsets::Asking, lsn::Lsn, topic::ends::Ends,
};

use super::{
    Published, kafka,
    partitions::{Spread, stops},
};
use crate::{
    differential::{compare, schema, transaction},
    support::{Running, graph, holds, until},
};

/// How often a process is killed, stopped or added in one run.
const EVENTS: usize = 12;

/// The tables of the differential test, one that nobody changes, and one without rows.
fn tables(prefix: &str) -> String {
    format!(
        "{}; CREATE TABLE {prefix}_still (id int PRIMARY KEY, person_id int REFERENCES {prefix}_people);
         INSERT INTO {prefix}_still VALUES (1, NULL);
         CREATE TABLE {prefix}_empty (id int PRIMARY KEY)",
        schema(prefix)
    )
}

async fn log_end(spread: &Spread) -> Lsn {
    let row =
        spread.pipeline.sql.query_one("SELECT pg_current_wal_lsn()::text", &[]).await.unwrap();
    row.get::<_, String>(0).parse().unwrap()
}

async fn position(spread: &Spread) -> Option<Lsn> {
    complete_through(&spread.checkpoints().await)
}

async fn is_equal(spread: &Spread, prefix: &str, still: &str) {
    compare(&spread.pipeline.sql, prefix).await;
    let text = format!("MATCH (n:{still} {{id: 1}}) RETURN count(n) = 1 AS yes");
    assert!(holds(&text).await, "the table that stands still");
}

#[tokio::test]
async fn with_a_topic_for_each_table_the_graph_is_the_same_whoever_is_killed() {
    let seed =
        std::env::var("SEED").map_or_else(|_| fastrand::u64(..10_000), |it| it.parse().unwrap());
    println!("SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let section = "topics_by: table\n  partitions: 2";
    let spread = Spread::with("bytable", &tables("btk"), section).await;
    for _ in 0..60 {
        transaction(&spread.pipeline.sql, &mut rng, "btk").await;
    }
    // Half of the runs are killed while the tables are copied, the others while they are followed.
    if rng.bool() {
        spread.catch_up().await;
    }
    let mut publish = spread.start("publish");
    let mut processes: Vec<Option<Running>> = vec![Some(spread.start("apply")), None];
    for _ in 0..EVENTS {
        let end = Instant::now() + Duration::from_millis(rng.u64(500..3_000));
        while Instant::now() < end {
            transaction(&spread.pipeline.sql, &mut rng, "btk").await;
            sleep(Duration::from_millis(rng.u64(0..40))).await;
        }
        let count = processes.len();
        let process = &mut processes[rng.usize(..count)];
        match (process.take(), rng.u8(..6)) {
            (running, 0..2) => {
                *process = running;
                std::mem::replace(&mut publish, spread.start("publish")).kill();
            }
            (Some(mut running), 2) => stops(&mut running).await,
            (Some(running), _) => running.kill(),
            (None, _) => *process = Some(spread.start("apply")),
        }
    }
    publish.terminate(Duration::from_secs(60)).await;
    for mut running in processes.into_iter().flatten() {
        stops(&mut running).await;
    }
    let end = log_end(&spread).await;
    spread.catch_up().await;
    is_equal(&spread, "btk", "BtkStill").await;
    let whole = position(&spread).await;
    assert!(whole >= Some(end), "tables that stand still hold the graph back: {whole:?} {end}");
    let checkpoints = spread.checkpoints().await;
    let read = |own: &str| {
        let topic = format!("{}.{own}", spread.topic());
        checkpoints.iter().any(|it| it.partition().unwrap().topic == topic)
    };
    assert!(read("heartbeats") && read("public.btk_people") && read("public.btk_still"));

    // All of it again, from the first offset, into an empty graph.
    let empty =
        "MATCH (n) WHERE any(label IN labels(n) WHERE label STARTS WITH 'Btk') DETACH DELETE n";
    graph().run(Query::new(empty.to_owned())).await.unwrap();
    let (code, said) = spread.output(&["replay", "--from", "earliest"]).await;
    assert!(code == Some(0) && said.contains("btk_people"), "{said}");
    let (code, said) = spread.output(&["apply", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{said}");
    is_equal(&spread, "btk", "BtkStill").await;
    assert!(spread.checkpoints().await.iter().all(|it| it.replaying.is_none()));
}

#[tokio::test]
async fn a_table_that_stands_still_keeps_neither_the_slot_nor_the_status_back() {
    let schema =
        "CREATE TABLE bts_busy (id int PRIMARY KEY); CREATE TABLE bts_still (id int PRIMARY KEY);
        INSERT INTO bts_still VALUES (1)";
    let spread = Spread::with("bystill", schema, "topics_by: table").await;
    let mut publish = spread.start("publish");
    let mut apply = spread.start("apply");
    let copied = "MATCH (n:BtsStill) RETURN count(n) = 1 AS yes";
    until("the copy is in the graph", async || holds(copied).await).await;
    let insert = "INSERT INTO bts_busy SELECT generate_series(1, 100)";
    spread.pipeline.sql.batch_execute(insert).await.unwrap();
    let end = log_end(&spread).await;
    until("the slot follows the graph", async || {
        spread.pipeline.positions().await.1.is_some_and(|confirmed| confirmed >= end.0)
    })
    .await;
    assert!(holds("MATCH (n:BtsBusy) RETURN count(n) = 100 AS yes").await);
    assert!(position(&spread).await >= Some(end));
    let (_, status) = spread.output(&["status"]).await;
    assert!(status.contains("bts_still") && status.contains("heartbeats"), "{status}");
    let (code, said) = spread.output(&["check"]).await;
    assert!(code == Some(0) && said.contains("apply goes on"), "{said}");
    assert_eq!(apply.terminate(Duration::from_secs(60)).await, Some(0));
    publish.terminate(Duration::from_secs(60)).await;
}

const TWO: &str = "CREATE TABLE btm_one (id int PRIMARY KEY, name text);
    CREATE TABLE btm_two (id int PRIMARY KEY, one_id int REFERENCES btm_one);
    INSERT INTO btm_one VALUES (1, 'copied'), (2, 'copied'); INSERT INTO btm_two VALUES (1, 1)";

#[tokio::test]
async fn a_tables_topic_that_was_made_again_has_its_copy_again_and_is_refused_by_the_graph_of_the_one_before()
 {
    let spread = Spread::with("bymade", TWO, "topics_by: table").await;
    spread.catch_up().await;
    let topic = format!("{}.public.btm_one", spread.topic());
    let delete = ["--delete", "--topic", &topic];
    kafka().tool("org.apache.kafka.tools.TopicCommand", &delete).unwrap();
    // Its delete is in no record any more.
    spread.pipeline.sql.batch_execute("DELETE FROM btm_one WHERE id = 2").await.unwrap();
    let (code, said) = spread.output(&["publish", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("copied a table to the topic").count(), 1, "one table alone: {said}");
    let (code, said) = spread.output(&["apply", "--until", "current"]).await;
    assert!(code == Some(1) && said.contains("was deleted and made again"), "{said}");
    assert!(said.contains(&topic), "{said}");
    // What it says ends well.
    let gone = format!(
        "MATCH (n:BtmOne|BtmTwo|_Wal2GraphCheckpoint) WHERE NOT n:_Wal2GraphCheckpoint OR n.pipeline = '{}' \
         DETACH DELETE n",
        spread.pipeline.name
    );
    graph().run(Query::new(gone)).await.unwrap();
    let (code, said) = spread.output(&["replay", "--from", "earliest"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = spread.output(&["apply", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(holds("MATCH (n:BtmOne) RETURN collect(n.id) = [1] AS yes").await);
    assert!(
        holds("MATCH (:BtmTwo {id: 1})-[:ONE]->(n:BtmOne {id: 1}) RETURN count(*) = 1 AS yes")
            .await
    );
}

#[tokio::test]
async fn a_table_that_joins_while_it_is_published_gets_a_topic_that_has_its_rows() {
    let schema = "CREATE TABLE btj_one (id int PRIMARY KEY)";
    let published = Published::new("byjoin", schema, "topics_by: table, ack: kafka").await;
    let running = published.start();
    let topic = |table: &str| format!("wal2graph.{}.public.{table}", published.pipeline.name);
    let config = published.config();
    let asking = Asking::new(config.kafka().unwrap()).unwrap();
    let records = async |table: &str| {
        let topic = topic(table);
        match asking.partitions(&topic).await.unwrap() {
            None => 0,
            Some(_) => {
                let at = wal2graph::checkpoint::TopicPartition { topic, partition: 0 };
                // One that was just made has no leader yet.
                asking.log(&at).await.map_or(0, |log| log.end)
            }
        }
    };
    published.pipeline.sql.batch_execute("INSERT INTO btj_one VALUES (1)").await.unwrap();
    until("the row is there", async || records("btj_one").await >= 1).await;
    let joins = format!(
        "CREATE TABLE btj_two (id int PRIMARY KEY); INSERT INTO btj_two VALUES (1);
         ALTER PUBLICATION \"wal2graph_{}\" ADD TABLE btj_two",
        published.pipeline.name
    );
    published.pipeline.sql.batch_execute(&joins).await.unwrap();
    published.pipeline.sql.batch_execute("INSERT INTO btj_two VALUES (2)").await.unwrap();
    until("its change and its copy are there", async || records("btj_two").await >= 3).await;
    let heartbeats = format!("wal2graph.{}.heartbeats", published.pipeline.name);
    let at = wal2graph::checkpoint::TopicPartition { topic: heartbeats, partition: 0 };
    let ends = async || {
        let log = asking.log(&at).await.unwrap();
        let last = asking.records(&at, log.end - 1..log.end).await.unwrap();
        Ends::of(last.values().next().unwrap()).expect("it says where the topics end")
    };
    let two = topic("btj_two");
    let is_named = async || ends().await.0.get(&two).is_some_and(|two| two.ends[0] >= 3);
    until("a heartbeat speaks of them", is_named).await;
    running.kill();
    assert_eq!(ends().await.0[&topic("btj_one")].ends, [records("btj_one").await]);
}

#[tokio::test]
async fn tables_whose_topics_would_be_one_are_refused_by_plan_check_and_publish() {
    let schema =
        "CREATE TABLE \"btc_é\" (id int PRIMARY KEY); CREATE TABLE \"btc_ü\" (id int PRIMARY KEY)";
    let published = Published::new("bycollide", schema, "topics_by: table").await;
    for command in ["plan", "check", "publish"] {
        let arguments = [command, "-c", &published.path];
        let output = published.pipeline.output(&arguments).await;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(1), "{command}: {said}");
        assert!(said.contains("one name to Kafka") && said.contains("btc__"), "{command}: {said}");
    }
    let skip = ["publish", "--from-graph"];
    let (code, said) = published.run(&skip).await;
    assert!(code == Some(2) && said.contains("topics_by"), "{said}");
}
