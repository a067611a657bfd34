//! What others write into a topic that no row of the source is, and what is left behind in the graph.

use std::{fs, io::Write, time::Duration};

use neo4rs::Query;
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::kafka;
use crate::support::{Pipeline, graph, output, until};

/// A table `PREFIX_things (id int PRIMARY KEY, name text, owner int)`, whose owners are others of them, its
/// topic, and a pipeline for both.
struct Things {
    pipeline: Pipeline,
    topic: String,
    table: String,
    label: String,
    config: NamedTempFile,
    producer: BaseProducer,
}

impl Things {
    /// `section` is more of the section `kafka`; `T` in it is the topic.
    async fn new(prefix: &str, section: &str) -> Self {
        let table = format!("{prefix}_things");
        let schema = format!(
            "CREATE TABLE {table} (id int PRIMARY KEY, name text, owner int REFERENCES {table})"
        );
        let pipeline = Pipeline::new(prefix, &schema).await;
        let topic = format!("{}.public.{table}", pipeline.name);
        kafka().create_topic(&topic, 1, &[]).unwrap();
        let producer =
            ClientConfig::new().set("bootstrap.servers", kafka().brokers()).create().unwrap();
        let label = format!("{}{}Thing", prefix[..1].to_uppercase(), &prefix[1..]);
        let config = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        let things = Things { pipeline, topic, table, label, config, producer };
        things.says(&format!("topics: [T], {section}"));
        things
    }

    /// Writes the file with this section `kafka`.
    fn says(&self, section: &str) {
        let mut file = fs::File::create(self.config.path()).unwrap();
        let section = section.replace('T', &self.topic);
        write!(
            file,
            "pipeline: {}\nhttp: {{listen: \"off\"}}\nkafka: {{brokers: '{}', {section}}}\n",
            self.pipeline.name,
            kafka().brokers()
        )
        .unwrap();
    }

    fn send(&self, key: &str, value: Option<&str>) {
        let mut record: BaseRecord<'_, str, str> = BaseRecord::to(&self.topic).key(key);
        record.payload = value;
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(Duration::from_secs(30)).unwrap();
    }

    /// An envelope as Debezium writes it.
    fn event(&self, op: &str, key: Value, before: Value, after: Value) {
        let value = json!({
            "before": before, "after": after, "op": op, "ts_ms": 1,
            "source": {
                "version": "3.3.1.Final", "connector": "postgresql", "name": self.pipeline.name,
                "ts_ms": 1_700_000_000_123_u64, "snapshot": "false", "db": self.pipeline.name,
                "schema": "public", "table": self.table, "txId": 770, "lsn": 24_023_128, "xmin": null,
            },
        });
        self.send(&key.to_string(), Some(&value.to_string()));
    }

    /// The exit code and what was said.
    async fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.pipeline.command(arguments);
        command.arg("-c").arg(self.config.path());
        let output = output(command).await;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text += &String::from_utf8_lossy(&output.stderr);
        println!("{arguments:?}: {:?}\n{text}", output.status.code());
        (output.status.code(), text)
    }

    async fn done(&self, arguments: &[&str]) -> String {
        let (code, text) = self.run(arguments).await;
        assert_eq!(code, Some(0), "{text}");
        text
    }

    async fn apply(&self) -> String {
        self.done(&["apply", "--until", "current"]).await
    }

    /// `id:name` of all nodes, with what is no integer marked.
    async fn rows(&self) -> String {
        let query = format!(
            "MATCH (n:{}) RETURN toString(n.id) + CASE WHEN n.id IS :: INTEGER THEN ':' ELSE '!' END \
             + coalesce(n.name, '') AS it ORDER BY n.id",
            self.label
        );
        let rows = graph().rows(Query::new(query)).await.unwrap();
        rows.iter().map(|row| row.get::<String>("it").unwrap()).collect::<Vec<_>>().join(" ")
    }

    /// The names that `dead-letters list` has, without the topic's.
    async fn letters(&self) -> Vec<String> {
        let json = self.done(&["dead-letters", "list", "--json"]).await;
        let listed: Value = serde_json::from_str(&json).unwrap();
        let names = listed.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap());
        names.map(|name| name.replace(&self.topic, "T")).collect()
    }

    /// Deletes the topic, and makes it again.
    async fn make_again(&self) {
        const CLASS: &str = "org.apache.kafka.tools.TopicCommand";
        kafka().tool(CLASS, &["--delete", "--topic", &self.topic]).unwrap();
        let is_gone = async || {
            let list = kafka().tool(CLASS, &["--list"]).unwrap();
            !list.lines().any(|topic| topic == self.topic)
        };
        until("the topic is gone", is_gone).await;
        let is_made = async || kafka().create_topic(&self.topic, 1, &[]).is_ok();
        until("the topic is made again", is_made).await;
    }

    /// Takes everything of the pipeline out of the graph.
    async fn empty(&self) {
        let name = &self.pipeline.name;
        for text in [
            format!("MATCH (n:{}) DETACH DELETE n", self.label),
            format!("MATCH (c:_Wal2GraphCheckpoint {{pipeline: '{name}'}}) DELETE c"),
        ] {
            graph().run(Query::new(text)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn rows_of_others_with_two_keys_or_with_one_that_no_row_has_become_dead_letters() {
    let rows = "unreadable: park, debezium: {records: rows}";
    let things = Things::new("kva", rows).await;
    for (key, value) in [
        (r#"{"id":1}"#, Some(r#"{"id":1,"name":"one","owner":null}"#)),
        (r#"{"id":1}"#, Some(r#"{"id":2,"name":"of another key"}"#)),
        (r#"{"id":3.0}"#, Some(r#"{"id":3.0,"name":"with a point"}"#)),
        (r#"{"id":"x"}"#, Some(r#"{"id":"x","name":"no number"}"#)),
        (r#"{"id":99999999999}"#, Some(r#"{"id":99999999999,"name":"too large"}"#)),
        (r#"{"id":4}"#, Some(r#"{"id":4,"name":"refers","owner":"x"}"#)),
        (r#"{"id":5}"#, Some(r#"{"id":5,"name":7,"owner":1}"#)),
        (r#"{"id":1.5}"#, None),
        (r#"{"id":1}"#, Some(r#"{"id":3,"name":"deleted","__deleted":"true"}"#)),
    ] {
        things.send(key, value);
    }
    let log = things.apply().await;
    assert_eq!(things.rows().await, "1:one 3:with a point 5:7");
    let expected = [1, 3, 4, 5, 7, 8].map(|offset| format!("T/0/{offset}"));
    assert_eq!(things.letters().await, expected);
    assert!(
        log.contains("the row has another value") && log.contains("no value of integer"),
        "{log}"
    );
    assert!(!log.contains("too large") && !log.contains("99999999999"), "no values of rows: {log}");
}

#[tokio::test]
async fn an_envelope_whose_key_is_of_another_row_stops_it_behind_what_is_before() {
    let things = Things::new("kvb", "unreadable: stop").await;
    let row = |id: Value| json!({"id": id, "name": "one", "owner": null});
    things.event("c", json!({"id": 1}), Value::Null, row(json!(1)));
    things.event("u", json!({"id": 10}), Value::Null, row(json!(11)));
    let (code, said) = things.run(&["apply", "--until", "current"]).await;
    assert!(code == Some(1) && said.contains("offset 1") && said.contains("two rows"), "{said}");
    assert_eq!(things.rows().await, "1:one", "what is before it is applied");
    things.says("topics: [T], unreadable: park");
    things.event("c", json!({"id": 5}), Value::Null, row(json!("notint")));
    things.event("d", json!({"id": 1}), row(json!(2)), Value::Null);
    things.event("u", json!({"name": "one"}), Value::Null, row(json!(1)));
    things.apply().await;
    assert_eq!(things.rows().await, "1:one");
    assert_eq!(things.letters().await, ["T/0/1", "T/0/2", "T/0/3"]);
}

#[tokio::test]
async fn dead_letters_of_a_topic_that_was_made_again_are_others_than_those_before() {
    let things = Things::new("kvc", "unreadable: park, debezium: {records: rows}").await;
    let one = Some(r#"{"id":1,"name":"one","owner":null}"#);
    things.send(r#"{"id":1}"#, one);
    things.send(r#"{"id":2}"#, Some("first"));
    things.send(r#"{"id":3}"#, Some("same"));
    things.apply().await;
    let name = |offset: u32| format!("{}/0/{offset}", things.topic);
    things.done(&["dead-letters", "drop", &name(2)]).await;
    assert_eq!(things.letters().await, ["T/0/1"]);

    things.make_again().await;
    things.send(r#"{"id":1}"#, one);
    things.send(r#"{"id":2}"#, Some("second"));
    things.send(r#"{"id":3}"#, Some("same"));
    things.empty().await;
    things.done(&["replay", "--from", "earliest"]).await;
    things.apply().await;
    let letters = things.letters().await;
    let [old, new, same] = &letters[..] else { panic!("{letters:?}") };
    assert!(old != new && old.starts_with("T/0/1@") && new.starts_with("T/0/1@"), "{letters:?}");
    assert_eq!(same, "T/0/2", "the mark is of the other topic");
    let status = things.done(&["status"]).await;
    assert!(status.contains("dead letters  3"), "{status}");
    let (code, said) = things.run(&["dead-letters", "show", &name(1)]).await;
    assert!(code == Some(2) && said.contains("several topics"), "{said}");

    let whole = [old, new].map(|it| it.replacen('T', &things.topic, 1));
    let mut shown = Vec::new();
    for name in &whole {
        let said = things.done(&["dead-letters", "show", name]).await;
        shown.push((said.contains("first"), said.contains("second")));
    }
    shown.sort_unstable();
    assert_eq!(shown, [(false, true), (true, false)]);
    let (code, said) = things.run(&["dead-letters", "retry", &whole[0], &whole[1]]).await;
    assert!(code == Some(1) && said.contains("would be a dead letter again"), "{said}");
    things.done(&["dead-letters", "drop", &whole[0]]).await;
    assert_eq!(things.letters().await, ["T/0/1", "T/0/2"]);
    things.done(&["dead-letters", "drop", &name(1)]).await;
    assert_eq!(things.letters().await, ["T/0/2"]);
}

#[tokio::test]
async fn topics_of_others_are_read_alone_and_an_empty_list_names_none() {
    let things = Things::new("kvd", "unreadable: stop").await;
    let row = json!({"id": 1, "name": "one", "owner": null});
    things.event("c", json!({"id": 1}), Value::Null, row);
    let (code, said) = things.run(&["publish", "--until", "current"]).await;
    assert!(code == Some(2) && said.contains("kafka.topics is for `apply`"), "{said}");
    let said = things.done(&["check"]).await;
    assert!(!said.contains("publication") && said.contains("apply will begin"), "{said}");
    things.says("topics_pattern: 'T[.]none[.].*'");
    let (code, said) = things.run(&["apply", "--until", "current"]).await;
    let waited = "so --until current has no end to lead to: leave it out to wait";
    assert!(code == Some(1) && said.to_lowercase().contains(waited), "{said}");
    things.says("topics: []");
    let (code, said) = things.run(&["apply", "--until", "current"]).await;
    assert!(code == Some(2) && said.contains("kafka.topics is empty"), "{said}");
}

#[tokio::test]
async fn a_file_of_tls_that_is_not_there_is_named_with_its_setting() {
    let things = Things::new("kve", "unreadable: stop").await;
    for name in ["ssl.ca.location", "ssl.certificate.location", "ssl.key.location"] {
        things.says(&format!(
            "topics: [T], properties: {{security.protocol: ssl, {name}: /not/there.pem}}"
        ));
        for command in [&["apply"][..], &["check"], &["replay", "--from", "earliest"]] {
            let (code, said) = things.run(command).await;
            let expected = format!("kafka.properties.{name}: /not/there.pem can not be read");
            assert!(code == Some(1) && said.contains(&expected), "{said}");
        }
    }
}

/// What Neo4j keeps of a constraint whose maker is killed.
#[tokio::test]
async fn an_index_that_a_killed_start_left_without_its_constraint_is_made_one() {
    let things = Things::new("kvf", "unreadable: stop").await;
    let row = json!({"id": 1, "name": "one", "owner": null});
    things.event("c", json!({"id": 1}), Value::Null, row);
    let (name, label) = (format!("wal2graph_unique_node_{}.id", things.label), &things.label);
    let index = format!("CREATE INDEX `{name}` IF NOT EXISTS FOR (n:{label}) ON (n.id)");
    graph().run(Query::new(index)).await.unwrap();
    let said = things.done(&["check"]).await;
    assert!(!said.contains("FAILURE"), "a start mends it: {said}");
    let log = things.apply().await;
    assert!(log.contains(&name) && log.contains("dropped"), "{log}");
    assert_eq!(things.rows().await, "1:one");
    let text = format!("SHOW CONSTRAINTS YIELD name WHERE name = '{name}' RETURN name");
    assert_eq!(graph().rows(Query::new(text)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_dead_letter_topic_that_is_too_small_or_goes_away_is_named() {
    let things = Things::new("kvs", "unreadable: park, dead_letter_topic: T-small").await;
    let kept = format!("{}-small", things.topic);
    let max = format!("max.message.bytes={}", 64 << 10);
    kafka().create_topic(&kept, 1, &[&max]).unwrap();
    things.send(r#"{"id":1}"#, Some(&"x".repeat(100_000)));
    let (code, said) = things.run(&["apply", "--until", "current"]).await;
    assert_eq!(code, Some(1), "{said}");
    let advice = format!("kafka-configs --alter --topic {kept} --add-config max.message.bytes=");
    let larger = said.split(&advice).nth(1).unwrap_or_else(|| panic!("{said}"));
    let larger = format!(
        "max.message.bytes={}",
        larger.split(|it: char| !it.is_ascii_digit()).next().unwrap()
    );
    let alter = ["--alter", "--topic", &kept, "--add-config", &larger];
    kafka().tool("kafka.admin.ConfigCommand", &alter).unwrap();
    things.apply().await;
    assert_eq!(things.letters().await, ["T/0/0"]);

    let log = NamedTempFile::new().unwrap();
    let config = things.config.path().to_str().unwrap();
    // What waits is looked at for the pages.
    let arguments = ["apply", "-c", config, "--http", "127.0.0.1:0"];
    let _running = things.pipeline.start_logging(&arguments, log.reopen().unwrap());
    let logged = async |what: &str| fs::read_to_string(log.path()).unwrap().contains(what);
    things.send(r#"{"id":2}"#, Some("no envelope"));
    until("the second one is set aside", async || logged("is a dead letter").await).await;
    // The watch has read both.
    tokio::time::sleep(Duration::from_secs(8)).await;
    kafka().tool("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", &kept]).unwrap();
    until("it is missed", async || logged("the dead letters in it are gone").await).await;
    things.send(r#"{"id":3}"#, Some("no envelope"));
    until("the third one is set aside", async || things.letters().await == ["T/0/2"]).await;
}
