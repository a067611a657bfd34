//! A comparison of all rows with a graph that is equal, by a `run` that is up: against the first copy of
//! the same rows, in turns, and beside a stream of a fixed rate.

use std::{process::Child, sync::Arc};

use crate::{
    Result,
    figures::{Taken, percentile},
    lab::Lab,
    parts::steady::Probe,
    program::{Pipeline, Running},
    shop,
};

/// As many times the rows of **copy**; 11 are 5 million.
const TIMES: &str = "VERIFY_TIMES";
/// Transactions of one order with three lines, per second.
const RATE: &str = "500";
/// The duration of the load in a round.
const SECONDS: &str = "15";
const COPY: &str = "copy";
const VERIFY: &str = "verify";

pub async fn measure(lab: &Lab) -> Result<Taken> {
    let times: u32 = std::env::var(TIMES).map_or(Ok(1), |times| times.parse())?;
    let row_count = shop::ROW_COUNT * f64::from(times);
    let mut taken = Taken::default();
    let sql = lab.new_database("verified").await?;
    sql.batch_execute(shop::SCHEMA).await?;
    sql.batch_execute(&shop::rows(times)).await?;
    for round in 0..=lab.rounds {
        lab.wipe("(n)").await?;
        let name = format!("verified_{round}");
        let base = Pipeline::new(lab, "verified");
        let pipeline = Pipeline { publication: format!("wal2graph_{name}"), name, ..base };
        let run = pipeline.catch_up()?;
        let copied = row_count / run.work.as_secs_f64();
        let mut running = pipeline.start(&[])?;
        running.wait_for("streaming")?;
        let compared = verified(&pipeline, &mut running)?;
        let cost = running.terminate()?;
        if round > 0 {
            taken.value("verify", COPY, "rows/s", copied);
            taken.value(
                "verify",
                VERIFY,
                "rows/s, each compared from both sides",
                row_count / compared,
            );
            taken.value("verify", "memory peak", "MiB", cost.memory_peak_mib);
            let per_million = cost.processor_seconds / row_count * 1e6;
            taken.value("verify", "wal2graph: processor", "s per million rows", per_million);
        }
        if round == lab.rounds {
            beside(lab, &pipeline, &mut taken).await?;
        }
    }
    taken.ratio("verify", "verify / copy", VERIFY, COPY, Some(3.0));
    Ok(taken)
}

/// How long a comparison takes, in seconds.
fn verified(pipeline: &Pipeline<'_>, running: &mut Running) -> Result<f64> {
    let mut command = pipeline.command("verify", &["--json"])?;
    running.wait_for("comparing the graph with the tables")?;
    let began = running.wait_for("streaming")?;
    let ended = running.wait_for("compared")?;
    command.end()?;
    Ok((ended - began).as_secs_f64())
}

/// A change's way into the graph, alone and while comparisons run one after the other.
async fn beside(lab: &Lab, pipeline: &Pipeline<'_>, taken: &mut Taken) -> Result<()> {
    let probe = Arc::new(Probe::new(lab, lab.client("verified").await?)?.looking_only());
    let mut running = pipeline.start(&[])?;
    running.wait_for("streaming")?;
    for round in 0..=lab.rounds {
        let (alone, _) = probe.clone().during(load(lab)?).await?;
        let comparing = tokio::spawn(probe.clone().during(load(lab)?));
        let mut compared = 0;
        while !comparing.is_finished() {
            verified(pipeline, &mut running)?;
            compared += 1;
        }
        let (beside, _) = comparing.await??;
        if round == 0 {
            continue;
        }
        taken.value("verify", "comparisons beside a stream", "in 15 s", f64::from(compared));
        for (name, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            for (which, values) in [("alone", &alone), ("beside verify", &beside)] {
                let name = format!("{RATE} tx/s, commit to visible {name}, {which}");
                taken.value("verify", name, "ms", percentile(values, share));
            }
        }
    }
    running.terminate()?;
    Ok(())
}

fn load(lab: &Lab) -> Result<Child> {
    let arguments = ["-c", "4", "-R", RATE, "-T", SECONDS];
    Ok(shop::pgbench(lab, "verified", shop::PLACE, &arguments)?.spawn()?)
}
