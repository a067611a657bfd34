//! The status as `schemas/status.schema.json` has it, whoever says it.

use serde_json::Value;

/// The schema, which also forbids what it does not name: readers get a field that is new, tests do not.
fn strict() -> Value {
    let schema = include_str!("../../../schemas/status.schema.json");
    let mut schema = serde_json::from_str(schema).unwrap();
    forbid_others(&mut schema);
    schema
}

fn forbid_others(schema: &mut Value) {
    if let Some(object) = schema.as_object_mut() {
        if object.get("properties").is_some_and(Value::is_object) {
            object.insert("additionalProperties".to_owned(), false.into());
        }
        object.values_mut().for_each(forbid_others);
    }
    schema.as_array_mut().into_iter().flatten().for_each(forbid_others);
}

/// Reads a status, which is as the schema says.
pub fn status(text: &str) -> Value {
    let json: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let validator = jsonschema::validator_for(&strict()).unwrap();
    let faults: Vec<String> = validator.iter_errors(&json).map(|it| it.to_string()).collect();
    assert_eq!(faults, [""; 0], "{json:#}");
    let mut other = json.clone();
    other["more"] = 1.into();
    other["lag"].as_object_mut().unwrap().remove("seconds");
    assert_eq!(validator.iter_errors(&other).count(), 2, "both are faults");
    json
}
