//! The acceptance set: a well-known model whose numbers of nodes and relationships are known.
//!
//! The tables and rows are this project's own; only the numbers are the famous ones. What the graph
//! holds is compared line by line with what SQL says, each side asked in its own language.

mod models;

use std::{fs, time::Duration};

use neo4rs::{BoltType, Query};
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::time::sleep;
use wal2graph::{neo4j::parameter, value::Value};

use crate::support::{Pipeline, graph};
use models::{Nodes, Relationships};

const SCHEMA: &str = include_str!("northwind/schema.sql");
const DATA: &str = include_str!("northwind/data.sql");
const MAPPING: &str = include_str!("northwind/mapping.yaml");

/// Nodes and relationships of the well-known model.
const NUMBERS: (usize, usize) = (1_035, 3_139);
/// How long changes may take to arrive, on a busy machine and in a debug build.
const PATIENCE: Duration = Duration::from_secs(120);
/// Children first, as the foreign keys want it.
const DELETE_ALL: &str = "DELETE FROM nw_order_details; DELETE FROM nw_orders; DELETE FROM nw_products; \
    DELETE FROM nw_categories; DELETE FROM nw_suppliers; DELETE FROM nw_customers; \
    DELETE FROM nw_employee_territories; DELETE FROM nw_territories; DELETE FROM nw_regions; \
    DELETE FROM nw_employees; DELETE FROM nw_shippers";

/// A model of the tables whose labels are prefixed: one Neo4j serves all tests.
struct Model {
    prefix: &'static str,
    nodes: &'static [Nodes],
    relationships: &'static [Relationships],
}

/// What there is, a line each.
#[derive(Debug, Default, PartialEq)]
struct Contents {
    nodes: Vec<String>,
    relationships: Vec<String>,
}

impl Contents {
    fn numbers(&self) -> (usize, usize) {
        (self.nodes.len(), self.relationships.len())
    }

    fn sorted(mut self) -> Self {
        self.nodes.sort();
        self.relationships.sort();
        self
    }
}

impl Model {
    fn well_known(prefix: &'static str) -> Self {
        let (nodes, relationships) = (models::WELL_KNOWN_NODES, models::WELL_KNOWN_RELATIONSHIPS);
        Model { prefix, nodes, relationships }
    }

    fn inferred() -> Self {
        let (nodes, relationships) = (models::INFERRED_NODES, models::INFERRED_RELATIONSHIPS);
        Model { prefix: "Nw", nodes, relationships }
    }

    /// What SQL says.
    async fn expected(&self, pipeline: &Pipeline) -> Contents {
        let mut contents = Contents::default();
        for Nodes { label, table, key, numeric, compared } in self.nodes {
            let exact = numeric.map(|it| format!("|| jsonb_build_object('{it}', {it}::text)"));
            let compared =
                compared.then(|| format!("|| jsonb_build_object('_key_{key}', {key}::text)"));
            let sql = format!(
                "SELECT {key}::text, jsonb_strip_nulls(to_jsonb(t) {} {})::text FROM {table} t",
                exact.unwrap_or_default(),
                compared.unwrap_or_default()
            );
            for row in pipeline.sql.query(&sql, &[]).await.unwrap() {
                let (key, properties): (&str, &str) = (row.get(0), row.get(1));
                contents.nodes.push(format!("{label} {key} {}", canonical(properties)));
            }
        }
        for Relationships { from, kind, to, sql } in self.relationships {
            for row in pipeline.sql.query(*sql, &[]).await.unwrap() {
                let (a, b, properties): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
                let line = format!("{from} {a} {kind} {to} {b} {}", canonical(properties));
                contents.relationships.push(line);
            }
        }
        contents.sorted()
    }

    /// What the graph holds at these labels: placeholders too, and relationships of any type.
    async fn found(&self) -> Contents {
        let labels: Vec<_> =
            self.nodes.iter().map(|it| format!("{}{}", self.prefix, it.label)).collect();
        let labels = labels.join("|");
        let mut contents = Contents::default();
        let text = format!("MATCH (a:{labels}) RETURN labels(a) AS la, properties(a) AS pa");
        for row in graph().rows(Query::new(text)).await.unwrap() {
            let properties = properties(row.get("pa").unwrap());
            let node = self.node(row.get("la").unwrap(), &properties);
            contents.nodes.push(format!("{node} {properties}"));
        }
        let text = format!(
            "MATCH (a:{labels})-[x]->(b) RETURN labels(a) AS la, properties(a) AS pa, type(x) AS kind, \
             labels(b) AS lb, properties(b) AS pb, properties(x) AS px"
        );
        for row in graph().rows(Query::new(text)).await.unwrap() {
            let of = |name| properties(row.get(name).unwrap());
            let (from, to) = (
                self.node(row.get("la").unwrap(), &of("pa")),
                self.node(row.get("lb").unwrap(), &of("pb")),
            );
            let kind: String = row.get("kind").unwrap();
            contents.relationships.push(format!("{from} {kind} {to} {}", of("px")));
        }
        contents.sorted()
    }

    /// A node's labels without the prefix, and its key.
    fn node(&self, labels: Vec<String>, properties: &Json) -> String {
        let short = |it: &String| it.strip_prefix(self.prefix).unwrap_or(it).to_owned();
        let labels = labels.iter().map(short).collect::<Vec<_>>().join(":");
        let key = self.nodes.iter().find(|it| it.label == labels).map(|it| &properties[it.key]);
        let key = key.unwrap_or(&Json::Null);
        let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
        format!("{labels} {key}")
    }

    async fn assert_equal(&self, pipeline: &Pipeline) {
        let (expected, found) = (self.expected(pipeline).await, self.found().await);
        for (expected, found) in
            [(&expected.nodes, &found.nodes), (&expected.relationships, &found.relationships)]
        {
            let missing = expected.iter().filter(|line| found.binary_search(line).is_err());
            let extra = found.iter().filter(|line| expected.binary_search(line).is_err());
            let (missing, extra): (Vec<_>, Vec<_>) = (missing.collect(), extra.collect());
            assert!(
                missing.is_empty() && extra.is_empty(),
                "missing {missing:#?} extra {extra:#?}"
            );
        }
        assert_eq!(expected, found);
    }

    /// How many nodes and relationships there are. Asks for nothing else, so that a writer may be
    /// at work: what it deletes meanwhile has no type any more.
    async fn counts(&self) -> (usize, usize) {
        let labels: Vec<_> =
            self.nodes.iter().map(|it| format!("{}{}", self.prefix, it.label)).collect();
        let labels = labels.join("|");
        let text = format!(
            "RETURN COUNT {{ (:{labels}) }} AS nodes, COUNT {{ (:{labels})-[]->() }} AS relationships"
        );
        let rows = graph().rows(Query::new(text)).await.unwrap();
        let count = |name| rows[0].get::<i64>(name).unwrap().try_into().unwrap();
        (count("nodes"), count("relationships"))
    }

    /// Waits until the graph has so many nodes and relationships.
    async fn until(&self, numbers: (usize, usize)) {
        let started = std::time::Instant::now();
        loop {
            let found = self.counts().await;
            if found == numbers {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{found:?} instead of {numbers:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Properties as JSON with sorted names.
fn properties(map: BoltType) -> Json {
    let BoltType::Map(map) = map else { panic!("properties are a map") };
    let mut pairs: Vec<_> = map.value.into_iter().map(|(name, it)| (name.value, it)).collect();
    pairs.sort_by(|left, right| left.0.cmp(&right.0));
    let json = |it| match parameter::value_of(it).expect("a property") {
        Value::Boolean(it) => it.into(),
        Value::Integer(it) => it.into(),
        Value::Float(it) => it.0.into(),
        Value::String(it) => it.into(),
        Value::Date(it) => it.to_string().into(),
        other => panic!("{other:?} is of no type in these tables"),
    };
    Json::Object(pairs.into_iter().map(|(name, it)| (name, json(it))).collect())
}

/// The same for SQL's JSON. A whole number of a float column is a float.
fn canonical(text: &str) -> String {
    let json: Json = serde_json::from_str(text).expect("JSON");
    let Json::Object(map) = json else { panic!("an object") };
    let mut pairs: Vec<_> = map.into_iter().collect();
    pairs.sort_by(|left, right| left.0.cmp(&right.0));
    for (name, value) in &mut pairs {
        if name == "discount" {
            *value = value.as_f64().expect("a number").into();
        }
    }
    Json::Object(pairs.into_iter().collect()).to_string()
}

/// The tables, and the mapping file with prefixed labels.
async fn start(name: &str, model: &Model) -> (Pipeline, TempDir, String) {
    let pipeline = Pipeline::new(name, SCHEMA).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wal2graph.yaml");
    fs::write(&path, MAPPING.replace("label: ", &format!("label: {}", model.prefix))).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (pipeline, folder, path)
}

async fn catch_up(pipeline: &Pipeline, file: &str) {
    let output = pipeline.output(&["run", "--until", "current", "-c", file]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn the_copy_by_a_mapping_file_has_the_well_known_numbers() {
    let model = Model::well_known("NwCopied");
    let (pipeline, _folder, file) = start("northwind_copy", &model).await;
    pipeline.sql.batch_execute(DATA).await.unwrap();
    catch_up(&pipeline, &file).await;
    assert_eq!(model.found().await.numbers(), NUMBERS);
    model.assert_equal(&pipeline).await;
    pipeline.sql.batch_execute(DELETE_ALL).await.unwrap();
    catch_up(&pipeline, &file).await;
    assert_eq!(model.found().await, Contents::default());
}

#[tokio::test]
async fn the_stream_into_an_empty_graph_gives_the_same() {
    let model = Model::well_known("NwStreamed");
    let (pipeline, _folder, file) = start("northwind_stream", &model).await;
    catch_up(&pipeline, &file).await;
    assert_eq!(model.found().await, Contents::default(), "there is nothing to copy");
    let mut running = pipeline.start_with(&["-c", &file]);
    pipeline.sql.batch_execute(DATA).await.unwrap();
    model.until(NUMBERS).await;
    model.assert_equal(&pipeline).await;
    pipeline.sql.batch_execute(DELETE_ALL).await.unwrap();
    model.until((0, 0)).await;
    // Again, each statement a transaction of its own, and gone by TRUNCATE.
    for statement in DATA.split(';') {
        pipeline.sql.batch_execute(statement).await.unwrap();
    }
    model.until(NUMBERS).await;
    model.assert_equal(&pipeline).await;
    let truncate = "TRUNCATE nw_categories, nw_suppliers, nw_customers, nw_shippers, nw_employees, nw_regions CASCADE";
    pipeline.sql.batch_execute(truncate).await.unwrap();
    model.until((0, 0)).await;
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
}

#[tokio::test]
async fn without_a_file_the_inferred_mapping_equals_the_tables() {
    let model = Model::inferred();
    let pipeline = Pipeline::new("northwind_inferred", SCHEMA).await;
    pipeline.sql.batch_execute(DATA).await.unwrap();
    pipeline.catch_up().await;
    model.assert_equal(&pipeline).await;
    let changes = "UPDATE nw_employees SET reports_to = NULL WHERE employee_id = 7; \
        UPDATE nw_orders SET employee_id = 1 + employee_id % 9, shipped_date = NULL WHERE order_id % 5 = 0; \
        DELETE FROM nw_order_details WHERE order_id % 7 = 0; \
        UPDATE nw_order_details SET product_id = 78 - product_id, discount = 0.25 WHERE order_id = 10001";
    pipeline.sql.batch_execute(changes).await.unwrap();
    pipeline.catch_up().await;
    model.assert_equal(&pipeline).await;
    pipeline.sql.batch_execute(DELETE_ALL).await.unwrap();
    pipeline.catch_up().await;
    assert_eq!(model.found().await, Contents::default());
}
