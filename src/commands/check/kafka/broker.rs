//! What brokers say.

use crate::{
    catalog::Catalog,
    checkpoint::Position,
    commands::check::Looked,
    config::{Config, ConfigError},
    health::budget::roughly,
    kafka::{
        Options, Unreadable,
        offsets::Asking,
        topic::{self, Weight},
    },
    mapping::Mapping,
    pipeline::{Failure, Store},
    postgres::setup,
    replay::{self, Decision},
    service::{
        ServiceError,
        apply::{
            named::topics as those_named,
            start::Found,
            take_over::{self, TakeOver},
            topology::Topology,
        },
        following,
        graph::{Graph, Wait, open},
        mapped_tables, proof,
        publish::{
            self,
            gap::{self, Behind},
            topics::Wanted,
        },
    },
};

use super::Report;

/// The configuration with the topics, where the file does not name them.
pub async fn named(config: &Config, mapping: &Mapping) -> Result<Config, ServiceError> {
    let asking = Asking::new(config.kafka()?)?;
    let checkpoints = match config.graph() {
        Ok(_) => {
            let graph = open(config, Wait::Usual)?;
            // Another check reports a graph that does not answer.
            graph.checkpoints(&config.pipeline).await.unwrap_or_default()
        }
        Err(_) => Vec::new(),
    };
    Ok(those_named(config, mapping, &asking, &checkpoints).await?.config)
}

/// The topics, that of dead letters included. False if Kafka does not answer, or nobody
/// speaks of it.
pub async fn topics(config: &Config, report: &mut Report) -> bool {
    let Ok(options) = config.kafka() else { return false };
    let mut remarks = Vec::new();
    for name in &options.topics {
        let options = options.of_topic(name);
        if !one(&options, report, &mut remarks).await {
            return false;
        }
    }
    for topic::Remark { weight, what, fix } in topic::once(remarks) {
        match weight {
            Weight::Definite => report.failure(what, fix),
            Weight::Warning | Weight::Notice => report.advice(what, fix),
        }
    }
    if let Unreadable::Park(dead_letters) = &options.unreadable {
        let options = Options { topic: dead_letters.clone(), ..options.clone() };
        match topic::look(&options).await {
            Ok(Some(_)) => report.ok(format!("the dead-letter topic {dead_letters} is there")),
            Ok(None) => {
                report.ok(format!("apply will create the dead-letter topic {dead_letters}"));
            }
            Err(error) => report.failure(
                error.to_string(),
                "let the user describe, read and write the dead-letter topic, and create it if it is missing",
            ),
        }
    }
    true
}

/// One of them. False if Kafka does not answer: then it will not for the others either.
async fn one(options: &Options, report: &mut Report, remarks: &mut Vec<topic::Remark>) -> bool {
    let name = &options.topic;
    match topic::look(options).await {
        Ok(None) if options.are_foreign => report.warning(format!(
            "Kafka answers, and has no topic {name} yet: see that kafka.topics is right. Its publisher makes it; \
             apply begins with the others"
        )),
        Ok(None) => {
            report.ok(format!("Kafka answers; publish will create the topic {name}"));
            match topic::forgets_when_made(options).await {
                Ok(remark) => remarks.extend(remark),
                Err(error) => report.warning(error.to_string()),
            }
        }
        Ok(Some(topic)) => {
            let (partitions, replicas) = (topic.partitions, topic.replicas);
            report.ok(format!(
                "Kafka answers; the topic {name} is there, partitions: {partitions}, replicas: {replicas}"
            ));
            // The publisher of a foreign topic is responsible for its settings.
            if !options.are_foreign {
                remarks.extend(topic.remarks(options));
            } else if let Some(kept) = topic.forgets_deletes_after() {
                report.advice(
                    format!(
                        "the topic {name} is compacted, and keeps deletes for {}: rows whose deletes `apply` has not \
                         read by then stay in the graph",
                        roughly(kept)
                    ),
                    "see that `wal2graph apply` is never away for longer, or raise delete.retention.ms of the topic",
                );
            }
        }
        Err(error) => {
            report.failure(
                error.to_string(),
                "see that kafka.brokers is right, and kafka.properties where the brokers ask for TLS or a log-in",
            );
            return false;
        }
    }
    true
}

/// Whether the next `publish` would go on in the topic.
pub async fn publish(config: &Config, looked: &Looked, report: &mut Report) {
    let Err(error) = goes_on(config, looked, report).await else { return };
    report.failure("publish would not go on in the topic", error.to_string());
}

/// Asks what `publish` asks. Without records the topic goes on from any slot.
async fn goes_on(
    config: &Config,
    looked: &Looked,
    report: &mut Report,
) -> Result<(), ServiceError> {
    let (kafka, client) = (config.kafka()?, &looked.client);
    if kafka.are_foreign {
        return Ok(());
    }
    let wanted = Wanted::of(config, client, &looked.catalog, looked.mapping.as_ref()).await?;
    let topics = wanted.look(&Asking::new(kafka)?).await?;
    let Some(topics) = topics.filter(|_| !looked.source.server.in_recovery) else {
        return Ok(());
    };
    let ends = topics.ends(config).await?;
    // After the topics, which a publisher that runs moves on.
    let system = setup::system(client).await?;
    let system = publish::start::with_timelines(config, &ends, system).await?;
    let slot = looked.source.slot.as_ref();
    let start = match publish::start::decide(config, &ends, slot, &system) {
        Err(error) if gap::is_configured(config) && Behind::of(&error, &ends).is_some() => {
            report.warning(format!(
                "on_slot_lost: repair: `publish` goes on behind changes that are lost, and says so in the topic; \
                 `apply` compares all tables. {error}"
            ));
            return Ok(());
        }
        start => start?,
    };
    let copied = topics.copied(config, &ends)?;
    let again = publish::start::again(config, looked.mapping.as_ref())?;
    if let Some(mapping) = &looked.mapping {
        let from_before = topics.from_before(&ends, (&looked.catalog, mapping), &copied);
        if let Some(what) = from_before.what().filter(|_| !following::follows(config)) {
            report.advice(what, from_before.fix(&again));
        }
    }
    if let publish::start::Start::At(at) = start {
        let newest = publish::start::newest(config, &ends, start);
        let history = proof::look(config, client, slot, (Position::at(at), newest)).await;
        history.map_err(|error| error.with(&again))?;
        if let Some(ahead) = publish::start::ahead(config, &ends, start, slot) {
            let history = proof::look_ahead(config, client, slot, ahead).await;
            history.map_err(|error| error.with(&again))?;
        }
    }
    publish::start::check_keys(config, client, &looked.catalog, &topics.layout).await
}

/// The graph is one of `run`, and the next `apply` takes it over: the slot is the publisher's already.
pub async fn takes_over(config: &Config, catalog: &Catalog, graph: &Graph) -> bool {
    let Ok(asking) = config.kafka().map_err(ServiceError::from).and_then(|it| Ok(Asking::new(it)?))
    else {
        return false;
    };
    // Another check reports what does not answer.
    let Ok(checkpoints) = graph.checkpoints(&config.pipeline).await else { return false };
    let over = take_over::look(config, catalog, &asking, graph, &checkpoints).await;
    matches!(over, Ok(Some(_)))
}

/// What the next `apply` would do.
pub async fn apply(config: &Config, mapping: &Mapping, looked: &Looked, report: &mut Report) {
    if let Err(error) = group(config, mapping, looked, report).await {
        report.failure(
            format!("the group can not be looked at: {error}"),
            "let the user read and describe the group kafka.group, and the topic",
        );
    }
}

async fn group(
    config: &Config,
    mapping: &Mapping,
    Looked { catalog, client, .. }: &Looked,
    report: &mut Report,
) -> Result<(), ServiceError> {
    let options = config.kafka()?;
    let (Ok(_), asking) = (config.graph(), Asking::new(options)?) else { return Ok(()) };
    if options.are_foreign && following::rules(config).may_pause() {
        report.failed(ConfigError::PauseOfForeign.to_string(), None);
    }
    let graph = open(config, Wait::Usual)?;
    let checkpoints = graph.checkpoints(&config.pipeline).await?;
    match take_over::look(config, catalog, &asking, &graph, &checkpoints).await {
        Ok(None) => {}
        Ok(Some(TakeOver { at, .. })) => {
            report.ok(format!("apply will take the graph over from `run`: it follows {at} then"));
            return Ok(());
        }
        Err(error) if error.is_transient() => {
            report.ok(error.to_string());
            return Ok(());
        }
        Err(error) => {
            report.failure("apply would not take the graph over from `run`", error.to_string());
            return Ok(());
        }
    }
    let topology = match Topology::look(config, &asking, &checkpoints, (catalog, mapping)).await {
        Ok(topology) => topology,
        // There is no topic yet: that was said.
        Err(error) if error.is_transient() => return Ok(()),
        Err(error) => {
            report.failure("the graph does not fit the topic", error.to_string());
            return Ok(());
        }
    };
    for refusal in topology.refusals(catalog, mapping) {
        report.failure("a table can not be applied from several partitions", refusal.to_string());
    }
    if let Some(members) = asking.members().await? {
        report.ok(format!("the group {} has {members} members now", options.group));
    }
    for topic in topology.topics.keys() {
        if let Err(error) = asking.decoder(catalog, topic) {
            report.failure("a topic can not be applied", error.to_string());
            return Ok(());
        }
    }
    let tables = mapped_tables(client, catalog, mapping).await?;
    for at in topology.partitions() {
        if asking.log(&at).await?.end == 0 {
            report.ok(format!("{at} has no records yet"));
            continue;
        }
        let found = Found::look(config, catalog, &tables, &asking, &graph, &at).await?;
        match found.decided(config) {
            Decision::Refuse(refusal) => {
                let text = found.refused(config, (catalog, mapping), &at, &refusal)?;
                report.failure(format!("apply would not read {at}"), text);
            }
            Decision::FromCheckpoint => {
                report.ok(format!("apply goes on in {at} where the graph is"));
            }
            Decision::Begin { from, unshown } => {
                report.ok(format!("apply will begin {at} at offset {from}"));
                unshown.into_iter().for_each(|it| report.warning(it.text(&at)));
            }
            Decision::Replay { from, until } => {
                report.ok(format!("apply will replay {at} from offset {from} to {until}"));
            }
            Decision::Skip { skipped } => report.warning(format!(
                "apply will skip to offset {} of {at}, as was confirmed: {}",
                skipped.end,
                replay::skipped(&at, &skipped)
            )),
        }
    }
    Ok(())
}
