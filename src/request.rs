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

use std::{fmt, str::FromStr};

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
    /// What it has found so far.
    pub findings: Findings,
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
