//! Which topics and partitions there are, and whether the graph was made from them.
//!
//! ```text
//! topics --> which they are, how many partitions --+--> one in all: transactions are kept
//! checkpoints of the pipeline ---------------------+    more: each record is applied for itself
//!                                                  +--> another count than before: refused
//! ```
//!
//! A key's records are in order because they are in one partition. With another number of partitions
//! they go to another one from then on, which may be read sooner than the one before.
//!
//! Debezium makes the topic of a table with its first row. Until then the others are applied without
//! it.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    time::Duration,
};

use tokio::time::sleep;

use crate::{
    catalog::{Catalog, TableName},
    checkpoint::{Checkpoint, TopicId, TopicPartition},
    config::Config,
    envelope::table_of_topic,
    kafka::{
        self, Options, consumer::ConsumeError, identity::Described, offsets::Asking,
        policy::Policies, topic,
    },
    mapping::{Mapping, Refusal, TableColumns},
    pipeline::{Failure, PipelineError},
    replay::ANEW,
    service::{
        ServiceError,
        facts::{Topic, others, refilled},
    },
    topic::{
        TopicName,
        names::{Match, Matching, TableTopics},
    },
};

/// How often topics are looked at while they are read.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// A broker that has just come back may not know all topics yet: one is gone when it was so often
/// not there.
const GONE_LOOKS: u32 = 3;
/// The pause between these looks.
const GONE_PAUSE: Duration = Duration::from_secs(1);

/// The topics that there are.
pub struct Topology {
    /// Which they are, and how many partitions each has.
    pub topics: BTreeMap<String, Described>,
    /// Those of somebody else that are not there yet.
    pub missing: Vec<String>,
    /// Several are named, or one that has several partitions: no transaction is together.
    is_spread: bool,
    /// The one that has heartbeats alone, where each table has one.
    heartbeats: Option<String>,
    /// Those of tables that are paused, where each table has one: nothing may come there any more.
    paused: BTreeSet<String>,
    /// Those that come later are read, too.
    matching: Option<Matching>,
    /// Those that `publish` writes: compaction takes records out of their transactions.
    ours: Vec<String>,
}

impl Topology {
    /// Looks, and compares with the checkpoints of the graph, which is made of these tables.
    pub async fn look(
        config: &Config,
        asking: &Asking,
        checkpoints: &[Checkpoint],
        mapped: (&Catalog, &Mapping),
    ) -> Result<Self, ServiceError> {
        let kafka = config.kafka()?;
        let names: Vec<&str> = kafka.topic_names().collect();
        check_logs(config, &names, checkpoints)?;
        // This one says why nobody answers.
        asking.partitions(names[0]).await?;
        let topics = asking.describe(&names).await?;
        let missing: Vec<&str> =
            names.into_iter().filter(|name| !topics.contains_key(*name)).collect();
        let paused = paused_topics(kafka, mapped.1)?;
        for name in &missing {
            if kafka.are_foreign && !topics.is_empty() && read(checkpoints, name).next().is_none() {
                tracing::info!(topic = name, "the topic does not exist yet: applying the others");
            } else if paused.contains(*name) {
                tracing::info!(
                    topic = name,
                    "the topic of a paused table does not exist: applying the others"
                );
            } else {
                return Err(absent(config, name, checkpoints, mapped)?);
            }
        }
        for (name, topic) in &topics {
            check_count(checkpoints, name, topic.partitions)?;
        }
        let missing = missing.into_iter().map(str::to_owned).collect();
        let partitions: u32 = topics.values().map(|topic| topic.partitions).sum();
        let is_spread = kafka.reads_several() || partitions > 1;
        let heartbeats = kafka.heartbeats().map(|topic| topic.to_string());
        let is_ours = |topic: &&String| {
            let has_history =
                |checkpoint: &Checkpoint| !checkpoint.origin.system_identifier.is_empty();
            !kafka.are_foreign || read(checkpoints, topic).any(has_history)
        };
        let ours = topics.keys().filter(is_ours).cloned().collect();
        Ok(Topology { topics, missing, is_spread, heartbeats, paused, matching: None, ours })
    }

    /// Of the topics that are published to.
    pub fn of(topics: BTreeMap<String, Described>) -> Self {
        let is_spread = topics.values().map(|topic| topic.partitions).sum::<u32>() > 1;
        let (missing, ours) = (Vec::new(), topics.keys().cloned().collect());
        let (heartbeats, paused) = (None, BTreeSet::new());
        Topology { topics, missing, is_spread, heartbeats, paused, matching: None, ours }
    }

    /// And those that come later, if they are known by a pattern.
    pub fn and_later(self, matching: Option<Matching>) -> Self {
        Topology { matching, ..self }
    }

    /// Checks that none of the topics that `publish` writes is compacted.
    pub async fn check_compaction(&self, kafka: &Options) -> Result<(), ServiceError> {
        check_compaction(kafka, self.ours.iter().map(String::as_str)).await
    }

    /// The same of one that turns out to be written by `publish`.
    pub async fn check_compaction_of(
        &self,
        kafka: &Options,
        topic: &str,
    ) -> Result<(), ServiceError> {
        match self.ours.iter().any(|it| it == topic) {
            true => Ok(()),
            false => check_compaction(kafka, [topic]).await,
        }
    }

    /// A topic that is to be read, and is not yet.
    async fn new_one(&self, asking: &Asking) -> Option<String> {
        let matching = self.matching.as_ref()?;
        // The readers and writers wait for a broker that is away.
        let topics = asking.topics().await.ok()?;
        let is_new =
            |topic: &String| matching.of(topic) == Match::Table && !self.topics.contains_key(topic);
        topics.into_iter().find(is_new)
    }

    /// The partition has heartbeats alone, which speak of all others.
    pub fn is_of_heartbeats(&self, at: &TopicPartition) -> bool {
        self.heartbeats.as_ref() == Some(&at.topic)
    }

    /// Each table has a topic, and heartbeats have one.
    pub fn has_heartbeats(&self) -> bool {
        self.heartbeats.is_some()
    }

    /// The partitions that heartbeats speak of, each with which topic it is of. Of paused tables the publisher may
    /// know none any more.
    pub fn spoken_of(&self) -> Vec<(TopicPartition, TopicId)> {
        let is_spoken_of =
            |at: &TopicPartition| !self.is_of_heartbeats(at) && !self.paused.contains(&at.topic);
        let partitions = self.partitions().filter(is_spoken_of);
        let named = |at: TopicPartition| {
            let id = self.topics.get(&at.topic)?.id?;
            Some((at, id))
        };
        partitions.filter_map(named).collect()
    }

    /// Why the mapping can not be applied from these partitions.
    pub fn refusals(&self, catalog: &Catalog, mapping: &Mapping) -> Vec<Refusal> {
        if !self.is_spread {
            return Vec::new();
        }
        let several = || self.topics.iter().filter(|(_, topic)| topic.partitions > 1);
        // A topic that is not named after a table may have all of them.
        let may_have = |topic: &str, table: &TableName| {
            table_of_topic(catalog, topic, None).map_or(true, |its| its.name == *table)
        };
        let is_spread =
            |table: &TableColumns| several().any(|(topic, _)| may_have(topic, &table.name));
        let mut refusals = mapping.refusals_of_partitions();
        refusals.extend(mapping.refusals_of_keys(is_spread));
        refusals
    }

    /// All partitions, in order.
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> {
        self.topics.iter().flat_map(|(topic, described)| {
            let numbers = 0..i32::try_from(described.partitions).unwrap_or(i32::MAX);
            numbers.map(|partition| TopicPartition { topic: topic.clone(), partition })
        })
    }

    /// There is more than one: no transaction is together.
    pub fn is_spread(&self) -> bool {
        self.is_spread
    }

    fn difference(&self, now: &BTreeMap<String, Described>) -> Difference<'_> {
        for (name, was) in &self.topics {
            let Some(is) = now.get(name) else { return Difference::Gone(name) };
            if was.id.is_some() && is.id.is_some() && was.id != is.id {
                return Difference::Other(format!("the topic {name} was deleted and made again"));
            }
            if was.partitions != is.partitions {
                let (was, is) = (was.partitions, is.partitions);
                let what = format!("the topic {name} has {is} partitions, and had {was}");
                return Difference::Other(what);
            }
        }
        Difference::None
    }
}

/// Checks that none of these topics is compacted, which takes records out of transactions, the ends of some among
/// them. Debezium's topics have none to lose.
///
/// # Errors
/// One is, as a definite error with its fix; or Kafka does not answer.
async fn check_compaction<'a>(
    kafka: &Options,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<(), ServiceError> {
    let names: Vec<TopicName> = names.into_iter().filter_map(TopicName::new).collect();
    let mut found = topic::look_at_all(kafka, &names.iter().collect::<Vec<_>>()).await?;
    for name in &names {
        let topic = found.remove(name.as_str()).ok_or_else(|| gone(name.as_str()))?;
        topic.check(&kafka.of_topic(name))?;
    }
    Ok(())
}

/// Resolves when a topic in use is not the one that it was, or is compacted now, with the difference. The next
/// look at everything says what it means.
pub async fn changed(kafka: &Options, asking: &Asking, used: &Topology) -> ServiceError {
    let names = used.topics.keys().chain(&used.missing).map(String::as_str);
    let names: Vec<&str> = names.collect();
    let (ours, mut policies) = (used.ours.iter().map(String::as_str), Policies::new(kafka));
    let ours: Vec<&str> = ours.collect();
    let mut gone_looks = 0;
    loop {
        sleep(if gone_looks == 0 { LOOK_INTERVAL } else { GONE_PAUSE }).await;
        // The readers and writers wait for a broker that is away.
        let Ok(now) = asking.describe(&names).await else { continue };
        if let Some(name) = used.missing.iter().find(|name| now.contains_key(*name)) {
            return ServiceError::NotYet(format!("there is a topic {name} now"));
        }
        if let Some(name) = used.new_one(asking).await {
            return ServiceError::NotYet(format!("there is a topic {name} now"));
        }
        match used.difference(&now) {
            Difference::None => {
                gone_looks = 0;
                if let Some(name) = policies.compacted(&ours).await {
                    return ServiceError::NotYet(format!("the topic {name} is compacted now"));
                }
            }
            Difference::Other(what) => return ServiceError::NotYet(what),
            Difference::Gone(name) if gone_looks + 1 >= GONE_LOOKS => return gone(name),
            Difference::Gone(_) => gone_looks += 1,
        }
    }
}

/// How topics differ from what they were.
enum Difference<'a> {
    None,
    Gone(&'a str),
    Other(String),
}

/// Why a topic or a partition is not there, the next life says, which looks at all of them.
pub fn looked_at(error: ServiceError) -> ServiceError {
    let is_of_missing_topic = match &error {
        ServiceError::Kafka(error) => error.is_of_missing_topic(),
        ServiceError::Pipeline(
            PipelineError::Source(error) | PipelineError::Sink(error) | PipelineError::Copy(error),
        ) => kafkas(&**error).is_some_and(kafka::Error::is_of_missing_topic),
        _ => false,
    };
    match is_of_missing_topic {
        true => ServiceError::NotYet(error.to_string()),
        false => error,
    }
}

/// The error of Kafka's that is within.
fn kafkas(error: &dyn Failure) -> Option<&kafka::Error> {
    let any: &(dyn Error + 'static) = error;
    let of_member = any.downcast_ref().and_then(|error| match error {
        ConsumeError::Kafka(error) => Some(error),
        _ => None,
    });
    let own = any.downcast_ref().or(of_member);
    own.or_else(|| error.within().and_then(kafkas))
}

/// A topic that was read is not there any more, or not known yet to a broker that came back.
pub fn gone(topic: &str) -> ServiceError {
    ServiceError::NotYet(format!("the topic {topic} is not there any more"))
}

/// The checkpoint is of a table's topic, and the table is not mapped any more.
pub fn is_of_gone_table(kafka: &kafka::Options, checkpoint: &Checkpoint) -> bool {
    let Some(at) = checkpoint.partition() else { return false };
    let is_own = at.topic.strip_prefix(kafka.topic.as_str()).is_some_and(|it| it.starts_with('.'));
    kafka.is_by_table() && is_own && !kafka.topic_names().any(|topic| topic == at.topic)
}

/// The topics of tables that are paused, where each table has one.
fn paused_topics(kafka: &Options, mapping: &Mapping) -> Result<BTreeSet<String>, ServiceError> {
    if !kafka.is_by_table() {
        return Ok(BTreeSet::new());
    }
    let topics = TableTopics::new(&kafka.topic, mapping.paused_tables());
    let topics = topics.map_err(ServiceError::topic_name)?;
    Ok(topics.tables.into_values().map(|topic| topic.to_string()).collect())
}

/// Every checkpoint of the pipeline is one of these topics'.
fn check_logs(
    config: &Config,
    names: &[&str],
    checkpoints: &[Checkpoint],
) -> Result<(), ServiceError> {
    let kafka = config.kafka()?;
    let is_other = |checkpoint: &&Checkpoint| {
        if is_of_gone_table(kafka, checkpoint) {
            return false;
        }
        checkpoint.partition().is_none_or(|it| !names.contains(&it.topic.as_str()))
    };
    let Some(other) = checkpoints.iter().find(is_other) else { return Ok(()) };
    let pipeline = &config.pipeline;
    Err(ServiceError::Definite(format!(
        "the graph of the pipeline {pipeline:?} was made from {}, and not from {}: name the topic of before \
         (kafka.topic), or stop every `wal2graph apply` of this pipeline, and {}",
        other.origin.log,
        names.join(", "),
        refilled(config, None, checkpoints)
    )))
}

/// The checkpoints of a topic's partitions.
fn read<'a>(checkpoints: &'a [Checkpoint], topic: &str) -> impl Iterator<Item = &'a Checkpoint> {
    checkpoints.iter().filter(move |it| it.partition().is_some_and(|it| it.topic == topic))
}

/// If the topic is not there, it may come, unless the graph has records of it.
fn absent(
    config: &Config,
    topic: &str,
    checkpoints: &[Checkpoint],
    mapped: (&Catalog, &Mapping),
) -> Result<ServiceError, ServiceError> {
    let is_foreign = config.kafka()?.are_foreign;
    let who = if is_foreign { "its publisher" } else { "`wal2graph publish`" };
    let Some(checkpoint) = read(checkpoints, topic).next() else {
        let what = format!("there is no topic {topic} yet: {who} makes it");
        return Ok(ServiceError::NotYet(what));
    };
    let (again, makes) = match is_foreign {
        true => {
            let partitions = checkpoint.partitions;
            let topic =
                Topic { name: topic, publisher: None, partitions, begins_with_snapshot: false };
            let others = others(config, mapped, checkpoints, topic)?;
            (
                others.to_string(),
                "Its publisher makes it again with the next change, without a copy",
            )
        }
        false => {
            let again = refilled(config, None, checkpoints).to_string();
            (again, "`wal2graph publish` makes it again, with a copy")
        }
    };
    Ok(ServiceError::Definite(format!(
        "the topic {topic} is gone; the graph has its records before offset {}. {makes}. {ANEW}{again}",
        checkpoint.position.lsn.0
    )))
}

/// A topic has as many partitions as before.
fn check_count(checkpoints: &[Checkpoint], topic: &str, count: u32) -> Result<(), ServiceError> {
    match read(checkpoints, topic).map(|it| it.partitions).find(|before| *before != count) {
        None => Ok(()),
        Some(before) => Err(ServiceError::Definite(format!(
            "{topic} has {count} partitions, and had {before} when the graph was made: keys go on in other partitions, \
             so the order of their records is lost. Publish to a new topic with {count} partitions, which begins with \
             a copy, and apply that with a new pipeline to an empty graph"
        ))),
    }
}
