//! A topic of one table as Debezium writes it, with prices in one of two ways.

use std::{fs, io::Write, time::Duration};

use neo4rs::Query;
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::kafka;
use crate::support::{Pipeline, Running, graph, output};

/// A table `PREFIX_items (id int PRIMARY KEY, price numeric(12,2))`, its topic, and a pipeline for both.
pub struct Items {
    pub pipeline: Pipeline,
    pub topic: String,
    table: String,
    label: String,
    config: NamedTempFile,
    producer: BaseProducer,
}

impl Items {
    /// The topic has so many partitions, and nothing in it.
    pub async fn new(prefix: &str, partitions: u32) -> Self {
        let table = format!("{prefix}_items");
        let schema = format!("CREATE TABLE {table} (id int PRIMARY KEY, price numeric(12,2))");
        let pipeline = Pipeline::new(prefix, &schema).await;
        let topic = format!("{}.public.{table}", pipeline.name);
        kafka().create_topic(&topic, partitions, &[]).unwrap();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", kafka().brokers())
            .set("linger.ms", "0")
            .create()
            .unwrap();
        let label = format!("{}{}Item", prefix[..1].to_uppercase(), &prefix[1..]);
        let config = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        let items = Items { pipeline, topic, table, label, config, producer };
        items.prices_are("precise");
        items
    }

    /// Writes the file: how Debezium is said to write prices.
    pub fn prices_are(&self, mode: &str) {
        let mut file = fs::File::create(self.config.path()).unwrap();
        write!(
            file,
            "pipeline: {}\nhttp: {{listen: \"off\"}}\nkafka:\n  brokers: '{}'\n  topics: [{}]\n  unreadable: park\n  \
             debezium: {{decimal_handling_mode: {mode}}}\n  \
             properties: {{session.timeout.ms: 6000, heartbeat.interval.ms: 500}}\n",
            self.pipeline.name,
            kafka().brokers(),
            self.topic
        )
        .unwrap();
    }

    /// Produces a change of a row; a price is base64 of its cents, or text with a point.
    pub fn send(&self, partition: i32, op: &str, id: i32, price: &str) {
        let key = json!({"id": id}).to_string();
        self.send_with_key(partition, Some(&key), (op, id, price));
    }

    /// The same under any key, or none.
    pub fn send_with_key(
        &self,
        partition: i32,
        key: Option<&str>,
        (op, id, price): (&str, i32, &str),
    ) {
        let after = json!({"id": id, "price": price});
        self.produce(partition, key, &self.event(op, after));
    }

    /// Produces a TRUNCATE.
    pub fn truncate(&self) {
        self.produce(0, None, &self.event("t", Value::Null));
    }

    fn event(&self, op: &str, after: Value) -> Value {
        json!({
            "before": null, "after": after, "op": op, "ts_ms": 1,
            "source": {
                "version": "3.3.1.Final", "connector": "postgresql", "name": self.pipeline.name,
                "ts_ms": 1_700_000_000_123_u64, "snapshot": "false", "db": self.pipeline.name,
                "schema": "public", "table": self.table, "txId": 770, "lsn": 24_023_128, "xmin": null,
            },
        })
    }

    fn produce(&self, partition: i32, key: Option<&str>, value: &Value) {
        let value = value.to_string();
        let mut record = BaseRecord::to(&self.topic).partition(partition).payload(&value);
        record.key = key;
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(Duration::from_secs(30)).unwrap();
    }

    /// The exit code, the result and the log.
    async fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = self.pipeline.command(arguments);
        command.arg("-c").arg(self.config.path());
        let output = output(command).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (said, log) = (text(&output.stdout), text(&output.stderr));
        println!("{arguments:?}: {:?}\n{said}{log}", output.status.code());
        (output.status.code(), said, log)
    }

    /// It must succeed; its result.
    pub async fn done(&self, arguments: &[&str]) -> String {
        let (code, said, log) = self.run(arguments).await;
        assert_eq!(code, Some(0), "{said}{log}");
        said
    }

    /// It must fail, and say this; all that it said.
    pub async fn fails(&self, arguments: &[&str], expected: &str) -> String {
        let (code, said, log) = self.run(arguments).await;
        let said = said + &log;
        assert!(
            code != Some(0) && said.contains(expected),
            "expected {expected:?}: {code:?} {said}"
        );
        said
    }

    /// Applies what is there.
    pub async fn apply(&self) {
        self.done(&["apply", "--until", "current"]).await;
    }

    /// Starts `apply` with HTTP; its log goes to the file.
    pub fn start(&self, log: &NamedTempFile) -> Running {
        let mut command = self.pipeline.command(&["apply", "--http", "127.0.0.1:0"]);
        command.arg("-c").arg(self.config.path()).stderr(log.reopen().unwrap());
        Running(command.spawn().expect("the program starts"))
    }

    /// `id:price` of all nodes, by id.
    pub async fn rows(&self) -> String {
        let query = format!(
            "MATCH (n:{}) RETURN toString(n.id) + ':' + toString(toFloat(n.price)) AS it ORDER BY n.id",
            self.label
        );
        let rows = graph().rows(Query::new(query)).await.unwrap();
        rows.iter().map(|row| row.get::<String>("it").unwrap()).collect::<Vec<_>>().join(" ")
    }
}
