//! The graph side, without a graph: what must be written, in which order, in which words.
//!
//! ```text
//! Event*  --mutation-->  Mutations  --plan-->  Statement*  --cypher-->  text + rows
//!                                                 |
//!                                                 +-------memory-->     the oracle
//! ```

pub mod model;
pub mod mutation;

pub use model::{Model, TableIndex};
pub use mutation::{Cell, Event, Key, Reference, Row};
