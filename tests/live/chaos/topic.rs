//! The same through Kafka: one `publish`, two `apply` on two partitions, and a broker that breaks as well.
//!
//! A source transaction is in two partitions here, so a reader sees no commits: what counts is that nobody ends by
//! itself, and that the graph equals the tables at the end.

use std::{
    fs::File,
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

use fastrand::Rng;
use tokio::{task::block_in_place, time::sleep};
use wal2graph_servers::{Kafka, KafkaOptions, Neo4j, Postgres, Stop};

use super::{END_LIMIT, World, asked, servers, writers};
use crate::support::{Running, output, program};

/// One publishes, two apply.
const COMMANDS: [&str; 3] = ["publish", "apply", "apply"];

struct Stage {
    world: World,
    postgres: Postgres,
    neo4j: Neo4j,
    kafka: Kafka,
    config: tempfile::NamedTempFile,
    log: PathBuf,
    running: [Option<Running>; 3],
}

impl Stage {
    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let (source, graph) = (self.postgres.url(super::DATABASE), self.neo4j.url());
        program(
            &[arguments, &["-c", self.config.path().to_str().unwrap()]].concat(),
            &source,
            &graph,
        )
    }

    /// All run. One that has ended by itself is a violation.
    fn run(&mut self) {
        for (number, name) in COMMANDS.into_iter().enumerate() {
            if let Some(running) = &mut self.running[number]
                && let Ok(Some(status)) = running.0.try_wait()
            {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let end: Vec<&str> = log.lines().rev().take(12).collect();
                self.world.violates(format!("{name} has ended ({status}): {end:#?}"));
                self.running[number] = None;
            }
            if self.running[number].is_none() {
                let log = File::options().append(true).open(&self.log).unwrap();
                let child = self.command(&[name]).stderr(log).spawn().unwrap();
                self.running[number] = Some(Running(child));
            }
        }
    }

    async fn fault(&mut self, rng: &mut Rng) {
        let time = Duration::from_millis(rng.u64(200..4_000));
        let number = rng.usize(..COMMANDS.len());
        let name = match rng.u8(0..12) {
            0..=3 => {
                if let Some(running) = self.running[number].take() {
                    running.kill();
                }
                ["publish is killed", "apply is killed", "apply is killed"][number]
            }
            4 => {
                if let Some(mut running) = self.running[number].take()
                    && running.terminate(Duration::from_secs(60)).await.is_none()
                {
                    self.world.violates(format!("{} does not end at SIGTERM", COMMANDS[number]));
                }
                "one is stopped"
            }
            5 => {
                if let Some(running) = &self.running[number] {
                    running.signal("STOP");
                    // Longer than a session: the group gives its partitions to others.
                    sleep(time * 3).await;
                    running.signal("CONT");
                }
                "one is frozen"
            }
            6 | 7 => {
                block_in_place(|| self.kafka.kill().and_then(|()| self.kafka.start_again()))
                    .unwrap();
                "the broker is killed"
            }
            8 => {
                self.kafka.signal("STOP");
                sleep(time * 2).await;
                self.kafka.signal("CONT");
                "the broker is frozen"
            }
            9 => {
                block_in_place(|| {
                    self.postgres.stop(Stop::Immediate).and_then(|_| self.postgres.start_again())
                })
                .unwrap();
                "PostgreSQL crashes"
            }
            10 => {
                block_in_place(|| self.neo4j.kill().and_then(|()| self.neo4j.start_again()))
                    .unwrap();
                "Neo4j is killed"
            }
            _ => match self.world.source().await {
                Some(sql) => writers::alter(&sql, rng).await,
                None => "nothing",
            },
        };
        self.world.counted(name);
    }

    /// Nothing breaks any more: the graph equals the tables.
    async fn ends_equal(&mut self) {
        self.run();
        let sql = self.world.source().await.expect("the source is up");
        let mend = "DELETE FROM cha_tags WHERE length(tag) > 8000";
        sql.batch_execute(mend).await.unwrap();
        let began = Instant::now();
        for arguments in
            [&["wait", "--timeout", "200s"][..], &["dead-letters", "retry", "--all"], &["verify"]]
        {
            let output = output(self.command(arguments)).await;
            let text = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&text);
            if !output.status.success() || began.elapsed() > END_LIMIT * 2 {
                return self.world.violates(format!("{arguments:?}: {said}"));
            }
            self.run();
        }
    }
}

#[ignore = "long: make chaos, make nightly"]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_breaks_beside_a_topic_the_graph_equals_the_tables_at_the_end() {
    let (seed, time) = asked();
    let mut rng = Rng::with_seed(seed);
    let log = std::env::temp_dir().join(format!("chaos-topic-{seed}.log"));
    std::fs::write(&log, "").unwrap();
    let (postgres, neo4j, world) = servers().await;
    let kafka = block_in_place(|| Kafka::start(&KafkaOptions::default())).unwrap();
    let mut config = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    write!(
        config,
        "pipeline: chaos\nhttp: {{listen: 'off'}}\non_error: park\nlimits: {{dead_letters: 100000}}\nkafka:\n  \
         brokers: {}\n  partitions: 2\n  properties: {{session.timeout.ms: 6000, heartbeat.interval.ms: 500}}\n",
        kafka.brokers()
    )
    .unwrap();
    let running = [None, None, None];
    let mut stage = Stage { world: world.clone(), postgres, neo4j, kafka, config, log, running };
    let writers: Vec<_> =
        (0..2).map(|_| tokio::spawn(writers::write(world.clone(), rng.fork()))).collect();
    world.brings_refused_rows();
    let began = Instant::now();
    while began.elapsed() < time {
        stage.run();
        sleep(Duration::from_millis(rng.u64(0..5_000))).await;
        stage.fault(&mut rng).await;
    }
    writers.iter().for_each(|writer| writer.abort());
    stage.ends_equal().await;
    let counts = world.0.counts.lock().unwrap().clone();
    println!("SEED={seed}: {counts:#?}");
    let wrong = world.0.wrong.lock().unwrap().clone();
    if let Some(wrong) = wrong {
        panic!("SEED={seed}: {wrong}; the log is in {}", stage.log.display());
    }
}
