//! Requests to the pipeline that runs: compare the graph with the tables, and repair it.
//!
//! ```text
//! asked --taken up--> running --> done
//!   |                    |  +---> failed
//!   +--------------------+------> cancelled
//! ```
//!
//! A request is in the graph, where a command puts it and the pipeline finds it. The pipeline works on
//! one at a time, the oldest first. One that was interrupted is still running for the next life, which
//! goes on with it.
//!
//! Where a graph is made from several logs, each has a share: its own keys. Whoever applies a log does its
//! share, at any time and anywhere, and the request is done once all shares are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::change::Timestamp;

/// What is done with a difference between tables and graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It is written.
    Repair,
    /// It is reported. Nothing is written.
    Verify,
}

impl Purpose {
    /// The name in the graph, and of the command.
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Repair => "repair",
            Purpose::Verify => "verify",
        }
    }

    /// The purpose with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Purpose::Repair, Purpose::Verify].into_iter().find(|purpose| purpose.name() == name)
    }
}

/// Identifies a request among those of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub String);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody works on it yet.
    Asked,
    /// A pipeline works on it.
    Running,
    /// All is compared.
    Done,
    /// A person has ended it.
    Cancelled,
    /// It can not be done, for this reason.
    Failed(String),
}

impl State {
    /// The name in the graph. The reason of a failure is beside it.
    pub fn name(&self) -> &'static str {
        match self {
            State::Asked => "asked",
            State::Running => "running",
            State::Done => "done",
            State::Cancelled => "cancelled",
            State::Failed(_) => "failed",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str, why: Option<String>) -> Option<Self> {
        Some(match name {
            "asked" => State::Asked,
            "running" => State::Running,
            "done" => State::Done,
            "cancelled" => State::Cancelled,
            "failed" => State::Failed(why.unwrap_or_default()),
            _ => return None,
        })
    }

    /// Whether a pipeline still has to do something for it.
    pub fn is_open(&self) -> bool {
        matches!(self, State::Asked | State::Running)
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Which one it is.
    pub id: RequestId,
    /// What for.
    pub purpose: Purpose,
    /// The tables, as `schema.name`; none: all of the mapping.
    pub tables: Vec<String>,
    /// How far it is.
    pub state: State,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// What it has found so far; with shares, what all of them have.
    pub findings: Findings,
    /// The logs whose share is over, by name.
    pub shares_over: BTreeSet<String>,
}

/// What the comparison of tables and graph has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Findings {
    /// Nothing more comes.
    pub is_over: bool,
    /// For each table.
    pub tables: Vec<TableFindings>,
    /// The first rows that differ.
    pub first: Vec<RowFindings>,
}

/// What was found of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableFindings {
    /// `schema.name`.
    pub table: String,
    /// Compared rows and entities. A row that both passes saw counts twice.
    pub compared: u64,
    /// About how many there are to compare.
    pub expected: u64,
    /// Rows that differ.
    pub differing: u64,
    /// Rows that changed faster than they could be looked at.
    pub undecided: u64,
}

/// A row that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RowFindings {
    /// `schema.name`.
    pub table: String,
    /// The key as people read it: names with values.
    pub key: String,
    /// Each difference in a sentence.
    pub differences: Vec<String>,
}

impl Findings {
    /// What all shares of a request have found. It is over once they all are.
    pub fn together<'a>(shares: impl IntoIterator<Item = &'a Findings>) -> Findings {
        let mut together = Findings { is_over: true, ..Findings::default() };
        let mut tables: BTreeMap<&str, TableFindings> = BTreeMap::new();
        for share in shares {
            together.is_over &= share.is_over;
            together.first.extend(share.first.iter().cloned());
            for found in &share.tables {
                let all = tables.entry(&found.table).or_default();
                all.table.clone_from(&found.table);
                all.compared += found.compared;
                all.expected += found.expected;
                all.differing += found.differing;
                all.undecided += found.undecided;
            }
        }
        together.tables = tables.into_values().collect();
        together
    }

    /// How many rows differ.
    pub fn differing(&self) -> u64 {
        self.tables.iter().map(|table| table.differing).sum()
    }

    /// How many rows changed faster than they could be looked at.
    pub fn undecided(&self) -> u64 {
        self.tables.iter().map(|table| table.undecided).sum()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Findings {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{Findings, TableFindings};

    #[test]
    fn shares_are_over_together_and_count_together() {
        let share = |table: &str, differing, is_over| {
            let table = TableFindings { table: table.to_owned(), differing, ..Default::default() };
            Findings { is_over, tables: vec![table], first: Vec::new() }
        };
        let shares = [share("a", 1, true), share("b", 2, true), share("a", 4, false)];
        let together = Findings::together(&shares);
        let counts: Vec<_> =
            together.tables.iter().map(|it| (it.table.as_str(), it.differing)).collect();
        assert_eq!(counts, [("a", 5), ("b", 2)]);
        assert!(!together.is_over && Findings::together(&shares[..2]).is_over);
    }
}
