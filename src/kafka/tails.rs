//! The ends of topics where each table has one: where the publisher is.
//!
//! ```text
//! heartbeats  ... heartbeat: 0/16B3740, orders up to 4, customers up to 2 | high watermark
//! orders      r r r r | r r      produced since: published again, in the same places
//! customers   r r     |
//! ```
//!
//! The last heartbeat says the position. What topics have beyond it belongs to transactions that are
//! published again, and is recognised by its places.

use std::collections::BTreeMap;

use super::{
    Error, Options, Result,
    connect::{asking, on_thread},
    identity::Described,
    tail::{PartitionTail, Reader, Tail},
};
use crate::{
    lsn::Lsn,
    topic::{ends::Ends, whose::Whose},
};

/// How many heartbeats are read to find what the last one says: others may write into the topic.
const LAST: i64 = 16;

/// What the last heartbeat says.
pub async fn last(options: &Options, heartbeats: &str) -> Result<PartitionTail> {
    let (client, voice) = asking(options)?;
    let (topic, own) = (heartbeats.to_owned(), Whose::default());
    on_thread(move || Reader::new(client, voice, topic, own).records_from(0, |end| end - LAST))
        .await?
}

/// What the ends of all topics say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tails {
    /// That of heartbeats, which has one partition.
    pub heartbeats: Tail,
    /// The tables' topics by name, with what their partitions have beyond the last heartbeat.
    pub topics: BTreeMap<String, Vec<PartitionTail>>,
}

/// What a topic has, against what the last heartbeat says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is the topic that the heartbeat means, and has what that names.
    Yes,
    /// The heartbeat does not name it, or means another one of its name.
    No,
    /// It is the topic that the heartbeat means, and has lost records: this partition ends before where it ended.
    Lost {
        /// The partition.
        partition: i32,
        /// Where it ended.
        ended: u64,
        /// Where it ends now.
        ends: u64,
    },
    /// It had another number of partitions.
    OtherCount {
        /// How many.
        before: usize,
    },
}

/// Reads the ends. Each topic is named with which one it is; that of heartbeats may not be there.
pub async fn read(
    options: &Options,
    own: &Whose,
    heartbeats: Option<&str>,
    topics: &BTreeMap<String, Described>,
) -> Result<Tails> {
    let (client, voice) = asking(options)?;
    let (heartbeats, topics) = (heartbeats.map(str::to_owned), topics.clone());
    let own = own.clone();
    on_thread(move || {
        let reader = |topic: &str| {
            Reader::new(client.clone(), voice.clone(), topic.to_owned(), own.clone())
        };
        let heartbeats = heartbeats.map(|it| reader(&it).read()).transpose()?.unwrap_or_default();
        if heartbeats.0.len() > 1 {
            return Err(Error::Definite(
                "the topic of heartbeats has several partitions, and heartbeats are in one: delete the pipeline's \
                 topics, and publish again"
                    .to_owned(),
            ));
        }
        let ends = heartbeats.0.first().and_then(|tail| tail.ends.clone());
        let mut read = BTreeMap::new();
        for (topic, described) in &topics {
            let reader = reader(topic);
            let known = ends.as_ref().and_then(|ends| ends.0.get(topic));
            let known = known.filter(|known| Some(known.id) == described.id);
            let tail = |partition: i32| {
                let from = known.and_then(|known| known.ends.get(partition as usize).copied());
                reader.partition_from(partition, from)
            };
            read.insert(topic.clone(), (0..reader.count()?).map(tail).collect::<Result<_>>()?);
        }
        Ok(Tails { heartbeats, topics: read })
    })
    .await?
}

impl Tails {
    /// Everything that is known of a partition, of all of them.
    pub fn all(&self) -> impl Iterator<Item = &PartitionTail> {
        self.heartbeats.0.iter().chain(self.topics.values().flatten())
    }

    /// A position that everything is before that any topic has.
    pub fn beyond(&self) -> Option<Lsn> {
        self.all().filter_map(PartitionTail::beyond).max()
    }

    /// Whether a topic has what the last heartbeat says of it.
    pub fn kept(&self, topic: &str, described: &Described) -> Kept {
        let ends: Option<&Ends> = self.heartbeats.0.first().and_then(|tail| tail.ends.as_ref());
        let named = ends.and_then(|ends| ends.0.get(topic));
        let Some(named) = named.filter(|named| Some(named.id) == described.id) else {
            return Kept::No;
        };
        let partitions = self.topics.get(topic).map_or(&[][..], Vec::as_slice);
        if named.ends.len() != partitions.len() {
            return Kept::OtherCount { before: named.ends.len() };
        }
        let mut ends = (0..).zip(partitions.iter().map(|tail| tail.next.unsigned_abs()));
        let lost = ends.by_ref().zip(&named.ends).find(|((_, ends), ended)| ends < *ended);
        match lost {
            None => Kept::Yes,
            Some(((partition, ends), ended)) => Kept::Lost { partition, ended: *ended, ends },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checkpoint::TopicId, topic::ends::TopicEnds};

    #[test]
    fn a_topic_that_was_made_again_or_has_lost_records_does_not_have_its_rows() {
        let at = |next: i64| PartitionTail { next, ..PartitionTail::default() };
        let ends = |topic: &str, ends: &[u64]| {
            (topic.to_owned(), TopicEnds { id: TopicId(7), ends: ends.to_vec() })
        };
        let ends = Ends(BTreeMap::from([ends("a", &[4, 2]), ends("b", &[1])]));
        let heartbeat =
            PartitionTail { end_lsn: Some(Lsn(50)), ends: Some(ends), ..PartitionTail::default() };
        let unended = PartitionTail { last_commit: Some(Lsn(70)), ..at(2) };
        let topics = [("a", vec![at(4), unended]), ("b", vec![at(0)]), ("c", vec![at(0)])];
        let topics = topics.into_iter().map(|(name, tails)| (name.to_owned(), tails)).collect();
        let tails = Tails { heartbeats: Tail(vec![heartbeat]), topics };
        let described = |id, partitions| Described { id: Some(TopicId(id)), partitions };
        assert_eq!(tails.kept("a", &described(7, 2)), Kept::Yes);
        assert_eq!(tails.kept("a", &described(8, 2)), Kept::No, "another one");
        let lost = Kept::Lost { partition: 0, ended: 1, ends: 0 };
        assert_eq!(tails.kept("b", &described(7, 1)), lost, "the heartbeat came after its records");
        assert_eq!(tails.kept("b", &described(8, 1)), Kept::No, "another one has none yet");
        assert_eq!(tails.kept("c", &described(7, 1)), Kept::No, "it was never written");
        assert_eq!(tails.beyond(), Some(Lsn(71)), "rows are read behind what is published again");
        let mut fewer = tails;
        fewer.topics.insert("a".to_owned(), vec![at(4)]);
        assert_eq!(fewer.kept("a", &described(7, 1)), Kept::OtherCount { before: 2 });
    }
}
