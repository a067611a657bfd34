//! Tests without a server: they take seconds on any machine.

#![allow(clippy::unwrap_used)]

mod architecture;
mod beginnings;
mod circles;
mod command_line;
mod configuration;
#[path = "../contract/mod.rs"]
mod contract;
mod envelope;
mod exposition;
mod fuzzed;
mod golden;
mod health;
mod history;
mod mapping;
mod names;
mod offsets;
mod repair;
mod shown;
mod simulation;
mod start;
mod tables;
mod texts;
mod transactions;
mod values;
mod wide;
mod wire;
