//! Neo4j: connections, transactions, the checkpoint.
//!
//! ```text
//! BEGIN -> the checkpoint's compare-and-set -> the batch's statements -> COMMIT
//!            |                                                             |
//!            not as expected: look, and stop if another writer writes      no answer: look, never guess
//! ```
//!
//! A small batch is one statement that does all of this.
//!
//! The position is a node of the same graph. It moves first in the data's transaction, under the
//! node's lock. So a batch is in the graph exactly when its position is, whatever fails in between.

pub mod checkpoint;
mod checkpoint_row;
pub mod claim;
mod clearing;
pub mod connect;
pub mod copy_progress;
pub mod cypher;
pub mod error;
pub mod fused;
mod letters;
mod marked;
mod names;
pub mod nodelay;
pub mod parameter;
pub mod planning;
pub mod reader;
mod remarks;
pub mod removal;
mod renewal;
mod requests;
pub mod retry;
pub mod schema;
pub mod sink;
pub mod stopped;
mod store;
pub mod table_facts;
mod write_error;
pub mod writer;

pub use connect::{Connection, Options};
pub use error::Error;
pub use planning::Planner;
pub use sink::Sink;
pub use store::Store;
pub use writer::{TellRetry, WriteError, Writer};
