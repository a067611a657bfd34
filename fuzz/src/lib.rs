//! What is fuzzed: any bytes give a result or an error, and the result keeps its promise.
//!
//! ```text
//! make fuzz --> libFuzzer --bytes--> a target, with coverage
//! tests/hermetic/fuzzed.rs --corpus/*--> the same target, on every run of the tests
//! ```
//!
//! A target takes bytes and panics when something is wrong. `corpus/TARGET` has the bytes to begin
//! with, and those that once found a bug.

mod configuration;
mod envelope;
mod pgoutput;
mod values;

pub use configuration::configuration;
pub use envelope::envelope;
pub use pgoutput::pgoutput;
pub use values::{array, numeric};
