//! Requests to compare and repair, in the lives of `run`.
//!
//! ```text
//! life:  claimed -> an open request? taken up: its passes are the copier's -> streams, and compares
//! beside it, every second:  findings -> the request      a new request, or one that is cancelled -> the life ends
//! next life:  goes on with the progress that is there, or begins with the next request
//! ```
//!
//! A request never interrupts a first copy, nor what the graph is owed with a new slot: it waits until that is
//! over. A verification also waits for rows that are left to complete. A repair does not: it removes those that no
//! table has, on which their completion ends with an error, and completes the others itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    checkpoint::Claim,
    config::Config,
    copy::Progress,
    graph::{Key, Model, Pass, TableIndex},
    mapping::Translator,
    metrics::now,
    pipeline::{Letters, Report, Reported, Status, Store},
    request::{Findings, Purpose, Request, RequestId, RowFindings, Rows, State, TableFindings},
    shown::{Shown, shown_list},
};

use super::{
    ServiceError,
    graph::{self, Graph, Wait, open},
};

/// How often requests are looked at, and findings are kept.
const INTERVAL: Duration = Duration::from_secs(1);

/// Why a graph of other publishers' topics is not compared.
pub const FOREIGN: &str = "the graph follows topics that `wal2graph publish` does not write. Their records do not \
                           say up to where a topic is complete, so a difference could not be told from a change \
                           that is still to come. `wal2graph replay --from earliest` applies all records again that \
                           the topics have";

/// A request that a life works on.
pub struct Taken {
    /// What for.
    pub purpose: Purpose,
    /// Which one; `None`: its asker has ended it, and what is written has to settle, or nobody has asked
    /// for what the graph is owed.
    pub id: Option<RequestId>,
    /// Which rows; `None`: all.
    pub rows: Option<Rows>,
    /// What was found.
    pub reported: Reported,
}

/// The passes of a life.
pub struct Passes {
    /// What the copier has to do.
    pub progress: Vec<Progress>,
    /// The request that it is for.
    pub taken: Option<Taken>,
}

/// Takes up the oldest open request, or goes on with the one that runs. `progress` is what the graph
/// has: of a first copy, of a repair that was interrupted, or none. With `is_left` there is none, and rows are
/// left to complete. `new` makes the progress of passes over these tables, where a request begins.
pub async fn take_up(
    graph: &impl Store,
    claim: &Claim,
    (model, paused): (&Model, &BTreeSet<TableIndex>),
    (progress, is_left): (Vec<Progress>, bool),
    new: impl AsyncFnOnce(&[TableIndex]) -> Result<Vec<Progress>, ServiceError>,
) -> Result<Passes, ServiceError> {
    if !progress.is_empty() && !progress.iter().any(Progress::compares) {
        return Ok(Passes { progress, taken: None });
    }
    let requests = graph.requests(&claim.identity.pipeline).await?;
    let mut open = requests.into_iter().filter(|request| request.state.is_open());
    if progress.is_empty() {
        let comes_first = |it: &Request| !is_left || it.purpose == Purpose::Repair;
        return match open.find(comes_first) {
            Some(request) => begin(graph, claim, (model, paused), request, new).await,
            None => Ok(Passes { progress, taken: None }),
        };
    }
    let repairs: Vec<Request> = open.filter(|it| it.purpose == Purpose::Repair).collect();
    let running = repairs.iter().find(|it| it.state == State::Running).cloned();
    let is_owed = progress.iter().any(|range| range.is_owed);
    let request = match running {
        None if is_owed => adopt(graph, claim, repairs, &progress).await?,
        running => running,
    };
    let (id, rows) = request.map(|it| (it.id, it.rows)).unzip();
    let mut progress = progress;
    if is_owed {
        let tables: BTreeSet<&str> = progress.iter().map(|range| range.table.as_str()).collect();
        tracing::info!(?tables, "comparing tables with the graph");
    } else if id.is_none() {
        // Rows were written that the stream has not reached. The copier lets it pass, and compares no
        // more.
        tracing::info!("a repair was cancelled: the stream passes what it has written");
        progress.iter_mut().for_each(|range| range.done = true);
    }
    let is_left = |name: &String| progress.iter().any(|range| range.table == *name);
    let left = model.iter().filter(|(_, table)| is_left(&table.name));
    let reported = Reported::of(left.map(|(table, _)| table));
    let (purpose, rows) = (Purpose::Repair, rows.flatten());
    Ok(Passes { progress, taken: Some(Taken { purpose, id, rows, reported }) })
}

/// A repair of all tables that is asked while the graph is owed just that: both are done at once.
async fn adopt(
    graph: &impl Store,
    claim: &Claim,
    repairs: Vec<Request>,
    progress: &[Progress],
) -> Result<Option<Request>, ServiceError> {
    let asked = repairs.into_iter().find(|it| it.tables.is_empty());
    let Some(request) = asked else { return Ok(None) };
    let compared: Vec<Progress> = progress.iter().filter(|it| it.compares()).cloned().collect();
    Ok(graph.take_up(claim, &request.id, &compared).await?.then_some(request))
}

async fn begin(
    graph: &impl Store,
    claim: &Claim,
    (model, paused): (&Model, &BTreeSet<TableIndex>),
    request: Request,
    new: impl AsyncFnOnce(&[TableIndex]) -> Result<Vec<Progress>, ServiceError>,
) -> Result<Passes, ServiceError> {
    let nothing = Passes { progress: Vec::new(), taken: None };
    let tables =
        match tables_of(model, &request).and_then(|it| without(model, paused, it, &request)) {
            Ok(tables) => tables,
            Err(why) => {
                tracing::warn!(request = %request.id, why, "a request can not be done");
                let (failed, none) = (State::Failed(why), Findings::default());
                graph.answer(claim, &request.id, &failed, &none).await?;
                return Ok(nothing);
            }
        };
    if let Some(Rows::Dropped { dropped }) = &request.rows {
        if graph.remove_letters(&claim.identity.pipeline, Some(claim), dropped).await? {
            graph.answer(claim, &request.id, &State::Done, &over_at_once()).await?;
            tracing::info!(letters = dropped.len(), "dead letters were dropped");
        }
        return Ok(nothing);
    }
    let progress = match &request.rows {
        None => new(&tables).await?,
        // Its rows are looked at one by one.
        Some(_) => tables.iter().map(|table| over(&model.table(*table).name)).collect(),
    };
    let stored = match request.purpose {
        Purpose::Repair => progress.as_slice(),
        Purpose::Verify => &[],
    };
    if !graph.take_up(claim, &request.id, stored).await? {
        return Ok(nothing);
    }
    let (purpose, id, rows) = (request.purpose, Some(request.id), request.rows);
    let count = tables.len();
    tracing::info!(purpose = purpose.name(), tables = count, "comparing the graph with the tables");
    let reported = Reported::of(tables);
    Ok(Passes { progress, taken: Some(Taken { purpose, id, rows, reported }) })
}

/// The findings of what compares nothing.
pub fn over_at_once() -> Findings {
    Findings { is_over: true, ..Findings::default() }
}

/// A name for a request that is asked now.
pub fn new_id() -> RequestId {
    RequestId(format!("{}-{}", now().unix_micros, std::process::id()))
}

/// The progress of a table without passes.
pub fn over(table: &str) -> Progress {
    Progress { done: true, ..Progress::new(table, Pass::Graph) }
}

/// The keys of the rows that a request of these tables is about; `None`: it is about all rows.
pub fn keys(
    rows: Option<&Rows>,
    tables: &[TableIndex],
    translator: &Translator,
    letters: &Letters,
) -> Option<Vec<(TableIndex, Key)>> {
    let texts = match rows? {
        Rows::Keys(texts) => texts,
        Rows::Retried { retried } => return Some(letters.named(retried)),
        Rows::Dropped { .. } => return Some(Vec::new()),
    };
    let mut translator = translator.clone();
    let mut keys = Vec::with_capacity(texts.len());
    for (table, texts) in tables.iter().flat_map(|table| texts.iter().map(move |it| (*table, it))) {
        match translator.key_from_texts(table, texts) {
            Ok(key) => keys.push((table, key)),
            Err(error) => tracing::warn!(%error, "a request names a row that can not be"),
        }
    }
    Some(keys)
}

/// The tables that a request is about.
///
/// # Errors
/// The mapping lacks one, in a sentence.
pub fn tables_of(model: &Model, request: &Request) -> Result<Vec<TableIndex>, String> {
    let is_mapped = |named: &String| model.iter().any(|(_, table)| table.name == *named);
    let unknown: Vec<&String> = request.tables.iter().filter(|name| !is_mapped(name)).collect();
    if !unknown.is_empty() {
        return Err(format!("the mapping has no table {}", shown_list(&unknown)));
    }
    let is_asked = |name: &String| request.tables.is_empty() || request.tables.contains(name);
    let tables = model.iter().filter(|(_, table)| is_asked(&table.name));
    Ok(tables.map(|(table, _)| table).collect())
}

/// The same without those that are paused: their columns may have other names.
///
/// # Errors
/// There is no other one, or one of them is asked for by name, in a sentence.
pub fn without(
    model: &Model,
    paused: &BTreeSet<TableIndex>,
    mut tables: Vec<TableIndex>,
    request: &Request,
) -> Result<Vec<TableIndex>, String> {
    let named = tables.iter().find(|table| paused.contains(table));
    if let Some(table) = named.filter(|_| !request.tables.is_empty()) {
        let name = &model.table(*table).name;
        return Err(format!(
            "the table {} has changed and is paused: `wal2graph status` says what lets it go on",
            Shown(name)
        ));
    }
    tables.retain(|table| !paused.contains(table));
    match tables.is_empty() && !paused.is_empty() {
        true => Err(
            "all tables have changed and are paused: `wal2graph status` says what lets them go on"
                .to_owned(),
        ),
        false => Ok(tables),
    }
}

/// Keeps what a request finds. `unconstrained`: doubled nodes keep constraints away, which are made once it is done.
pub fn follow(
    graph: Graph,
    claim: Claim,
    taken: &Taken,
    model: Arc<Model>,
    expected: BTreeMap<String, u64>,
    mut unconstrained: Option<Graph>,
) -> Option<Following> {
    let (id, reported) = (taken.id.clone()?, taken.reported.clone());
    let keys = taken.rows.as_ref().map(|rows| rows.count() as u64);
    // Both passes see a row.
    let expected = move |table: &str| keys.or_else(|| expected.get(table).map(|rows| 2 * rows));
    let following = async move {
        let mut kept = Findings::default();
        loop {
            due(&reported).await;
            let (findings, state) = {
                let report = reported.get();
                let state = if report.is_over { State::Done } else { State::Running };
                (findings(&report, &model, &expected), state)
            };
            if let Some(graph) = unconstrained.take_if(|_| state == State::Done)
                && let Err(error) = graph::establish_again(&graph, &model).await
            {
                tracing::warn!(%error, "a constraint can not be made again yet");
            }
            if findings != kept || state == State::Done {
                match graph.answer(&claim, &id, &state, &findings).await {
                    Ok(true) => kept = findings.clone(),
                    // Another instance goes on with it, or somebody has ended it.
                    Ok(false) => return,
                    Err(error) => {
                        tracing::warn!(%error, request = %id, "the findings are not kept yet");
                        sleep(INTERVAL).await;
                        continue;
                    }
                }
            }
            if state == State::Done {
                let (rows, differing) = (findings.compared(), findings.differing());
                tracing::info!(rows, differing, undecided = findings.undecided(), "compared");
                return;
            }
        }
    };
    let task = AbortOnDropHandle::new(tokio::spawn(following));
    Some(Following { task, reported: taken.reported.clone() })
}

/// Resolves when findings are to be kept again: now and then, and at once when nothing more comes.
async fn due(reported: &Reported) {
    /// How soon the end is noticed.
    const LOOK: Duration = Duration::from_millis(50);
    let asked = Instant::now();
    while asked.elapsed() < INTERVAL && !reported.get().is_over {
        sleep(LOOK).await;
    }
}

/// What keeps the findings of a request, until it is dropped.
pub struct Following {
    task: AbortOnDropHandle<()>,
    reported: Reported,
}

impl Following {
    /// The life ends: waits until the last findings are kept, if all is compared.
    pub async fn finish(self) {
        /// The limit for a graph that does not answer.
        const LIMIT: Duration = Duration::from_secs(5);
        let is_over = self.reported.get().is_over;
        if is_over {
            let _ = tokio::time::timeout(LIMIT, self.task).await;
        }
    }
}

/// Resolves when a life has to begin anew for a request: one is asked and none is worked on, or the
/// one that is worked on was ended. A copy that no request has asked for is not interrupted.
pub async fn changed(
    config: &Config,
    taken: Option<(RequestId, Reported)>,
    status: watch::Receiver<Status>,
) {
    let mut graph = None;
    loop {
        sleep(INTERVAL).await;
        if taken.is_none() && status.borrow().copying {
            continue;
        }
        // Without an answer the pipeline itself is in trouble, and says so.
        let Ok(open) = graph.take().map_or_else(|| open(config, Wait::Usual), Ok) else { continue };
        let Ok(requests) = open.requests(&config.pipeline).await else { continue };
        graph = Some(open);
        let is_busy = taken.as_ref().filter(|(_, reported)| !reported.get().is_over);
        let has_changed = match is_busy {
            Some((id, _)) => !requests.iter().any(|it| it.id == *id && it.state.is_open()),
            // A life that was interrupted has left one.
            None if taken.is_none() => requests.iter().any(|request| request.state.is_open()),
            None => requests.iter().any(|request| request.state == State::Asked),
        };
        if has_changed {
            return;
        }
    }
}

/// What is found, in the names of the model. `expected` has about how many rows each table has.
pub fn findings(
    report: &Report,
    model: &Model,
    expected: impl Fn(&str) -> Option<u64>,
) -> Findings {
    let of = |counts: &BTreeMap<TableIndex, u64>, table| counts.get(&table).copied().unwrap_or(0);
    let tables = model.iter().filter(|(table, _)| report.compared.contains_key(table));
    let tables = tables.map(|(table, named)| TableFindings {
        table: named.name.clone(),
        compared: of(&report.compared, table),
        expected: expected(&named.name).unwrap_or(0),
        differing: of(&report.differing, table),
        undecided: of(&report.undecided, table),
        keyless: 0,
        keyless_queries: Vec::new(),
    });
    let first = report.first.iter().map(|row| RowFindings {
        table: model.table(row.table).name.clone(),
        key: model.shown_key(row.table, &row.key),
        differences: row.differences.iter().map(ToString::to_string).collect(),
    });
    Findings { is_over: report.is_over, tables: tables.collect(), first: first.collect() }
}
