//! Fixed rates: how long after its commit a change can be read in the graph.
//!
//! A probe outside the program commits a customer with an order, takes the time when COMMIT has
//! returned, and reads Neo4j until both nodes and the relationship are there.

use std::time::{Duration, Instant};

use neo4rs::{Graph, Query, query};
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::{
    Result,
    figures::{Taken, percentile},
    lab::Lab,
    program::Pipeline,
    shop,
};

/// Transactions of one order with three lines, a second.
const RATES: [u32; 3] = [200, 500, 1_000];
/// How long a rate is held in a round.
const SECONDS: u64 = 15;
/// What is not counted of it: the load has to get going.
const WARM_UP: Duration = Duration::from_secs(2);
/// The pause between two probes.
const PROBE_PAUSE: Duration = Duration::from_millis(50);
/// The pause between two looks of a probe.
const LOOK_PAUSE: Duration = Duration::from_micros(300);
/// Probes' ids are from here on.
const PROBE_IDS: i32 = 10_000_000;

pub async fn measure(lab: &Lab) -> Result<Taken> {
    let mut taken = Taken::default();
    lab.wipe("(n)").await?;
    let sql = shop::database(lab, "steady").await?;
    let pipeline = Pipeline::new(lab, "steady");
    pipeline.catch_up()?;
    let mut running = pipeline.start(&[])?;
    running.wait_for("streaming")?;
    let probe = Probe { sql, graph: Graph::new(lab.neo4j.url(), "neo4j", "")? };
    let mut next = PROBE_IDS;
    for round in 0..=lab.rounds {
        for rate in RATES {
            let before = running.look();
            let (rate_text, seconds) = (rate.to_string(), SECONDS.to_string());
            let arguments = ["-c", "4", "-R", &rate_text, "-T", &seconds];
            let mut load = shop::pgbench(lab, "steady", shop::PLACE, &arguments)?.spawn()?;
            let latencies = probe.during(&mut load, &mut next).await?;
            if round == 0 {
                continue;
            }
            let cost = running.look();
            for (name, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)] {
                let name = format!("{rate} tx/s, commit to visible {name}");
                taken.value("steady", name, "ms", percentile(&latencies, share));
            }
            let processor = (cost.processor_seconds - before.processor_seconds) / SECONDS as f64;
            taken.value("steady", format!("{rate} tx/s, processors in use"), "", processor);
        }
    }
    let cost = running.terminate()?;
    taken.value("steady", "memory peak", "MiB", cost.memory_peak_mib);
    Ok(taken)
}

struct Probe {
    sql: Client,
    graph: Graph,
}

impl Probe {
    /// Probes until the load has ended: the latencies in milliseconds.
    async fn during(&self, load: &mut std::process::Child, next: &mut i32) -> Result<Vec<f64>> {
        let started = Instant::now();
        let mut latencies = Vec::new();
        while load.try_wait()?.is_none() {
            let latency = self.once(*next).await?;
            *next += 1;
            if started.elapsed() > WARM_UP {
                latencies.push(latency.as_secs_f64() * 1e3);
            }
            sleep(PROBE_PAUSE).await;
        }
        Ok(latencies)
    }

    async fn once(&self, id: i32) -> Result<Duration> {
        let insert = format!(
            "BEGIN; INSERT INTO customers VALUES ({id}, 'probe'); \
             INSERT INTO orders VALUES ({id}, {id}, 'new', 1, now()); COMMIT"
        );
        self.sql.batch_execute(&insert).await?;
        let committed = Instant::now();
        let visible: Query =
            query("MATCH (:Order {id: $id})-[:CUSTOMER]->(:Customer {id: $id}) RETURN 1");
        let visible = visible.param("id", i64::from(id));
        loop {
            let mut rows = self.graph.execute(visible.clone()).await?;
            let found = rows.next().await?.is_some();
            if found {
                return Ok(committed.elapsed());
            }
            sleep(LOOK_PAUSE).await;
        }
    }
}
