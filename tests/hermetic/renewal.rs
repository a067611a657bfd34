//! Secrets that are replaced while the program runs.

use std::{fs, path::Path};

use wal2graph::{cli::Global, config::Config, health::Side, http::Access};

/// A configuration whose secrets are all in files of this folder.
fn load(folder: &Path) -> Config {
    let in_folder = |name: &str| folder.join(name).display().to_string();
    let text = format!(
        "source: {{url: 'postgres://cdc:${{file:{}}}@db/shop'}}\n\
         graph: {{url: 'bolt://g:1', user: '${{GRAPH_USER}}', password: '${{file:{}}}'}}\n\
         kafka: {{brokers: 'b:1', properties: {{sasl.password: '${{file:{}}}'}}}}\n\
         http: {{token: '${{file:{}}}'}}\n",
        in_folder("source"),
        in_folder("graph"),
        in_folder("kafka"),
        in_folder("token")
    );
    let path = folder.join("wal2graph.yaml");
    fs::write(&path, text).unwrap();
    let environment = |name: &str| (name == "GRAPH_USER").then(|| "writer".to_owned());
    Config::load(&Global { config: Some(path), ..Global::default() }, &environment).unwrap()
}

fn replace(folder: &Path, secret: &str) {
    for name in ["source", "graph", "kafka", "token"] {
        fs::write(folder.join(name), format!("{secret}-{name}\n")).unwrap();
    }
}

/// The password of the source is not shown to anybody: what is sent tells it, in the live tests.
fn is(config: &Config, secret: &str) -> bool {
    let graph = config.graph().unwrap();
    let kafka = config.kafka().unwrap().properties.now();
    let token = config.http.token.clone();
    let access = Access::new(token, Vec::new());
    let shown = format!("Bearer {secret}-token");
    graph.user == "writer"
        && graph.password == format!("{secret}-graph")
        && kafka["sasl.password"] == format!("{secret}-kafka")
        && access.check("/status", None, Some(&shown)).is_ok()
}

#[test]
fn what_files_have_is_read_again_and_stays_while_they_can_not_be_read() {
    let folder = tempfile::tempdir().unwrap();
    replace(folder.path(), "first");
    let config = load(folder.path());
    let clone = config.clone();
    assert!(is(&config, "first"));
    replace(folder.path(), "second");
    assert!(is(&config, "second") && is(&clone, "second"));
    for name in ["graph", "kafka", "token"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    assert!(is(&config, "second"), "a file that is away for a moment took the secret with it");
    // Nobody gets in while the token is being written.
    fs::write(folder.path().join("token"), "").unwrap();
    assert!(Access::new(config.http.token.clone(), Vec::new()).check("/", None, None).is_err());
    replace(folder.path(), "third");
    assert!(is(&config, "third"));
    let shown = format!("{config:?}");
    assert!(!shown.contains("first") && !shown.contains("third"), "{shown}");
}

#[test]
fn the_files_of_a_log_in_are_known_by_side() {
    let folder = tempfile::tempdir().unwrap();
    replace(folder.path(), "first");
    let config = load(folder.path());
    for (side, name) in [(Side::Source, "source"), (Side::Graph, "graph"), (Side::Kafka, "kafka")] {
        let file = folder.path().join(name).display().to_string();
        assert_eq!(config.login_files(side), [file]);
    }
}
