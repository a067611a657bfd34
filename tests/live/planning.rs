//! Texts are planned ahead: on connections of their own, and found again by the transactions that
//! need them.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use neo4rs::Query;
use wal2graph::{
    checkpoint::{Advance, Identity, Log, NewCheckpoint, Origin, Position},
    graph::{Circumstances, Model},
    lsn::Lsn,
    neo4j::{
        Connection, Options, Planner, Writer,
        checkpoint::{create, prepare},
        claim,
        connect::ANSWER_LIMIT,
        cypher::{self, likely_texts},
        schema,
    },
};
use wal2graph_servers::{Neo4j, Neo4jOptions};

use crate::{
    statements::shapes,
    support::{self, Pipeline},
};

/// How many statements the server has forgotten now: those that it had plans of.
async fn forget(graph: &Connection) -> usize {
    let rows = graph.rows(Query::new("CALL db.clearQueryCaches()".to_owned())).await.unwrap();
    let said = rows[0].get::<String>("value").unwrap();
    let number = said.split_whitespace().find_map(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("{said}"))
}

fn queries(texts: &[Arc<str>]) -> Vec<cypher::Query> {
    let query = |text: &Arc<str>| cypher::Query {
        text: text.clone(),
        // A statement without rows is as good as any for its plan.
        rows: Vec::new(),
        otherwise: None,
    };
    texts.iter().map(query).collect()
}

/// The server says how many statements it had plans of. Had a writer's transaction needed others, it
/// would have twice as many.
#[ignore = "long: make nightly"]
#[tokio::test]
async fn texts_that_were_planned_ahead_are_not_planned_again_by_the_transaction_that_needs_them() {
    let server = Neo4j::start(&Neo4jOptions::default()).unwrap();
    let options = Options::open(server.url());
    let graph = Connection::new(&options, ANSWER_LIMIT).unwrap();
    let model = shapes::soft("Ahead");
    prepare(&graph).await.unwrap();
    schema::establish(&graph, &schema::requirements(&model)).await.unwrap();
    let log = Log::Slot("s".to_owned());
    let origin = Origin { system_identifier: "7".to_owned(), timeline: 1, log: log.clone() };
    let new = NewCheckpoint {
        publication: Some("p".to_owned()),
        start: Lsn(100),
        origin,
        mapping_digest: "d".to_owned(),
        partitions: 1,
        // `destroy --graph` removes nothing beside a pipeline that does not say its labels.
        labels: vec!["Planned".to_owned()],
        table_facts: None,
        outlines: None,
        topic_id: None,
        is_whole: false,
        publisher: None,
    };
    assert!(create(&graph, "ahead", &new, &[]).await.unwrap());
    let identity = Identity { pipeline: "ahead".to_owned(), log };
    let claimed = claim::claim(&options, &identity, Some("p"), claim::PATIENCE).await.unwrap();
    let connection = Connection::new(&options, ANSWER_LIMIT).unwrap();
    let mut writer = Writer::new(connection, identity, claimed.checkpoint.epoch);

    let texts = likely_texts(&model, Circumstances::Settled);
    assert!(texts.len() > 12, "enough to tell them from others, and too many to be fused");
    let queries = queries(&texts);
    forget(&graph).await;
    let planner = Planner::start(&options, Vec::new(), Arc::new(|_| {})).unwrap();
    planner.ready(&queries).await;
    drop(planner);
    let (from, to) = (Position::at(Lsn(100)), Position::at(Lsn(101)));
    let advance = Advance {
        from,
        to,
        source_lsn: to.lsn,
        committed_at: None,
        last_change: None,
        last_record: None,
        newest: None,
    };
    writer.write(&advance, &queries).await.unwrap();
    let plans = forget(&graph).await;
    assert!(plans >= texts.len(), "{plans} plans of {} texts", texts.len());
    assert!(plans < texts.len() * 3 / 2, "{plans} plans of {} texts: made twice", texts.len());
}

/// Neo4j multiplies out what ORs and ANDs of conditions say: 3 to the 16th conditions here.
#[tokio::test]
async fn a_table_with_many_references_is_planned_in_no_time() {
    let references = (0..16).map(|at| shapes::reference(&format!("TO_{at}"), at)).collect();
    let target = |at| shapes::node(format!("ManyTo{at}"), &["id"], &[], Vec::new());
    let mut tables: Vec<_> = (0..16).map(target).collect();
    tables.push(shapes::node("ManyOwner".to_owned(), &["id"], &[], references));
    let model = Model { tables };
    let graph = Connection::new(&support::graph_options(), ANSWER_LIMIT).unwrap();
    schema::establish(&graph, &schema::requirements(&model)).await.unwrap();
    for text in likely_texts(&model, Circumstances::Settled) {
        let explain = graph.rows(Query::new(format!("EXPLAIN {text}")));
        let planned = tokio::time::timeout(support::PATIENCE, explain).await;
        planned.unwrap_or_else(|_| panic!("still planned: {text}")).unwrap();
    }
}

/// 1,000 plans are Neo4j's default, and nothing says when they are too few.
#[tokio::test]
async fn a_plan_cache_that_is_too_small_for_the_mapping_is_found_by_check() {
    let few = "CREATE TABLE pc_0 (id int PRIMARY KEY);";
    let more = (1..=300).map(|number| {
        format!(
            "CREATE TABLE pc_{number} (id int PRIMARY KEY, a int REFERENCES pc_0, b int REFERENCES pc_0);"
        )
    });
    let many = few.to_owned() + &more.collect::<String>();
    let few = Pipeline::new("plan_cache_few", few).await;
    let check = few.output(&["check"]).await;
    let report = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(!report.contains("query_cache"), "{report}");
    let many = Pipeline::new("plan_cache_many", &many).await;
    let check = many.output(&["check"]).await;
    let report = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success(), "it is a warning: {report}");
    let fix = "fix: server.memory.query_cache.per_db_cache_num_entries=";
    let advised = report.split(fix).nth(1).and_then(|rest| rest.split(' ').next());
    let advised: usize = advised.unwrap_or_else(|| panic!("{report}")).parse().unwrap();
    assert!(report.contains("keeps the plans of 1000 statements") && advised > 1_000, "{report}");
}
