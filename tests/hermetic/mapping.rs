//! The mapping: inference, refusals and the translation of changes.

pub mod catalogs;
mod edits;
mod following;
mod inference;
mod mending;
mod names;
mod owned;
mod refusals;
mod reports;
mod translation;
