//! Whether the servers that the program needs answer, as looks at them find.
//!
//! One look that fails proves little: a server may be busy. Two in a row make it silent, until one is answered.

use std::{fmt, time::Duration};

use crate::change::Timestamp;

use super::since;

/// A server that the program needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// PostgreSQL.
    Source,
    /// Neo4j.
    Graph,
    /// Kafka.
    Kafka,
}

impl Side {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Side::Source => "source",
            Side::Graph => "graph",
            Side::Kafka => "kafka",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Source => "the source",
            Side::Graph => "the graph",
            Side::Kafka => "Kafka",
        })
    }
}

/// What the last looks at a side have found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Answers {
    /// No look has ended yet.
    #[default]
    Unknown,
    /// The last look was answered.
    Yes,
    /// The last look failed, and it was the first to.
    FailedOnce {
        /// Its start time.
        since: Timestamp,
    },
    /// Looks fail.
    No {
        /// The start time of the first that failed.
        since: Timestamp,
        /// Why the last one failed.
        why: String,
    },
}

impl Answers {
    /// The same after a look that began at this moment.
    pub fn after(&self, at: Timestamp, look: Result<(), String>) -> Self {
        match (self, look) {
            (_, Ok(())) => Answers::Yes,
            (Answers::FailedOnce { since } | Answers::No { since, .. }, Err(why)) => {
                Answers::No { since: *since, why }
            }
            (Answers::Unknown | Answers::Yes, Err(_)) => Answers::FailedOnce { since: at },
        }
    }

    /// Whether the last look that tells was answered.
    pub fn is_there(&self) -> bool {
        matches!(self, Answers::Yes | Answers::FailedOnce { .. })
    }
}

/// A side that does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silent {
    /// The side.
    pub side: Side,
    /// Why the last look failed.
    pub why: String,
    /// For how long it has not answered.
    pub time: Duration,
}

impl Silent {
    /// The side, if it does not answer at this moment.
    pub fn of(side: Side, answers: &Answers, now: Timestamp) -> Option<Self> {
        let Answers::No { since: first, why } = answers else { return None };
        Some(Silent { side, why: why.clone(), time: since(now, *first) })
    }
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} has not answered for {:.0} s: {}",
            self.side,
            self.time.as_secs_f64(),
            self.why
        )
    }
}
