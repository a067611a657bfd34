//! The graph side, without a graph: what must be written, in which order, in which words.
//!
//! ```text
//! Event*  --fold-->  Mutations  --plan-->  Statement*  --cypher-->  text + rows
//!                                              |
//!                                              +-------memory-->    the oracle
//! ```
//!
//! The one invariant: the graph is a function of the tables. A node belongs to a key value; a row
//! fills it or not (then it is a placeholder). A relationship is decided by its owner row alone and
//! points at a key value, so nothing that happens to a target row adds, moves or removes a
//! relationship that another row owns.

pub mod cypher;
pub mod fold;
pub mod memory;
pub mod model;
pub mod mutation;
pub mod plan;
pub mod small;
pub mod statement;

pub use cypher::{Parameter, Query, render};
pub use fold::Mutations;
pub use model::{Model, TableIndex};
pub use mutation::{Cell, Event, Key, Reference, Row};
pub use plan::{Circumstances, Pass, plan, plan_completed, plan_copied};
pub use small::in_few_texts;
pub use statement::Statement;
