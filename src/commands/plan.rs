//! `plan`: what the graph will look like.

use crate::{
    cli::ReportArgs,
    config::Config,
    mapping::{Plan, compile},
};

use super::{CommandError, print, print_json, read_catalog};

/// Prints the plan. A mapping that can not be is a failure, after it was printed.
pub async fn execute(config: &Config, args: &ReportArgs) -> Result<(), CommandError> {
    let (_sql, catalog) = read_catalog(config).await?;
    let compiled = compile(&catalog, &config.edits);
    let several = partitions(config).await.is_some_and(|partitions| partitions > 1);
    let plan = match several {
        true => Plan::through_partitions(&compiled),
        false => Plan::new(&compiled),
    };
    match args.json {
        true => print_json(&plan)?,
        false => print(&plan.to_string())?,
    }
    let refusals = match compiled {
        Ok(mapping) if several => mapping.refusals_of_partitions(),
        Ok(_) => Vec::new(),
        Err(refusals) => refusals,
    };
    match refusals.is_empty() {
        true => Ok(()),
        false => Err(CommandError::Refused(refusals)),
    }
}

/// How many partitions the changes come through, if the file has Kafka between: as the topics are,
/// and where they can not be looked at, as they would be made.
#[cfg(feature = "kafka")]
async fn partitions(config: &Config) -> Option<usize> {
    let options = config.kafka().ok()?;
    let planned = usize::from(options.new_topic.partitions.unwrap_or(1));
    let mut partitions = 0;
    for topic in &options.topics {
        let options = crate::kafka::Options { topic: topic.clone(), ..options.clone() };
        partitions += match crate::kafka::topic::look(&options).await {
            Ok(Some(topic)) => topic.partitions,
            Ok(None) => planned,
            Err(error) => {
                tracing::warn!(%error, planned, "the topic's partitions are not known: kafka.partitions counts");
                planned
            }
        };
    }
    Some(partitions)
}

#[cfg(not(feature = "kafka"))]
async fn partitions(config: &Config) -> Option<usize> {
    let options = config.kafka().ok()?;
    Some(options.topics.len().max(usize::from(options.new_topic.partitions.unwrap_or(1))))
}
