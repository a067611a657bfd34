//! The product that keeps the graph. Beside `config`, this is the only module that names one: all
//! others use [`crate::pipeline::Store`].

use std::{sync::Arc, time::Duration};

use crate::{
    neo4j::{
        self,
        connect::{ANSWER_LIMIT, LONG_ANSWER_LIMIT},
    },
    pipeline::{Store, StoreError, Witness},
};

/// The store of this build.
pub type Graph = neo4j::Store;
/// What it prepares statements with.
pub type Planner = <Graph as Store>::Planner;

/// How long a store waits for one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// As long as a transaction of a batch may take.
    Usual,
    /// As long as it takes to scan the whole graph.
    Long,
    /// At most this long.
    AtMost(Duration),
}

/// A store of its own connection. It connects at first use: an error is about the options.
pub fn open(
    options: &neo4j::Options,
    wait: Wait,
    witness: Arc<dyn Witness>,
) -> Result<Graph, StoreError> {
    let limit = match wait {
        Wait::Usual => ANSWER_LIMIT,
        Wait::Long => LONG_ANSWER_LIMIT,
        Wait::AtMost(limit) => limit,
    };
    neo4j::Store::new(options, limit, witness)
}
