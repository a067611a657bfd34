//! Kafka between, for `publish` and `apply`.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    cli::Global,
    kafka::{Ack, NewTopic, Options, Properties, Retention, TopicName},
};

use super::{ConfigError, Expand, duration};

/// Every partition has a heartbeat with every batch: more of them cost more than they bring.
const PARTITIONS_MAX: u16 = 1_000;

/// Kafka between, for `publish` and `apply`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawKafka {
    /// `HOST:PORT`, several with commas between.
    pub brokers: Option<String>,
    /// The topic. Default: `wal2graph.` and the pipeline's name.
    pub topic: Option<String>,
    /// The consumer group of `apply`. Default: `wal2graph-` and the pipeline's name.
    pub group: Option<String>,
    /// What lets go of the source's log: `graph` when the graph has it, `kafka` when Kafka has it.
    /// Default: `graph`.
    pub ack: Option<Ack>,
    /// How many partitions the topic gets when it is made, 1 to 1000. Default: 1, which keeps
    /// transactions whole and in their order. With more, each key has its partition.
    pub partitions: Option<u16>,
    /// How many brokers keep each record, when the topic is made. Default: the cluster's.
    pub replication_factor: Option<u16>,
    /// How long records are kept, when the topic is made: `7d`, `36h`, or `forever`. Default: the
    /// cluster's.
    pub retention: Option<String>,
    /// librdkafka's own settings, by their names there: `security.protocol`, `sasl.password`,
    /// `ssl.ca.location`, `compression.type`.
    pub properties: BTreeMap<String, Setting>,
}

/// A setting of librdkafka: text, a number, or true or false.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Setting {
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// Anything else.
    Text(String),
}

impl Setting {
    fn text(&self) -> String {
        match self {
            Setting::Flag(flag) => flag.to_string(),
            Setting::Number(number) => number.to_string(),
            Setting::Text(text) => text.clone(),
        }
    }
}

/// What file and flag mean together; `None` when neither speaks of Kafka.
pub(super) fn kafka(
    raw: &Option<RawKafka>,
    pipeline: &str,
    global: &Global,
    expand: &Expand<'_>,
) -> Result<Option<Options>, ConfigError> {
    if raw.is_none() && global.brokers.is_none() {
        return Ok(None);
    }
    let none = RawKafka::default();
    let raw = raw.as_ref().unwrap_or(&none);
    let brokers = global
        .brokers
        .clone()
        .map_or_else(|| expand("kafka.brokers", &raw.brokers), |it| Ok(Some(it)))?;
    let brokers = brokers.filter(|brokers| !brokers.is_empty()).ok_or(ConfigError::NoBrokers)?;
    let topic =
        expand("kafka.topic", &raw.topic)?.unwrap_or_else(|| format!("wal2graph.{pipeline}"));
    let topic = TopicName::new(&topic).ok_or(ConfigError::Topic(topic))?;
    let group =
        expand("kafka.group", &raw.group)?.unwrap_or_else(|| format!("wal2graph-{pipeline}"));
    if let Some(partitions) = raw.partitions.filter(|it| !(1..=PARTITIONS_MAX).contains(it)) {
        return Err(ConfigError::Partitions(partitions));
    }
    let retention = expand("kafka.retention", &raw.retention)?.map(retention).transpose()?;
    let (partitions, replication_factor) = (raw.partitions, raw.replication_factor);
    let new_topic = NewTopic { partitions, replication_factor, retention };
    let properties = properties(&raw.properties, expand)?;
    let ack = raw.ack.unwrap_or_default();
    Ok(Some(Options { brokers, topic, group, ack, new_topic, properties }))
}

fn retention(text: String) -> Result<Retention, ConfigError> {
    if text == "forever" {
        return Ok(Retention::Forever);
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    let days = days.filter(|days| *days > 0).map(|days| Duration::from_hours(24) * days);
    match days.or_else(|| duration::parse(&text)) {
        Some(duration) => Ok(Retention::For(duration)),
        None => Err(ConfigError::Retention(text)),
    }
}

fn properties(
    raw: &BTreeMap<String, Setting>,
    expand: &Expand<'_>,
) -> Result<Properties, ConfigError> {
    let mut properties = BTreeMap::new();
    for (name, setting) in raw {
        let value = expand("kafka.properties", &Some(setting.text()))?;
        properties.insert(name.clone(), value.unwrap_or_default());
    }
    Properties::new(properties).map_err(|(name, why)| ConfigError::KafkaProperty { name, why })
}
