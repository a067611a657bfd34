//! A topic of four partitions: what is in each, whatever happened to the publisher.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    time::Duration,
};

use fastrand::Rng;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use wal2graph::{
    envelope::Record,
    kafka::tail::{self, PARTITIONS_HEADER},
    topic::routing::Partitions,
};
use wal2graph_servers::{Kafka, KafkaOptions};

use crate::{
    kafka::{
        Published, kafka,
        topic::{end_lsn, partitions, place, value},
    },
    support::rounds,
};

const SCHEMA: &str = "CREATE TABLE pt_log (id bigserial PRIMARY KEY, tx int, filler text);
    CREATE TABLE pt_gone (id int PRIMARY KEY);
    INSERT INTO pt_log (tx, filler) SELECT 0, repeat(md5(g::text), 20) FROM generate_series(1, 3000) g";

fn rng() -> Rng {
    let seed =
        std::env::var("SEED").map_or_else(|_| fastrand::u64(..10_000), |it| it.parse().unwrap());
    println!("SEED={seed}");
    Rng::with_seed(seed)
}

/// Rows of one number, sometimes a row that changes again, sometimes a table that is emptied.
async fn transaction(
    published: &Published,
    rng: &mut Rng,
    number: &mut i32,
    truncates: &mut usize,
) {
    let rows = if rng.u8(..20) == 0 { rng.u32(5_000..12_000) } else { rng.u32(1..30) };
    *number += 1;
    let insert = format!(
        "INSERT INTO pt_log (tx, filler) SELECT {number}, 'f' FROM generate_series(1, {rows})"
    );
    let rest = match rng.u8(..4) {
        0 => {
            *truncates += 1;
            "TRUNCATE pt_gone"
        }
        1 => "UPDATE pt_log SET filler = 'g' WHERE id % 97 = 3 AND id < 3000",
        _ => "SELECT 1",
    };
    published
        .pipeline
        .sql
        .batch_execute(&format!("BEGIN; {insert}; {rest}; COMMIT"))
        .await
        .unwrap();
}

type Place = (u64, u64);

/// What one partition has, each change once.
#[derive(Default)]
struct Partition {
    places: BTreeMap<Place, Value>,
    keys: BTreeSet<Vec<u8>>,
    read: BTreeSet<i64>,
}

/// Takes the records of a partition, and checks what holds within it.
fn taken(number: usize, records: &[Record]) -> Partition {
    let spread = Partitions::new(4).unwrap();
    let mut taken = Partition::default();
    let (mut furthest, mut said) = (None, 0);
    for record in records {
        let value = value(record);
        let is_heartbeat = value.get("end_lsn").is_some();
        if let Some(key) = record.key.as_ref().filter(|_| !is_heartbeat) {
            assert_eq!(spread.of_key(key), number as i32, "{value}");
            taken.keys.insert(key.to_vec());
        }
        if value["op"] == "r" {
            let lsn = value["source"]["lsn"].as_u64().unwrap();
            assert!(lsn >= said, "a row that was read at {lsn} stands behind {said}");
            taken.read.insert(value["after"]["id"].as_i64().unwrap());
        }
        if let Some(place) = place(&value)
            && furthest < Some(place)
        {
            assert!(place.0 >= said, "{place:?} is new, and comes behind {said}");
            furthest = Some(place);
            taken.places.insert(place, value.clone());
        }
        said = said.max(end_lsn(&value).unwrap_or(0));
    }
    taken
}

/// Every change is in the partition of its key, once, in order; nothing is missing.
async fn has_everything(published: &Published, truncates: usize) {
    let all = partitions(&published.config()).await;
    assert_eq!(all.len(), 4);
    let taken: Vec<Partition> =
        all.iter().enumerate().map(|(number, records)| taken(number, records)).collect();
    let rows = "SELECT id, tx FROM pt_log ORDER BY id";
    let rows = published.pipeline.sql.query(rows, &[]).await.unwrap();
    let (old, new): (Vec<_>, Vec<_>) = rows
        .iter()
        .map(|row| row.get::<_, i64>(0))
        .zip(rows.iter().map(|row| row.get::<_, i32>(1)))
        .partition(|(_, tx)| *tx == 0);

    let created = |partition: &Partition| -> Vec<i64> {
        let created = partition.places.values().filter(|value| value["op"] == "c");
        created.map(|value| value["after"]["id"].as_i64().unwrap()).collect()
    };
    let mut came: Vec<i64> = Vec::new();
    for partition in &taken {
        let created = created(partition);
        assert!(created.is_sorted() && !created.is_empty(), "in the order of commits");
        came.extend(created);
        let truncated = partition.places.values().filter(|value| value["op"] == "t").count();
        assert_eq!(truncated, truncates, "every partition hears of every truncate");
    }
    came.sort_unstable();
    assert_eq!(came, new.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    let read: BTreeSet<i64> = taken.iter().flat_map(|it| it.read.iter().copied()).collect();
    assert!(old.iter().all(|(id, _)| read.contains(id)), "the copy is there");

    // The changes of a transaction are numbered without gaps over all partitions.
    let places: BTreeSet<Place> = taken.iter().flat_map(|it| it.places.keys().copied()).collect();
    let mut last: Option<Place> = None;
    for place in places {
        let is_next = match last {
            Some(last) if last.0 == place.0 => place.1 == last.1 + 1,
            _ => place.1 == 0,
        };
        assert!(is_next, "{last:?} is followed by {place:?}");
        last = Some(place);
    }
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn killed_again_and_again_every_partition_has_its_changes_in_order() {
    let mut rng = rng();
    let published = Published::new("partitions", SCHEMA, "ack: kafka, partitions: 4").await;
    let (mut number, mut truncates) = (0, 0);
    for _ in 0..rounds(5, 10) {
        let running = published.start();
        let end = Instant::now() + Duration::from_millis(rng.u64(200..2_000));
        while Instant::now() < end {
            // Only once there is a slot is the stream what has them.
            if published.pipeline.positions().await.1.is_some() {
                transaction(&published, &mut rng, &mut number, &mut truncates).await;
            }
            sleep(Duration::from_millis(rng.u64(0..40))).await;
        }
        running.kill();
        let (_, confirmed) = published.pipeline.positions().await;
        let config = published.config();
        if let (Some(confirmed), Ok(tail)) = (confirmed, tail::read(config.kafka().unwrap()).await)
            && let Some(end) = tail.lowest().filter(|_| tail.is_complete())
        {
            assert!(confirmed <= end.0, "the slot is at {confirmed}, the topic at {end}");
        }
    }
    transaction(&published, &mut rng, &mut number, &mut truncates).await;
    published.catch_up().await;
    has_everything(&published, truncates).await;
    let tail = tail::read(published.config().kafka().unwrap()).await.unwrap();
    assert!(tail.0.iter().all(|it| it.partitions == Some(4)), "{PARTITIONS_HEADER}");
    assert_eq!(tail.lowest(), tail.furthest());
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_broker_that_dies_leaves_no_partition_behind() {
    let mut rng = rng();
    let mut broker = Kafka::start(&KafkaOptions::default()).unwrap();
    let section = "ack: kafka, partitions: 4";
    let published = Published::on(&broker, "partitions_broker", SCHEMA, section).await;
    published.catch_up().await;
    let (mut number, mut truncates) = (0, 0);
    let mut running = published.start();
    for _ in 0..3 {
        for _ in 0..10 {
            transaction(&published, &mut rng, &mut number, &mut truncates).await;
        }
        broker.kill().unwrap();
        transaction(&published, &mut rng, &mut number, &mut truncates).await;
        sleep(Duration::from_millis(rng.u64(0..2_000))).await;
        broker.start_again().unwrap();
    }
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
    published.catch_up().await;
    has_everything(&published, truncates).await;
}

#[tokio::test]
async fn a_partition_whose_records_are_gone_is_filled_again() {
    let schema = "CREATE TABLE pe_things (id int PRIMARY KEY);
        INSERT INTO pe_things SELECT generate_series(1, 40)";
    let published = Published::new("emptied", schema, "ack: kafka, partitions: 2").await;
    published.catch_up().await;
    let topic = format!("wal2graph.{}", published.pipeline.name);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let all_of_one = format!(
        "{{\"version\":1,\"partitions\":[{{\"topic\":\"{topic}\",\"partition\":1,\"offset\":-1}}]}}"
    );
    file.write_all(all_of_one.as_bytes()).unwrap();
    let arguments = ["--offset-json-file", file.path().to_str().unwrap()];
    kafka().tool("org.apache.kafka.tools.DeleteRecordsCommand", &arguments).unwrap();
    published.pipeline.sql.batch_execute("INSERT INTO pe_things VALUES (41)").await.unwrap();
    published.catch_up().await;
    let [first, second] = <[_; 2]>::try_from(partitions(&published.config()).await).unwrap();
    let rows = |records: &[Record]| {
        let rows = records.iter().map(value).filter(|it| it["op"] == "r");
        rows.map(|value| value["after"]["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let (first, second) = (rows(&first), rows(&second));
    let all: BTreeSet<i64> = first.iter().chain(&second).copied().collect();
    assert!(all.is_superset(&(1..=40).collect()), "{first:?} {second:?}");
    assert!(!second.is_empty() && first.len() > all.len() - second.len(), "copied twice");
}

#[tokio::test]
async fn what_would_lose_the_order_of_keys_is_refused() {
    let schema = "CREATE TABLE pk_things (id int); ALTER TABLE pk_things REPLICA IDENTITY FULL;
        CREATE TABLE pk_others (id int PRIMARY KEY)";
    let published = Published::new("keyless", schema, "ack: kafka, partitions: 3").await;
    let sql = &published.pipeline.sql;
    published.catch_up().await;
    let publication = format!("PUBLICATION wal2graph_{}", published.pipeline.name);
    sql.batch_execute(&format!("ALTER {publication} ADD TABLE pk_things")).await.unwrap();
    published.is_refused(&["several partitions", "pk_things", "primary key"]).await;
    sql.batch_execute("ALTER TABLE pk_things ADD PRIMARY KEY (id)").await.unwrap();
    published.catch_up().await;
    let topic = format!("wal2graph.{}", published.pipeline.name);
    let more = ["--alter", "--topic", &topic, "--partitions", "5"];
    kafka().tool("org.apache.kafka.tools.TopicCommand", &more).unwrap();
    published.is_refused(&["has 5 partitions", "had 3", "begins with a copy"]).await;
}

/// `User1` and `user1` are one row, and would have two partitions without an order between them.
#[tokio::test]
async fn keys_with_several_texts_are_refused_for_several_partitions_alone() {
    let schema = "CREATE TABLE pkt_things (id numeric PRIMARY KEY, name text);
        INSERT INTO pkt_things VALUES (1, 'one')";
    let published = Published::new("keytexts", schema, "partitions: 3").await;
    let said = ["pkt_things", "key column \"id\"", "several texts"];
    let says = |(code, log): (Option<i32>, String)| {
        assert!(code == Some(1) && said.iter().all(|part| log.contains(part)), "{log}");
    };
    says(published.run(&["plan"]).await);
    published.is_refused(&said).await;
    let topic = format!("wal2graph.{}", published.pipeline.name);
    let tool = "org.apache.kafka.tools.TopicCommand";
    assert!(!kafka().tool(tool, &["--list"]).unwrap().contains(&topic), "it leaves no topic");
    kafka().create_topic(&topic, 3, &[]).unwrap();
    published.is_refused(&said).await;
    says(published.run(&["apply"]).await);
    let output = published.pipeline.output(&["check", "-c", &published.path]).await;
    let check = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(check.contains("several texts"), "{check}");
    // What the text says to do.
    let text = std::fs::read_to_string(&published.path).unwrap();
    let text = text.replace("partitions: 3", "partitions: 1, topic: wal2graph.keytexts.one");
    std::fs::write(&published.path, text).unwrap();
    published.catch_up().await;
    let sql = &published.pipeline.sql;
    sql.batch_execute("DELETE FROM pkt_things; INSERT INTO pkt_things VALUES (1.0, 'two')")
        .await
        .unwrap();
    published.catch_up().await;
    let (code, log) = published.run(&["apply", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(
        crate::support::holds("MATCH (n:PktThing {name: 'two'}) RETURN count(n) = 1 AS yes").await
    );
}
