//! The examples of docs/mapping.md: each file in it gives the plan that follows it.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use crate::support;

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

#[tokio::test]
async fn every_example_of_the_mapping_guide_gives_the_plan_that_it_shows() {
    let blocks = blocks(include_str!("../../docs/mapping.md"));
    let url = support::postgres().url(&support::new_database("guide").await);
    let (language, schema) = &blocks[0];
    assert_eq!(language, "sql");
    support::client(&url).await.batch_execute(schema).await.unwrap();
    let (language, whole) = &blocks[1];
    assert_eq!(language, "text");
    assert_eq!(plan(&url, None).await.trim_end(), whole.trim_end());
    let mut tried = 0;
    for pair in blocks.windows(2) {
        let [(yaml, file), (text, shown)] = pair else { continue };
        if (yaml.as_str(), text.as_str()) != ("yaml", "text") {
            continue;
        }
        let plan = plan(&url, Some(file)).await;
        for entry in entries(shown) {
            assert!(plan.contains(&format!("{entry}\n")), "{file}\n{entry}\nis not in\n{plan}");
        }
        tried += 1;
    }
    let files = blocks.iter().filter(|(language, _)| language == "yaml").count();
    assert_eq!((tried, files), (8, 8));
}
