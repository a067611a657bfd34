//! The examples of docs/mapping.md: each file in it gives the plan that follows it, and the graph below that.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use neo4rs::Query;

use crate::support::{self, Pipeline, graph};

const PAGE: &str = include_str!("../../docs/mapping.md");

/// The fenced blocks of a page, in order: the language and the text.
pub fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match (line.strip_prefix("```"), inside) {
            (Some(language), false) => blocks.push((language.to_owned(), String::new())),
            (Some(_), true) => {}
            (None, true) => {
                let text = &mut blocks.last_mut().unwrap().1;
                text.push_str(line);
                text.push('\n');
            }
            (None, false) => continue,
        }
        inside = line.starts_with("```") != inside;
    }
    blocks
}

async fn plan(url: &str, file: Option<&str>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wal2graph.yaml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_wal2graph"));
    command.args(["plan", "--source-url", url]);
    if let Some(file) = file {
        std::fs::write(&path, file).unwrap();
        command.arg("-c").arg(&path);
    }
    let output = support::output(command).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A block may leave out what does not change, so each of its entries is looked for by itself.
fn entries(block: &str) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    for line in block.lines().filter(|line| !line.is_empty()) {
        match entries.last_mut() {
            Some(entry) if line.starts_with("      ") => *entry += &format!("\n{line}"),
            _ => entries.push(line.to_owned()),
        }
    }
    entries
}

/// An example of the page: a file, the plan that it gives, and patterns that the graph of the page's rows has.
#[derive(Default)]
struct Example {
    file: String,
    plan: String,
    patterns: String,
}

/// The tables, the rows, what no file makes of them, and the examples.
fn examples() -> (String, String, Example, Vec<Example>) {
    let (mut sql, mut plain, mut examples) = (Vec::new(), Example::default(), Vec::new());
    for (language, text) in blocks(PAGE) {
        let example: &mut Example = match language.as_str() {
            "sql" => {
                sql.push(text);
                continue;
            }
            "yaml" => {
                examples.push(Example { file: text, ..Example::default() });
                continue;
            }
            _ => examples.last_mut().unwrap_or(&mut plain),
        };
        match language.as_str() {
            "text" => example.plan = text,
            "cypher" => example.patterns = text,
            other => panic!("a block in {other}"),
        }
    }
    let [schema, rows] = <[String; 2]>::try_from(sql).unwrap();
    (schema, rows, plain, examples)
}

#[tokio::test]
async fn every_example_of_the_mapping_guide_gives_the_plan_that_it_shows() {
    let (schema, _, plain, examples) = examples();
    let url = support::postgres().url(&support::new_database("guide").await);
    support::client(&url).await.batch_execute(&schema).await.unwrap();
    assert_eq!(plan(&url, None).await.trim_end(), plain.plan.trim_end());
    for Example { file, plan: shown, .. } in &examples {
        assert!(!shown.is_empty(), "no plan is shown of\n{file}");
        let plan = plan(&url, Some(file)).await;
        for entry in entries(shown) {
            assert!(plan.contains(&format!("{entry}\n")), "{file}\n{entry}\nis not in\n{plan}");
        }
    }
}

/// The next file is a change of the mapping, which the graph follows while the rows are streamed once more.
#[tokio::test]
async fn every_example_of_the_mapping_guide_gives_the_graph_that_it_shows() {
    let (schema, rows, plain, examples) = examples();
    let pipeline = Pipeline::new("guide_graph", &schema).await;
    pipeline.sql.batch_execute(&rows).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wal2graph.yaml");
    let path = path.to_str().unwrap();
    for (number, Example { file, patterns, .. }) in
        std::iter::once(&plain).chain(&examples).enumerate()
    {
        std::fs::write(path, file).unwrap();
        if number > 0 {
            let again = format!(
                "DELETE FROM order_items; DELETE FROM orders; DELETE FROM visits; DELETE FROM products; \
                 DELETE FROM customers; {rows} INSERT INTO visits VALUES ({}, NULL, '/')",
                100 + number
            );
            pipeline.sql.batch_execute(&again).await.unwrap();
        }
        let ran = pipeline.output(&["run", "--until", "current", "-c", path]).await;
        assert!(ran.status.success(), "{file}\n{}", String::from_utf8_lossy(&ran.stderr));
        for pattern in patterns.lines() {
            let query = format!("RETURN COUNT {{ {pattern} }} AS n");
            let rows = graph().rows(Query::new(query)).await.unwrap();
            assert_eq!(rows[0].get::<i64>("n").unwrap(), 1, "{file}\n{pattern}");
        }
        // Each comparison costs Neo4j plans; a difference stays until the next one.
        if number % 4 == 0 || number == examples.len() {
            let verified = pipeline.output(&["verify", "-c", path]).await;
            let said = String::from_utf8_lossy(&verified.stdout);
            assert!(verified.status.success(), "{file}\n{said}");
        }
    }
}
