//! How a pipeline goes on where its log does not lead on from its graph.
//!
//! A graph that follows a slot begins anew by a command: all tables are compared with it. One that follows a
//! topic is filled again, and a copy adds and corrects, it removes nothing. So the nodes of the mapping's labels
//! go first, those of tables that are not mapped any more among them, by statements that can be pasted.

use std::{collections::BTreeSet, fmt};

use crate::{catalog::quote_literal, neo4j::cypher::quote, shown::is_unseen};

/// How many nodes go in a transaction.
const ROWS: usize = 1_000;

/// What a copy again takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Again {
    /// Of a graph that follows a slot.
    FromTables,
    /// Of a graph that follows a topic, whose copy is there and right.
    FromTopic {
        /// The pipeline.
        pipeline: String,
        /// The labels of its nodes, of now and of when the graph was made.
        labels: BTreeSet<String>,
    },
    /// Of a topic and the graph that follows it: the topic's copy lacks what the tables have now, or changes that
    /// came since.
    WithTopic {
        /// The pipeline.
        pipeline: String,
        /// The labels of its nodes, of now and of when the graph was made.
        labels: BTreeSet<String>,
        /// The topics.
        topics: Written,
        /// The slot that is published.
        slot: String,
    },
    /// Of a graph that follows the topic of another pipeline, which is not this one's to delete.
    FromAnothers {
        /// The pipeline.
        pipeline: String,
        /// The labels of its nodes, of now and of when the graph was made.
        labels: BTreeSet<String>,
        /// The pipeline that publishes the topic.
        publisher: String,
    },
    /// Of a graph that follows topics of somebody else's publisher, as [`Others`](super::Others) says it.
    FromOthers(String),
    /// Of a topic, whose slot can not be used any more.
    Topic {
        /// The topics.
        topics: Written,
        /// The slot that is published.
        slot: String,
    },
    /// Of a topic whose slot has lost changes, and of the graphs that follow it: a new slot, or all of that.
    PastGap(Box<Again>),
    /// Of a topic that `publish` writes, whose slot can be used.
    TopicAlone {
        /// The topics.
        topics: Written,
        /// The brokers.
        brokers: String,
    },
}

/// The topics that `publish` writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// One has all tables.
    One(String),
    /// Each table has one, and heartbeats.
    OfTables {
        /// Their names begin with this and a dot.
        prefix: String,
        /// Their names. Empty: the tables are not known.
        names: Vec<String>,
        /// Where they are.
        brokers: String,
    },
}

impl Written {
    /// The one that says positions.
    pub fn position(&self) -> String {
        match self {
            Written::One(topic) => topic.clone(),
            Written::OfTables { prefix, .. } => format!("{prefix}.heartbeats"),
        }
    }

    /// As Kafka's own tool takes them: several as a regular expression, which matches no topic of another
    /// pipeline whose name begins with the same. Dead letters are not among them.
    pub fn pattern(&self) -> String {
        let literal = |name: &str| name.replace('.', "\\.");
        match self {
            Written::One(topic) => topic.clone(),
            Written::OfTables { prefix, names, .. } if names.is_empty() => {
                format!("'{}\\.(heartbeats|message|[^.]+\\.[^.]+)'", literal(prefix))
            }
            Written::OfTables { names, .. } => {
                let mut once: Vec<String> = Vec::new();
                for name in names.iter().map(|name| literal(name)) {
                    if !once.contains(&name) {
                        once.push(name);
                    }
                }
                format!("'{}'", once.join("|"))
            }
        }
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Written::One(topic) => write!(f, "the topic {topic}"),
            Written::OfTables { brokers, .. } => write!(
                f,
                "all topics of the pipeline: kafka-topics --bootstrap-server {brokers} --delete --topic {}",
                self.pattern()
            ),
        }
    }
}

/// What goes on with a topic whose slot has lost changes.
pub const NEW_SLOT: &str = "run `wal2graph publish --new-slot`: it makes a new slot and says in the topic which \
                            changes are missing. `wal2graph apply` then compares all tables and writes what differs";

impl Again {
    /// The same where the slot has lost changes, and nothing else stands against going on.
    pub fn past_gap(&self) -> Again {
        match self {
            Again::Topic { .. } | Again::WithTopic { .. } => Again::PastGap(Box::new(self.clone())),
            other => other.clone(),
        }
    }

    /// When the topic can stay though the mapping is another one. Empty where there is none that could.
    pub fn unless_the_topic_has_all(&self) -> &'static str {
        match self {
            Again::WithTopic { .. } => {
                ". The topic can stay only if each table that it has still has the columns and the key that it had \
                 when the topic began: tables were added, or nothing but the file was edited. Then leave out the steps \
                 in Kafka and in the source, and run `wal2graph replay --from earliest` before `wal2graph apply`"
            }
            _ => "",
        }
    }
}

/// What is said of the statement that deletes nodes.
pub(super) const NODES: &str = "(it also removes nodes of others with these labels; Neo4j's Browser wants \
                                :auto before the first)";

/// A name as Cypher takes it, on one line.
pub fn pasteable(name: &str) -> String {
    pasteable_text(&quote(name))
}

/// A text of Cypher on one line: what ends a line in a name, or is no character to be pasted, stands
/// there as its escape.
pub fn pasteable_text(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars() {
        match is_unseen(character) {
            true => line.push_str(&format!("\\u{:04X}", u32::from(character))),
            false => line.push(character),
        }
    }
    line
}

/// The statement that drops a slot, and does nothing where there is none.
pub fn drop_slot(slot: &str) -> String {
    format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = {};",
        quote_literal(slot)
    )
}

/// The statement that deletes all nodes with one of the labels, in bounded transactions.
pub fn delete_nodes(labels: &BTreeSet<String>) -> Option<String> {
    let labels: Vec<String> = labels.iter().map(|label| pasteable(label)).collect();
    let all = labels.join("|");
    (!labels.is_empty()).then(|| {
        format!("MATCH (n:{all}) CALL (n) {{ DETACH DELETE n }} IN TRANSACTIONS OF {ROWS} ROWS;")
    })
}

/// The statement that removes checkpoints and progress. A pipeline's name holds nothing but letters, digits
/// and underscores.
pub fn delete_progress(pipeline: &str) -> String {
    format!(
        "MATCH (c:_Wal2GraphCheckpoint|_Wal2GraphCopy {{pipeline: '{pipeline}'}}) DETACH DELETE c;"
    )
}

fn in_the_graph(
    f: &mut fmt::Formatter<'_>,
    pipeline: &str,
    labels: &BTreeSet<String>,
) -> fmt::Result {
    if let Some(nodes) = delete_nodes(labels) {
        write!(f, "\n    {nodes}")?;
    }
    write!(f, "\n    {}", delete_progress(pipeline))
}

fn with_topic(
    f: &mut fmt::Formatter<'_>,
    (pipeline, labels): (&str, &BTreeSet<String>),
    topics: &Written,
    slot: &str,
) -> fmt::Result {
    write!(
        f,
        "publish a new topic, which begins with a copy of now, and fill the graph from that: the topic that \
         is there lacks something for good. Stop `wal2graph publish` and every `wal2graph apply` of this \
         pipeline first.\n  \
         In Kafka, delete {topics} (or name another one with kafka.topic).\n  \
         In the source:\n    {}\n  \
         In the graph {NODES}:",
        drop_slot(slot)
    )?;
    in_the_graph(f, pipeline, labels)?;
    write!(f, "\n  Then start `wal2graph publish`, and `wal2graph apply`")
}

fn from_anothers(
    f: &mut fmt::Formatter<'_>,
    (pipeline, labels): (&str, &BTreeSet<String>),
    publisher: &str,
) -> fmt::Result {
    write!(
        f,
        "fill the graph from a new topic. Stop every `wal2graph apply` of this pipeline first. The topic \
         is one of the pipeline {publisher:?}: in the file of that, name another one (kafka.topic), stop \
         its `wal2graph publish`, drop its slot, and start `wal2graph publish` again: the new topic begins \
         with a copy. Name it here, too.\n  In the graph {NODES}:"
    )?;
    in_the_graph(f, pipeline, labels)?;
    write!(f, "\n  Then `wal2graph apply`")
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Again::FromTables => f.write_str(
                "run `wal2graph repair --new-slot`: it makes a new slot, compares all tables with the graph and writes \
                 what differs",
            ),
            Again::FromTopic { pipeline, labels } => {
                write!(
                    f,
                    "fill the graph again from the topic, for which all of this has to go first."
                )?;
                write!(f, "\n  In the graph {NODES}:")?;
                in_the_graph(f, pipeline, labels)?;
                write!(f, "\n  Then `wal2graph replay --from earliest`, and `wal2graph apply`")
            }
            Again::WithTopic { pipeline, labels, topics, slot } => {
                with_topic(f, (pipeline, labels), topics, slot)
            }
            Again::FromAnothers { pipeline, labels, publisher } => {
                from_anothers(f, (pipeline, labels), publisher)
            }
            Again::FromOthers(steps) => write!(f, "{steps}"),
            Again::TopicAlone { topics, brokers } => {
                let (it, pattern) = match topics {
                    Written::One(topic) => ("the topic", topic.clone()),
                    Written::OfTables { .. } => ("the topics", topics.pattern()),
                };
                write!(
                    f,
                    "the topic has to begin with a copy of the tables again. Stop `wal2graph publish`, delete {it}\n  \
                     \x20 \
                     kafka-topics --bootstrap-server {brokers} --delete --topic {pattern}\n  \
                     (or name another one with kafka.topic), and start `wal2graph publish` again."
                )
            }
            Again::PastGap(again) => write!(f, "{NEW_SLOT}. Or {again}"),
            Again::Topic { topics, slot } => {
                write!(
                    f,
                    "delete {topics} (or name another one with kafka.topic), run in the source\n    {}\n  \
                     and publish again: the topic then begins with a copy of the tables. Fill a graph of its own from \
                     it: the one before keeps rows that were deleted meanwhile",
                    drop_slot(slot)
                )
            }
        }
    }
}
