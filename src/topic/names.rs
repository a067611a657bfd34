//! The names of topics; those where each table has one.
//!
//! ```text
//! <prefix>.<schema>.<table>    a table's records; characters that Kafka does not take are `_`, as Debezium has it
//! <prefix>.heartbeats          heartbeats: no table's topic has this name, since theirs have two parts
//! <prefix>.message             logical messages, if they are published, as Debezium has it
//! ```
//!
//! Kafka treats names that differ only in `.` and `_` as the same, and refuses to make the second topic.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use regex::Regex;

use crate::catalog::TableName;

/// The longest name that Kafka takes for a topic, in bytes.
const TOPIC_BYTES_MAX: usize = 249;
/// What the topic of heartbeats is called, behind the prefix.
const HEARTBEATS: &str = "heartbeats";
/// What the topic of logical messages is called, behind the prefix.
const MESSAGES: &str = "message";

/// A name that Kafka takes for a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicName(String);

/// Topics that brokers make for themselves.
const KAFKAS_TOPICS: [&str; 4] =
    ["__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata"];

impl TopicName {
    /// `None` if Kafka would not take it: 1 to 249 of a-z, A-Z, 0-9, `.`, `_` and `-`.
    pub fn new(name: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let fits = (1..=TOPIC_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed);
        (fits && name != "." && name != "..").then(|| TopicName(name.to_owned()))
    }

    /// Whether Kafka keeps something of its own in it.
    pub fn is_kafkas(&self) -> bool {
        KAFKAS_TOPICS.contains(&self.0.as_str())
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

/// A regular expression for whole names of topics.
#[derive(Clone, Debug)]
pub struct TopicsPattern {
    text: String,
    whole: Regex,
}

impl TopicsPattern {
    /// # Errors
    /// It is no regular expression, and why.
    pub fn new(text: &str) -> Result<Self, String> {
        // The error names the text of the file, without the anchors.
        Regex::new(text).map_err(|error| error.to_string())?;
        let whole = Regex::new(&format!("^(?:{text})$")).map_err(|error| error.to_string())?;
        Ok(TopicsPattern { text: text.to_owned(), whole })
    }

    /// It matches the whole name.
    pub fn matches(&self, topic: &str) -> bool {
        self.whole.is_match(topic)
    }
}

impl fmt::Display for TopicsPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The topics of a pipeline where each table has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableTopics {
    /// Heartbeats are in it.
    pub heartbeats: TopicName,
    /// The tables with their topics, by name.
    pub tables: BTreeMap<TableName, TopicName>,
}

/// The topics of others that are read: those that a pattern matches, and whose name ends in a mapped table's.
#[derive(Clone, Debug)]
pub struct Matching {
    pattern: TopicsPattern,
    /// `.<schema>.<table>` of each.
    endings: Vec<String>,
    /// Those that the file names a mapped table of.
    named: BTreeSet<String>,
}

/// What a topic is to a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// It is read.
    Table,
    /// The pattern matches, and no mapped table has this name.
    NoTable,
    /// It is another one.
    No,
}

impl Matching {
    /// For these tables.
    pub fn new<'a>(
        pattern: &TopicsPattern,
        tables: impl IntoIterator<Item = &'a TableName>,
    ) -> Self {
        let ending = |it: &TableName| format!(".{}.{}", allowed(&it.schema), allowed(&it.name));
        let endings = tables.into_iter().map(ending).collect();
        Matching { pattern: pattern.clone(), endings, named: BTreeSet::new() }
    }

    /// The same, and these are of mapped tables, whatever their names end in.
    pub fn naming(self, named: BTreeSet<String>) -> Self {
        Matching { named, ..self }
    }

    /// What a topic is.
    pub fn of(&self, topic: &str) -> Match {
        match self.pattern.matches(topic) {
            false => Match::No,
            true if self.named.contains(topic) => Match::Table,
            true if self.endings.iter().any(|ending| topic.ends_with(ending)) => Match::Table,
            true => Match::NoTable,
        }
    }
}

/// A table can not have a topic of its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameRefused {
    /// Its name is too long.
    #[error(
        "{}: its topic {topic} would have a name of {} bytes, and Kafka takes {TOPIC_BYTES_MAX}. Give kafka.topic a \
         shorter name, or set topics_by: pipeline",
        .table.pasteable(), .topic.len()
    )]
    TooLong {
        /// The table.
        table: TableName,
        /// The name.
        topic: String,
    },
    /// Another table's is the same to Kafka.
    #[error(
        "{} and {}: their topics would be {} and {}, which are one name to Kafka (`.` and `_` are the same there, and \
         what is no letter or digit of ASCII becomes `_`). Rename one of the tables, leave one out \
         (tables: {{skip: true}}), or set topics_by: pipeline",
        .other.pasteable(), .table.pasteable(), .topics[0], .topics[1]
    )]
    Collision {
        /// The table.
        table: TableName,
        /// The table that has the name already.
        other: TableName,
        /// The topic of that, and its own.
        topics: Box<[TopicName; 2]>,
    },
}

impl TableTopics {
    /// The topics of these tables.
    ///
    /// # Errors
    /// Two tables would have one topic, or one could not have any.
    pub fn new<'a>(
        prefix: &TopicName,
        tables: impl IntoIterator<Item = &'a TableName>,
    ) -> Result<Self, NameRefused> {
        let mut topics = TableTopics { heartbeats: heartbeats(prefix)?, tables: BTreeMap::new() };
        let mut taken: BTreeMap<String, (TableName, TopicName)> = BTreeMap::new();
        for table in tables {
            let topic = topic_of(prefix, table)?;
            // Kafka's own rule for metrics, which have no `.` in them.
            match taken.get(&same_to_kafka(&topic)) {
                Some((other, _)) if other == table => continue,
                Some((other, other_topic)) => {
                    return Err(NameRefused::Collision {
                        table: table.clone(),
                        other: other.clone(),
                        topics: Box::new([other_topic.clone(), topic]),
                    });
                }
                None => taken.insert(same_to_kafka(&topic), (table.clone(), topic.clone())),
            };
            topics.tables.insert(table.clone(), topic);
        }
        Ok(topics)
    }

    /// All of them, that of heartbeats first.
    pub fn all(&self) -> impl Iterator<Item = &TopicName> {
        std::iter::once(&self.heartbeats).chain(self.tables.values())
    }
}

/// The topic of heartbeats.
pub fn heartbeats(prefix: &TopicName) -> Result<TopicName, NameRefused> {
    of_no_table(prefix, HEARTBEATS)
}

/// The topic of logical messages.
pub fn messages(prefix: &TopicName) -> Result<TopicName, NameRefused> {
    of_no_table(prefix, MESSAGES)
}

fn of_no_table(prefix: &TopicName, name: &str) -> Result<TopicName, NameRefused> {
    let topic = format!("{prefix}.{name}");
    let table = || TableName::new("wal2graph", name);
    TopicName::new(&topic).ok_or_else(|| NameRefused::TooLong { table: table(), topic })
}

fn topic_of(prefix: &TopicName, table: &TableName) -> Result<TopicName, NameRefused> {
    let topic = format!("{prefix}.{}.{}", allowed(&table.schema), allowed(&table.name));
    TopicName::new(&topic).ok_or_else(|| NameRefused::TooLong { table: table.clone(), topic })
}

/// Debezium puts an underscore for each UTF-16 unit: a character beyond 16 bits has two.
fn allowed(name: &str) -> String {
    let mut allowed = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => allowed.push(character),
            other => (0..other.len_utf16()).for_each(|_| allowed.push('_')),
        }
    }
    allowed
}

fn same_to_kafka(topic: &TopicName) -> String {
    topic.as_str().replace('.', "_")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pattern_takes_whole_names_that_end_in_a_mapped_table() {
        let pattern = TopicsPattern::new("shop\\..*|other").unwrap();
        let tables = [TableName::new("public", "orders"), TableName::new("s", "a b")];
        let matching = Matching::new(&pattern, &tables);
        for (topic, expected) in [
            ("shop.public.orders", Match::Table),
            ("shop.s.a_b", Match::Table),
            ("shop.public.reorders", Match::NoTable),
            ("shop.heartbeats", Match::NoTable),
            ("other", Match::NoTable),
            ("shop", Match::No),
            ("myshop.public.orders", Match::No),
            ("other.public.orders", Match::No),
        ] {
            assert_eq!(matching.of(topic), expected, "{topic}");
        }
        let named = matching.naming(BTreeSet::from(["other".to_owned(), "elsewhere".to_owned()]));
        assert_eq!([named.of("other"), named.of("elsewhere")], [Match::Table, Match::No]);
        assert!(TopicsPattern::new("a(").is_err());
    }

    fn topics(tables: &[(&str, &str)]) -> Result<Vec<String>, NameRefused> {
        let prefix = TopicName::new("wal2graph.shop").unwrap();
        let tables: Vec<TableName> =
            tables.iter().map(|(schema, name)| TableName::new(*schema, *name)).collect();
        let topics = TableTopics::new(&prefix, &tables)?;
        Ok(topics.all().map(|topic| topic.as_str().to_owned()).collect())
    }

    #[test]
    fn a_tables_topic_has_the_name_that_debezium_gives_it() {
        let named = topics(&[("public", "orders"), ("public", "Größe und $"), ("s", "😀")]);
        assert_eq!(
            named.unwrap(),
            [
                "wal2graph.shop.heartbeats",
                "wal2graph.shop.public.Gr__e_und__",
                "wal2graph.shop.public.orders",
                "wal2graph.shop.s.__"
            ]
        );
    }

    #[test]
    fn names_that_are_one_to_kafka_are_refused() {
        for pair in [
            [("public", "a b"), ("public", "a_b")],
            [("a", "b_c"), ("a_b", "c")],
            [("public", "a.b"), ("public", "a_b")],
        ] {
            let refused = topics(&pair).unwrap_err();
            assert!(matches!(refused, NameRefused::Collision { .. }), "{pair:?}: {refused}");
        }
        assert!(topics(&[("public", "a"), ("public", "A")]).is_ok());
        assert!(topics(&[("public", "a"), ("public", "a")]).is_ok(), "it is one table");
    }

    #[test]
    fn a_name_that_kafka_does_not_take_is_refused() {
        let prefix = TopicName::new(&"p".repeat(230)).unwrap();
        let table = TableName::new("public", "a_table_of_length");
        let refused = TableTopics::new(&prefix, [&table]).unwrap_err();
        assert!(matches!(refused, NameRefused::TooLong { .. }), "{refused}");
        assert!(refused.to_string().contains("kafka.topic"), "{refused}");
    }
}
