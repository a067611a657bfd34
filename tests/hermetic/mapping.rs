//! The mapping: inference, refusals and the translation of changes.

pub mod catalogs;
mod following;
mod inference;
mod mending;
mod owned;
mod refusals;
mod reports;
mod translation;
