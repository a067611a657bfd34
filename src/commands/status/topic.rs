//! The topics' part of the status, for a pipeline that reads some.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use crate::{
    catalog::Catalog,
    change::Timestamp,
    checkpoint::{Checkpoint, TopicPartition},
    config::Config,
    health::since,
    mapping::Mapping,
    metrics::now,
    pipeline::Store,
    report::{Partition, Replaying, State},
};

/// How far the topics are in the graph.
pub struct TopicStatus {
    /// All of them that are still read.
    pub partitions: Vec<Partition>,
    /// How many instances of `apply` are in the group.
    pub members: Option<usize>,
    /// Dead letters that wait, if records become such.
    pub dead_letters: Option<u64>,
}

/// What Kafka says.
#[derive(Default)]
struct Look {
    /// Where the partitions end whose topic is the one that the graph was made from.
    ends: BTreeMap<TopicPartition, u64>,
    /// When the first record was produced that the graph does not have, of partitions with one.
    produced: BTreeMap<TopicPartition, Timestamp>,
    members: Option<usize>,
    dead_letters: Option<u64>,
}

impl TopicStatus {
    /// Of the checkpoints, if they are of partitions whose topics are still read.
    pub async fn read(
        config: &Config,
        mapping: Option<&Mapping>,
        checkpoints: &[Checkpoint],
    ) -> Option<Self> {
        checkpoints.first()?.partition()?;
        let checkpoints = &still_read(config, mapping, checkpoints);
        let look = look(config, checkpoints).await;
        let partitions: Vec<_> =
            checkpoints.iter().filter_map(|checkpoint| partition(checkpoint, &look)).collect();
        let Look { members, dead_letters, .. } = look;
        (!partitions.is_empty()).then_some(TopicStatus { partitions, members, dead_letters })
    }

    /// What is done with the topics.
    pub fn state(&self) -> State {
        let replaying = self.partitions.iter().any(|it| it.replaying.is_some());
        match (self.members, replaying) {
            (None, _) => State::Unknown,
            (Some(0), _) => State::NotRunning,
            (Some(_), true) => State::Replaying,
            (Some(_), false) => State::Streaming,
        }
    }

    /// How many records the graph does not have, if that is known of all partitions.
    pub fn records(&self) -> Option<u64> {
        self.partitions.iter().map(|it| it.lag).sum()
    }

    /// For how long it has lacked the first of them.
    pub fn waited(&self) -> Option<f64> {
        self.partitions.iter().filter_map(|it| it.lag_seconds).reduce(f64::max)
    }
}

/// Without those of a table's topic that the table has left: nothing waits there that the graph lacks.
#[cfg(feature = "kafka")]
fn still_read(
    config: &Config,
    mapping: Option<&Mapping>,
    checkpoints: &[Checkpoint],
) -> Vec<Checkpoint> {
    use crate::service::{apply::topology::is_of_gone_table, with_topics};
    let mut read = checkpoints.to_vec();
    if let Some(reading) = mapping.and_then(|mapping| with_topics(config, mapping).ok())
        && let Ok(kafka) = reading.kafka()
    {
        read.retain(|checkpoint| !is_of_gone_table(kafka, checkpoint));
    }
    read
}

#[cfg(not(feature = "kafka"))]
fn still_read(_: &Config, _: Option<&Mapping>, checkpoints: &[Checkpoint]) -> Vec<Checkpoint> {
    checkpoints.to_vec()
}

fn partition(checkpoint: &Checkpoint, look: &Look) -> Option<Partition> {
    let at = checkpoint.partition()?;
    let (end, applied) = (look.ends.get(at).copied(), checkpoint.position.lsn.0);
    // The topic ends before the checkpoint: it has lost records.
    let lag = end.and_then(|end| end.checked_sub(applied));
    let waited = look.produced.get(at).map(|at| since(now(), *at).as_secs_f64());
    Some(Partition {
        topic: at.topic.clone(),
        partition: at.partition,
        applied: Some(applied),
        end,
        lag,
        lag_seconds: if lag == Some(0) { Some(0.0) } else { waited },
        replaying: checkpoint.replaying.map(|replaying| Replaying {
            until: replaying.until.0,
            lsn: replaying.source_lsn.to_string(),
        }),
    })
}

#[cfg(feature = "kafka")]
async fn look(config: &Config, checkpoints: &[Checkpoint]) -> Look {
    use std::collections::BTreeSet;

    use crate::kafka::{dead_letters::Shelf, offsets::Asking};
    let Ok(options) = config.kafka() else { return Look::default() };
    let Ok(asking) = Asking::new(options) else { return Look::default() };
    let topics: BTreeSet<String> = match options.is_by_table() || options.pattern.is_some() {
        // Those that the graph was made from.
        true => {
            let read = checkpoints.iter().filter_map(Checkpoint::partition);
            read.map(|at| at.topic.clone()).collect()
        }
        false => options.topic_names().map(str::to_owned).collect(),
    };
    let topics: Vec<String> = topics.into_iter().collect();
    let ends = ends(&asking, &topics, checkpoints);
    let dead_letters = async {
        match Shelf::open(options)? {
            Some(mut shelf) => Ok(Some(shelf.read_on().await?.count())),
            None => Ok(None),
        }
    };
    let (ends, members, dead_letters) = tokio::join!(ends, asking.members(), dead_letters);
    let produced = match &ends {
        Ok(ends) => produced(&asking, ends, checkpoints).await,
        Err(_) => Ok(BTreeMap::new()),
    };
    let errors = [
        ends.as_ref().err(),
        members.as_ref().err(),
        dead_letters.as_ref().err(),
        produced.as_ref().err(),
    ];
    for error in errors.into_iter().flatten() {
        tracing::warn!(%error, "the topic's status is not complete");
    }
    Look {
        ends: ends.unwrap_or_default(),
        produced: produced.unwrap_or_default(),
        members: members.ok().flatten(),
        dead_letters: dead_letters.ok().flatten(),
    }
}

/// Where the partitions end. Those of a topic that was made again have another end than the graph has begun.
#[cfg(feature = "kafka")]
async fn ends(
    asking: &crate::kafka::offsets::Asking,
    topics: &[String],
    checkpoints: &[Checkpoint],
) -> crate::kafka::Result<BTreeMap<TopicPartition, u64>> {
    use crate::replay::Identity;
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let mut ends = crate::service::ends(asking, topics).await?;
    let described = asking.describe(&names).await?;
    for checkpoint in checkpoints {
        let Some(at) = checkpoint.partition() else { continue };
        let is = described.get(&at.topic).and_then(|topic| topic.id);
        if let Identity::Another { .. } = Identity::of(checkpoint.topic_id, is) {
            ends.remove(at);
        }
    }
    Ok(ends)
}

/// When the first record was produced that the graph does not have, of each partition with one.
#[cfg(feature = "kafka")]
async fn produced(
    asking: &crate::kafka::offsets::Asking,
    ends: &BTreeMap<TopicPartition, u64>,
    checkpoints: &[Checkpoint],
) -> crate::kafka::Result<BTreeMap<TopicPartition, Timestamp>> {
    let mut produced = BTreeMap::new();
    for checkpoint in checkpoints {
        let Some(at) = checkpoint.partition() else { continue };
        let (from, end) = (checkpoint.position.lsn.0, ends.get(at).copied().unwrap_or_default());
        // What is gone was produced at a time that nobody knows.
        if from < end
            && from >= asking.log(at).await?.start
            && let Some(moment) = asking.produced_at(at, from..end).await?
        {
            produced.insert(at.clone(), moment);
        }
    }
    Ok(produced)
}

/// Why the next `apply` would be refused for what topics and group are, each with its fix.
#[cfg(feature = "kafka")]
pub async fn refusals(
    config: &Config,
    (catalog, mapping): (&Catalog, &Mapping),
    client: &Client,
    graph: &impl Store,
    checkpoints: &[Checkpoint],
) -> Vec<String> {
    use crate::{pipeline::Failure, service::apply::standing::Standing};
    let reads_a_topic = checkpoints.iter().all(|checkpoint| checkpoint.partition().is_some());
    if config.kafka().is_err() || !reads_a_topic {
        return Vec::new();
    }
    let standing = Standing { config, catalog, mapping, client, graph, checkpoints };
    match standing.refusals().await {
        Ok(refusals) => refusals,
        // Nothing may have been published yet.
        Err(error) if checkpoints.is_empty() && error.is_transient() => Vec::new(),
        Err(error) => {
            tracing::warn!(%error, "whether `apply` would be refused is not known");
            Vec::new()
        }
    }
}

/// What the topics have of tables that are not those of their names any more.
#[cfg(feature = "kafka")]
pub async fn from_before(
    config: &Config,
    mapped: (&Catalog, &Mapping),
    client: &Client,
    checkpoints: &[Checkpoint],
) -> Option<String> {
    use crate::{
        kafka::offsets::Asking,
        service::{ServiceError, publish::topics::Wanted},
    };
    let reads_a_topic = checkpoints.iter().any(|checkpoint| checkpoint.partition().is_some());
    let follows = crate::service::following::follows(config);
    if follows || !reads_a_topic || config.kafka().is_ok_and(|kafka| kafka.are_foreign) {
        return None;
    }
    let look = async {
        let wanted = Wanted::of(config, client, mapped.0, Some(mapped.1)).await?;
        let topics = wanted.look(&Asking::new(config.kafka()?)?).await?;
        let Some(topics) = topics else { return Ok::<_, ServiceError>(None) };
        let ends = topics.ends(config).await?;
        let copied = topics.copied(config, &ends)?;
        Ok(topics.from_before(&ends, mapped, &copied).what())
    };
    // What does not answer is told of by others.
    look.await.ok().flatten()
}

#[cfg(not(feature = "kafka"))]
pub async fn from_before(
    _: &Config,
    _: (&Catalog, &Mapping),
    _: &Client,
    _: &[Checkpoint],
) -> Option<String> {
    None
}

#[cfg(not(feature = "kafka"))]
pub async fn refusals(
    _: &Config,
    _: (&Catalog, &Mapping),
    _: &Client,
    _: &impl Store,
    _: &[Checkpoint],
) -> Vec<String> {
    Vec::new()
}

#[cfg(not(feature = "kafka"))]
async fn look(_: &Config, _: &[Checkpoint]) -> Look {
    Look::default()
}
