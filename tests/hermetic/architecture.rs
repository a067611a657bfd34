//! The allowed directions of imports, as a table.
//!
//! A scanner without a parser. It removes comments, string contents and `#[cfg(test)]` items, then
//! looks for `crate::name` and for banned words. The project has no code that it can not see
//! through, such as a macro that builds paths.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The imports that a module may have.
enum May {
    /// These modules, and nothing of the outside world: it is pure.
    Pure(&'static [&'static str]),
    /// Every pure module and these.
    Shell(&'static [&'static str]),
    /// Everything: it ties the others together.
    Everything,
}

/// Each module of lib.rs (and main), with its allowed imports. A path is a folder within a module that
/// has rules of its own: nothing in it may lead out of it but by `crate::`.
const MODULES: &[(&str, May)] = &[
    ("catalog", May::Pure(&["shown", "value"])),
    ("change", May::Pure(&["lsn"])),
    ("checkpoint", May::Pure(&["change", "lsn"])),
    ("copy", May::Pure(&["lsn", "checkpoint", "graph", "catalog"])),
    ("dead_letters", May::Pure(&["change", "checkpoint", "envelope"])),
    ("engine", May::Pure(&["change", "checkpoint", "lsn"])),
    ("envelope", May::Pure(&["catalog", "change", "lsn", "value"])),
    ("graph", May::Pure(&["lsn", "shown", "value"])),
    ("health", May::Pure(&["change", "lsn"])),
    ("lsn", May::Pure(&[])),
    ("mapping", May::Pure(&["catalog", "change", "lsn", "value", "graph", "shown"])),
    ("pgoutput", May::Pure(&["change", "lsn", "shown"])),
    ("replay", May::Pure(&["checkpoint", "lsn"])),
    ("report", May::Pure(&["checkpoint", "copy", "health", "request", "shown", "start"])),
    ("request", May::Pure(&["change", "shown"])),
    ("secrets", May::Pure(&[])),
    ("shown", May::Pure(&[])),
    (
        "start",
        // What it advises to run in the graph is Cypher.
        May::Pure(&[
            "catalog",
            "change",
            "checkpoint",
            "copy",
            "graph",
            "lsn",
            "mapping",
            "shown",
            "neo4j::cypher",
        ]),
    ),
    ("topic", May::Pure(&["catalog", "change", "checkpoint", "copy", "envelope", "lsn", "replay"])),
    ("value", May::Pure(&[])),
    ("neo4j::cypher", May::Pure(&["graph", "lsn", "value"])),
    ("graphs", May::Shell(&["neo4j", "pipeline"])),
    ("http", May::Shell(&["metrics"])),
    ("kafka", May::Shell(&["pipeline"])),
    ("logging", May::Shell(&["cli"])),
    ("metrics", May::Shell(&["pipeline"])),
    ("neo4j", May::Shell(&["pipeline"])),
    ("pipeline", May::Shell(&[])),
    ("postgres", May::Shell(&["pipeline"])),
    ("cli", May::Shell(&[])),
    ("config", May::Shell(&["cli", "kafka", "neo4j", "postgres"])),
    ("shutdown", May::Shell(&["cli", "logging"])),
    (
        "service",
        May::Shell(&[
            "cli", "config", "graphs", "http", "kafka", "metrics", "pipeline", "postgres",
            "shutdown",
        ]),
    ),
    (
        "commands",
        May::Shell(&[
            "cli", "config", "kafka", "metrics", "pipeline", "postgres", "service", "shutdown",
        ]),
    ),
    ("main", May::Everything),
];

/// Words that a pure module must not contain: the outside world, its clock and its randomness.
const BANNED_IN_PURE: &[&str] = &[
    "tokio",
    ".await",
    "async fn",
    "std::net",
    "std::fs",
    "std::env",
    "Instant::now",
    "SystemTime::now",
    "Utc::now",
    "Local::now",
    "rand::",
    "tracing::",
    "println!",
    "eprintln!",
];

/// Drivers, each with the only module that may name it.
const DRIVERS: &[(&str, &str)] = &[("neo4rs", "neo4j")];

/// The maximum lines of code in a file, without its tests.
const FILE_LINES: usize = 500;
/// Characters of a line.
const LINE_COLUMNS: usize = 120;

fn find(module: &str) -> Option<&'static May> {
    MODULES.iter().find(|(name, _)| *name == module).map(|(_, may)| may)
}

fn may(module: &str) -> &'static May {
    find(module).unwrap_or_else(|| panic!("{module} is not in the table of architecture.rs"))
}

/// Whether `module` may import `other`.
fn allows(module: &str, other: &str) -> bool {
    let is_pure = |name| matches!(find(name), Some(May::Pure(_)));
    other == module
        || match may(module) {
            May::Pure(others) => others.contains(&other),
            May::Shell(others) => is_pure(other) || others.contains(&other),
            May::Everything => true,
        }
}

/// The problems in the code of a file of `module`, one line each.
fn offences(module: &str, source: &str) -> Vec<String> {
    let code = without_tests(&without_comments_and_text(source));
    let imports = imports(&code).into_iter().filter(|other| !allows(module, other));
    let mut found: Vec<_> = imports.map(|other| format!("imports {other}")).collect();
    if module.contains("::") && says(&code, "super::super") {
        found.push("leads out of its folder by super::super".to_owned());
    }
    if matches!(may(module), May::Pure(_)) {
        let said = BANNED_IN_PURE.iter().filter(|word| says(&code, word));
        found.extend(said.map(|word| format!("says {word} in a pure module")));
    }
    let drivers = DRIVERS.iter().filter(|(driver, of)| module != *of && says(&code, driver));
    found.extend(drivers.map(|(driver, of)| format!("says {driver}, which is {of}'s")));
    let lines = code.trim_end().lines().count();
    if lines > FILE_LINES {
        found.push(format!("has {lines} lines, more than {FILE_LINES}"));
    }
    for (number, line) in source.lines().enumerate() {
        let columns = line.chars().count();
        if columns > LINE_COLUMNS {
            found.push(format!("line {} has {columns} columns", number + 1));
        }
    }
    found
}

/// The modules in the code's `crate::name`, `crate::{name, ...}` or `wal2graph::...`.
fn imports(code: &str) -> BTreeSet<String> {
    // Whitespace is allowed anywhere in a path; between two words it stays.
    let code = code.split_whitespace().collect::<Vec<_>>().join(" ").replace(" ::", "::");
    let code = code.replace(":: ", "::");
    let mut names = BTreeSet::new();
    for root in ["crate::", "wal2graph::"] {
        for (at, _) in code.match_indices(root) {
            if !starts_word(&code, at) {
                continue;
            }
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(group) => names.extend(first_words(group)),
                None => names.extend(identifier(rest)),
            }
        }
    }
    names
}

/// The first word of each entry of an opened group.
fn first_words(group: &str) -> Vec<String> {
    let (mut depth, mut entry, mut words) = (0, 0, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                words.extend(identifier(group[entry..at].trim_start()));
                entry = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    words
}

/// The module at the front. `*` and anything else that is not a module's name returns itself.
fn identifier(text: &str) -> Option<String> {
    let is_at_the_front =
        |path: &&str| text.strip_prefix(*path).is_some_and(|rest| !rest.starts_with(is_word));
    let paths = MODULES.iter().map(|(name, _)| *name).filter(|name| name.contains("::"));
    if let Some(path) = paths.into_iter().find(is_at_the_front) {
        return Some(path.to_owned());
    }
    let end = text.find(|character: char| !is_word(character)).unwrap_or(text.len());
    match &text[..end] {
        "" if text.starts_with('*') => Some("*".to_owned()),
        "" => None,
        // An item of the root itself, such as a macro or `crate::Error`, is in no module.
        word => Some(word.to_owned()),
    }
}

pub fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn starts_word(code: &str, at: usize) -> bool {
    !code[..at].ends_with(is_word)
}

fn says(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let ends = !code[at + word.len()..].starts_with(is_word);
        (word.starts_with('.') || starts_word(code, at)) && (ends || word.ends_with(':'))
    })
}

/// The code without comments and contents of strings. Line breaks stay.
pub fn without_comments_and_text(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(character) = rest.chars().next() {
        let length = match comment(rest).or_else(|| text(rest)) {
            Some(length) => {
                code.extend(rest[..length].chars().filter(|c| *c == '\n'));
                length
            }
            // Takes a whole word at once, so that an `r` or `b` at its end opens no string.
            None => {
                let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                let length = word.max(character.len_utf8());
                code.push_str(&rest[..length]);
                length
            }
        };
        rest = &rest[length..];
    }
    code
}

/// The length of the comment at the front.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    rest.starts_with("/*").then(|| rest.find("*/").map_or(rest.len(), |end| end + 2))
}

/// The length of the string or character literal at the front.
fn text(rest: &str) -> Option<usize> {
    let unprefixed = rest.strip_prefix('b').unwrap_or(rest);
    let prefix = rest.len() - unprefixed.len();
    if let Some(raw) = unprefixed.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let body = raw[hashes..].strip_prefix('"')?;
        let close = format!("\"{}", "#".repeat(hashes));
        let end = body.find(&close).map_or(body.len(), |end| end + close.len());
        return Some(prefix + 1 + hashes + 1 + end);
    }
    let quote = unprefixed.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let body = &unprefixed[1..];
    let lifetime = || {
        let mut characters = body.chars();
        characters.next().is_some_and(|c| c != '\\') && characters.next() != Some('\'')
    };
    if quote == '\'' && lifetime() {
        return None;
    }
    let mut escaped = false;
    for (at, character) in body.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return Some(prefix + 1 + at + 1),
            _ => {}
        }
    }
    Some(rest.len())
}

/// The code without its `#[cfg(test)]` items. Comments and strings are already removed.
pub fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        kept.push_str(&rest[..at]);
        rest = &rest[at + MARK.len()..];
        rest = &rest[item_length(rest)..];
    }
    kept + rest
}

/// The length of the item at the front, including its `;` or its block.
fn item_length(code: &str) -> usize {
    let mut depth = 0;
    for (at, character) in code.char_indices() {
        match character {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// The folder of the code.
pub fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Each file of the code, with its module.
pub fn source_files() -> Vec<(String, PathBuf)> {
    let root = source_root();
    let (mut directories, mut files) = (vec![root.clone()], Vec::new());
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&root).unwrap();
                let names = inside.iter().map(|name| Path::new(name).file_stem().unwrap());
                let names: Vec<&str> = names.map(|name| name.to_str().unwrap()).collect();
                let folder = names.iter().take(2).copied().collect::<Vec<_>>().join("::");
                let module = match find(&folder) {
                    Some(_) => folder,
                    None => names[0].to_owned(),
                };
                files.push((module, path));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn every_file_keeps_to_its_place() {
    let files = source_files();
    assert!(files.len() > 20, "only {} files were found", files.len());
    let mut found = Vec::new();
    for (module, path) in files.iter().filter(|(module, _)| module != "lib") {
        let source = fs::read_to_string(path).unwrap();
        let mut offences = offences(module, &source);
        let is_root = module.contains("::") && path.ends_with("mod.rs");
        if is_root && says(&without_comments_and_text(&source), "super") {
            offences.push("leads out of its folder by super".to_owned());
        }
        let offences = offences.into_iter();
        found.extend(offences.map(|offence| format!("{}: {offence}", path.display())));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_table_and_the_library_name_the_same_modules() {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let code = without_comments_and_text(&fs::read_to_string(library).unwrap());
    let declared = code.lines().filter_map(|line| line.split_once("mod "));
    let declared: BTreeSet<_> =
        declared.map(|(_, name)| name.trim_end_matches(';').to_owned()).collect();
    let table = MODULES.iter().map(|(name, _)| (*name).to_owned());
    let table: BTreeSet<_> = table.filter(|name| name != "main" && !name.contains("::")).collect();
    assert_eq!(declared, table);
}

#[test]
fn the_table_has_no_way_from_a_pure_module_to_a_shell_or_in_a_circle() {
    fn visit(module: &'static str, path: &mut Vec<&'static str>) {
        assert!(!path.contains(&module), "a circle: {path:?} to {module}");
        path.push(module);
        let (is_pure, others) = match may(module) {
            May::Pure(others) => (true, *others),
            May::Shell(others) => (false, *others),
            May::Everything => (false, &[][..]),
        };
        for other in others {
            let keeps_pure = !is_pure || matches!(may(other), May::Pure(_));
            assert!(keeps_pure, "{module} may import {other}");
            visit(other, path);
        }
        path.pop();
    }
    MODULES.iter().for_each(|(module, _)| visit(module, &mut Vec::new()));
}

#[test]
fn the_scanner_sees_what_is_planted() {
    for (module, planted, offence) in [
        ("postgres", "use crate::neo4j::Client;", "imports neo4j"),
        ("neo4j", "fn f() { crate::postgres::connect() }", "imports postgres"),
        ("lsn", "use crate::change::Timestamp;", "imports change"),
        ("pgoutput", "pub(crate) use crate :: {lsn::{Lsn, A}, value};", "imports value"),
        ("graph", "use crate::{\n    lsn::Lsn,\n    mapping,\n};", "imports mapping"),
        ("engine", "use crate::*;", "imports *"),
        ("postgres", "use crate::Thing;", "imports Thing"),
        ("mapping", "use wal2graph::config::Config;", "imports config"),
        ("pipeline", "use crate::commands;", "imports commands"),
        ("service", "use crate::commands;", "imports commands"),
        ("service", "use crate::neo4j::Error;", "imports neo4j"),
        ("commands", "use crate::neo4j::Connection;", "imports neo4j"),
        ("service", "use neo4rs::Query;", "says neo4rs, which is neo4j's"),
        ("engine", "let now = Instant::now();", "says Instant::now in a pure module"),
        ("value", "socket.read().await;", "says .await in a pure module"),
        ("copy", "use tokio::time;", "says tokio in a pure module"),
        ("neo4j::cypher", "use tokio::time;", "says tokio in a pure module"),
        ("neo4j::cypher", "use crate::neo4j::Error;", "imports neo4j"),
        ("neo4j::cypher", "use super::super::Error;", "leads out of its folder by super::super"),
        ("start", "use crate::neo4j::{cypher, Error};", "imports neo4j"),
        ("mapping", "use crate::{neo4j::cypher::quote, value};", "imports neo4j::cypher"),
        ("copy", "let x = rand::random();", "says rand:: in a pure module"),
        ("value", "let q = '\"'; chrono::Utc::now(); let p = '\"';", "says Utc::now in a"),
    ] {
        let found = offences(module, planted);
        let sees = matches!(&found[..], [only] if only.starts_with(offence));
        assert!(sees, "{planted:?}: {found:?} is not {offence:?}");
    }
    let long = format!("//{}", "x".repeat(LINE_COLUMNS));
    assert_eq!(offences("lsn", &long), ["line 1 has 122 columns"]);
    let many = "fn f() {}\n".repeat(FILE_LINES + 1);
    assert_eq!(offences("lsn", &many), ["has 501 lines, more than 500"]);
}

#[test]
fn the_scanner_passes_what_is_allowed() {
    for (module, fine) in [
        ("neo4j", "use crate::{graph::model, pipeline::Sink};"),
        ("commands", "use crate::{postgres, service};"),
        ("start", "use crate::{graph::Model, neo4j::cypher::quote};"),
        ("neo4j", "use crate::neo4j::cypher::render;"),
        ("engine", "use crate::engine::batch;"),
        ("lsn", "// use crate::neo4j;\n/* tokio */ /// crate::change"),
        ("lsn", "const A: &str = \"crate::neo4j \\\" tokio::\";"),
        ("lsn", "const A: &str = r#\"crate::neo4j \" tokio::\"#;"),
        ("lsn", "fn f<'a>(x: &'a str) -> char { '\\'' }"),
        ("lsn", "#[cfg(test)]\nmod tests { use tokio::x; mod y {} use crate::neo4j; }\nfn f() {}"),
        ("value", "let operand::A = my_tokio; strand::x();"),
    ] {
        assert_eq!(offences(module, fine), Vec::<String>::new(), "{fine:?}");
    }
    let tests = "    fn f() {}\n".repeat(FILE_LINES);
    let file = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{tests}}}\n");
    assert_eq!(offences("lsn", &file), Vec::<String>::new());
}
