//! All faults together: whatever breaks, in whatever order, what the graph shows is a state that the tables had, and
//! at the end it equals them.
//!
//! ```text
//! writers --> PostgreSQL --proxy--> run --proxy--> Neo4j <-- reader: the checkpoint's lock, then several rows
//!                 ^                  ^               ^
//!                 +------ faults: killed, stopped, frozen, cut, slow, locked, altered, short of memory,
//!                                        with a clock that is set
//! ```
//!
//! `SEED` and `MINUTES` are taken from the environment. Through Kafka: [`topic`].

mod clock;
mod memory;
pub mod proxy;
mod reader;
#[cfg(feature = "kafka")]
mod topic;
mod writers;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fastrand::Rng;
use neo4rs::Query;
use tokio::{
    task::block_in_place,
    time::{sleep, timeout},
};
use wal2graph::neo4j::{Connection, Options, checkpoint, connect::ANSWER_LIMIT};
use wal2graph_servers::{Neo4j, Neo4jOptions, Postgres, PostgresOptions, Stop};

use crate::support::{Running, output, program};

use clock::Clock;
use proxy::{Network, Proxy};
use reader::LOCKED;

const DATABASE: &str = "chaos";
/// So often the reader has to read under the lock while everything breaks. The run goes on until it has, so that a slow
/// machine takes longer and does not fail.
const LEAST_READS: u64 = 10;
/// At the end everything has to be equal within this time.
const END_LIMIT: Duration = Duration::from_secs(240);

/// What writers, reader and faults share.
#[derive(Clone)]
pub struct World(Arc<Shared>);

struct Shared {
    source_url: String,
    graph: Options,
    counts: Mutex<BTreeMap<String, u64>>,
    /// Rows come that the graph refuses. A first copy that meets many of them outlasts the run, and nothing is read.
    refused: AtomicBool,
    wrong: Mutex<Option<String>>,
}

impl World {
    /// A connection to the source, past the proxy.
    pub async fn source(&self) -> Option<tokio_postgres::Client> {
        let connected = tokio_postgres::connect(&self.0.source_url, tokio_postgres::NoTls).await;
        let (client, connection) = connected.ok()?;
        tokio::spawn(connection);
        Some(client)
    }

    pub fn counted(&self, what: &str) {
        *self.0.counts.lock().unwrap().entry(what.to_owned()).or_default() += 1;
    }

    fn brings_refused_rows(&self) {
        self.0.refused.store(true, Ordering::Relaxed);
    }

    fn has_refused_rows(&self) -> bool {
        self.0.refused.load(Ordering::Relaxed)
    }

    fn count(&self, what: &str) -> u64 {
        self.0.counts.lock().unwrap().get(what).copied().unwrap_or_default()
    }

    fn violates(&self, what: String) {
        eprintln!("VIOLATED: {what}");
        self.0.wrong.lock().unwrap().get_or_insert(what);
    }

    fn graph(&self) -> Connection {
        Connection::new(&self.0.graph, ANSWER_LIMIT).unwrap()
    }
}

/// The slot was told of nothing that the graph does not have.
async fn check_slot(world: &World, graph: &Connection) {
    let Some(sql) = world.source().await else { return };
    let text = "SELECT (confirmed_flush_lsn - '0/0')::int8 FROM pg_replication_slots \
                WHERE slot_name = 'wal2graph_chaos'";
    // The slot first: it may only move towards the checkpoint in between.
    let Ok(Some(row)) = sql.query_opt(text, &[]).await else { return };
    let confirmed: Option<i64> = row.get(0);
    let Ok(Some(checkpoint)) = checkpoint::read(graph, DATABASE).await else { return };
    let confirmed = confirmed.unwrap_or(0).unsigned_abs();
    if confirmed > checkpoint.lsn.0 {
        world.violates(format!("the slot is at {confirmed}, the graph at {}", checkpoint.lsn));
    }
    world.counted("looks at the slot");
}

/// The servers, the ways to them, and the program.
struct Stage {
    world: World,
    postgres: Postgres,
    neo4j: Neo4j,
    to_source: Proxy,
    to_graph: Proxy,
    clock: Clock,
    config: tempfile::NamedTempFile,
    log: std::path::PathBuf,
    running: Option<Running>,
    /// Until then it may have ended because it got no memory.
    short_until: Instant,
    graph: Connection,
}

impl Stage {
    fn arguments(&self, arguments: &[&str]) -> std::process::Command {
        let source = format!("postgres://postgres@127.0.0.1:{}/{DATABASE}", self.to_source.port);
        let graph = format!("bolt://127.0.0.1:{}", self.to_graph.port);
        let file = self.config.path().to_str().unwrap();
        program(&[arguments, &["-c", file]].concat(), &source, &graph)
    }

    /// The program runs. One that has ended by itself is a violation.
    fn runs(&mut self) {
        if let Some(running) = &mut self.running
            && let Ok(Some(status)) = running.0.try_wait()
        {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let end: Vec<&str> = log.lines().rev().take(12).collect();
            match Instant::now() < self.short_until {
                true => self.world.counted("run got no memory, and ended"),
                false => self.world.violates(format!("run has ended ({status}): {end:#?}")),
            }
            self.running = None;
        }
        if self.running.is_none() {
            let log = std::fs::File::options().append(true).open(&self.log).unwrap();
            let mut command = self.arguments(&["run"]);
            self.clock.is_of(&mut command);
            self.running = Some(Running(command.stderr(log).spawn().unwrap()));
        }
    }

    /// For a while the program gets little more memory than it has. It may end then.
    async fn memory_is_short(&mut self, more: u64, time: Duration) -> &'static str {
        let Some(id) = self.running.as_ref().map(|it| it.0.id()) else { return "nothing" };
        let Some(has) = memory::of(id) else { return "nothing" };
        memory::limit(id, has + more);
        sleep(time).await;
        memory::give_back(id);
        self.short_until = Instant::now() + Duration::from_secs(5);
        "memory is short"
    }

    /// A server does what it is told.
    fn is_done(&self, done: Result<(), wal2graph_servers::ServerError>) {
        let Err(error) = done else { return };
        let processes =
            std::process::Command::new("ps").args(["axo", "pid,args"]).output().unwrap();
        let processes = String::from_utf8_lossy(&processes.stdout).into_owned();
        let of_servers = processes.lines().filter(|line| line.contains("postgres:"));
        of_servers.for_each(|line| eprintln!("{line}"));
        panic!("{error}; the log is in {}", self.log.display());
    }

    async fn fault(&mut self, rng: &mut Rng) {
        let time = Duration::from_millis(rng.u64(200..4_000));
        let networks = [
            Network::Cut,
            Network::Frozen,
            Network::OneWay,
            Network::Slow(Duration::from_millis(rng.u64(1..40))),
        ];
        let network = networks[rng.usize(..networks.len())];
        let name = match rng.u8(0..17) {
            0 | 1 => {
                if let Some(running) = self.running.take() {
                    running.kill();
                }
                "run is killed"
            }
            2 => {
                if let Some(mut running) = self.running.take() {
                    let exit = running.terminate(Duration::from_secs(60)).await;
                    if exit.is_none() {
                        self.world.violates("it does not end at SIGTERM".to_owned());
                    }
                }
                "run is stopped"
            }
            3 => {
                if let Some(running) = &self.running {
                    running.signal("STOP");
                    sleep(time).await;
                    running.signal("CONT");
                }
                "run is frozen"
            }
            4 => {
                let killed = block_in_place(|| {
                    self.postgres.kill().and_then(|()| self.postgres.start_again())
                });
                self.is_done(killed);
                "PostgreSQL is killed"
            }
            5 => {
                let stopped = block_in_place(|| {
                    self.postgres.stop(Stop::Fast).and_then(|_| self.postgres.start_again())
                });
                self.is_done(stopped);
                "PostgreSQL is restarted"
            }
            6 => {
                let killed =
                    block_in_place(|| self.neo4j.kill().and_then(|()| self.neo4j.start_again()));
                self.is_done(killed);
                "Neo4j is killed"
            }
            7 => {
                self.neo4j.signal("STOP");
                sleep(time).await;
                self.neo4j.signal("CONT");
                "Neo4j is frozen"
            }
            8 => {
                self.to_source.is(network);
                sleep(time).await;
                self.to_source.is(Network::Well);
                "the way to the source fails"
            }
            9 => {
                self.to_graph.is(network);
                sleep(time).await;
                self.to_graph.is(Network::Well);
                "the way to the graph fails"
            }
            15 => self.memory_is_short(rng.u64(0..4 << 20), time).await,
            16 => {
                self.clock.is_off_by(rng.i64(-7_200..7_200));
                "the clock is set"
            }
            14 => {
                let full = self.neo4j.limit_files(Some(rng.u64(1..64) << 10));
                self.is_done(full);
                sleep(time * 2).await;
                // It does not go on by itself when there is room again.
                let again =
                    block_in_place(|| self.neo4j.kill().and_then(|()| self.neo4j.start_again()));
                self.is_done(again);
                "the disk of Neo4j is full"
            }
            10 => {
                if let Some(sql) = self.world.source().await {
                    let text = format!(
                        "SET statement_timeout = '10s'; BEGIN; LOCK TABLE cha_accounts, cha_orders; \
                         SELECT pg_sleep({}); COMMIT",
                        time.as_secs_f64()
                    );
                    let _ = sql.batch_execute(&text).await;
                }
                "tables are locked"
            }
            11 => {
                let held = async {
                    let mut transaction = self.graph.begin().await.ok()?;
                    let text = "MATCH (n:ChaCustomer) WITH n LIMIT 50 SET n._lock = null";
                    transaction.run(Query::new(text.to_owned())).await.ok()?;
                    sleep(time).await;
                    transaction.rollback().await;
                    Some(())
                };
                let _ = timeout(Duration::from_secs(10), held).await;
                "nodes are locked"
            }
            _ => match self.world.source().await {
                Some(sql) => writers::alter(&sql, rng).await,
                None => "nothing",
            },
        };
        self.world.counted(name);
    }

    async fn command(&self, arguments: &[&str]) -> (bool, String) {
        let output = output(self.arguments(arguments)).await;
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }
}

#[ignore = "long: make chaos, make nightly"]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_breaks_the_graph_shows_states_of_the_tables_and_equals_them_at_the_end() {
    let (seed, time) = asked();
    let mut rng = Rng::with_seed(seed);
    let mut stage = stage(seed).await;
    let world = stage.world.clone();
    let writers: Vec<_> = (0..3)
        .map(|_| tokio::spawn(writers::write(world.clone(), rng.fork())))
        .chain([tokio::spawn(reader::read(world.clone()))])
        .collect();
    stage.runs();
    // It reads before anything breaks: without the first copy there is nothing to read.
    let began = Instant::now();
    while world.count(LOCKED) == 0 && began.elapsed() < END_LIMIT {
        sleep(Duration::from_millis(100)).await;
    }
    world.brings_refused_rows();
    let (began, before) = (Instant::now(), world.count(LOCKED));
    let reads = || world.count(LOCKED) - before;
    while began.elapsed() < time || (reads() < LEAST_READS && began.elapsed() < time + END_LIMIT) {
        stage.runs();
        sleep(Duration::from_millis(rng.u64(0..4_000))).await;
        stage.fault(&mut rng).await;
        check_slot(&world, &stage.graph).await;
    }
    writers.iter().for_each(|writer| writer.abort());
    ends_equal(&mut stage).await;
    let counts = world.0.counts.lock().unwrap().clone();
    if reads() < LEAST_READS {
        world.violates(format!(
            "{} reads under the lock while everything broke, fewer than {LEAST_READS}",
            reads()
        ));
    }
    println!("SEED={seed}: {counts:#?}");
    let wrong = world.0.wrong.lock().unwrap().clone();
    if let Some(wrong) = wrong {
        panic!("SEED={seed}: {wrong}; the log is in {}", stage.log.display());
    }
}

/// The seed, and for how long.
fn asked() -> (u64, Duration) {
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse::<u64>().ok());
    let seed = number("SEED").unwrap_or_else(|| fastrand::u64(..100_000));
    let time = Duration::from_secs(60 * number("MINUTES").unwrap_or(2));
    println!("SEED={seed} MINUTES={}", time.as_secs() / 60);
    (seed, time)
}

/// Both servers, with what is written into the source.
async fn servers() -> (Postgres, Neo4j, World) {
    let postgres = Postgres::start(&PostgresOptions::default()).unwrap();
    let neo4j = Neo4j::start(&Neo4jOptions::default()).unwrap();
    let admin = crate::support::client(&postgres.url("postgres")).await;
    admin.batch_execute(&format!("CREATE DATABASE {DATABASE}")).await.unwrap();
    let world = World(Arc::new(Shared {
        source_url: postgres.url(DATABASE),
        graph: Options::open(neo4j.url()),
        counts: Mutex::default(),
        refused: AtomicBool::default(),
        wrong: Mutex::default(),
    }));
    let sql = world.source().await.unwrap();
    sql.batch_execute(writers::SCHEMA).await.unwrap();
    (postgres, neo4j, world)
}

async fn stage(seed: u64) -> Stage {
    let log = std::env::temp_dir().join(format!("chaos-{seed}.log"));
    std::fs::write(&log, "").unwrap();
    let (postgres, neo4j, world) = servers().await;
    let config = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    let file =
        "pipeline: chaos\nhttp: {listen: 'off'}\non_error: park\nlimits: {dead_letters: 100000}\n";
    std::fs::write(config.path(), file).unwrap();
    Stage {
        to_source: Proxy::to(postgres.port()).await,
        to_graph: Proxy::to(neo4j.port()).await,
        graph: world.graph(),
        clock: Clock::new(),
        short_until: Instant::now(),
        world,
        postgres,
        neo4j,
        config,
        log,
        running: None,
    }
}

/// Nothing breaks any more, and what the graph refuses is mended: it equals the tables.
async fn ends_equal(stage: &mut Stage) {
    let world = stage.world.clone();
    stage.runs();
    let sql = world.source().await.expect("the source is up");
    let mend = "DELETE FROM cha_tags WHERE length(tag) > 8000";
    sql.batch_execute(mend).await.unwrap();
    let caught_up = stage.command(&["wait", "--timeout", "200s"]);
    match timeout(END_LIMIT, caught_up).await {
        Ok((true, _)) => {}
        Ok((false, said)) => return world.violates(format!("it does not catch up: {said}")),
        Err(_) => return world.violates("it does not catch up".to_owned()),
    }
    for arguments in [&["dead-letters", "retry", "--all"][..], &["verify"]] {
        let (is_right, said) = stage.command(arguments).await;
        if !is_right {
            world.violates(format!("{arguments:?}: {said}"));
        }
    }
    stage.runs();
    let counts = "SELECT (SELECT count(*) FROM cha_customers) + (SELECT count(*) FROM cha_orders)";
    let rows: i64 = sql.query_one(counts, &[]).await.unwrap().get(0);
    let nodes = "MATCH (n:ChaCustomer|ChaOrder) WHERE NOT n:_Placeholder RETURN count(n) AS count";
    let found = stage.graph.rows(Query::new(nodes.to_owned())).await.unwrap();
    let found: i64 = found[0].get("count").unwrap();
    if rows != found {
        world.violates(format!("{rows} rows, {found} nodes"));
    }
    if let Some(running) = stage.running.take() {
        running.kill();
    }
}
