//! The end of the topic: where the publisher is.
//!
//! ```text
//! ... change  change+end_lsn  change  heartbeat+end_lsn+copied  change | high watermark
//!                                     <--- windows, read backwards ---
//! ```
//!
//! Records are produced in order, so a record that names an `end_lsn` says that everything before
//! that position is in the topic. The furthest that any of them names counts, not the last: what a
//! publisher that was killed had on its way may arrive late, behind its successor's records. What
//! comes after it is part of a transaction that is published again as a whole, and recognised by its
//! places.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::Headers,
};
use serde::Deserialize;
use tokio::time::Instant;

use crate::{envelope::History, lsn::Lsn};

use super::{
    Options, Result,
    connect::{ANSWER_LIMIT, Voice, on_thread},
    error::is_transient,
    topic::{Asking, asking},
};

/// The header of a heartbeat that says which tables are in the topic: object ids with commas
/// between.
pub const COPIED_HEADER: &str = "wal2graph.copied";

/// The first window has this many records; each one before it has ten times as many.
const WINDOW: i64 = 1_000;
/// How long one look for a record may take.
const POLL: Duration = Duration::from_millis(500);

/// What the end of the topic says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The topic has no records, or none any more.
    pub is_empty: bool,
    /// Everything before it is in the topic.
    pub end_lsn: Option<Lsn>,
    /// The tables whose rows are in the topic, by object id; `None` if no heartbeat says it.
    pub copied: Option<Vec<u32>>,
    /// Whose records they are.
    pub history: Option<History>,
}

/// What a record says of its place, whether it is a change or a heartbeat.
#[derive(Deserialize)]
struct Said {
    source: Option<Place>,
    #[serde(flatten)]
    place: Place,
}

#[derive(Default, Deserialize)]
struct Place {
    system_identifier: Option<String>,
    timeline: Option<i64>,
    end_lsn: Option<u64>,
}

/// Reads the end of the topic's only partition.
pub async fn read(options: &Options) -> Result<Tail> {
    let (client, voice) = asking(options)?;
    let topic = options.topic.as_str().to_owned();
    on_thread(move || Reader { client, voice, topic }.read()).await?
}

/// Reads windows on a thread that may wait.
struct Reader {
    client: Arc<Asking>,
    voice: Voice,
    topic: String,
}

const DOING: &str = "the end of the topic can not be read";

impl Reader {
    fn read(&self) -> Result<Tail> {
        let (low, high) = self.watermarks()?;
        let mut tail = Tail { is_empty: low >= high, ..Tail::default() };
        let (mut end, mut size) = (high, WINDOW);
        while end > low && (tail.end_lsn.is_none() || tail.copied.is_none()) {
            let start = low.max(end - size);
            let window = self.window(start, end)?;
            tail.end_lsn = tail.end_lsn.max(window.end_lsn);
            tail.copied = tail.copied.or(window.copied);
            tail.history = tail.history.or(window.history);
            (end, size) = (start, size.saturating_mul(10));
        }
        Ok(tail)
    }

    /// A topic that was just made may have no leader yet.
    fn watermarks(&self) -> Result<(i64, i64)> {
        let started = Instant::now();
        loop {
            let error = match self.client.fetch_watermarks(&self.topic, 0, ANSWER_LIMIT) {
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
    fn window(&self, start: i64, end: i64) -> Result<Tail> {
        let mut assignment = TopicPartitionList::new();
        let assigned = assignment
            .add_partition_offset(&self.topic, 0, Offset::Offset(start))
            .and_then(|()| self.client.assign(&assignment));
        assigned.map_err(|error| self.voice.explain(DOING, &error))?;
        let mut window = Tail::default();
        let mut heard = Instant::now();
        loop {
            match self.client.poll(POLL) {
                None if heard.elapsed() > ANSWER_LIMIT => return Err(self.voice.silence(DOING)),
                None => {}
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(window),
                // A broker that went away comes back, or somebody else has the partition.
                Some(Err(error)) if passes(&error) && heard.elapsed() <= ANSWER_LIMIT => {}
                Some(Err(error)) => return Err(self.voice.explain(DOING, &error)),
                Some(Ok(record)) if record.offset() >= end => return Ok(window),
                Some(Ok(record)) => {
                    heard = Instant::now();
                    let copied = record.headers().and_then(copied);
                    window.add(record.payload().unwrap_or_default(), copied);
                    if record.offset() + 1 == end {
                        return Ok(window);
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

impl Tail {
    /// Takes what one more record says.
    fn add(&mut self, value: &[u8], copied: Option<Vec<u32>>) {
        // What is no envelope of ours says nothing.
        let Ok(said) = serde_json::from_slice::<Said>(value) else { return };
        let place = said.source.unwrap_or(said.place);
        let (Some(system_identifier), Some(timeline)) = (place.system_identifier, place.timeline)
        else {
            return;
        };
        self.history = Some(History { system_identifier, timeline });
        self.end_lsn = self.end_lsn.max(place.end_lsn.map(Lsn));
        self.copied = copied.or(self.copied.take());
    }
}

fn copied(headers: &impl Headers) -> Option<Vec<u32>> {
    let header = headers.iter().find(|header| header.key == COPIED_HEADER)?;
    let text = std::str::from_utf8(header.value?).ok()?;
    text.split(',').filter(|id| !id.is_empty()).map(|id| id.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_furthest_position_counts_and_the_last_list() {
        let mut tail = Tail::default();
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
        tail.add(heartbeat(50).as_bytes(), Some(vec![1, 2]));
        tail.add(change(",\"tx_end\":true,\"end_lsn\":70").as_bytes(), None);
        tail.add(change("").as_bytes(), None);
        tail.add(heartbeat(60).as_bytes(), Some(vec![]));
        tail.add(b"", None);
        tail.add(b"{\"op\":\"c\",\"source\":{\"lsn\":99,\"end_lsn\":99}}", None);
        tail.add(b"not json", None);
        assert_eq!((tail.end_lsn, tail.copied), (Some(Lsn(70)), Some(vec![])));
        assert_eq!(tail.history.unwrap().system_identifier, "7");
    }
}
