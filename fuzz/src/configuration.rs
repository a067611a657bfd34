//! The configuration file.

use wal2graph::{
    cli::Global,
    config::{Config, parse},
};

/// Any text is a configuration or an error that can be shown.
pub fn configuration(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    // Files are this machine's, and what they hold is no part of the text.
    if text.contains("file") {
        return;
    }
    let raw = match parse(text, "wal2graph.yaml") {
        Ok(raw) => raw,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let global = Global {
        source_url: Some("postgres://cdc@db/shop".to_owned()),
        graph_url: Some("bolt://graph:7687".to_owned()),
        ..Global::default()
    };
    let environment = |name: &str| (name == "SET").then(|| "set".to_owned());
    match Config::from_raw(raw, &global, &environment) {
        Ok(config) => drop(config.kafka()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
