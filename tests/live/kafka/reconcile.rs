//! `verify` and `repair` of a graph that several processes keep from several partitions.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::partitions::{Spread, stops};
use crate::{
    reconcile::{DAMAGES, ROWS, differing, is_named, own, run, schema, traffic},
    support::{Running, client, eventually, holds},
};

async fn is_equal(spread: &Spread, when: &str) {
    let (is_right, findings) = spread.compared("verify").await;
    assert!(is_right && differing(&findings) == 0, "{when}: {findings:#}");
}

/// All rows of the tables are in the graph.
async fn is_copied(label: &str) {
    let type_of = label.to_uppercase();
    let copied = format!("RETURN COUNT {{ ()-[:{type_of}_LIKES]->() }} = {ROWS} AS yes");
    eventually("all is copied", &copied).await;
}

/// Damage of every kind beside a stream, with two processes.
async fn is_named_and_mended(name: &str, prefix: &str, label: &str, section: &str) {
    let spread = Spread::with(name, &schema(prefix), section).await;
    let _publish = spread.start("publish");
    let mut processes = [spread.start("apply"), spread.start("apply")];
    is_copied(label).await;
    let writing = client(&spread.pipeline.source_url).await;
    let prefix = prefix.to_owned();
    let traffic = tokio::spawn(async move { traffic(writing, &prefix).await });
    let others = "MATCH (p:Person {id: 40}) SET p.mine = 'stays', p:Mine CREATE (p)-[:MINE]->(:KafkaOthers {id: 1})";
    run(&own(others, label)).await;
    is_equal(&spread, "a false alarm").await;
    for (cypher, ..) in DAMAGES {
        run(&own(cypher, label)).await;
    }
    let (is_right, findings) = spread.compared("verify").await;
    assert!(!is_right, "{findings:#}");
    for (cypher, table, key, word) in DAMAGES {
        assert!(is_named(&findings, table, key, word), "{cypher}: {findings:#}");
    }
    let named = findings["first"].as_array().unwrap();
    let once = |row: &Value| {
        named.iter().filter(|it| it["key"] == row["key"] && it["table"] == row["table"]).count()
    };
    assert!(named.iter().all(|row| once(row) == 1), "two partitions name a row: {findings:#}");
    let (is_right, findings) = spread.compared("repair").await;
    assert!(is_right, "{findings:#}");
    is_equal(&spread, "after the repair").await;
    let mine =
        own("RETURN EXISTS { (p:Person:Mine {id: 40, mine: 'stays'})-[:MINE]->() } AS yes", label);
    assert!(holds(&mine).await, "what others put on a row's node has gone");
    traffic.abort();
    let requests = format!(
        "MATCH (r:_Wal2GraphRequest {{pipeline: '{}'}}) RETURN collect(r.state) = ['done'] \
         AND none(name IN keys(head(collect(r))) WHERE name STARTS WITH 'share_') AS yes",
        spread.pipeline.name
    );
    assert!(holds(&requests).await, "the last request stays, without values of rows");
    for process in &mut processes {
        stops(process).await;
    }
}

#[tokio::test]
async fn every_damage_is_named_and_mended_by_two_processes_with_three_partitions() {
    is_named_and_mended("krecon", "krc", "Krc", "partitions: 3").await;
}

#[ignore = "the same as above with other topics: make nightly"]
#[tokio::test]
async fn every_damage_is_named_and_mended_where_each_table_has_a_topic() {
    is_named_and_mended("kretable", "krt", "Krt", "topics_by: table\n  partitions: 2").await;
}

#[ignore = "the same as above with other topics: make nightly"]
#[tokio::test]
async fn every_damage_is_named_and_mended_through_one_partition() {
    is_named_and_mended("kreone", "kro", "Kro", "partitions: 1").await;
}

#[ignore = "minutes of kills: make nightly"]
#[tokio::test]
async fn a_repair_ends_well_whoever_is_killed_or_comes_meanwhile() {
    let spread = Spread::with("krekill", &schema("krk"), "partitions: 3").await;
    let more = "INSERT INTO krk_people SELECT g, 'more', NULL FROM generate_series(1000, 13000) g";
    spread.pipeline.sql.batch_execute(more).await.unwrap();
    spread.catch_up().await;
    run("MATCH (p:KrkPerson) WHERE p.id % 2 = 0 DETACH DELETE p").await;
    run("UNWIND range(50000, 50500) AS id CREATE (:KrkPerson {id: id, name: 'ghost'})").await;
    let publish = spread.start("publish");
    let mut processes: Vec<Running> = vec![spread.start("apply"), spread.start("apply")];
    let repairing = async {
        let (is_right, findings) = spread.compared("repair").await;
        assert!(is_right, "{findings:#}");
    };
    let disturbing = async {
        let under_way = format!(
            "RETURN EXISTS {{ (r:_Wal2GraphRequest {{pipeline: '{}', state: 'running'}}) }} AS yes",
            spread.pipeline.name
        );
        eventually("the repair is under way", &under_way).await;
        for round in 0..3 {
            sleep(Duration::from_millis(700)).await;
            processes.remove(0).kill();
            sleep(Duration::from_millis(700)).await;
            processes.push(spread.start("apply"));
            if round == 1 {
                // A third one: partitions go to it.
                processes.push(spread.start("apply"));
            }
        }
    };
    tokio::join!(repairing, disturbing);
    is_equal(&spread, "after the kills").await;
    let count = "RETURN COUNT { (p:KrkPerson) WHERE NOT p:_Placeholder } = 12401 AS yes";
    assert!(holds(count).await);
    drop((publish, processes));
}

#[tokio::test]
async fn what_no_partition_can_be_told_of_is_refused_and_the_stream_goes_on() {
    let schema = "CREATE TABLE krr_prices (price char(5) PRIMARY KEY, name text); \
                  CREATE TABLE krr_things (id int PRIMARY KEY, name text); \
                  INSERT INTO krr_prices VALUES ('1.0', 'a'), ('2.50', 'b'); INSERT INTO krr_things VALUES (1, 'a')";
    let spread = Spread::with("krerefused", schema, "partitions: 2").await;
    spread.catch_up().await;
    let _running = [spread.start("publish"), spread.start("apply")];
    let (code, said) = spread.output(&["verify"]).await;
    assert!(code == Some(3) && said.contains("key column price have several texts"), "{said}");
    let (code, said) = spread.output(&["verify", "krr_things"]).await;
    assert_eq!(code, Some(0), "{said}");
    spread.pipeline.sql.batch_execute("INSERT INTO krr_things VALUES (2, 'b')").await.unwrap();
    eventually("the stream goes on", "RETURN EXISTS { (:KrrThing {id: 2}) } AS yes").await;
}

#[tokio::test]
async fn without_apply_the_command_says_what_it_waits_for_and_withdraws_its_request() {
    let schema = "CREATE TABLE krw_things (id int PRIMARY KEY); INSERT INTO krw_things VALUES (1)";
    let spread = Spread::with("krewaits", schema, "partitions: 2").await;
    spread.catch_up().await;
    let mut verifying = spread.start("verify");
    crate::support::until("it says what it waits for", async || {
        spread.said().contains("waits for `wal2graph apply`")
    })
    .await;
    assert_eq!(verifying.terminate(Duration::from_secs(30)).await, Some(3));
    let requests = "RETURN NOT EXISTS { (:_Wal2GraphRequest {pipeline: 'krewaits'}) } AS yes";
    assert!(holds(requests).await, "a request stays");
}
