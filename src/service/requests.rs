//! Requests to compare and repair, in the lives of `run`.
//!
//! ```text
//! life:  claimed -> an open request? taken up: its passes are the copier's -> streams, and compares
//! beside it, every second:  findings -> the request      a new request, or one that is cancelled -> the life ends
//! next life:  goes on with the progress that is there, or begins with the next request
//! ```
//!
//! A request never interrupts a first copy: it waits until that is over.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    checkpoint::Claim,
    config::Config,
    copy::{Progress, RECONCILED},
    graph::{Model, TableIndex},
    pipeline::{Report, Reported, Store},
    request::{Findings, Purpose, Request, RequestId, RowFindings, State, TableFindings},
    shown::shown_list,
};

use super::{
    ServiceError,
    graph::{Graph, Wait, open},
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
    /// Which one; `None`: its asker has ended it, and what is written has to settle.
    pub id: Option<RequestId>,
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
/// has: of a first copy, of a repair that was interrupted, or none. `new` makes the progress of
/// passes over these tables, where a request begins.
pub async fn take_up(
    graph: &impl Store,
    claim: &Claim,
    model: &Model,
    progress: Vec<Progress>,
    new: impl AsyncFnOnce(&[TableIndex]) -> Result<Vec<Progress>, ServiceError>,
) -> Result<Passes, ServiceError> {
    let is_reconciled = |range: &Progress| RECONCILED.contains(&range.pass);
    if progress.iter().any(|range| !is_reconciled(range)) {
        return Ok(Passes { progress, taken: None });
    }
    let requests = graph.requests(&claim.identity.pipeline).await?;
    let mut open = requests.into_iter().filter(|request| request.state.is_open());
    if progress.is_empty() {
        return match open.next() {
            Some(request) => begin(graph, claim, model, request, new).await,
            None => Ok(Passes { progress, taken: None }),
        };
    }
    let is_running = |it: &Request| it.purpose == Purpose::Repair && it.state == State::Running;
    let id = open.find(is_running).map(|request| request.id);
    let mut progress = progress;
    if id.is_none() {
        // Rows were written that the stream has not reached. The copier lets it pass, and compares no
        // more.
        tracing::info!("a repair was cancelled: the stream passes what it has written");
        progress.iter_mut().for_each(|range| range.done = true);
    }
    let reported = Reported::default();
    Ok(Passes { progress, taken: Some(Taken { purpose: Purpose::Repair, id, reported }) })
}

async fn begin(
    graph: &impl Store,
    claim: &Claim,
    model: &Model,
    request: Request,
    new: impl AsyncFnOnce(&[TableIndex]) -> Result<Vec<Progress>, ServiceError>,
) -> Result<Passes, ServiceError> {
    let nothing = Passes { progress: Vec::new(), taken: None };
    let tables = match tables_of(model, &request) {
        Ok(tables) => tables,
        Err(why) => {
            tracing::warn!(request = %request.id, why, "a request can not be done");
            let (failed, none) = (State::Failed(why), Findings::default());
            graph.answer(claim, &request.id, &failed, &none).await?;
            return Ok(nothing);
        }
    };
    let progress = new(&tables).await?;
    let stored = match request.purpose {
        Purpose::Repair => progress.as_slice(),
        Purpose::Verify => &[],
    };
    if !graph.take_up(claim, &request.id, stored).await? {
        return Ok(nothing);
    }
    let (purpose, id) = (request.purpose, Some(request.id));
    let count = tables.len();
    tracing::info!(purpose = purpose.name(), tables = count, "comparing the graph with the tables");
    Ok(Passes { progress, taken: Some(Taken { purpose, id, reported: Reported::default() }) })
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

/// Keeps what a request finds.
pub fn follow(
    graph: Graph,
    claim: Claim,
    taken: &Taken,
    model: Arc<Model>,
    expected: BTreeMap<String, u64>,
) -> Option<Following> {
    let (id, reported) = (taken.id.clone()?, taken.reported.clone());
    let following = async move {
        let mut timer = interval(INTERVAL);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut kept = Findings::default();
        loop {
            timer.tick().await;
            let (findings, state) = {
                let report = reported.get();
                let state = if report.is_over { State::Done } else { State::Running };
                (findings(&report, &model, &expected), state)
            };
            if findings != kept || state == State::Done {
                match graph.answer(&claim, &id, &state, &findings).await {
                    Ok(true) => kept = findings,
                    // Another instance goes on with it, or somebody has ended it.
                    Ok(false) => return,
                    Err(error) => {
                        tracing::warn!(%error, request = %id, "the findings are not kept yet");
                        continue;
                    }
                }
            }
            if state == State::Done {
                return;
            }
        }
    };
    let task = AbortOnDropHandle::new(tokio::spawn(following));
    Some(Following { task, reported: taken.reported.clone() })
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
/// one that is worked on was ended.
pub async fn changed(config: &Config, taken: Option<(RequestId, Reported)>) {
    let mut graph = None;
    loop {
        sleep(INTERVAL).await;
        // Without an answer the pipeline itself is in trouble, and says so.
        let Ok(open) = graph.take().map_or_else(|| open(config, Wait::Usual), Ok) else { continue };
        let Ok(requests) = open.requests(&config.pipeline).await else { continue };
        graph = Some(open);
        let is_busy = taken.as_ref().filter(|(_, reported)| !reported.get().is_over);
        let has_changed = match is_busy {
            Some((id, _)) => !requests.iter().any(|it| it.id == *id && it.state.is_open()),
            None => requests.iter().any(|request| request.state == State::Asked),
        };
        if has_changed {
            return;
        }
    }
}

/// What is found, in the names of the model. `expected` has about how many rows each table has.
pub fn findings(report: &Report, model: &Model, expected: &BTreeMap<String, u64>) -> Findings {
    let of = |counts: &BTreeMap<TableIndex, u64>, table| counts.get(&table).copied().unwrap_or(0);
    let tables = model.iter().filter(|(table, _)| report.compared.contains_key(table));
    let tables = tables.map(|(table, named)| TableFindings {
        table: named.name.clone(),
        compared: of(&report.compared, table),
        // Both passes see a row.
        expected: 2 * expected.get(&named.name).copied().unwrap_or(0),
        differing: of(&report.differing, table),
        undecided: of(&report.undecided, table),
    });
    let first = report.first.iter().map(|row| RowFindings {
        table: model.table(row.table).name.clone(),
        key: model.shown_key(row.table, &row.key),
        differences: row.differences.iter().map(ToString::to_string).collect(),
    });
    Findings { is_over: report.is_over, tables: tables.collect(), first: first.collect() }
}
