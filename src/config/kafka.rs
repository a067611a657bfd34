//! Kafka between, for `publish` and `apply`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    catalog::TableName,
    cli::Global,
    envelope::{BinaryHandling, DecimalHandling, DecodeOptions, Format, TimePrecision},
    kafka::{
        Ack, Decoding, NewTopic, Options, Properties, PropertyRefused, Retention, TopicsBy,
        Unreadable,
    },
    topic::{TopicName, TopicsPattern},
};

use super::{ConfigError, Expand, duration};

/// Every partition gets a heartbeat with every batch. More partitions cost more than they gain.
const PARTITIONS_MAX: u16 = 1_000;

/// Kafka between, for `publish` and `apply`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawKafka {
    /// `HOST:PORT`, several with commas between.
    pub brokers: Option<String>,
    /// The topic. Default: `wal2graph.` and the pipeline's name. With `topics_by: table`, what the
    /// names of the topics begin with.
    pub topic: Option<String>,
    /// What has a topic of its own: the `pipeline`, or each `table`, as with Debezium
    /// (`<topic>.<schema>.<table>`), and heartbeats (`<topic>.heartbeats`). Default: `pipeline`.
    pub topics_by: Option<TopicsBy>,
    /// Instead of `topic`, for `apply` alone: the topics of somebody else's publisher. Debezium has
    /// one for each table.
    pub topics: Option<Vec<String>>,
    /// Instead of `topic`, for `apply` alone: a regular expression for the whole names of somebody else's topics,
    /// which end in `.<schema>.<table>`. Topics that come later are read, too.
    pub topics_pattern: Option<String>,
    /// The consumer group of `apply`. Default: `wal2graph-` and the pipeline's name.
    pub group: Option<String>,
    /// When the source's log is released: `graph` when the graph has it, `kafka` when Kafka has it.
    /// Default: `graph`.
    pub ack: Option<Ack>,
    /// How `publish` writes records: `json`, or `json-schema` with Kafka Connect's schema blocks.
    /// `apply` reads both. Default: `json`.
    pub format: Option<Format>,
    /// Whether `publish` writes the logical messages of transactions (`pg_logical_emit_message`), as
    /// Debezium does; `apply` passes them over. Default: false.
    pub messages: Option<bool>,
    /// How many partitions the topic gets when it is made, 1 to 1000. Default: 1, which keeps
    /// transactions whole and in their order. With more, each key has its partition.
    pub partitions: Option<u16>,
    /// How many brokers keep each record, when the topic is made. Default: the cluster's.
    pub replication_factor: Option<u16>,
    /// How long records are kept, when the topic is made: `7d`, `36h`, or `forever`. Default: the
    /// cluster's.
    pub retention: Option<String>,
    /// What `apply` does with a record that is no envelope: `stop`, or `park` it as a dead letter and
    /// go on. Default: `stop`.
    pub unreadable: Option<RawUnreadable>,
    /// The topic for dead letters. Default: the topic's name and `.dead-letters`.
    #[serde(alias = "parking_topic")]
    pub dead_letter_topic: Option<String>,
    /// How Debezium writes values, for records of its own that have no schema block.
    pub debezium: RawDebezium,
    /// librdkafka's own settings, by their names there: `security.protocol`, `sasl.password`,
    /// `ssl.ca.location`, `compression.type`.
    pub properties: BTreeMap<String, Setting>,
    /// The file that has the token for `sasl.mechanism: OAUTHBEARER`. Another program keeps a fresh one in
    /// it; it is read again before each token runs out.
    pub oauth_token_file: Option<String>,
}

/// What `apply` does with a record that is no envelope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawUnreadable {
    /// It stops.
    #[default]
    Stop,
    /// It goes to the dead-letter topic as it is, and what is behind it is applied.
    Park,
}

/// Settings of Debezium's connector, as they are there.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawDebezium {
    /// Its `decimal.handling.mode`. Default: `precise`.
    pub decimal_handling_mode: DecimalHandling,
    /// Its `time.precision.mode`. Default: `adaptive`.
    pub time_precision_mode: TimePrecision,
    /// Its `binary.handling.mode`. Default: `bytes`.
    pub binary_handling_mode: BinaryHandling,
    /// What its records are: `envelopes`, or `rows` where the transform `ExtractNewRecordState` has taken
    /// these off. Default: `envelopes`.
    pub records: RawRecords,
    /// With `records: rows`, the tables of topics that are not named after them (`PREFIX.SCHEMA.TABLE`):
    /// `TOPIC: SCHEMA.TABLE`.
    pub tables: BTreeMap<String, String>,
}

/// What the records of Debezium are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawRecords {
    /// Envelopes.
    #[default]
    Envelopes,
    /// Rows without them.
    Rows,
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
    /// As librdkafka takes it.
    pub(super) fn text(&self) -> String {
        match self {
            Setting::Flag(flag) => flag.to_string(),
            Setting::Number(number) => number.to_string(),
            Setting::Text(text) => text.clone(),
        }
    }
}

/// Combines file and flag; `None` if neither mentions Kafka.
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
    let topics = topics(raw, pipeline, expand)?;
    let pattern = pattern(raw, expand)?;
    let group =
        expand("kafka.group", &raw.group)?.unwrap_or_else(|| format!("wal2graph-{pipeline}"));
    if group.is_empty() {
        return Err(ConfigError::NoGroup);
    }
    if let Some(partitions) = raw.partitions.filter(|it| !(1..=PARTITIONS_MAX).contains(it)) {
        return Err(ConfigError::Partitions(partitions));
    }
    let retention = expand("kafka.retention", &raw.retention)?.map(retention).transpose()?;
    let (partitions, replication_factor) = (raw.partitions, raw.replication_factor);
    let new_topic = NewTopic { partitions, replication_factor, retention };
    let unreadable = unreadable(raw, &topics, expand)?;
    let are_foreign = raw.topics.is_some() || pattern.is_some();
    let decoding = decoding(&raw.debezium, are_foreign)?;
    let oauth_token_file = expand("kafka.oauth_token_file", &raw.oauth_token_file)?;
    let oauth_token_file = oauth_token_file.map(PathBuf::from);
    let properties = properties(&raw.properties, oauth_token_file.is_some(), expand)?;
    let (ack, format) = (raw.ack.unwrap_or_default(), raw.format.unwrap_or_default());
    let topic = topics[0].clone();
    Ok(Some(Options {
        brokers,
        topic,
        topics_by: raw.topics_by.unwrap_or_default(),
        topics,
        are_foreign,
        pattern,
        group,
        ack,
        format,
        messages: raw.messages.unwrap_or_default(),
        new_topic,
        unreadable,
        decoding,
        properties,
        oauth_token_file,
    }))
}

fn decoding(raw: &RawDebezium, are_foreign: bool) -> Result<Decoding, ConfigError> {
    let values = DecodeOptions {
        decimal_handling: raw.decimal_handling_mode,
        time_precision: raw.time_precision_mode,
        binary_handling: raw.binary_handling_mode,
    };
    let rows = match (raw.records, are_foreign) {
        (RawRecords::Rows, false) => return Err(ConfigError::RowsOfPublish),
        (RawRecords::Envelopes, _) if !raw.tables.is_empty() => {
            return Err(ConfigError::TablesUnused);
        }
        (RawRecords::Envelopes, _) => None,
        (RawRecords::Rows, true) => {
            let table = |(topic, table): (&String, &String)| match table.split_once('.') {
                Some((schema, name)) => Ok((topic.clone(), TableName::new(schema, name))),
                None => {
                    Err(ConfigError::TableOfTopic { topic: topic.clone(), table: table.clone() })
                }
            };
            Some(raw.tables.iter().map(table).collect::<Result<_, _>>()?)
        }
    };
    Ok(Decoding { values, rows })
}

/// The topics: at least one.
fn topics(
    raw: &RawKafka,
    pipeline: &str,
    expand: &Expand<'_>,
) -> Result<Vec<TopicName>, ConfigError> {
    let named = expand("kafka.topic", &raw.topic)?;
    if raw.topics_by == Some(TopicsBy::Table) && raw.topics.is_some() {
        return Err(ConfigError::TopicsOfTablesAndOthers);
    }
    let names = match (named, &raw.topics) {
        (Some(_), Some(_)) => return Err(ConfigError::TopicAndTopics),
        (Some(name), None) => vec![name],
        (None, None) => vec![format!("wal2graph.{pipeline}")],
        (None, Some(names)) if names.is_empty() => return Err(ConfigError::NoTopics),
        (None, Some(names)) => {
            let each = names.iter().map(|name| expand("kafka.topics", &Some(name.clone())));
            each.map(|name| name.map(Option::unwrap_or_default)).collect::<Result<_, _>>()?
        }
    };
    let key = if raw.topics.is_none() { "kafka.topic" } else { "kafka.topics" };
    let mut topics: Vec<TopicName> = Vec::with_capacity(names.len());
    for name in names {
        let topic = topic_name(key, name)?;
        if topics.contains(&topic) {
            return Err(ConfigError::TopicTwice(topic));
        }
        topics.push(topic);
    }
    Ok(topics)
}

/// The pattern of topics, which no names stand beside.
fn pattern(raw: &RawKafka, expand: &Expand<'_>) -> Result<Option<TopicsPattern>, ConfigError> {
    let Some(text) = expand("kafka.topics_pattern", &raw.topics_pattern)? else { return Ok(None) };
    if text.is_empty() {
        return Err(ConfigError::NoPattern);
    }
    let is_by_table = raw.topics_by == Some(TopicsBy::Table);
    if raw.topic.is_some() || raw.topics.is_some() || is_by_table {
        return Err(ConfigError::PatternAndTopics);
    }
    let wrong = |cause| ConfigError::TopicsPattern { pattern: text.clone(), cause };
    TopicsPattern::new(&text).map(Some).map_err(wrong)
}

/// The same options with these topics.
pub(super) fn reading(options: &Options, topics: Vec<TopicName>) -> Result<Options, ConfigError> {
    if let Unreadable::Park(dead_letters) = &options.unreadable
        && topics.contains(dead_letters)
    {
        return Err(ConfigError::DeadLettersAreRead(dead_letters.clone()));
    }
    Ok(Options { topics, ..options.clone() })
}

fn topic_name(key: &'static str, name: String) -> Result<TopicName, ConfigError> {
    let Some(name) = TopicName::new(&name) else { return Err(ConfigError::Topic { key, name }) };
    match name.is_kafkas() {
        true => Err(ConfigError::KafkasTopic { key, name }),
        false => Ok(name),
    }
}

fn unreadable(
    raw: &RawKafka,
    topics: &[TopicName],
    expand: &Expand<'_>,
) -> Result<Unreadable, ConfigError> {
    let named = expand("kafka.dead_letter_topic", &raw.dead_letter_topic)?;
    match (raw.unreadable.unwrap_or_default(), named) {
        (RawUnreadable::Stop, None) => Ok(Unreadable::Stop),
        (RawUnreadable::Stop, Some(_)) => Err(ConfigError::DeadLettersUnused),
        (RawUnreadable::Park, named) => {
            let name = named.unwrap_or_else(|| format!("{}.dead-letters", topics[0]));
            let topic = topic_name("kafka.dead_letter_topic", name)?;
            match topics.contains(&topic) {
                true => Err(ConfigError::DeadLettersAreRead(topic)),
                false => Ok(Unreadable::Park(topic)),
            }
        }
    }
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

/// librdkafka's own settings.
pub(super) fn properties(
    raw: &BTreeMap<String, Setting>,
    has_tokens: bool,
    expand: &Expand<'_>,
) -> Result<Properties, ConfigError> {
    let mut properties = BTreeMap::new();
    for (name, setting) in raw {
        let value = expand("kafka.properties", &Some(setting.text()))?;
        properties.insert(name.clone(), value.unwrap_or_default());
    }
    Properties::new(properties, has_tokens).map_err(|refused| match refused {
        PropertyRefused::Ours { name, why } => ConfigError::KafkaProperty { name, why },
        PropertyRefused::LogIn { name, why } => ConfigError::KafkaLogIn { name, why },
    })
}
