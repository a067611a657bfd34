//! A backlog into the graph, compared with the bare loader with one lane.
//!
//! Every round gets the same backlog: a copy of the slot from before the workload, and a graph of
//! that time, without plans.

use std::time::Instant;

use tokio_postgres::Client;
use wal2graph::graph::Mutations;

use crate::{
    Result,
    figures::Taken,
    lab::Lab,
    loader,
    program::{self, Pipeline},
    shop, stream,
};

/// A backlog that can be drained repeatedly.
pub struct Backlog<'a> {
    pub base: Pipeline<'a>,
    pub sql: Client,
    pub batches: Vec<Mutations>,
    pub changes: f64,
    model: wal2graph::graph::Model,
}

impl<'a> Backlog<'a> {
    /// Copies the preloaded tables, then runs the workload without a consumer.
    pub async fn prepare(lab: &'a Lab, database: &'a str) -> Result<Self> {
        lab.wipe("(n)").await?;
        let sql = shop::database(lab, database).await?;
        let base = Pipeline::new(lab, database);
        base.catch_up()?;
        shop::run(lab, database)?;
        Self::of(base, sql).await
    }

    /// The content of the pipeline's slot.
    pub async fn of(base: Pipeline<'a>, sql: Client) -> Result<Self> {
        let mapping = stream::mapping(base.lab, base.database).await?;
        let slot = format!("{}_reader", base.database);
        stream::copy_slot(&sql, &base.slot(), &slot).await?;
        let (changes, end) =
            stream::start(base.lab, base.database, &slot, &base.publication).await?;
        let (batches, count) = stream::batches(changes, end, &mapping).await?;
        println!("  {count} changes in {} batches", batches.len());
        Ok(Backlog { base, sql, batches, changes: count as f64, model: mapping.model.clone() })
    }

    /// Drains it with the program, as a pipeline at the first one's position.
    pub async fn by_program(&self, round: usize) -> Result<program::Taken> {
        let Pipeline { lab, database, publication, name } = &self.base;
        let name = format!("{name}_{round}");
        let pipeline = Pipeline { lab, database, name, publication: publication.clone() };
        stream::copy_slot(&self.sql, &self.base.slot(), &pipeline.slot()).await?;
        let (was, is, slot) = (&self.base.name, &pipeline.name, pipeline.slot());
        lab.ask(format!(
            "MATCH (c:_Wal2GraphCheckpoint {{pipeline: '{was}'}}) \
             CREATE (d:_Wal2GraphCheckpoint) \
             SET d = c {{.*, pipeline: '{is}', log: '{slot}', slot: '{slot}'}}"
        ))
        .await?;
        let taken = pipeline.catch_up()?;
        shop::check(&pipeline, &self.sql).await?;
        lab.ask(format!("MATCH (c:_Wal2GraphCheckpoint {{pipeline: '{is}'}}) DELETE c")).await?;
        // The server notices the program's end a moment later.
        while stream::drop_slot(&self.sql, &slot).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(taken)
    }

    /// The bare loader loads the same.
    pub async fn by_loader(&self) -> Result<f64> {
        let transactions = loader::transactions(&self.model, &self.batches);
        let connection = self.base.lab.connect()?;
        connection.begin().await?.rollback().await;
        let started = Instant::now();
        loader::load(&connection, transactions).await?;
        let seconds = started.elapsed().as_secs_f64();
        shop::check(&self.base, &self.sql).await?;
        Ok(seconds)
    }

    /// Restores the graph from before the workload.
    pub async fn reset(&self) -> Result<()> {
        self.base.lab.wipe("(n:Order) WHERE n.id > 0").await
    }

    /// Both in alternating order; the first round does not count.
    pub async fn rounds(&self, part: &str, names: [&str; 2], taken: &mut Taken) -> Result<()> {
        let [program, loader] = names;
        for round in 0..=self.base.lab.rounds {
            let mut figures = Vec::new();
            for turn in 0..2 {
                self.reset().await?;
                if (round + turn) % 2 == 0 {
                    figures.push((loader, self.changes / self.by_loader().await?, None));
                } else {
                    let run = self.by_program(round).await?;
                    figures.push((program, self.changes / run.work.as_secs_f64(), Some(run.cost)));
                }
            }
            for (name, rate, cost) in figures.into_iter().filter(|_| round > 0) {
                taken.value(part, name, "changes/s", rate);
                if let Some(cost) = cost {
                    let per_million = cost.processor_seconds / self.changes * 1e6;
                    taken.value(
                        part,
                        format!("{name}: processor"),
                        "s per million changes",
                        per_million,
                    );
                    taken.value(part, format!("{name}: memory peak"), "MiB", cost.memory_peak_mib);
                }
            }
        }
        Ok(())
    }
}

pub async fn measure(lab: &Lab) -> Result<Taken> {
    let mut taken = Taken::default();
    let backlog = Backlog::prepare(lab, "drain").await?;
    backlog.rounds("drain", ["wal2graph", "bare loader"], &mut taken).await?;
    taken.ratio("drain", "wal2graph / bare loader", "wal2graph", "bare loader", Some(0.85));
    Ok(taken)
}
