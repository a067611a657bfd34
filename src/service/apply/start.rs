//! What is found before a partition is read: for [`crate::replay`] to decide.

use std::ops::Range;

use crate::{
    catalog::Catalog,
    checkpoint::{Checkpoint, Log, NewCheckpoint, Origin, TopicPartition},
    config::Config,
    envelope::{Decoded, Decoder, History, Record},
    kafka::{copied::Tables, identity::Described, offsets::Asking, tail::PartitionTail, tails},
    lsn::Lsn,
    mapping::Mapping,
    pipeline::Store,
    replay::{Applied, Assigned, Decision, GroupOffset, Identity, RecordBefore, Refusal, decide},
    service::{ServiceError, facts::ways, graph::identity},
    start::{GraphRefusal, Refusals},
};

use super::{before, beginning, topology};

/// How many records are read to see what a topic begins with.
pub const FIRST_RECORDS: u64 = 16;

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
    begins_with_copy: bool,
    before: RecordBefore,
    /// Whose heartbeats speak of the topic, where that says nothing itself.
    pub history: Option<History>,
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
                Some(tails::last(kafka, heartbeats.as_str()).await?)
            }
            _ => None,
        };
        // A table of its own topic that has no rows yet is complete as it is.
        let is_new = log.end == 0 && (kafka.are_foreign || last.is_some());
        if checkpoint.is_none() && log.end == 0 && !is_new {
            return Err(no_records(at));
        }
        let begins_with_copy = match checkpoint {
            // Without rows there are none to miss.
            None if is_of_heartbeats => true,
            None if let Some(last) = &last => log.start == 0 && is_named(last, at, &topic)?,
            None if is_new => true,
            None => beginning::has_all_rows(asking, catalog, tables, at, &log).await?,
            // Only an empty graph asks for it.
            Some(_) => false,
        };
        let before = match &checkpoint {
            None => RecordBefore::Silent,
            Some(checkpoint) => {
                let identity = Identity::of(checkpoint.topic_id, topic.id);
                before::look(asking, catalog, at, checkpoint, identity, &log, kafka.reads_several())
                    .await?
            }
        };
        let history = last.and_then(|last| last.history);
        Ok(Found { group, checkpoint, log, topic, begins_with_copy, before, history })
    }

    /// What is decided, with this offset of the group.
    pub fn decide(&self, config: &Config, group: Option<GroupOffset>) -> Decision {
        let applied = self.checkpoint.as_ref().map(|checkpoint| {
            let offset = checkpoint.position.lsn.0;
            let highest = checkpoint.replaying.map_or(offset, |it| it.until.0.max(offset));
            Applied { offset, highest }
        });
        let was = self.checkpoint.as_ref().and_then(|checkpoint| checkpoint.topic_id);
        decide(&Assigned {
            pipeline: &config.pipeline,
            group,
            applied,
            log: self.log.clone(),
            begins_with_copy: self.begins_with_copy,
            identity: Identity::of(was, self.topic.id),
            before: self.before,
        })
    }

    /// What a refusal means for the partition, and what to do.
    pub fn refused(
        &self,
        config: &Config,
        mapping: &Mapping,
        at: &TopicPartition,
        refusal: &Refusal,
    ) -> Result<String, ServiceError> {
        let ways = ways(config, Some(mapping), self.checkpoint.as_slice())?;
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
        let Creation { config, catalog, asking, graph, at, topic, history, .. } = *self;
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
            table_facts: None,
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
    match checkpoint.mapping_digest == mapping.digest() {
        true => Ok(()),
        false => {
            let again = crate::service::facts::again(
                config,
                Some(mapping),
                std::slice::from_ref(checkpoint),
            );
            let changed = GraphRefusal::MappingChanged { again };
            Err(ServiceError::Start(Refusals::of(changed)))
        }
    }
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

/// What records say, in their order.
pub fn said(decoder: &mut Decoder, records: impl Iterator<Item = Record>) -> Vec<Decoded> {
    let mut decoded = Vec::new();
    for record in records {
        // One that can not be read says nothing here: it is told of when it is applied.
        let _ = decoder.record(&record, &mut decoded);
    }
    decoded
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

/// The history of the topic that the record names, if it does.
pub fn history_of(said: &Decoded) -> Option<&History> {
    match said {
        Decoded::Change { source, .. }
        | Decoded::Foreign { source, .. }
        | Decoded::Message { source }
        | Decoded::Read { source, .. } => source.history.as_deref(),
        Decoded::Heartbeat { history, .. } => history.as_deref(),
        _ => None,
    }
}
