//! Why there is no configuration.

use crate::{health::budget::Bytes, postgres::connect::UrlError, topic::TopicName};

use super::SubstituteError;

/// The reason why there is no configuration. Every text names the fix, and none names a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can not be read.
    #[error("{path}: {cause}")]
    Unreadable {
        /// The file.
        path: String,
        /// The cause.
        cause: String,
    },
    /// The file is invalid.
    #[error("{path}:{line}:{column}: {message}")]
    File {
        /// The file.
        path: String,
        /// The line, from 1.
        line: u64,
        /// The column, from 1.
        column: u64,
        /// The mistake, and the nearest valid key.
        message: String,
    },
    /// A value refers to something that does not exist.
    #[error("{key}: {source}")]
    Substitute {
        /// The key in the file.
        key: &'static str,
        /// The reference's error.
        source: SubstituteError,
    },
    /// The source is missing.
    #[error("no source: give --source-url, source.url in the file, or the PG* variables")]
    NoSource,
    /// The graph is missing.
    #[error(
        "no graph: give --graph-url, graph.url in the file, or NEO4J_URI, for example bolt://localhost:7687"
    )]
    NoGraph,
    /// Kafka is missing.
    #[error("no Kafka: give --brokers or kafka.brokers in the file, for example localhost:9092")]
    NoBrokers,
    /// The consumer group has no name.
    #[error("kafka.group is empty: name a group, or leave kafka.group out")]
    NoGroup,
    /// A name that is not valid for a topic.
    #[error("{key} {name:?}: expected 1 to 249 of a-z, A-Z, 0-9, `.`, `_` and `-`")]
    Topic {
        /// The key in the file.
        key: &'static str,
        /// The name.
        name: String,
    },
    /// A topic that is Kafka's own.
    #[error("{key} {name}: that is a topic of Kafka's own. Name the one that `publish` writes")]
    KafkasTopic {
        /// The key in the file.
        key: &'static str,
        /// The name.
        name: TopicName,
    },
    /// One topic and several.
    #[error(
        "kafka.topic and kafka.topics: give one of them. `publish` writes to one topic; `topics` is for `apply`, and \
         for topics that somebody else publishes"
    )]
    TopicAndTopics,
    /// No topic at all.
    #[error(
        "kafka.topics is empty: name the topics that `apply` is to read, or remove it for the topic of `publish`"
    )]
    NoTopics,
    /// A topic would be read twice.
    #[error("kafka.topics: {0} is there twice. Remove one")]
    TopicTwice(TopicName),
    /// Rows without envelopes in the topic of `publish`.
    #[error(
        "kafka.debezium.records: `publish` writes envelopes. Rows without them are read from topics of Debezium: name \
         those with kafka.topics or kafka.topics_pattern"
    )]
    RowsOfPublish,
    /// Envelopes name their tables.
    #[error(
        "kafka.debezium.tables has no meaning without `records: rows`: envelopes name their table. Add that, or \
         remove it"
    )]
    TablesUnused,
    /// A table without its schema.
    #[error(
        "kafka.debezium.tables: {topic} is of {table:?}: expected SCHEMA.TABLE, for example public.orders"
    )]
    TableOfTopic {
        /// The topic.
        topic: String,
        /// What was given.
        table: String,
    },
    /// Two answers to which topics there are, again.
    #[error(
        "kafka.topics_by: table and kafka.topics: give one of them. With `topics_by: table` the topics are those of \
         the mapped tables, which `publish` writes; `topics` names what somebody else publishes"
    )]
    TopicsOfTablesAndOthers,
    /// A pattern beside names.
    #[error(
        "kafka.topics_pattern stands alone: remove kafka.topic, kafka.topics and kafka.topics_by. It is for `apply`, \
         and for topics that somebody else publishes"
    )]
    PatternAndTopics,
    /// A pattern that no topic has the name of.
    #[error(
        "kafka.topics_pattern is empty, and no topic has an empty name: write a regular expression for whole names \
         ('shop\\..*'), or remove it for the topic of `publish`"
    )]
    NoPattern,
    /// A pattern that is none.
    #[error(
        "kafka.topics_pattern {pattern:?}: expected a regular expression for whole names of topics: {cause}"
    )]
    TopicsPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong.
        cause: String,
    },
    /// Dead letters would be written where they are read.
    #[error("kafka.dead_letter_topic {0}: it is read as well. Name another one")]
    DeadLettersAreRead(TopicName),
    /// There are no dead letters.
    #[error(
        "kafka.dead_letter_topic has no meaning without `unreadable: park`. Add that, or remove it"
    )]
    DeadLettersUnused,
    /// The number of partitions is out of range.
    #[error(
        "kafka.partitions {0}: expected 1 to 1000. One keeps transactions whole and in their order"
    )]
    Partitions(u16),
    /// A retention that is none.
    #[error(
        "kafka.retention {0:?}: expected a whole number and a unit, for example 7d or 36h, or `forever`"
    )]
    Retention(String),
    /// A setting of librdkafka that wal2graph controls.
    #[error("kafka.properties.{name} can not be set: {why}. Remove it")]
    KafkaProperty {
        /// The setting.
        name: &'static str,
        /// The cause.
        why: &'static str,
    },
    /// A setting of librdkafka that asks for an unsupported log-in.
    #[error("kafka.properties.{name}: {why}")]
    KafkaLogIn {
        /// The setting.
        name: &'static str,
        /// The reason, and the alternative.
        why: &'static str,
    },
    /// The source's URL is wrong.
    #[error(transparent)]
    Source(#[from] UrlError),
    /// The graph's URL is wrong.
    #[error(
        "graph URL {url:?}: expected bolt://HOST:PORT or neo4j://HOST:PORT, with +s or +ssc for TLS"
    )]
    GraphUrl {
        /// The URL without user and password.
        url: String,
    },
    /// Nothing is checked that an authority could sign.
    #[error(
        "graph.ca is for bolt+s:// and neo4j+s://, and the graph's URL is {url:?}: write +s there, or take graph.ca out"
    )]
    GraphCa {
        /// The URL without user and password.
        url: String,
    },
    /// User or password in the graph's URL can not be decoded.
    #[error("graph URL {url:?}: user and password: {why}")]
    GraphLogin {
        /// The URL without user and password.
        url: String,
        /// Why, without any part of them.
        why: String,
    },
    /// A name that is not valid for a slot.
    #[error("{key} {name:?}: expected 1 to {max} of a-z, 0-9 and _")]
    Name {
        /// The key in the file.
        key: &'static str,
        /// The name.
        name: String,
        /// The longest.
        max: usize,
    },
    /// A token that everybody has.
    #[error("http.token is empty: name a secret, or take http.token out")]
    EmptyToken,
    /// An address that is none.
    #[error("{key} {text:?}: expected HOST:PORT, for example 127.0.0.1:8080, or `off`")]
    Listen {
        /// The flag, or the file's key.
        key: &'static str,
        /// The given text.
        text: String,
    },
    /// A duration that is none.
    #[error("{key} {text:?}: expected a whole number and a unit, for example 500ms, 30s, 5m, 2h")]
    Duration {
        /// The key in the file.
        key: &'static str,
        /// The given text.
        text: String,
    },
    /// A size that is none.
    #[error("{key} {text:?}: expected a whole number and a unit, for example 512MB, 5GB, 20GiB")]
    Size {
        /// The key in the file.
        key: &'static str,
        /// The given text.
        text: String,
    },
    /// The program would end before it warns.
    #[error(
        "source.wal_budget: warn ({warn}) is not below stop ({stop}). Lower warn, or raise stop"
    )]
    WalBudget {
        /// The warning.
        warn: Bytes,
        /// The end.
        stop: Bytes,
    },
    /// None of the words.
    #[error("{key} {text:?}: expected {expected}")]
    Word {
        /// The key in the file.
        key: &'static str,
        /// The given text.
        text: String,
        /// The words.
        expected: String,
    },
    /// Tables are not paused where a graph does not follow them.
    #[error(
        "schema_changes: pause and dropped_tables: keep are for `run` and for topics that `wal2graph publish` writes. \
         A graph does not follow its tables through kafka.topics or kafka.topics_pattern: leave both settings out"
    )]
    PauseOfForeign,
    /// Rows of topics that can not be compared with their tables are not set aside.
    #[error(
        "on_error: park is for `run` and for topics that `wal2graph publish` writes. With kafka.topics or \
         kafka.topics_pattern, whose publisher does not say up to where a topic is complete, leave it out"
    )]
    ParkOfForeign,
    /// A number out of its range.
    #[error("limits.copy_lanes {lanes}: expected 1 to {max}")]
    CopyLanes {
        /// The number.
        lanes: u8,
        /// The largest.
        max: u8,
    },
}
