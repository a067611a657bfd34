//! docs/configuration.md has every key of the configuration file, and no other; links lead somewhere; every page is
//! in the README's list and in llms.txt.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;
use serde_json::Value;
use wal2graph::{
    cli::Global,
    config::{Config, parse},
};

/// Stands for a name that the user chooses, of a table for example.
const ANY: &str = "*";
const PAGE: &str = "docs/configuration.md";
/// The first line of each table of keys on that page.
const HEAD: &str = "| key | type | default | meaning |\n";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A key below another one.
fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The schema of the configuration file.
struct Schema(Value);

impl Schema {
    fn read() -> Self {
        Schema(serde_json::from_str(&text("schemas/config.schema.json")).unwrap())
    }

    /// The definition that a schema refers to; else itself.
    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(name) => &self.0["$defs"][name.trim_start_matches("#/$defs/")],
            None => schema,
        }
    }

    /// What a value of a schema can be: one form, or several.
    fn forms<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        let schema = self.resolved(schema);
        match schema["anyOf"].as_array() {
            Some(forms) => forms.iter().flat_map(|it| self.forms(it)).collect(),
            None => vec![schema],
        }
    }

    /// All keys below a path, with the schema of each.
    fn keys<'a>(&'a self, schema: &'a Value, path: &str, found: &mut BTreeMap<String, &'a Value>) {
        for schema in self.forms(schema) {
            for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
                let key = below(path, name);
                found.insert(key.clone(), inner);
                self.keys(inner, &key, found);
            }
            self.nested(schema, path, |inner, path| self.keys(inner, path, found));
        }
    }

    /// What entries of a map and items of a list are.
    fn nested<'a>(&self, schema: &'a Value, path: &str, mut each: impl FnMut(&'a Value, &str)) {
        let (entry, item) = (&schema["additionalProperties"], &schema["items"]);
        if entry.is_object() {
            each(entry, &below(path, ANY));
        }
        if item.is_object() {
            each(item, &format!("{path}[]"));
        }
    }

    /// The words that a key may have, if there are only some.
    fn words<'a>(&'a self, schema: &'a Value) -> Vec<&'a str> {
        let forms = self.forms(schema);
        let of_entries = forms.iter().flat_map(|it| self.forms(&it["additionalProperties"]));
        let all = forms.iter().copied().chain(of_entries).filter_map(|it| it["oneOf"].as_array());
        all.flatten().filter_map(|it| it["const"].as_str()).collect()
    }

    /// The keys that a file has.
    fn used(&self, schema: &Value, file: &Value, path: &str, found: &mut BTreeSet<String>) {
        for schema in self.forms(schema) {
            for (name, inner) in file.as_object().into_iter().flatten() {
                let known = &schema["properties"][name.as_str()];
                let (schema, key) = match known.is_null() {
                    true => (&schema["additionalProperties"], below(path, ANY)),
                    false => (known, below(path, name)),
                };
                found.insert(key.clone());
                self.used(schema, inner, &key, found);
            }
            for inner in file.as_array().into_iter().flatten() {
                self.used(&schema["items"], inner, &format!("{path}[]"), found);
            }
        }
    }
}

/// What a key is by default, as the schema says it.
fn default_of(schema: &Value) -> Option<String> {
    let description = schema["description"].as_str().unwrap_or_default();
    let description = description.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = Regex::new("Default: `([^`]*)`").unwrap();
    let said = said.captures(&description).map(|found| found[1].to_owned());
    match &schema["default"] {
        Value::String(word) => Some(word.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => said,
    }
}

/// What the page says of a key.
struct Row {
    form: String,
    default: String,
}

fn rows(page: &str) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for table in page.split(HEAD).skip(1) {
        for line in table.lines().skip(1).take_while(|line| line.starts_with('|')) {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 4, "{line}");
            assert!(!cells[3].is_empty(), "{line}");
            let row = Row { form: cells[1].to_owned(), default: cells[2].to_owned() };
            let before = rows.insert(cells[0].trim_matches('`').to_owned(), row);
            assert!(before.is_none(), "it is there twice: {line}");
        }
    }
    rows
}

#[test]
fn the_page_of_the_configuration_has_every_key_and_no_other() {
    let (schema, rows) = (Schema::read(), rows(&text(PAGE)));
    let mut keys = BTreeMap::new();
    schema.keys(&schema.0, "", &mut keys);
    assert!(keys.contains_key("tables.*.relationships[].to_columns"), "{:?}", keys.keys());
    let unknown: Vec<_> = rows.keys().filter(|key| !keys.contains_key(*key)).collect();
    assert!(unknown.is_empty(), "on the page, and no key: {unknown:?}");
    for (key, of) in keys {
        let Some(row) = rows.get(&key) else { panic!("{key} is not on the page") };
        for word in schema.words(of) {
            assert!(row.form.contains(&format!("`{word}`")), "{key} can be {word}: {}", row.form);
        }
        if let Some(default) = default_of(of) {
            let has_it = row.default.contains(&format!("`{default}`"));
            assert!(has_it, "the default of {key} is {default}, and the page says {}", row.default);
        }
    }
}

#[test]
fn the_examples_of_the_configuration_are_files_that_are_taken_and_show_every_key() {
    let environment = |name: &str| match name {
        "PGHOST" | "PGUSER" | "SHOP_PASSWORD" | "GRAPH_PASSWORD" | "PAGES_TOKEN" => {
            Some("name".to_owned())
        }
        _ => None,
    };
    let schema = Schema::read();
    let mut shown = BTreeSet::new();
    for example in text(PAGE).split("```yaml\n").skip(1) {
        let example = example.split("```").next().unwrap();
        let raw = parse(example, PAGE).unwrap_or_else(|error| panic!("{error}:\n{example}"));
        if let Err(error) = Config::from_raw(raw, &Global::default(), &environment) {
            panic!("{error}:\n{example}");
        }
        let file: Value = serde_saphyr::from_str(example).unwrap();
        schema.used(&schema.0, &file, "", &mut shown);
    }
    let mut keys = BTreeMap::new();
    schema.keys(&schema.0, "", &mut keys);
    let missing: Vec<_> = keys.keys().filter(|key| !shown.contains(*key)).collect();
    assert!(missing.is_empty(), "without an example: {missing:?}");
}

/// The pages of the folder `docs`.
fn pages() -> BTreeSet<String> {
    let files = fs::read_dir(path("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    files.map(|name| format!("docs/{}", name.into_string().unwrap())).collect()
}

/// All texts with links.
fn linking() -> BTreeSet<String> {
    let named = [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "README.md",
        "SECURITY.md",
        "deploy/README.md",
        "deploy/runbook.md",
        "llms.txt",
    ];
    named.into_iter().map(str::to_owned).chain(pages()).collect()
}

/// The lines that are no code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The places of a page that links may lead to, as GitHub names them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let named = headings.map(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|it| it.is_alphanumeric() || " -_".contains(*it));
        kept.map(|it| if it == ' ' { '-' } else { it }).collect::<String>()
    });
    named.collect()
}

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut checked = 0;
    for origin in linking() {
        let page = text(&origin);
        let folder = Path::new(&origin).parent().unwrap();
        let targets = prose(&page).flat_map(|line| link.captures_iter(line));
        for found in targets.filter(|found| !found[1].contains("://")) {
            let (file, anchor) = found[1].split_once('#').unwrap_or((&found[1], ""));
            let target = match file {
                "" => origin.clone(),
                file => folder.join(file).display().to_string(),
            };
            assert!(path(&target).exists(), "{origin}: {} is not there", &found[1]);
            let is_heading = anchor.is_empty() || anchors(&text(&target)).contains(anchor);
            assert!(is_heading, "{origin}: {} has no such heading", &found[1]);
            checked += 1;
        }
    }
    assert!(checked > 100, "the search finds some: {checked}");
    let found = anchors("## A slot: `x --new`\n```\n# no\n```");
    assert_eq!(found, BTreeSet::from(["a-slot-x---new".to_owned()]));
}

#[test]
fn every_page_is_in_the_readme_and_in_llms_txt() {
    for index in ["README.md", "llms.txt"] {
        let index_text = text(index);
        for page in pages() {
            assert!(index_text.contains(&format!("]({page}")), "{index} has no link to {page}");
        }
    }
}
