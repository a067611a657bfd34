//! The graph: whether it is this mapping's, and free for a first copy.

use std::{collections::BTreeMap, fmt};

use crate::shown::{Shown, shown_list};

use super::{Again, again::delete_nodes};

/// Why the graph does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphRefusal {
    /// It was made with another mapping.
    #[error(
        "the mapping has changed since the graph was made: {}. {}",
        changes(what),
        self.fix()
    )]
    MappingChanged {
        /// What is known of it, table by table.
        what: Vec<String>,
        /// What a copy again takes.
        again: Again,
    },
    /// It was made through another log.
    #[error("the graph was made through {other}, not {log}: {}", self.fix())]
    OtherLog {
        /// What it was made through.
        other: String,
        /// What is named.
        log: String,
        /// What a copy again takes.
        again: Again,
    },
    /// `run` follows a slot, and the graph follows a topic.
    #[error("the graph follows the topic {topic}, not a slot: {}", self.fix())]
    OfTopic {
        /// One of its topics.
        topic: String,
    },
    /// A first copy would meet rows that nobody removes.
    #[error(
        "the graph has no checkpoint of this pipeline, and holds nodes under its labels: {}. {}",
        counted(.0), self.fix()
    )]
    HoldsRows(Vec<(String, u64)>),
    /// Another pipeline has the same labels in the same graph.
    #[error(
        "{}: both would write the same nodes. {}",
        shared(.0), self.fix()
    )]
    SharedLabels(Vec<(String, String)>),
    /// A constraint or an index can not be made.
    #[error(transparent)]
    Schema(#[from] Obstacle),
}

impl GraphRefusal {
    /// What to do: its text ends with it.
    pub fn fix(&self) -> String {
        match self {
            GraphRefusal::MappingChanged { again, .. } => format!(
                "What is new can be left out, in the file that -c names, and the graph goes on as it is: a table by \
                 `tables: {{SCHEMA.TABLE: {{skip: true}}}}`, a column by `tables: {{SCHEMA.TABLE: {{properties: \
                 {{exclude: [COLUMN]}}}}}}`; `wal2graph plan` shows what is mapped now. That is right only if the \
                 table or the column is new: a table that was a partition of a mapped one took its rows away from that \
                 (DETACH PARTITION), and the graph still has them. An edit of the configuration can be taken back. Of \
                 anything else, {again}{}",
                again.unless_the_topic_has_all()
            ),
            GraphRefusal::OtherLog { again, .. } => format!("name that one, or {again}"),
            GraphRefusal::OfTopic { .. } => {
                "`wal2graph publish` and `wal2graph apply` go on with it. To go back to `wal2graph run`, stop both; \
                 then `wal2graph destroy --graph` removes the pipeline and its nodes (it lists them and asks), and \
                 `wal2graph run` copies the tables"
                    .to_owned()
            }
            GraphRefusal::HoldsRows(labels) => format!(
                "Start with `--into-existing-graph`: `run` takes over those with a row's key, and removes the others. \
                 `apply` takes over the same, and keeps the others: delete those that must go before ({})",
                delete(labels)
            ),
            GraphRefusal::SharedLabels(_) => {
                "Give the tables of one of them labels of their own (`tables: {SCHEMA.TABLE: {label: NAME}}`), or \
                 name another database of Neo4j (`graph.database`). If this pipeline is the other one under a new \
                 name, remove that first: `wal2graph destroy --pipeline NAME`. If both are meant to write them, and \
                 no row of one has the key of a row of the other, start with `--into-existing-graph`"
                    .to_owned()
            }
            GraphRefusal::Schema(obstacle) => obstacle.fix(),
        }
    }
}

fn shared(labels: &[(String, String)]) -> String {
    let mut by_pipeline: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (label, pipeline) in labels {
        by_pipeline.entry(pipeline).or_default().push(label);
    }
    let text = |(pipeline, labels): (&str, Vec<&str>)| {
        format!("the pipeline {pipeline} has the labels {} in this graph, too", shown_list(&labels))
    };
    by_pipeline.into_iter().map(text).collect::<Vec<_>>().join("; ")
}

/// How many changes are named.
const NAMED_MAX: usize = 10;

fn changes(what: &[String]) -> String {
    let named = what.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join("; ");
    match what.len().checked_sub(NAMED_MAX) {
        _ if what.is_empty() => {
            "a table or a column was added, dropped or altered, or the configuration was edited"
                .to_owned()
        }
        Some(more @ 1..) => format!("{named}; and {more} more"),
        _ => named,
    }
}

fn counted(labels: &[(String, u64)]) -> String {
    let counts = labels.iter().map(|(label, count)| format!("{count} of {}", Shown(label)));
    counts.collect::<Vec<_>>().join(", ")
}

fn delete(labels: &[(String, u64)]) -> String {
    let labels = labels.iter().map(|(label, _)| label.clone()).collect();
    delete_nodes(&labels).unwrap_or_default()
}

/// What stands where a constraint or an index has to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// An index of somebody else's.
    #[error(
        "the index {name:?} is in the place of a uniqueness constraint, which brings an index of its own. {}",
        self.fix()
    )]
    Index {
        /// Its name.
        name: String,
        /// Its name as Cypher takes it.
        quoted: String,
    },
    /// Something else has the name.
    #[error("{name:?} exists in the graph and is something else. {}", self.fix())]
    NameTaken {
        /// The name.
        name: String,
        /// The statement that drops it.
        drop: String,
        /// The statement that is needed.
        needed: String,
    },
    /// Values that have to be unique are not.
    #[error(
        "{values} values of ({properties}) are shared by several {of}: they must be unique. {}",
        self.fix()
    )]
    SharedValues {
        /// How many values.
        values: u64,
        /// Of which properties.
        properties: String,
        /// By what.
        of: Holders,
        /// The statement that is needed.
        needed: String,
    },
}

impl Obstacle {
    /// Whether a repair takes it away.
    pub fn is_repaired(&self) -> bool {
        matches!(self, Obstacle::SharedValues { of: Holders::Nodes(_), .. })
    }

    /// What it is, without what to do.
    pub fn what(&self) -> String {
        let text = self.to_string();
        text.strip_suffix(&format!(". {}", self.fix())).map(str::to_owned).unwrap_or(text)
    }

    /// What to do: its text ends with it.
    pub fn fix(&self) -> String {
        match self {
            Obstacle::Index { quoted, .. } => {
                format!("Drop it; queries then use the new one: DROP INDEX {quoted}")
            }
            Obstacle::NameTaken { drop, needed, .. } => {
                format!("Drop it: {drop}; what is needed: {needed}")
            }
            Obstacle::SharedValues { needed, .. } => format!(
                "Remove the duplicates from the graph, or give the table another name there (label or type in \
                 `tables`); the constraint that is needed: {needed}"
            ),
        }
    }
}

/// What has a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holders {
    /// Nodes with this label.
    Nodes(String),
    /// Relationships of this type.
    Relationships(String),
}

impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holders::Nodes(label) => write!(f, "nodes with the label {}", Shown(label)),
            Holders::Relationships(of) => write!(f, "relationships of the type {}", Shown(of)),
        }
    }
}
