//! Fixed rates: the time from a change's commit until the graph shows it.
//!
//! A probe outside the program commits a customer with an order. It takes the time when COMMIT has
//! returned, and reads Neo4j until both nodes and the relationship exist. In alternation, it writes
//! the same to Neo4j directly: no change is visible in less time than such a transaction takes, and
//! on average a change arrives when half of another one is still in flight.

use std::{
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::{Duration, Instant},
};

use neo4rs::{Graph, Query, query};
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::{
    Result,
    figures::{Taken, percentile},
    lab::Lab,
    program::{Pipeline, machine_seconds},
    shop,
};

/// Transactions of one order with three lines, per second.
const RATES: [u32; 3] = [200, 500, 1_000];
/// The duration of a rate in a round.
const SECONDS: u64 = 15;
/// The uncounted part of it, until the load is steady.
const WARM_UP: Duration = Duration::from_secs(2);
const VISIBLE: &str = "commit to visible";
const BARE: &str = "one bare graph transaction";
/// The pause between two probes.
const PROBE_PAUSE: Duration = Duration::from_millis(50);
/// The pause between two reads of a probe. A timer of tokio is a whole millisecond late or more.
const LOOK_PAUSE: Duration = Duration::from_micros(300);
/// Probes' ids are from here on.
const PROBE_IDS: i32 = 10_000_000;
/// The offset of the ids that are written directly.
const BARE_IDS: i64 = 100_000_000;
const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)];

pub async fn measure(lab: &Lab) -> Result<Taken> {
    let mut taken = Taken::default();
    lab.wipe("(n)").await?;
    let sql = shop::database(lab, "steady").await?;
    let pipeline = Pipeline::new(lab, "steady");
    pipeline.catch_up()?;
    let mut running = pipeline.start(&[])?;
    running.wait_for("streaming")?;
    let probe = Arc::new(Probe::new(lab, sql)?);
    for round in 0..=lab.rounds {
        for rate in RATES {
            let before = (running.look().processor_seconds, machine_seconds()?);
            let (rate_text, seconds) = (rate.to_string(), SECONDS.to_string());
            let arguments = ["-c", "4", "-R", &rate_text, "-T", &seconds];
            let load = shop::pgbench(lab, "steady", shop::PLACE, &arguments)?.spawn()?;
            // On a worker thread: waking the main thread for every answer would cost too much.
            let (latencies, bare) = tokio::spawn(probe.clone().during(load)).await??;
            if round == 0 {
                continue;
            }
            let after = (running.look().processor_seconds, machine_seconds()?);
            for (what, values) in [(VISIBLE, &latencies), (BARE, &bare)] {
                for (name, share) in PERCENTILES {
                    let name = format!("{rate} tx/s, {what} {name}");
                    taken.value("steady", name, "ms", percentile(values, share));
                }
            }
            for (whose, before, after) in
                [("wal2graph's", before.0, after.0), ("the machine's", before.1, after.1)]
            {
                let name = format!("{rate} tx/s, {whose}");
                let in_use = (after - before) / SECONDS as f64;
                taken.value("steady", name, "processors in use", in_use);
            }
        }
    }
    let cost = running.terminate()?;
    taken.value("steady", "memory peak", "MiB", cost.memory_peak_mib);
    for rate in RATES {
        let [of, by] = [VISIBLE, BARE].map(|what| format!("{rate} tx/s, {what} p50"));
        let name = format!("{rate} tx/s, p50: {VISIBLE} / {BARE}");
        taken.ratio("steady", &name, &of, &by, None);
    }
    Ok(taken)
}

pub struct Probe {
    sql: Client,
    graph: Graph,
    /// The next id.
    next: AtomicI32,
    /// It also writes to the graph by itself.
    writes: bool,
}

impl Probe {
    /// A probe of a pipeline's source and graph.
    pub fn new(lab: &Lab, sql: Client) -> Result<Self> {
        let graph = Graph::new(lab.neo4j.url(), "neo4j", "")?;
        Ok(Probe { sql, graph, next: AtomicI32::new(PROBE_IDS), writes: true })
    }

    /// The same, which writes no nodes without rows: a comparison would name them.
    pub fn looking_only(self) -> Self {
        Probe { writes: false, ..self }
    }

    /// Probes until the load has ended. Returns the latencies in milliseconds, and those of
    /// transactions without the program.
    pub async fn during(self: Arc<Self>, mut load: Child) -> Result<(Vec<f64>, Vec<f64>)> {
        let started = Instant::now();
        let (mut latencies, mut bare) = (Vec::new(), Vec::new());
        while load.try_wait()?.is_none() {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let probed = self.once(id).await?;
            sleep(PROBE_PAUSE).await;
            let is_warm = started.elapsed() > WARM_UP;
            if is_warm {
                latencies.push(probed.as_secs_f64() * 1e3);
            }
            if self.writes {
                let written = self.write(i64::from(id) + BARE_IDS).await?;
                sleep(PROBE_PAUSE).await;
                if is_warm {
                    bare.push(written.as_secs_f64() * 1e3);
                }
            }
        }
        Ok((latencies, bare))
    }

    /// Writes the same customer and order with only Neo4j's driver.
    async fn write(&self, id: i64) -> Result<Duration> {
        let started = Instant::now();
        let mut transaction = self.graph.start_txn().await?;
        for text in [
            "MERGE (c:Customer {id: $id}) SET c.name = 'probe'",
            "MERGE (o:Order {id: $id}) SET o.customer_id = $id, o.status = 'new'",
            "MATCH (o:Order {id: $id}) MATCH (c:Customer {id: $id}) CREATE (o)-[:CUSTOMER]->(c)",
        ] {
            transaction.run(query(text).param("id", id)).await?;
        }
        transaction.commit().await?;
        Ok(started.elapsed())
    }

    async fn once(&self, id: i32) -> Result<Duration> {
        let insert = format!(
            "BEGIN; INSERT INTO customers VALUES ({id}, 'probe'); \
             INSERT INTO orders VALUES ({id}, {id}, 'new', 1, now()); COMMIT"
        );
        let visible: Query =
            query("MATCH (:Order {id: $id})-[:CUSTOMER]->(:Customer {id: $id}) RETURN 1");
        let visible = visible.param("id", i64::from(id));
        // A statement sees what was committed before it, also in a transaction that began earlier.
        // Within one transaction, a read needs no RESET and no transaction of its own, which would
        // only add load.
        let mut looks = self.graph.start_txn().await?;
        self.sql.batch_execute(&insert).await?;
        let committed = Instant::now();
        loop {
            let mut rows = looks.execute(visible.clone()).await?;
            let found = rows.next(looks.handle()).await?.is_some();
            let seen = committed.elapsed();
            rows.finish(looks.handle()).await?;
            if found {
                looks.rollback().await?;
                return Ok(seen);
            }
            std::thread::sleep(LOOK_PAUSE);
        }
    }
}
