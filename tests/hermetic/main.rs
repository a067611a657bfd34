//! Tests without a server: they take seconds on any machine.

#![allow(clippy::unwrap_used)]

mod architecture;
mod beginnings;
mod circles;
mod command_line;
mod configuration;
#[path = "../contract/mod.rs"]
mod contract;
mod deploy;
mod documentation;
mod envelope;
mod exposition;
mod failures;
mod fuzzed;
mod golden;
mod grants;
mod health;
mod history;
mod mapping;
mod names;
mod offsets;
mod owed;
mod paused;
mod process;
mod refused;
mod renewal;
mod repair;
mod report;
mod shape;
mod shown;
mod simulation;
mod start;
mod tables;
mod texts;
mod transactions;
mod values;
mod wide;
mod wire;
