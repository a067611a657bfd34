//! kill -9 of publisher and broker at random moments.

use std::time::Duration;

use fastrand::Rng;
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use wal2graph::kafka::tail;
use wal2graph_servers::{Kafka, KafkaOptions};

use super::acknowledging::log_end;
use crate::{
    kafka::{
        Published, kafka,
        topic::{end_lsn, once, place, records},
    },
    support::{PATIENCE, rounds, until},
};

const SCHEMA: &str = "CREATE TABLE kl_log (id bigserial PRIMARY KEY, tx int, filler text);
    INSERT INTO kl_log (tx, filler) SELECT 0, repeat(md5(g::text), 20) FROM generate_series(1, 3000) g";

fn rng() -> Rng {
    let seed =
        std::env::var("SEED").map_or_else(|_| fastrand::u64(..10_000), |it| it.parse().unwrap());
    println!("SEED={seed}");
    Rng::with_seed(seed)
}

/// One transaction: rows of one number, now and then more than go into one batch.
async fn transaction(published: &Published, rng: &mut Rng, number: &mut i32) {
    let rows = if rng.u8(..20) == 0 { rng.u32(5_000..12_000) } else { rng.u32(1..30) };
    *number += 1;
    let insert = format!(
        "INSERT INTO kl_log (tx, filler) SELECT {number}, 'f' FROM generate_series(1, {rows})"
    );
    published.pipeline.sql.batch_execute(&insert).await.unwrap();
}

/// What the topic says, each change once: exactly the source's rows, in their order.
async fn is_the_exact_sequence(published: &Published) {
    let rows = "SELECT id, tx FROM kl_log WHERE tx > 0 ORDER BY id";
    let rows = published.pipeline.sql.query(rows, &[]).await.unwrap();
    let expected: Vec<(i64, i64)> =
        rows.iter().map(|row| (row.get(0), i64::from(row.get::<_, i32>(1)))).collect();
    let records = records(&published.config()).await;
    let once = once(&records);
    let number = |value: &Value, of: &str| value["after"][of].as_i64().unwrap();
    let mut came: Vec<(i64, i64)> = Vec::new();
    let mut last: Option<(i64, (u64, u64), bool)> = None;
    let mut places: std::collections::BTreeMap<(u64, u64), (i64, bool)> = Default::default();
    for value in &once {
        let (tx, place, ends) =
            (number(value, "tx"), place(value).unwrap(), end_lsn(value).is_some());
        // The same place is the same change, however often it comes.
        if let Some(known) = places.insert(place, (number(value, "id"), ends)) {
            assert_eq!(known, (number(value, "id"), ends));
            continue;
        }
        if let Some((last_tx, last_place, last_ends)) = last {
            let is_next = if last_tx == tx {
                place == (last_place.0, last_place.1 + 1) && !last_ends
            } else {
                place.1 == 0 && place.0 > last_place.0
            };
            assert!(is_next, "{last:?} is followed by {tx} at {place:?}");
        }
        came.push((number(value, "id"), tx));
        last = Some((tx, place, ends));
    }
    assert_eq!(came.len(), expected.len(), "{} records in all", records.len());
    assert!(came == expected, "the rows, in their order");
}

/// At every moment, the slot was told of nothing that the topic does not have.
async fn never_acknowledged_ahead(published: &Published) {
    let (_, confirmed) = published.pipeline.positions().await;
    let Some(confirmed) = confirmed else { return };
    if let Ok(tail) = tail::read(published.config().kafka().unwrap()).await
        && let Some(end) = tail.lowest()
    {
        assert!(confirmed <= end.0, "the slot is at {confirmed}, the topic at {end}");
    }
}

#[tokio::test]
async fn killed_again_and_again_the_topic_has_every_change_at_its_place() {
    let mut rng = rng();
    let published = Published::new("killed", SCHEMA, "ack: kafka").await;
    let mut number = 0;
    let rounds = rounds(6, 12);
    for round in 1..=rounds {
        let running = published.start();
        let end = Instant::now() + Duration::from_millis(rng.u64(200..2_000));
        // On a busy machine no life before the last one may have come to a slot.
        while Instant::now() < end || (round == rounds && number == 0) {
            assert!(end.elapsed() < PATIENCE, "no slot is made");
            // Only once there is a slot is the stream what has them.
            if published.pipeline.positions().await.1.is_some() {
                transaction(&published, &mut rng, &mut number).await;
            }
            sleep(Duration::from_millis(rng.u64(0..40))).await;
        }
        running.kill();
        never_acknowledged_ahead(&published).await;
    }
    published.catch_up().await;
    never_acknowledged_ahead(&published).await;
    is_the_exact_sequence(&published).await;
    let copied = records(&published.config()).await;
    let reads = copied.iter().map(crate::kafka::topic::value).filter(|it| it["op"] == "r");
    assert!(reads.count() >= 3_000);
}

/// What a start behind a publisher that was killed in a transaction reads back at most: the first look
/// back, and those between two heartbeats.
const READ_BACK_MAX: u64 = 12_000;

#[tokio::test]
async fn a_start_behind_a_kill_within_a_huge_transaction_reads_back_no_more_than_it_must() {
    let schema = "CREATE TABLE km_log (id bigserial PRIMARY KEY, filler text)";
    let published = Published::new("huge", schema, "ack: kafka").await;
    published.catch_up().await;
    let running = published.start();
    let sql = &published.pipeline.sql;
    let huge =
        "INSERT INTO km_log (filler) SELECT repeat('f', 500) FROM generate_series(1, 150000)";
    sql.batch_execute(huge).await.unwrap();
    let end = async || {
        let read = tail::read(published.config().kafka().unwrap()).await.unwrap();
        read.0[0].next
    };
    until("much of it is in the topic", async || end().await > 50_000).await;
    running.kill();
    let killed_at = end().await;
    let last = "SELECT max(id) FROM km_log";
    let last: i64 = sql.query_one(last, &[]).await.unwrap().get(0);
    assert!(killed_at < last, "it was killed within the transaction: {killed_at}");
    let arguments =
        ["publish", "--until", "current", "--log-level", "info,wal2graph::kafka::tail=debug"];
    let (code, log) = published.run(&arguments).await;
    assert_eq!(code, Some(0), "{log}");
    let looks = log.lines().filter(|line| line.contains("read the topic's end"));
    let read: Vec<u64> = looks
        .map(|line| {
            let count = line.split_once("records=").unwrap().1;
            count.split_whitespace().next().unwrap().parse().unwrap()
        })
        .collect();
    assert!(read.len() >= 2 && read.iter().all(|read| *read <= READ_BACK_MAX), "{read:?}");
    let ids: std::collections::BTreeSet<i64> = once(&records(&published.config()).await)
        .iter()
        .filter_map(|value| value["after"]["id"].as_i64())
        .collect();
    assert_eq!(ids.len() as i64, last, "every row is there");
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_broker_that_dies_and_comes_back_costs_time_only() {
    let mut rng = rng();
    let mut broker = Kafka::start(&KafkaOptions::default()).unwrap();
    let published = Published::on(&broker, "broker_dies", SCHEMA, "ack: kafka").await;
    published.catch_up().await;
    let mut number = 0;
    let mut running = published.start();
    for _ in 0..3 {
        for _ in 0..10 {
            transaction(&published, &mut rng, &mut number).await;
        }
        broker.kill().unwrap();
        transaction(&published, &mut rng, &mut number).await;
        sleep(Duration::from_millis(rng.u64(0..2_000))).await;
        broker.start_again().unwrap();
        never_acknowledged_ahead(&published).await;
    }
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
    published.catch_up().await;
    is_the_exact_sequence(&published).await;
}

#[tokio::test]
async fn a_record_of_somebody_else_between_is_noticed_and_costs_time_only() {
    let mut rng = rng();
    let published = Published::new("between", SCHEMA, "ack: kafka").await;
    published.catch_up().await;
    let (mut number, mut running) = (0, published.start());
    transaction(&published, &mut rng, &mut number).await;
    let end = published.end_of_topic().await;
    published.catch_up_by_looking(end + 1).await;
    let topic = format!("wal2graph.{}", published.pipeline.name);
    let brokers = kafka().brokers();
    tokio::task::spawn_blocking(move || {
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
        let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&topic).partition(0);
        producer.send(record.key(b"{\"id\":1}")).map_err(|(error, _)| error).unwrap();
        producer.flush(Duration::from_secs(30)).unwrap();
    })
    .await
    .unwrap();
    for _ in 0..5 {
        transaction(&published, &mut rng, &mut number).await;
    }
    published.catch_up_by_looking(log_end(&published).await).await;
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
    assert!(published.log().contains("somebody else has just written to partition 0"));
    is_the_exact_sequence(&published).await;
}

#[tokio::test]
async fn it_ends_whenever_it_is_asked_to_stop() {
    /// A program that is asked to stop ends within ten seconds.
    const LIMIT: Duration = Duration::from_secs(30);
    let mut rng = rng();
    let one = Published::new("publish_stops", SCHEMA, "ack: kafka").await;
    let several = Published::new("publish_stops", SCHEMA, "ack: kafka, topics_by: table").await;
    for round in 0..rounds(6, 200) {
        let published = if rng.bool() { &one } else { &several };
        // Every second time another instance has the slot.
        let other = (round % 2 == 0).then(|| published.start());
        let mut running = published.start();
        sleep(Duration::from_millis(rng.u64(0..3_000))).await;
        running.signal("TERM");
        let ended = running.ended(LIMIT).await;
        if ended.is_none() && std::env::var_os("HANG").is_some() {
            println!("HUNG {}", running.0.id());
            sleep(Duration::from_secs(100_000)).await;
        }
        let log = published.log();
        let stopped = running.0.try_wait().unwrap();
        assert!(stopped.is_some(), "round {round}: {log}");
        drop(other);
    }
}
