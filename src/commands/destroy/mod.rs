//! `destroy`: removes what a pipeline made, in an order that can be repeated.
//!
//! ```text
//! look --> running? refuse --> show --> ask -->
//!   slot      it holds the source's log back; nobody can begin again without it
//!   claims    who still writes to the graph is fenced, and so is this command by who begins meanwhile
//!   publication, rows (bounded transactions), constraints and indexes
//!   progress and checkpoints      together, and last: until then a repetition knows what there is
//! ```
//!
//! What cannot be removed, because a side is away or a right is missing, is named with the statement
//! that does it, and the rest goes.

mod graph;
mod plan;
mod source;
mod topics;

use std::io::{self, BufRead, IsTerminal, Write};

use crate::{
    cli::DestroyArgs,
    config::Config,
    service::{ServiceError, graph::Graph},
};

use super::print;

use self::{plan::Plan, source::Source};

/// Removes it, once the user says so.
pub async fn execute(config: &Config, args: &DestroyArgs) -> Result<(), ServiceError> {
    let graph = graph::opened(config)?;
    let in_graph = match &graph {
        Some(graph) => Some(graph::Found::look(config, graph).await),
        None => None,
    };
    let known = in_graph.as_ref().and_then(|found| found.as_ref().ok());
    let source = Source::look(config, known).await?;
    refuse_running(config, &graph, &source, known).await?;

    let mut plan = Plan::new(&config.pipeline);
    let going = source.plan(config, known, &mut plan).await?;
    let rest = match (&graph, &in_graph) {
        (Some(graph), Some(Ok(found))) => {
            Some(found.plan(graph, source.mapping(), args.graph, &mut plan).await?)
        }
        (_, Some(Err(error))) => {
            graph::away(config, error, &mut plan);
            None
        }
        _ => None,
    };
    topics::plan(config, source.mapping(), known, &mut plan);
    print(&plan.to_string())?;
    if plan.goes.is_empty() {
        return plan.ended();
    }
    confirm(config, args)?;

    source.drop_slots(&going, &mut plan).await?;
    let claims = match (&graph, known) {
        (Some(graph), Some(found)) => found.claim(config, graph).await?,
        _ => Vec::new(),
    };
    source.drop_publications(&going, &mut plan).await?;
    if let (Some(graph), Some(rest)) = (&graph, rest) {
        graph::remove(config, graph, &claims, &rest).await?;
    }
    plan.ended()
}

/// A pipeline that runs is not taken apart under its feet.
async fn refuse_running(
    config: &Config,
    graph: &Option<Graph>,
    source: &Source,
    known: Option<&graph::Found>,
) -> Result<(), ServiceError> {
    if let Some((slot, reader)) = source.reader().await? {
        return Err(ServiceError::Definite(format!(
            "the pipeline {} runs: {reader} reads the slot {slot}. Stop it, and repeat this command",
            config.pipeline
        )));
    }
    let Some(known) = known else { return Ok(()) };
    let applies = topics::applies(config, known).await;
    if let topics::Applies::By(members) = applies {
        return Err(ServiceError::Definite(format!(
            "the pipeline {} runs: the consumer group has {members} members. Stop every `wal2graph apply` of it, and \
             repeat this command. Kafka keeps one that was killed as a member until its session ends, 45 seconds \
             unless session.timeout.ms is set: wait for that",
            config.pipeline
        )));
    }
    let is_known = source.is_reached() && !matches!(applies, topics::Applies::Unknown);
    match graph {
        Some(graph) if !is_known => known.refuse_moving(config, graph).await,
        _ => Ok(()),
    }
}

/// Asks for the pipeline's name, unless that was said in advance.
fn confirm(config: &Config, args: &DestroyArgs) -> Result<(), ServiceError> {
    if args.yes {
        return Ok(());
    }
    let name = &config.pipeline;
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let graph = if args.graph { " --graph" } else { "" };
        return Err(ServiceError::Usage(format!(
            "nothing was removed: there is no terminal to ask on. To remove what stands above, run `wal2graph \
             destroy{graph} --yes` with the same configuration"
        )));
    }
    let mut stderr = io::stderr();
    write!(stderr, "Type the pipeline's name ({name}) to remove this: ")?;
    stderr.flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    match answer.trim() == name {
        true => Ok(()),
        false => {
            Err(ServiceError::Definite(format!("nothing was removed: the answer was not {name}")))
        }
    }
}
