//! Where Kafka is, and how topic and slot are kept. Valid by construction.

use std::{collections::BTreeMap, fmt, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::envelope::{DecodeOptions, Format};

/// The longest name that Kafka takes for a topic, in bytes.
const TOPIC_BYTES_MAX: usize = 249;

/// Everything that is said of Kafka.
#[derive(Clone, Debug)]
pub struct Options {
    /// `HOST:PORT`, several with commas between.
    pub brokers: String,
    /// The topic: what `publish` writes, and `apply` reads unless it reads several.
    pub topic: TopicName,
    /// The topics that `apply` reads, each once: [`Options::topic`] is the first of them.
    pub topics: Vec<TopicName>,
    /// Somebody else publishes to the topics, as Debezium does.
    pub are_foreign: bool,
    /// The consumer group of `apply`.
    pub group: String,
    /// What lets go of the source's log.
    pub ack: Ack,
    /// How `publish` writes records.
    pub format: Format,
    /// How the topic is made when it is missing.
    pub new_topic: NewTopic,
    /// What becomes of a record that is no envelope.
    pub unreadable: Unreadable,
    /// How Debezium was told to write values.
    pub decoding: DecodeOptions,
    /// librdkafka's own settings.
    pub properties: Properties,
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
            are_foreign: false,
            topic,
            group,
            ack: Ack::default(),
            format: Format::default(),
            new_topic: NewTopic::default(),
            unreadable: Unreadable::default(),
            decoding: DecodeOptions::default(),
            properties: Properties::default(),
        }
    }

    /// The group follows the protocol of KIP-848.
    pub fn is_next_generation(&self) -> bool {
        self.properties.iter().any(|property| property == ("group.protocol", "consumer"))
    }

    /// There are several topics: Debezium has one for each table.
    pub fn reads_several(&self) -> bool {
        self.topics.len() > 1
    }
}

/// What becomes of a record that is no envelope. Records of another history, and gaps, always stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Unreadable {
    /// It stops `apply`: what follows may rest on it.
    #[default]
    Stop,
    /// It goes to this topic as it is, and `apply` goes on behind it.
    Park(TopicName),
}

/// What lets go of the source's log: when the replication slot is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// The graph has it. The source keeps its log meanwhile, and the topic may be lost.
    #[default]
    Graph,
    /// Kafka has it. The source lets go early; from then on the topic alone has it.
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

/// A name that Kafka takes for a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicName(String);

impl TopicName {
    /// `None` if Kafka would not take it: 1 to 249 of a-z, A-Z, 0-9, `.`, `_` and `-`.
    pub fn new(name: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let fits = (1..=TOPIC_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed);
        (fits && name != "." && name != "..").then(|| TopicName(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// librdkafka's settings by name: SASL, TLS, sizes, times. Never shown, since some are secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

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
const NO_OAUTH: &str = "OAUTHBEARER fetches its tokens over HTTP, which is not built in; PLAIN, SCRAM-SHA-256, \
                        SCRAM-SHA-512 and certificates are";
const NO_KERBEROS: &str =
    "Kerberos (GSSAPI) is not built in; PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and certificates are";
const NO_MECHANISM: &str = "it has to be named where security.protocol asks for a log-in: PLAIN, SCRAM-SHA-256 or \
                            SCRAM-SHA-512. Kerberos (GSSAPI), the default of librdkafka, is not built in";

impl Properties {
    /// Settings by name; the error names one that can not be set, and says why.
    pub fn new(properties: BTreeMap<String, String>) -> Result<Self, (String, &'static str)> {
        let ours = OURS.iter().find(|(name, _)| properties.contains_key(*name));
        if let Some((name, why)) = ours {
            return Err(((*name).to_owned(), why));
        }
        let properties = Properties(properties);
        match properties.refused_log_in() {
            Some((name, why)) => Err((name.to_owned(), why)),
            None => Ok(properties),
        }
    }

    /// The setting that asks for a log-in that is not built in, and what is.
    fn refused_log_in(&self) -> Option<(&'static str, &'static str)> {
        const MECHANISM: &str = "sasl.mechanism";
        let of = |name: &str| self.0.get(name).map(|value| value.to_ascii_uppercase());
        let mut named = [MECHANISM, "sasl.mechanisms"].into_iter();
        let named = named.find_map(|name| Some((name, of(name)?)));
        match named {
            Some((name, mechanism)) if mechanism == "OAUTHBEARER" => Some((name, NO_OAUTH)),
            Some((name, mechanism)) if mechanism == "GSSAPI" => Some((name, NO_KERBEROS)),
            Some(_) => None,
            None => {
                let logs_in = of("security.protocol").is_some_and(|it| it.starts_with("SASL_"));
                logs_in.then_some((MECHANISM, NO_MECHANISM))
            }
        }
    }

    /// Names and values. The values may be secrets.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
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

    #[test]
    fn properties_show_no_values_and_do_not_touch_what_is_ours() {
        let of = |name: &str, value: &str| {
            Properties::new(BTreeMap::from([(name.to_owned(), value.to_owned())]))
        };
        let shown = format!("{:?}", of("sasl.password", "secret").unwrap());
        assert!(shown.contains("sasl.password") && !shown.contains("secret"), "{shown}");
        let (name, why) = of("acks", "1").unwrap_err();
        assert_eq!(name, "acks");
        assert!(why.contains("all replicas"));
        assert_eq!(of("isolation.level", "read_uncommitted").unwrap_err().0, "isolation.level");
    }

    #[test]
    fn a_mechanism_that_is_not_built_in_is_refused_at_once_and_not_waited_for() {
        let of = |properties: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            Properties::new(properties.iter().map(owned).collect())
        };
        for name in ["sasl.mechanism", "sasl.mechanisms"] {
            for mechanism in ["OAUTHBEARER", "GSSAPI", "gssapi"] {
                let (refused, why) = of(&[(name, mechanism)]).unwrap_err();
                assert!(refused == name && why.contains("not built in"), "{refused}: {why}");
            }
            assert!(of(&[(name, "SCRAM-SHA-512"), ("security.protocol", "SASL_SSL")]).is_ok());
        }
        // librdkafka's default is Kerberos.
        let (refused, why) = of(&[("security.protocol", "sasl_ssl")]).unwrap_err();
        assert!(refused == "sasl.mechanism" && why.contains("has to be named"), "{refused}: {why}");
        assert!(of(&[("security.protocol", "ssl")]).is_ok());
    }
}
