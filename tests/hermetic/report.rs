//! `schemas/status.schema.json` is that of the type, and so is what a program says that has just begun.

use schemars::{Schema, generate::SchemaSettings};
use serde_json::Value;
use wal2graph::report::{Report, State};

use crate::configuration::assert_is_written;

fn schema() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<Report>()
}

#[test]
fn the_schema_of_the_status_is_that_of_its_type() {
    assert_is_written("schemas/status.schema.json", &schema());
}

#[test]
fn every_field_is_there_whoever_answers() {
    let schema = schema().to_value();
    let objects = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    let mut seen = 0;
    for object in objects.filter(|it| it["properties"].is_object()) {
        let fields: Vec<&str> =
            object["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let required: Vec<&str> =
            object["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(fields, required, "a field is null, and never left out: {object}");
        seen += 1;
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn each_state_has_one_name() {
    let schema = schema().to_value();
    let named = schema["$defs"]["State"]["oneOf"].as_array().unwrap();
    let named: Vec<&str> = named.iter().filter_map(|it| it["const"].as_str()).collect();
    let all = [
        State::Starting,
        State::Copying,
        State::Streaming,
        State::Replaying,
        State::Waiting,
        State::Standby,
        State::Stopping,
        State::Stopped,
        State::NotStarted,
        State::NotRunning,
        State::Refused,
        State::Unknown,
    ];
    assert_eq!(named, all.map(State::name));
    for state in wal2graph::health::State::NAMES {
        assert!(named.contains(&state), "{state} is in the metrics alone");
    }
}
