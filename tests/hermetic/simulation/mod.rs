//! Seeded histories with crashes: the real pipeline, engine, fold and plan against the in-memory
//! graph.
//!
//! ```text
//! traffic -> log -> SimSource -> Pipeline -> SimSink -> Memory  ==  what the tables mean
//!                                    ^ crashes: before a write, after a write whose answer is lost, before the ack
//! ```
//!
//! `SEED=n` runs one history and prints the result; with `TRACE=1` also each event of it. `FROM=n`
//! starts at another seed than 0, and `HISTORIES=n` runs more of them, as `make nightly` does. `FAULT=name` plants only that
//! fault, and says how it is caught. Time is virtual, so a stall is a failure at once.

mod copy;
mod faults;
mod locks;
mod lost;
mod moments;
mod others;
mod partitions;
mod poison;
mod program;
mod reader;
mod reconcile;
mod records;
mod schema;
mod server;
mod shapes;
mod source;
mod store;
mod traffic;
mod world;

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{sleep, timeout};
use wal2graph::{
    lsn::Lsn,
    pipeline::{Ended, Until},
};

use faults::Fault;
use moments::{Counts, Moments, Sometimes};
use world::{STANDBY, Shared, World};

/// Histories that `make test` runs, in a minute or two; `make nightly` runs more.
const HISTORIES: u64 = 3_000;
/// The search must find a planted fault within this many histories.
const HISTORIES_PER_FAULT: u64 = 8_000;
/// In virtual time: longer than any write takes.
const ARRIVAL: Duration = Duration::from_millis(50);
/// In virtual time; a pipeline that is not done by then never will be.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Runs a history to its end, in virtual time.
fn in_its_own_time(life: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(life);
}

/// Runs one history. The error describes the failure.
fn history(seed: u64, fault: Option<Fault>, counts: &Arc<Counts>) -> Result<(), String> {
    let schemas = schema::schemas();
    let schema = schemas[seed as usize % schemas.len()].clone();
    let world =
        Shared(Arc::new(Mutex::new(World::new(seed, schema, fault, Moments::new(counts.clone())))));
    in_its_own_time(live(&world));
    let mut world = world.lock();
    match world.is_another_history() {
        _ if world.violation.is_some() => {}
        true if !world.refused => world.violate("another history was taken for the graph's"),
        true => world.moments.sometimes(Sometimes::OlderSourceRefused),
        false if world.refused => {}
        false => world.check_end(),
    }
    world.violation.take().map_or(Ok(()), Err)
}

async fn live(world: &Shared) {
    let rows_before_the_slot = world.lock().rng.usize(0..6);
    for _ in 0..rows_before_the_slot {
        world.lock().commit_transaction();
    }
    {
        let mut world = world.lock();
        let end = Lsn(world.server.end);
        (world.server.slot.confirmed, world.server.slot.persisted) = (end, end);
        // What is older has no slot.
        world.kept = None;
    }
    let traffic = tokio::spawn(traffic(world.clone()));
    let altering = tokio::spawn(locks::alter_tables(world.clone()));
    let mut id = 0;
    while !traffic.is_finished() && world.lock().goes_on() {
        id += 1;
        let (life, standby, server_crash) = {
            let rng = &mut world.lock().rng;
            (rng.u64(1..400), rng.u8(0..4) == 0, rng.u8(0..6) == 0)
        };
        let standby = standby.then(|| {
            let world = world.clone();
            tokio::spawn(async move { program::run(&world, STANDBY + id, Until::Forever).await })
        });
        // Dropping the future is the crash.
        let crash = sleep(Duration::from_millis(life));
        tokio::select! {
            biased;
            () = crash => {}
            _ = program::run(world, id, Until::Forever) => {}
        }
        // A restart takes a moment too.
        sleep(Duration::from_millis(1)).await;
        if let Some(standby) = standby {
            standby.abort();
        }
        world.lock().moments.trace(|| format!("instance {id} is killed after {life} ms"));
        if server_crash {
            world.lock().crash();
        }
        world.lock().people_act();
        world.lock().lose_slot();
        if world.lock().is_refused_for_its_slot() {
            lost::renew_killed(world).await;
        }
        if world.lock().rng.u8(0..3) == 0 {
            // What is on its way to the graph arrives.
            sleep(ARRIVAL).await;
            world.lock().put_back();
        }
    }
    let finish = async {
        loop {
            id += 1;
            let end = Lsn(world.lock().server.end);
            match program::run(world, id, Until::Applied(end)).await {
                Ok(Ended::Reached) if world.lock().must_be_repaired() => {}
                Ok(Ended::Reached) if world.lock().must_be_put_back() => {}
                // Others have committed beside the last look.
                Ok(Ended::Reached) if world.lock().server.end > end.0 => {}
                Ok(Ended::Reached) => return,
                _ if !world.lock().goes_on() => return,
                _ if world.lock().is_refused_for_its_slot() => {
                    let _ = lost::renew_slot(world).await;
                }
                _ => sleep(Duration::from_millis(10)).await,
            }
        }
    };
    if timeout(PATIENCE, finish).await.is_err() {
        world.lock().violate("nothing moves any more");
    }
    traffic.abort();
    altering.abort();
}

async fn traffic(world: Shared) {
    let transactions = world.lock().rng.usize(3..30);
    for _ in 0..transactions {
        let pause = world.lock().rng.u64(0..100);
        sleep(Duration::from_millis(pause)).await;
        world.lock().commit_transaction();
    }
}

/// A number in the environment.
fn given(name: &str) -> Option<u64> {
    let number = std::env::var(name).ok()?;
    Some(number.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Runs this many histories, on all processors; with `SEED` only that one. Returns how many.
fn each_history(usual: u64, history: impl Fn(u64) -> Result<(), String> + Sync) -> u64 {
    let judged = |seed| {
        if let Err(violation) = history(seed) {
            panic!("SEED={seed}: {violation}");
        }
    };
    if let Some(seed) = given("SEED") {
        judged(seed);
        return 1;
    }
    let (first, histories) = (given("FROM").unwrap_or(0), given("HISTORIES").unwrap_or(usual));
    println!("FROM={first} HISTORIES={histories}");
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for worker in 0..workers as u64 {
            let seeds = (first + worker..first + histories).step_by(workers);
            scope.spawn(move || seeds.for_each(judged));
        }
    });
    histories
}

/// For each fault, one of this many histories fails. Each fault has a seed that once caught it,
/// where the search begins. Changes of the code move the right seed, and rare faults are caught
/// late.
fn each_fault_is_caught<F: Copy + Debug>(
    faults: &[(F, u64)],
    histories: u64,
    history: impl Fn(u64, F) -> Result<(), String>,
) {
    let one = std::env::var("FAULT").ok();
    let is_wanted = |fault: &F| one.as_ref().is_none_or(|one| *one == format!("{fault:?}"));
    let mut missed = Vec::new();
    for &(fault, first) in faults.iter().filter(|(fault, _)| is_wanted(fault)) {
        let mut seeds = (first..histories).chain(0..first);
        let caught = seeds.find_map(|seed| Some((seed, history(seed, fault).err()?)));
        match caught {
            Some((seed, why)) => {
                println!("{fault:?} is caught by seed {seed}");
                one.iter().for_each(|_| println!("{why}"));
            }
            None => missed.push(format!("{fault:?}")),
        }
    }
    assert!(missed.is_empty(), "not caught: {}", missed.join(", "));
}

#[test]
fn every_history_ends_with_the_graph_equal_to_the_tables() {
    let counts = Arc::default();
    let histories = each_history(HISTORIES, |seed| history(seed, None, &counts));
    if histories >= HISTORIES {
        assert_eq!(counts.missing(), [], "no history has met this");
    }
}

#[test]
fn every_planted_fault_is_caught() {
    let mut wanted = faults::ALL.to_vec();
    if std::env::var_os("FAULT").is_some() {
        wanted.extend(faults::RARE);
    }
    each_fault_is_caught(&wanted, HISTORIES_PER_FAULT, |seed, fault| {
        history(seed, Some(fault), &Arc::default())
    });
}
