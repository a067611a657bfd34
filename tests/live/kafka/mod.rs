//! Kafka between, on a real broker.

mod advice;
mod apply;
mod by_table;
mod checkpoints;
mod connect;
mod dead_letters;
mod debezium;
mod faults;
mod feed;
mod following;
mod gaps;
mod items;
mod letters;
mod lost;
mod partitions;
mod paused;
mod policy;
mod promotion;
mod protocol;
mod publish;
mod readiness;
mod reconcile;
mod removal;
mod routes;
mod security;
mod served;
mod strangers;
mod take_over;
pub mod topic;
mod watching;

use std::{fs, sync::OnceLock};

use tempfile::TempDir;
use wal2graph::{cli::Global, config::Config};
use wal2graph_servers::{Kafka, KafkaOptions};

use crate::support::{Pipeline, Running, neo4j, postgres, until};

static KAFKA: OnceLock<Kafka> = OnceLock::new();

/// The suite's broker. Starts it when it is first needed, and fails the test when it can not be
/// started.
pub fn kafka() -> &'static Kafka {
    KAFKA.get_or_init(|| {
        Kafka::start(&KafkaOptions::default()).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// A database, a pipeline and a topic of its name, with a file that says so.
pub struct Published {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// The file.
    pub path: String,
    folder: TempDir,
}

impl Published {
    /// A new database with `schema` in it; `kafka` is more of the section `kafka` of the file.
    pub async fn new(name: &str, schema: &str, kafka_section: &str) -> Self {
        Self::on(kafka(), name, schema, kafka_section).await
    }

    /// The same on another broker than the suite's.
    pub async fn on(broker: &Kafka, name: &str, schema: &str, kafka_section: &str) -> Self {
        Self::of(broker, Pipeline::new(name, schema).await, kafka_section)
    }

    /// The same of a pipeline.
    pub fn of(broker: &Kafka, pipeline: Pipeline, kafka_section: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wal2graph.yaml");
        let brokers = broker.brokers();
        let text =
            format!("kafka: {{brokers: '{brokers}', {kafka_section}}}\nhttp: {{listen: off}}\n");
        fs::write(&path, text).unwrap();
        let path = path.display().to_string();
        Published { pipeline, path, folder }
    }

    /// What the program makes of file and flags.
    pub fn config(&self) -> Config {
        let flags = Global {
            config: Some(self.path.clone().into()),
            source_url: Some(self.pipeline.source_url.clone()),
            graph_url: Some(neo4j().url()),
            ..Global::default()
        };
        Config::load(&flags, &|_| None).unwrap()
    }

    /// `publish --until current`, which must succeed: then the topic has everything committed
    /// before.
    pub async fn catch_up(&self) {
        let (code, log) = self.run(&["publish", "--until", "current"]).await;
        assert_eq!(code, Some(0), "{log}");
    }

    /// `publish --until current`, which must be refused with all of this in its log.
    pub async fn is_refused(&self, said: &[&str]) {
        let (code, log) = self.run(&["publish", "--until", "current"]).await;
        assert_eq!(code, Some(1), "{log}");
        for part in said {
            assert!(log.contains(part), "{part:?} is not in {log}");
        }
    }

    /// Runs the program to its end: its exit code and its log.
    pub async fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let arguments = [arguments, &["-c", &self.path]].concat();
        let output = self.pipeline.output(&arguments).await;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        // Shown when the test fails later.
        println!("{log}");
        (output.status.code(), log)
    }

    /// How far the topic is.
    pub async fn end_of_topic(&self) -> u64 {
        let config = self.config();
        let kafka = config.kafka().unwrap();
        let says_it = kafka.heartbeats().unwrap_or_else(|| kafka.topic.clone());
        let tail = wal2graph::kafka::tail::read(&kafka.of_topic(&says_it)).await.unwrap();
        tail.lowest().map_or(0, |lsn| lsn.0)
    }

    /// Waits until the topic is complete through a position.
    pub async fn catch_up_by_looking(&self, lsn: u64) {
        until("the topic gets there", async || self.end_of_topic().await >= lsn).await;
    }

    /// What `publish` has logged since it was started.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("publish.log")).unwrap_or_default()
    }

    /// Starts `publish` and leaves it running; its log is shown when the test fails.
    pub fn start(&self) -> Running {
        let log = self.folder.path().join("publish.log");
        let log = fs::File::options().create(true).append(true).open(log).unwrap();
        self.pipeline.start_logging(&["publish", "-c", &self.path], log)
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        println!("{}", self.log());
    }
}

/// The settings of Debezium's connector for the suite's PostgreSQL: what it reads of a database, into topics
/// whose names begin with the database's.
pub fn debezium_source(connector: &str, database: &str, tables: &str) -> String {
    format!(
        "name={connector}\n\
         connector.class=io.debezium.connector.postgresql.PostgresConnector\n\
         tasks.max=1\n\
         database.hostname=127.0.0.1\n\
         database.port={port}\n\
         database.user=postgres\n\
         database.password=none\n\
         database.dbname={database}\n\
         topic.prefix={database}\n\
         plugin.name=pgoutput\n\
         slot.name=debezium_{database}\n\
         slot.drop.on.stop=true\n\
         publication.name=debezium\n\
         publication.autocreate.mode=filtered\n\
         table.include.list={tables}\n",
        port = postgres().port()
    )
}
