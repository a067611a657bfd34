//! Which partition gets a record.
//!
//! ```text
//! a row's record      murmur2(key) modulo the number of partitions: one partition for each key
//! TRUNCATE            every partition
//! message             murmur2(key) modulo the number of partitions: one partition for each prefix;
//!                     where each table has a topic, the topic of messages
//! heartbeat           every partition; where each table has a topic, the topic of heartbeats
//! gap                 every partition of every topic
//! ```
//!
//! So the records of one key stand in the order of their commits, and whoever reads one partition
//! meets everything that is about its keys. The number of partitions is fixed while a producer
//! lives: with another one keys would go on elsewhere, and their order would be lost.

use std::{collections::HashMap, ops::Range, sync::Arc};

use crate::{
    change::{Change, Relation},
    envelope::{Record, payload},
};

/// How many partitions a topic has: one, or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partitions(i32);

impl Partitions {
    /// The order of commits is the order of records.
    pub const ONE: Partitions = Partitions(1);

    /// `None` if a topic can not have so many.
    pub fn new(count: usize) -> Option<Self> {
        i32::try_from(count).ok().filter(|count| *count > 0).map(Partitions)
    }

    /// How many.
    pub fn count(self) -> usize {
        self.0 as usize
    }

    /// Whether there is only one.
    pub fn is_one(self) -> bool {
        self.0 == 1
    }

    /// Their numbers.
    pub fn all(self) -> Range<i32> {
        0..self.0
    }

    /// The partition of a key: where the default partitioner of Kafka's own clients puts it.
    pub fn of_key(self, key: &[u8]) -> i32 {
        (murmur2(key) & 0x7fff_ffff) as i32 % self.0
    }
}

/// The topics that are written, and whose records go where.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Over how many partitions each topic spreads its keys.
    topics: Arc<[Partitions]>,
    /// Which topic each table has, by object id; `None`: the only one has all.
    of_table: Option<Arc<HashMap<u32, usize>>>,
    /// The place of the topic that has logical messages, if they are written.
    messages: Option<usize>,
}

/// The place of the topic of heartbeats where each table has a topic.
const HEARTBEATS: usize = 0;

/// A record that no topic takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unroutable {
    /// It has no key, and there are several partitions.
    NoKey,
    /// Its table has no topic yet.
    NoTopic,
}

impl Layout {
    /// One topic has all.
    pub fn one(partitions: Partitions) -> Self {
        Layout { topics: [partitions].into(), of_table: None, messages: Some(0) }
    }

    /// Each table has a topic, by object id. Heartbeats have the first one; messages have the last one,
    /// if they are written.
    pub fn by_table(
        tables: impl IntoIterator<Item = (u32, Partitions)>,
        messages: Option<Partitions>,
    ) -> Self {
        let mut topics = vec![Partitions::ONE];
        let mut of_table = HashMap::new();
        for (table, partitions) in tables {
            of_table.insert(table, topics.len());
            topics.push(partitions);
        }
        let place = messages.map(|_| topics.len());
        topics.extend(messages);
        Layout { topics: topics.into(), of_table: Some(Arc::new(of_table)), messages: place }
    }

    /// Over how many partitions a topic spreads its keys.
    pub fn partitions(&self, topic: usize) -> Partitions {
        self.topics[topic]
    }

    /// Over how many partitions a table's keys are spread; `None`: it has no topic.
    pub fn partitions_of(&self, table: u32) -> Option<Partitions> {
        self.topic_of(table).map(|topic| self.topics[topic])
    }

    /// The order of commits is the order of records.
    pub fn keeps_order(&self) -> bool {
        self.of_table.is_none() && self.topics[0].is_one()
    }

    /// Each table has a topic.
    pub fn is_by_table(&self) -> bool {
        self.of_table.is_some()
    }

    fn topic_of(&self, table: u32) -> Option<usize> {
        match &self.of_table {
            None => Some(0),
            Some(of_table) => of_table.get(&table).copied(),
        }
    }

    /// Where a record of a row goes: to the partition of its key, whatever schema block the key has.
    ///
    /// # Errors
    /// No topic takes it.
    pub fn row(&self, record: Record, relation: &Relation) -> Result<Routed, Unroutable> {
        let topic = self.topic_of(relation.oid).ok_or(Unroutable::NoTopic)?;
        let routed = Routed::by_key(record, self.topics[topic]).ok_or(Unroutable::NoKey)?;
        Ok(Routed { topic, ..routed })
    }

    /// Where the records of a change go. The `index` is that among them. `None`: it is a message, and no
    /// topic has those.
    ///
    /// # Errors
    /// No topic takes one of them.
    pub fn change(
        &self,
        change: &Change,
        index: usize,
        record: Record,
    ) -> Result<Option<Routed>, (Unroutable, Arc<Relation>)> {
        match change {
            Change::Message { .. } => Ok(self.messages.map(|topic| {
                let routed = Routed::by_its_key(record, self.topics[topic]);
                Routed { topic, ..routed }
            })),
            Change::Truncate { relations } => {
                // Each of its tables has a record, in their order.
                let relation = &relations[index.min(relations.len() - 1)];
                let topic = self.topic_of(relation.oid);
                let topic = topic.ok_or_else(|| (Unroutable::NoTopic, relation.clone()))?;
                Ok(Some(Routed { topic, ..Routed::to_all(record) }))
            }
            Change::Insert { relation, .. }
            | Change::Update { relation, .. }
            | Change::Delete { relation, .. } => {
                let routed = self.row(record, relation);
                routed.map(Some).map_err(|why| (why, relation.clone()))
            }
        }
    }

    /// Where a heartbeat goes.
    pub fn heartbeat(&self, record: Record) -> Routed {
        match self.is_by_table() {
            true => Routed { record, topic: HEARTBEATS, to: To::Behind },
            false => Routed::to_all(record),
        }
    }

    /// A record for every partition of every topic. A topic of heartbeats comes last, once the others have it.
    pub fn everywhere(&self, record: Record) -> Vec<Routed> {
        let first = self.heartbeat(record.clone());
        let others = 1..self.topics.len();
        let others = others.map(|topic| Routed { topic, ..Routed::to_all(record.clone()) });
        others.chain([first]).collect()
    }
}

/// Who gets a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// One partition.
    One(i32),
    /// Every partition of the topic.
    All,
    /// The only partition of the topic, once all replicas have every record before it: with where the other
    /// topics end then.
    Behind,
}

/// A record with where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// The record.
    pub record: Record,
    /// The place of its topic.
    pub topic: usize,
    /// Where it goes there.
    pub to: To,
}

impl Routed {
    /// To the partition of its key, whatever schema block the key has: that changes with the table and
    /// with the format, and the key stays where it is. `None`: it has no key, and there are several partitions.
    fn by_key(record: Record, partitions: Partitions) -> Option<Self> {
        let to = match &record.key {
            Some(key) => To::One(partitions.of_key(payload(key))),
            None if partitions.is_one() => To::All,
            None => return None,
        };
        Some(Routed { record, topic: 0, to })
    }

    /// The same of a record that has a key always.
    fn by_its_key(record: Record, partitions: Partitions) -> Self {
        let key = record.key.as_deref().unwrap_or_default();
        let to = To::One(partitions.of_key(payload(key)));
        Routed { record, topic: 0, to }
    }

    /// To every partition.
    fn to_all(record: Record) -> Self {
        Routed { record, topic: 0, to: To::All }
    }
}

/// MurmurHash2 of 32 bits, with the seed that Kafka has.
fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    const SHIFT: u32 = 24;
    let (words, rest) = key.as_chunks::<4>();
    // Kafka's keys are below 2 GiB.
    let mut hash = SEED ^ key.len() as u32;
    for word in words {
        let mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        let mixed = (mixed ^ (mixed >> SHIFT)).wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed;
    }
    for (place, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * place);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_go_where_other_clients_put_them() {
        // As Kafka's own clients hash these.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
        let four = Partitions::new(4).unwrap();
        assert_eq!(four.of_key(b"21"), (-973_932_308_i32 & 0x7fff_ffff) % 4);
        assert_eq!((Partitions::new(0), Partitions::ONE.of_key(b"21")), (None, 0));
    }

    #[test]
    fn a_record_for_all_is_in_the_topic_of_heartbeats_last() {
        let places = |layout: &Layout| {
            let routed = layout.everywhere(Record::default());
            routed.iter().map(|it| (it.topic, it.to)).collect::<Vec<_>>()
        };
        let two = Partitions::new(2).unwrap();
        assert_eq!(places(&Layout::one(two)), [(0, To::All)]);
        let by_table = Layout::by_table([(7, two), (8, Partitions::ONE)], Some(Partitions::ONE));
        let all = [(1, To::All), (2, To::All), (3, To::All), (0, To::Behind)];
        assert_eq!(places(&by_table), all);
    }

    #[test]
    fn what_has_no_key_goes_nowhere_unless_it_goes_everywhere() {
        let four = Partitions::new(4).unwrap();
        let keyed = Record { key: Some("21".into()), ..Record::default() };
        let to = |record: &Record, partitions| {
            Routed::by_key(record.clone(), partitions).map(|routed| routed.to)
        };
        assert_eq!(to(&keyed, four), Some(To::One(four.of_key(b"21"))));
        let schema = b"{\"schema\":{\"type\":\"struct\"},\"payload\":21}";
        let with_schema = Record { key: Some(schema[..].into()), ..Record::default() };
        assert_eq!(to(&with_schema, four), to(&keyed, four), "with a schema block");
        assert_eq!(to(&keyed, Partitions::ONE), Some(To::One(0)));
        assert_eq!(to(&Record::default(), four), None);
        assert_eq!(to(&Record::default(), Partitions::ONE), Some(To::All));
        assert_eq!(Routed::to_all(keyed).to, To::All);
    }
}
