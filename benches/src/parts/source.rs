//! A backlog through the replication client with a null sink, compared with pg_recvlogical.
//!
//! Both read the same slot contents. Ours decodes every message; pg_recvlogical writes the bytes to
//! /dev/null.

use std::{process::Command, time::Instant};

use wal2graph_servers::tool;

use crate::{Result, figures::Taken, lab::Lab, parts::drain::Backlog, stream};

const OURS: &str = "wal2graph's client";
const THEIRS: &str = "pg_recvlogical";

pub async fn measure(lab: &Lab) -> Result<Taken> {
    let mut taken = Taken::default();
    let backlog = Backlog::prepare(lab, "source").await?;
    for round in 0..=lab.rounds {
        for turn in 0..2 {
            let slot = format!("source_{round}_{turn}");
            stream::copy_slot(&backlog.sql, &backlog.base.slot(), &slot).await?;
            let ours = (round + turn) % 2 == 0;
            let seconds = match ours {
                true => by_client(&backlog, &slot).await?,
                false => by_tool(&backlog, &slot).await?,
            };
            if round > 0 {
                let name = if ours { OURS } else { THEIRS };
                taken.value("source", name, "changes/s", backlog.changes / seconds);
            }
            while stream::drop_slot(&backlog.sql, &slot).await.is_err() {}
        }
    }
    taken.ratio("source", "wal2graph's client / pg_recvlogical", OURS, THEIRS, Some(0.9));
    Ok(taken)
}

async fn by_client(backlog: &Backlog<'_>, slot: &str) -> Result<f64> {
    let base = &backlog.base;
    let started = Instant::now();
    let (stream, end) = stream::start(base.lab, base.database, slot, &base.publication).await?;
    // On a worker thread, like a pipeline.
    let changes = tokio::spawn(stream::drain(stream, end)).await??;
    assert_eq!(changes as f64, backlog.changes, "the whole backlog");
    Ok(started.elapsed().as_secs_f64())
}

async fn by_tool(backlog: &Backlog<'_>, slot: &str) -> Result<f64> {
    let base = &backlog.base;
    let end = backlog.sql.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await?;
    let end: &str = end.get(0);
    let mut command = Command::new(tool("pg_recvlogical")?);
    command.args(["-h", "127.0.0.1", "-U", "postgres", "-d", base.database, "--slot", slot]);
    command.args(["-p", &base.lab.postgres.port().to_string(), "--start", "--no-loop"]);
    command.args(["-f", "/dev/null", "-o", "proto_version=1", "--endpos", end]);
    command.args(["-o", &format!("publication_names={}", base.publication)]);
    let started = Instant::now();
    let output = command.output()?;
    match output.status.success() {
        true => Ok(started.elapsed().as_secs_f64()),
        false => Err(String::from_utf8_lossy(&output.stderr).into()),
    }
}
