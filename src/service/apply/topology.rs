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

use std::{collections::BTreeMap, time::Duration};

use tokio::time::sleep;

use crate::{
    catalog::Catalog,
    checkpoint::{Checkpoint, TopicId, TopicPartition},
    config::Config,
    kafka::{identity::Described, offsets::Asking},
    mapping::Mapping,
    replay::ANEW,
    service::{
        ServiceError,
        facts::{Topic, again, others},
    },
    topic::names::{Match, Matching},
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
    /// Those that come later are read, too.
    matching: Option<Matching>,
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
        for name in &missing {
            if kafka.are_foreign && !topics.is_empty() && read(checkpoints, name).next().is_none() {
                tracing::info!(topic = name, "the topic does not exist yet: applying the others");
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
        Ok(Topology { topics, missing, is_spread, heartbeats, matching: None })
    }

    /// Of the topics that are published to.
    pub fn of(topics: BTreeMap<String, Described>) -> Self {
        let is_spread = topics.values().map(|topic| topic.partitions).sum::<u32>() > 1;
        Topology { topics, missing: Vec::new(), is_spread, heartbeats: None, matching: None }
    }

    /// And those that come later, if they are known by a pattern.
    pub fn and_later(self, matching: Option<Matching>) -> Self {
        Topology { matching, ..self }
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

    /// The partitions that heartbeats speak of, each with which topic it is of.
    pub fn spoken_of(&self) -> Vec<(TopicPartition, TopicId)> {
        let partitions = self.partitions().filter(|at| !self.is_of_heartbeats(at));
        let named = |at: TopicPartition| {
            let id = self.topics.get(&at.topic)?.id?;
            Some((at, id))
        };
        partitions.filter_map(named).collect()
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

/// Resolves when a topic in use is not the one that it was, with the difference. The next look at
/// everything says what it means.
pub async fn changed(asking: &Asking, used: &Topology) -> ServiceError {
    let names = used.topics.keys().chain(&used.missing).map(String::as_str);
    let names: Vec<&str> = names.collect();
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
            Difference::None => gone_looks = 0,
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

/// A topic that was read is not there any more, or not known yet to a broker that came back.
pub fn gone(topic: &str) -> ServiceError {
    ServiceError::NotYet(format!("the topic {topic} is not there any more"))
}

/// Every checkpoint of the pipeline is one of these topics'.
fn check_logs(
    config: &Config,
    names: &[&str],
    checkpoints: &[Checkpoint],
) -> Result<(), ServiceError> {
    let is_other = |checkpoint: &&Checkpoint| {
        checkpoint.partition().is_none_or(|it| !names.contains(&it.topic.as_str()))
    };
    let Some(other) = checkpoints.iter().find(is_other) else { return Ok(()) };
    Err(ServiceError::Definite(format!(
        "the graph's pipeline {:?} reads {}, not {}: name another pipeline, or the topic that it was made from",
        config.pipeline,
        other.origin.log,
        names.join(", ")
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
            let topic = Topic { name: topic, partitions, begins_with_snapshot: false };
            let others = others(config, mapped, checkpoints, topic)?;
            (
                others.to_string(),
                "Its publisher makes it again with the next change, without a copy",
            )
        }
        false => {
            let again = again(config, None, checkpoints).to_string();
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
