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
//! goes on with it. One that is done stays without its rows' values, until the next one is done: it says
//! when the graph was compared last.
//!
//! Where a graph is made from several logs, each has a share: its own keys. Whoever applies a log does its
//! share, at any time and anywhere, and the request is done once all shares are.

use std::{collections::BTreeSet, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{change::Timestamp, shown::shown_list};

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

/// What the names of repairs begin with that nobody has asked for.
const OWED: &str = "owed-";

impl RequestId {
    /// The name of a repair that nobody has asked for: the graph is owed it.
    pub fn owed(self) -> Self {
        RequestId(format!("{OWED}{}", self.0))
    }

    /// Whether the graph is owed it.
    pub fn is_owed(&self) -> bool {
        self.0.starts_with(OWED)
    }
}

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

/// The rows that a request is about, if it is not about all of its tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Rows {
    /// Those of the one table with these keys, by the texts of their columns.
    Keys(Vec<Vec<String>>),
    /// Those of these dead letters: they are compared with their tables, and written.
    Retried {
        /// The letters' names.
        retried: BTreeSet<String>,
    },
    /// Those of these dead letters: they are as good as written. Nothing is compared.
    Dropped {
        /// The letters' names.
        dropped: BTreeSet<String>,
    },
}

impl Rows {
    /// How many.
    pub fn count(&self) -> usize {
        match self {
            Rows::Keys(keys) => keys.len(),
            Rows::Retried { retried: names } | Rows::Dropped { dropped: names } => names.len(),
        }
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
    /// Which rows; `None`: all.
    pub rows: Option<Rows>,
    /// How far it is.
    pub state: State,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When its state or its findings changed last.
    pub updated_at: Timestamp,
    /// What it has found so far; with shares, what all of them have.
    pub findings: Findings,
    /// The logs whose share is over, by name.
    pub shares_over: BTreeSet<String>,
}

impl Request {
    /// A request that is asked now.
    pub fn new(id: RequestId, purpose: Purpose, tables: Vec<String>, now: Timestamp) -> Self {
        let (state, findings) = (State::Asked, Findings::default());
        let (asked_at, updated_at, shares_over) = (now, now, BTreeSet::new());
        Request {
            id,
            purpose,
            tables,
            rows: None,
            state,
            asked_at,
            updated_at,
            findings,
            shares_over,
        }
    }

    /// Whether it names tables, and none but such ones.
    pub fn is_of(&self, is_such: impl Fn(&String) -> bool) -> bool {
        !self.tables.is_empty() && self.tables.iter().all(is_such)
    }
}

/// A request as people and pages see it, without a row's values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RequestStatus {
    /// `verify` or `repair`.
    pub purpose: &'static str,
    /// The tables; none: all of the mapping.
    pub tables: Vec<String>,
    /// How many rows of the tables; all if it is left out.
    pub rows: Option<usize>,
    /// `asked`, `running` or `done`.
    pub state: &'static str,
    /// When it was asked.
    pub asked_at: String,
    /// When its state or its numbers changed last: of one that is done, its end.
    pub updated_at: String,
    /// Compared rows and entities.
    pub compared: u64,
    /// About how many there are to compare.
    pub expected: u64,
    /// Rows that differ.
    pub differing: u64,
    /// Rows that changed faster than they could be looked at.
    pub undecided: u64,
}

impl RequestStatus {
    /// The requests that somebody works on or will, and the one that was done last.
    pub fn all(requests: &[Request]) -> Vec<Self> {
        let done = requests.iter().filter(|request| request.state == State::Done);
        let last = done.max_by_key(|request| request.updated_at.unix_micros);
        let open = requests.iter().filter(|request| request.state.is_open());
        open.chain(last).map(RequestStatus::of).collect()
    }

    fn of(request: &Request) -> Self {
        let findings = &request.findings;
        RequestStatus {
            purpose: request.purpose.name(),
            tables: request.tables.clone(),
            rows: request.rows.as_ref().map(Rows::count),
            state: request.state.name(),
            asked_at: request.asked_at.shown(),
            updated_at: request.updated_at.shown(),
            compared: findings.compared(),
            expected: findings.expected(),
            differing: findings.differing(),
            undecided: findings.undecided(),
        }
    }

    /// The share of what is to compare that is compared. Only the end of all is a whole.
    pub fn progress(&self) -> f64 {
        match self.state {
            "done" => 1.0,
            _ => (self.compared as f64 / self.expected.max(1) as f64).min(0.999),
        }
    }
}

impl fmt::Display for RequestStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RequestStatus { purpose, asked_at, compared, expected, differing, .. } = self;
        let tables = match self.tables.as_slice() {
            [] => "all tables".to_owned(),
            tables => shown_list(tables),
        };
        let rows = self.rows.map(|rows| format!("{rows} rows of ")).unwrap_or_default();
        write!(f, "{purpose} of {rows}{tables}, asked at {asked_at}: ")?;
        match self.state {
            "asked" => write!(f, "waits"),
            "running" => write!(
                f,
                "running, {compared} of about {expected} rows compared, {differing} differ so far"
            ),
            _ => write!(
                f,
                "done at {}, {compared} rows compared, {differing} differed",
                self.updated_at
            ),
        }?;
        match self.undecided {
            0 => Ok(()),
            rows => write!(f, ", {rows} undecided"),
        }
    }
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
    /// Nodes or relationships without a key: no row is theirs. The command counts them once all is compared.
    pub keyless: u64,
    /// Queries that return these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keyless_queries: Vec<String>,
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
    /// The numbers alone, without a row's values.
    pub fn brief(&self) -> Self {
        Findings { first: Vec::new(), ..self.clone() }
    }

    /// How many rows and entities are compared.
    pub fn compared(&self) -> u64 {
        self.tables.iter().map(|table| table.compared).sum()
    }

    /// About how many there are to compare.
    pub fn expected(&self) -> u64 {
        self.tables.iter().map(|table| table.expected.max(table.compared)).sum()
    }

    /// Adds what was found of other rows.
    pub fn add(&mut self, other: Findings) {
        self.is_over &= other.is_over;
        self.first.extend(other.first);
        for more in other.tables {
            match self.tables.iter_mut().find(|it| it.table == more.table) {
                Some(table) => {
                    table.compared += more.compared;
                    table.expected += more.expected;
                    table.differing += more.differing;
                    table.undecided += more.undecided;
                    table.keyless += more.keyless;
                }
                None => self.tables.push(more),
            }
        }
        self.tables.sort_by(|one, other| one.table.cmp(&other.table));
    }

    /// What all shares of a request have found. It is over once they all are.
    pub fn together<'a>(shares: impl IntoIterator<Item = &'a Findings>) -> Findings {
        let mut together = Findings { is_over: true, ..Findings::default() };
        shares.into_iter().for_each(|share| together.add(share.clone()));
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

    /// How many nodes and relationships have no key.
    pub fn keyless(&self) -> u64 {
        self.tables.iter().map(|table| table.keyless).sum()
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
    use super::*;

    #[test]
    fn the_open_requests_and_the_last_one_that_was_done_are_shown() {
        let at = |second: i64| Timestamp { unix_micros: second * 1_000_000 };
        let request = |id: &str, state, updated| Request {
            state,
            updated_at: at(updated),
            ..Request::new(RequestId(id.to_owned()), Purpose::Repair, Vec::new(), at(1))
        };
        let of_table = TableFindings {
            table: "public.a".to_owned(),
            compared: 12,
            expected: 10,
            differing: 3,
            undecided: 1,
            keyless: 0,
            keyless_queries: Vec::new(),
        };
        let findings = Findings { tables: vec![of_table], ..Findings::default() };
        let tables = vec!["public.a".to_owned()];
        let requests = [
            request("1", State::Done, 5),
            Request { findings: findings.clone(), ..request("2", State::Done, 60) },
            request("3", State::Cancelled, 70),
            Request { findings, tables, ..request("4", State::Running, 90) },
            request("5", State::Asked, 1),
        ];
        let shown: Vec<String> =
            RequestStatus::all(&requests).iter().map(ToString::to_string).collect();
        let expected = [
            "repair of public.a, asked at 1970-01-01T00:00:01Z: running, 12 of about 12 rows compared, 3 differ so \
             far, 1 undecided",
            "repair of all tables, asked at 1970-01-01T00:00:01Z: waits",
            "repair of all tables, asked at 1970-01-01T00:00:01Z: done at 1970-01-01T00:01:00Z, 12 rows compared, 3 \
             differed, 1 undecided",
        ];
        assert_eq!(shown, expected);
    }

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
