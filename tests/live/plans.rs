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
mod rules;

use std::{collections::BTreeMap, sync::Arc};

use neo4rs::Query;
use wal2graph::{
    checkpoint::{Advance, Origin, Position},
    graph::Model,
    lsn::Lsn,
    neo4j::{
        Connection, Options, Sink, Writer,
        checkpoint::{NewCheckpoint, create, prepare},
        claim,
        connect::ANSWER_LIMIT,
        schema,
    },
    pipeline::{ChunkWriter, StatementSink},
};

use crate::{
    statements::shapes,
    support::{self, graph, neo4j, unique},
};
use bolt::{Bolt, Run};
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
    let origin = Origin { system_identifier: "7".to_owned(), timeline: 1, slot: "s".to_owned() };
    let new = NewCheckpoint { lsn: Lsn(100), origin, mapping_digest: "d".to_owned() };
    let connection = || Connection::new(&options, ANSWER_LIMIT).unwrap();
    assert!(create(&graph(), &pipeline, &new, &[]).await.unwrap());
    let epoch = claim::claim(&options, &pipeline, claim::PATIENCE).await.unwrap().checkpoint.epoch;
    let writer = Writer::new(connection(), &pipeline, epoch);
    let mut sink = Sink::new(writer, connection(), model.clone());
    recorder.take();
    let mut texts = BTreeMap::new();
    for (lsn, (what, statement, rule)) in (100..).zip(every::statements(model)) {
        let (from, to) = (Position::at(Lsn(lsn)), Position::at(Lsn(lsn + 1)));
        sink.write(Advance { from, to, committed_at: None }, vec![statement]).await.unwrap();
        for run in recorder.take() {
            let own = run.text.contains("_Wal2Graph");
            let rule = if own { Rule { eager: true, ..SEEKS } } else { rule };
            let sent = Sent { what: what.clone(), run, rule };
            texts.entry(sent.run.text.clone()).or_insert(sent);
        }
    }
    // What is marked incomplete has no key: it is looked for once, at the end of a copy.
    let scans =
        &["NodeByLabelScan", "DirectedRelationshipTypeScan", "IntersectionNodeByLabelsScan"];
    let rule = Rule { scans, walks: &["a", "b"], ..SEEKS };
    sink.incomplete(10).await.unwrap();
    let what = "look for incomplete rows".to_owned();
    let incomplete = recorder.take().into_iter().map(|run| Sent { what: what.clone(), run, rule });
    texts.into_values().chain(incomplete).collect()
}

/// A statement that only finds what is there and sets properties streams its rows.
fn streams(text: &str) -> bool {
    !["DELETE", "CREATE (", "CALL (", "FOREACH"].iter().any(|word| text.contains(word))
}

async fn judge(model: Model) {
    let model = Arc::new(model);
    prepare(&graph()).await.unwrap();
    schema::establish(&graph(), &schema::requirements(&model)).await.unwrap();
    let sent = record(&model).await;
    let mut bolt = Bolt::connect(neo4j().port());
    let mut wrong = BTreeMap::new();
    for (state, filling) in graphs::states(&model) {
        for text in filling {
            graph().run(Query::new(text)).await.unwrap();
        }
        // What was planned before is forgotten, counts are taken anew.
        bolt.execute("CALL db.clearQueryCaches()");
        for Sent { what, run, rule } in &sent {
            let plan = Plan::new(bolt.explain(run));
            let rule = Rule { eager: rule.eager && !streams(&run.text), ..*rule };
            let violations = plan.violations(rule);
            if !violations.is_empty() {
                let report =
                    format!("{what}, {state}: {violations:#?}\n{}\n{}", run.text, plan.draw());
                wrong.entry(run.text.clone()).or_insert(report);
            }
        }
    }
    println!("{} texts", sent.len());
    let reports: Vec<_> = wrong.into_values().collect();
    assert!(reports.is_empty(), "{} of {}:\n{}", reports.len(), sent.len(), reports.join("\n\n"));
}

#[tokio::test]
async fn soft_references_and_joins_are_seeks() {
    judge(shapes::soft("Pl")).await;
}

#[tokio::test]
async fn composite_keys_and_incoming_references_are_seeks() {
    judge(shapes::composite("Pc `x`")).await;
}

#[tokio::test]
async fn enforced_references_are_seeks() {
    judge(shapes::enforced("Pe")).await;
}
