//! The end of the topic: where the publisher is.
//!
//! ```text
//! partition 0 ... change  change+end_lsn  heartbeat+end_lsn+copied  change | high watermark
//! partition 1 ... change  heartbeat+end_lsn+copied                         | high watermark
//!                         <--- windows, read backwards ---
//! ```
//!
//! Records are produced in order, so a record that names an `end_lsn` says that its partition has
//! everything of it before that position. The furthest that any record of a partition names counts,
//! not the last: what a publisher that was killed had on its way may arrive late, behind its
//! successor's records. What comes after it is part of a transaction that is published again as a
//! whole, and recognised by its places.
//!
//! What the whole topic has is what the partition has that is furthest back.

use std::{cell::Cell, collections::HashSet, ops::Range, sync::Arc, time::Duration};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::{BorrowedMessage, Headers},
};
use serde::Deserialize;
use tokio::time::Instant;

use crate::{
    change::Timestamp,
    checkpoint::{Mark, Newest, TopicPartition},
    envelope::{History, payload},
    lsn::Lsn,
    topic::{
        copied::{COPIED_HEADER, READ_THROUGH_HEADER},
        ends::{ENDS_HEADER, Ends},
        routing::Partitions,
        whose::{DATABASE_HEADER, PUBLICATION_HEADER, SLOT_HEADER, Whose},
    },
};

use super::{
    Error, Options, Result,
    connect::{ANSWER_LIMIT, Voice, asking, on_thread},
    error::is_transient,
};

/// The header of a heartbeat that says over how many partitions keys are spread, if it is not one.
pub const PARTITIONS_HEADER: &str = "wal2graph.partitions";

/// The header of a heartbeat that names the newest transaction before its position: where it committed,
/// its id and when.
pub const NEWEST_HEADER: &str = "wal2graph.newest";

/// The first window has this many records; each one before it has ten times as many.
const WINDOW: i64 = 1_000;
/// Behind larger windows a publisher's own records are not looked for, if another one's were met.
const WINDOWS_OF_OTHERS: i64 = 10_000;
/// How long one look for a record may take.
const POLL: Duration = Duration::from_millis(500);

/// What the ends of the topic's partitions say, in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail(pub Vec<PartitionTail>);

/// What the end of a partition says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionTail {
    /// It has no records, or none any more.
    pub is_empty: bool,
    /// The offset of the next record.
    pub next: i64,
    /// Everything of it before this is there.
    pub end_lsn: Option<Lsn>,
    /// The newest transaction before that of which there is anything, if the record that says so
    /// names it.
    pub newest: Option<Newest>,
    /// The publication that its last heartbeat names.
    pub publication: Option<String>,
    /// The furthest transaction that one of these records is of, whether it has ended or not.
    pub last_commit: Option<Lsn>,
    /// The furthest transaction that a change is of. Where its records are beyond the position, it comes again.
    pub furthest: Option<Mark>,
    /// Where the last heartbeat says that the tables' topics ended.
    pub ends: Option<Ends>,
    /// The tables whose rows are in it, by object id; `None` if no heartbeat says it.
    pub copied: Option<Vec<u32>>,
    /// Up to where rows of a copy may be, if a heartbeat says it.
    pub read_through: Option<Lsn>,
    /// Over how many partitions its publisher has spread keys; `None` is one.
    pub partitions: Option<usize>,
    /// The history that they are of.
    pub history: Option<History>,
    /// The slot that its last heartbeat names.
    pub slot: Option<String>,
    /// The offset of the last record that is ours.
    pub last: Option<i64>,
    /// The last record of another pipeline, or of another database.
    pub other: Option<(i64, Whose)>,
    /// The last record that no publisher of ours has written.
    pub stray: Option<i64>,
}

impl Tail {
    /// Over how many partitions keys are spread.
    ///
    /// # Errors
    /// There is none, because the topic is being made or deleted.
    pub fn partitions(&self) -> Result<Partitions> {
        const DOING: &str = "the topic has no partitions yet";
        let none = || Error::Failed { doing: DOING, code: Code::LeaderNotAvailable, reason: None };
        Partitions::new(self.0.len()).ok_or_else(none)
    }

    /// No partition has records.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|it| it.is_empty)
    }

    /// How far every partition is that says it; `None` if none does.
    pub fn lowest(&self) -> Option<Lsn> {
        self.0.iter().filter_map(|it| it.end_lsn).min()
    }

    /// How far any partition is.
    pub fn furthest(&self) -> Option<Lsn> {
        self.0.iter().filter_map(|it| it.end_lsn).max()
    }

    /// The newest transaction before [`Tail::lowest`] in any partition, if it is known and came through
    /// this publication.
    pub fn newest_through(&self, publication: &str) -> Option<Newest> {
        let lowest = self.lowest()?;
        let here = self.0.iter().filter(|it| it.end_lsn == Some(lowest));
        let through = here.filter(|it| it.publication.as_deref() == Some(publication));
        through.filter_map(|it| it.newest).next()
    }

    /// A position behind everything that any partition has.
    pub fn beyond(&self) -> Option<Lsn> {
        self.0.iter().filter_map(PartitionTail::beyond).max()
    }

    /// Every partition says how far it is.
    pub fn is_complete(&self) -> bool {
        self.0.iter().all(|it| it.end_lsn.is_some())
    }

    /// The tables whose rows are in every partition.
    pub fn copied(&self) -> Vec<u32> {
        let mut copied = self.0.iter().map(|it| it.copied.as_deref().unwrap_or_default());
        let first = copied.next().unwrap_or_default().iter().copied();
        copied.fold(first.collect(), |all: Vec<u32>, of_one| {
            all.into_iter().filter(|table| of_one.contains(table)).collect()
        })
    }
}

/// What a record says of its place, whether it is a change or a heartbeat.
#[derive(Deserialize)]
struct Said {
    op: Option<String>,
    source: Option<Place>,
    #[serde(flatten)]
    place: Place,
}

#[derive(Default, Deserialize)]
struct Place {
    system_identifier: Option<String>,
    timeline: Option<i64>,
    commit_lsn: Option<u64>,
    end_lsn: Option<u64>,
    name: Option<String>,
    db: Option<String>,
    #[serde(rename = "txId")]
    xid: Option<u32>,
    ts_us: Option<i64>,
}

impl Place {
    /// The transaction of a change.
    fn transaction(&self) -> Option<Mark> {
        let commit_lsn = Lsn(self.commit_lsn?);
        let committed_at = Timestamp { unix_micros: self.ts_us? };
        Some(Mark { commit_lsn, xid: self.xid?, committed_at })
    }
}

/// A record as it is met.
#[derive(Clone, Copy)]
struct Met<'a> {
    offset: i64,
    key: &'a [u8],
    value: &'a [u8],
}

/// The key of a heartbeat.
#[derive(Deserialize)]
struct HeartbeatKey {
    #[serde(rename = "serverName")]
    server_name: String,
}

/// Reads the ends of the topic's partitions, whoever has published them.
pub async fn read(options: &Options) -> Result<Tail> {
    read_of(options, &Whose::default()).await
}

/// The same of what a publisher has written. Records of others are looked at, and say nothing of it.
pub async fn read_of(options: &Options, own: &Whose) -> Result<Tail> {
    let (client, voice) = asking(options)?;
    let (topic, own) = (options.topic.as_str().to_owned(), own.clone());
    on_thread(move || Reader::new(client, voice, topic, own).read()).await?
}

/// Whether a key comes twice in this range of a partition. Compaction leaves the last record of each key alone, from
/// the log's start on: then it has not got behind the range.
pub async fn has_a_key_twice(
    options: &Options,
    at: &TopicPartition,
    range: Range<u64>,
) -> Result<bool> {
    // Records of aborted transactions replace none.
    let (client, voice) = asking(options)?;
    let TopicPartition { topic, partition } = at.clone();
    let bound = |offset: u64| i64::try_from(offset).unwrap_or(i64::MAX);
    let (start, end) = (bound(range.start), bound(range.end));
    on_thread(move || {
        let reader = Reader::new(client, voice, topic, Whose::default());
        let (mut keys, mut twice) = (HashSet::new(), false);
        if start < end {
            reader.each(partition, start, end, |record| {
                twice |= record.key().is_some_and(|key| !keys.insert(key.to_vec()));
            })?;
        }
        Ok(twice)
    })
    .await?
}

/// Reads windows on a thread that may wait.
pub(super) struct Reader {
    client: Arc<BaseConsumer<Voice>>,
    voice: Voice,
    pub topic: String,
    /// Whose records say where it is.
    own: Whose,
    /// How many were read back.
    records: Cell<u64>,
}

const DOING: &str = "the end of the topic can not be read";

impl Reader {
    pub fn new(client: Arc<BaseConsumer<Voice>>, voice: Voice, topic: String, own: Whose) -> Self {
        Reader { client, voice, topic, own, records: Cell::new(0) }
    }

    pub fn read(&self) -> Result<Tail> {
        let partitions = (0..self.count()?).map(|partition| self.partition(partition));
        let tail = partitions.collect::<Result<_>>().map(Tail);
        let (topic, records) = (&self.topic, self.records.get());
        tracing::debug!(topic, records, "read the topic's end");
        tail
    }

    /// How many partitions there are.
    pub fn count(&self) -> Result<i32> {
        let metadata = self.client.fetch_metadata(Some(&self.topic), ANSWER_LIMIT);
        let metadata = metadata.map_err(|error| self.voice.explain(DOING, &error))?;
        let topic = metadata.topics().iter().find(|it| it.name() == self.topic);
        if let Some(code) = topic.and_then(|it| it.error()).map(Code::from) {
            return Err(Error::new(DOING, &KafkaError::MetadataFetch(code), None));
        }
        Ok(topic.map_or(0, |it| it.partitions().len()) as i32)
    }

    /// What a partition's records say from an offset on; without one, its last ones.
    pub fn partition_from(&self, partition: i32, from: Option<u64>) -> Result<PartitionTail> {
        let from = from.and_then(|from| i64::try_from(from).ok());
        self.records_from(partition, |end| from.unwrap_or(end - WINDOW))
    }

    /// What a partition's records say from an offset on, which its end says.
    pub fn records_from(&self, partition: i32, from: impl Fn(i64) -> i64) -> Result<PartitionTail> {
        let (low, high) = self.watermarks(partition)?;
        let start = from(high).max(low);
        let tail = match start < high {
            true => self.window(partition, start, high)?,
            false => PartitionTail::default(),
        };
        Ok(PartitionTail { is_empty: low >= high, next: high, ..tail })
    }

    fn partition(&self, partition: i32) -> Result<PartitionTail> {
        let (low, high) = self.watermarks(partition)?;
        let mut tail =
            PartitionTail { is_empty: low >= high, next: high, ..PartitionTail::default() };
        let (mut end, mut size) = (high, WINDOW);
        while end > low && (tail.end_lsn.is_none() || tail.copied.is_none()) {
            if size > WINDOWS_OF_OTHERS && tail.last.is_none() && tail.other.is_some() {
                // Somebody else's topic may be long.
                break;
            }
            let start = low.max(end - size);
            let window = self.window(partition, start, end)?;
            tail.is_at(window.end_lsn, window.newest);
            tail.last_commit = tail.last_commit.max(window.last_commit);
            tail.furthest = tail.furthest.max(window.furthest);
            tail.read_through = tail.read_through.max(window.read_through);
            tail.publication = tail.publication.or(window.publication);
            if tail.copied.is_none() {
                (tail.copied, tail.partitions) = (window.copied, window.partitions);
                tail.ends = window.ends;
            }
            tail.history = tail.history.or(window.history);
            tail.slot = tail.slot.or(window.slot);
            tail.last = tail.last.or(window.last);
            tail.other = tail.other.or(window.other);
            tail.stray = tail.stray.or(window.stray);
            (end, size) = (start, size.saturating_mul(10));
        }
        Ok(tail)
    }

    /// A topic that was just made may have no leader yet.
    fn watermarks(&self, partition: i32) -> Result<(i64, i64)> {
        let started = Instant::now();
        loop {
            let error = match self.client.fetch_watermarks(&self.topic, partition, ANSWER_LIMIT) {
                Ok(watermarks) => return Ok(watermarks),
                Err(error) => error,
            };
            let electing = matches!(
                error.rdkafka_error_code(),
                Some(Code::LeaderNotAvailable | Code::NotLeaderForPartition)
            );
            if !electing || started.elapsed() > ANSWER_LIMIT {
                return Err(self.voice.explain(DOING, &error));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What the records from `start` up to `end` say, the later over the earlier.
    fn window(&self, partition: i32, start: i64, end: i64) -> Result<PartitionTail> {
        let mut window = PartitionTail::default();
        self.each(partition, start, end, |record| {
            let met = Met {
                offset: record.offset(),
                key: record.key().unwrap_or_default(),
                value: record.payload().unwrap_or_default(),
            };
            window.add(&self.own, &met, record.headers());
        })?;
        Ok(window)
    }

    /// Takes the records from `start` up to `end`, which is behind it.
    fn each(
        &self,
        partition: i32,
        start: i64,
        end: i64,
        mut take: impl FnMut(&BorrowedMessage<'_>),
    ) -> Result<()> {
        let mut assignment = TopicPartitionList::new();
        let assigned = assignment
            .add_partition_offset(&self.topic, partition, Offset::Offset(start))
            .and_then(|()| self.client.assign(&assignment));
        assigned.map_err(|error| self.voice.explain(DOING, &error))?;
        let mut heard = Instant::now();
        loop {
            match self.client.poll(POLL) {
                None if heard.elapsed() > ANSWER_LIMIT => return Err(self.voice.silence(DOING)),
                None => {}
                Some(Err(KafkaError::PartitionEOF(of))) if of == partition => return Ok(()),
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                // A broker that went away comes back, or somebody else has the partition.
                Some(Err(error)) if passes(&error) && heard.elapsed() <= ANSWER_LIMIT => {}
                Some(Err(error)) => return Err(self.voice.explain(DOING, &error)),
                Some(Ok(record)) if record.partition() != partition => {}
                Some(Ok(record)) if record.offset() >= end => return Ok(()),
                Some(Ok(record)) => {
                    heard = Instant::now();
                    self.records.set(self.records.get() + 1);
                    take(&record);
                    if record.offset() + 1 == end {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Whether reading may go on all the same. The group is not used: it may be forbidden.
fn passes(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    code.is_some_and(|code| code == Code::GroupAuthorizationFailed || is_transient(code))
}

impl PartitionTail {
    /// It has had records, whether they are still there or not.
    pub fn was_written(&self) -> bool {
        self.next > 0
    }

    /// A record says that everything before `end_lsn` is there, and which transaction is the newest.
    fn is_at(&mut self, end_lsn: Option<Lsn>, newest: Option<Newest>) {
        if end_lsn > self.end_lsn {
            (self.end_lsn, self.newest) = (end_lsn, newest);
        } else if end_lsn.is_some() && end_lsn == self.end_lsn {
            self.newest = self.newest.or(newest);
        }
    }

    /// A position behind everything that it has. A transaction may begin where the one before it ended.
    pub fn beyond(&self) -> Option<Lsn> {
        self.end_lsn.max(self.last_commit.map(|commit| Lsn(commit.0 + 1)))
    }

    /// Takes what one more record says.
    fn add(&mut self, own: &Whose, met: &Met<'_>, headers: Option<&impl Headers>) {
        let Met { offset, key, value } = *met;
        if value.is_empty() {
            // A tombstone says nothing.
            return;
        }
        let said = serde_json::from_slice::<Said>(payload(value)).ok();
        let Some(said) = said else { return self.stray = Some(offset) };
        let is_heartbeat = said.source.is_none();
        let place = said.source.unwrap_or(said.place);
        let transaction = place.transaction();
        let (Some(system_identifier), Some(timeline)) = (place.system_identifier, place.timeline)
        else {
            return self.stray = Some(offset);
        };
        let text = |name| headers.and_then(|headers| header(headers, name));
        let whose = match is_heartbeat {
            true => {
                let key = serde_json::from_slice(payload(key)).ok();
                let pipeline = key.map(|key: HeartbeatKey| key.server_name);
                Whose { pipeline, database: text(DATABASE_HEADER).map(str::to_owned) }
            }
            false => Whose { pipeline: place.name, database: place.db },
        };
        if !own.may_be(&whose) {
            return self.other = Some((offset, whose));
        }
        self.last = Some(offset);
        self.history = Some(History { system_identifier, timeline });
        let newest = match is_heartbeat {
            true => text(NEWEST_HEADER).and_then(|text| text.parse().ok()),
            false => transaction.map(Newest::Transaction),
        };
        // A stream may be without messages.
        if said.op.as_deref() != Some("m") {
            self.furthest = self.furthest.max(transaction);
        }
        self.is_at(place.end_lsn.map(Lsn), newest);
        self.last_commit = self.last_commit.max(place.commit_lsn.map(Lsn));
        if is_heartbeat {
            self.publication = text(PUBLICATION_HEADER).map(str::to_owned);
            self.slot = text(SLOT_HEADER).map(str::to_owned);
            let read_through = text(READ_THROUGH_HEADER).and_then(|text| text.parse().ok());
            self.read_through = self.read_through.max(read_through);
        }
        if let Some(copied) = text(COPIED_HEADER).and_then(numbers) {
            self.copied = Some(copied);
            self.partitions = text(PARTITIONS_HEADER).and_then(|text| text.parse().ok());
            self.ends = text(ENDS_HEADER).and_then(|text| Ends::parse(text.as_bytes()));
        }
    }
}

fn header<'a>(headers: &'a impl Headers, name: &str) -> Option<&'a str> {
    let header = headers.iter().find(|header| header.key == name)?;
    std::str::from_utf8(header.value?).ok()
}

fn numbers(text: &str) -> Option<Vec<u32>> {
    text.split(',').filter(|id| !id.is_empty()).map(|id| id.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rdkafka::message::{Header, OwnedHeaders};

    use super::*;

    fn headers(copied: &str, partitions: Option<&str>) -> OwnedHeaders {
        let copied = OwnedHeaders::new().insert(Header { key: COPIED_HEADER, value: Some(copied) });
        match partitions {
            Some(count) => copied.insert(Header { key: PARTITIONS_HEADER, value: Some(count) }),
            None => copied,
        }
    }

    #[test]
    fn the_furthest_position_counts_and_the_last_list() {
        let mut tail = PartitionTail::default();
        let own = Whose { pipeline: Some("p".to_owned()), database: Some("d".to_owned()) };
        let mut offset = 0;
        let mut add =
            |tail: &mut PartitionTail, key: &[u8], value: &[u8], headers: Option<&OwnedHeaders>| {
                tail.add(&own, &Met { offset, key, value }, headers);
                offset += 1;
            };
        let heartbeat = |end_lsn: u64| {
            format!(
                "{{\"ts_ms\":1,\"system_identifier\":\"7\",\"timeline\":1,\"end_lsn\":{end_lsn}}}"
            )
        };
        let change = |fields: &str| {
            format!(
                "{{\"before\":null,\"op\":\"c\",\"source\":{{\"system_identifier\":\"7\",\"timeline\":1,\
                 \"commit_lsn\":8,\"event_index\":0{fields}}}}}"
            )
        };
        let none = None::<&OwnedHeaders>;
        let key = b"{\"serverName\":\"p\"}";
        let of_read = |publication| {
            let header = Header { key: PUBLICATION_HEADER, value: Some(publication) };
            headers("1,2", None).insert(header)
        };
        add(&mut tail, key, heartbeat(50).as_bytes(), Some(&of_read("p")));
        assert_eq!((tail.newest, tail.publication.as_deref()), (None, Some("p")), "not known");
        let newest = Header { key: NEWEST_HEADER, value: Some("0/8 7 900") };
        add(&mut tail, key, heartbeat(50).as_bytes(), Some(&of_read("p").insert(newest)));
        assert_eq!(tail.newest.unwrap().to_string(), "0/8 7 900");
        let end = ",\"db\":\"d\",\"txId\":9,\"ts_us\":1000,\"tx_end\":true,\"end_lsn\":70";
        add(&mut tail, b"", change(end).as_bytes(), none);
        assert_eq!(
            tail.newest.unwrap().to_string(),
            "0/8 9 1000",
            "the transaction that ends there"
        );
        add(&mut tail, b"", change("").as_bytes(), none);
        let framed =
            |part: &str| format!("{{\"schema\":{{\"type\":\"struct\"}},\"payload\":{part}}}");
        let framed_key = framed("{\"serverName\":\"p\"}");
        let framed_value = framed(&heartbeat(60));
        let four = headers("", Some("4"));
        add(&mut tail, framed_key.as_bytes(), framed_value.as_bytes(), Some(&four));
        add(&mut tail, b"", b"", none);
        add(&mut tail, b"", b"{\"op\":\"c\",\"source\":{\"lsn\":99,\"end_lsn\":99}}", none);
        add(&mut tail, b"", b"not json", none);
        assert_eq!((tail.last, tail.stray, tail.other.as_ref()), (Some(4), Some(7), None));
        assert_eq!(tail.beyond(), Some(Lsn(70)));
        add(
            &mut tail,
            b"",
            change(",\"commit_lsn\":80").replacen("\"commit_lsn\":8,", "", 1).as_bytes(),
            none,
        );
        assert_eq!(tail.beyond(), Some(Lsn(81)), "a transaction that has not ended");
        assert_eq!((tail.end_lsn, tail.copied.clone()), (Some(Lsn(70)), Some(vec![])));
        assert_eq!(tail.newest.unwrap().to_string(), "0/8 9 1000");
        assert_eq!(tail.publication, None, "the last heartbeat names none");
        let at = (tail.end_lsn, tail.history.clone(), tail.last);
        let of_database = Header { key: DATABASE_HEADER, value: Some("e") };
        let others = headers("", Some("4")).insert(of_database);
        add(&mut tail, key, heartbeat(90).as_bytes(), Some(&others));
        assert_eq!((tail.end_lsn, tail.history.clone(), tail.last), at, "it says nothing of ours");
        let other = Whose { pipeline: Some("p".to_owned()), database: Some("e".to_owned()) };
        assert_eq!(tail.other, Some((9, other)), "of the same name, on another database");
        assert_eq!(
            (tail.history.as_ref().unwrap().system_identifier.as_str(), tail.partitions),
            ("7", Some(4))
        );
    }

    #[test]
    fn a_topic_is_as_far_as_its_last_partition() {
        let of = |end: Option<u64>, copied: &[u32]| PartitionTail {
            end_lsn: end.map(Lsn),
            copied: Some(copied.to_vec()),
            ..PartitionTail::default()
        };
        let tail =
            Tail(vec![of(Some(50), &[1, 2, 3]), of(Some(40), &[3, 1]), of(Some(60), &[1, 3])]);
        assert_eq!((tail.lowest(), tail.furthest()), (Some(Lsn(40)), Some(Lsn(60))));
        assert_eq!((tail.copied(), tail.is_complete()), (vec![1, 3], true));
        let silent = Tail(vec![of(Some(50), &[1]), of(None, &[1]), PartitionTail::default()]);
        assert_eq!((silent.lowest(), silent.is_complete()), (Some(Lsn(50)), false));
        assert_eq!(silent.copied(), Vec::<u32>::new());

        let named = |end: u64, newest: &str, publication: &str| PartitionTail {
            newest: newest.parse().ok(),
            publication: Some(publication.to_owned()),
            ..of(Some(end), &[])
        };
        let tail = Tail(vec![named(60, "0/9 9 9", "p"), named(50, "0/8 8 8", "p")]);
        assert_eq!(tail.newest_through("p").unwrap().to_string(), "0/8 8 8", "of the last one");
        assert_eq!(tail.newest_through("q"), None, "another publication may leave it out");
    }
}
