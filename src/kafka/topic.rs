//! The topic: looked at, made when it is missing, judged when it is there.
//!
//! Compaction would take records out of what is applied in order. What else may be wrong with a topic
//! costs safety, not correctness, and is a warning. That its first records go some day is no fault, but
//! somebody should know it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use rdkafka::{
    admin::{NewTopic, TopicReplication},
    consumer::BaseConsumer,
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use tokio::time::{Instant, sleep};

use crate::topic::TopicName;

use super::{
    Ack, Error, Options, Result, Retention,
    admin::Admin,
    connect::{ANSWER_LIMIT, Voice, asking, metadata},
    policy::{POLICY, is_compacted},
    retention::{self, forgetting, span},
};

/// The largest record of a topic that we make, in bytes: room for a row of tens of megabytes, and
/// less than what a broker takes as one request.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// A topic whose largest record is smaller meets a row that does not fit sooner or later.
const MESSAGE_BYTES_FEW: usize = 8 << 20;
/// Without the source's log behind it, a topic that forgets sooner loses to any weekend.
const RETENTION_SHORT: Duration = Duration::from_hours(3 * 24);
/// The pause before a topic that was just made is looked for again.
const PAUSE: Duration = Duration::from_millis(100);

/// A topic as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// How many partitions it has.
    pub partitions: usize,
    /// How many brokers keep each record.
    pub replicas: usize,
    /// Its settings by name; `None` if they may not be read.
    pub settings: Option<HashMap<String, String>>,
}

/// What somebody should know of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// How grave it is.
    pub weight: Weight,
    /// What is so.
    pub what: String,
    /// What to do.
    pub fix: String,
}

/// How grave a remark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It keeps the topic from being used.
    Definite,
    /// It costs safety.
    Warning,
    /// It sets a limit that may well be meant.
    Notice,
}

impl Topic {
    /// The largest record it takes, in bytes.
    pub fn message_bytes_max(&self) -> usize {
        // Kafka's own default.
        const DEFAULT: usize = 1_048_588;
        self.number("max.message.bytes").and_then(|it| it.try_into().ok()).unwrap_or(DEFAULT)
    }

    fn setting(&self, name: &str) -> Option<&str> {
        self.settings.as_ref()?.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.setting(name)?.parse().ok()
    }

    /// It can be used.
    ///
    /// # Errors
    /// What keeps it from being used, as a definite error with its fix.
    pub fn check(&self, options: &Options) -> Result<()> {
        match self.remarks(options).into_iter().find(|it| it.weight == Weight::Definite) {
            Some(Remark { what, fix, .. }) => Err(Error::Definite(format!("{what}: {fix}"))),
            None => Ok(()),
        }
    }

    /// What somebody should know of it, the definite first.
    pub fn remarks(&self, options: &Options) -> Vec<Remark> {
        let name = &options.topic;
        let remark = |weight, what: String, fix: String| Remark { weight, what, fix };
        let mut remarks = Vec::new();
        let settings = self.settings.as_ref();
        if is_compacted(settings.and_then(|settings| settings.get(POLICY))) {
            remarks.push(remark(
                Weight::Definite,
                format!("the topic {name} is compacted: records would go missing in transactions"),
                alter(options, "cleanup.policy=delete"),
            ));
        }
        if let Some(wanted) = options.new_topic.partitions
            && usize::from(wanted) != self.partitions
        {
            let found = self.partitions;
            remarks.push(remark(
                Weight::Warning,
                format!("the topic {name} has {found} partitions, kafka.partitions says {wanted}: it keeps its own"),
                "a new topic (kafka.topic) is made with as many; it begins with a copy".to_owned(),
            ));
        }
        let max = self.message_bytes_max();
        if self.settings.is_some() && max < MESSAGE_BYTES_FEW {
            remarks.push(remark(
                Weight::Warning,
                format!("the topic {name} takes records of at most {max} bytes: a larger row stops the publisher"),
                alter(options, &format!("max.message.bytes={MESSAGE_BYTES_MAX}")),
            ));
        }
        remarks.extend(self.keeps_too_little(options).or_else(|| self.forgets(options)));
        if options.ack == Ack::Kafka && self.replicas == 1 {
            remarks.push(remark(
                Weight::Warning,
                format!("the topic {name} has one replica, and with ack: kafka nobody else has its records"),
                "have it on three brokers, with min.insync.replicas=2".to_owned(),
            ));
        }
        remarks
    }

    /// It keeps records for a shorter time than is asked for, or than is safe.
    fn keeps_too_little(&self, options: &Options) -> Option<Remark> {
        let millis = self.number("retention.ms").filter(|millis| *millis >= 0)?;
        let found = Duration::from_millis(millis.unsigned_abs());
        let (wanted, why) = match options.new_topic.retention {
            Some(wanted) => (wanted, "kafka.retention asks for more"),
            None if options.ack == Ack::Kafka => {
                (Retention::For(RETENTION_SHORT), "with ack: kafka nobody else has them")
            }
            None => return None,
        };
        let is_enough = matches!(wanted, Retention::For(wanted) if found >= wanted);
        let setting = retention::settings(wanted)
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>();
        (!is_enough).then(|| Remark {
            weight: Weight::Warning,
            what: format!("the topic {} keeps records for {}: {why}", options.topic, span(found)),
            fix: alter(options, &setting.join(",")),
        })
    }

    /// It is compacted, and forgets deletes after so long.
    pub fn forgets_deletes_after(&self) -> Option<Duration> {
        // Kafka's own default.
        const DEFAULT: i64 = 86_400_000;
        let settings = self.settings.as_ref()?;
        let millis = self.number("delete.retention.ms").unwrap_or(DEFAULT).unsigned_abs();
        is_compacted(settings.get(POLICY)).then_some(Duration::from_millis(millis))
    }

    /// It does not keep the copy that it begins with.
    pub fn forgets(&self, options: &Options) -> Option<Remark> {
        let limits = ["retention.ms", "retention.bytes"];
        let [time, bytes] = limits.map(|name| self.number(name).filter(|limit| *limit >= 0));
        let what = forgetting(time, bytes)?;
        Some(Remark {
            weight: Weight::Notice,
            what: format!("the topic {} forgets its records {what}. {NOT_AGAIN}", options.topic),
            fix: alter(options, "retention.ms=-1,retention.bytes=-1"),
        })
    }
}

/// Remarks on several topics, with each notice once: they have the same limits, unless somebody set others.
pub fn once(remarks: Vec<Remark>) -> Vec<Remark> {
    let (notices, mut others): (Vec<_>, Vec<_>) =
        remarks.into_iter().partition(|it| it.weight == Weight::Notice);
    let more = notices.len().saturating_sub(1);
    others.extend(notices.into_iter().next().map(|first| match more {
        0 => first,
        _ => Remark {
            what: format!(
                "{} (the same holds for other topics of this pipeline: {more})",
                first.what
            ),
            ..first
        },
    }));
    others
}

/// What follows where the first records of a topic are gone.
const NOT_AGAIN: &str = "When the copy that it begins with is gone, an emptied graph can not be filled from it again, \
                         nor a second one";

/// The command that changes a setting of the topic.
fn alter(options: &Options, setting: &str) -> String {
    let Options { brokers, topic, .. } = options;
    format!(
        "kafka-configs --bootstrap-server {brokers} --alter --topic {topic} --add-config {setting}"
    )
}

/// What is to be known of the records of a topic that is not there yet: how long `publish` will have
/// them kept, or the brokers by their default.
///
/// # Errors
/// Kafka does not answer.
pub async fn forgets_when_made(options: &Options) -> Result<Option<Remark>> {
    const DOING: &str = "the brokers' settings can not be read";
    let what = match options.new_topic.retention {
        Some(Retention::Forever) => return Ok(None),
        Some(Retention::For(time)) => Some(format!("after {}", span(time))),
        None => {
            let admin = Admin::new(options, options.topic.as_str(), DOING).await?;
            match admin.broker_settings(DOING).await? {
                Some(defaults) => retention::forgetting_by_default(&defaults),
                None => Some("when the brokers' default says so".to_owned()),
            }
        }
    };
    Ok(what.map(|what| Remark {
        weight: Weight::Notice,
        what: format!("the topic {} will forget its records {what}. {NOT_AGAIN}", options.topic),
        fix: "kafka.retention: forever".to_owned(),
    }))
}

/// Looks at the topic; `None` when there is none. Its settings are `None` if they may not be read.
pub async fn look(options: &Options) -> Result<Option<Topic>> {
    let mut found = look_at_all(options, &[&options.topic]).await?;
    Ok(found.remove(options.topic.as_str()))
}

/// Looks at these topics; those that are there, by name.
pub async fn look_at_all(
    options: &Options,
    topics: &[&TopicName],
) -> Result<BTreeMap<String, Topic>> {
    const DOING: &str = "the topic's settings can not be read";
    let (client, voice) = asking(options)?;
    let mut found = BTreeMap::new();
    for topic in topics {
        let name = topic.as_str();
        if let Some((partitions, replicas)) = partitions(&client, &voice, name).await? {
            found.insert(name.to_owned(), Topic { partitions, replicas, settings: None });
        }
    }
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let Some(first) = names.first() else { return Ok(found) };
    let admin = Admin::new(options, first, DOING).await?;
    let mut settings = admin.topics_settings(&names, DOING).await?;
    for (name, topic) in &mut found {
        topic.settings = settings.remove(name);
    }
    Ok(found)
}

/// Partitions, and the fewest replicas of one.
async fn partitions(
    client: &Arc<BaseConsumer<Voice>>,
    voice: &Voice,
    topic: &str,
) -> Result<Option<(usize, usize)>> {
    const DOING: &str = "the topic can not be looked at";
    let metadata = metadata(client, voice, topic, DOING).await?;
    let Some(topic) = metadata.topics().iter().find(|it| it.name() == topic) else {
        return Ok(None);
    };
    match topic.error().map(Code::from) {
        None => {}
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => return Ok(None),
        Some(code) => return Err(Error::new(DOING, &KafkaError::MetadataFetch(code), None)),
    }
    let partitions = topic.partitions();
    let replicas = partitions.iter().map(|it| it.replicas().len()).min().unwrap_or(0);
    Ok(Some((partitions.len(), replicas)))
}

/// Makes the topic; it is as it was made, or as somebody else has just made it.
pub async fn make(options: &Options) -> Result<Topic> {
    create(options).await?;
    appeared(options).await
}

async fn create(options: &Options) -> Result<()> {
    const DOING: &str = "the topic can not be made";
    /// What asks the cluster for its default.
    const DEFAULT_REPLICATION: i32 = -1;
    let replication = options.new_topic.replication_factor.map(i32::from);
    let replication = TopicReplication::Fixed(replication.unwrap_or(DEFAULT_REPLICATION));
    let max = MESSAGE_BYTES_MAX.to_string();
    let kept = options.new_topic.retention.map(retention::settings).unwrap_or_default();
    let partitions = i32::from(options.new_topic.partitions.unwrap_or(1));
    let mut topic = NewTopic::new(options.topic.as_str(), partitions, replication)
        .set("cleanup.policy", "delete")
        .set("message.timestamp.type", "CreateTime")
        .set("max.message.bytes", &max);
    for (name, value) in &kept {
        topic = topic.set(name, value);
    }
    if options.new_topic.replication_factor.is_some_and(|replicas| replicas > 2) {
        topic = topic.set("min.insync.replicas", "2");
    }
    let admin = Admin::new(options, options.topic.as_str(), DOING).await?;
    match admin.create(&topic, DOING).await {
        Err(error) if error.code() == Some(Code::TopicAlreadyExists) => Ok(()),
        created => created,
    }
}

/// A topic that was just made is known to all brokers a moment later.
async fn appeared(options: &Options) -> Result<Topic> {
    let started = Instant::now();
    loop {
        match look(options).await {
            Ok(Some(topic)) if topic.partitions > 0 => return Ok(topic),
            Err(error) if error.code() != Some(Code::UnknownTopicOrPartition) => return Err(error),
            _ if started.elapsed() > ANSWER_LIMIT => {
                let what = format!("the topic {} was made and is not there", options.topic);
                return Err(Error::Definite(what));
            }
            _ => sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kafka::NewTopic;

    fn options(ack: Ack, retention: Option<Retention>) -> Options {
        let topic = TopicName::new("t").unwrap();
        Options {
            ack,
            new_topic: NewTopic { retention, ..NewTopic::default() },
            ..Options::new("b:1".to_owned(), topic, "g".to_owned())
        }
    }

    fn topic(partitions: usize, settings: &[(&str, &str)]) -> Topic {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let settings = Some(settings.iter().map(owned).collect());
        Topic { partitions, replicas: 3, settings }
    }

    const LARGE: (&str, &str) = ("max.message.bytes", "67108864");

    #[test]
    fn what_breaks_transactions_is_definite() {
        let options = options(Ack::Graph, None);
        assert_eq!(topic(1, &[LARGE]).remarks(&options), []);
        assert_eq!(topic(3, &[LARGE]).remarks(&options), []);
        let compacted = topic(3, &[LARGE, ("cleanup.policy", "compact,delete")]);
        let remarks = compacted.remarks(&options);
        assert!(matches!(&remarks[..], [Remark { weight: Weight::Definite, .. }]), "{remarks:?}");
    }

    #[test]
    fn what_costs_safety_is_a_warning() {
        let day = ("retention.ms", "86400000");
        let warns = |options: &Options, topic: &Topic| {
            let remarks = topic.remarks(options);
            assert!(remarks.iter().all(|it| it.weight != Weight::Definite), "{remarks:?}");
            remarks.iter().filter(|it| it.weight == Weight::Warning).count()
        };
        let small = topic(1, &[("max.message.bytes", "1048588")]);
        assert_eq!(warns(&options(Ack::Graph, None), &small), 1);
        let short = topic(1, &[LARGE, day]);
        assert_eq!(warns(&options(Ack::Graph, None), &short), 0, "the source keeps its log");
        assert_eq!(warns(&options(Ack::Kafka, None), &short), 1);
        assert_eq!(warns(&options(Ack::Graph, Some(Retention::Forever)), &short), 1);
        let endless = topic(1, &[LARGE, ("retention.ms", "-1")]);
        assert_eq!(warns(&options(Ack::Kafka, Some(Retention::Forever)), &endless), 0);
        let alone = Topic { replicas: 1, ..endless };
        assert_eq!(warns(&options(Ack::Kafka, None), &alone), 1);
        let mut options = options(Ack::Graph, None);
        options.new_topic.partitions = Some(4);
        assert_eq!(warns(&options, &topic(4, &[LARGE])), 0);
        assert_eq!(warns(&options, &topic(1, &[LARGE])), 1, "it keeps its own");
    }

    #[test]
    fn a_topic_that_does_not_keep_its_copy_says_so_and_what_to_set() {
        let options = options(Ack::Graph, None);
        let said = |settings: &[(&str, &str)]| {
            let remarks = topic(1, &[&[LARGE], settings].concat()).remarks(&options);
            assert!(remarks.iter().all(|it| it.weight == Weight::Notice), "{remarks:?}");
            remarks.into_iter().next().map(|it| format!("{}: {}", it.what, it.fix))
        };
        let week = said(&[("retention.ms", "604800000"), ("retention.bytes", "-1")]).unwrap();
        assert!(week.contains("forgets its records after 7 days. When"), "{week}");
        let command = "kafka-configs --bootstrap-server b:1 --alter --topic t --add-config \
                       retention.ms=-1,retention.bytes=-1";
        assert!(week.ends_with(command), "{week}");
        let bytes = said(&[("retention.ms", "5400000"), ("retention.bytes", "1000")]).unwrap();
        assert!(bytes.contains("after 90 minutes and beyond 1000 bytes"), "{bytes}");
        assert_eq!(said(&[("retention.ms", "-1"), ("retention.bytes", "-1")]), None);
        assert_eq!(said(&[]), None, "what may not be read is not known");
    }
}
