//! The publisher's slot has lost changes: the topic says so, and `apply` compares the tables with the graph.

use std::process::Stdio;

use wal2graph::{
    checkpoint::TopicPartition,
    envelope::Record,
    kafka::{offsets::Asking, tail},
    topic::gap::Gap,
};
use wal2graph_servers::{Kafka, KafkaOptions};

use super::{
    Published, kafka,
    partitions::{Spread, stops},
    topic::raw_partitions,
};
use crate::{
    reconcile::{differing, run},
    support::{PATIENCE, eventually, holds, output, until},
};

const PUBLISH: [&str; 3] = ["publish", "--until", "current"];
const PUBLISH_ANEW: [&str; 4] = ["publish", "--until", "current", "--new-slot"];

/// `xx` stands for a prefix that no other test has.
const SCHEMA: &str = "
    CREATE TABLE xx_things (id int PRIMARY KEY, a text, b text);
    CREATE TABLE xx_parts (id int PRIMARY KEY, thing_id int REFERENCES xx_things ON DELETE CASCADE);
    INSERT INTO xx_things SELECT g, 'a' || g, 'b' FROM generate_series(1, 200) g;
    INSERT INTO xx_parts SELECT g, g FROM generate_series(1, 200) g";

/// Rows go, come and change, and refer to others, while no slot keeps it.
const UNSEEN: &str = "
    DELETE FROM xx_things WHERE id <= 50; INSERT INTO xx_things VALUES (300, 'new', 'b');
    UPDATE xx_things SET a = 'changed' WHERE id BETWEEN 191 AND 200;
    UPDATE xx_parts SET thing_id = 300 WHERE id > 195";

/// What the tables are then in the graph, and what others have put there.
const IS_EQUAL: &str = "RETURN COUNT { (:XxThing) } = 151 AND COUNT { (:XxPart) } = 150 \
     AND COUNT { (:XxThing {a: 'changed'}) } = 10 AND COUNT { (:XxPart)-->(:XxThing) } = 150 \
     AND COUNT { (:XxPart)-->(:XxThing {id: 300}) } = 5 AND COUNT { (n:_Placeholder) WHERE n:XxThing OR n:XxPart } = 0 \
     AND EXISTS { (:XxThing:Mine {id: 100, mine: 'stays'})-[:MINE]->() } AS yes";

fn of(prefix: &str, cypher: &str) -> String {
    cypher.replace("Xx", &format!("{}{}", prefix[..1].to_uppercase(), &prefix[1..]))
}

async fn others_write(prefix: &str) {
    let cypher =
        "MATCH (n:XxThing {id: 100}) SET n.mine = 'stays', n:Mine CREATE (n)-[:MINE]->(:OfOthers)";
    run(&of(prefix, cypher)).await;
}

/// The slot goes, even from a publisher that reads it, and rows change meanwhile.
async fn lose_slot(sql: &tokio_postgres::Client, name: &str, unseen: &str) {
    let slot = format!("wal2graph_{name}");
    let end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
               WHERE slot_name = $1 AND active_pid IS NOT NULL";
    until("the slot is dropped", async || {
        sql.query(end, &[&slot]).await.unwrap();
        // In one transaction with what nobody publishes: the publisher makes a slot behind it.
        let lost = format!("BEGIN; SELECT pg_drop_replication_slot('{slot}'); {unseen}; COMMIT");
        let is_lost = sql.batch_execute(&lost).await.is_ok();
        if !is_lost {
            sql.batch_execute("ROLLBACK").await.unwrap();
        }
        is_lost
    })
    .await;
}

async fn nothing_is_owed(pipeline: &str) {
    let open = format!(
        "(r:_Wal2GraphRequest {{pipeline: '{pipeline}'}}) WHERE r.state IN ['asked', 'running']"
    );
    eventually("all is compared", &format!("RETURN NOT EXISTS {{ {open} }} AS yes")).await;
}

/// Nothing is owed any more, and no row differs.
async fn is_compared(spread: &Spread) {
    nothing_is_owed(&spread.pipeline.name).await;
    let (code, said) = spread.output(&["wait", "--timeout", "60s"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (is_right, findings) = spread.compared("verify").await;
    assert!(is_right && differing(&findings) == 0, "{findings:#}");
}

/// Publishes and applies until the graph is as the tables are.
async fn ends_equal(spread: &Spread, prefix: &str) {
    let mut running = [spread.start("publish"), spread.start("apply")];
    becomes_equal(spread, prefix).await;
    for process in &mut running {
        stops(process).await;
    }
}

async fn becomes_equal(spread: &Spread, prefix: &str) {
    eventually("the graph is as the tables are", &of(prefix, IS_EQUAL)).await;
    is_compared(spread).await;
}

/// The gaps that records stand for, with their offsets.
fn gaps(records: &[Record]) -> Vec<(usize, Gap)> {
    let all = records.iter().enumerate();
    all.filter_map(|(offset, record)| Some((offset, Gap::of(record)?))).collect()
}

#[tokio::test]
async fn a_topic_goes_on_behind_a_lost_slot_by_the_errors_own_advice() {
    let spread = Spread::with("gapone", &SCHEMA.replace("xx", "gpo"), "partitions: 1").await;
    spread.catch_up().await;
    others_write("gpo").await;
    let sql = &spread.pipeline.sql;
    lose_slot(sql, &spread.pipeline.name, &UNSEEN.replace("xx", "gpo")).await;
    for command in [&PUBLISH[..], &["check"], &["repair", "--new-slot"]] {
        let (code, said) = spread.output(command).await;
        assert!(code != Some(0) && said.contains("`wal2graph publish --new-slot`"), "{said}");
    }
    let (code, said) = spread.output(&PUBLISH_ANEW).await;
    assert!(code == Some(0) && said.contains("the slot was dropped"), "{said}");
    let (code, said) = spread.output(&PUBLISH_ANEW).await;
    assert!(code == Some(0) && !said.contains("the slot was"), "nothing is lost now: {said}");
    let all = raw_partitions(&kafka().brokers(), &spread.topic()).await;
    assert_eq!(gaps(&all[0]).len(), 1, "{:?}", gaps(&all[0]));
    sql.batch_execute("UPDATE gpo_things SET b = 'on'").await.unwrap();
    ends_equal(&spread, "gpo").await;
    assert!(spread.said().contains("changes were never published"), "{}", spread.said());
    let on = "RETURN COUNT { (:GpoThing {b: 'on'}) } = 151 AS yes";
    assert!(holds(on).await, "what came behind the gap");
    // A start of now passes over it.
    let told = spread.said().matches("changes were never published").count();
    ends_equal(&spread, "gpo").await;
    assert_eq!(spread.said().matches("changes were never published").count(), told, "once");
    // Applied again, it means a comparison again.
    let (code, said) = spread.output(&["replay", "--from", "earliest"]).await;
    assert_eq!(code, Some(0), "{said}");
    let mut running = [spread.start("publish"), spread.start("apply")];
    // The graph is equal before the replay begins, too.
    let is_read = async || spread.said().matches("changes were never published").count() > told;
    until("the gap is read again", is_read).await;
    becomes_equal(&spread, "gpo").await;
    for process in &mut running {
        stops(process).await;
    }
}

#[tokio::test]
async fn an_empty_graph_is_filled_from_a_topic_with_a_gap() {
    let spread = Spread::with("gapempty", &SCHEMA.replace("xx", "gpe"), "partitions: 2").await;
    let (code, said) = spread.output(&PUBLISH).await;
    assert_eq!(code, Some(0), "{said}");
    let sql = &spread.pipeline.sql;
    lose_slot(sql, &spread.pipeline.name, &UNSEEN.replace("xx", "gpe")).await;
    let (code, said) = spread.output(&PUBLISH_ANEW).await;
    assert_eq!(code, Some(0), "{said}");
    // Nothing is proven before the topic has what is committed now.
    sql.batch_execute("SELECT pg_logical_emit_message(true, 'x', 'y')").await.unwrap();
    let (code, said) = spread.output(&["apply", "--until", "current"]).await;
    assert!(code == Some(0) && said.contains("still to be compared"), "{said}");
    let (code, said) = spread.output(&["wait", "--timeout", "5s"]).await;
    assert!(code == Some(1) && said.contains("which lacks changes that no record has"), "{said}");
    others_write("gpe").await;
    ends_equal(&spread, "gpe").await;
}

/// kill -9 of `publish` once the slot is there, and between two partitions' records: broker and slot are left as such a
/// kill leaves them.
#[tokio::test]
async fn a_publisher_that_is_killed_while_it_tells_of_a_gap_tells_of_it_again() {
    let mut broker = Kafka::start(&KafkaOptions::default()).unwrap();
    let schema = SCHEMA.replace("xx", "gpk");
    let published = Published::on(&broker, "gapkilled", &schema, "partitions: 2").await;
    published.catch_up().await;
    let apply = ["apply", "--until", "current"];
    let (code, said) = published.run(&apply).await;
    assert_eq!(code, Some(0), "{said}");
    others_write("gpk").await;
    let (sql, name) = (&published.pipeline.sql, published.pipeline.name.clone());
    lose_slot(sql, &name, &UNSEEN.replace("xx", "gpk")).await;
    let make = format!("SELECT pg_create_logical_replication_slot('wal2graph_{name}', 'pgoutput')");
    sql.batch_execute(&make).await.unwrap();
    published.is_refused(&["ahead of the topic", "publish --new-slot"]).await;
    sql.batch_execute("UPDATE gpk_things SET b = 'on' WHERE id > 60").await.unwrap();
    let (code, said) = published.run(&PUBLISH_ANEW).await;
    assert_eq!(code, Some(0), "{said}");
    let topic = format!("wal2graph.{name}");
    let all = raw_partitions(&broker.brokers(), &topic).await;
    let told: Vec<_> = all.iter().map(|records| gaps(records)).collect();
    assert!(told.iter().all(|it| it.len() == 1) && told[0][0].1 == told[1][0].1, "{told:?}");
    broker.kill().unwrap();
    broker.lose(&topic, 1, told[1][0].0 as u64).unwrap();
    broker.start_again().unwrap();
    published.is_refused(&["ahead of the topic", "publish --new-slot"]).await;
    let (code, said) = published.run(&PUBLISH_ANEW).await;
    assert_eq!(code, Some(0), "{said}");
    let all = raw_partitions(&broker.brokers(), &topic).await;
    let counts: Vec<_> = all.iter().map(|records| gaps(records).len()).collect();
    assert_eq!(counts, [2, 1], "in each partition once at least");
    let is_so =
        of("gpk", IS_EQUAL).replace("RETURN", "RETURN COUNT { (:XxThing {b: 'on'}) } = 141 AND");
    let is_so = of("gpk", &is_so);
    let (mut publish, mut apply) = (
        published.start(),
        published.pipeline.start_logging(&["apply", "-c", &published.path], Stdio::null()),
    );
    eventually("the graph is as the tables are", &is_so).await;
    nothing_is_owed(&name).await;
    assert!(holds(&is_so).await, "it stays so");
    for process in [&mut publish, &mut apply] {
        stops(process).await;
    }
}

/// By itself, while everything runs, with processes that are killed.
async fn goes_on_by_itself(name: &str, prefix: &str, section: &str, own: &[&str]) {
    let spread = Spread::renewing(name, &SCHEMA.replace("xx", prefix), section).await;
    let publish = spread.start("publish");
    let mut processes = vec![spread.start("apply"), spread.start("apply")];
    let copied = "RETURN COUNT { (:XxPart)-->(:XxThing) } = 200 AS yes";
    eventually("all is copied", &of(prefix, copied)).await;
    others_write(prefix).await;
    let (sql, unseen) = (&spread.pipeline.sql, UNSEEN.replace("xx", prefix));
    lose_slot(sql, &spread.pipeline.name, &unseen).await;
    let is_there = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'wal2graph_' || $1";
    until("there is a slot again", async || {
        let row = sql.query_one(is_there, &[&spread.pipeline.name]).await.unwrap();
        row.get::<_, i64>(0) == 1
    })
    .await;
    publish.kill();
    processes.remove(0).kill();
    let _publish = spread.start("publish");
    sql.batch_execute(&format!("UPDATE {prefix}_things SET b = 'on'")).await.unwrap();
    eventually("the graph is as the tables are", &of(prefix, IS_EQUAL)).await;
    let on = of(prefix, "RETURN COUNT { (:XxThing {b: 'on'}) } = 151 AS yes");
    eventually("it streams on", &on).await;
    is_compared(&spread).await;
    assert!(holds(&of(prefix, IS_EQUAL)).await, "it stays so");
    for own in own {
        let topic = format!("{}{own}", spread.topic());
        for (partition, records) in
            raw_partitions(&kafka().brokers(), &topic).await.iter().enumerate()
        {
            assert!(!gaps(records).is_empty(), "partition {partition} of {topic} has no gap");
        }
    }
    for process in &mut processes {
        stops(process).await;
    }
}

#[tokio::test]
async fn a_lost_slot_is_gone_on_behind_by_itself_with_three_partitions() {
    goes_on_by_itself("gapspread", "gps", "partitions: 3", &[""]).await;
}

#[tokio::test]
async fn a_lost_slot_is_gone_on_behind_by_itself_where_each_table_has_a_topic() {
    let own = [".heartbeats", ".public.gpt_things", ".public.gpt_parts"];
    goes_on_by_itself("gaptables", "gpt", "topics_by: table\n  partitions: 2", &own).await;
}

#[tokio::test]
async fn a_slot_that_is_lost_in_the_middle_of_the_copy_leaves_no_rows_behind() {
    let many = "CREATE TABLE xx_many (id int PRIMARY KEY, v text);
        INSERT INTO xx_many SELECT g, repeat('x', 200) FROM generate_series(1, 60000) g;";
    let schema = format!("{many}{SCHEMA}").replace("xx", "gpc");
    let spread = Spread::with("gapcopy", &schema, "partitions: 1").await;
    let (mut running, config) = (spread.start("publish"), spread.loaded());
    let at = TopicPartition { topic: spread.topic(), partition: 0 };
    let asking = Asking::new(config.kafka().unwrap()).unwrap();
    until("some rows are copied", async || asking.log(&at).await.is_ok_and(|log| log.end > 1_000))
        .await;
    running.signal("KILL");
    running.status(PATIENCE).await;
    let copied = tail::read(config.kafka().unwrap()).await.unwrap().copied();
    assert!(copied.is_empty(), "the copy of the first table was over");
    let unseen = format!("DELETE FROM xx_many WHERE id % 2 = 0; {UNSEEN}").replace("xx", "gpc");
    lose_slot(&spread.pipeline.sql, &spread.pipeline.name, &unseen).await;
    let (code, said) = spread.output(&PUBLISH_ANEW).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = spread.output(&["apply", "--until", "current"]).await;
    assert_eq!(code, Some(0), "{said}");
    others_write("gpc").await;
    ends_equal(&spread, "gpc").await;
    let left = "RETURN COUNT { (:GpcMany) } = 30000 AS yes";
    assert!(holds(left).await, "rows that were copied and deleted meanwhile");
}

#[tokio::test]
async fn apply_that_may_not_read_the_tables_ends_before_a_gap_and_says_why() {
    let spread = Spread::with("gaprole", &SCHEMA.replace("xx", "gpr"), "partitions: 1").await;
    spread.catch_up().await;
    others_write("gpr").await;
    let sql = &spread.pipeline.sql;
    let role = format!("{}_reader", spread.pipeline.name);
    sql.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await.unwrap();
    lose_slot(sql, &spread.pipeline.name, &UNSEEN.replace("xx", "gpr")).await;
    let (code, said) = spread.output(&PUBLISH_ANEW).await;
    assert_eq!(code, Some(0), "{said}");
    let before = spread.checkpoints().await[0].position;
    for _ in 0..2 {
        let mut command = spread.pipeline.command_as(&role, &["apply", "--until", "current"]);
        command.arg("-c").arg(spread.config.path());
        let done = output(command).await;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(1), "{said}");
        for part in ["were never published", "can not be compared", "GRANT SELECT", &role] {
            assert!(said.contains(part), "{part:?}: {said}");
        }
    }
    let after = spread.checkpoints().await[0].position;
    let records = raw_partitions(&kafka().brokers(), &spread.topic()).await;
    let at = gaps(&records[0])[0].0 as u64;
    assert!(before <= after && after.lsn.0 <= at, "{before:?} {after:?} {at}");
    ends_equal(&spread, "gpr").await;
    sql.batch_execute(&format!("DROP ROLE {role}")).await.unwrap();
}
