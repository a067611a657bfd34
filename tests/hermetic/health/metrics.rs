//! The metrics as they are served.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::watch;
use wal2graph::{
    change::Timestamp,
    checkpoint::{Position, TopicPartition},
    copy::Progress,
    engine::Refused,
    graph::{
        Event, Key, Model, Pass, Row, TableIndex,
        model::{NodeShape, Shape, Table},
    },
    health::{Side, State},
    lsn::Lsn,
    metrics::{
        CheckLook, Comparing, Copying, GraphLook, Metrics, RequestLook, SlotLook, SourceLook,
        TopicLook, now,
    },
    pipeline::{Observer, Reported, Status, Tally, Written},
    report,
    request::{self, Findings, Purpose, Request, RequestId, RequestStatus, TableFindings},
    topic::copied::CopyState,
    value::Value,
};

use super::LIMITS;
use crate::exposition::read;

fn later(seconds: i64) -> Timestamp {
    Timestamp { unix_micros: now().unix_micros + seconds * 1_000_000 }
}

fn status(lsn: u64, copying: bool) -> Status {
    let applied = Position::at(Lsn(lsn));
    Status { received: applied.lsn, complete: applied.lsn, applied, copying, ..Status::default() }
}

fn look(flushed: u64) -> SourceLook {
    let slot = SlotLook {
        status: Some("reserved".to_owned()),
        acknowledged: Some(Lsn(flushed - 5)),
        retained_bytes: Some(77),
        ..SlotLook::default()
    };
    SourceLook { at: now(), flushed: Lsn(flushed), slot: Some(slot) }
}

fn key() -> Key {
    Key([Value::Integer(1)].into())
}

#[test]
fn a_broker_that_is_away_is_named_while_no_partition_is_applied() {
    let metrics = Metrics::new("shop", LIMITS);
    let why = "Kafka: ask for the topic's ends: no answer from b:9092 in 5 s";
    metrics.uses(Side::Kafka);
    for _ in 0..2 {
        metrics.looked_at(Side::Kafka, now(), Err(why.to_owned()));
    }
    assert_eq!(metrics.snapshot(now()).facts.state, State::Waiting { why: why.to_owned() });
    assert_eq!(read(&metrics.text(now()))["wal2graph_connected{side=\"kafka\"}"], 0.0);
    metrics.looked_at(Side::Kafka, now(), Ok(()));
    assert_eq!(read(&metrics.text(now()))["wal2graph_connected{side=\"kafka\"}"], 1.0);
    assert_eq!(metrics.snapshot(now()).facts.state, State::Starting);
}

#[test]
fn checks_are_shown_until_they_are_old_or_the_program_has_stopped() {
    let metrics = Metrics::new("shop", LIMITS);
    assert_eq!(metrics.snapshot(now()).checks, None);
    let mut found = report::Findings::default();
    found.failed("Neo4j is away", None);
    metrics.checked(CheckLook { at: now(), findings: found.findings.clone() });
    assert_eq!(metrics.snapshot(later(100)).checks.unwrap().findings, found.findings);
    assert_eq!(metrics.snapshot(later(300)).checks, None, "long ago");
    metrics.stopped("the slot is gone".to_owned());
    assert_eq!(metrics.snapshot(now()).checks, None, "nobody asks any more");
}

#[test]
fn how_many_changes_neo4j_takes_at_once_is_shown_when_it_has_refused_more() {
    let metrics = Metrics::new("shop", LIMITS);
    let (status, watched) = watch::channel(status(5, false));
    metrics.connected(watched, None);
    assert_eq!(metrics.snapshot(now()).changes_at_once, None);
    status.send_modify(|it| it.portion = it.portion.after(Refused::TooLarge, 1_000));
    assert_eq!(metrics.snapshot(now()).changes_at_once, Some(500));
}

#[test]
fn what_is_known_is_served_and_what_is_not_is_left_out() {
    let metrics = Metrics::new("shop", LIMITS);
    let starting = read(&metrics.text(later(5)));
    assert_eq!(starting["wal2graph_state{state=\"starting\"}"], 1.0);
    assert_eq!(starting["wal2graph_slot_status{status=\"unknown\"}"], 1.0);
    assert!(starting["wal2graph_lag_seconds"] >= 5.0, "since the start");
    for name in ["lag_bytes", "slot_retained_bytes", "placeholders", "copy_rows"] {
        let name = format!("wal2graph_{name}");
        assert!(!starting.keys().any(|series| series.starts_with(&name)), "{name} is not known");
    }
    let (_sender, receiver) = watch::channel(status(100, false));
    metrics.connected(receiver, None);
    metrics.looked_at_source(Some(look(130)));
    metrics.looked_at_graph(Some(GraphLook {
        at: now(),
        placeholders: Some(3),
        incomplete: Some(0),
    }));
    let streaming = read(&metrics.text(now()));
    for (series, value) in [
        ("state{state=\"streaming\"}", 1.0),
        ("state{state=\"starting\"}", 0.0),
        ("lag_bytes{stage=\"applied\"}", 30.0),
        ("lag_bytes{stage=\"received\"}", 30.0),
        ("lag_bytes{stage=\"acknowledged\"}", 5.0),
        ("slot_status{status=\"reserved\"}", 1.0),
        ("slot_status{status=\"unknown\"}", 0.0),
        ("slot_retained_bytes", 77.0),
        ("placeholders", 3.0),
    ] {
        assert_eq!(streaming[&format!("wal2graph_{series}")], value, "{series}");
    }
    assert!(!streaming.contains_key("wal2graph_slot_safe_bytes"));
    assert!(streaming.keys().any(|series| series.starts_with("wal2graph_build_info{version=")));
    assert!(streaming["process_resident_memory_bytes"] > 0.0);
}

#[test]
fn topics_that_name_no_positions_show_no_lag_behind_the_source_but_behind_themselves() {
    let metrics = Metrics::new("shop", LIMITS);
    let at = TopicPartition { topic: "shop".to_owned(), partition: 0 };
    let copied = CopyState::default();
    let (_status, status) = watch::channel(Status { committed_at: None, ..status(7, false) });
    metrics.partition_is_unplaced(&at);
    metrics.partition_connected(&at, status, copied);
    metrics.looked_at_topic(Some(TopicLook { at: now(), ends: BTreeMap::from([(at, 7)]) }));
    let said = read(&metrics.text(now()));
    let of_source = ["wal2graph_lag_seconds", "wal2graph_lag_bytes{stage=\"applied\"}"];
    assert!(of_source.iter().all(|series| !said.contains_key(*series)), "{said:?}");
    let series = "wal2graph_kafka_consumer_lag_seconds{partition=\"0\",topic=\"shop\"}";
    assert_eq!(said[series], 0.0);
    assert_eq!(metrics.snapshot(now()).facts.unready(&LIMITS), []);
}

#[test]
fn a_partition_that_is_given_away_leaves_no_gauge_behind() {
    let metrics = Metrics::new("shop", LIMITS);
    let at = |partition| TopicPartition { topic: "shop".to_owned(), partition };
    let series = |name: &str, partition: i32| {
        format!("wal2graph_{name}{{partition=\"{partition}\",topic=\"shop\"}}")
    };
    let copied = CopyState::default();
    let of = |offset| Status { committed_at: Some(later(-90)), ..status(offset, false) };
    let senders = [7, 20].map(|offset| watch::channel(of(offset)));
    for (partition, (_, receiver)) in senders.iter().enumerate() {
        metrics.partition_connected(&at(partition as i32), receiver.clone(), copied.clone());
    }
    let ends = BTreeMap::from([(at(0), 10), (at(1), 20)]);
    metrics.looked_at_topic(Some(TopicLook { at: now(), ends }));
    let both = read(&metrics.text(now()));
    assert_eq!(both[&series("kafka_consumer_lag", 0)], 3.0);
    assert!(both[&series("kafka_consumer_lag_seconds", 0)] >= 90.0, "since its last commit");
    assert_eq!(both[&series("kafka_consumer_lag", 1)], 0.0);
    assert_eq!(both[&series("kafka_consumer_lag_seconds", 1)], 0.0);
    // The observer has died, but time goes on.
    let old = read(&metrics.text(later(30)));
    assert!(!old.contains_key(&series("kafka_consumer_lag", 1)), "{old:?}");
    let seconds = old[&series("kafka_consumer_lag_seconds", 1)];
    assert!((30.0..90.0).contains(&seconds), "{seconds}");
    // A partition that reconnects keeps its knowledge.
    metrics.partition_waiting(&at(1), "away".to_owned());
    metrics.partition_connected(&at(1), senders[1].1.clone(), copied.clone());
    let again = read(&metrics.text(later(30)))[&series("kafka_consumer_lag_seconds", 1)];
    assert!((seconds..90.0).contains(&again), "{again}");
    metrics.partition_gone(&at(0));
    let one = read(&metrics.text(now()));
    assert!(!one.keys().any(|it| it.contains("partition=\"0\"")), "{one:?}");
    assert_eq!(one[&series("kafka_consumer_lag", 1)], 0.0);
}

#[test]
fn a_look_from_before_the_slot_was_made_does_not_say_that_there_is_none() {
    let metrics = Metrics::new("shop", LIMITS);
    let shows = |status: &str, at| {
        read(&metrics.text(at))[&format!("wal2graph_slot_status{{status=\"{status}\"}}")] == 1.0
    };
    let slotless = |at| SourceLook { slot: None, at, ..look(100) };
    metrics.looked_at_source(Some(slotless(now())));
    assert!(shows("none", now()), "there is none yet");
    metrics.slot_is_held();
    assert!(shows("unknown", now()), "nobody has looked since it was made");
    // A look may take a while: it began before, and is told of after.
    metrics.looked_at_source(Some(slotless(later(-1))));
    assert!(shows("unknown", now()));
    metrics.looked_at_source(Some(look(100)));
    assert!(shows("reserved", now()));
    metrics.looked_at_source(Some(slotless(later(1))));
    assert!(shows("none", later(1)), "it was dropped");
}

#[test]
fn a_look_that_is_old_or_failed_is_not_shown_and_the_lag_grows() {
    let metrics = Metrics::new("shop", LIMITS);
    let (_sender, receiver) = watch::channel(status(100, false));
    metrics.connected(receiver, None);
    metrics.looked_at_source(Some(look(100)));
    assert_eq!(read(&metrics.text(now()))["wal2graph_lag_seconds"], 0.0);
    let is_unknown = |samples: &BTreeMap<String, f64>| {
        samples["wal2graph_slot_status{status=\"unknown\"}"] == 1.0
            && !samples.contains_key("wal2graph_slot_retained_bytes")
            && !samples.contains_key("wal2graph_lag_bytes{stage=\"applied\"}")
    };
    // The observer has died.
    let old = read(&metrics.text(later(30)));
    assert!(is_unknown(&old) && old["wal2graph_lag_seconds"] >= 30.0, "{old:?}");
    metrics.looked_at_source(None);
    let failed = read(&metrics.text(later(1)));
    assert!(is_unknown(&failed) && failed["wal2graph_lag_seconds"] >= 1.0, "{failed:?}");
    metrics.waiting("gone".to_owned());
    let waiting = read(&metrics.text(later(9)));
    assert_eq!(waiting["wal2graph_state{state=\"waiting\"}"], 1.0);
    assert!(waiting["wal2graph_lag_seconds"] >= 9.0);
}

#[test]
fn batches_are_counted_by_table_and_operation() {
    let metrics = Metrics::new("shop", LIMITS);
    let mut counts = metrics.counts().of_tables(["public.a", "public.\"b\\"].into_iter());
    let (a, b) = (TableIndex(0), TableIndex(1));
    let mut tally = Tally::new(2);
    let row = || Row { properties: vec![], references: vec![] };
    tally.count(&Event::Insert { table: a, key: key(), row: row() });
    tally.count(&Event::Update { table: a, key: key(), row: row() });
    tally.count(&Event::Move { table: a, from: key(), to: key(), row: row() });
    tally.count(&Event::Delete { table: b, key: key() });
    tally.count(&Event::Truncate { tables: vec![a, b] });
    let commits = [later(-2), later(-20)];
    let took = Duration::from_millis(7);
    counts.written(&Written { changes: 5, tally: &tally, commits: &commits, took });
    let mut tally = Tally::new(2);
    tally.count(&Event::Delete { table: b, key: key() });
    counts.written(&Written { changes: 1, tally: &tally, commits: &[], took });
    metrics.counts().retried("lost");
    metrics.counts().unmapped("public.a", "c", 4);
    let samples = read(&metrics.text(now()));
    for (series, value) in [
        ("changes_total{op=\"insert\",table=\"public.a\"}", 1.0),
        ("changes_total{op=\"update\",table=\"public.a\"}", 2.0),
        ("changes_total{op=\"delete\",table=\"public.a\"}", 0.0),
        ("changes_total{op=\"truncate\",table=\"public.a\"}", 1.0),
        ("changes_total{op=\"delete\",table=\"public.\\\"b\\\\\"}", 2.0),
        ("commit_to_graph_seconds_count", 2.0),
        ("commit_to_graph_seconds_bucket{le=\"5\"}", 1.0),
        ("graph_transaction_seconds_count", 2.0),
        ("graph_transaction_changes_sum", 6.0),
        ("retries_total{reason=\"lost\"}", 1.0),
        ("unmapped_values_total{column=\"c\",table=\"public.a\"}", 4.0),
    ] {
        let found = samples.get(&format!("wal2graph_{series}"));
        assert_eq!(found, Some(&value), "{series} in {samples:#?}");
    }
}

#[test]
fn comparisons_are_counted_by_table_and_kind_over_all_lives() {
    let metrics = Metrics::new("shop", LIMITS);
    let model = Arc::new(Model { tables: ["public.a", "public.b"].map(node).to_vec() });
    let life = |compared| {
        let reported = Reported::of([TableIndex(0)]);
        metrics.compares(Comparing {
            reported: reported.clone(),
            model: model.clone(),
            ranges: None,
        });
        let mut report = reported.get();
        report.compared.insert(TableIndex(0), compared);
        report.kinds.insert((TableIndex(0), "extra"), 2);
    };
    life(70);
    life(5);
    life(30);
    let samples = read(&metrics.text(now()));
    let kind = |kind| {
        samples[&format!("wal2graph_differences_total{{kind=\"{kind}\",table=\"public.a\"}}")]
    };
    assert_eq!(samples["wal2graph_reconcile_rows_total{table=\"public.a\"}"], 105.0);
    assert_eq!((kind("extra"), kind("missing")), (6.0, 0.0), "each kind begins at zero");
    assert!(!samples.keys().any(|series| series.contains("public.b")), "it was not asked for");
    assert!(!samples.keys().any(|series| series.starts_with("wal2graph_request")));
    let request = |id: &str, state| {
        let id = RequestId(id.to_owned());
        let request = Request::new(id, Purpose::Verify, Vec::new(), now());
        let of_table = TableFindings { compared: 30, expected: 40, ..TableFindings::default() };
        let findings = Findings { tables: vec![of_table], ..Findings::default() };
        Request { state, findings, ..request }
    };
    let (running, done) =
        (request("1", request::State::Running), request("2", request::State::Done));
    let requests = RequestStatus::all(&[request("0", request::State::Asked), running, done]);
    metrics.looked_at_requests(Some(RequestLook { at: now(), requests, letters: 0 }));
    let samples = read(&metrics.text(now()));
    assert_eq!(samples["wal2graph_requests{state=\"asked\"}"], 1.0);
    assert_eq!(samples["wal2graph_requests{state=\"running\"}"], 1.0);
    assert_eq!(samples["wal2graph_request_progress_ratio"], 0.75);
}

fn node(name: &str) -> Table {
    let node = NodeShape {
        label: name.to_owned(),
        extra_labels: Vec::new(),
        key: vec!["id".to_owned()],
        properties: vec!["id".to_owned()],
        references: Vec::new(),
    };
    Table { name: name.to_owned(), shape: Shape::Node(node) }
}

#[test]
fn a_copy_is_counted_by_table_over_both_passes() {
    let range = |pass, rows, done| Progress {
        table: "public.a".to_owned(),
        partition: None,
        pass,
        part: 0,
        next_block: 0,
        end_block: None,
        relfilenode: 1,
        rows,
        done,
        is_owed: false,
        spares: false,
    };
    let ranges = vec![range(Pass::Nodes, 90, true), range(Pass::Relationships, 10, false)];
    let (_sender, ranges) = watch::channel(ranges);
    let expected = BTreeMap::from([("public.a".to_owned(), 100)]);
    let metrics = Metrics::new("shop", LIMITS);
    let (_status, receiver) = watch::channel(status(1, true));
    metrics.connected(receiver, Some(Copying { ranges, expected }));
    let samples = read(&metrics.text(now()));
    assert_eq!(samples["wal2graph_copy_rows_total{table=\"public.a\"}"], 100.0);
    assert_eq!(samples["wal2graph_copy_rows_expected{table=\"public.a\"}"], 190.0);
    assert_eq!(samples["wal2graph_state{state=\"copying\"}"], 1.0);
}
