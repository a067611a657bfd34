//! The same source by both routes: directly it is `differential`'s; through a topic it is here.

use std::time::Duration;

use fastrand::Rng;
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};

use super::{feed::config, kafka};
use crate::{
    differential::{compare, schema, transaction},
    support::{Pipeline, Running, rounds},
};

/// Both commands on one configuration file.
struct Route {
    pipeline: Pipeline,
    config: NamedTempFile,
}

impl Route {
    async fn new(name: &str, schema: &str) -> Self {
        let pipeline = Pipeline::new(name, schema).await;
        let properties = "{session.timeout.ms: 6000, heartbeat.interval.ms: 500}";
        let config = config(&pipeline.name, &kafka().brokers(), properties);
        Route { pipeline, config }
    }

    fn start(&self, command: &str) -> Running {
        let mut program = self.pipeline.command(&[command]);
        program.arg("-c").arg(self.config.path()).stderr(std::process::Stdio::null());
        Running(program.spawn().unwrap())
    }

    /// Everything that is committed gets into the graph.
    async fn catch_up(&self) {
        for command in ["publish", "apply"] {
            let mut program = self.pipeline.command(&[command, "--until", "current"]);
            program.arg("-c").arg(self.config.path());
            let output = crate::support::output(program).await;
            let log = String::from_utf8_lossy(&output.stderr).into_owned();
            println!("{command}:\n{log}");
            assert!(output.status.success(), "{log}");
        }
    }
}

#[tokio::test]
async fn through_a_topic_the_graph_is_the_same_whoever_is_killed() {
    let seed =
        std::env::var("SEED").map_or_else(|_| fastrand::u64(..10_000), |it| it.parse().unwrap());
    println!("SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let route = Route::new("routes", &schema("rt")).await;
    for _ in 0..60 {
        transaction(&route.pipeline.sql, &mut rng, "rt").await;
    }
    let (mut publish, mut apply) = (route.start("publish"), route.start("apply"));
    for _ in 0..rounds(4, 8) {
        let end = Instant::now() + Duration::from_millis(rng.u64(500..3_500));
        while Instant::now() < end {
            transaction(&route.pipeline.sql, &mut rng, "rt").await;
            let (applied, confirmed) = route.pipeline.positions().await;
            if let (Some(applied), Some(confirmed)) = (applied, confirmed) {
                // It is made where the slot begins; a checkpoint that is new is at 0.
                assert!(confirmed <= applied || applied == 0, "{confirmed} {applied}");
            }
            sleep(Duration::from_millis(rng.u64(0..40))).await;
        }
        let (side, command) = match rng.bool() {
            true => (&mut publish, "publish"),
            false => (&mut apply, "apply"),
        };
        std::mem::replace(side, route.start(command)).kill();
    }
    publish.terminate(Duration::from_secs(60)).await;
    apply.terminate(Duration::from_secs(60)).await;
    route.catch_up().await;
    // Rows whose key changed have their wide values all the same: `compare` would show one that is
    // marked to lack some.
    compare(&route.pipeline.sql, "rt").await;
}
