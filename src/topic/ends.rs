//! What a heartbeat says of topics where each table has one: where their partitions ended.
//!
//! ```text
//! orders      r r r r . . .        heartbeat: everything before 0/16B3740 is in orders up to 4, in customers up to 2
//! customers   r r . .              it is produced when all replicas have those records
//! ```
//!
//! A reader that has applied both up to there has everything before that position, even if one of them has
//! brought nothing for long. A topic is named with its id: one that is made again under its name is another one.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::{TopicId, TopicPartition},
    envelope::{Decoded, Record},
    lsn::Lsn,
};

/// The header of a heartbeat that says where the partitions of the tables' topics ended.
pub const ENDS_HEADER: &str = "wal2graph.ends";

/// Where the partitions of each topic end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends(pub BTreeMap<String, TopicEnds>);

/// Where the partitions of a topic end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicEnds {
    /// Which topic it is.
    pub id: TopicId,
    /// The offset of each partition's next record.
    pub ends: Vec<u64>,
}

/// As JSON has it.
#[derive(Deserialize, Serialize)]
struct Written {
    id: String,
    ends: Vec<u64>,
}

impl Ends {
    /// The header's value.
    pub fn text(&self) -> String {
        let written = self.0.iter().map(|(topic, TopicEnds { id, ends })| {
            (topic, Written { id: id.to_string(), ends: ends.clone() })
        });
        let written: BTreeMap<_, _> = written.collect();
        serde_json::to_string(&written).expect("names and numbers are JSON")
    }

    /// What a header's value says; `None` if it is none.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let written: BTreeMap<String, Written> = serde_json::from_slice(text).ok()?;
        let read =
            |(topic, Written { id, ends })| Some((topic, TopicEnds { id: id.parse().ok()?, ends }));
        written.into_iter().map(read).collect::<Option<_>>().map(Ends)
    }

    /// What a heartbeat says; `None` if it says nothing.
    pub fn of(record: &Record) -> Option<Self> {
        let (_, text) = record.headers.iter().find(|(name, _)| name == ENDS_HEADER)?;
        Ends::parse(text)
    }

    /// Where these partitions end. `None`: of one of them it says nothing, or of another topic of that name.
    pub fn of_partitions(&self, partitions: &[(TopicPartition, TopicId)]) -> Option<Vec<u64>> {
        let end = |(at, id): &(TopicPartition, TopicId)| {
            let topic = self.0.get(&at.topic).filter(|topic| topic.id == *id)?;
            topic.ends.get(usize::try_from(at.partition).ok()?).copied()
        };
        partitions.iter().map(end).collect()
    }
}

/// A heartbeat, as far as partitions have to be applied before it is true of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The offset after it.
    pub after: u64,
    /// What it says, once the partitions are applied up to these ends. `None`: it does not speak of all of
    /// them, as one from before a table was added.
    pub complete: Option<(Lsn, Vec<u64>)>,
}

/// Takes note of what heartbeats say of these partitions.
#[derive(Clone, Debug)]
pub struct EndsWatch {
    partitions: Arc<[(TopicPartition, TopicId)]>,
    said: Arc<Mutex<VecDeque<Said>>>,
}

impl EndsWatch {
    /// For these partitions, each with the id of its topic.
    pub fn new(partitions: Vec<(TopicPartition, TopicId)>) -> Self {
        EndsWatch { partitions: partitions.into(), said: Arc::default() }
    }

    /// The partitions, in the order of the ends.
    pub fn partitions(&self) -> &[(TopicPartition, TopicId)] {
        &self.partitions
    }

    /// The record before offset `after`.
    pub fn record(&self, after: u64, record: &Record, decoded: &Decoded) {
        let Decoded::Heartbeat { end_lsn: Some(end_lsn), .. } = decoded else { return };
        let ends = Ends::of(record).and_then(|ends| ends.of_partitions(&self.partitions));
        self.said().push_back(Said { after, complete: ends.map(|ends| (*end_lsn, ends)) });
    }

    /// What was said since the last time, before an offset.
    pub fn take(&self, before: u64) -> VecDeque<Said> {
        let mut said = self.said();
        let later = said.iter().position(|it| it.after > before).unwrap_or(said.len());
        let later = said.split_off(later);
        mem::replace(&mut said, later)
    }

    fn said(&self) -> MutexGuard<'_, VecDeque<Said>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Heartbeats that are not true of the graph yet, in their order.
#[derive(Debug, Default)]
pub struct Pending {
    said: VecDeque<Said>,
    /// The furthest position that was true.
    through: Lsn,
}

/// The maximum of kept ends. Beyond it, every second heartbeat is dropped: the next one says more.
const ENDS_MAX: usize = 1 << 18;

impl Pending {
    /// Nothing waits; the graph is complete through a position.
    pub fn new(through: Lsn) -> Self {
        Pending { said: VecDeque::new(), through }
    }

    /// One more.
    pub fn push(&mut self, said: Said) {
        let width = said.complete.as_ref().map_or(0, |(_, ends)| ends.len()) + 1;
        self.said.push_back(said);
        if self.said.len() > 2 && self.said.len() * width > ENDS_MAX {
            let mut index: usize = self.said.len();
            self.said.retain(|_| {
                index -= 1;
                index.is_multiple_of(2)
            });
        }
    }

    /// Some of them wait for partitions.
    pub fn waits(&self) -> bool {
        !self.said.is_empty()
    }

    /// Takes those that are true once the partitions are applied up to these offsets: the offset after the last
    /// of them, and the position that the graph is complete through.
    pub fn take(&mut self, applied: &[u64]) -> Option<(u64, Lsn)> {
        let is_true = |ends: &[u64]| ends.iter().zip(applied).all(|(end, applied)| applied >= end);
        let reached = self
            .said
            .iter()
            .rposition(|said| said.complete.as_ref().is_some_and(|(_, ends)| is_true(ends)));
        // Those that say nothing hold nobody up.
        let silent = self.said.iter().take_while(|said| said.complete.is_none()).count();
        let count = reached.map_or(0, |last| last + 1).max(silent);
        let count =
            count + self.said.iter().skip(count).take_while(|said| said.complete.is_none()).count();
        let mut after = None;
        for said in self.said.drain(..count) {
            after = Some(said.after);
            if let Some((lsn, ends)) = said.complete
                && is_true(&ends)
            {
                self.through = self.through.max(lsn);
            }
        }
        Some((after?, self.through))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.to_owned(), partition }
    }

    #[test]
    fn what_is_written_is_read() {
        let topic = |id, ends: &[u64]| TopicEnds { id: TopicId(id), ends: ends.to_vec() };
        let ends = Ends(BTreeMap::from([
            ("p.public.a".to_owned(), topic(7, &[4, 2])),
            ("p.public.b".to_owned(), topic(8, &[0])),
        ]));
        assert_eq!(Ends::parse(ends.text().as_bytes()), Some(ends.clone()));
        assert_eq!(Ends::parse(b"{\"a\":{\"id\":\"short\",\"ends\":[1]}}"), None);
        let of = |partitions: &[(TopicPartition, TopicId)]| ends.of_partitions(partitions);
        let (a, b) = ((at("p.public.a", 1), TopicId(7)), (at("p.public.b", 0), TopicId(8)));
        assert_eq!(of(&[b.clone(), a.clone()]), Some(vec![0, 2]));
        assert_eq!(of(&[a, (at("p.public.b", 0), TopicId(9))]), None, "it was made again");
        assert_eq!(of(&[b, (at("p.public.a", 2), TopicId(7))]), None, "it had fewer partitions");
        assert_eq!(of(&[(at("p.public.c", 0), TopicId(7))]), None, "there was none");
    }

    fn said(after: u64, complete: Option<(u64, &[u64])>) -> Said {
        Said { after, complete: complete.map(|(lsn, ends)| (Lsn(lsn), ends.to_vec())) }
    }

    #[test]
    fn a_heartbeat_is_true_once_all_partitions_are_applied_up_to_what_it_names() {
        let mut pending = Pending::new(Lsn(5));
        pending.push(said(1, None));
        assert_eq!(pending.take(&[0, 0]), Some((1, Lsn(5))), "it says nothing");
        for it in [
            said(2, Some((10, &[1, 0]))),
            said(3, None),
            said(4, Some((20, &[3, 0]))),
            said(5, Some((30, &[3, 2]))),
        ] {
            pending.push(it);
        }
        assert_eq!(pending.take(&[0, 9]), None);
        assert_eq!(pending.take(&[2, 0]), Some((3, Lsn(10))), "an idle partition holds nobody up");
        assert_eq!(pending.take(&[3, 1]), Some((4, Lsn(20))));
        assert_eq!(pending.take(&[9, 1]), None);
        assert_eq!(pending.take(&[9, 2]), Some((5, Lsn(30))));
        assert!(!pending.waits());
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_last_one_stays() {
        let mut pending = Pending::default();
        let ends = vec![1; 1_000];
        for after in 0..10_000 {
            pending.push(said(after, Some((after, &ends))));
        }
        assert!(pending.said.len() * ends.len() <= 2 * ENDS_MAX);
        assert_eq!(pending.take(&ends), Some((9_999, Lsn(9_999))));
    }
}
