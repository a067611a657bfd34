//! kill -9 at random moments of copy and stream.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::sleep;

use crate::{
    differential::{compare, schema, transaction},
    support::{Pipeline, rounds},
};

#[tokio::test]
async fn killed_again_and_again_it_loses_nothing_and_acknowledges_nothing_too_early() {
    let seed =
        std::env::var("SEED").map_or_else(|_| fastrand::u64(..10_000), |it| it.parse().unwrap());
    println!("SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let pipeline = Pipeline::new("crashes", &schema("cr")).await;
    // Enough rows that some kills meet the copy.
    let rows = "INSERT INTO cr_people SELECT g, 'n', repeat(md5(g::text), 100), NULL FROM generate_series(1000, 6000) g; \
                INSERT INTO cr_teams SELECT g, 't', g, now() FROM generate_series(1000, 6000) g; \
                INSERT INTO cr_members SELECT g, g, 'r', 'n' FROM generate_series(1000, 6000) g";
    pipeline.sql.batch_execute(rows).await.unwrap();
    for _ in 0..rounds(8, 20) {
        let running = pipeline.start();
        let life = Duration::from_millis(rng.u64(100..2_500));
        let end = tokio::time::Instant::now() + life;
        while tokio::time::Instant::now() < end {
            transaction(&pipeline.sql, &mut rng, "cr").await;
            never_acknowledged_ahead(&pipeline).await;
            sleep(Duration::from_millis(rng.u64(0..40))).await;
        }
        running.kill();
        never_acknowledged_ahead(&pipeline).await;
    }
    pipeline.catch_up().await;
    compare(&pipeline.sql, "cr").await;
}

/// At every moment, the slot was told of nothing that the graph does not have.
async fn never_acknowledged_ahead(pipeline: &Pipeline) {
    if let (Some(applied), Some(confirmed)) = pipeline.positions().await {
        assert!(confirmed <= applied, "the slot is at {confirmed}, the graph at {applied}");
    }
}
