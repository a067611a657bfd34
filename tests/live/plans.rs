//! The plan of every statement, asked from the server as the program sent it.
//!
//! ```text
//! statements --sink--> recorder --> server
//!                         |
//!                         +--> EXPLAIN on empty labels, on nodes alone, on a hub, on lopsided tables
//! ```
//!
//! A plan is made once and kept, so it must be right whatever the graph held when it was made.

mod bolt;
mod every;
mod graphs;
mod recorder;
mod renewed;
mod rules;

use std::{collections::BTreeMap, sync::Arc};

use neo4rs::Query;
use wal2graph::{
    checkpoint::{Advance, Identity, Log, NewCheckpoint, Origin, Position},
    graph::{Key, Model},
    lsn::Lsn,
    neo4j::{
        Connection, Options, Sink, Writer,
        checkpoint::{create, prepare},
        claim,
        connect::ANSWER_LIMIT,
        fused::FAMILIAR,
        reader::Reader,
        schema,
        sink::Prepared,
    },
    pipeline::{self, ChunkWriter, GraphReader},
    value::Value,
};

use crate::{
    statements::shapes,
    support::{self, Pipeline, graph, neo4j, unique},
};
use bolt::{Bolt, Run};
use graphs::{ALL, State};
use recorder::Recorder;
use rules::{Plan, Rule, SEEKS};

/// A text that was sent, with what it is for and what its plan may do.
struct Sent {
    what: String,
    run: Run,
    rule: Rule,
}

/// Sends every statement about the model, and writes down what is sent.
async fn record(model: &Arc<Model>) -> Vec<Sent> {
    let recorder = Recorder::start(neo4j().port()).await;
    let options =
        Options { url: format!("bolt://127.0.0.1:{}", recorder.port), ..support::graph_options() };
    let pipeline = unique("plans");
    let origin =
        Origin { system_identifier: "7".to_owned(), timeline: 1, log: Log::Slot("s".to_owned()) };
    let new = NewCheckpoint {
        publication: Some("p".to_owned()),
        start: Lsn(100),
        origin,
        mapping_digest: "d".to_owned(),
        // `destroy --graph` removes nothing beside a pipeline that does not say its labels.
        labels: vec!["Planned".to_owned()],
        table_facts: None,
        outlines: None,
        partitions: 1,
        topic_id: None,
        is_whole: false,
        publisher: None,
    };
    let connection = || Connection::new(&options, ANSWER_LIMIT).unwrap();
    assert!(create(&graph(), &pipeline, &new, &[]).await.unwrap());
    let log = Log::Slot("s".to_owned());
    let identity = Identity { pipeline: pipeline.clone(), log };
    let epoch = claim::claim(&options, &identity, Some("p"), claim::PATIENCE)
        .await
        .unwrap()
        .checkpoint
        .epoch;
    let writer = Writer::new(connection(), identity, epoch);
    let mut sink = Sink::new(writer, connection(), model.clone());
    recorder.take();
    let mut texts = BTreeMap::new();
    // What has come often enough is fused, and planned once more.
    let all = every::statements(model);
    let often = all.into_iter().flat_map(|it| std::iter::repeat_n(it, FAMILIAR as usize + 1));
    for (lsn, (what, statement, rule)) in (100..).zip(often) {
        let (from, to) = (Position::at(Lsn(lsn)), Position::at(Lsn(lsn + 1)));
        let (advance, ready) = (
            Advance {
                from,
                to,
                source_lsn: to.lsn,
                committed_at: None,
                last_change: None,
                last_record: None,
                newest: None,
            },
            Prepared::of(model, vec![statement]),
        );
        pipeline::Sink::write(&mut sink, advance, ready).await.unwrap();
        for run in recorder.take() {
            let rule = match run.text.contains("_Wal2Graph") {
                true if run.text.contains("CALL () { UNWIND") => Rule { eager: true, ..rule },
                true => Rule { eager: true, ..SEEKS },
                false => Rule { eager: rule.eager && !streams(&run.text), ..rule },
            };
            let sent = Sent { what: what.clone(), run, rule };
            texts.entry(sent.run.text.clone()).or_insert(sent);
        }
    }
    // Nodes that are marked incomplete have a label for it: few others have it.
    let scans = &["NodeByLabelScan", "IntersectionNodeByLabelsScan", "SubtractionNodeByLabelsScan"];
    let rule = Rule { scans, ..SEEKS };
    sink.incomplete(10).await.unwrap();
    let what = "look for incomplete rows".to_owned();
    let incomplete = recorder.take().into_iter().map(|run| Sent { what: what.clone(), run, rule });
    let fused = texts.keys().filter(|text| text.contains("CALL () { UNWIND")).count();
    assert!(fused * 3 > texts.len(), "{fused} of {} are fused", texts.len());
    let pages = record_pages(model, &recorder, connection()).await;
    texts.into_values().chain(incomplete).chain(pages).collect()
}

/// Pages are ranges of the key's index, in its order: nothing is sorted but the ends of one start node.
async fn record_pages(model: &Arc<Model>, recorder: &Recorder, to: Connection) -> Vec<Sent> {
    let mut reader = Reader::new(to, model.clone());
    let mut pages = Vec::new();
    for (table, shape) in model.iter() {
        let width = model.key_names(table).len();
        let key = Key(vec![Value::Integer(1); width].into());
        reader.page(table, None, 10).await.unwrap();
        reader.page(table, Some(&key), 10).await.unwrap();
        let scans = &[
            "NodeUniqueIndexSeekByRange",
            "NodeIndexSeekByRange",
            "DirectedRelationshipIndexSeekByRange",
        ];
        let page = Rule { walks: &["n", "a"], scans, eager: false };
        let of_one_start = Rule { scans: &["Top"], ..page };
        let sent = |what: &str, rule| {
            let what = format!("{what} of {}", shape.name);
            let runs = recorder.take().into_iter().map(|run| {
                let rule = if run.text.contains("CALL (a, r)") { of_one_start } else { rule };
                Sent { what: what.clone(), run, rule }
            });
            runs.collect::<Vec<_>>()
        };
        pages.extend(sent("page", page));
        reader.found(table, &[key]).await.unwrap();
        pages.extend(sent("found", Rule { walks: &["n"], ..SEEKS }));
    }
    pages
}

/// A statement that only finds what is there and sets properties streams its rows. One that makes
/// relationships between nodes of one label, which it makes where they are missing, does not. Nor does a
/// repair that sets the key by which it finds: it has the rows of one page at most.
fn streams(text: &str) -> bool {
    let sets_key = text.split_once(" SET ").is_some_and(|(_, set)| set.contains(" = r[0]"));
    !sets_key
        && !["DELETE", "CREATE (", "CALL (", "FOREACH", "MERGE (a)-["]
            .iter()
            .any(|word| text.contains(word))
}

/// In `make nightly` all states of the graph are looked at with every model. A plan takes Neo4j up to a second.
async fn judge(model: Model, few: &[State]) {
    let states = if support::is_thorough() { &ALL[..] } else { few };
    let model = Arc::new(model);
    prepare(&graph()).await.unwrap();
    schema::establish(&graph(), &schema::requirements(&model)).await.unwrap();
    let sent = record(&model).await;
    let mut bolt = Bolt::connect(neo4j().port());
    let mut wrong = BTreeMap::new();
    for state in states {
        for text in state.texts(&model) {
            graph().run(Query::new(text)).await.unwrap();
        }
        for Sent { what, run, rule } in &sent {
            let plan = Plan::new(bolt.explain(run));
            let violations = plan.violations(*rule);
            if !violations.is_empty() {
                let report =
                    format!("{what}, {state:?}: {violations:#?}\n{}\n{}", run.text, plan.draw());
                wrong.entry(run.text.clone()).or_insert(report);
            }
        }
    }
    let reports: Vec<_> = wrong.into_values().collect();
    assert!(reports.is_empty(), "{} of {}:\n{}", reports.len(), sent.len(), reports.join("\n\n"));
}

#[ignore = "plans of many texts take minutes: make nightly"]
#[tokio::test]
async fn soft_references_and_joins_are_seeks() {
    judge(shapes::soft("Pl"), &[State::NodesAlone]).await;
}

#[ignore = "plans of many texts take minutes: make nightly"]
#[tokio::test]
async fn composite_keys_and_incoming_references_are_seeks() {
    judge(shapes::composite("Pc `x`"), &[State::Hub]).await;
}

#[ignore = "plans of many texts take minutes: make nightly"]
#[tokio::test]
async fn tables_that_refer_to_one_another_are_seeks() {
    judge(shapes::chain("Pe"), &[State::Empty, State::FewOfTheFirst, State::FewOfTheSecond]).await;
}

/// What has no key to be looked up by.
fn scans_beside_the_rows(text: &str) -> &'static [&'static str] {
    if text.starts_with("MATCH (n:`_") && text.ends_with("RETURN count(n) AS count") {
        // Marked nodes under a pipeline's labels, where another pipeline is in the graph: few are marked.
        &["NodeCountFromCountStore", "NodeByLabelScan", "IntersectionNodeByLabelsScan"]
    } else if text.ends_with("RETURN count(n) AS count") {
        // Neo4j keeps these numbers.
        &["NodeCountFromCountStore"]
    } else if text.contains(":_Incomplete)") {
        // Once, at the end of a copy.
        &["NodeByLabelScan", "IntersectionNodeByLabelsScan", "SubtractionNodeByLabelsScan"]
    } else if text.contains("WHERE entities > 1") {
        // Before the first copy, of labels that have no constraint yet: what would violate it.
        &["NodeByLabelScan", "NodeIndexScan"]
    } else if text.contains("(p:_Wal2GraphCopy {pipeline: $pipeline})") {
        // All progress of a pipeline: two nodes a range, while it is copied.
        &["NodeByLabelScan"]
    } else if text.starts_with("MATCH (c:_Wal2GraphCheckpoint {pipeline: $pipeline}) RETURN")
        || text.starts_with("MATCH (c:_Wal2GraphCheckpoint {pipeline: $pipeline}) WITH c ORDER BY")
    {
        // All checkpoints of a pipeline: there is one for each partition, and few pipelines.
        &["NodeByLabelScan", "Sort"]
    } else if text.starts_with("MATCH (c:_Wal2GraphCheckpoint) RETURN") {
        // All checkpoints of a graph: few pipelines.
        &["NodeByLabelScan", "Sort"]
    } else if text.contains("(d:_DeadLetter {pipeline: $pipeline})") {
        // All dead letters of a pipeline: a person takes them away, and their number has a limit.
        &["NodeByLabelScan", "Sort"]
    } else if text.contains("(r:_Wal2GraphRequest {pipeline: $pipeline") {
        // All requests of a pipeline: a command removes its own when it has the answer.
        &["NodeByLabelScan", "Sort"]
    } else {
        &[]
    }
}

/// Beside rows, the program asks for its own nodes by their key, and for counts that are kept.
#[tokio::test]
async fn what_is_asked_beside_the_rows_is_seeks_too() {
    let schema = "CREATE TABLE pp_parents (id int PRIMARY KEY); \
        CREATE TABLE pp_children (id int PRIMARY KEY, parent_id int REFERENCES pp_parents); \
        INSERT INTO pp_parents VALUES (1); INSERT INTO pp_children VALUES (1, 1)";
    let pipeline = Pipeline::new("plans", schema).await;
    let recorder = Recorder::start(neo4j().port()).await;
    let url = format!("bolt://127.0.0.1:{}", recorder.port);
    for arguments in [&["check"][..], &["run", "--until", "current"], &["status"]] {
        let output = pipeline.output_with_graph(arguments, &url).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut bolt = Bolt::connect(neo4j().port());
    let mut said = recorder.take();
    said.sort();
    said.dedup_by(|left, right| left.text == right.text);
    let administrative = ["CREATE CONSTRAINT", "CREATE INDEX", "SHOW", "CALL d", "TERMINATE"];
    let mut own = 0;
    for run in said {
        // Statements on rows have their own tests.
        let is = |start: &&str| run.text.starts_with(*start);
        if administrative.iter().any(is) || run.text.starts_with("UNWIND $rows[0] AS r M") {
            continue;
        }
        own += usize::from(run.text.contains("_Wal2Graph"));
        let plan = Plan::new(bolt.explain(&run));
        let scans = scans_beside_the_rows(&run.text);
        let violations = plan.violations(Rule { scans, eager: true, ..SEEKS });
        assert!(violations.is_empty(), "{violations:#?}\n{}\n{}", run.text, plan.draw());
    }
    assert!(own >= 8, "checkpoint, claim and progress were seen, {own}");
}

#[tokio::test]
async fn what_is_no_look_up_is_noticed() {
    let key =
        "CREATE CONSTRAINT plans_noticed IF NOT EXISTS FOR (n:PlansNoticed) REQUIRE n.id IS UNIQUE";
    graph().run(Query::new(key.to_owned())).await.unwrap();
    let mut bolt = Bolt::connect(neo4j().port());
    let mut violations = |text: &str, rule| {
        let run = Run { text: text.to_owned(), rest: vec![0xA0, 0xA0] };
        Plan::new(bolt.explain(&run)).violations(rule)
    };
    let fine = "MATCH (a:PlansNoticed {id: 1}) MATCH (b:PlansNoticed {id: 2}) SET a.x = 1, b.x = 2";
    assert_eq!(violations(fine, SEEKS), Vec::<String>::new());
    for bad in [
        "MATCH (n) SET n.x = 1",
        "MATCH (n:PlansNoticed) SET n.x = 1",
        "MATCH (n:PlansNoticed) WHERE n.id > 1 SET n.x = 1",
        "MATCH ()-[x:PLANS_NOTICED]->() SET x.y = 1",
        "MATCH (a:PlansNoticed {id: 1})-[x:PLANS_NOTICED]->(b:PlansNoticed) SET x.y = 1",
        "MATCH (a:PlansNoticed {id: 1}) MATCH (b:PlansNoticed) SET a.x = 1, b.x = 2",
        "UNWIND [1, 2] AS r MATCH (a:PlansNoticed {id: r}) SET a.id = r + 1",
    ] {
        assert!(!violations(bad, SEEKS).is_empty(), "{bad}");
    }
}
