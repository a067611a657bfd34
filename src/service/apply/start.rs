//! What is found before a partition is read: for [`crate::replay`] to decide.

use std::ops::Range;

use crate::{
    catalog::Catalog,
    checkpoint::{Checkpoint, Log, NewCheckpoint, Origin, TopicPartition},
    config::{Config, SchemaChanges},
    envelope::{Decoded, Decoder, History},
    graph::Outlines,
    kafka::{identity::Described, offsets::Asking, tail::PartitionTail, tails},
    lsn::Lsn,
    mapping::Mapping,
    pipeline::Store,
    replay::{
        Applied, Assigned, Beginning, Decision, GroupOffset, Identity, RecordBefore, Refusal,
        decide,
    },
    service::{
        ServiceError,
        facts::{self, ways},
        graph::identity,
    },
    start::{Anew, GraphRefusal, Refusals, TopicRefusal},
    topic::{beginning::history_of, copied::Tables},
};

use super::{
    before::{self, said},
    beginning::{self, FIRST_RECORDS},
    topology,
};

/// What group, graph and topic say.
pub struct Found {
    /// What the group committed.
    pub group: Option<GroupOffset>,
    /// What the graph has.
    pub checkpoint: Option<Checkpoint>,
    /// The records that the topic has.
    pub log: Range<u64>,
    /// Which topic it is.
    pub topic: Described,
    beginning: Beginning,
    before: RecordBefore,
    /// Whose heartbeats speak of the topic, where that says nothing itself.
    pub history: Option<History>,
    /// The graph's id, if it has one.
    graph: Option<String>,
    /// The pipeline that publishes to the topic, if the records name one.
    publisher: Option<String>,
}

impl Found {
    /// Looks. `tables` are those that the graph is made of.
    pub async fn look(
        config: &Config,
        catalog: &Catalog,
        tables: &Tables,
        asking: &Asking,
        graph: &impl Store,
        at: &TopicPartition,
    ) -> Result<Self, ServiceError> {
        let checkpoint = graph.checkpoint(&identity(config, Log::Partition(at.clone()))).await?;
        let topic = asking.describe(&[&at.topic]).await?.remove(&at.topic);
        let topic = topic.ok_or_else(|| topology::gone(&at.topic))?;
        let (group, log) = (asking.group_offset(at).await?, asking.log(at).await?);
        let kafka = config.kafka()?;
        let heartbeats = kafka.heartbeats();
        let is_of_heartbeats = heartbeats.as_ref().is_some_and(|topic| topic.as_str() == at.topic);
        let last = match &heartbeats {
            Some(heartbeats) if checkpoint.is_none() && !is_of_heartbeats => {
                let last = tails::last(kafka, heartbeats.as_str()).await?;
                // `publish` refuses it, too: it does not make good what is gone.
                if last.is_empty && last.was_written() {
                    let topic = heartbeats.to_string();
                    let anew = Anew(facts::written(config, None)?);
                    return Err(TopicRefusal::Emptied { topic, anew }.into());
                }
                Some(last)
            }
            _ => None,
        };
        // A table of its own topic that has no rows yet is complete as it is.
        let is_new = log.end == 0 && (kafka.are_foreign || last.is_some());
        if checkpoint.is_none() && log.end == 0 && !is_new {
            return Err(no_records(at));
        }
        let identity = checkpoint.as_ref().map(|it| Identity::of(it.topic_id, topic.id));
        let of_records = || beginning::look((asking, kafka), catalog, tables, at, &log);
        let copy = |is_there| match is_there {
            true => Beginning::Copy,
            false => Beginning::Partial,
        };
        let beginning = match identity {
            // Without rows there are none to miss.
            None if is_of_heartbeats => Beginning::NoRows,
            None if let Some(last) = &last => copy(log.start == 0 && is_named(last, at, &topic)?),
            None if is_new => Beginning::NoRows,
            None => of_records().await?,
            // What somebody else's publisher has to do depends on it.
            Some(Identity::Another { .. }) if kafka.are_foreign => of_records().await?,
            // Only an empty graph asks for it.
            Some(_) => Beginning::Partial,
        };
        let before = match (&checkpoint, identity) {
            (None, _) | (_, None) => RecordBefore::Silent,
            (Some(checkpoint), Some(identity)) => {
                before::look(asking, catalog, at, checkpoint, identity, &log, kafka.reads_several())
                    .await?
            }
        };
        let history = last.and_then(|last| last.history);
        let graph = graph.id().await?;
        let publisher = match &checkpoint {
            Some(checkpoint) => checkpoint.publisher.clone(),
            None if kafka.are_foreign => None,
            None => publisher(asking, catalog, at, &log).await?,
        };
        Ok(Found { group, checkpoint, log, topic, beginning, before, history, graph, publisher })
    }

    /// Looks at what can be told without reading more than the last record: for a partition that the graph has
    /// something of, in a topic that is there.
    pub async fn glance(
        asking: &Asking,
        graph: Option<String>,
        checkpoint: Checkpoint,
        topic: Described,
        at: &TopicPartition,
    ) -> Result<Self, ServiceError> {
        let (group, log) = (asking.group_offset(at).await?, asking.log(at).await?);
        let before = match before::of_last(asking, at, &checkpoint, &log).await? {
            RecordBefore::Silent => RecordBefore::Fits,
            before => before,
        };
        let (publisher, history) = (checkpoint.publisher.clone(), None);
        let (checkpoint, beginning) = (Some(checkpoint), Beginning::Partial);
        Ok(Found { group, checkpoint, log, topic, beginning, before, history, graph, publisher })
    }

    /// What is decided with the group's offset.
    pub fn decided(&self, config: &Config) -> Decision {
        self.decide(config, self.group.clone())
    }

    /// What is decided once the group has this offset.
    pub fn decide(&self, config: &Config, group: Option<GroupOffset>) -> Decision {
        // Nobody sets an offset of another pipeline's, or of another graph's.
        let (pipeline, own) = (&config.pipeline, self.graph.as_deref());
        let others = self.group.as_ref().and_then(|group| group.others(pipeline, own));
        if let Some(refusal) = others {
            return Decision::Refuse(refusal);
        }
        let applied = self.checkpoint.as_ref().map(|checkpoint| {
            let offset = checkpoint.position.lsn.0;
            let highest = checkpoint.replaying.map_or(offset, |it| it.until.0.max(offset));
            Applied { offset, highest }
        });
        let was = self.checkpoint.as_ref().and_then(|checkpoint| checkpoint.topic_id);
        decide(&Assigned {
            pipeline,
            graph: own,
            group,
            applied,
            log: self.log.clone(),
            beginning: self.beginning.clone(),
            identity: Identity::of(was, self.topic.id),
            before: self.before,
        })
    }

    /// What a refusal means for the partition, and what to do.
    pub fn refused(
        &self,
        config: &Config,
        mapped: (&Catalog, &Mapping),
        at: &TopicPartition,
        refusal: &Refusal,
    ) -> Result<String, ServiceError> {
        let topic = facts::Topic {
            name: &at.topic,
            publisher: self.publisher.as_deref(),
            partitions: self.topic.partitions,
            begins_with_snapshot: self.beginning == Beginning::Copy,
        };
        let ways = ways(config, mapped, self.checkpoint.as_slice(), topic)?;
        Ok(refusal.text(at, &ways))
    }
}

/// The LSN that the graph has reached in the order of the topic.
pub fn reached(checkpoint: &Checkpoint) -> Lsn {
    checkpoint.replaying.map_or(checkpoint.lsn, |replaying| replaying.source_lsn)
}

/// Makes the checkpoint of a partition that the graph has nothing of yet.
pub struct Creation<'a, G> {
    /// The configuration.
    pub config: &'a Config,
    /// The source's.
    pub catalog: &'a Catalog,
    /// What its tables become.
    pub mapping: &'a Mapping,
    /// What they are, where the graph follows them.
    pub facts: Option<String>,
    /// Kafka.
    pub asking: &'a Asking,
    /// The graph.
    pub graph: &'a G,
    /// The partition.
    pub at: &'a TopicPartition,
    /// Its topic.
    pub topic: Described,
    /// Whose heartbeats speak of it.
    pub history: Option<&'a History>,
}

impl<G: Store> Creation<'_, G> {
    /// Makes it, at an offset. Where its source is, the first records say.
    pub async fn create(&self, log: &Range<u64>, from: u64) -> Result<(), ServiceError> {
        let Creation { config, catalog, asking, graph, at, topic, history, .. } = self;
        let (catalog, at, topic, history) = (*catalog, *at, *topic, *history);
        let kafka = config.kafka()?;
        let mut decoder = asking.decoder(catalog, &at.topic)?;
        let records = first(asking, &mut decoder, at, from, log).await?;
        if records.is_empty() && !kafka.are_foreign && history.is_none() {
            return Err(no_records(at));
        }
        let history = records.iter().find_map(history_of).or(history);
        // Debezium's own records do not say.
        let (system_identifier, timeline) =
            history.map_or((String::new(), 0), |it| (it.system_identifier.clone(), it.timeline));
        let origin = Origin { system_identifier, timeline, log: Log::Partition(at.clone()) };
        let labels = self.mapping.labels();
        let mapping_digest = self.mapping.digest();
        let Described { id: topic_id, partitions } = topic;
        let start = Lsn(from);
        let publisher = decoder.publisher().map(str::to_owned);
        let is_whole = kafka.heartbeats().is_some_and(|topic| topic.as_str() == at.topic);
        let new = NewCheckpoint {
            start,
            origin,
            publication: None,
            partitions,
            topic_id,
            is_whole,
            publisher,
            mapping_digest,
            labels,
            table_facts: self.facts.clone(),
            outlines: self.facts.as_ref().map(|_| Outlines::of(&self.mapping.model).text()),
        };
        graph.create(&config.pipeline, &new, &[]).await?;
        tracing::info!(%at, from, "the graph has nothing of this partition yet: starting here");
        Ok(())
    }
}

/// The last heartbeat speaks of this topic, not of another one of its name: then all rows are in it, or on their
/// way.
fn is_named(
    last: &PartitionTail,
    at: &TopicPartition,
    topic: &Described,
) -> Result<bool, ServiceError> {
    let named = last.ends.as_ref().and_then(|ends| ends.0.get(&at.topic));
    match named {
        Some(named) => Ok(Some(named.id) == topic.id),
        None => Err(ServiceError::NotYet(format!(
            "no heartbeat speaks of the topic {} yet: `wal2graph publish` makes topics for the tables of its own \
             mapping and publication when it starts",
            at.topic
        ))),
    }
}

fn no_records(at: &TopicPartition) -> ServiceError {
    ServiceError::NotYet(format!("{at} has no records yet"))
}

/// The graph was made with this mapping.
pub fn check_checkpoint(
    config: &Config,
    mapping: &Mapping,
    checkpoint: &Checkpoint,
) -> Result<(), ServiceError> {
    if checkpoint.mapping_digest == mapping.digest() {
        return Ok(());
    }
    let again = facts::again(config, Some(mapping), std::slice::from_ref(checkpoint));
    let may_follow = config.policies.schema_changes == SchemaChanges::Stop;
    if may_follow && !config.kafka()?.are_foreign {
        return Err(ServiceError::Definite(format!(
            "the mapping has changed since the graph was made. Without `schema_changes: stop` in the file, \
             `apply` follows. Or {again}"
        )));
    }
    let changed = GraphRefusal::MappingChanged { what: Vec::new(), again };
    Err(ServiceError::Start(Refusals::of(changed)))
}

/// The pipeline that publishes to the topic, if its first records name one.
async fn publisher(
    asking: &Asking,
    catalog: &Catalog,
    at: &TopicPartition,
    log: &Range<u64>,
) -> Result<Option<String>, ServiceError> {
    let mut decoder = asking.decoder(catalog, &at.topic)?;
    first(asking, &mut decoder, at, log.start, log).await?;
    Ok(decoder.publisher().map(str::to_owned))
}

/// What the first records from an offset on say.
pub async fn first(
    asking: &Asking,
    decoder: &mut Decoder,
    at: &TopicPartition,
    from: u64,
    log: &Range<u64>,
) -> Result<Vec<Decoded>, ServiceError> {
    let records = asking.records(at, from..log.end.min(from + FIRST_RECORDS)).await?;
    Ok(said(decoder, records.into_values()))
}

/// The position and the history that a heartbeat names.
pub fn named(said: &Decoded) -> Option<(Lsn, &History)> {
    match said {
        Decoded::Heartbeat { end_lsn: Some(end), history: Some(history), .. } => {
            Some((*end, history))
        }
        _ => None,
    }
}
