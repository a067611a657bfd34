//! How a graph is filled again from a topic that somebody else writes, as Debezium does.
//!
//! Such a topic has all rows only if its publisher snapshots them into it: a topic that was deleted is made again by
//! the next change, and has nothing but changes then. So the rows go from the graph first, the snapshot comes next,
//! and the topic is read from its beginning last.
//!
//! Where the topic has one table, the others stay. What refers to that table loses its relationships with the rows,
//! so the tables that refer to it are snapshotted, too: what `apply` reads of them next makes the relationships
//! again.

use std::{collections::BTreeSet, fmt};

use crate::{
    graph::model::{Model, Shape, TableIndex},
    shown::shown_list,
};

use super::again::{NODES, delete_nodes, delete_progress};

/// How a graph is filled again from a topic of somebody else's publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Others {
    /// The pipeline.
    pub pipeline: String,
    /// The topic.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// It begins with a row of a snapshot.
    pub begins_with_snapshot: bool,
    /// What goes from the graph.
    pub emptied: Emptied,
}

/// What goes from the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Emptied {
    /// The rows of the topic's only table.
    Table {
        /// Its name.
        table: String,
        /// Its nodes' label.
        label: String,
        /// The other tables that refer to it.
        referring: Vec<String>,
    },
    /// The rows of all tables: it is not known which table the topic has, or its rows are relationships.
    Everything {
        /// The labels of the nodes.
        labels: BTreeSet<String>,
    },
}

impl Emptied {
    /// For a topic of this table.
    pub fn of_table(model: &Model, table: TableIndex) -> Option<Self> {
        let Shape::Node(node) = &model.table(table).shape else { return None };
        let owners = model.references_to(table).map(|(owner, ..)| owner);
        let joins = model.joins_at(table).map(|(join, _)| join);
        let referring: BTreeSet<TableIndex> =
            owners.chain(joins).filter(|it| *it != table).collect();
        let name = |table: TableIndex| model.table(table).name.clone();
        Some(Emptied::Table {
            table: name(table),
            label: node.label.clone(),
            referring: referring.into_iter().map(name).collect(),
        })
    }
}

impl Others {
    /// How the topic begins with a snapshot again.
    pub fn republish(&self) -> String {
        format!(
            "delete the topic {}, and let its publisher make it anew with a snapshot (with Debezium: a connector with \
             new offsets)",
            self.topic
        )
    }

    /// The tables that the publisher has to snapshot, in words; `None`: there is none.
    fn lacking(&self) -> Option<String> {
        let Emptied::Table { table, referring, .. } = &self.emptied else {
            return Some("all tables".to_owned());
        };
        let referring = (!referring.is_empty()).then(|| shown_list(referring));
        match (self.begins_with_snapshot, referring) {
            (true, None) => None,
            (true, Some(referring)) => {
                Some(format!("the tables that refer to {table}: {referring}"))
            }
            (false, None) => Some(shown_list(&[table])),
            (false, Some(referring)) => Some(format!(
                "{}, and the tables that refer to it: {referring}",
                shown_list(&[table])
            )),
        }
    }

    fn in_the_graph(&self) -> Vec<String> {
        match &self.emptied {
            Emptied::Everything { labels } => {
                delete_nodes(labels).into_iter().chain([delete_progress(&self.pipeline)]).collect()
            }
            Emptied::Table { label, .. } => {
                let nodes = delete_nodes(&BTreeSet::from([label.clone()]));
                // Rows of the table may have been all that held them.
                let placeholders = "MATCH (n:_Placeholder) WHERE NOT EXISTS { (n)--() } DELETE n;";
                let checkpoint = format!(
                    "MATCH (c:_Wal2GraphCheckpoint {{pipeline: '{}', topic: '{}'}}) DELETE c;",
                    self.pipeline, self.topic
                );
                nodes.into_iter().chain([placeholders.to_owned(), checkpoint]).collect()
            }
        }
    }

    fn commands(&self) -> Vec<String> {
        // Only its user knows that a topic has a snapshot that it does not begin with.
        let yes = match (&self.emptied, self.begins_with_snapshot) {
            (Emptied::Table { .. }, true) => "",
            _ => " --yes",
        };
        let partitions = match self.emptied {
            Emptied::Everything { .. } => vec![String::new()],
            Emptied::Table { .. } => {
                let name = |partition| format!(" --partition {}/{partition}", self.topic);
                (0..self.partitions).map(name).collect()
            }
        };
        let replay = |partition| format!("wal2graph replay --from earliest{partition}{yes}");
        partitions.into_iter().map(replay).chain(["wal2graph apply".to_owned()]).collect()
    }
}

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stop every `wal2graph apply` of this pipeline.\n  In the graph {NODES}:")?;
        self.in_the_graph().iter().try_for_each(|statement| write!(f, "\n    {statement}"))?;
        match self.lacking() {
            Some(tables) => write!(
                f,
                "\n  Then let the publisher snapshot {tables} (with Debezium: send the signal execute-snapshot, or \
                 start a connector with new offsets). Without this the graph lacks rows. When the topics have all of \
                 them:"
            )?,
            None => write!(f, "\n  Then:")?,
        }
        self.commands().iter().try_for_each(|command| write!(f, "\n    {command}"))
    }
}
