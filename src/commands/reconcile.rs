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
    checkpoint::Log,
    cli::{ReconcileArgs, RunArgs, UntilArg},
    config::Config,
    mapping::Mapping,
    pipeline::{Store, now},
    postgres::setup::slot,
    request::{Findings, Purpose, Request, RequestId, State},
    service::{
        ServiceError,
        graph::{Graph, Wait, open},
        mapping, read_catalog, run,
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
    admit(config, &graph).await?;
    let asked = if args.dry_run { Purpose::Verify } else { purpose };
    let request = Request::new(new_id(), asked, tables, now());
    graph.ask(&config.pipeline, &request).await?;
    let ended = follow(config, &graph, &sql.client, &request).await;
    let findings = match ended {
        Ok(findings) => findings,
        Err(error) => {
            // Else it would be worked on at any later start, when nobody waits for it.
            graph.cancel(&config.pipeline, &request.id).await?;
            graph.withdraw(&config.pipeline, &request.id).await?;
            return Err(error);
        }
    };
    graph.conclude(&config.pipeline, &request.id, &findings.brief()).await?;
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

/// Whether there is a graph that a `run` keeps.
async fn admit(config: &Config, graph: &Graph) -> Result<(), ServiceError> {
    let checkpoints = graph.checkpoints(&config.pipeline).await?;
    if checkpoints.is_empty() {
        return Err(ServiceError::Definite(format!(
            "the graph has no checkpoint of pipeline {:?}: there is nothing to compare. `wal2graph run` copies the \
             tables",
            config.pipeline
        )));
    }
    if checkpoints.iter().any(|it| matches!(it.origin.log, Log::Partition(_))) {
        return Err(ServiceError::Definite(
            "the graph follows a topic: only a graph that `wal2graph run` keeps can be compared with its tables"
                .to_owned(),
        ));
    }
    Ok(())
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
