//! Transactions of one row: the effect of batching.

use crate::{Result, figures::Taken, lab::Lab, parts::drain::Backlog, program::Pipeline, shop};

const SCRIPT: &str = "
\\set customer random(1, 20000)
INSERT INTO orders VALUES (nextval('order_ids'), :customer, 'new', 10, now());
";

pub async fn measure(lab: &Lab) -> Result<Taken> {
    let mut taken = Taken::default();
    lab.wipe("(n)").await?;
    let sql = shop::database(lab, "small").await?;
    let base = Pipeline::new(lab, "small");
    base.catch_up()?;
    shop::pgbench(lab, "small", SCRIPT, &["-c", "4", "-t", "12500"])?.status()?;
    let backlog = Backlog::of(base, sql).await?;
    backlog.rounds("small", ["wal2graph", "bare loader"], &mut taken).await?;
    taken.ratio("small", "wal2graph / bare loader", "wal2graph", "bare loader", None);
    Ok(taken)
}
