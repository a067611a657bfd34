//! `run` follows what changes in tables, publication and mapping.

mod costs;
mod ddl;
mod paused;
mod storm;
mod unlucky;

use std::{fs::File, path::PathBuf, time::Duration};

use neo4rs::Query;
use tokio::time::{Instant, sleep};

use crate::support::{PATIENCE, Pipeline, Running, graph, unique};

/// A pipeline that runs, with what it logs.
struct Followed {
    pipeline: Pipeline,
    running: Running,
    log: PathBuf,
}

impl Followed {
    async fn new(name: &str, schema: &str) -> Self {
        Self::with(Pipeline::new(name, schema).await, &["run"])
    }

    fn with(pipeline: Pipeline, arguments: &[&str]) -> Self {
        let log = std::env::temp_dir().join(format!("{}.log", unique("shape")));
        let running = pipeline.start_logging(arguments, File::create(&log).unwrap());
        Followed { pipeline, running, log }
    }

    fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn sql(&self, sql: &str) {
        let ran = self.pipeline.sql.batch_execute(sql).await;
        ran.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Waits until tables and graph are equal, and `cypher` gives `expected`.
    async fn becomes(&mut self, what: &str, checks: &[(&str, i64)]) {
        let began = Instant::now();
        loop {
            if let Some(code) = self.running.0.try_wait().unwrap() {
                panic!("{what}: it ended with {code}\n{}", self.logged());
            }
            let mut wrong = None;
            for (cypher, expected) in checks {
                let is = number(&format!("MATCH {cypher} AS n")).await;
                if is != *expected {
                    wrong = Some(format!("{cypher}: {is}, not {expected}"));
                    break;
                }
            }
            if wrong.is_none() {
                let output = self.pipeline.output(&["verify"]).await;
                if output.status.success() {
                    return;
                }
                wrong = Some(format!(
                    "{}{}",
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr)
                ));
            }
            if began.elapsed() > PATIENCE {
                panic!("{what}: {}\n{}", wrong.unwrap_or_default(), self.logged());
            }
            sleep(Duration::from_millis(300)).await;
        }
    }
}

/// Runs a statement in the suite's graph, as a shell does: in a transaction of its own.
async fn run(cypher: &str) {
    let ran = graph().run_alone(Query::new(cypher.to_owned()), PATIENCE).await;
    ran.unwrap_or_else(|error| panic!("{cypher}: {error}"));
}

/// The one number that a query of the graph gives as `n`.
async fn number(cypher: &str) -> i64 {
    let rows = graph().rows(Query::new(cypher.to_owned())).await.expect("the query is right");
    rows[0].get("n").expect("a number")
}
