//! A topic that a test writes, record by record, as `publish` would.

use std::{
    io::Write,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use rdkafka::{
    ClientConfig, Message,
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext},
};
use tempfile::NamedTempFile;
use wal2graph::{
    catalog::{Catalog, TableName},
    change::{Before, Cell, Change, Relation, Timestamp, Tuple},
    checkpoint::{Checkpoint, Epoch, TopicPartition},
    envelope::{DecodeOptions, Decoder, Encoder, History, Names, Place, Record, Snapshot},
    kafka::{Options, offsets::Asking},
    lsn::Lsn,
    neo4j::checkpoint,
    replay::GroupOffset,
    topic::{TopicName, copied::COPIED_HEADER},
};
use wal2graph_servers::Kafka;

use super::kafka;
use crate::support::{Pipeline, Running, graph, until};

/// What one member of a group has to be away for until the group does without it.
const SETTINGS: &str =
    "{session.timeout.ms: 6000, heartbeat.interval.ms: 500, max.poll.interval.ms: 6000}";

/// The offset of the last record that was delivered.
#[derive(Default)]
struct Offsets(Mutex<Option<u64>>);

impl rdkafka::ClientContext for Offsets {}

impl ProducerContext for Offsets {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let delivered = result.as_ref().map_err(|(error, _)| error).unwrap();
        *self.0.lock().unwrap() = Some(delivered.offset().unsigned_abs());
    }
}

/// A database with one table `PREFIX_things (id, name, other)`, a topic, and a pipeline for both.
pub struct Feed {
    /// The program on the database; its name is the pipeline's.
    pub pipeline: Pipeline,
    /// The label of the table's nodes.
    pub label: String,
    /// The topic.
    pub topic: String,
    brokers: String,
    config: NamedTempFile,
    producer: BaseProducer<Offsets>,
    encoder: Encoder,
    relation: Arc<Relation>,
    /// The end of the last transaction.
    lsn: u64,
}

impl Feed {
    /// On the suite's Kafka. `prefix` is two letters that no other test has.
    pub async fn new(prefix: &str) -> Self {
        Self::on(kafka(), prefix).await
    }

    /// The same on another one.
    pub async fn on(kafka: &Kafka, prefix: &str) -> Self {
        Self::on_cluster(kafka, &kafka.brokers(), prefix).await
    }

    /// The same on the cluster that this broker belongs to.
    pub async fn on_cluster(kafka: &Kafka, brokers: &str, prefix: &str) -> Self {
        let table = format!("{prefix}_things");
        let schema = format!(
            "CREATE TABLE {table} (id int PRIMARY KEY, name text, other int REFERENCES {table})"
        );
        let mut pipeline = Pipeline::new(prefix, &schema).await;
        let catalog: Catalog =
            wal2graph::postgres::catalog::read(&mut pipeline.sql, None).await.unwrap();
        let topic = format!("wal2graph.{}", pipeline.name);
        kafka.create_topic(&topic, 1, &[]).unwrap();
        let name = TableName::new("public", table.as_str());
        let decoder = Decoder::new(&catalog, DecodeOptions::default());
        let relation = decoder.relation(&name).unwrap().clone();
        let brokers = brokers.to_owned();
        let config = config(&pipeline.name, &brokers, SETTINGS);
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .set("linger.ms", "0")
            .create_with_context(Offsets::default())
            .unwrap();
        let encoder = encoder(&pipeline.name, &pipeline.cluster().await, &catalog);
        let (first, rest) = prefix.split_at(1);
        let label = format!("{}{rest}Thing", first.to_uppercase());
        Feed { pipeline, label, topic, brokers, config, producer, encoder, relation, lsn: 0x1000 }
    }

    /// From now on, records of another database cluster.
    pub async fn of_another_cluster(&mut self) {
        let catalog: Catalog =
            wal2graph::postgres::catalog::read(&mut self.pipeline.sql, None).await.unwrap();
        self.encoder = encoder(&self.pipeline.name, "8", &catalog);
    }

    /// The configuration file.
    pub fn config_path(&self) -> &Path {
        self.config.path()
    }

    /// `wal2graph COMMAND...` with the configuration file.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.pipeline.command(arguments);
        command.arg("-c").arg(self.config.path());
        command
    }

    /// Waits until somebody has claimed the partition since `epoch`.
    pub async fn until_claimed(&self, epoch: Epoch) {
        let is_claimed = async || self.checkpoint().await.unwrap().epoch != epoch;
        until("it is claimed", is_claimed).await;
    }

    /// Waits until the graph has everything before an offset.
    pub async fn until_applied(&self, offset: u64) {
        let is_applied = async || self.applied().await >= offset;
        until(&format!("{offset} is applied"), is_applied).await;
    }

    /// Runs it to its end: exit code, standard output and log.
    pub async fn output(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let command = self.command(arguments);
        let output = crate::support::output(command).await;
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        println!("{arguments:?}: {:?}\n{text}", output.status.code());
        (output.status.code(), text)
    }

    /// `apply --until current`, which must succeed; its log.
    pub async fn apply(&self) -> String {
        let (code, log) = self.output(&["apply", "--until", "current"]).await;
        assert_eq!(code, Some(0), "{log}");
        log
    }

    /// `apply --until current`, which must fail, and say this.
    pub async fn apply_refuses(&self, said: &str) {
        let (code, log) = self.output(&["apply", "--until", "current"]).await;
        assert!(code == Some(1) && log.contains(said), "expected {said:?}: {code:?} {log}");
    }

    /// Starts `apply`; its log goes to the file.
    pub fn start(&self, arguments: &[&str], log: &NamedTempFile) -> Running {
        let mut command = self.command(&[&["apply"], arguments].concat());
        Running(command.stderr(log.reopen().unwrap()).spawn().expect("the program starts"))
    }

    /// Publishes a copy of rows with these ids, named `copied`.
    pub async fn copy(&mut self, ids: impl IntoIterator<Item = i32>) {
        let ids: Vec<i32> = ids.into_iter().collect();
        for (index, id) in ids.iter().enumerate() {
            let snapshot = match index {
                0 => Snapshot::First,
                last if last + 1 == ids.len() => Snapshot::Last,
                _ => Snapshot::Inside,
            };
            let row = row(*id, "copied", None);
            let relation = self.relation.clone();
            let lsn = Lsn(self.lsn);
            let record = self.encoder.read(lsn, snapshot, &relation, &row, now()).unwrap();
            self.send(record).await;
        }
    }

    /// Publishes one transaction; the offset after it.
    pub async fn commit(&mut self, changes: &[Change]) -> u64 {
        let (commit_lsn, end) = (Lsn(self.lsn + 0x100), Lsn(self.lsn + 0x130));
        self.lsn = end.0;
        self.publish(commit_lsn, end, 0..changes.len(), changes).await
    }

    /// Publishes the records of some of a transaction's changes.
    pub async fn publish(
        &mut self,
        commit_lsn: Lsn,
        end: Lsn,
        which: std::ops::Range<usize>,
        changes: &[Change],
    ) -> u64 {
        let mut offset = 0;
        for index in which {
            let end = (index + 1 == changes.len()).then_some(end);
            let (event_index, xid, committed_at) = (index as u64, commit_lsn.0 as u32, now());
            let place = Place { commit_lsn, event_index, xid, committed_at, end };
            for record in self.encoder.change(&place, &changes[index], now()).unwrap() {
                offset = self.send(record).await;
            }
        }
        offset + 1
    }

    /// The record of a transaction with this one change.
    pub fn record(&mut self, change: &Change) -> Record {
        let (commit_lsn, end) = (Lsn(self.lsn + 0x100), Lsn(self.lsn + 0x130));
        self.lsn = end.0;
        let end = Some(end);
        let place = Place { commit_lsn, event_index: 0, xid: 7, committed_at: now(), end };
        let records = self.encoder.change(&place, change, now()).unwrap();
        records.into_iter().next().expect("a change is one at least")
    }

    /// Publishes a heartbeat.
    pub async fn heartbeat(&mut self) {
        self.lsn += 0x20;
        let record = self.encoder.heartbeat(Lsn(self.lsn), now());
        self.send(record).await;
    }

    /// Publishes a heartbeat that says which tables are in the topic.
    pub async fn heartbeat_naming(&mut self, oids: &[u32]) {
        self.lsn += 0x20;
        let mut record = self.encoder.heartbeat(Lsn(self.lsn), now());
        let list: Vec<String> = oids.iter().map(u32::to_string).collect();
        record.headers.push((COPIED_HEADER.to_owned(), Bytes::from(list.join(","))));
        self.send(record).await;
    }

    /// Publishes any record; its offset.
    pub async fn send(&self, record: Record) -> u64 {
        let Record { key, value, headers } = record;
        let headers = headers.iter().fold(OwnedHeaders::new(), |all, (name, value)| {
            all.insert(Header { key: name, value: Some(&value[..]) })
        });
        let mut message: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(&self.topic).partition(0).headers(headers);
        message.key = key.as_deref();
        message.payload = value.as_deref();
        self.producer.send(message).map_err(|(error, _)| error).unwrap();
        self.producer.flush(Duration::from_secs(30)).unwrap();
        let delivered = self.producer.context().0.lock().unwrap().take();
        delivered.expect("it is delivered")
    }

    /// The checkpoint in the graph.
    pub async fn checkpoint(&self) -> Option<Checkpoint> {
        checkpoint::read(&graph(), &self.pipeline.name).await.unwrap()
    }

    /// The offset that the graph has.
    pub async fn applied(&self) -> u64 {
        self.checkpoint().await.map_or(0, |checkpoint| checkpoint.position.lsn.0)
    }

    /// A client that asks Kafka of group and topic.
    pub fn asking(&self) -> Asking {
        let topic = TopicName::new(&self.topic).unwrap();
        Asking::new(&Options::new(self.brokers.clone(), topic, self.group())).unwrap()
    }

    /// The topic's partition.
    pub fn partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: 0 }
    }

    /// What the group committed.
    pub async fn group_offset(&self) -> Option<GroupOffset> {
        self.asking().group_offset(&self.partition()).await.unwrap()
    }

    /// The group's name.
    pub fn group(&self) -> String {
        format!("wal2graph-{}", self.pipeline.name)
    }

    /// An INSERT.
    pub fn insert(&self, id: i32, name: &str, other: Option<i32>) -> Change {
        Change::Insert { relation: self.relation.clone(), new: row(id, name, other) }
    }

    /// An UPDATE that leaves the key.
    pub fn update(&self, id: i32, name: &str, other: Option<i32>) -> Change {
        let new = row(id, name, other);
        Change::Update { relation: self.relation.clone(), before: Before::Absent, new }
    }

    /// An UPDATE of the key.
    pub fn rename(&self, from: i32, to: i32, name: &str) -> Change {
        let new = row(to, name, None);
        let before = Before::Key(Box::new([text(from), Cell::Null, Cell::Null]));
        Change::Update { relation: self.relation.clone(), before, new }
    }

    /// A DELETE.
    pub fn delete(&self, id: i32) -> Change {
        let before = Before::Key(Box::new([text(id), Cell::Null, Cell::Null]));
        Change::Delete { relation: self.relation.clone(), before }
    }

    /// What the graph has: `1:name->2 3:name`, by id; placeholders in brackets.
    pub async fn contents(&self) -> String {
        let query = format!(
            "MATCH (n:{}) OPTIONAL MATCH (n)-->(m) WITH n, m ORDER BY n.id RETURN \
             CASE WHEN n:_Placeholder THEN '(' + toString(n.id) + ')' ELSE toString(n.id) + ':' + n.name END + \
             coalesce('->' + toString(m.id), '') AS it",
            self.label
        );
        let rows = graph().rows(neo4rs::Query::new(query)).await.unwrap();
        let rows: Vec<String> = rows.iter().map(|row| row.get("it").unwrap()).collect();
        rows.join(" ")
    }

    /// Runs Cypher.
    pub async fn cypher(&self, text: &str) {
        let text = text.replace("LABEL", &self.label).replace("PIPELINE", &self.pipeline.name);
        graph().run(neo4rs::Query::new(text)).await.unwrap();
    }
}

/// A configuration file.
pub fn config(pipeline: &str, brokers: &str, properties: &str) -> NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    write!(
        file,
        "pipeline: {pipeline}\nkafka:\n  brokers: {brokers}\n  properties: {properties}\nhttp: {{listen: \"off\"}}\n"
    )
    .unwrap();
    file
}

fn encoder(pipeline: &str, cluster: &str, catalog: &Catalog) -> Encoder {
    let history = History { system_identifier: cluster.to_owned(), timeline: 1 };
    let names = Names {
        pipeline: pipeline.to_owned(),
        database: pipeline.to_owned(),
        version: "0".to_owned(),
        history,
    };
    Encoder::new(names, catalog)
}

fn row(id: i32, name: &str, other: Option<i32>) -> Tuple {
    let name = Cell::Text(Bytes::copy_from_slice(name.as_bytes()));
    Box::new([text(id), name, other.map_or(Cell::Null, text)])
}

fn text(value: i32) -> Cell {
    Cell::Text(Bytes::from(value.to_string()))
}

fn now() -> Timestamp {
    wal2graph::metrics::now()
}
