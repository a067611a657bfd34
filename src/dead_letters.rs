//! Dead letters of a topic: records that could not be read and were put aside, and what became of
//! them since.
//!
//! ```text
//! dead-letter topic:  letter A | letter B | letter A again | A is handled | letter C
//!                                                              --Letters--> waiting: B, C
//! ```
//!
//! Kafka deletes no single record. So a letter that is handled gets a mark: one more record of the
//! topic, which names it. Letters and marks are two sets, and what waits is their difference. The
//! order does not count, nor how often something came: the same letter comes twice after a crash,
//! from two pipelines that read one topic, and from a replay. It is the same one if its place and
//! its bytes are. A topic that is made again has the same places again, so Kafka's id of the topic
//! belongs to a place. Letters of builds before this was kept, and of brokers without ids, have none.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use bytes::Bytes;

use crate::{
    change::Timestamp,
    checkpoint::{TopicId, TopicPartition},
    envelope::Record,
};

pub use crate::envelope::Digest;

/// Which topic it was: Kafka's id. It stands before the others, of which older builds read the last.
const TOPIC_ID_HEADER: &str = "wal2graph.topic_id";
/// The topic that the record is from.
const TOPIC_HEADER: &str = "wal2graph.topic";
/// Its partition.
const PARTITION_HEADER: &str = "wal2graph.partition";
/// Its offset there.
const OFFSET_HEADER: &str = "wal2graph.offset";
/// Why it could not be read: the last header of a letter.
const ERROR_HEADER: &str = "wal2graph.error";
/// Which record it was, since a topic that is made again has the same offsets again.
const DIGEST_HEADER: &str = "wal2graph.digest";
/// What was done with it: the last header of a mark.
const HANDLED_HEADER: &str = "wal2graph.handled";

/// Where the record stood that became a dead letter. Its text is the letter's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its topic and partition.
    pub at: TopicPartition,
    /// Its offset there.
    pub offset: u64,
    /// Which topic of that name it was; `None` if that is not known.
    pub topic_id: Option<TopicId>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.at.topic, self.at.partition, self.offset)
    }
}

impl Place {
    /// The name that no letter of another topic has.
    pub fn whole_name(&self) -> String {
        match self.topic_id {
            Some(id) => format!("{self}@{id}"),
            None => format!("{self}@unknown"),
        }
    }

    /// Both have the same name, and are of different topics.
    fn is_like(&self, other: &Place) -> bool {
        (&self.at, self.offset) == (&other.at, other.offset) && self.topic_id != other.topic_id
    }
}

fn place(id: Option<&str>, topic: &str, partition: &str, offset: &str) -> Option<Place> {
    let partition = partition.parse().ok().filter(|it: &i32| *it >= 0)?;
    let at = TopicPartition { topic: topic.to_owned(), partition };
    let topic_id = id.map(str::parse).transpose().ok()?;
    Some(Place { at, offset: offset.parse().ok()?, topic_id })
}

/// What was done with a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It was put back into its topic.
    Retried,
    /// It was given up.
    Dropped,
}

impl Handled {
    fn name(self) -> &'static str {
        match self {
            Handled::Retried => "retried",
            Handled::Dropped => "dropped",
        }
    }
}

/// Which letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// Where the record stood.
    pub place: Place,
    /// Which record it was.
    pub digest: Digest,
}

/// How many headers make a letter of a record, without the topic's id.
const LETTER_HEADERS: usize = 4;

/// The headers that make a letter of a record, in their order: they follow its own.
pub fn letter_headers(place: &Place, why: &str) -> Vec<(&'static str, String)> {
    let error = (ERROR_HEADER, why.to_owned());
    place_headers(place).chain([error]).collect()
}

/// The mark that a letter is handled: a record of headers alone.
pub fn mark(id: &Id, handled: Handled) -> Record {
    let digest = (DIGEST_HEADER, format!("{:016x}", id.digest.0));
    let handled = (HANDLED_HEADER, handled.name().to_owned());
    let headers = place_headers(&id.place).chain([digest, handled]);
    let headers = headers.map(|(name, value)| (name.to_owned(), Bytes::from(value)));
    Record { key: None, value: None, headers: headers.collect() }
}

fn place_headers(place: &Place) -> impl Iterator<Item = (&'static str, String)> {
    let id = place.topic_id.map(|id| (TOPIC_ID_HEADER, id.to_string()));
    let rest = [
        (TOPIC_HEADER, place.at.topic.clone()),
        (PARTITION_HEADER, place.at.partition.to_string()),
        (OFFSET_HEADER, place.offset.to_string()),
    ];
    id.into_iter().chain(rest)
}

/// What a record of the dead-letter topic is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A letter: where the record stood, why it could not be read, and the record as it came.
    Letter {
        /// Where it stood.
        place: Place,
        /// Why it could not be read.
        why: String,
        /// As it came.
        record: Record,
    },
    /// A letter is handled.
    Handled(Id),
    /// Somebody else's record.
    Foreign,
}

impl Entry {
    /// Reads a record. What is ours stands behind the record's own headers.
    pub fn of(mut record: Record) -> Self {
        if let Some(id) = handled(&record.headers) {
            return Entry::Handled(id);
        }
        match letter(&record.headers) {
            Some((place, why)) => {
                let ours = LETTER_HEADERS + usize::from(place.topic_id.is_some());
                record.headers.truncate(record.headers.len() - ours);
                Entry::Letter { place, why, record }
            }
            None => Entry::Foreign,
        }
    }
}

fn letter(headers: &[(String, Bytes)]) -> Option<(Place, String)> {
    match last::<LETTER_HEADERS>(headers)? {
        (
            [
                (TOPIC_HEADER, topic),
                (PARTITION_HEADER, partition),
                (OFFSET_HEADER, offset),
                (ERROR_HEADER, why),
            ],
            before,
        ) => Some((place(topic_id(before), topic, partition, offset)?, why.to_owned())),
        _ => None,
    }
}

fn handled(headers: &[(String, Bytes)]) -> Option<Id> {
    match last(headers)? {
        (
            [
                (TOPIC_HEADER, topic),
                (PARTITION_HEADER, partition),
                (OFFSET_HEADER, offset),
                (DIGEST_HEADER, digest),
                (HANDLED_HEADER, _),
            ],
            before,
        ) => {
            let digest = Digest(u64::from_str_radix(digest, 16).ok()?);
            Some(Id { place: place(topic_id(before), topic, partition, offset)?, digest })
        }
        _ => None,
    }
}

/// The topic's id in the last of these headers, if it is one.
fn topic_id(headers: &[(String, Bytes)]) -> Option<&str> {
    let (name, value) = headers.last()?;
    let text = std::str::from_utf8(value).ok()?;
    let is_one = name == TOPIC_ID_HEADER && text.parse::<TopicId>().is_ok();
    is_one.then_some(text)
}

/// Names and texts of the last headers, and those before.
type Last<'h, const N: usize> = ([(&'h str, &'h str); N], &'h [(String, Bytes)]);

/// The last headers, if they are texts.
fn last<const N: usize>(headers: &[(String, Bytes)]) -> Option<Last<'_, N>> {
    let (before, last) = headers.split_last_chunk::<N>()?;
    let mut texts = [("", ""); N];
    for (text, (name, value)) in texts.iter_mut().zip(last) {
        *text = (name, std::str::from_utf8(value).ok()?);
    }
    Some((texts, before))
}

/// A letter, without its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Why the record could not be read.
    pub why: String,
    /// When the record was produced.
    pub produced: Option<Timestamp>,
    /// The size of key and value.
    pub bytes: usize,
    /// Where the letter stands in the dead-letter topic: partition and offset.
    pub kept: (i32, u64),
}

/// The letters of a topic, as far as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letters {
    waiting: BTreeMap<Id, Letter>,
    /// Partition and topic, digest, and offset of each.
    handled: BTreeSet<HandledKey>,
}

type HandledKey = (TopicPartition, Option<TopicId>, Digest, u64);

impl Letters {
    /// Takes a record of the dead-letter topic: where it stands, when it was produced.
    pub fn take(&mut self, kept: (i32, u64), produced: Option<Timestamp>, record: Record) {
        match Entry::of(record) {
            Entry::Letter { place, why, record } => {
                let id = Id { place, digest: Digest::of(&record) };
                let length = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
                let bytes = length(&record.key) + length(&record.value);
                if !self.handled.contains(&handled_key(&id)) {
                    self.waiting.insert(id, Letter { why, produced, bytes, kept });
                }
            }
            Entry::Handled(id) => {
                self.waiting.remove(&id);
                self.handled.insert(handled_key(&id));
            }
            Entry::Foreign => {}
        }
    }

    /// Those that wait, in the order of their places.
    pub fn waiting(&self) -> impl Iterator<Item = (&Id, &Letter)> {
        self.waiting.iter()
    }

    /// How many wait.
    pub fn count(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Letters of other topics have this name, too.
    pub fn is_ambiguous(&self, place: &Place) -> bool {
        let first = Place { topic_id: None, ..place.clone() };
        let first = Id { place: first, digest: Digest(0) };
        let has_place =
            |(id, _): &(&Id, &Letter)| (&id.place.at, id.place.offset) == (&place.at, place.offset);
        let mut all = self.waiting.range(first..).take_while(has_place);
        all.any(|(id, _)| id.place.is_like(place))
    }

    /// A letter that stood at this place waits, or may have: of one without an id that is not known.
    pub fn is_waiting(&self, place: &Place) -> bool {
        let is_there = |topic_id| {
            let place = Place { topic_id, ..place.clone() };
            let first = Id { place: place.clone(), digest: Digest(0) };
            self.waiting.range(first..).next().is_some_and(|(id, _)| id.place == place)
        };
        is_there(place.topic_id) || is_there(None)
    }

    /// A record with these bytes was handled that stood before `place`, in the same partition.
    pub fn was_before(&self, place: &Place, digest: Digest) -> bool {
        let of = |offset| (place.at.clone(), place.topic_id, digest, offset);
        self.handled.range(of(0)..of(place.offset)).next().is_some()
    }
}

fn handled_key(id: &Id) -> HandledKey {
    (id.place.at.clone(), id.place.topic_id, id.digest, id.place.offset)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(offset: u64) -> Place {
        let at = TopicPartition { topic: "shop.orders".to_owned(), partition: 3 };
        Place { at, offset, topic_id: Some(TopicId(7)) }
    }

    /// The same in a topic of the same name.
    fn in_other(offset: u64) -> Place {
        Place { topic_id: Some(TopicId(8)), ..at(offset) }
    }

    /// The same as builds wrote it that kept no id.
    fn without_id(offset: u64) -> Place {
        Place { topic_id: None, ..at(offset) }
    }

    fn record(value: &'static str) -> Record {
        let own = [
            ("theirs".to_owned(), Bytes::from_static(b"\xff")),
            (ERROR_HEADER.to_owned(), Bytes::from_static(b"one of its own")),
        ];
        Record { key: None, value: Some(Bytes::from_static(value.as_bytes())), headers: own.into() }
    }

    fn letter(place: &Place, value: &'static str) -> Record {
        let mut letter = record(value);
        let headers = letter_headers(place, "it is not JSON").into_iter();
        letter.headers.extend(headers.map(|(name, value)| (name.to_owned(), Bytes::from(value))));
        letter
    }

    fn id(place: &Place, value: &'static str) -> Id {
        Id { place: place.clone(), digest: Digest::of(&record(value)) }
    }

    #[test]
    fn a_letter_keeps_its_record_and_a_mark_its_letter() {
        let why = "it is not JSON".to_owned();
        let expected = Entry::Letter { place: at(7), why, record: record("a") };
        assert_eq!(Entry::of(letter(&at(7), "a")), expected);
        let marked = mark(&id(&at(7), "a"), Handled::Dropped);
        assert_eq!(Entry::of(marked), Entry::Handled(id(&at(7), "a")));
        assert_eq!(Entry::of(record("a")), Entry::Foreign);
        assert_eq!(Entry::of(Record::default()), Entry::Foreign);
        // A mark that somebody put into a topic that we read is a letter like any other.
        let mut marked = mark(&id(&at(7), "a"), Handled::Retried);
        let headers = letter_headers(&at(8), "no envelope").into_iter();
        marked.headers.extend(headers.map(|(name, value)| (name.to_owned(), Bytes::from(value))));
        assert!(matches!(Entry::of(marked), Entry::Letter { place, .. } if place == at(8)));
    }

    #[test]
    fn what_was_handled_stays_handled_and_what_came_twice_is_one() {
        let mut letters = Letters::default();
        let mut kept = 0;
        let mut take = |letters: &mut Letters, record| {
            kept += 1;
            letters.take((0, kept), None, record);
            letters.count()
        };
        assert_eq!(take(&mut letters, letter(&at(7), "a")), 1);
        assert_eq!(take(&mut letters, letter(&at(9), "b")), 2);
        assert_eq!(take(&mut letters, letter(&at(7), "a")), 2, "after a crash");
        assert_eq!(take(&mut letters, record("of somebody")), 2);
        assert_eq!(take(&mut letters, mark(&id(&at(7), "a"), Handled::Retried)), 1);
        assert_eq!(take(&mut letters, letter(&at(7), "a")), 1, "from a replay");
        assert!(letters.was_before(&at(8), id(&at(7), "a").digest));
        assert!(!letters.was_before(&at(7), id(&at(7), "a").digest));
        assert_eq!(take(&mut letters, letter(&at(7), "other")), 2, "another record");
        assert!(letters.is_waiting(&at(7)) && letters.is_waiting(&at(9)));
        assert_eq!(take(&mut letters, mark(&id(&at(9), "b"), Handled::Dropped)), 1);
        assert!(!letters.is_waiting(&at(9)));
        // A mark whose letter is gone marks nothing.
        assert_eq!(take(&mut letters, mark(&id(&at(1), "x"), Handled::Dropped)), 1);
    }

    #[test]
    fn letters_and_marks_of_a_topic_that_was_made_again_are_others() {
        let mut letters = Letters::default();
        let mut take = |record| {
            letters.take((0, 0), None, record);
            letters.clone()
        };
        take(letter(&at(7), "a"));
        take(mark(&id(&at(7), "a"), Handled::Dropped));
        let one = take(letter(&in_other(7), "a"));
        assert_eq!(one.count(), 1, "the mark is of the other topic");
        assert!(!one.is_ambiguous(&in_other(7)) && one.is_waiting(&in_other(7)));
        assert!(!one.was_before(&in_other(8), id(&at(7), "a").digest));
        let three = take(letter(&at(7), "b"));
        let three = {
            drop(three);
            take(letter(&without_id(7), "a"))
        };
        let names: Vec<String> = three.waiting().map(|(id, _)| id.place.whole_name()).collect();
        let name = "shop.orders/3/7";
        let [first, second] = [TopicId(7), TopicId(8)].map(|id| format!("{name}@{id}"));
        assert_eq!(names, [format!("{name}@unknown"), first, second]);
        for place in [at(7), in_other(7), without_id(7)] {
            assert!(three.is_ambiguous(&place));
        }
        let two = take(mark(&id(&without_id(7), "a"), Handled::Dropped));
        assert_eq!(two.count(), 2, "a mark without an id is of the letter without one");
    }

    #[test]
    fn builds_that_keep_no_id_read_what_this_one_writes() {
        let headers = letter_headers(&at(7), "why");
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        assert_eq!(names[0], TOPIC_ID_HEADER);
        assert_eq!(names[1..], [TOPIC_HEADER, PARTITION_HEADER, OFFSET_HEADER, ERROR_HEADER]);
        let marked = mark(&id(&at(7), "a"), Handled::Dropped);
        assert_eq!(marked.headers[0].0, TOPIC_ID_HEADER);
        assert_eq!(
            Entry::of(letter(&without_id(7), "a")),
            Entry::Letter {
                place: without_id(7),
                why: "it is not JSON".to_owned(),
                record: record("a"),
            }
        );
    }
}
