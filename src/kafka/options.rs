//! Where Kafka is, and how topic and slot are kept. Valid by construction.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    catalog::{Catalog, TableName},
    envelope::{DecodeOptions, Decoder, Format, NoRows, table_of_topic},
    secrets::Renewed,
    topic::names::{self, NameRefused, TopicName, TopicsPattern},
};

/// Everything that is said of Kafka.
#[derive(Clone, Debug)]
pub struct Options {
    /// `HOST:PORT`, several with commas between.
    pub brokers: String,
    /// The topic: what `publish` writes, and `apply` reads unless it reads several. Where each table
    /// has a topic, what their names begin with.
    pub topic: TopicName,
    /// What has a topic of its own among what `publish` writes.
    pub topics_by: TopicsBy,
    /// The topics that `apply` reads, each once: [`Options::topic`] is the first of them.
    pub topics: Vec<TopicName>,
    /// Instead of the topics' names: what these match. Which there are, the brokers say.
    pub pattern: Option<TopicsPattern>,
    /// Somebody else publishes to the topics, as Debezium does.
    pub are_foreign: bool,
    /// The consumer group of `apply`.
    pub group: String,
    /// When the source's log is released.
    pub ack: Ack,
    /// How `publish` writes records.
    pub format: Format,
    /// `publish` writes logical messages, too.
    pub messages: bool,
    /// How the topic is made when it is missing.
    pub new_topic: NewTopic,
    /// What becomes of a record that is no envelope.
    pub unreadable: Unreadable,
    /// How the records of somebody else are read.
    pub decoding: Decoding,
    /// librdkafka's own settings.
    pub properties: Properties,
    /// Where tokens for OAUTHBEARER are; another program writes them.
    pub oauth_token_file: Option<PathBuf>,
}

impl Options {
    /// The names of the topics that `apply` reads.
    pub fn topic_names(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().map(TopicName::as_str)
    }

    /// What is when only this is said.
    pub fn new(brokers: String, topic: TopicName, group: String) -> Self {
        Options {
            brokers,
            topics: vec![topic.clone()],
            pattern: None,
            are_foreign: false,
            topic,
            topics_by: TopicsBy::default(),
            group,
            ack: Ack::default(),
            format: Format::default(),
            messages: false,
            new_topic: NewTopic::default(),
            unreadable: Unreadable::default(),
            decoding: Decoding::default(),
            properties: Properties::default(),
            oauth_token_file: None,
        }
    }

    /// `publish` writes a topic for each table.
    pub fn is_by_table(&self) -> bool {
        self.topics_by == TopicsBy::Table
    }

    /// The topic of heartbeats, where each table has a topic.
    pub fn heartbeats(&self) -> Option<TopicName> {
        self.is_by_table().then(|| names::heartbeats(&self.topic).ok()).flatten()
    }

    /// The topic of logical messages, where each table has a topic and `publish` writes messages.
    pub fn messages_topic(&self) -> Result<Option<TopicName>, NameRefused> {
        match self.is_by_table() && self.messages {
            true => names::messages(&self.topic).map(Some),
            false => Ok(None),
        }
    }

    /// What one of the topics is made, looked at and judged by. Heartbeats are in one partition.
    pub fn of_topic(&self, topic: &TopicName) -> Self {
        let new_topic = match self.heartbeats().as_ref() == Some(topic) {
            true => NewTopic { partitions: Some(1), ..self.new_topic },
            false => self.new_topic,
        };
        Options { topic: topic.clone(), new_topic, ..self.clone() }
    }

    /// The group follows the protocol of KIP-848.
    pub fn is_next_generation(&self) -> bool {
        self.properties.now().get("group.protocol").is_some_and(|protocol| protocol == "consumer")
    }

    /// There are several topics, or may be some day: Debezium has one for each table.
    pub fn reads_several(&self) -> bool {
        self.topics.len() > 1 || self.pattern.is_some()
    }
}

/// How the records of somebody else are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoding {
    /// How Debezium was told to write values.
    pub values: DecodeOptions,
    /// Topics have rows without envelopes, and these topics those of a table that they are not named
    /// after; `None`: they have envelopes.
    pub rows: Option<BTreeMap<String, TableName>>,
}

impl Decoding {
    /// Reads the records of a topic.
    ///
    /// # Errors
    /// It has rows without envelopes, and of which table is not known, or they have no key.
    pub fn decoder(&self, catalog: &Catalog, topic: &str) -> Result<Decoder, NoRows> {
        let decoder = Decoder::new(catalog, self.values);
        match &self.rows {
            None => Ok(match table_of_topic(catalog, topic, None) {
                Ok(table) => decoder.with_tombstones_of(table),
                Err(_) => decoder,
            }),
            Some(named) => {
                let table = table_of_topic(catalog, topic, named.get(topic))?;
                decoder.of_rows(topic, table)
            }
        }
    }
}

/// What becomes of a record that is no envelope. Records of another history, and gaps, always stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Unreadable {
    /// It stops `apply`: what follows may rest on it.
    #[default]
    Stop,
    /// It becomes a dead letter: it goes to this topic as it is, and `apply` goes on behind it.
    Park(TopicName),
}

/// What has a topic of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TopicsBy {
    /// The pipeline: all tables are in one topic, and heartbeats.
    #[default]
    Pipeline,
    /// Each table, as with Debezium. Heartbeats have one, too.
    Table,
}

/// What the source's log waits for: when the replication slot is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// The graph has it. The source keeps its log meanwhile, and the topic may be lost.
    #[default]
    Graph,
    /// Kafka has it. The source's log is released early; from then on the topic alone has it.
    Kafka,
}

/// How a topic is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// How many partitions it gets; `None` is one. A topic that is there keeps its own.
    pub partitions: Option<u16>,
    /// How many brokers keep each record; `None` is the cluster's default.
    pub replication_factor: Option<u16>,
    /// How long records are kept; `None` is the cluster's default.
    pub retention: Option<Retention>,
}

/// How long records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// For so long after they were produced.
    For(Duration),
    /// For ever.
    Forever,
}

/// librdkafka's settings by name: SASL, TLS, sizes, times. Never shown, since some are secrets.
#[derive(Clone, Default)]
pub struct Properties(Renewed<BTreeMap<String, String>>);

/// What has to be as it is for records to be neither lost nor doubled, and what to do instead.
const OURS: &[(&str, &str)] = &[
    ("bootstrap.servers", "kafka.brokers has it"),
    ("metadata.broker.list", "kafka.brokers has it"),
    ("group.id", "kafka.group has it"),
    ("acks", "every record is acknowledged by all replicas in sync"),
    ("request.required.acks", "every record is acknowledged by all replicas in sync"),
    ("enable.idempotence", "records are never doubled by a retry"),
    ("message.timeout.ms", "a record that is given up would leave a gap"),
    ("delivery.timeout.ms", "a record that is given up would leave a gap"),
    ("transactional.id", "progress is found in the records themselves"),
    ("enable.auto.commit", "offsets are committed after the graph has the records"),
    ("enable.auto.offset.store", "offsets are committed after the graph has the records"),
    ("auto.offset.reset", "a gap in the topic is an error, never skipped"),
    ("enable.partition.eof", "it is set as it is needed"),
    ("isolation.level", "records of transactions that were aborted are never applied"),
    ("allow.auto.create.topics", "topics are made with the settings that they need, or not at all"),
];

/// librdkafka waits for a token for ever that nobody fetches.
const NO_TOKEN: &str = "OAUTHBEARER takes its tokens from a file: name it with kafka.oauth_token_file, and have \
                        another program keep a fresh token in it. Fetching them over HTTP (OIDC) is not built in";
const NO_OIDC: &str = "that tokens are fetched over HTTP (OIDC) is not built in. Remove it, and name a file with \
                       kafka.oauth_token_file, in which another program keeps a fresh token";
const NO_KERBEROS: &str = "Kerberos (GSSAPI) is not built in; PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER and \
                           certificates are";
const NO_MSK: &str = "it is not built in: MSK with IAM takes OAUTHBEARER, with tokens in kafka.oauth_token_file, which \
                      Amazon's signer makes";
const NO_MECHANISM: &str = "it has to be named where security.protocol asks for a log-in: PLAIN, SCRAM-SHA-256, \
                            SCRAM-SHA-512 or OAUTHBEARER. Kerberos (GSSAPI), librdkafka's default, is not built in";
const TOKEN_UNUSED: &str = "kafka.oauth_token_file has no meaning with another one than OAUTHBEARER. Name that here, \
                            or remove the file's name";

/// Files of TLS. Of one that is not there librdkafka says a number of OpenSSL's.
const FILES: &[&str] = &[
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.crl.location",
];

const MECHANISM: &str = "sasl.mechanism";
const OAUTH_METHOD: &str = "sasl.oauthbearer.method";

/// A setting that can not be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PropertyRefused {
    /// It has to be as it is.
    Ours {
        /// The setting.
        name: &'static str,
        /// Why.
        why: &'static str,
    },
    /// It asks for a log-in that can not be.
    LogIn {
        /// The setting.
        name: &'static str,
        /// Why, and what can be.
        why: &'static str,
    },
}

impl Properties {
    /// Settings by name, with a file of tokens or without one.
    pub fn new(
        properties: BTreeMap<String, String>,
        has_tokens: bool,
    ) -> Result<Self, PropertyRefused> {
        if let Some((name, why)) = OURS.iter().find(|(name, _)| properties.contains_key(*name)) {
            return Err(PropertyRefused::Ours { name, why });
        }
        match refused_log_in(&properties, has_tokens) {
            Some((name, why)) => Err(PropertyRefused::LogIn { name, why }),
            None => Ok(Properties(Renewed::fixed(properties))),
        }
    }

    /// Names and values as their files have them now. The values may be secrets.
    pub fn now(&self) -> BTreeMap<String, String> {
        self.0.now()
    }

    /// The files that have some of the values.
    pub fn renewed_files(&self) -> &[String] {
        self.0.files()
    }

    /// The files that connections are made with, by the settings that name them.
    pub fn files(&self) -> Vec<(&'static str, PathBuf)> {
        let properties = self.now();
        let protocol = properties.get("security.protocol");
        let has_tls = protocol.is_some_and(|it| it.to_ascii_uppercase().ends_with("SSL"));
        let names = FILES.iter().filter(|_| has_tls);
        let named = names.filter_map(|name| {
            let file = properties.get(*name).filter(|file| *file != "probe")?;
            Some((*name, PathBuf::from(file)))
        });
        named.collect()
    }
}

/// Settings that are read again. They are valid.
impl From<Renewed<BTreeMap<String, String>>> for Properties {
    fn from(properties: Renewed<BTreeMap<String, String>>) -> Self {
        Properties(properties)
    }
}

/// The setting that asks for a log-in that can not be, and why.
fn refused_log_in(
    properties: &BTreeMap<String, String>,
    has_tokens: bool,
) -> Option<(&'static str, &'static str)> {
    let of = |name: &str| properties.get(name).map(|value| value.to_ascii_uppercase());
    if of(OAUTH_METHOD).is_some_and(|method| method == "OIDC") {
        return Some((OAUTH_METHOD, NO_OIDC));
    }
    let mechanism = of(MECHANISM).or_else(|| of("sasl.mechanisms"));
    let why = match (mechanism.as_deref(), has_tokens) {
        (Some("OAUTHBEARER"), true) => return None,
        (Some("OAUTHBEARER"), false) => NO_TOKEN,
        (Some("AWS_MSK_IAM"), _) => NO_MSK,
        (_, true) => TOKEN_UNUSED,
        (Some("GSSAPI"), false) => NO_KERBEROS,
        (Some(_), false) => return None,
        (None, false) => match of("security.protocol") {
            Some(protocol) if protocol.starts_with("SASL_") => NO_MECHANISM,
            _ => return None,
        },
    };
    Some((MECHANISM, why))
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.now().keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn topics_have_names_that_kafka_takes() {
        for name in ["a", "wal2graph.shop", "A-b_c.9", &"x".repeat(249)] {
            assert!(TopicName::new(name).is_some(), "{name}");
        }
        for name in ["", ".", "..", "a b", "ä", "a/b", &"x".repeat(250)] {
            assert!(TopicName::new(name).is_none(), "{name}");
        }
    }

    fn properties(
        properties: &[(&str, &str)],
        has_tokens: bool,
    ) -> Result<Properties, PropertyRefused> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Properties::new(properties.iter().map(owned).collect(), has_tokens)
    }

    #[test]
    fn properties_show_no_values_and_do_not_touch_what_is_ours() {
        let shown = format!("{:?}", properties(&[("sasl.password", "secret")], false).unwrap());
        assert!(shown.contains("sasl.password") && !shown.contains("secret"), "{shown}");
        for ours in [("acks", "1"), ("isolation.level", "read_uncommitted")] {
            let refused = properties(&[ours], false).unwrap_err();
            assert!(matches!(refused, PropertyRefused::Ours { name, .. } if name == ours.0));
        }
    }

    #[test]
    fn files_are_looked_at_where_they_are_used() {
        let files = |protocol: &str| {
            let ca = [("security.protocol", protocol), ("ssl.ca.location", "/ca")];
            let all = [ca[0], ca[1], ("ssl.key.location", "/key"), ("ssl.crl.location", "probe")];
            let properties = properties(&all, false).unwrap();
            let names = properties.files().into_iter();
            names.map(|(name, file)| (name, file.display().to_string())).collect::<Vec<_>>()
        };
        let expected =
            [("ssl.ca.location", "/ca".to_owned()), ("ssl.key.location", "/key".to_owned())];
        assert_eq!(files("ssl"), expected);
        assert_eq!(files("plaintext"), []);
    }

    #[test]
    fn a_mechanism_that_is_not_built_in_is_refused_at_once_and_not_waited_for() {
        let why = |settings: &[(&str, &str)], has_tokens| match properties(settings, has_tokens) {
            Err(PropertyRefused::LogIn { why, .. }) => why,
            other => panic!("{settings:?}: {other:?}"),
        };
        for name in ["sasl.mechanism", "sasl.mechanisms"] {
            assert_eq!(why(&[(name, "OAUTHBEARER")], false), NO_TOKEN);
            assert_eq!(why(&[(name, "gssapi")], false), NO_KERBEROS);
            assert_eq!(why(&[(name, "AWS_MSK_IAM")], false), NO_MSK);
            assert_eq!(why(&[(name, "AWS_MSK_IAM")], true), NO_MSK);
            assert_eq!(why(&[(name, "PLAIN")], true), TOKEN_UNUSED);
            assert!(properties(&[(name, "OAUTHBEARER")], true).is_ok());
            let scram = [(name, "SCRAM-SHA-512"), ("security.protocol", "SASL_SSL")];
            assert!(properties(&scram, false).is_ok());
        }
        let oidc = [("sasl.mechanism", "OAUTHBEARER"), ("sasl.oauthbearer.method", "oidc")];
        assert_eq!(why(&oidc, true), NO_OIDC);
        // librdkafka's default is Kerberos.
        assert_eq!(why(&[("security.protocol", "sasl_ssl")], false), NO_MECHANISM);
        assert!(properties(&[("security.protocol", "ssl")], false).is_ok());
    }
}
