//! The workload through Kafka: one process or more applies a full topic, from one partition or
//! more.
//!
//! All of them share the same processors with Neo4j, so the result shows the gain of more
//! partitions and processes on one machine. They are therefore also measured as containers with a
//! limit, where the processes are busy, and not Neo4j.

use std::{io::Write, process::Command};

use tempfile::NamedTempFile;
use wal2graph_servers::{Kafka, KafkaOptions};

use crate::{
    Result,
    figures::Taken,
    lab::Lab,
    program::{Pipeline, Running, says},
    share::Share,
    shop,
};

/// Partitions and processes.
const SHAPES: [(u32, usize); 4] = [(1, 1), (4, 1), (4, 2), (4, 4)];
/// The limit of each process in the limited runs, in hundredths of a processor.
const SHARE: u32 = 10;
/// The preloaded rows and the workload.
const CHANGES: f64 = 21_000.0 + 131_968.0;

pub async fn measure(lab: &Lab) -> Result<Taken> {
    let mut taken = Taken::default();
    lab.wipe("(n)").await?;
    let kafka = Kafka::start(&KafkaOptions::default())?;
    let database = "topic";
    let sql = shop::database(lab, database).await?;
    for partitions in [1, 4] {
        publish(lab, &kafka, database, partitions)?;
    }
    shop::run(lab, database)?;
    for partitions in [1, 4] {
        publish(lab, &kafka, database, partitions)?;
    }
    let pipeline = Pipeline::new(lab, database);
    let limited = match Share::are_there() {
        Ok(()) => vec![None, Some(SHARE)],
        Err(error) => {
            println!("  processes with a limit are left out: {error}");
            vec![None]
        }
    };
    // With a limit, one partition and one process would take longest, and tell nothing new.
    let shapes = limited.iter().flat_map(|&share| {
        let skipped = usize::from(share.is_some());
        SHAPES[skipped..].iter().map(move |&(partitions, processes)| (share, partitions, processes))
    });
    let shapes: Vec<_> = shapes.collect();
    for round in 0..=lab.rounds {
        // The uncounted round warms up Neo4j, and one shape is enough for that.
        let measured = if round > 0 { &shapes[..] } else { &shapes[..1] };
        for &(share, partitions, processes) in measured {
            lab.wipe("(n)").await?;
            let group = format!("{partitions}-{processes}-{}-{round}", share.unwrap_or(100));
            let file = config(&kafka, partitions, &group)?;
            let seconds = apply(lab, database, &file, processes, share)?;
            shop::check(&pipeline, &sql).await?;
            if round > 0 {
                let name = name(partitions, processes, share);
                taken.value("topic", name, "changes/s", CHANGES / seconds);
            }
        }
    }
    for &share in &limited {
        let by = name(4, 1, share);
        for &(partitions, processes) in &SHAPES[2..] {
            let of = name(partitions, processes, share);
            taken.ratio("topic", &format!("{of} / {by}"), &of, &by, None);
        }
    }
    Ok(taken)
}

/// Applies the whole topic. Returns the time from the first partition's start to the last one's
/// end.
fn apply(
    lab: &Lab,
    database: &str,
    file: &str,
    processes: usize,
    share: Option<u32>,
) -> Result<f64> {
    let mut running = Vec::new();
    for _ in 0..processes {
        let process = start(lab, database, "apply", file)?;
        let share = share.map(|share| Share::of(process.id(), share)).transpose()?;
        running.push((process, share));
    }
    let mut log = Vec::new();
    for (process, _share) in running {
        log.extend(process.finish()?);
    }
    let said = |message| log.iter().filter(move |it| says(&it.1, message)).map(|it| it.0);
    let (began, ended) = (said("applying").min(), said("stopped").max());
    let (began, ended) = began.zip(ended).ok_or("the log does not say when it began and ended")?;
    Ok((ended - began).as_secs_f64())
}

fn name(partitions: u32, processes: usize, share: Option<u32>) -> String {
    let limit = share.map(|share| format!(" of 0.{share:02} processors")).unwrap_or_default();
    format!("{partitions} partitions, {processes} processes{limit}")
}

fn publish(lab: &Lab, kafka: &Kafka, database: &str, partitions: u32) -> Result<()> {
    let file = config(kafka, partitions, "nobody")?;
    start(lab, database, "publish", &file)?.finish().map(drop)
}

/// The configuration of a pipeline with this many partitions. Its file stays, because the process
/// reads it.
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

fn start(lab: &Lab, database: &str, command: &str, config: &str) -> Result<Running> {
    let mut program = Command::new(&lab.program);
    program.args([command, "--until", "current", "-c", config]);
    program.args(["--source-url", &lab.postgres.url(database)]);
    program.args(["--graph-url", &lab.neo4j.url()]);
    Running::start(program)
}
