//! `verify` and `repair`: asks the pipeline to compare the graph with the tables, follows that, and
//! prints what differs.
//!
//! ```text
//! request -> graph -> taken up by the `run` that is there, or by one that this command runs meanwhile;
//!    |                of a topic, by each `apply` for its partitions
//! findings <- graph, until it is done; Ctrl-C cancels it
//! ```
//!
//! Where the graph follows a topic, the command waits for `apply`: the group's members share the partitions,
//! and what has not been published can not be proven.

use std::{
    collections::BTreeSet,
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    checkpoint::{Checkpoint, Log},
    cli::{ReconcileArgs, RunArgs, UntilArg},
    config::Config,
    mapping::Mapping,
    pipeline::{Store, now},
    postgres::setup::slot,
    request::{Findings, Purpose, Request, RequestId, State},
    service::{
        ServiceError,
        graph::{Graph, Wait, open},
        mapping, read_catalog,
        requests::FOREIGN,
        run,
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
/// A comparison that does not move for so long waits for something.
const STILL: Duration = Duration::from_secs(20);
/// A request that nobody takes up for this long, with nobody at the slot, is worked on here.
const PATIENCE: Duration = Duration::from_secs(3);

/// Compares, and prints what differs. A repair writes it, unless it is only tried.
pub async fn execute(
    config: &Config,
    purpose: Purpose,
    args: &ReconcileArgs,
) -> Result<(), ServiceError> {
    config.graph()?;
    let (sql, catalog) = read_catalog(config).await?;
    let mapping = mapping(config, &catalog)?;
    let tables = tables(&mapping, &args.tables)?;
    let graph = open(config, Wait::Usual)?;
    let checkpoints = admit(config, &graph).await?;
    let request = Request {
        id: new_id(),
        purpose: if args.dry_run { Purpose::Verify } else { purpose },
        tables,
        state: State::Asked,
        asked_at: now(),
        findings: Findings::default(),
        shares_over: BTreeSet::new(),
    };
    graph.ask(&config.pipeline, &request).await?;
    let logs = shares(&checkpoints);
    let ended = match logs.is_empty() {
        true => follow(config, &graph, &sql.client, &request).await,
        false => follow_shares(config, &graph, &request, &logs).await,
    };
    if ended.is_err() {
        // Else it would be worked on at any later start, when nobody waits for it.
        graph.cancel(&config.pipeline, &request.id).await?;
    }
    let withdrawn = graph.withdraw(&config.pipeline, &request.id).await;
    let findings = ended?;
    withdrawn?;
    tell(purpose, args, &findings)
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

/// Whether there is a graph that can be compared with its tables.
async fn admit(config: &Config, graph: &Graph) -> Result<Vec<Checkpoint>, ServiceError> {
    let checkpoints = graph.checkpoints(&config.pipeline).await?;
    if checkpoints.is_empty() {
        return Err(ServiceError::Definite(format!(
            "the graph has no checkpoint of pipeline {:?}: there is nothing to compare. `wal2graph run` copies the \
             tables",
            config.pipeline
        )));
    }
    if checkpoints.iter().any(|it| it.origin.system_identifier.is_empty()) {
        return Err(ServiceError::Definite(FOREIGN.to_owned()));
    }
    Ok(checkpoints)
}

/// The partitions that do a share of a request, if the graph follows a topic.
fn shares(checkpoints: &[Checkpoint]) -> Vec<Log> {
    let of_rows = checkpoints.iter().filter(|it| it.partition().is_some() && !it.is_whole);
    of_rows.map(|it| it.origin.log.clone()).collect()
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
    let waiting = wait(config, graph, request, &[]);
    let working = async {
        sleep(PATIENCE).await;
        let held = slot(sql, &config.slot).await?;
        let is_asked =
            state(config, graph, request).await?.is_some_and(|it| it.state == State::Asked);
        if !is_asked || held.is_some_and(|slot| slot.active_pid.is_some()) {
            return std::future::pending().await;
        }
        tracing::info!(
            "no `wal2graph run` is up: this command follows the source until all is compared"
        );
        let args = RunArgs { until: Some(UntilArg::Current), into_existing_graph: false };
        run::execute(config, &args).await
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

/// The same where partitions do a share each.
async fn follow_shares(
    config: &Config,
    graph: &Graph,
    request: &Request,
    logs: &[Log],
) -> Result<Findings, ServiceError> {
    let waiting = wait(config, graph, request, logs);
    tokio::select! {
        findings = waiting => findings,
        signalled = shutdown::signalled() => {
            signalled?;
            Err(ServiceError::Definite("stopped: the request is cancelled".to_owned()))
        }
    }
}

async fn state(
    config: &Config,
    graph: &Graph,
    request: &Request,
) -> Result<Option<Request>, ServiceError> {
    let requests = graph.requests(&config.pipeline).await?;
    Ok(requests.into_iter().find(|it| it.id == request.id))
}

async fn wait(
    config: &Config,
    graph: &Graph,
    request: &Request,
    logs: &[Log],
) -> Result<Findings, ServiceError> {
    let (mut told, mut done) = (Instant::now(), None);
    let (mut seen, mut moved) = (Findings::default(), Instant::now());
    loop {
        sleep(INTERVAL).await;
        let Some(now) = state(config, graph, request).await? else {
            return Err(ServiceError::Definite("somebody has removed the request".to_owned()));
        };
        match now.state {
            State::Done if now.findings.is_over => return Ok(now.findings),
            // The pipeline was killed between the two.
            State::Done if done.get_or_insert_with(Instant::now).elapsed() > LAST_LIMIT => {
                return Ok(now.findings);
            }
            State::Failed(why) => return Err(ServiceError::Definite(why)),
            State::Cancelled => {
                return Err(ServiceError::Definite(
                    "somebody has cancelled the request".to_owned(),
                ));
            }
            State::Asked | State::Running | State::Done => {}
        }
        if now.findings != seen {
            (seen, moved) = (now.findings.clone(), Instant::now());
        }
        if told.elapsed() >= TELL_INTERVAL {
            told = Instant::now();
            tell_progress(&now, logs, moved.elapsed());
        }
    }
}

fn tell_progress(now: &Request, logs: &[Log], still: Duration) {
    let findings = &now.findings;
    let compared: u64 = findings.tables.iter().map(|table| table.compared).sum();
    let expected: u64 = findings.tables.iter().map(|table| table.expected).sum();
    let differing = findings.differing();
    let mut text = match now.state {
        State::Asked if logs.is_empty() => "the request waits for the pipeline".to_owned(),
        State::Asked => {
            "the request waits for `wal2graph apply`, and for a copy to be complete. Start it, if none runs".to_owned()
        }
        _ => format!("compared {compared} of about {expected}, {differing} rows differ so far"),
    };
    if now.state == State::Running && still >= STILL && !logs.is_empty() {
        let open = logs.iter().filter(|log| !now.shares_over.contains(&log.name()));
        let open: Vec<String> = open.map(ToString::to_string).collect();
        text += &format!(
            ". Nothing moves. Still to come: {}. `wal2graph publish` has to run, and a `wal2graph apply` for each \
             partition",
            shown_list(&open)
        );
    }
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
    let verifies = purpose == Purpose::Verify || args.dry_run;
    match differing {
        0 => Ok(()),
        _ if !verifies => Ok(()),
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
