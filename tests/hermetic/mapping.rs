//! The mapping: what is inferred, what is refused, how changes are translated.

mod catalogs;
mod inference;
mod refusals;
mod reports;
mod translation;
