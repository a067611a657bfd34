//! What deploy/, docker-compose.yml and Dockerfile say of the program is true: metrics, alerts, flags, variables,
//! configuration. `make deploy-check` lets the tools read them that they are for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use clap::{CommandFactory, Parser};
use regex::Regex;
use serde_json::Value;
use wal2graph::{
    cli::{Cli, Global},
    config::{Config, RawConfig, parse},
};

use crate::{exposition, texts::served_text};

/// Series of Prometheus itself.
const OF_PROMETHEUS: &[&str] = &["up"];
/// Flags of a program that is up, which no command line here gives: the environment has them.
const ENVIRONMENT: &[(&str, &str)] =
    &[("PGHOST", "db"), ("NEO4J_URI", "bolt://graph:7687"), ("PGUSER", "u")];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().unwrap_or_else(|| panic!("{value} is no list"));
    items.iter().map(|item| item.as_str().unwrap_or_else(|| panic!("{item}")).to_owned()).collect()
}

/// The values of each label of each series that the program serves. Buckets and sums count as series.
fn served() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let mut series: BTreeMap<_, BTreeMap<_, BTreeSet<_>>> = BTreeMap::new();
    let label = Regex::new(r#"(\w+)="([^"]*)""#).unwrap();
    for sample in exposition::read(&served_text()).keys() {
        let name = sample.split('{').next().unwrap();
        let labels = series.entry(name.to_owned()).or_default();
        for found in label.captures_iter(sample) {
            labels.entry(found[1].to_owned()).or_default().insert(found[2].to_owned());
        }
    }
    series
}

/// Everything in an expression that does not exist: metrics, labels, values of labels.
fn unknown(
    expression: &str,
    served: &BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
) -> Vec<String> {
    let selector = Regex::new(r"\b((?:wal2graph|process)_\w+|up)\b(?:\{([^}]*)\})?").unwrap();
    let matcher = Regex::new(r#"(\w+)(=~|=|!=|!~)"([^"]*)""#).unwrap();
    // Labels that Prometheus puts on every series.
    let of_targets = ["job", "instance", "namespace", "pipeline"];
    let mut unknown = Vec::new();
    for found in selector.captures_iter(expression) {
        let name = &found[1];
        if OF_PROMETHEUS.contains(&name) {
            continue;
        }
        let Some(labels) = served.get(name) else {
            unknown.push(name.to_owned());
            continue;
        };
        let matchers = found.get(2).map_or("", |it| it.as_str());
        for matched in matcher.captures_iter(matchers) {
            if of_targets.contains(&&matched[1]) {
                continue;
            }
            let values = labels.get(&matched[1]).cloned().unwrap_or_default();
            let missing = matched[3].split('|').find(|value| !values.contains(*value));
            unknown.extend(missing.map(|value| format!("{name}{{{}={value:?}}}", &matched[1])));
        }
    }
    unknown
}

/// The alerts by name, with their expressions.
fn alerts() -> BTreeMap<String, Value> {
    let rules = yaml(&text("deploy/prometheus/alerts.yml"));
    let groups = rules["groups"].as_array().unwrap();
    let alerts = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    alerts.map(|alert| (alert["alert"].as_str().unwrap().to_owned(), alert.clone())).collect()
}

#[test]
fn alerts_name_only_what_is_served() {
    let served = served();
    for (name, alert) in alerts() {
        let unknown = unknown(alert["expr"].as_str().unwrap(), &served);
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
    }
    // The search sees what is wrong.
    let wrong =
        r#"sum(wal2graph_state{state="gone"}) > wal2graph_lag and wal2graph_lag_seconds{job="x"}"#;
    assert_eq!(unknown(wrong, &served), [r#"wal2graph_state{state="gone"}"#, "wal2graph_lag"]);
}

#[test]
fn the_board_names_only_what_is_served_and_leaves_nothing_out() {
    let served = served();
    let board: Value =
        serde_json::from_str(&text("deploy/grafana/dashboards/wal2graph.json")).unwrap();
    let mut expressions = Vec::new();
    collect(&board, &mut expressions);
    assert!(expressions.len() > 30, "the search finds some: {expressions:?}");
    for expression in &expressions {
        let unknown = unknown(expression, &served);
        assert!(unknown.is_empty(), "{expression}: {unknown:?}");
    }
    let shown = expressions.join("\n");
    let families = served.keys().filter(|name| name.starts_with("wal2graph_"));
    for name in families.filter(|name| !name.ends_with("_sum") && !name.ends_with("_count")) {
        let family = name.trim_end_matches("_bucket");
        assert!(shown.contains(family), "no panel shows {family}");
    }
}

/// All expressions and queries of a board.
fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if ["expr", "definition"].contains(&name.as_str()) => {
                        found.push(text.to_owned());
                    }
                    _ => collect(value, found),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn every_alert_has_a_section_in_the_runbook_and_a_unit_test() {
    let runbook = text("deploy/runbook.md");
    let tests = yaml(&text("deploy/prometheus/alerts.test.yml"));
    let mut fired = BTreeSet::new();
    let mut silent = BTreeSet::new();
    for check in tests["tests"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|test| test["alert_rule_test"].as_array().unwrap().iter())
    {
        let name = check["alertname"].as_str().unwrap().to_owned();
        let fires = !check["exp_alerts"].as_array().unwrap().is_empty();
        if fires {
            fired.insert(name)
        } else {
            silent.insert(name)
        };
    }
    let sections: BTreeSet<String> =
        runbook.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect();
    let alerts = alerts();
    assert_eq!(sections, alerts.keys().cloned().collect(), "sections of the runbook, and alerts");
    for (name, alert) in &alerts {
        assert!(fired.contains(name), "no unit test shows {name} fire");
        assert!(silent.contains(name), "no unit test shows {name} stay silent");
        let anchor = format!("deploy/runbook.md#{}", name.to_lowercase());
        assert_eq!(alert["annotations"]["runbook"], anchor.as_str());
        let section = runbook.split(&format!("## {name}\n")).nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        assert!(section.contains("\n$ wal2graph "), "{name} has no command");
    }
}

/// The words of a command line as a shell sees them. A comment ends it.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    // What the shell does with the output.
    let end = words.iter().position(|word| ["|", ">", "&", "&&"].contains(&word.as_str()));
    words.truncate(end.unwrap_or(words.len()));
    words
}

fn parsed(origin: &str, arguments: &[String]) -> Cli {
    let all = ["wal2graph".to_owned()].into_iter().chain(arguments.iter().cloned());
    Cli::try_parse_from(all).unwrap_or_else(|error| panic!("{origin}: {arguments:?}: {error}"))
}

#[test]
fn commands_of_the_documentation_parse() {
    let mut files: Vec<PathBuf> =
        ["README.md", "SECURITY.md", "deploy/README.md", "deploy/runbook.md"].map(path).into();
    files.extend(fs::read_dir(path("docs")).unwrap().map(|entry| entry.unwrap().path()));
    let mut commands = 0;
    for file in files {
        let origin = file.display().to_string();
        for line in fs::read_to_string(&file).unwrap().lines() {
            let Some(line) = line.strip_prefix("$ wal2graph ") else { continue };
            let words = words(line);
            // `--help` and `--version` answer instead of parsing.
            if words.iter().any(|word| word == "--help" || word == "--version") {
                continue;
            }
            parsed(&origin, &words);
            commands += 1;
        }
    }
    assert!(commands > 40, "the search finds some: {commands}");
}

/// The variables that stand for flags.
fn variables() -> BTreeSet<String> {
    let cli = Cli::command();
    let named = cli.get_arguments().filter_map(|argument| argument.get_env());
    named.map(|name| name.to_string_lossy().into_owned()).collect()
}

fn check_variables<'a>(origin: &str, names: impl Iterator<Item = &'a str>) {
    let known = variables();
    assert!(known.contains("WAL2GRAPH_SOURCE_URL"), "{known:?}");
    for name in names.filter(|name| name.starts_with("WAL2GRAPH_")) {
        assert!(known.contains(name), "{origin}: {name} is no variable of the program");
    }
}

fn loaded(raw: RawConfig) -> Config {
    let environment = |name: &str| {
        ENVIRONMENT.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    Config::from_raw(raw, &Global::default(), &environment).unwrap()
}

#[test]
fn compose_starts_the_program_with_flags_and_variables_that_it_has() {
    let compose = yaml(&text("docker-compose.yml"));
    let mut commands = BTreeSet::new();
    for (name, service) in compose["services"].as_object().unwrap() {
        let image = service["image"].as_str().unwrap_or_else(|| panic!("{name} has no image"));
        if image != "wal2graph:local" {
            continue;
        }
        let arguments = strings(&service["command"]);
        parsed(name, &arguments);
        commands.insert(arguments[0].clone());
        let environment = service["environment"].as_object().unwrap();
        check_variables(name, environment.keys().map(String::as_str));
        for file in service["volumes"].as_array().into_iter().flatten() {
            let (here, there) = file.as_str().unwrap().split_once(':').unwrap();
            assert!(arguments.iter().any(|word| there.starts_with(word)), "{there} is not read");
            let config = loaded(parse(&text(here), here).unwrap());
            assert!(config.kafka().is_ok() && config.graph().is_ok());
        }
        assert_eq!(service["read_only"], true, "{name}");
    }
    assert_eq!(commands, ["apply", "publish", "run"].map(str::to_owned).into());
    // Files that are mounted exist, and what is scraped is there.
    for (name, service) in compose["services"].as_object().unwrap() {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let here = volume.as_str().unwrap().split(':').next().unwrap();
            assert!(!here.starts_with('.') || path(here).exists(), "{name}: {here}");
        }
    }
    let prometheus = yaml(&text("deploy/prometheus/prometheus.yml"));
    for job in prometheus["scrape_configs"].as_array().unwrap() {
        let target = job["dns_sd_configs"][0]["names"][0].as_str().unwrap();
        assert!(compose["services"].get(target).is_some(), "{target}");
    }
}

#[test]
fn the_publications_of_compose_are_those_of_its_pipelines_and_have_all_tables() {
    let sample = text("demo/src/shop.sql");
    let tables: Vec<&str> = sample
        .lines()
        .filter_map(|line| line.strip_prefix("CREATE TABLE ")?.strip_suffix(" ("))
        .collect();
    assert!(tables.len() > 5, "{tables:?}");
    let made = text("deploy/compose/pipelines.sql");
    let kafka = loaded(parse(&text("deploy/compose/kafka.yaml"), "kafka.yaml").unwrap());
    for publication in ["wal2graph_shop", &kafka.publication] {
        let statement = made.split(&format!("CREATE PUBLICATION {publication}\n")).nth(1).unwrap();
        let listed = statement.split("FOR TABLE ").nth(1).unwrap().lines().next().unwrap();
        assert_eq!(listed.split(", ").collect::<Vec<_>>(), tables, "{publication}");
    }
}

#[test]
fn the_image_starts_and_asks_the_program_with_what_it_has() {
    let image = text("Dockerfile");
    // The words of an instruction in JSON's form, as the last stage has it.
    let words = |instruction: &str| {
        let line = image.lines().rev().find(|line| line.starts_with(instruction));
        let line = line.unwrap_or_else(|| panic!("there is no {instruction}"));
        strings(&serde_json::from_str(&line[line.find('[').unwrap()..]).unwrap())
    };
    assert_eq!(words("ENTRYPOINT"), ["wal2graph"]);
    parsed("CMD", &words("CMD"));
    let asked = words("HEALTHCHECK");
    assert_eq!(asked[0], "wal2graph");
    parsed("HEALTHCHECK", &asked[1..]);
    let environment = image.lines().find_map(|line| line.strip_prefix("ENV ")).unwrap();
    check_variables("Dockerfile", environment.split(' ').map(|it| it.split('=').next().unwrap()));
}

#[test]
fn the_unit_starts_the_program_with_flags_that_it_has() {
    let unit = text("deploy/systemd/wal2graph@.service");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let words = words(start);
    assert!(words[0].ends_with("/wal2graph"), "{words:?}");
    parsed("the unit", &words[1..]);
}

#[test]
fn the_manifests_start_the_program_with_what_it_has() {
    let manifests = text("deploy/kubernetes/wal2graph.yaml");
    let readme = text("README.md");
    let mut containers = 0;
    for manifest in manifests.split("---\n").filter(|it| it.contains("\nkind:")) {
        let manifest = yaml(manifest);
        if let Some(file) = manifest["data"]["wal2graph.yaml"].as_str() {
            let config = loaded(parse(file, "wal2graph.yaml").unwrap());
            assert!(config.graph().is_ok());
        }
        for container in
            manifest["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten()
        {
            parsed("a manifest", &strings(&container["args"]));
            let variables = container["env"].as_array().unwrap().iter();
            check_variables("a manifest", variables.map(|it| it["name"].as_str().unwrap()));
            for probe in ["livenessProbe", "readinessProbe"] {
                let page = container[probe]["httpGet"]["path"].as_str().unwrap();
                assert!(readme.contains(&format!("| `{page}` | ")), "no such page: {page}");
            }
            containers += 1;
        }
    }
    assert_eq!(containers, 1);
}

#[test]
fn chart_image_and_release_have_the_versions_of_the_program() {
    let chart = yaml(&text("deploy/helm/wal2graph/Chart.yaml"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    let base = concat!("rust:", env!("CARGO_PKG_RUST_VERSION"), "-bookworm");
    for name in ["Dockerfile", ".github/workflows/release.yml"] {
        assert!(text(name).contains(base), "{name} does not build with {base}");
    }
}
