//! What a pipeline has in a graph, as text: nodes, relationships, constraints.
//!
//! Numbers that a server gives (positions, object ids) stand as `@names@`.

use neo4rs::Query;
use serde_json::{Value, json};

use crate::support::{PATIENCE, graph};

/// Properties with their names. JSON has no times.
const PROPERTIES: &str = "[k IN keys(it) | [k, CASE WHEN valueType(it[k]) STARTS WITH 'ZONED DATETIME' \
     THEN {datetime: toString(it[k])} ELSE it[k] END]]";

/// What it has. `label` begins the labels of its rows.
pub async fn stored(pipeline: &str, label: &str) -> Value {
    let is_own = |node: &str| {
        format!(
            "({node}.pipeline = '{pipeline}' OR any(it IN labels({node}) WHERE it STARTS WITH '{label}'))"
        )
    };
    let nodes = format!(
        "MATCH (it) WHERE {} RETURN elementId(it) AS id, labels(it) AS labels, {PROPERTIES} AS properties \
         ORDER BY labels, it.table, it.pass, it.part, it.id",
        is_own("it")
    );
    let nodes = rows(&nodes).await;
    let ids: Vec<String> = nodes.iter().map(|row| row.get("id").unwrap()).collect();
    let place = |id: String| ids.iter().position(|it| *it == id).expect("both ends are its own");
    let relationships = format!(
        "MATCH (a)-[it]->(b) WHERE {} RETURN elementId(a) AS start, type(it) AS type, elementId(b) AS end, \
         {PROPERTIES} AS properties ORDER BY type, a.id, b.id",
        is_own("a")
    );
    let relationships = rows(&relationships).await;
    let nodes = nodes.iter().map(|row| {
        let labels: Vec<String> = row.get("labels").unwrap();
        json!([labels, properties(row)])
    });
    let relationships = relationships.iter().map(|row| {
        let [a, b] = ["start", "end"].map(|end| place(row.get(end).unwrap()));
        json!([a, row.get::<String>("type").unwrap(), b, properties(row)])
    });
    json!({
        "constraints": constraints(label).await,
        "nodes": nodes.collect::<Value>(),
        "relationships": relationships.collect::<Value>(),
    })
}

/// The statements that make them.
async fn constraints(label: &str) -> Vec<String> {
    let mut all = Vec::new();
    for shown in ["CONSTRAINTS", "INDEXES"] {
        let alone = if shown == "INDEXES" { "AND owningConstraint IS NULL" } else { "" };
        let text = format!(
            "SHOW {shown} YIELD * WHERE any(it IN labelsOrTypes WHERE it STARTS WITH '{label}' \
             OR it STARTS WITH '{}' OR it STARTS WITH '_Wal2Graph') {alone} \
             RETURN createStatement AS text ORDER BY name",
            label.to_uppercase()
        );
        all.extend(rows(&text).await.iter().map(|row| row.get::<String>("text").unwrap()));
    }
    all
}

/// Makes it again.
pub async fn restore(stored: &Value) {
    for text in stored["constraints"].as_array().unwrap() {
        let text = text.as_str().unwrap().replacen(" FOR ", " IF NOT EXISTS FOR ", 1);
        graph().run_alone(Query::new(text), PATIENCE).await.unwrap();
    }
    let text = format!(
        "UNWIND {} AS it CREATE (n) SET n:$(it[0]) SET n = it[1] WITH collect(n) AS all \
         UNWIND {} AS it WITH all[it[0]] AS a, all[it[2]] AS b, it \
         CREATE (a)-[r:$(it[1])]->(b) SET r = it[3]",
        cypher(&stored["nodes"]),
        cypher(&stored["relationships"])
    );
    graph().run_alone(Query::new(text), PATIENCE).await.unwrap();
}

/// A value as a literal of Cypher.
fn cypher(value: &Value) -> String {
    match value {
        Value::Array(all) => {
            format!("[{}]", all.iter().map(cypher).collect::<Vec<_>>().join(", "))
        }
        Value::Object(all) => match all.iter().next() {
            Some((kind, Value::String(text))) if kind == "datetime" => {
                format!("datetime('{text}')")
            }
            Some((kind, Value::String(text))) if kind == "number" => text.clone(),
            _ => {
                let all = all.iter().map(|(name, value)| format!("`{name}`: {}", cypher(value)));
                format!("{{{}}}", all.collect::<Vec<_>>().join(", "))
            }
        },
        // As JSON has them.
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => value.to_string(),
    }
}

fn properties(row: &neo4rs::Row) -> Value {
    let all: Vec<(String, Value)> = row.get("properties").unwrap();
    Value::Object(all.into_iter().collect())
}

async fn rows(text: &str) -> Vec<neo4rs::Row> {
    graph().rows(Query::new(text.to_owned())).await.unwrap()
}
