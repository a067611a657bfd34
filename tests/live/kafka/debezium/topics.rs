//! Topics as they come: those that begin with a change, that nobody has made yet, that are written in
//! transactions, and that have records of others.

use std::{io::Write, time::Duration};

use neo4rs::Query;
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::super::kafka;
use crate::support::{Pipeline, Running, graph, output, until};

/// How long a producer may take for one thing.
const LIMIT: Duration = Duration::from_secs(30);

/// A database with some tables `(id int PRIMARY KEY, name text)`, and a pipeline that reads a topic
/// for each.
pub struct Topics {
    pub pipeline: Pipeline,
    pub config: NamedTempFile,
}

impl Topics {
    pub async fn new(tables: &[&str]) -> Self {
        Self::with_more(tables, "").await
    }

    /// `more` is more of the section `kafka` of the file.
    pub async fn with_more(tables: &[&str], more: &str) -> Self {
        let name = |pipeline: &Pipeline, table: &&str| format!("{}.public.{table}", pipeline.name);
        Self::with(tables, |pipeline| {
            let topics: Vec<String> = tables.iter().map(|table| name(pipeline, table)).collect();
            format!("topics: [{}]{more}", topics.join(", "))
        })
        .await
    }

    /// `read` says which topics are read.
    async fn with(tables: &[&str], read: impl Fn(&Pipeline) -> String) -> Self {
        let create = |it: &&str| format!("CREATE TABLE {it} (id int PRIMARY KEY, name text);");
        let schema: String = tables.iter().map(create).collect();
        let pipeline = Pipeline::new(tables[0], &schema).await;
        let mut config = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        write!(
            config,
            "pipeline: {}\nhttp: {{listen: \"off\"}}\nkafka: {{brokers: '{}', {}}}\n",
            pipeline.name,
            kafka().brokers(),
            read(&pipeline)
        )
        .unwrap();
        Topics { pipeline, config }
    }

    pub fn topic(&self, table: &str) -> String {
        format!("{}.public.{table}", self.pipeline.name)
    }

    pub fn make(&self, table: &str) {
        kafka().create_topic(&self.topic(table), 1, &[]).unwrap();
    }

    pub fn record(&self, op: &str, table: &str, id: i32, name: &str) -> Value {
        json!({
            "before": null, "after": {"id": id, "name": name}, "op": op, "ts_ms": 1,
            "source": {
                "version": "3.3.1.Final", "connector": "postgresql", "name": self.pipeline.name,
                "ts_ms": 1_700_000_000_123_u64 + u64::from(id.unsigned_abs()), "snapshot": "false",
                "db": self.pipeline.name, "schema": "public", "table": table, "txId": 770,
                "lsn": 24_023_128 + id, "xmin": null,
            },
        })
    }

    pub fn send(&self, producer: &BaseProducer, table: &str, id: i32, value: &Value) {
        self.send_or_delete(producer, table, id, Some(value));
    }

    /// Without a value it is a tombstone.
    pub fn send_or_delete(
        &self,
        producer: &BaseProducer,
        table: &str,
        id: i32,
        value: Option<&Value>,
    ) {
        let (topic, key) = (self.topic(table), json!({"id": id}).to_string());
        let value = value.map(Value::to_string);
        let mut record: BaseRecord<'_, str, str> = BaseRecord::to(&topic).key(&key);
        record.payload = value.as_deref();
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(LIMIT).unwrap();
    }

    /// The exit code and what was said.
    pub async fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.pipeline.command(arguments);
        command.arg("-c").arg(self.config.path());
        let output = output(command).await;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text += &String::from_utf8_lossy(&output.stderr);
        println!("{arguments:?}: {text}");
        (output.status.code(), text)
    }

    pub async fn apply(&self) {
        let (code, text) = self.run(&["apply", "--until", "current"]).await;
        assert_eq!(code, Some(0), "{text}");
    }

    /// `id:name` of all nodes of a table, by id.
    pub async fn rows(&self, table: &str) -> String {
        let label: String =
            table.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
        let query =
            format!("MATCH (n:{label}) RETURN toString(n.id) + ':' + n.name AS it ORDER BY n.id");
        let rows = graph().rows(Query::new(query)).await.unwrap();
        rows.iter().map(|row| row.get::<String>("it").unwrap()).collect::<Vec<_>>().join(" ")
    }
}

pub fn producer(transactional: Option<&str>) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka().brokers());
    if let Some(id) = transactional {
        config.set("transactional.id", id);
    }
    config.create().unwrap()
}

#[tokio::test]
async fn a_table_that_was_empty_and_a_topic_that_is_not_there_yet_hold_nobody_up() {
    let topics = Topics::new(&["kta_full", "kta_empty", "kta_never"]).await;
    let producer = producer(None);
    topics.make("kta_full");
    topics.make("kta_empty");
    topics.send(&producer, "kta_full", 1, &topics.record("r", "kta_full", 1, "copied"));
    topics.send(&producer, "kta_empty", 1, &topics.record("c", "kta_empty", 1, "first"));
    topics.apply().await;
    assert_eq!(topics.rows("kta_full").await, "1:copied");
    assert_eq!(topics.rows("kta_empty").await, "1:first");
    topics.make("kta_never");
    topics.send(&producer, "kta_never", 5, &topics.record("c", "kta_never", 5, "late"));
    topics.apply().await;
    assert_eq!(topics.rows("kta_never").await, "5:late");
}

/// The envelope of the delete has the key of its tombstone, so compaction takes it.
#[tokio::test]
async fn the_tombstone_that_compaction_leaves_of_a_delete_was_passed_over() {
    let topics = Topics::new(&["ktq_one"]).await;
    let producer = producer(None);
    topics.make("ktq_one");
    let send = |op: &str, id, name: &str| {
        topics.send(&producer, "ktq_one", id, &topics.record(op, "ktq_one", id, name));
    };
    let tombstone = |id| topics.send_or_delete(&producer, "ktq_one", id, None);
    (1..=3).for_each(|id| send("r", id, "copied"));
    topics.apply().await;
    tombstone(2);
    send("u", 3, "changed");
    // One that is whole, and a row that comes again.
    let mut deleted = topics.record("d", "ktq_one", 1, "copied");
    deleted["before"] = json!({"id": 1, "name": null});
    deleted["after"] = Value::Null;
    topics.send(&producer, "ktq_one", 1, &deleted);
    tombstone(1);
    send("c", 1, "again");
    // Nobody has had this row.
    tombstone(9);
    topics.apply().await;
    assert_eq!(topics.rows("ktq_one").await, "1:again 3:changed");
}

#[tokio::test]
async fn topics_that_a_pattern_matches_are_read_those_that_come_later_too() {
    let matches = |pipeline: &Pipeline| format!("topics_pattern: '{}[.].*'", pipeline.name);
    let topics = Topics::with(&["ktp_one", "ktp_two"], matches).await;
    let producer = producer(None);
    topics.make("ktp_one");
    topics.make("ktp_none");
    topics.send(&producer, "ktp_one", 1, &topics.record("r", "ktp_one", 1, "copied"));
    let log = NamedTempFile::new().unwrap();
    let mut apply = topics.pipeline.command(&["apply"]);
    apply.arg("-c").arg(topics.config.path()).stderr(log.reopen().unwrap());
    let apply = Running(apply.spawn().unwrap());
    until("the first is read", async || topics.rows("ktp_one").await == "1:copied").await;
    topics.make("ktp_two");
    topics.send(&producer, "ktp_two", 5, &topics.record("c", "ktp_two", 5, "late"));
    until("the second is read", async || topics.rows("ktp_two").await == "5:late").await;
    topics.send(&producer, "ktp_one", 2, &topics.record("c", "ktp_one", 2, "after"));
    let after = "1:copied 2:after";
    until("the first is read on", async || topics.rows("ktp_one").await == after).await;
    apply.kill();
    let log = std::fs::read_to_string(log.path()).unwrap();
    println!("{log}");
    let told = log.lines().filter(|line| line.contains("skipping a topic"));
    let told: Vec<&str> = told.filter(|line| line.contains("ktp_none")).collect();
    assert_eq!(told.len(), 1, "once, whichever life it is: {told:?}");
    let (_, said) = topics.run(&["check"]).await;
    assert!(said.contains("apply goes on in partition 0 of") && said.contains("ktp_two"), "{said}");
    let delete = ["--delete", "--topic", &topics.topic("ktp_two")];
    kafka().tool("org.apache.kafka.tools.TopicCommand", &delete).unwrap();
    let (code, said) = topics.run(&["apply", "--until", "current"]).await;
    let gone = format!("the topic {} is gone", topics.topic("ktp_two"));
    assert!(code == Some(1) && said.contains(&gone), "{said}");
    let (code, said) = topics.run(&["publish"]).await;
    assert!(code == Some(2) && said.contains("topics_pattern is for `apply`"), "{said}");
}

#[tokio::test]
async fn a_topic_that_begins_with_an_update_has_no_rows_from_before_and_the_command_it_names_works()
{
    let topics = Topics::new(&["ktb_one", "ktb_two"]).await;
    let producer = producer(None);
    topics.make("ktb_one");
    topics.make("ktb_two");
    topics.send(&producer, "ktb_one", 1, &topics.record("c", "ktb_one", 1, "new"));
    topics.send(&producer, "ktb_two", 2, &topics.record("u", "ktb_two", 2, "changed"));
    let (code, said) = topics.run(&["apply", "--until", "current"]).await;
    assert!(code == Some(1) && said.contains("no copy of the tables begins"), "{said}");
    let command = said.split_once("wal2graph replay ").unwrap().1;
    let command = command.split_once("--yes").unwrap().0;
    let mut arguments = vec!["replay"];
    arguments.extend(command.split_whitespace());
    arguments.push("--yes");
    let (code, said) = topics.run(&arguments).await;
    assert_eq!(code, Some(0), "{said}");
    topics.apply().await;
    assert_eq!(topics.rows("ktb_two").await, "2:changed");
}

#[tokio::test]
async fn a_compacted_topic_that_may_have_forgotten_deletes_was_read_on_without_a_word() {
    let topics = Topics::new(&["ktg_one"]).await;
    let settings = ["cleanup.policy=compact", "delete.retention.ms=1000"];
    kafka().create_topic(&topics.topic("ktg_one"), 1, &settings).unwrap();
    let (_, said) = topics.run(&["check"]).await;
    assert!(said.contains("keeps deletes for 1 s"), "{said}");
    let producer = producer(None);
    topics.send(&producer, "ktg_one", 1, &topics.record("r", "ktg_one", 1, "copied"));
    let (code, said) = topics.run(&["apply", "--until", "current"]).await;
    assert!(code == Some(0) && !said.contains("forgotten deletes"), "{said}");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    topics.send(&producer, "ktg_one", 2, &topics.record("c", "ktg_one", 2, "new"));
    let (code, said) = topics.run(&["apply", "--until", "current"]).await;
    assert!(code == Some(0) && said.contains("may have forgotten deletes"), "{said}");
    assert_eq!(topics.rows("ktg_one").await, "1:copied 2:new");
}

#[tokio::test]
async fn markers_of_transactions_and_aborted_records_at_the_end_of_a_topic_are_passed() {
    let topics = Topics::new(&["ktc_one"]).await;
    topics.make("ktc_one");
    let producer = producer(Some(&topics.pipeline.name));
    producer.init_transactions(LIMIT).unwrap();
    producer.begin_transaction().unwrap();
    topics.send(&producer, "ktc_one", 1, &topics.record("r", "ktc_one", 1, "committed"));
    producer.commit_transaction(LIMIT).unwrap();
    topics.apply().await;
    producer.begin_transaction().unwrap();
    topics.send(&producer, "ktc_one", 2, &topics.record("c", "ktc_one", 2, "aborted"));
    producer.abort_transaction(LIMIT).unwrap();
    topics.apply().await;
    assert_eq!(topics.rows("ktc_one").await, "1:committed");
    let (_, status) = topics.run(&["status"]).await;
    assert!(status.contains("applied to offset 4 of 4, 0 behind"), "{status}");
    producer.begin_transaction().unwrap();
    topics.send(&producer, "ktc_one", 3, &topics.record("c", "ktc_one", 3, "after"));
    producer.commit_transaction(LIMIT).unwrap();
    topics.apply().await;
    assert_eq!(topics.rows("ktc_one").await, "1:committed 3:after");
}

#[tokio::test]
async fn a_record_of_another_database_is_not_applied_where_its_table_has_the_same_name() {
    let topics = Topics::new(&["ktd_one"]).await;
    topics.make("ktd_one");
    let producer = producer(None);
    topics.send(&producer, "ktd_one", 1, &topics.record("r", "ktd_one", 1, "ours"));
    topics.apply().await;
    let mut other = topics.record("u", "ktd_one", 1, "FROM ANOTHER DATABASE");
    other["source"]["db"] = json!("otherdb");
    topics.send(&producer, "ktd_one", 1, &other);
    let (code, said) = topics.run(&["apply", "--until", "current"]).await;
    assert!(code == Some(1) && said.contains("it is of another database, otherdb"), "{said}");
    assert_eq!(topics.rows("ktd_one").await, "1:ours");
}

const ROWS: &str = ", debezium: {records: rows}";

#[tokio::test]
async fn rows_without_envelopes_are_upserts_and_deletes_by_their_key() {
    let topics = Topics::with_more(&["ktr_one"], ROWS).await;
    topics.make("ktr_one");
    let producer = producer(None);
    let send = |id: i32, value: Option<Value>| {
        topics.send_or_delete(&producer, "ktr_one", id, value.as_ref());
    };
    for id in 1..=4 {
        send(id, Some(json!({"id": id, "name": "copied"})));
    }
    send(1, Some(json!({"id": 1, "name": "changed", "__op": "u", "__lsn": 24})));
    send(2, None);
    send(3, Some(json!({"id": 3, "name": null, "__deleted": "true"})));
    send(2, Some(json!({"id": 2, "name": "again", "__deleted": "false"})));
    topics.apply().await;
    assert_eq!(topics.rows("ktr_one").await, "1:changed 2:again 4:copied");
    let (_, status) = topics.run(&["status"]).await;
    assert!(status.contains("applied to offset 8 of 8, 0 behind"), "{status}");
    let checkpoint = wal2graph::neo4j::checkpoint::read(&graph(), &topics.pipeline.name).await;
    let checkpoint = checkpoint.unwrap().unwrap();
    assert_eq!((checkpoint.lsn.0, checkpoint.committed_at), (0, None), "rows do not say it");
    let (code, said) = topics.run(&["replay", "--from", "earliest"]).await;
    assert_eq!(code, Some(0), "{said}");
    topics.apply().await;
    assert_eq!(topics.rows("ktr_one").await, "1:changed 2:again 4:copied");
    send(5, Some(topics.record("c", "ktr_one", 5, "in an envelope")));
    let (code, said) = topics.run(&["apply", "--until", "current"]).await;
    assert!(code == Some(1) && said.contains("it is an envelope"), "{said}");
}

#[tokio::test]
async fn rows_without_envelopes_are_read_from_the_topics_that_a_pattern_matches() {
    let matches = |pipeline: &Pipeline| {
        let name = &pipeline.name;
        let tables = format!("{name}.public.elsewhere: public.ktv_two");
        format!("topics_pattern: '{name}[.].*', debezium: {{records: rows, tables: {{{tables}}}}}")
    };
    let topics = Topics::with(&["ktv_one", "ktv_two"], matches).await;
    let producer = producer(None);
    for (topic, name) in [("ktv_one", "by its name"), ("elsewhere", "by the file")] {
        topics.make(topic);
        topics.send(&producer, topic, 1, &json!({"id": 1, "name": name}));
    }
    topics.make("ktv_none");
    topics.send(&producer, "ktv_none", 1, &json!({"id": 1}));
    topics.apply().await;
    assert_eq!(topics.rows("ktv_one").await, "1:by its name");
    assert_eq!(topics.rows("ktv_two").await, "1:by the file");
    let (code, said) = topics.run(&["check"]).await;
    assert!(code == Some(0) && said.contains("apply goes on"), "{said}");
}

#[tokio::test]
async fn rows_of_a_topic_that_is_named_after_no_table_are_refused_until_the_file_names_one() {
    let topics = Topics::with_more(&["kts_one"], ROWS).await;
    let other = topics.topic("elsewhere");
    kafka().create_topic(&other, 1, &[]).unwrap();
    let rename = |more: &str| {
        let text = format!(
            "pipeline: {}\nhttp: {{listen: \"off\"}}\nkafka: {{brokers: '{}', topics: [{other}], \
             debezium: {{records: rows{more}}}}}\n",
            topics.pipeline.name,
            kafka().brokers()
        );
        std::fs::write(topics.config.path(), text).unwrap();
    };
    rename("");
    let (code, said) = topics.run(&["apply", "--until", "current"]).await;
    assert!(code == Some(1) && said.contains("kafka.debezium.tables"), "{said}");
    let (code, said) = topics.run(&["check"]).await;
    assert!(code == Some(1) && said.contains("kafka.debezium.tables"), "{said}");
    rename(&format!(", tables: {{{other}: public.kts_one}}"));
    let row = json!({"id": 1, "name": "named"});
    topics.send(&producer(None), "elsewhere", 1, &row);
    topics.apply().await;
    assert_eq!(topics.rows("kts_one").await, "1:named");
}
