//! A topic with several partitions and several processes that apply it.

use std::{
    fs::File, io::Write, os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration,
};

use fastrand::Rng;
use neo4rs::Query;
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};
use wal2graph::{checkpoint::Checkpoint, cli::Global, config::Config, neo4j::checkpoint};

use super::kafka;
use crate::{
    differential::{compare, schema, transaction},
    support::{PATIENCE, Pipeline, Running, document, eventually, graph, neo4j},
};

/// How often a process is killed, stopped or added in one run.
const EVENTS: usize = 12;
/// How many processes there are at most.
const PROCESSES: usize = 3;

fn file(pipeline: &Pipeline, kafka_section: &str, more: &str) -> String {
    let (name, brokers) = (&pipeline.name, kafka().brokers());
    format!(
        "pipeline: {name}\n{more}http: {{listen: \"off\"}}\nkafka:\n  brokers: {brokers}\n  {kafka_section}\n  \
         properties: {{session.timeout.ms: 6000, heartbeat.interval.ms: 500}}\n"
    )
}

/// Both commands on one configuration file.
pub struct Spread {
    /// The program on a database of its own.
    pub pipeline: Pipeline,
    pub config: NamedTempFile,
    /// What every process says, for when the test fails.
    pub log: NamedTempFile,
}

impl Spread {
    async fn new(name: &str, schema: &str, partitions: usize) -> Self {
        Self::with(name, schema, &format!("partitions: {partitions}")).await
    }

    /// `kafka` is more of that section of the file.
    pub async fn with(name: &str, schema: &str, kafka_section: &str) -> Self {
        Self::configured(name, schema, kafka_section, "").await
    }

    /// The same, with a graph that does not follow what changes in the tables.
    pub async fn stopping(name: &str, schema: &str, kafka_section: &str) -> Self {
        Self::configured(name, schema, kafka_section, "schema_changes: stop\n").await
    }

    /// The same, with rows set aside that the graph refuses.
    pub async fn setting_aside(name: &str, schema: &str, kafka_section: &str) -> Self {
        Self::configured(name, schema, kafka_section, "on_error: park\n").await
    }

    /// The same, with a publisher that makes a new slot where its own is lost.
    pub async fn renewing(name: &str, schema: &str, kafka_section: &str) -> Self {
        Self::configured(name, schema, kafka_section, "on_slot_lost: repair\n").await
    }

    /// The same, with a file that says more.
    pub async fn saying(name: &str, schema: &str, kafka_section: &str, more: &str) -> Self {
        Self::configured(name, schema, kafka_section, &format!("{more}\n")).await
    }

    /// The file says this from now on, which who starts behind it reads.
    pub fn says(&self, kafka_section: &str, more: &str) {
        let text = file(&self.pipeline, kafka_section, &format!("{more}\n"));
        std::fs::write(self.config.path(), text).unwrap();
    }

    /// What the program makes of file and flags.
    pub fn loaded(&self) -> Config {
        let flags = Global {
            config: Some(self.config.path().to_owned()),
            source_url: Some(self.pipeline.source_url.clone()),
            graph_url: Some(neo4j().url()),
            ..Global::default()
        };
        Config::load(&flags, &|_| None).unwrap()
    }

    async fn configured(name: &str, schema: &str, kafka_section: &str, more: &str) -> Self {
        let pipeline = Pipeline::new(name, schema).await;
        let mut config = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        config.write_all(file(&pipeline, kafka_section, more).as_bytes()).unwrap();
        Spread { pipeline, config, log: NamedTempFile::new().unwrap() }
    }

    /// Starts one of both commands.
    pub fn start(&self, command: &str) -> Running {
        self.start_with(&[command])
    }

    /// The same with further arguments.
    pub fn start_with(&self, arguments: &[&str]) -> Running {
        let mut program = self.pipeline.command(arguments);
        let log = File::options().append(true).open(self.log.path()).unwrap();
        program.arg("-c").arg(self.config.path()).stderr(log);
        Running(program.spawn().unwrap())
    }

    /// Runs the program to its end: the exit code and what it said.
    pub async fn output(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut program = self.pipeline.command(arguments);
        program.arg("-c").arg(self.config.path());
        let output = crate::support::output(program).await;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        println!("{arguments:?}:\n{said}");
        (output.status.code(), said)
    }

    /// Runs `verify` or `repair`: what it found, and whether it succeeded.
    pub async fn compared(&self, command: &str) -> (bool, serde_json::Value) {
        let mut program = self.pipeline.command(&[command, "--json"]);
        program.arg("-c").arg(self.config.path());
        let output = crate::support::output(program).await;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        let findings = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{log}"));
        println!("{log}");
        (output.status.success(), findings)
    }

    /// Everything that is committed gets into the graph.
    pub async fn catch_up(&self) {
        for command in ["publish", "apply"] {
            let (code, said) = self.output(&[command, "--until", "current"]).await;
            assert_eq!(code, Some(0), "{said}");
        }
    }

    /// The checkpoints in the graph.
    pub async fn checkpoints(&self) -> Vec<Checkpoint> {
        checkpoint::read_all(&graph(), &self.pipeline.name).await.unwrap()
    }

    /// The topic, or what the topics' names begin with.
    pub fn topic(&self) -> String {
        format!("wal2graph.{}", self.pipeline.name)
    }

    /// What the processes that were started have said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    fn group(&self) -> String {
        format!("wal2graph-{}", self.pipeline.name)
    }
}

impl Drop for Spread {
    fn drop(&mut self) {
        println!("{}", self.said());
    }
}

/// SIGTERM ends it: well, or before its batch was written, where lanes wait for each other for long.
pub async fn stops(running: &mut Running) {
    running.signal("TERM");
    let status = running.status(Duration::from_secs(60)).await;
    // One that has just been started may not have begun to listen to signals.
    let is_well = |it: ExitStatus| matches!(it.code(), Some(0 | 130)) || it.signal() == Some(15);
    assert!(status.is_some_and(is_well), "{status:?}");
}

/// Nothing is left that waits for values.
async fn is_complete(labels: &[&str]) {
    for label in labels {
        let text = format!("MATCH (n:{label}:_Incomplete) RETURN count(n) AS count");
        let rows = graph().rows(Query::new(text)).await.unwrap();
        assert_eq!(rows[0].get::<i64>("count").unwrap(), 0, "{label}");
    }
}

#[tokio::test]
async fn processes_that_are_killed_and_added_end_with_the_graph_equal_to_the_tables() {
    let seed =
        std::env::var("SEED").map_or_else(|_| fastrand::u64(..10_000), |it| it.parse().unwrap());
    println!("SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let spread = Spread::new("spread", &schema("sp"), 4).await;
    for _ in 0..60 {
        transaction(&spread.pipeline.sql, &mut rng, "sp").await;
    }
    let mut publish = spread.start("publish");
    let mut processes: Vec<Option<Running>> = vec![Some(spread.start("apply")), None, None];
    assert_eq!(processes.len(), PROCESSES);
    for _ in 0..EVENTS {
        let end = Instant::now() + Duration::from_millis(rng.u64(500..3_000));
        while Instant::now() < end {
            transaction(&spread.pipeline.sql, &mut rng, "sp").await;
            sleep(Duration::from_millis(rng.u64(0..40))).await;
        }
        let process = &mut processes[rng.usize(..PROCESSES)];
        match (process.take(), rng.u8(..6)) {
            (running, 0) => {
                *process = running;
                std::mem::replace(&mut publish, spread.start("publish")).kill();
            }
            (Some(mut running), 1) => {
                stops(&mut running).await;
            }
            (Some(running), _) => running.kill(),
            (None, _) => *process = Some(spread.start("apply")),
        }
    }
    publish.terminate(Duration::from_secs(60)).await;
    for mut running in processes.into_iter().flatten() {
        stops(&mut running).await;
    }
    spread.catch_up().await;
    compare(&spread.pipeline.sql, "sp").await;
    is_complete(&["SpPerson", "SpTeam", "SpTask"]).await;
    let checkpoints = spread.checkpoints().await;
    let partitions: Vec<_> =
        checkpoints.iter().map(|it| it.partition().unwrap().partition).collect();
    assert_eq!(partitions, [0, 1, 2, 3]);
    assert!(checkpoints.iter().all(|it| it.partitions == 4 && it.lsn == checkpoints[0].lsn));
    let (_, status) = spread.output(&["status", "--json"]).await;
    let status = document::status(&status[status.find('{').unwrap()..=status.rfind('}').unwrap()]);
    let shown = status["partitions"].as_array().unwrap();
    assert!(shown.len() == 4 && shown.iter().all(|it| it["lag"] == 0), "{status}");
}

const SMALL: &str = "CREATE TABLE pr_things (id int PRIMARY KEY, other_id int, name text);
    INSERT INTO pr_things SELECT g, g + 1, 'n' || g FROM generate_series(1, 200) g";

#[tokio::test]
async fn offsets_of_all_partitions_are_reset_and_the_graph_is_filled_again() {
    let spread = Spread::new("resets", SMALL, 3).await;
    spread.catch_up().await;
    let rows = "MATCH (n:PrThing) WHERE n._lsn IS NOT NULL RETURN count(n) = 200 AS yes";
    eventually("all rows are there, with their place", rows).await;
    graph().run(Query::new("MATCH (n:PrThing) DETACH DELETE n".to_owned())).await.unwrap();
    kafka().reset_offsets(&spread.group(), &spread.topic(), &["--to-earliest"]).unwrap();
    let (code, said) = spread.output(&["apply", "--until", "current"]).await;
    assert_eq!((code, said.matches("the offsets were reset").count()), (Some(0), 3), "{said}");
    eventually("they are there again", rows).await;
    let (code, said) = spread.output(&["replay", "--from", "offset", "0"]).await;
    assert!(code == Some(2) && said.contains("--partition"), "{said}");
    let one = ["replay", "--from", "earliest", "--partition", "1"];
    let (code, said) = spread.output(&one).await;
    assert!(code == Some(0) && said.contains("partition 1 of"), "{said}");
    let (_, said) = spread.output(&["apply", "--until", "current"]).await;
    assert_eq!(said.matches("the offsets were reset").count(), 1, "{said}");
    assert!(spread.checkpoints().await.iter().all(|it| it.replaying.is_none()));
}

#[tokio::test]
async fn another_count_of_partitions_is_refused() {
    let schema = SMALL.replace("pr_", "pc_");
    let spread = Spread::new("counts", &schema, 2).await;
    spread.catch_up().await;
    let more = ["--alter", "--topic", &spread.topic(), "--partitions", "3"];
    kafka().tool("org.apache.kafka.tools.TopicCommand", &more).unwrap();
    let (code, said) = spread.output(&["apply", "--until", "current"]).await;
    assert!(code == Some(1) && said.contains("has 3 partitions, and had 2"), "{said}");
}

#[tokio::test]
async fn members_share_the_partitions_and_take_over_from_each_other() {
    let schema = SMALL.replace("pr_", "ps_");
    let spread = Spread::new("shared", &schema, 4).await;
    spread.catch_up().await;
    let idle = epochs(&spread).await;
    let _publish = spread.start("publish");
    let mut first = spread.start("apply");
    let before = claimed(&spread, &idle, 4).await;
    let second = spread.start("apply");
    claimed(&spread, &before, 2).await;
    let update = "UPDATE ps_things SET name = 'by both'";
    spread.pipeline.sql.batch_execute(update).await.unwrap();
    let both = "MATCH (n:PsThing {name: 'by both'}) RETURN count(n) = 200 AS yes";
    eventually("both have applied", both).await;
    second.kill();
    let update = "UPDATE ps_things SET name = 'by the first'; TRUNCATE ps_things;
        INSERT INTO ps_things SELECT g, NULL, 'anew' FROM generate_series(101, 300) g";
    spread.pipeline.sql.batch_execute(update).await.unwrap();
    let anew = "MATCH (n:PsThing) RETURN count(n) = 200 AND all(x IN collect(n.name) WHERE x = 'anew') AS yes";
    eventually("the first has taken over", anew).await;
    assert_eq!(first.terminate(Duration::from_secs(60)).await, Some(0));
}

/// A member that kept the file of before wrote its rows under the labels of before, for ever.
#[tokio::test]
async fn members_with_different_files_kept_the_graph_in_two_mappings() {
    let schema = SMALL.replace("pr_", "pf_");
    let spread = Spread::new("files", &schema, 4).await;
    spread.catch_up().await;
    let idle = epochs(&spread).await;
    let _publish = spread.start("publish");
    let mut first = spread.start("apply");
    claimed(&spread, &idle, 4).await;
    spread.says("partitions: 4", "tables: {public.pf_things: {label: PfPerson}}");
    let second = spread.start("apply");
    let all = |label: &str, other: &str| {
        format!("RETURN COUNT {{ (:{label}) }} = 200 AND NOT EXISTS {{ (:{other}) }} AS yes")
    };
    eventually("the later file counts", &all("PfPerson", "PfThing")).await;
    assert!(spread.said().contains("another member of the group has another mapping"));
    let update = "UPDATE pf_things SET name = 'of the second'";
    spread.pipeline.sql.batch_execute(update).await.unwrap();
    let updated = "MATCH (n:PfPerson {name: 'of the second'}) RETURN count(n) = 200 AS yes";
    eventually("the second applies all", updated).await;
    let (is_equal, found) = spread.compared("verify").await;
    assert!(is_equal, "{found}");
    assert!(first.0.try_wait().unwrap().is_none(), "the first stands by");
    second.kill();
    eventually("the first is alone", &all("PfThing", "PfPerson")).await;
    assert_eq!(first.terminate(Duration::from_secs(60)).await, Some(0));
}

/// Waits until this many partitions have been claimed since then: a claim raises the epoch.
async fn claimed(spread: &Spread, since: &[i64], partitions: usize) -> Vec<i64> {
    let started = Instant::now();
    loop {
        let now = epochs(spread).await;
        if moved(since, &now) == partitions {
            return now;
        }
        assert!(started.elapsed() < PATIENCE, "{since:?} {now:?}");
        sleep(Duration::from_millis(200)).await;
    }
}

async fn epochs(spread: &Spread) -> Vec<i64> {
    spread.checkpoints().await.iter().map(|it| it.epoch.0).collect()
}

fn moved(before: &[i64], after: &[i64]) -> usize {
    before.iter().zip(after).filter(|(before, after)| before != after).count()
}
