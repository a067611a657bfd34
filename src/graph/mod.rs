//! The graph side without a graph: the writes and their order.
//!
//! ```text
//! Event*  --fold-->  Mutations  --plan-->  Statement*  --a product's text-->  text + rows
//!                                              |
//!                                              +-------memory-->    the oracle
//!
//! rows of a table, and what the graph has of them  --compare-->  Difference*  --plan_repaired-->  Statement*
//! ```
//!
//! The one invariant: the graph is a function of the tables. A node belongs to a key value. A row
//! fills it or not; without a row it is a placeholder. The owner row alone decides a relationship,
//! and the relationship points at a key value. So an event of a target row never adds, moves or
//! removes a relationship that another row owns.

mod counted;
pub mod drawn;
pub mod fold;
pub mod found;
mod key;
pub mod letter;
pub mod memory;
pub mod model;
pub mod mutation;
mod outline;
pub mod plan;
pub mod small;
pub mod statement;
mod words;

pub use counted::{CountOf, Counted, counted};
pub use fold::Mutations;
pub use found::{Difference, Found, Remedy, compare, remedy};
pub use key::Key;
pub use model::{Model, TableIndex};
pub use mutation::{Cell, Event, Reference, Row};
pub use outline::{Between, LeftOver, Outline, Outlines};
pub use plan::{Circumstances, Pass, Repair, plan, plan_completed, plan_copied, plan_repaired};
pub use small::in_few_texts;
pub use statement::Statement;
