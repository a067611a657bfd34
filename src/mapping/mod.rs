//! From tables to a graph: inference, what the file edits, and the translation of changes.

pub mod edit;
mod naming;
mod singular;
