//! docs/failures.md has no row that no test proves.

use std::{fs, path::Path};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The files that a module may be in.
fn files(kind: &str, modules: &[&str]) -> [String; 2] {
    let path = modules.join("/");
    [format!("{ROOT}/tests/{kind}/{path}.rs"), format!("{ROOT}/tests/{kind}/{path}/mod.rs")]
}

/// Whether a test of this kind has this path: `live` and `http::a_name`.
fn exists(kind: &str, test: &str) -> bool {
    let mut modules: Vec<&str> = test.split("::").collect();
    let Some(name) = modules.pop() else { return false };
    let text = files(kind, &modules).into_iter().find_map(|file| fs::read_to_string(file).ok());
    let text = text.unwrap_or_default();
    let is_test = |at: usize| {
        let before = text[..at].lines().rev().take(3).collect::<Vec<_>>().join("\n");
        before.contains("#[test]") || before.contains("#[tokio::test")
    };
    text.find(&format!("fn {name}()")).is_some_and(is_test)
}

/// The tests of a row's last cell, with their kinds; what is none of that makes no test.
fn tests(cell: &str) -> Option<Vec<(String, String)>> {
    cell.split(", ")
        .map(|one| {
            let (kind, name) = one.trim().split_once(' ')?;
            let name = name.strip_prefix('`')?.strip_suffix('`')?;
            ["live", "hermetic"].contains(&kind).then(|| (kind.to_owned(), name.to_owned()))
        })
        .collect()
}

#[test]
fn every_row_of_the_failures_names_tests_that_exist() {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/failures.md")).unwrap();
    let is_row = |line: &&str| {
        line.starts_with("| ")
            && !line.starts_with("| ---")
            && !line.starts_with("| what happens |")
    };
    let rows: Vec<&str> = page.lines().filter(is_row).collect();
    assert!(rows.len() > 40, "only {} rows", rows.len());
    let mut wrong = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{row}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
        match tests(cells[4]) {
            None => wrong.push(format!("no test: {}", cells[4])),
            Some(tests) => {
                let missing = tests.iter().filter(|(kind, name)| !exists(kind, name));
                wrong.extend(missing.map(|(kind, name)| format!("{kind} {name} is not there")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The search sees what is not there.
    assert!(!exists("live", "http::a_test_that_nobody_wrote"));
    assert!(!exists("hermetic", "failures::exists"), "it is no test");
    assert!(tests("a person has seen it").is_none());
}
