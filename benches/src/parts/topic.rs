//! The workload through Kafka: a topic that is full is applied by one process or more, from one
//! partition or more.
//!
//! All of them work on the same processors here, and so does Neo4j: what more partitions and more
//! processes bring is what those are worth on one machine, no more.

use std::{
    io::Write,
    process::{Child, Command, Stdio},
    time::Instant,
};

use tempfile::NamedTempFile;
use wal2graph_servers::{Kafka, KafkaOptions};

use crate::{Result, figures::Taken, lab::Lab, program::Pipeline, shop};

/// Partitions and processes.
const SHAPES: [(u32, usize); 4] = [(1, 1), (4, 1), (4, 2), (4, 4)];
/// The preloaded rows and the workload.
const CHANGES: f64 = 21_000.0 + 131_968.0;

pub async fn measure(lab: &Lab) -> Result<Taken> {
    let mut taken = Taken::default();
    lab.wipe("(n)").await?;
    let kafka = Kafka::start(&KafkaOptions::default())?;
    let database = "topic";
    let sql = shop::database(lab, database).await?;
    for partitions in [1, 4] {
        end(publish(lab, &kafka, database, partitions)?)?;
    }
    shop::run(lab, database)?;
    for partitions in [1, 4] {
        end(publish(lab, &kafka, database, partitions)?)?;
    }
    let pipeline = Pipeline::new(lab, database);
    for round in 0..=lab.rounds {
        for (partitions, processes) in SHAPES {
            lab.wipe("(n)").await?;
            let group = format!("{partitions}-{processes}-{round}");
            let file = config(&kafka, partitions, &group)?;
            let started = Instant::now();
            let running: Result<Vec<Child>> =
                (0..processes).map(|_| start(lab, database, "apply", &file)).collect();
            running?.into_iter().try_for_each(end)?;
            let seconds = started.elapsed().as_secs_f64();
            shop::check(&pipeline, &sql).await?;
            if round > 0 {
                taken.value("topic", name(partitions, processes), "changes/s", CHANGES / seconds);
            }
        }
    }
    for (partitions, processes) in &SHAPES[1..] {
        let (of, by) = (name(*partitions, *processes), name(1, 1));
        taken.ratio("topic", &format!("{of} / {by}"), &of, &by, None);
    }
    Ok(taken)
}

fn name(partitions: u32, processes: usize) -> String {
    format!("{partitions} partitions, {processes} processes")
}

fn publish(lab: &Lab, kafka: &Kafka, database: &str, partitions: u32) -> Result<Child> {
    start(lab, database, "publish", &config(kafka, partitions, "nobody")?)
}

/// The pipeline of so many partitions; its path stays, for as long as the process reads it.
fn config(kafka: &Kafka, partitions: u32, group: &str) -> Result<String> {
    let mut file = NamedTempFile::with_suffix(".yaml")?;
    write!(
        file,
        "pipeline: topic_{partitions}\nhttp: {{listen: \"off\"}}\nkafka: {{brokers: '{}', ack: kafka, \
         partitions: {partitions}, group: g-{group}}}\n",
        kafka.brokers()
    )?;
    Ok(file.keep()?.1.display().to_string())
}

fn start(lab: &Lab, database: &str, command: &str, config: &str) -> Result<Child> {
    let mut program = Command::new(&lab.program);
    program.args([command, "--until", "current", "-c", config]);
    program.args(["--source-url", &lab.postgres.url(database)]);
    program.args(["--graph-url", &lab.neo4j.url()]).stderr(Stdio::piped());
    Ok(program.spawn()?)
}

fn end(child: Child) -> Result<()> {
    let output = child.wait_with_output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into()),
    }
}
