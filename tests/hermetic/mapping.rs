//! The mapping: what is inferred, what is refused, how changes are translated.

pub mod catalogs;
mod inference;
mod mending;
mod refusals;
mod reports;
mod translation;
