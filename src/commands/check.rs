//! `check`: everything that would keep `run` from working, each with its fix.

mod follows;
mod kafka;
mod sql;

use std::fmt;

use crate::{
    cli::{CheckArgs, IntoExistingGraph},
    config::Config,
    pipeline::Store,
    report::{Finding, Findings, Verdict},
    service::{
        ServiceError,
        checks::{self, Asker, Looked, topics},
        facts::{self, Made},
        graph::{Graph, Wait, open},
    },
};

use super::{print, print_json};

/// Prints what is found; a failure in it is one of the command.
pub async fn execute(config: &Config, args: &CheckArgs) -> Result<(), ServiceError> {
    match (&args.sql, &args.cypher) {
        (Some(role), _) => return sql::print_sql(config, role).await,
        (None, Some(user)) => return sql::print_cypher(config, user),
        (None, None) => {}
    }
    let mut found = Findings::default();
    let source = checks::source(config, Asker::Person, &mut found).await;
    let named = named(config, source.as_ref(), &mut found).await;
    let config = named.as_ref().unwrap_or(config);
    let topics = named.is_some() && topics::all(config, &mut found).await;
    let looked = match checks::needs_graph(config) {
        true => graph(config, args, source.as_ref(), &mut found).await,
        false => {
            if let Some(source) = &source {
                source.judge(config, Asker::Person, &Made::nothing(), &mut found);
            }
            Ok(())
        }
    };
    let answers = checks::graph_answered(looked, &mut found);
    if let (true, true, Some(looked @ Looked { mapping: Some(mapping), .. })) =
        (answers, topics, &source)
    {
        kafka::apply(config, mapping, looked, &mut found).await;
    }
    if let (Some(looked), true) = (&source, topics) {
        kafka::publish(config, looked, &mut found).await;
    }
    match args.json {
        true => print_json(&found)?,
        false => print(&Text(&found).to_string())?,
    }
    match found.failures() {
        0 => Ok(()),
        failures => Err(ServiceError::Definite(format!("{failures} of the checks failed"))),
    }
}

/// The configuration with the topics, where the file does not name them. `None`: nobody knows which those are.
async fn named(config: &Config, source: Option<&Looked>, found: &mut Findings) -> Option<Config> {
    if !config.kafka().is_ok_and(|kafka| kafka.is_by_table() || kafka.pattern.is_some()) {
        return Some(config.clone());
    }
    let mapping = source.and_then(|source| source.mapping.as_ref())?;
    match kafka::named(config, mapping).await {
        Ok(config) => Some(config),
        Err(error) => {
            found.failure("which topics are read is not known", error.to_string());
            None
        }
    }
}

async fn graph(
    config: &Config,
    args: &CheckArgs,
    source: Option<&Looked>,
    found: &mut Findings,
) -> Result<(), ServiceError> {
    let graph = match graph_answers(config, found).await {
        Ok(graph) => graph,
        Err(error) => {
            if let Some(source) = source {
                source.judge(config, Asker::Person, &Made::nothing(), found);
            }
            return Err(error);
        }
    };
    let Some(source) = source else { return Ok(()) };
    let mut made = Made::look(config, &source.client, &graph).await?;
    made.through_topic |= kafka::takes_over(config, &source.catalog, &graph).await;
    source.judge(config, Asker::Person, &made, found);
    compare(config, source, &made, found).await;
    // A graph that goes over to a topic is judged by `apply`, once it has.
    let is_of_topic = made.checkpoints.iter().any(|it| it.partition().is_some());
    if found.failures() == 0 && (!made.through_topic || is_of_topic) {
        follows::follows(config, source, found).await?;
    }
    let into_existing = args.into_existing_graph == IntoExistingGraph::Adopt;
    source.compare_graph(config, &graph, &made, into_existing, found).await?;
    let Some(mapping) = &source.mapping else { return Ok(()) };
    for checkpoint in made.checkpoints.iter().filter(|it| it.partition().is_some()) {
        kafka::checkpoint(config, mapping, checkpoint, found);
    }
    Ok(())
}

async fn graph_answers(config: &Config, found: &mut Findings) -> Result<Graph, ServiceError> {
    let graph = open(config, Wait::Usual)?;
    graph.describe().await?.into_iter().for_each(|remark| checks::remark(remark, found));
    Ok(graph)
}

/// What `run` would find out from the slot.
async fn compare(config: &Config, source: &Looked, made: &Made, found: &mut Findings) {
    let looked = (&source.client, source.source.slot.as_ref());
    match facts::history(config, looked, source.mapping.as_ref(), &made.checkpoints).await {
        Ok(()) => {}
        Err(ServiceError::NeedsCopy { cause, again }) => {
            found.failure(cause.to_string(), format!("to go on, {again}"));
        }
        Err(error) => found.warning(format!(
            "what the slot {} has not confirmed can not be looked at: {error}. `run` looks at it before it goes on",
            config.slot
        )),
    }
}

/// The findings for people.
struct Text<'a>(&'a Findings);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { verdict, what, fix } in &self.0.findings {
            let verdict = match verdict {
                Verdict::Ok => "ok      ",
                Verdict::Warning => "warning ",
                Verdict::Failure => "FAILURE ",
            };
            writeln!(f, "{verdict} {what}")?;
            if let Some(fix) = fix {
                writeln!(f, "         fix: {fix}")?;
            }
        }
        Ok(())
    }
}
