//! Which partition gets a record.
//!
//! ```text
//! a row's record      murmur2(key) modulo the number of partitions: one partition for each key
//! TRUNCATE, heartbeat every partition
//! ```
//!
//! So the records of one key stand in the order of their commits, and whoever reads one partition
//! meets everything that is about its keys. The number of partitions is fixed while a producer
//! lives: with another one keys would go on elsewhere, and their order would be lost.

use std::ops::Range;

use crate::envelope::{Record, payload};

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

/// Who gets a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// One partition.
    One(i32),
    /// Every partition.
    All,
}

/// A record with where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// The record.
    pub record: Record,
    /// Where it goes.
    pub to: To,
}

impl Routed {
    /// To the partition of its key, whatever schema block the key has: that changes with the table and
    /// with the format, and the key stays where it is. `None`: it has no key, and there are several partitions.
    pub fn by_key(record: Record, partitions: Partitions) -> Option<Self> {
        let to = match &record.key {
            Some(key) => To::One(partitions.of_key(payload(key))),
            None if partitions.is_one() => To::All,
            None => return None,
        };
        Some(Routed { record, to })
    }

    /// The same of a record that has a key always.
    pub fn by_its_key(record: Record, partitions: Partitions) -> Self {
        let key = record.key.as_deref().unwrap_or_default();
        let to = To::One(partitions.of_key(payload(key)));
        Routed { record, to }
    }

    /// To every partition.
    pub fn to_all(record: Record) -> Self {
        Routed { record, to: To::All }
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
