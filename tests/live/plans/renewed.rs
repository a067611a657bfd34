//! What a new slot asks of the graph: the checkpoint by its key, and what an earlier mapping has left by
//! its label, its type, or the index of its property.

use std::sync::Arc;

use neo4rs::Query;
use wal2graph::{
    checkpoint::{Claim, Claims, Identity, Log, NewCheckpoint, Origin},
    copy::Progress,
    graph::{Between, LeftOver, Pass},
    lsn::Lsn,
    neo4j::{Store as Neo4jStore, checkpoint::destroy, connect::ANSWER_LIMIT},
    pipeline::{Rows, Store},
};

use super::{
    Bolt, Options, Plan, Recorder, Rule, Run, SEEKS, neo4j, scans_beside_the_rows, support,
};

const PIPELINE: &str = "plans_renewed";

/// Nodes and relationships of before, half of them with what has gone from the mapping.
const LEFT: &[&str] = &[
    "CREATE CONSTRAINT plans_left IF NOT EXISTS FOR (n:PlansLeft) REQUIRE n.id IS UNIQUE",
    "CREATE CONSTRAINT plans_left_code IF NOT EXISTS FOR (n:PlansLeft) REQUIRE n.code IS UNIQUE",
    "CREATE INDEX plans_left_own IF NOT EXISTS FOR ()-[r:PLANS_LEFT]-() ON (r.id)",
    "CALL db.awaitIndexes(60)",
    "MATCH (n:PlansLeft) DETACH DELETE n",
    "UNWIND range(1, 400) AS id CREATE (n:PlansLeft {id: id}) \
     FOREACH (_ IN CASE WHEN id % 2 = 0 THEN [1] END | SET n:PlansExtra, n.code = id, n.old = id)",
    "MATCH (n:PlansLeft), (m:PlansLeft {id: n.id % 400 + 1}) CREATE (n)-[r:PLANS_LEFT {id: n.id}]->(m) \
     FOREACH (_ IN CASE WHEN n.id % 2 = 0 THEN [1] END | SET r.old = 1)",
];

fn checkpoint_of(slot: &str, start: u64) -> NewCheckpoint {
    NewCheckpoint {
        publication: Some("p".to_owned()),
        start: Lsn(start),
        origin: Origin {
            system_identifier: "7".to_owned(),
            timeline: 1,
            log: Log::Slot(slot.to_owned()),
        },
        mapping_digest: "d".to_owned(),
        labels: vec!["PlansLeft".to_owned()],
        table_facts: None,
        outlines: None,
        partitions: 1,
        topic_id: None,
        is_whole: false,
        publisher: None,
    }
}

fn identity(slot: &str) -> Identity {
    Identity { pipeline: PIPELINE.to_owned(), log: Log::Slot(slot.to_owned()) }
}

/// The statements that were sent since the last time, each with a plan that the rule allows.
fn judge(recorder: &Recorder, bolt: &mut Bolt, is: &str, rule: impl Fn(&str) -> Rule) -> usize {
    let runs: Vec<Run> = recorder.take();
    for run in &runs {
        let plan = Plan::new(bolt.explain(run));
        let violations = plan.violations(rule(&run.text));
        assert!(violations.is_empty(), "{is}: {violations:#?}\n{}\n{}", run.text, plan.draw());
    }
    runs.len()
}

#[tokio::test]
async fn a_new_slot_reads_by_keys_and_what_has_gone_by_its_index_or_label() {
    let run = async |text: &str| super::graph().run(Query::new(text.to_owned())).await.unwrap();
    destroy(&super::graph(), PIPELINE).await.unwrap();
    for text in LEFT {
        run(text).await;
    }
    let recorder = Recorder::start(neo4j().port()).await;
    let options =
        Options { url: format!("bolt://127.0.0.1:{}", recorder.port), ..support::graph_options() };
    let store = Neo4jStore::new(&options, ANSWER_LIMIT, Arc::new(())).unwrap();
    let owed = [
        Progress { is_owed: true, ..Progress::new("public.left", Pass::Rows) },
        Progress { is_owed: true, ..Progress::new("public.left", Pass::Graph) },
    ];
    assert!(store.create(PIPELINE, &checkpoint_of("one", 100), &owed).await.unwrap());
    let as_read = store.checkpoint(&identity("one")).await.unwrap().unwrap();
    let mut bolt = Bolt::connect(neo4j().port());
    recorder.take();
    let new = checkpoint_of("two", 900);
    assert!(store.renew(&identity("one"), &as_read, &new, &owed).await.unwrap());
    // The checkpoint is locked by its key. All progress goes: two nodes a range.
    let of_own = |text: &str| Rule { scans: scans_beside_the_rows(text), eager: true, ..SEEKS };
    assert_eq!(judge(&recorder, &mut bolt, "renew", of_own), 3);

    let epoch = store.claim(&identity("two"), Some("p")).await.unwrap().epoch;
    let claims = [Claim { identity: identity("two"), epoch }];
    let label = || "PlansLeft".to_owned();
    let between =
        || Between { relationship_type: "PLANS_LEFT".to_owned(), from: label(), to: label() };
    let property = |name: &str| LeftOver::Property { label: label(), property: name.to_owned() };
    let of_relationships =
        |name: &str| LeftOver::RelationshipProperty { of: between(), property: name.to_owned() };
    // A relationship is found by its type, its index, or from one of its labels.
    let relationships =
        &["DirectedRelationshipIndexScan", "DirectedRelationshipTypeScan", "NodeByLabelScan"];
    let cases: [(LeftOver, &[&str], u64); 6] = [
        (property("code"), &["NodeIndexScan"], 200),
        (property("old"), &["NodeByLabelScan"], 200),
        (
            LeftOver::Label { label: label(), extra: "PlansExtra".to_owned() },
            &["NodeByLabelScan", "IntersectionNodeByLabelsScan"],
            200,
        ),
        (of_relationships("id"), relationships, 400),
        (of_relationships("old"), relationships, 200),
        (LeftOver::Relationships(between()), relationships, 400),
    ];
    for (left, scans, expected) in cases {
        recorder.take();
        assert_eq!(
            store.clear(PIPELINE, Claims::All(&claims), &left).await.unwrap(),
            expected,
            "{left:?}"
        );
        let rule = |text: &str| match text.contains("PlansLeft") {
            // What is read is held back before it goes.
            true => Rule { scans, walks: &["anon_0", "anon_1"], eager: true },
            false => of_own(text),
        };
        assert_eq!(judge(&recorder, &mut bolt, &format!("{left:?}"), rule), 2);
        assert_eq!(
            store.clear(PIPELINE, Claims::All(&claims), &left).await.unwrap(),
            0,
            "{left:?}"
        );
    }

    recorder.take();
    let rows = Rows { labels: [label()].into(), ..Rows::default() };
    assert_eq!(store.remove(PIPELINE, Claims::All(&claims), &rows).await.unwrap().nodes, 400);
    // All that its nodes have goes with them.
    let rule = |text: &str| match text.contains("PlansLeft") {
        true => Rule { walks: &["n"], scans: &["NodeByLabelScan"], eager: true },
        false => of_own(text),
    };
    assert_eq!(judge(&recorder, &mut bolt, "nodes", rule), 3);
    store.forget(PIPELINE, &claims).await.unwrap();
    for text in ["CONSTRAINT plans_left", "CONSTRAINT plans_left_code", "INDEX plans_left_own"] {
        run(&format!("DROP {text}")).await;
    }
}
