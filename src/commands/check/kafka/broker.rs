//! What brokers say.

use crate::{
    catalog::Catalog,
    checkpoint::Position,
    config::{Config, ConfigError},
    kafka::offsets::Asking,
    mapping::Mapping,
    pipeline::{Failure, Store},
    postgres::setup,
    replay::{self, Decision},
    report::Findings,
    service::{
        ServiceError,
        apply::{
            named::topics as those_named,
            start::Found,
            take_over::{self, TakeOver},
            topology::Topology,
        },
        checks::Looked,
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

/// Whether the next `publish` would go on in the topic.
pub async fn publish(config: &Config, looked: &Looked, found: &mut Findings) {
    let Err(error) = goes_on(config, looked, found).await else { return };
    found.failure("publish would not go on in the topic", error.to_string());
}

/// Asks what `publish` asks. Without records the topic goes on from any slot.
async fn goes_on(
    config: &Config,
    looked: &Looked,
    found: &mut Findings,
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
            found.warning(format!(
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
            found.advice(what, from_before.fix(&again));
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
pub async fn apply(config: &Config, mapping: &Mapping, looked: &Looked, found: &mut Findings) {
    if let Err(error) = group(config, mapping, looked, found).await {
        found.failure(
            format!("the group can not be looked at: {error}"),
            "let the user read and describe the group kafka.group, and the topic",
        );
    }
}

async fn group(
    config: &Config,
    mapping: &Mapping,
    Looked { catalog, client, .. }: &Looked,
    found: &mut Findings,
) -> Result<(), ServiceError> {
    let options = config.kafka()?;
    let (Ok(_), asking) = (config.graph(), Asking::new(options)?) else { return Ok(()) };
    if options.are_foreign && following::rules(config).may_pause() {
        found.failed(ConfigError::PauseOfForeign.to_string(), None);
    }
    let graph = open(config, Wait::Usual)?;
    let checkpoints = graph.checkpoints(&config.pipeline).await?;
    match take_over::look(config, catalog, &asking, &graph, &checkpoints).await {
        Ok(None) => {}
        Ok(Some(TakeOver { at, .. })) => {
            found.ok(format!("apply will take the graph over from `run`: it follows {at} then"));
            return Ok(());
        }
        Err(error) if error.is_transient() => {
            found.ok(error.to_string());
            return Ok(());
        }
        Err(error) => {
            found.failure("apply would not take the graph over from `run`", error.to_string());
            return Ok(());
        }
    }
    let topology = match Topology::look(config, &asking, &checkpoints, (catalog, mapping)).await {
        Ok(topology) => topology,
        // There is no topic yet: that was said.
        Err(error) if error.is_transient() => return Ok(()),
        Err(error) => {
            found.failure("the graph does not fit the topic", error.to_string());
            return Ok(());
        }
    };
    for refusal in topology.refusals(catalog, mapping) {
        found.failure("a table can not be applied from several partitions", refusal.to_string());
    }
    if let Some(members) = asking.members().await? {
        found.ok(format!("the group {} has {members} members now", options.group));
    }
    for topic in topology.topics.keys() {
        if let Err(error) = asking.decoder(catalog, topic) {
            found.failure("a topic can not be applied", error.to_string());
            return Ok(());
        }
    }
    let tables = mapped_tables(client, catalog, mapping).await?;
    for at in topology.partitions() {
        if asking.log(&at).await?.end == 0 {
            found.ok(format!("{at} has no records yet"));
            continue;
        }
        let start = Found::look(config, catalog, &tables, &asking, &graph, &at).await?;
        match start.decided(config) {
            Decision::Refuse(refusal) => {
                let text = start.refused(config, (catalog, mapping), &at, &refusal)?;
                found.failure(format!("apply would not read {at}"), text);
            }
            Decision::FromCheckpoint => {
                found.ok(format!("apply goes on in {at} where the graph is"));
            }
            Decision::Begin { from, unshown } => {
                found.ok(format!("apply will begin {at} at offset {from}"));
                unshown.into_iter().for_each(|it| found.warning(it.text(&at)));
            }
            Decision::Replay { from, until } => {
                found.ok(format!("apply will replay {at} from offset {from} to {until}"));
            }
            Decision::Skip { skipped } => found.warning(format!(
                "apply will skip to offset {} of {at}, as was confirmed: {}",
                skipped.end,
                replay::skipped(&at, &skipped)
            )),
        }
    }
    Ok(())
}
