//! The source's history is the topic's history.

use wal2graph_servers::Stop;

use super::strays::send;
use crate::{
    kafka::{Published, kafka},
    support::{Pipeline, Restorable, client},
};

/// What a source that is put back has, and what it loses.
async fn put_back(prefix: &str, section: &str, begin: &[&str]) -> (Restorable, Published) {
    let mut source = Restorable::start();
    let schema = format!(
        "CREATE TABLE {prefix}_things (id int PRIMARY KEY, v text); INSERT INTO {prefix}_things VALUES (1, 'base')"
    );
    let pipeline = Pipeline::on(&source.server, prefix, &schema).await;
    let mut published = Published::of(kafka(), pipeline, section);
    succeeds(&published, begin).await;
    source.keep();
    let url = published.pipeline.source_url.clone();
    published.pipeline.sql = client(&url).await;
    let rows =
        format!("INSERT INTO {prefix}_things SELECT g, 'lost' FROM generate_series(10, 5000) g");
    published.pipeline.sql.batch_execute(&rows).await.unwrap();
    succeeds(&published, begin).await;
    (source, published)
}

async fn succeeds(published: &Published, arguments: &[&str]) {
    let (code, log) = published.run(arguments).await;
    assert_eq!(code, Some(0), "{log}");
}

/// Nothing was acknowledged beyond the server's own log.
async fn is_within(source: &Restorable, published: &Published) -> bool {
    let sql = client(&source.server.url(&published.pipeline.name)).await;
    let within = "SELECT bool_and(confirmed_flush_lsn <= pg_current_wal_flush_lsn()) FROM pg_replication_slots";
    sql.query_one(within, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_source_put_back_to_an_older_state_is_not_published_and_check_and_status_say_so() {
    const PUBLISH: [&str; 3] = ["publish", "--until", "current"];
    let (mut source, mut published) = put_back("ppb", "", &PUBLISH).await;
    succeeds(&published, &["apply", "--until", "current"]).await;
    source.put_back();
    published.pipeline.sql = client(&published.pipeline.source_url).await;
    let after = "INSERT INTO ppb_things VALUES (2, 'after')";
    published.pipeline.sql.batch_execute(after).await.unwrap();
    published.is_refused(&["put back to an older state", "delete the topic"]).await;
    // That is for a person to judge, whatever may become of a lost slot.
    let (code, log) = published.run(&[&PUBLISH[..], &["--new-slot"]].concat()).await;
    assert!(code == Some(1) && log.contains("put back to an older state"), "{log}");
    assert!(is_within(&source, &published).await);
    for command in ["check", "status"] {
        let output = published.pipeline.output(&[command, "-c", &published.path]).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("put back to an older state"), "{said}");
        assert!(said.contains("delete the topic"), "{said}");
    }
}

#[tokio::test]
async fn a_source_put_back_and_written_past_the_topic_is_not_published() {
    written_past("ppp", "").await;
}

#[tokio::test]
async fn a_source_put_back_and_written_past_the_topics_of_its_tables_is_not_published() {
    written_past("ppt", "topics_by: table").await;
}

async fn written_past(prefix: &str, section: &str) {
    const PUBLISH: [&str; 3] = ["publish", "--until", "current"];
    let (mut source, mut published) = put_back(prefix, section, &PUBLISH).await;
    let reached = published.end_of_topic().await;
    source.put_back();
    published.pipeline.sql = client(&published.pipeline.source_url).await;
    let flushed = "SELECT (pg_current_wal_flush_lsn() - '0/0')::int8";
    let rows = format!(
        "INSERT INTO {prefix}_things SELECT g + (SELECT max(id) FROM {prefix}_things), 'kept' \
         FROM generate_series(1, 500) g"
    );
    let sql = &published.pipeline.sql;
    while sql.query_one(flushed, &[]).await.unwrap().get::<_, i64>(0) <= reached as i64 {
        sql.batch_execute(&rows).await.unwrap();
    }
    for _ in 0..2 {
        let output = published.pipeline.output(&["check", "-c", &published.path]).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("put back to an older state"), "{said}");
        published.is_refused(&["put back to an older state", "is gone", "delete "]).await;
        assert_eq!(published.end_of_topic().await, reached, "nothing is published");
    }
}

/// As after a publisher that was killed between a transaction's records and the heartbeat behind them, and a source that
/// was put back to before that transaction, and written past it.
#[tokio::test]
async fn a_source_put_back_to_behind_the_last_heartbeat_alone_was_published() {
    for (name, section, of) in [
        ("pbh", "topics_by: table, ack: kafka", ".public.pbh_things"),
        ("pbp", "partitions: 3", ""),
    ] {
        let schema = format!("CREATE TABLE {name}_things (id int PRIMARY KEY)");
        let pipeline = Pipeline::new(name, &schema).await;
        let published = Published::of(kafka(), pipeline, section);
        published.catch_up().await;
        let (reached, database) = (published.end_of_topic().await, &published.pipeline.name);
        let insert = format!("INSERT INTO {name}_things VALUES (1)");
        published.pipeline.sql.batch_execute(&insert).await.unwrap();
        let (cluster, commit) = (published.pipeline.cluster().await, reached + 8);
        let lost = format!(
            "{{\"before\":null,\"after\":{{\"id\":9}},\"op\":\"c\",\"source\":{{\"name\":\"{database}\",\"db\":\"{database}\",\
             \"schema\":\"public\",\"table\":\"{name}_things\",\"system_identifier\":\"{cluster}\",\"timeline\":1,\
             \"commit_lsn\":{commit},\"event_index\":0,\"txId\":7,\"ts_us\":1}}}}"
        );
        send(&format!("wal2graph.{database}{of}"), &lost);
        let output = published.pipeline.output(&["check", "-c", &published.path]).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("put back to an older state"), "{said}");
        for _ in 0..2 {
            published.is_refused(&["put back to an older state", "is gone", "delete "]).await;
            assert_eq!(published.end_of_topic().await, reached, "nothing is published");
        }
    }
}

/// Its slot forgets what it was told, and sends it again.
#[tokio::test]
async fn a_source_that_crashed_is_published_on() {
    const PUBLISH: [&str; 3] = ["publish", "--until", "current"];
    for partitions in [1, 3] {
        let name = format!("pcr{partitions}");
        let mut source = Restorable::start();
        let schema = format!("CREATE TABLE {name}_things (id serial PRIMARY KEY, v text)");
        let pipeline = Pipeline::on(&source.server, &name, &schema).await;
        let section = format!("partitions: {partitions}, ack: kafka");
        let mut published = Published::of(kafka(), pipeline, &section);
        let sql = "SELECT (confirmed_flush_lsn - '0/0')::int8 FROM pg_replication_slots";
        let mut is_older = false;
        // PostgreSQL may have written the slot down just before.
        for _ in 0..10 {
            succeeds(&published, &PUBLISH).await;
            let rows =
                format!("INSERT INTO {name}_things (v) SELECT 'x' FROM generate_series(1, 50)");
            published.pipeline.sql.batch_execute(&rows).await.unwrap();
            succeeds(&published, &PUBLISH).await;
            source.server.stop(Stop::Immediate).unwrap();
            source.server.start_again().unwrap();
            published.pipeline.sql = client(&published.pipeline.source_url).await;
            let confirmed: i64 = published.pipeline.sql.query_one(sql, &[]).await.unwrap().get(0);
            is_older = (confirmed as u64) < published.end_of_topic().await;
            if is_older {
                break;
            }
        }
        assert!(is_older, "a crash takes the acknowledgement");
        succeeds(&published, &PUBLISH).await;
        let confirmed: i64 = published.pipeline.sql.query_one(sql, &[]).await.unwrap().get(0);
        assert!(confirmed as u64 >= published.end_of_topic().await, "it is acknowledged again");
    }
}

#[tokio::test]
async fn a_topic_does_not_begin_at_a_graph_whose_source_was_put_back() {
    let (mut source, mut published) = put_back("ppg", "", &["run", "--until", "current"]).await;
    source.put_back();
    published.pipeline.sql = client(&published.pipeline.source_url).await;
    let (code, log) = published.run(&["publish", "--from-graph", "--until", "current"]).await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("put back to an older state"), "{log}");
    let config = published.config();
    let topic = wal2graph::kafka::topic::look(config.kafka().unwrap()).await.unwrap();
    assert_eq!(topic, None, "a refused start makes no topic");
    assert!(is_within(&source, &published).await);
}
