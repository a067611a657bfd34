//! One transaction of two million rows, applied in parts: time and memory.

use crate::{Result, figures::Taken, lab::Lab, program::Pipeline};

const ROWS: f64 = 2e6;

pub async fn measure(lab: &Lab) -> Result<Taken> {
    let mut taken = Taken::default();
    for round in 1..=lab.rounds {
        lab.wipe("(n)").await?;
        let name = format!("big_{round}");
        let sql = lab.new_database(&name).await?;
        sql.batch_execute("CREATE TABLE events (id int PRIMARY KEY, kind text, value int)").await?;
        let pipeline = Pipeline::new(lab, &name);
        pipeline.catch_up()?;
        let insert = "INSERT INTO events SELECT n, 'kind ' || n % 7, n % 1000 FROM generate_series(1, 2000000) n";
        sql.batch_execute(insert).await?;
        let run = pipeline.catch_up()?;
        let rows = lab.ask("MATCH (e:Event) RETURN count(e) AS events").await?;
        let events: i64 = rows.first().ok_or("no answer")?.get("events")?;
        assert_eq!(events as f64, ROWS, "everything arrived");
        taken.value("big", "wal2graph", "changes/s", ROWS / run.work.as_secs_f64());
        taken.value("big", "wal2graph: memory peak", "MiB", run.cost.memory_peak_mib);
        let per_million = run.cost.processor_seconds / ROWS * 1e6;
        taken.value("big", "wal2graph: processor", "s per million changes", per_million);
        sql.batch_execute(&format!("SELECT pg_drop_replication_slot('{}')", pipeline.slot()))
            .await?;
    }
    lab.wipe("(n)").await?;
    Ok(taken)
}
