//! Commands and metrics named in texts exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::CommandFactory;
use tokio::sync::watch;
use wal2graph::{
    change::Timestamp,
    checkpoint::{Position, TopicPartition},
    cli::Cli,
    copy::Progress,
    graph::{
        Model, Pass, TableIndex,
        model::{NodeShape, Shape, Table},
    },
    health::{Limits, Side},
    lsn::Lsn,
    metrics::{
        Comparing, Copying, DeadLetterLook, GraphLook, Metrics, RequestLook, SlotLook, SourceLook,
        TopicLook, now,
    },
    pipeline::{Observer, Reported, Status, Tally, Written},
    request::{Purpose, Request, RequestId, RequestStatus, State},
    topic::copied::CopyState,
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const MINUTE: Duration = Duration::from_secs(60);

/// Words of a sentence that may follow the program's name but are not commands. `sasl` follows it
/// in an example, as the name of a user.
const PROSE: &[&str] = &[
    "an", "and", "are", "as", "at", "between", "but", "by", "can", "did", "ended", "for", "from",
    "had", "if", "in", "into", "itself", "made", "may", "measured", "must", "never", "not", "of",
    "on", "or", "sasl", "so", "than", "that", "the", "then", "to", "when", "where", "which",
    "while", "will", "with", "without",
];

/// Every text for a user or a developer.
fn texts() -> Vec<(PathBuf, String)> {
    let root = Path::new(ROOT);
    let mut paths: Vec<PathBuf> = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "llms.txt",
        "Makefile",
    ]
    .map(|name| root.join(name))
    .into();
    let mut folders: Vec<PathBuf> =
        ["src", "docs", "deploy", "demo", "schemas", "benches", "tests/help"]
            .map(|name| root.join(name))
            .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { paths.push(path) }
        }
    }
    let read = |path: PathBuf| fs::read_to_string(&path).ok().map(|text| (path, text));
    paths.into_iter().filter_map(read).collect()
}

/// Texts as the compiler reads them: a backslash at the end of a string's line joins the next line. A line of YAML is
/// no sentence that goes on in the next one.
fn joined(path: &Path, text: &str) -> String {
    if path.extension().is_some_and(|it| it == "yaml" || it == "yml") {
        return text.to_owned();
    }
    text.replace("\\\n", "").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn no_text_names_a_command_that_does_not_exist() {
    let mut cli = Cli::command();
    // Clap adds `help`.
    cli.build();
    let commands: BTreeSet<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
    let mut named = BTreeSet::new();
    for (path, text) in texts() {
        let text = joined(&path, &text);
        for (at, name) in text.match_indices("wal2graph ") {
            let rest = &text[at + name.len()..];
            let end =
                rest.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(rest.len());
            let word = &rest[..end];
            // Part of another word, or a value.
            let is_program =
                !text[..at].ends_with(|c: char| c.is_alphanumeric() || "_/.=:".contains(c));
            let is_word = is_program && !word.is_empty() && !word.starts_with('-');
            // A verb about the program. No command ends like that.
            let is_verb = word.ends_with('s') && !commands.contains(word);
            if !is_word || is_verb || PROSE.contains(&word) {
                continue;
            }
            assert!(commands.contains(word), "{}: wal2graph {word}", path.display());
            named.insert(word.to_owned());
        }
    }
    assert!(named.contains("run") && named.contains("replay"), "the search finds some: {named:?}");
}

/// All metrics, when every fact is known.
pub fn served_text() -> String {
    let limits = Limits { ready_lag: MINUTE, progress_timeout: MINUTE, standby_is_ready: false };
    let metrics = Metrics::new("shop", limits);
    let (_status, status) = watch::channel(Status {
        applied: Position::at(Lsn(100)),
        copying: true,
        ..Status::default()
    });
    let (_ranges, ranges) = watch::channel(vec![Progress {
        table: "public.a".to_owned(),
        partition: None,
        pass: Pass::Nodes,
        part: 0,
        next_block: 0,
        end_block: None,
        relfilenode: 1,
        rows: 1,
        done: false,
        is_owed: false,
        spares: false,
    }]);
    let expected = BTreeMap::from([("public.a".to_owned(), 1)]);
    metrics.connected(status, Some(Copying { ranges, expected }));
    for side in [Side::Source, Side::Graph, Side::Kafka] {
        metrics.uses(side);
    }
    let slot = SlotLook {
        name: Some("s".to_owned()),
        active_pid: Some(1),
        status: Some("reserved".to_owned()),
        acknowledged: Some(Lsn(90)),
        retained_bytes: Some(1),
        safe_bytes: Some(1),
    };
    let earlier = Timestamp { unix_micros: now().unix_micros - 60_000_000 };
    for (at, flushed) in [(earlier, Lsn(110)), (now(), Lsn(120))] {
        metrics.looked_at_source(Some(SourceLook { at, flushed, slot: Some(slot.clone()) }));
    }
    metrics.looked_at_graph(Some(GraphLook {
        at: now(),
        placeholders: Some(1),
        incomplete: Some(1),
    }));
    let at = TopicPartition { topic: "t".to_owned(), partition: 0 };
    let (_status, status) = watch::channel(Status::default());
    let copied = CopyState::default();
    metrics.partition_connected(&at, status, copied);
    metrics.looked_at_topic(Some(TopicLook { at: now(), ends: BTreeMap::from([(at, 7)]) }));
    metrics.looked_at_dead_letters(Some(DeadLetterLook { at: now(), waiting: 1 }));
    let (reported, mut model) = (Reported::of([TableIndex(0)]), Model::default());
    let shape = Shape::Node(NodeShape {
        label: "A".to_owned(),
        extra_labels: Vec::new(),
        key: Vec::new(),
        properties: Vec::new(),
        references: Vec::new(),
    });
    model.tables.push(Table { name: "public.a".to_owned(), shape });
    metrics.compares(Comparing { reported, model: Arc::new(model), ranges: None });
    let request = Request::new(RequestId(String::new()), Purpose::Verify, Vec::new(), now());
    let requests = RequestStatus::all(&[Request { state: State::Running, ..request }]);
    metrics.looked_at_requests(Some(RequestLook { at: now(), requests, letters: 0 }));
    let mut counts = metrics.counts().of_tables(["public.a"].into_iter());
    let (tally, took) = (Tally::new(1), Duration::from_millis(1));
    counts.written(&Written { changes: 1, tally: &tally, commits: &[now()], took });
    metrics.counts().retried("lost");
    metrics.counts().reads_topics();
    metrics.counts().unmapped("public.a", "c", 1);
    metrics.text(now())
}

/// The names of all metrics of the program's own.
fn served() -> BTreeSet<String> {
    let text = served_text();
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE wal2graph_"));
    names.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// The names in the README's table of metrics.
fn documented() -> BTreeSet<String> {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let table = readme.split("| metric, after `wal2graph_` |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1)).map(str::to_owned);
    let names = cells.flat_map(|cell| {
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted.map(|it| it.split('{').next().unwrap().to_owned()).collect::<Vec<_>>()
    });
    names.collect()
}

#[test]
fn the_metrics_of_the_readme_are_those_that_are_served() {
    let (served, documented) = (served(), documented());
    let missing: Vec<_> = served.difference(&documented).collect();
    assert!(missing.is_empty(), "served, and not in the README: {missing:?}");
    let missing: Vec<_> = documented.difference(&served).collect();
    assert!(missing.is_empty(), "in the README, and not served: {missing:?}");
}
