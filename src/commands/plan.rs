//! `plan`: what the graph will look like.

use crate::{
    cli::{PlanArgs, PlanFormat},
    config::Config,
    graph::drawn::Drawing,
    mapping::{Mapping, Plan, PlannedChange, compile},
    service::{ServiceError, following, preview, read_catalog},
    start::generation::Generation,
};

use super::{print, print_json};

/// Prints the plan. A mapping that can not be is a failure, after it was printed.
pub async fn execute(config: &Config, args: &PlanArgs) -> Result<(), ServiceError> {
    let (_sql, catalog) = read_catalog(config).await?;
    let config = &match args.against_graph {
        true => following::as_in_graph(config).await?,
        false => config.clone(),
    };
    let compiled = compile(&catalog, &config.edits);
    let config = &match &compiled {
        Ok(mapping) if config.kafka().is_ok() => crate::service::with_topics(config, mapping)?,
        _ => config.clone(),
    };
    let Between { partitions, widest, remarks } = between(config).await;
    let several = partitions > 1;
    let through = |mapping: &Mapping| {
        let mut refusals = match several {
            true => mapping.refusals_of_partitions(),
            false => Vec::new(),
        };
        refusals.extend(mapping.refusals_of_keys(|_| widest > 1));
        refusals
    };
    let plan = match several {
        true => Plan::through_partitions(&compiled, through),
        false => Plan::new(&compiled),
    };
    let changes = match args.against_graph && compiled.is_ok() {
        true => changes(config).await?,
        false => Vec::new(),
    };
    let plan = Plan { topics: remarks, changes, ..plan };
    let drawing = || compiled.as_ref().map(|mapping| Drawing::of(&mapping.model));
    match args.format() {
        PlanFormat::Json => print_json(&plan)?,
        PlanFormat::Text => print(&plan.to_string())?,
        PlanFormat::Mermaid => drawing().map_or(Ok(()), |drawing| print(&drawing.mermaid()))?,
        PlanFormat::Dot => drawing().map_or(Ok(()), |drawing| print(&drawing.dot()))?,
    }
    let is_text = args.format() == PlanFormat::Text;
    if args.against_graph && compiled.is_ok() && plan.changes.is_empty() && is_text {
        print("Changes since the graph was made: none\n")?;
    }
    let refusals = match compiled {
        Ok(mapping) => through(&mapping),
        Err(refusals) => refusals,
    };
    match refusals.is_empty() {
        true => Ok(()),
        false => Err(ServiceError::Refused(refusals)),
    }
}

/// What the next start does with the graph that is there.
async fn changes(config: &Config) -> Result<Vec<PlannedChange>, ServiceError> {
    let preview = match preview::preview(config).await? {
        Ok(preview) => preview,
        Err(what) => return Ok(vec![PlannedChange { table: None, what, reads: Some(None) }]),
    };
    let change =
        |table: String, what: String, reads| PlannedChange { table: Some(table), what, reads };
    let marks = preview.marks.into_iter();
    let mut changes: Vec<_> =
        marks.map(|(found, rows)| change(found.table.in_file(), found.what, Some(rows))).collect();
    let who = if preview.through_topic { "publish" } else { "run" };
    let new = format!("it is new: `{who}` adds it to the publication");
    let added = preview.added.into_iter();
    changes.extend(added.map(|(table, rows)| change(table.in_file(), new.clone(), Some(rows))));
    for generation in preview.generations {
        for change in of_generation(generation) {
            if !changes.contains(&change) {
                changes.push(change);
            }
        }
    }
    changes.extend(preview.refused.map(|what| PlannedChange { table: None, what, reads: None }));
    Ok(changes)
}

/// What reads no rows.
fn of_generation(generation: Generation) -> Vec<PlannedChange> {
    let change =
        |table: String, what: String| PlannedChange { table: Some(table), what, reads: None };
    let free = generation.free.into_iter();
    let mut changes: Vec<_> = free.map(|found| change(found.table.in_file(), found.what)).collect();
    let gone = "it is gone, or not mapped any more: its rows leave the graph";
    changes.extend(generation.gone.iter().map(|it| change(it.in_file(), gone.to_owned())));
    let left_over = generation.left_over.iter().map(ToString::to_string);
    changes.extend(left_over.map(|what| PlannedChange { table: None, what, reads: None }));
    let frozen = "it is not in the publication: its rows stay as they are";
    changes.extend(generation.frozen.iter().map(|it| change(it.in_file(), frozen.to_owned())));
    let paused = generation.paused.into_iter();
    changes.extend(paused.map(|(table, paused, _)| {
        let what = format!("it is paused, and its rows stay as they are: {paused}");
        change(table.in_file(), what)
    }));
    changes
}

/// What the topics say that the changes come through, if the file has Kafka between.
#[derive(Default)]
struct Between {
    /// How many partitions they have together: where they can not be looked at, as they would be made.
    partitions: usize,
    /// How many one of them has at most, as far as that is known.
    widest: usize,
    /// What is worth knowing of them.
    remarks: Vec<String>,
}

#[cfg(feature = "kafka")]
async fn between(config: &Config) -> Between {
    use crate::kafka::topic::{forgets_when_made, look, once};
    let Ok(options) = config.kafka() else { return Between::default() };
    if options.pattern.is_some() {
        // There may be more of them any time.
        return Between { partitions: 2, ..Between::default() };
    }
    let planned = usize::from(options.new_topic.partitions.unwrap_or(1));
    let (mut between, mut remarks) = (Between::default(), Vec::new());
    for topic in &options.topics {
        let options = options.of_topic(topic);
        let (partitions, remark) = match look(&options).await {
            Ok(Some(topic)) => (topic.partitions, Ok(topic.forgets(&options))),
            Ok(None) => (planned, forgets_when_made(&options).await),
            Err(error) => (planned, Err(error)),
        };
        between.partitions += partitions;
        between.widest = between.widest.max(partitions);
        match remark {
            // Who publishes to several topics sees to them.
            Ok(_) if options.are_foreign => {}
            Ok(remark) => remarks.extend(remark),
            Err(error) => {
                tracing::warn!(%error, planned, "can not look up the topic's partitions: assuming kafka.partitions");
            }
        }
    }
    let line = |it: crate::kafka::topic::Remark| format!("{}: {}", it.what, it.fix);
    between.remarks = once(remarks).into_iter().map(line).collect();
    between
}

#[cfg(not(feature = "kafka"))]
async fn between(config: &Config) -> Between {
    let Ok(options) = config.kafka() else { return Between::default() };
    let planned = usize::from(options.new_topic.partitions.unwrap_or(1));
    let partitions = options.topics.len().max(planned);
    Between { partitions, widest: planned, ..Between::default() }
}
