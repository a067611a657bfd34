//! `verify` and `repair`: asks the pipeline to compare the graph with the tables, follows that, and
//! prints what differs.
//!
//! ```text
//! request -> graph -> taken up by the `run` that is there, or by one that this command runs meanwhile
//!    findings <- graph, until it is done; Ctrl-C cancels it
//! ```

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    cli::{IntoExistingGraph, ReconcileArgs, RepairArgs, RunArgs, UntilArg},
    config::Config,
    mapping::Mapping,
    pipeline::{Store, now},
    postgres::setup::slot,
    request::{Findings, Purpose, Request, RequestId, State},
    service::{
        ServiceError,
        graph::{Graph, Wait, open},
        mapping, read_catalog, renew, run,
    },
    shown::shown_list,
    shutdown,
};

use super::{print, print_json};

/// How often the request is looked at.
const INTERVAL: Duration = Duration::from_millis(300);
/// How often progress is told.
const TELL_INTERVAL: Duration = Duration::from_secs(5);
/// The last findings come this much later than the end at most.
const LAST_LIMIT: Duration = Duration::from_secs(10);
/// The time for the answer after the source was followed here.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// A request that nobody takes up for this long, with nobody at the slot, is worked on here.
const PATIENCE: Duration = Duration::from_secs(3);

/// Compares, and prints what differs.
pub async fn verify(config: &Config, args: &ReconcileArgs) -> Result<(), ServiceError> {
    execute(config, args, What::Compare(Purpose::Verify)).await
}

/// Compares, writes what differs unless it is only tried, and prints it.
pub async fn repair(config: &Config, args: &RepairArgs) -> Result<(), ServiceError> {
    let what = match args {
        RepairArgs { new_slot: true, .. } => What::Renew,
        RepairArgs { dry_run: true, .. } => What::Compare(Purpose::Verify),
        RepairArgs { .. } => What::Compare(Purpose::Repair),
    };
    execute(config, &args.compared, what).await
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Compare(Purpose),
    /// A new slot, and a repair of all tables.
    Renew,
}

impl What {
    fn purpose(self) -> Purpose {
        match self {
            What::Compare(purpose) => purpose,
            What::Renew => Purpose::Repair,
        }
    }
}

async fn execute(config: &Config, args: &ReconcileArgs, what: What) -> Result<(), ServiceError> {
    config.graph()?;
    let (sql, catalog) = read_catalog(config).await?;
    let mapping = mapping(config, &catalog)?;
    let tables = tables(&mapping, &args.tables)?;
    let graph = open(config, Wait::Usual)?;
    let (client, mapped) = (&sql.client, (&catalog, &mapping));
    let renewable = match what {
        What::Renew => Some(renew::admit(config, client, mapped, &graph).await?),
        What::Compare(_) => {
            renew::of_a_slot(config, &graph.checkpoints(&config.pipeline).await?)?;
            None
        }
    };
    let request = Request {
        id: new_id(),
        purpose: what.purpose(),
        tables,
        state: State::Asked,
        asked_at: now(),
        findings: Findings::default(),
    };
    graph.ask(&config.pipeline, &request).await?;
    let mut is_renewed = false;
    let ended = async {
        if let Some(renewable) = renewable {
            renewable.renew(config, client, mapped, &graph).await?;
            is_renewed = true;
        }
        follow(config, &graph, client, &request).await
    };
    let ended = ended.await;
    if ended.is_err() && is_renewed {
        tracing::warn!(
            "the new slot is there, and not all is compared: `wal2graph run` goes on with it"
        );
    }
    if ended.is_err() {
        // Else it would be worked on at any later start, when nobody waits for it.
        graph.cancel(&config.pipeline, &request.id).await?;
    }
    let withdrawn = graph.withdraw(&config.pipeline, &request.id).await;
    let findings = ended?;
    withdrawn?;
    tell(what.purpose(), args, &findings)
}

/// The names of the tables that the user has named, as the mapping has them.
fn tables(mapping: &Mapping, named: &[String]) -> Result<Vec<String>, ServiceError> {
    let mapped: Vec<&String> = mapping.model.iter().map(|(_, table)| &table.name).collect();
    let of = |name: &String| {
        let is_it = |mapped: &&&String| {
            **mapped == name || mapped.strip_prefix("public.") == Some(name.as_str())
        };
        mapped.iter().find(is_it).map(|name| (**name).clone()).ok_or_else(|| {
            ServiceError::Usage(format!(
                "the mapping has no table {}. It has {}",
                shown_list(&[name]),
                shown_list(&mapped)
            ))
        })
    };
    named.iter().map(of).collect()
}

fn new_id() -> RequestId {
    RequestId(format!("{}-{}", now().unix_micros, std::process::id()))
}

/// Follows a request to its end. Where nobody works on it, it is worked on here meanwhile.
async fn follow(
    config: &Config,
    graph: &Graph,
    sql: &tokio_postgres::Client,
    request: &Request,
) -> Result<Findings, ServiceError> {
    let waiting = wait(config, graph, request);
    let working = async {
        sleep(PATIENCE).await;
        let held = slot(sql, &config.slot).await?;
        let is_asked =
            state(config, graph, request).await?.is_some_and(|(it, _)| it == State::Asked);
        if !is_asked || held.is_some_and(|slot| slot.active_pid.is_some()) {
            return std::future::pending().await;
        }
        tracing::info!(
            "no `wal2graph run` is up: this command follows the source until all is compared"
        );
        let args = RunArgs {
            until: Some(UntilArg::Current),
            into_existing_graph: IntoExistingGraph::Refuse,
        };
        // Older requests come first, one in each run: those of commands that were killed.
        loop {
            run::execute(config, &args).await?;
            if state(config, graph, request).await?.is_none_or(|(it, _)| !it.is_open()) {
                return Ok::<(), ServiceError>(());
            }
        }
    };
    tokio::pin!(waiting);
    tokio::select! {
        findings = &mut waiting => return findings,
        signalled = shutdown::signalled() => {
            signalled?;
            return Err(ServiceError::Definite("stopped: the request is cancelled".to_owned()));
        }
        worked = working => worked?,
    }
    // The last findings are kept as the run ends.
    tokio::time::timeout(ANSWER_LIMIT, waiting).await.unwrap_or_else(|_| {
        Err(ServiceError::NotYet(
            "the comparison was interrupted. Run the command again".to_owned(),
        ))
    })
}

async fn state(
    config: &Config,
    graph: &Graph,
    request: &Request,
) -> Result<Option<(State, Findings)>, ServiceError> {
    let requests = graph.requests(&config.pipeline).await?;
    let found = requests.into_iter().find(|it| it.id == request.id);
    Ok(found.map(|it| (it.state, it.findings)))
}

async fn wait(config: &Config, graph: &Graph, request: &Request) -> Result<Findings, ServiceError> {
    let (mut told, mut done) = (Instant::now(), None);
    loop {
        sleep(INTERVAL).await;
        let Some((state, findings)) = state(config, graph, request).await? else {
            return Err(ServiceError::Definite("somebody has removed the request".to_owned()));
        };
        match state {
            State::Done if findings.is_over => return Ok(findings),
            // The pipeline was killed between the two.
            State::Done if done.get_or_insert_with(Instant::now).elapsed() > LAST_LIMIT => {
                return Ok(findings);
            }
            State::Failed(why) => return Err(ServiceError::Definite(why)),
            State::Cancelled => {
                return Err(ServiceError::Definite(
                    "somebody has cancelled the request".to_owned(),
                ));
            }
            State::Asked | State::Running | State::Done => {}
        }
        if told.elapsed() >= TELL_INTERVAL {
            told = Instant::now();
            tell_progress(&state, &findings);
        }
    }
}

fn tell_progress(state: &State, findings: &Findings) {
    let compared: u64 = findings.tables.iter().map(|table| table.compared).sum();
    let expected: u64 = findings.tables.iter().map(|table| table.expected).sum();
    let differing = findings.differing();
    let text = match state {
        State::Asked => "the request waits for the pipeline".to_owned(),
        _ => format!("compared {compared} of about {expected}, {differing} rows differ so far"),
    };
    if stderr().is_terminal() {
        eprintln!("{text}");
    } else {
        tracing::info!("{text}");
    }
}

/// Prints the result. What differs is an error for `verify`.
fn tell(purpose: Purpose, args: &ReconcileArgs, findings: &Findings) -> Result<(), ServiceError> {
    if args.json {
        print_json(findings)?;
    } else {
        print(&text(findings))?;
    }
    let (differing, undecided) = (findings.differing(), findings.undecided());
    if undecided > 0 {
        tracing::warn!(rows = undecided, "some rows changed faster than they could be looked at");
    }
    match differing {
        0 => Ok(()),
        _ if purpose == Purpose::Repair => Ok(()),
        1 => Err(ServiceError::Definite("1 row differs. `wal2graph repair` mends it".to_owned())),
        _ => Err(ServiceError::Definite(format!(
            "{differing} rows differ. `wal2graph repair` mends them"
        ))),
    }
}

fn text(findings: &Findings) -> String {
    let mut text = String::new();
    for row in &findings.first {
        text += &format!("{} ({})\n", row.table, row.key);
        for difference in &row.differences {
            text += &format!("  {difference}\n");
        }
    }
    let shown = findings.first.len() as u64;
    if findings.differing() > shown {
        text += &format!("... and {} more\n", findings.differing() - shown);
    }
    for table in &findings.tables {
        let undecided = match table.undecided {
            0 => String::new(),
            rows => format!(", {rows} undecided"),
        };
        text += &format!("{}: {} rows differ{undecided}\n", table.table, table.differing);
    }
    text
}
