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

mod alone;
mod judged;
mod keyless;
mod progress;

use std::{
    error::Error,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    catalog::Catalog,
    checkpoint::{Checkpoint, Log},
    cli::{ReconcileArgs, RepairArgs, UntilArg, VerifyArgs},
    config::Config,
    graph::{Model, TableIndex},
    mapping::{Mapping, Translator},
    pipeline::{Failure, Store, now},
    postgres::{
        connect::{Sql, describe},
        matching::keys_where,
        sources::Sources,
    },
    request::{Findings, Purpose, Request, Rows, State, TableFindings},
    service::{
        ServiceError, following,
        graph::{Graph, Wait, open},
        looked::Followed,
        others::Others,
        read_catalog, renew,
        requests::{FOREIGN, new_id},
        run,
    },
    shown::shown_list,
    shutdown,
};

use super::{print, print_json};

pub(super) use alone::stand_in;
use alone::{is_alone, of_its_own};
use judged::{fail_if_any, letters_wait, set_aside};
use progress::Shown;

/// How often the request is looked at.
const INTERVAL: Duration = Duration::from_millis(300);
/// A request names at most so many rows: it is read every second while it is open.
const PORTION: usize = 5_000;
/// With more rows a comparison of the whole table is faster.
const ROWS_MAX: usize = 100_000;
/// The last findings come this much later than the end at most.
const LAST_LIMIT: Duration = Duration::from_secs(10);
/// A request that stands still for so long may be one that nobody works on any more.
const STILL: Duration = Duration::from_secs(5);
/// The time for the answer after the source was followed here.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Compares, and prints what differs.
pub async fn verify(config: &Config, args: &VerifyArgs) -> Result<(), ServiceError> {
    let what = What::Compare(Purpose::Verify);
    let findings = execute(config, &args.compared, what).await;
    let findings = findings.map_err(ServiceError::not_compared)?;
    fail_if_any(&findings, set_aside(config, &findings).await?)
}

/// Compares, writes what differs unless that is only tried, and prints it.
pub async fn repair(config: &Config, args: &RepairArgs) -> Result<(), ServiceError> {
    let what = match args {
        RepairArgs { new_slot: true, .. } => What::Renew,
        RepairArgs { dry_run: true, .. } => What::Compare(Purpose::Verify),
        RepairArgs { .. } => What::Compare(Purpose::Repair),
    };
    let findings =
        execute(config, &args.compared, what).await.map_err(ServiceError::not_compared)?;
    match (args.dry_run, set_aside(config, &findings).await?) {
        (true, set_aside) => fail_if_any(&findings, set_aside),
        (false, 0) => Ok(()),
        (false, rows) => {
            Err(ServiceError::Definite(format!("all is compared, and {}", letters_wait(rows))))
        }
    }
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

async fn execute(
    config: &Config,
    args: &ReconcileArgs,
    what: What,
) -> Result<Findings, ServiceError> {
    config.graph()?;
    let (Sql { client, .. }, catalog) = read_catalog(config).await?;
    let Followed { catalog, mapping, .. } =
        following::tables(config, &client, catalog).await?.followed;
    let mapping = mapping?;
    let tables = tables(&mapping, &args.tables)?;
    let graph = open(config, Wait::Usual)?;
    let client = &client;
    if what == What::Renew {
        return renewed(config, client, (&catalog, &mapping), &graph, args).await;
    }
    let logs = shares(&admit(config, &graph).await?);
    let others = Others::look(&graph, &config.pipeline).await?;
    others.warn(&mapping.model, &tables);
    let model = Arc::new(mapping.model.clone());
    let mut findings = Findings { is_over: true, ..Findings::default() };
    let portions = match &args.condition {
        None => vec![None],
        Some(condition) => {
            let table = one(&tables, &mapping)?;
            let sources = Sources::new(&catalog, &Translator::new(Arc::new(mapping)));
            let keys = fulfilling(client, &sources, table, condition).await?;
            tracing::info!(rows = keys.len(), "rows fulfil the condition");
            let empty = TableFindings { table: tables[0].clone(), ..TableFindings::default() };
            findings.tables.push(empty);
            keys.chunks(PORTION).map(|keys| Some(keys.to_vec())).collect()
        }
    };
    let mut shown = Shown::new();
    for keys in portions {
        let rows = keys.map(Rows::Keys);
        let request =
            Request { rows, ..Request::new(new_id(), what.purpose(), tables.clone(), now()) };
        graph.ask(&config.pipeline, &request).await?;
        findings.add(followed((config, &graph), (&request, &logs), &mut shown).await?);
    }
    shown.end();
    if args.condition.is_none() {
        keyless::count(&graph, &model, &others, &mut findings).await?;
    }
    tell(args, &model, &findings)?;
    Ok(findings)
}

/// Has these rows compared and written, or their letters dropped.
pub(super) async fn of_rows(
    config: &Config,
    graph: &Graph,
    tables: Vec<String>,
    rows: Rows,
) -> Result<(), ServiceError> {
    let logs = shares(&admit(config, graph).await?);
    let request =
        Request { rows: Some(rows), ..Request::new(new_id(), Purpose::Repair, tables, now()) };
    graph.ask(&config.pipeline, &request).await?;
    let mut shown = Shown::new();
    followed((config, graph), (&request, &logs), &mut shown).await?;
    shown.end();
    Ok(())
}

/// Makes a new slot, and repairs all tables.
async fn renewed(
    config: &Config,
    client: &tokio_postgres::Client,
    mapped: (&Catalog, &Mapping),
    graph: &Graph,
    args: &ReconcileArgs,
) -> Result<Findings, ServiceError> {
    let renewable = renew::admit(config, client, mapped, graph).await?;
    let others = Others::look(graph, &config.pipeline).await?;
    others.warn(&mapped.1.model, &[]);
    let request = Request::new(new_id(), Purpose::Repair, Vec::new(), now());
    graph.ask(&config.pipeline, &request).await?;
    if let Err(error) = renewable.renew(config, client, mapped, graph).await {
        give_up(config, graph, &request).await?;
        return Err(error);
    }
    let mut shown = Shown::new();
    let followed = followed((config, graph), (&request, &[]), &mut shown).await;
    if followed.is_err() {
        tracing::warn!(
            "the new slot is there, and not all is compared: `wal2graph run` goes on with it"
        );
    }
    let mut findings = followed?;
    shown.end();
    let model = Arc::new(mapped.1.model.clone());
    keyless::count(graph, &model, &others, &mut findings).await?;
    tell(args, &model, &findings)?;
    Ok(findings)
}

/// Follows a request to its end.
async fn followed(
    (config, graph): (&Config, &Graph),
    (request, logs): (&Request, &[Log]),
    shown: &mut Shown,
) -> Result<Findings, ServiceError> {
    let ended = match logs {
        [] => follow(config, graph, request, shown).await,
        // Partitions do a share each, where `apply` has them.
        logs => tokio::select! {
            findings = wait(config, graph, request, logs, shown) => findings,
            stopped = interrupted() => Err(stopped),
        },
    };
    match ended {
        Ok(findings) => {
            graph.conclude(&config.pipeline, &request.id, &findings.brief()).await?;
            Ok(findings)
        }
        Err(error) => {
            give_up(config, graph, request).await?;
            Err(error)
        }
    }
}

/// Else it would be worked on at any later start, when nobody waits for it.
async fn give_up(config: &Config, graph: &Graph, request: &Request) -> Result<(), ServiceError> {
    graph.cancel(&config.pipeline, &request.id).await?;
    graph.withdraw(&config.pipeline, &request.id).await?;
    Ok(())
}

/// The one table that a condition is about.
fn one(tables: &[String], mapping: &Mapping) -> Result<TableIndex, ServiceError> {
    let [name] = tables else {
        let error =
            "--where is about the rows of one table: name one, such as `verify orders --where ...`";
        return Err(ServiceError::Usage(error.to_owned()));
    };
    let found = mapping.model.iter().find(|(_, table)| table.name == *name);
    Ok(found.expect("it is one of the mapping's").0)
}

/// The keys of the rows that fulfil a condition.
async fn fulfilling(
    client: &tokio_postgres::Client,
    sources: &Sources,
    table: TableIndex,
    condition: &str,
) -> Result<Vec<Vec<String>>, ServiceError> {
    let found = keys_where(client, sources, table, condition, ROWS_MAX + 1).await;
    let is_away = |error: &tokio_postgres::Error| {
        error.is_closed() || error.source().is_some_and(|it| it.is::<io::Error>())
    };
    let keys = found.map_err(|error| match is_away(&error) {
        // Of the condition; also that it wants parameters, which no server says.
        false => ServiceError::Usage(format!("--where: PostgreSQL: {}", describe(&error))),
        true => error.into(),
    })?;
    match keys.len() > ROWS_MAX {
        false => Ok(keys),
        true => Err(ServiceError::Usage(format!(
            "--where: more than {ROWS_MAX} rows fulfil the condition. To compare the whole table is faster: leave \
             --where out"
        ))),
    }
}

/// The names of the tables that the user has named, as the mapping has them.
pub(super) fn tables(mapping: &Mapping, named: &[String]) -> Result<Vec<String>, ServiceError> {
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
        return Err(renew::nothing_to_compare(config));
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

/// Follows a request to its end. Where nobody works on it, it is worked on here meanwhile.
async fn follow(
    config: &Config,
    graph: &Graph,
    request: &Request,
    shown: &mut Shown,
) -> Result<Findings, ServiceError> {
    let waiting = wait(config, graph, request, &[], shown);
    let working = async {
        if !is_alone(config, graph, Some(request)).await {
            return std::future::pending().await;
        }
        tracing::info!(
            "no `wal2graph run` is up: this command follows the source until all is compared"
        );
        let (config, args) = of_its_own(config, Some(UntilArg::Current));
        let config = &config;
        // Older requests come first, one in each run: those of commands that were killed.
        loop {
            run::execute(config, &args).await?;
            if state(config, graph, request).await?.is_none_or(|it| !it.state.is_open()) {
                return Ok::<(), ServiceError>(());
            }
        }
    };
    tokio::pin!(waiting);
    tokio::select! {
        findings = &mut waiting => return findings,
        stopped = interrupted() => return Err(stopped),
        worked = working => worked?,
    }
    // The last findings are kept as the run ends.
    tokio::time::timeout(ANSWER_LIMIT, waiting).await.unwrap_or_else(|_| {
        Err(ServiceError::NotYet(
            "the request has ended, and the graph does not answer with what was found. Run the command again"
                .to_owned(),
        ))
    })
}

/// Resolves on Ctrl-C, with the error that ends the command.
async fn interrupted() -> ServiceError {
    match shutdown::signalled().await {
        Ok(()) => ServiceError::Definite("stopped: the request is cancelled".to_owned()),
        Err(error) => error.into(),
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
    shown: &mut Shown,
) -> Result<Findings, ServiceError> {
    let (mut done, mut is_away) = (None, false);
    let (mut seen, mut moved) = (Findings::default(), Instant::now());
    loop {
        sleep(INTERVAL).await;
        let now = match state(config, graph, request).await {
            Err(error) if error.is_transient() => {
                // The pipeline waits for the graph, too, and goes on with the request.
                if !std::mem::replace(&mut is_away, true) {
                    tracing::warn!(%error, "the graph is away: waiting for it");
                }
                continue;
            }
            now => now?,
        };
        is_away = false;
        let Some(now) = now else {
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
        if moved.elapsed() > STILL {
            check_stopped(config, graph, &now).await?;
        }
        shown.show(&now, logs, moved.elapsed());
    }
}

/// Whoever works on a request has not stopped for good since it was asked.
async fn check_stopped(
    config: &Config,
    graph: &Graph,
    request: &Request,
) -> Result<(), ServiceError> {
    let Ok(checkpoints) = graph.positions(&config.pipeline).await else { return Ok(()) };
    let mut stopped = checkpoints.iter().filter_map(|it| it.stopped.as_ref());
    match stopped.find(|it| it.at > request.asked_at) {
        Some(stopped) => Err(ServiceError::Definite(format!(
            "the pipeline has stopped meanwhile: {}. Mend that, and run the command again",
            stopped.because
        ))),
        None => Ok(()),
    }
}

/// Prints the result.
fn tell(args: &ReconcileArgs, model: &Model, findings: &Findings) -> Result<(), ServiceError> {
    if args.json {
        print_json(findings)?;
    } else {
        print(&(text(findings) + &keyless::text(model, findings)))?;
    }
    let undecided = findings.undecided();
    if undecided > 0 {
        tracing::warn!(rows = undecided, "some rows changed faster than they could be looked at");
    }
    Ok(())
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
