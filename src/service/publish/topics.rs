//! The topics of a publisher: which there should be, made where they are missing, and what their ends say.
//!
//! ```text
//! topics_by: pipeline    <topic>                                         every partition names positions
//! topics_by: table       <topic>.heartbeats, <topic>.<schema>.<table>    heartbeats name the ends of the others
//!                        <topic>.message                                 with `messages: true`
//! ```
//!
//! Where each table has a topic, a table counts as copied only while its topic is the one that the last
//! heartbeat means. One that is new, or was made again, gets a copy of its table. One that ends before where that
//! heartbeat has seen it end lost records, which nobody publishes again: the publisher stops.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio_postgres::Client;

use crate::{
    catalog::{Catalog, TableName},
    checkpoint::TopicPartition,
    config::Config,
    kafka::{
        Options,
        identity::Described,
        offsets::Asking,
        producer::ProducedTo,
        tail::{self, PartitionTail, Tail},
        tails::{self, Kept, Tails},
        topic::{self, Weight},
    },
    lsn::Lsn,
    mapping::{Mapping, TableColumns},
    postgres,
    service::{ServiceError, apply::topology, facts::written},
    start::{Anew, TopicRefusal, Written},
    topic::TopicName,
    topic::{
        copied::Before,
        names::TableTopics,
        routing::{Layout, Partitions},
    },
};

use super::{before::FromBefore, whose::own};

/// How often a topic that was there is looked for before it is held for gone.
const LOOKS: u32 = 10;
/// The pause between these looks.
const PAUSE: Duration = Duration::from_millis(500);

/// The topics that should be there.
#[derive(Clone)]
pub struct Wanted {
    /// That of all tables, or that of heartbeats.
    first: TopicName,
    /// The tables with topics of their own, by object id. In the order of the layout.
    tables: Vec<(u32, TopicName)>,
    /// That of logical messages, if they have one of their own.
    messages: Option<TopicName>,
    is_by_table: bool,
}

impl Wanted {
    /// Of the mapped tables, and of others that the publication has.
    pub async fn of(
        config: &Config,
        client: &Client,
        catalog: &Catalog,
        mapping: Option<&Mapping>,
    ) -> Result<Self, ServiceError> {
        let kafka = config.kafka()?;
        if !kafka.is_by_table() {
            let first = kafka.topic.clone();
            return Ok(Wanted { first, tables: Vec::new(), messages: None, is_by_table: false });
        }
        let publication = postgres::setup::publication(client, &config.publication).await?;
        let published = publication.map(|it| it.tables).unwrap_or_default();
        let names: BTreeSet<&TableName> =
            mapping.into_iter().flat_map(Mapping::published_tables).chain(&published).collect();
        let TableTopics { heartbeats: first, tables } =
            TableTopics::new(&kafka.topic, names).map_err(ServiceError::topic_name)?;
        let oid = |name: &TableName| catalog.table(name).map(|table| table.oid);
        let tables = tables.into_iter().filter_map(|(name, topic)| Some((oid(&name)?, topic)));
        let messages = kafka.messages_topic().map_err(ServiceError::topic_name)?;
        Ok(Wanted { first, tables: tables.collect(), messages, is_by_table: true })
    }

    /// All of them, in the order of the layout.
    fn names(&self) -> impl Iterator<Item = &TopicName> {
        std::iter::once(&self.first).chain(self.spoken_of())
    }

    /// The topic of a table.
    fn topic_of(&self, table: u32) -> &TopicName {
        let own = self.tables.iter().find(|(oid, _)| *oid == table);
        own.map_or(&self.first, |(_, topic)| topic)
    }

    /// Those that heartbeats speak of, where each table has one.
    fn spoken_of(&self) -> impl Iterator<Item = &TopicName> {
        self.tables.iter().map(|(_, topic)| topic).chain(&self.messages)
    }

    /// Those that are there, where others are to be made: what they say may refuse the start, and a refused start
    /// makes no topic.
    pub async fn before_making(
        &self,
        kafka: &Options,
        asking: &Asking,
    ) -> Result<Option<Topics>, ServiceError> {
        let all: Vec<&TopicName> = self.names().collect();
        // This client hears why a broker does not answer: a certificate, a password.
        let found = topic::look_at_all(kafka, &all).await?;
        match found.is_empty() || found.len() == all.len() {
            true => Ok(None),
            false => self.clone().look(asking).await,
        }
    }

    /// Looks at all of them, makes those that are missing, and logs settings that are not as they should be.
    /// A life before has written to `written`: if one of those is gone, its records are gone, too.
    pub async fn make(
        self,
        kafka: &Options,
        asking: &Asking,
        written: &BTreeMap<String, Described>,
        mapping: &Mapping,
    ) -> Result<Topics, ServiceError> {
        let all: Vec<&TopicName> = self.names().collect();
        let mut found = topic::look_at_all(kafka, &all).await?;
        let mut looks = 0;
        // A broker that has just come back may not know all topics yet.
        // The topic of a table that was dropped is not looked for.
        let is_looked_for = |name: &&String| all.iter().any(|it| it.as_str() == **name);
        while let Some(gone) =
            written.keys().filter(is_looked_for).find(|name| !found.contains_key(*name))
        {
            if looks == LOOKS {
                return Err(TopicRefusal::Gone { topic: gone.clone() }.into());
            }
            tokio::time::sleep(PAUSE).await;
            looks += 1;
            found = topic::look_at_all(kafka, &all).await?;
        }
        // A refused start makes no topic.
        let planned = usize::from(kafka.new_topic.partitions.unwrap_or(1));
        let is_spread = |table: &TableColumns| {
            let topic = self.topic_of(table.oid);
            found.get(topic.as_str()).map_or(planned, |topic| topic.partitions) > 1
        };
        let refusals = mapping.refusals_of_keys(is_spread);
        if !refusals.is_empty() {
            return Err(ServiceError::Refused(refusals));
        }
        let (mut message_bytes_max, mut remarks) = (0, Vec::new());
        for name in &all {
            let options = kafka.of_topic(name);
            let topic = match found.remove(name.as_str()) {
                Some(topic) => topic,
                None => {
                    let topic = topic::make(&options).await?;
                    let (partitions, replicas) = (topic.partitions, topic.replicas);
                    tracing::info!(topic = %name, partitions, replicas, "topic created");
                    topic
                }
            };
            topic.check(&options)?;
            remarks.extend(topic.remarks(&options));
            message_bytes_max = message_bytes_max.max(topic.message_bytes_max());
        }
        for topic::Remark { weight, what, fix } in topic::once(remarks) {
            match weight {
                Weight::Notice if !written.is_empty() => {}
                Weight::Notice => tracing::info!(fix, "{what}"),
                Weight::Warning | Weight::Definite => tracing::warn!(fix, "{what}"),
            }
        }
        let names: Vec<&str> = all.iter().map(|name| name.as_str()).collect();
        let described = asking.describe(&names).await?;
        for name in &names {
            let described = described.get(*name).ok_or_else(|| topology::gone(name))?;
            self.check(name, described, written.get(*name))?;
        }
        Topics::new(self, described, message_bytes_max)
    }

    /// Those of them that are there, if one is.
    pub async fn look(mut self, asking: &Asking) -> Result<Option<Topics>, ServiceError> {
        let names: Vec<&str> = self.names().map(TopicName::as_str).collect();
        let described = asking.describe(&names).await?;
        let is_there = |name: &TopicName| described.contains_key(name.as_str());
        self.tables.retain(|(_, name)| is_there(name));
        self.messages = self.messages.filter(is_there);
        match described.is_empty() {
            true => Ok(None),
            false => Ok(Some(Topics::new(self, described, 0)?)),
        }
    }

    fn check(
        &self,
        name: &str,
        described: &Described,
        written: Option<&Described>,
    ) -> Result<(), ServiceError> {
        if self.is_by_table && described.id.is_none() {
            return Err(TopicRefusal::NoIds.into());
        }
        if written
            .is_some_and(|it| it.id.is_some() && described.id.is_some() && it.id != described.id)
        {
            return Err(TopicRefusal::MadeAgain { topic: name.to_owned() }.into());
        }
        Ok(())
    }
}

/// The topics that are there.
pub struct Topics {
    /// Whose records go where.
    pub layout: Layout,
    /// Which they are.
    pub described: BTreeMap<String, Described>,
    /// The largest record that one of them takes.
    pub message_bytes_max: usize,
    wanted: Wanted,
}

/// The ends of the topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Of the one topic, by its name.
    Of(String, Tail),
    /// Of all, and the name of that of heartbeats.
    OfAll(String, Tails),
}

impl Topics {
    fn new(
        wanted: Wanted,
        described: BTreeMap<String, Described>,
        message_bytes_max: usize,
    ) -> Result<Self, ServiceError> {
        let partitions = |name: &TopicName| {
            let count = described.get(name.as_str()).map_or(0, |it| it.partitions);
            let none = || ServiceError::NotYet(format!("the topic {name} has no partitions yet"));
            Partitions::new(count as usize).ok_or_else(none)
        };
        let layout = match wanted.is_by_table {
            false => Layout::one(partitions(&wanted.first)?),
            true => {
                let tables =
                    wanted.tables.iter().map(|(table, name)| Ok((*table, partitions(name)?)));
                let messages = wanted.messages.as_ref().map(partitions).transpose()?;
                Layout::by_table(tables.collect::<Result<Vec<_>, ServiceError>>()?, messages)
            }
        };
        Ok(Topics { layout, described, message_bytes_max, wanted })
    }

    /// Reads what their ends say.
    pub async fn ends(&self, config: &Config) -> Result<Ends, ServiceError> {
        let (kafka, own) = (config.kafka()?, own(config));
        let first = &self.wanted.first;
        if !self.wanted.is_by_table {
            let tail = tail::read_of(kafka, &own).await?;
            // A topic without partitions is being made, or deleted.
            tail.partitions()?;
            return Ok(Ends::Of(first.to_string(), tail));
        }
        let described = |name: &TopicName| {
            Some((name.as_str().to_owned(), *self.described.get(name.as_str())?))
        };
        let others = self.wanted.spoken_of().filter_map(described).collect();
        let heartbeats = self.described.contains_key(first.as_str()).then(|| first.as_str());
        let tails = tails::read(kafka, &own, heartbeats, &others).await?;
        Ok(Ends::OfAll(first.to_string(), tails))
    }

    /// The tables whose rows are in their topics, by object id.
    ///
    /// # Errors
    /// A topic has another number of partitions than when it was written, or lost records since. A copy would not
    /// make these good: a row that they deleted is in none.
    pub fn copied(&self, config: &Config, ends: &Ends) -> Result<Vec<u32>, ServiceError> {
        let Ends::OfAll(_, tails) = ends else { return Ok(ends.tail().copied()) };
        let mut copied = tails.heartbeats.copied();
        let tables = self.wanted.tables.iter().map(|(table, name)| (Some(*table), name));
        // No row waits for messages, but their keys must stay in their partitions, too.
        let messages = self.wanted.messages.iter().map(|name| (None, name));
        for (table, name) in tables.chain(messages) {
            let Some(described) = self.described.get(name.as_str()) else { continue };
            match tails.kept(name.as_str(), described) {
                Kept::Yes => {}
                Kept::No => copied.retain(|it| Some(*it) != table),
                Kept::Lost { partition, ended, ends: end } => {
                    let at = TopicPartition { topic: name.to_string(), partition };
                    let anew = Anew(ends.written(config)?);
                    return Err(TopicRefusal::Lost { at, ended, end, anew }.into());
                }
                Kept::OtherCount { before } => {
                    let (topic, count) = (name.to_string(), described.partitions as usize);
                    let anew = Anew(ends.written(config)?);
                    return Err(TopicRefusal::OtherCount { topic, count, before, anew }.into());
                }
            }
        }
        Ok(copied)
    }

    /// What they have of tables from before, where `copied` are in them now.
    pub fn from_before(
        &self,
        ends: &Ends,
        (catalog, mapping): (&Catalog, &Mapping),
        copied: &[u32],
    ) -> FromBefore {
        let named = ends.tail().0.iter().filter_map(|tail| tail.copied.as_ref()).flatten();
        let there: BTreeSet<u32> = catalog.tables.iter().map(|table| table.oid).collect();
        let before = Before::new(named.copied(), copied, |oid| there.contains(&oid));
        let written = |table: u32| {
            let Ends::OfAll(_, tails) = ends else { return None };
            let topic = self.wanted.tables.iter().find(|(oid, _)| *oid == table)?;
            let tails = tails.topics.get(topic.1.as_str());
            Some(tails.is_some_and(|tails| tails.iter().any(PartitionTail::was_written)))
        };
        let is_again = |name: &&TableName| {
            catalog.table(name).is_some_and(|table| {
                !copied.contains(&table.oid) && before.may_have(table.oid, written(table.oid))
            })
        };
        let again = mapping.published_tables().filter(is_again).cloned().collect();
        FromBefore { again, gone: before.gone }
    }

    /// The topics for the producer.
    pub fn produced_to(&self, ends: &Ends) -> Vec<ProducedTo> {
        let next = |partitions: &[PartitionTail]| partitions.iter().map(|it| it.next).collect();
        let first = self.wanted.first.as_str().to_owned();
        let own = ProducedTo { name: first, id: None, next: next(&ends.tail().0) };
        let Ends::OfAll(_, tails) = ends else { return vec![own] };
        let spoken_of = |name: &TopicName| {
            let name = name.as_str();
            ProducedTo {
                name: name.to_owned(),
                id: self.described.get(name).and_then(|described| described.id),
                next: tails.topics.get(name).map(|tails| next(tails)).unwrap_or_default(),
            }
        };
        std::iter::once(own).chain(self.wanted.spoken_of().map(spoken_of)).collect()
    }
}

impl Ends {
    /// The topics that are written, by the names that their ends have.
    pub fn written(&self, config: &Config) -> Result<Written, ServiceError> {
        let mut written = written(config, None)?;
        let position = written.position();
        if let (Written::OfTables { names, .. }, Ends::OfAll(_, tails)) = (&mut written, self) {
            names.push(position);
            names.extend(tails.topics.keys().cloned());
        }
        Ok(written)
    }

    /// The end that says positions.
    pub fn tail(&self) -> &Tail {
        match self {
            Ends::Of(_, tail) => tail,
            Ends::OfAll(_, tails) => &tails.heartbeats,
        }
    }

    /// What is known of all partitions.
    pub fn all(&self) -> Box<dyn Iterator<Item = &PartitionTail> + '_> {
        match self {
            Ends::Of(_, tail) => Box::new(tail.0.iter()),
            Ends::OfAll(_, tails) => Box::new(tails.all()),
        }
    }

    /// The same, each with which partition it is.
    pub fn partitions(&self) -> Vec<(TopicPartition, &PartitionTail)> {
        let of = |topic: &str, tails: &'_ [PartitionTail]| -> Vec<TopicPartition> {
            let numbers = (0..tails.len()).filter_map(|number| i32::try_from(number).ok());
            numbers.map(|partition| TopicPartition { topic: topic.to_owned(), partition }).collect()
        };
        let (name, tail) = match self {
            Ends::Of(name, tail) => (name, tail),
            Ends::OfAll(name, tails) => (name, &tails.heartbeats),
        };
        let mut found: Vec<_> = of(name, &tail.0).into_iter().zip(&tail.0).collect();
        if let Ends::OfAll(_, tails) = self {
            for (name, tails) in &tails.topics {
                found.extend(of(name, tails).into_iter().zip(tails));
            }
        }
        found
    }

    /// A table's topic that has had records, with what is known of its partitions.
    pub fn written_table(&self) -> Option<(&str, &[PartitionTail])> {
        let Ends::OfAll(_, tails) = self else { return None };
        let mut topics = tails.topics.iter();
        let written = topics.find(|(_, tails)| tails.iter().any(PartitionTail::was_written));
        written.map(|(name, tails)| (name.as_str(), tails.as_slice()))
    }

    /// Up to where rows of a copy may be, as far as heartbeats say it.
    pub fn read_through(&self) -> Lsn {
        self.all().filter_map(|tail| tail.read_through).max().unwrap_or_default()
    }

    /// A position that everything is before that any topic has.
    pub fn beyond(&self) -> Option<Lsn> {
        match self {
            Ends::Of(_, tail) => tail.beyond(),
            Ends::OfAll(_, tails) => tails.beyond(),
        }
    }
}
