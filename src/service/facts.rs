//! What [`crate::start`] judges, read from source, checkpoint and graph.

use std::collections::BTreeSet;

use tokio_postgres::Client;

use crate::{
    catalog::{Catalog, TableName},
    checkpoint::Checkpoint,
    config::{Config, ConfigError},
    mapping::Mapping,
    pipeline::Store,
    postgres::{self, replication, setup},
    start::{
        Again, Emptied, Facts, GraphRefusal, Names, Others, Publication, Refusal, Server, Slot,
        SlotRefusal, System, TableFacts, TableRights, Written, tables::Now,
    },
    topic::names::TableTopics,
};

#[cfg(feature = "kafka")]
use crate::{
    envelope::table_of_topic,
    replay::{Refill, Ways},
};

use super::{ServiceError, others};

/// The source as it is before a start.
pub struct Source {
    /// The server and the role.
    pub server: Server,
    /// The slot, if there is one.
    pub slot: Option<Slot>,
    publication: Option<Publication>,
    tables: Vec<TableRights>,
    names: Names,
}

impl Source {
    /// Looks.
    pub async fn look(
        config: &Config,
        client: &Client,
        mapping: Option<&Mapping>,
    ) -> Result<Self, ServiceError> {
        match Self::read(config, client, mapping).await {
            Ok(source) => Ok(source),
            Err(error) => Err(super::blocked(client, error).await),
        }
    }

    async fn read(
        config: &Config,
        client: &Client,
        mapping: Option<&Mapping>,
    ) -> Result<Self, tokio_postgres::Error> {
        let mut server = setup::server(client).await?;
        server.wants_failover = config.failover;
        let published = mapping.into_iter().flat_map(Mapping::published_tables).cloned();
        let published: Vec<TableName> = published.collect();
        Ok(Source {
            slot: setup::slot(client, &config.slot).await?,
            publication: setup::publication(client, &config.publication).await?,
            tables: setup::rights(client, &published).await?,
            names: names(config, &server),
            server,
        })
    }

    /// The publication is there.
    pub fn is_published(&self) -> bool {
        self.publication.is_some()
    }

    /// Why a slot can not be used, if it can not.
    pub fn unusable(&self, slot: &Slot, again: &Again) -> Option<SlotRefusal> {
        slot.unusable(&self.names, &self.server.database, again)
    }

    /// What is known, with what the graph was made from.
    pub fn facts<'a>(
        &'a self,
        mapped: Option<(&'a Catalog, &'a Mapping)>,
        made: &'a Made,
        again: &'a Again,
    ) -> Facts<'a> {
        Facts {
            names: &self.names,
            server: &self.server,
            system: made.system.as_ref(),
            slot: self.slot.as_ref(),
            publication: self.publication.as_ref(),
            tables: &self.tables,
            mapped,
            tables_now: made.tables_now.as_ref(),
            checkpoints: &made.checkpoints,
            through_topic: made.through_topic,
            follows: made.follows,
            again,
        }
    }
}

/// What the graph was made from, and where the source's log is since.
pub struct Made {
    /// The pipeline's checkpoints.
    pub checkpoints: Vec<Checkpoint>,
    /// What the tables are now that the graph followed, if it says which they were.
    pub tables_now: Option<Now>,
    /// Where the log is; `None` for a standby.
    pub system: Option<System>,
    /// The graph follows a topic.
    pub through_topic: bool,
    /// The graph follows what changes in tables and mapping.
    pub follows: bool,
}

impl Made {
    /// Looks at the graph, and then at the source: a pipeline that runs moves the checkpoint on.
    pub async fn look(
        config: &Config,
        client: &Client,
        graph: &impl Store,
    ) -> Result<Self, ServiceError> {
        let checkpoints = graph.checkpoints(&config.pipeline).await?;
        let through_topic = checkpoints.iter().any(|it| it.partition().is_some());
        let tables_now = tables_now(config, client, &checkpoints).await?;
        let follows = super::following::follows(config);
        let system = match system(client).await? {
            Some(system) => Some(with_timelines(config, graph, &checkpoints, system).await?),
            None => None,
        };
        Ok(Made { checkpoints, tables_now, system, through_topic, follows })
    }

    /// Nothing is known of a graph.
    pub fn nothing() -> Self {
        let (checkpoints, tables_now, system) = (Vec::new(), None, None);
        Made { checkpoints, tables_now, system, through_topic: false, follows: false }
    }

    /// The checkpoint that says how far the graph is: the one that speaks for all, or is furthest behind.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoints.iter().min_by_key(|checkpoint| (!checkpoint.is_whole, checkpoint.lsn))
    }
}

async fn tables_now(
    config: &Config,
    client: &Client,
    checkpoints: &[Checkpoint],
) -> Result<Option<Now>, ServiceError> {
    let before = checkpoints.first().and_then(|checkpoint| checkpoint.table_facts.as_deref());
    let Some(Ok(before)) = before.map(TableFacts::parse) else { return Ok(None) };
    let wanted = before.wanted();
    match postgres::tables::now(client, &config.publication, &wanted).await {
        Ok(now) => Ok(Some(now)),
        Err(error) => Err(super::blocked(client, error).await),
    }
}

async fn system(client: &Client) -> Result<Option<System>, ServiceError> {
    let is_standby = client.query_one("SELECT pg_is_in_recovery()", &[]).await?.get(0);
    match is_standby {
        true => Ok(None),
        false => Ok(Some(setup::system(client).await?)),
    }
}

/// The same with the timelines before the server's own, where they may show that its log is still the graph's: it is
/// on another timeline, and the graph has nothing but what the stream has passed. Rows that a copy or a repair has read
/// on their way there may be of what was lost. Of rows in a topic, the publisher knows.
pub async fn with_timelines(
    config: &Config,
    graph: &impl Store,
    checkpoints: &[Checkpoint],
    system: System,
) -> Result<System, ServiceError> {
    let is_other = |checkpoint: &Checkpoint| {
        let origin = &checkpoint.origin;
        origin.timeline != system.timeline && origin.system_identifier == system.identifier
    };
    let is_of_slot = checkpoints.iter().any(|checkpoint| checkpoint.partition().is_none());
    if !checkpoints.iter().any(is_other)
        || (is_of_slot && !graph.copy_progress(&config.pipeline).await?.is_empty())
    {
        return Ok(system);
    }
    timelines(config, system).await
}

/// The same with the timelines before the server's own.
pub async fn timelines(config: &Config, system: System) -> Result<System, ServiceError> {
    let mut connection = replication::Connection::connect(&config.source()).await?;
    let before = connection.timelines_before(system.timeline).await?;
    Ok(System { before, ..system })
}

fn names(config: &Config, server: &Server) -> Names {
    Names {
        pipeline: config.pipeline.clone(),
        slot: config.slot.clone(),
        publication: config.publication.clone(),
        database: server.database.clone(),
    }
}

/// Whether the source's log has the graph's history, as far as that shows without a stream: what `run` would end with.
/// `slot` is what is known of it; of one that is read, its reader has found out.
pub async fn history(
    config: &Config,
    (client, slot): (&Client, Option<&Slot>),
    mapping: Option<&Mapping>,
    checkpoints: &[Checkpoint],
) -> Result<(), ServiceError> {
    let [checkpoint] = checkpoints else { return Ok(()) };
    if checkpoint.partition().is_some() {
        return Ok(());
    }
    let followed = (checkpoint.position, checkpoint.newest_through(&config.publication));
    let looked = super::proof::look(config, client, slot, followed).await;
    looked.map_err(|error| error.with(&again(config, mapping, checkpoints)))
}

/// What it takes to make the graph anew of the tables as they are now. A topic's copy is older than what its graph does
/// not go on with: the tables' definition, what the publication lacked, the source's history. So the topic is made
/// anew, too.
pub fn again(config: &Config, mapping: Option<&Mapping>, checkpoints: &[Checkpoint]) -> Again {
    let Some(at) = checkpoints.iter().find_map(Checkpoint::partition) else {
        return Again::FromTables;
    };
    let (pipeline, slot) = (config.pipeline.clone(), config.slot.clone());
    let labels = labels(mapping, checkpoints);
    if config.kafka().is_ok_and(|kafka| kafka.are_foreign) {
        let (topic, emptied) = (at.topic.clone(), Emptied::Everything { labels });
        let (partitions, begins_with_snapshot) = (1, false);
        let others = Others { pipeline, topic, partitions, begins_with_snapshot, emptied };
        return Again::FromOthers(others.to_string());
    }
    let mut publishers = checkpoints.iter().filter_map(|checkpoint| checkpoint.publisher.as_ref());
    if let Some(publisher) = publishers.find(|publisher| **publisher != config.pipeline).cloned() {
        return Again::FromAnothers { pipeline, labels, publisher };
    }
    let topics = match written(config, mapping) {
        Ok(Written::OfTables { prefix, mut names, brokers }) => {
            // What the file names now may be another pipeline's. The graph's own are those that it was made from: if
            // one of them is, all are.
            let read = checkpoints.iter().filter_map(Checkpoint::partition);
            let own: BTreeSet<String> = read.map(|at| at.topic.clone()).collect();
            let are_own = own.contains(&format!("{prefix}.heartbeats"))
                || names.iter().any(|name| own.contains(name));
            names.retain(|name| are_own && !own.contains(name));
            names.extend(own);
            Written::OfTables { prefix, names, brokers }
        }
        _ => Written::One(at.topic.clone()),
    };
    Again::WithTopic { pipeline, labels, topics, slot }
}

/// The labels of the graph's nodes: by the mapping of now, and by that of the checkpoints.
fn labels(mapping: Option<&Mapping>, checkpoints: &[Checkpoint]) -> BTreeSet<String> {
    let mut labels: BTreeSet<String> = mapping.into_iter().flat_map(Mapping::labels).collect();
    labels.extend(checkpoints.iter().flat_map(|checkpoint| checkpoint.labels.iter().cloned()));
    labels
}

/// What it takes to fill the graph again from the topic that is there, whose copy is right.
pub fn refilled(config: &Config, mapping: Option<&Mapping>, checkpoints: &[Checkpoint]) -> Again {
    let (pipeline, labels) = (config.pipeline.clone(), labels(mapping, checkpoints));
    Again::FromTopic { pipeline, labels }
}

/// The topics that `publish` writes.
pub fn written(config: &Config, mapping: Option<&Mapping>) -> Result<Written, ConfigError> {
    let kafka = config.kafka()?;
    let (name, brokers) = (kafka.topic.to_string(), kafka.brokers.clone());
    if !kafka.is_by_table() {
        return Ok(Written::One(name));
    }
    let topics = mapping.map(|it| TableTopics::new(&kafka.topic, it.published_tables()));
    // Tables whose topics can not be named are refused.
    let mut names: Vec<String> = match topics.and_then(Result::ok) {
        Some(topics) => topics.all().map(ToString::to_string).collect(),
        // Those that are read, once they are known.
        None if kafka.topics.len() > 1 => kafka.topic_names().map(str::to_owned).collect(),
        None => Vec::new(),
    };
    let messages = kafka.messages_topic().ok().flatten().filter(|_| !names.is_empty());
    names.extend(messages.map(|name| name.to_string()));
    Ok(Written::OfTables { prefix: name, names, brokers })
}

/// What ends well where a graph does not go on with its topic.
#[cfg(feature = "kafka")]
pub fn ways(
    config: &Config,
    mapped: (&Catalog, &Mapping),
    checkpoints: &[Checkpoint],
    topic: Topic<'_>,
) -> Result<Ways, ServiceError> {
    let kafka = config.kafka()?;
    let anothers = topic.publisher.filter(|publisher| *publisher != config.pipeline);
    let refill = match kafka.are_foreign {
        false if let Some(publisher) = anothers => {
            let again = refilled(config, Some(mapped.1), checkpoints).to_string();
            Refill::Anothers { pipeline: publisher.to_owned(), again }
        }
        true => {
            let others = others(config, mapped, checkpoints, topic)?;
            Refill::Others { again: others.to_string(), republish: others.republish() }
        }
        false => {
            let republish = Again::TopicAlone {
                topics: written(config, Some(mapped.1))?,
                brokers: kafka.brokers.clone(),
            };
            let again = refilled(config, Some(mapped.1), checkpoints).to_string();
            Refill::Ours { again, republish: republish.to_string() }
        }
    };
    let another = another_graph(config)?;
    Ok(Ways { refill, another, group: kafka.group.clone(), brokers: kafka.brokers.clone() })
}

/// What the file of another graph has to say that is filled from the same topics.
#[cfg(feature = "kafka")]
fn another_graph(config: &Config) -> Result<String, ConfigError> {
    /// A pipeline's name has 53 bytes at most, all of ASCII.
    const STEM: usize = 51;
    let kafka = config.kafka()?;
    let own = format!("{}_2", &config.pipeline[..config.pipeline.len().min(STEM)]);
    let topic = match kafka.are_foreign {
        true => String::new(),
        false => format!(", `kafka.topic: {}`", kafka.topic),
    };
    Ok(format!(
        "Another graph needs a pipeline and a group of its own: a file for `apply` alone, with `pipeline: \
         {own}`{topic}, and `kafka.group: wal2graph-{own}`"
    ))
}

/// A topic that a graph does not go on with.
#[cfg(feature = "kafka")]
#[derive(Clone, Copy, Debug)]
pub struct Topic<'a> {
    /// Its name.
    pub name: &'a str,
    /// The pipeline that publishes to it, if its records name one.
    pub publisher: Option<&'a str>,
    /// How many partitions it has.
    pub partitions: u32,
    /// It begins with a row of a snapshot.
    pub begins_with_snapshot: bool,
}

/// What ends well with a topic of somebody else's publisher.
#[cfg(feature = "kafka")]
pub fn others(
    config: &Config,
    (catalog, mapping): (&Catalog, &Mapping),
    checkpoints: &[Checkpoint],
    Topic { name, partitions, begins_with_snapshot, .. }: Topic<'_>,
) -> Result<Others, ServiceError> {
    let rows = config.kafka()?.decoding.rows.as_ref();
    let table = table_of_topic(catalog, name, rows.and_then(|rows| rows.get(name))).ok();
    let table = table.and_then(|it| mapping.table_index(&it.name.schema, &it.name.name));
    let emptied = table.and_then(|table| Emptied::of_table(&mapping.model, table));
    let everything = || Emptied::Everything { labels: labels(Some(mapping), checkpoints) };
    Ok(Others {
        pipeline: config.pipeline.clone(),
        topic: name.to_owned(),
        partitions,
        begins_with_snapshot,
        emptied: emptied.unwrap_or_else(everything),
    })
}

/// Everything in the graph that stands against a start. A first copy is refused where rows are,
/// unless it is told to go into them.
pub async fn graph_refusals(
    graph: &impl Store,
    pipeline: &str,
    mapping: &Mapping,
    is_first: bool,
    into_existing: bool,
) -> Result<Vec<Refusal>, ServiceError> {
    let mut found = Vec::new();
    if is_first && !into_existing {
        let others = others::Others::look(graph, pipeline).await?;
        let labels = mapping.labels();
        let shared: Vec<(String, String)> = labels
            .into_iter()
            .filter_map(|label| Some((label.clone(), others.having(&label)?.to_owned())))
            .collect();
        let mut rows = graph.rows(&mapping.model).await?;
        rows.retain(|(label, _)| !shared.iter().any(|(it, _)| it == label));
        if !shared.is_empty() {
            found.push(GraphRefusal::SharedLabels(shared).into());
        }
        if !rows.is_empty() {
            found.push(GraphRefusal::HoldsRows(rows).into());
        }
    }
    let obstacles = graph.obstacles(&mapping.model).await?;
    // A graph that follows already is repaired.
    let stands = obstacles.into_iter().filter(|it| is_first || !it.is_repaired());
    found.extend(stands.map(Refusal::from));
    Ok(found)
}
