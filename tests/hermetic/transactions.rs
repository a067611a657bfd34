//! A partition's records become transactions, through the real encoder and the real decoder.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use wal2graph::{
    catalog::{Catalog, TableName},
    change::{Before, Begin, Cell, Change, Event, Relation, Timestamp},
    checkpoint::{Log, Origin, Part, Position, TopicPartition},
    engine::{Engine, Input, Limits},
    envelope::{DecodeOptions, Decoder, Encoder, History, Names, Place, Record, Snapshot},
    lsn::{Lsn, Stamp},
    pipeline::PipelineError,
    topic::{
        transactions::{RecordError, Transactions},
        whose::OtherPublisher,
    },
};

use crate::mapping::catalogs::{self, TableExt};

struct Partition {
    encoder: Encoder,
    relation: Arc<Relation>,
    catalog: Catalog,
    records: Vec<Record>,
}

impl Partition {
    fn new() -> Self {
        let catalog =
            catalogs::catalog([catalogs::table("people", "id int4!, name text").pk("id")]);
        let decoder = Decoder::new(&catalog, DecodeOptions::default());
        let relation = decoder.relation(&TableName::new("public", "people")).unwrap().clone();
        Partition { encoder: encoder("7", &catalog), relation, catalog, records: Vec::new() }
    }

    /// Adds the records of a transaction's changes from `first` on: ids to insert, or `from -> to`.
    fn transaction(&mut self, commit: u64, changes: &[(i32, i32)], which: std::ops::Range<usize>) {
        for index in which {
            let (from, to) = changes[index];
            let end = (index + 1 == changes.len()).then_some(Lsn(commit + 0x30));
            let place = Place {
                commit_lsn: Lsn(commit),
                event_index: index as u64,
                xid: 5,
                committed_at: Timestamp { unix_micros: 1_700_000_000_000_000 },
                end,
            };
            let (relation, new) = (self.relation.clone(), self.row(to));
            let change = match from == to {
                true => Change::Insert { relation, new },
                false => Change::Update { relation, before: Before::Key(self.row(from)), new },
            };
            self.records.extend(self.encoder.change(&place, &change, now()).unwrap());
        }
    }

    fn read(&mut self, id: i32) {
        let (relation, row) = (self.relation.clone(), self.row(id));
        let record = self.encoder.read(Lsn(1), Snapshot::Inside, &relation, &row, now());
        self.records.push(record.unwrap());
    }

    /// A message of a transaction, as its last record or not.
    fn message(&mut self, commit: u64) {
        let change = Change::Message { prefix: "m".to_owned(), content: Bytes::new() };
        let place = Place {
            commit_lsn: Lsn(commit),
            event_index: 0,
            xid: 5,
            committed_at: Timestamp { unix_micros: 1_700_000_000_000_000 },
            end: None,
        };
        self.records.extend(self.encoder.change(&place, &change, now()).unwrap());
    }

    fn heartbeat(&mut self, end: u64) {
        self.records.push(self.encoder.heartbeat(Lsn(end), now()));
    }

    fn row(&self, id: i32) -> Box<[Cell]> {
        let mut row = vec![Cell::Null; self.relation.columns.len()];
        row[0] = Cell::Text(Bytes::from(id.to_string()));
        row.into()
    }

    /// The events of the records from an offset on, in short form.
    fn events(&self, from: usize, reached: u64) -> Result<String, RecordError> {
        let decoder = Decoder::new(&self.catalog, DecodeOptions::default());
        let log = Log::Partition(TopicPartition { topic: "t".to_owned(), partition: 0 });
        let origin = Origin { system_identifier: "7".to_owned(), timeline: 1, log };
        let events = self.read_by(Transactions::new(decoder, origin, Lsn(reached)), from)?;
        Ok(events.iter().map(short).collect::<Vec<_>>().join(" "))
    }

    /// The same for one of several partitions.
    fn events_of_each(&self) -> Vec<Event> {
        let decoder = Decoder::new(&self.catalog, DecodeOptions::default());
        let log = Log::Partition(TopicPartition { topic: "t".to_owned(), partition: 0 });
        let origin = Origin { system_identifier: "7".to_owned(), timeline: 1, log };
        self.read_by(Transactions::each_alone(decoder, origin, Lsn::ZERO, None), 0).unwrap()
    }

    fn read_by(
        &self,
        mut transactions: Transactions,
        from: usize,
    ) -> Result<Vec<Event>, RecordError> {
        let mut events = Vec::new();
        for (offset, record) in self.records.iter().enumerate().skip(from) {
            match transactions.record(offset as u64, record, &mut events) {
                Err(RecordError::Malformed(_)) => {
                    transactions.pass_over(offset as u64, &mut events)
                }
                taken => taken?,
            }
        }
        Ok(events)
    }
}

/// An encoder for a cluster with this system identifier.
pub fn encoder(cluster: &str, catalog: &Catalog) -> Encoder {
    encoder_on(cluster, 1, catalog)
}

fn encoder_on(cluster: &str, timeline: i64, catalog: &Catalog) -> Encoder {
    let history = History { system_identifier: cluster.to_owned(), timeline };
    let names = Names {
        pipeline: "p".to_owned(),
        database: "d".to_owned(),
        version: "0".to_owned(),
        history,
    };
    Encoder::new(names, catalog)
}

fn now() -> Timestamp {
    Timestamp { unix_micros: 1_700_000_001_000_000 }
}

/// `B3` begins at offset 3; `C5=130` ends before offset 5 at LSN 130 (hexadecimal); `k` is a
/// keepalive; a row is its id.
fn short(event: &Event) -> String {
    let id = |cell: &Cell| match cell {
        Cell::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
        _ => "?".to_owned(),
    };
    match event {
        Event::Begin(begin) => format!("B{}", begin.commit_lsn.0),
        Event::Change(Change::Insert { new, .. }) => id(&new[0]),
        Event::Change(Change::Update { before: Before::Key(old), new, .. }) => {
            format!("{}>{}", id(&old[0]), id(&new[0]))
        }
        Event::Change(_) => "other".to_owned(),
        Event::Commit(commit) => format!("C{}={:x}", commit.end_lsn.0, commit.source_lsn.0),
        Event::Keepalive { wal_end, source_lsn, .. } => {
            format!("k{}={:x}", wal_end.0, source_lsn.0)
        }
    }
}

#[test]
fn a_transaction_is_whole_and_its_positions_are_offsets() {
    let mut partition = Partition::new();
    partition.read(1);
    partition.transaction(0x100, &[(2, 2), (3, 3)], 0..2);
    partition.heartbeat(0x180);
    assert_eq!(partition.events(0, 0).unwrap(), "B0 1 C1=0 B1 2 3 C3=130 k4=180");
}

#[test]
fn a_key_change_is_one_change_wherever_reading_begins_before_it() {
    let mut partition = Partition::new();
    partition.transaction(0x100, &[(2, 2)], 0..1);
    partition.transaction(0x200, &[(2, 9), (3, 3)], 0..2);
    // Delete, tombstone and insert are at 1, 2 and 3.
    assert_eq!(partition.events(0, 0).unwrap(), "B0 2 C1=130 B1 2>9 3 C5=230");
    assert_eq!(partition.events(1, 0x130).unwrap(), "B1 2>9 3 C5=230");
}

#[test]
fn what_a_publisher_repeats_is_dropped_and_moves_nothing() {
    let (first, second) = ([(1, 1)], [(2, 2), (3, 3), (4, 4)]);
    let mut partition = Partition::new();
    partition.transaction(0x100, &first, 0..1);
    partition.transaction(0x200, &second, 0..2);
    partition.transaction(0x100, &first, 0..1);
    partition.transaction(0x200, &second, 0..3);
    assert_eq!(partition.events(0, 0).unwrap(), "B0 1 C1=130 B1 2 3 4 C7=230");
    // After a restart from the checkpoint the same records are dropped, by the LSN that it has
    // reached.
    assert_eq!(partition.events(1, 0x130).unwrap(), "B1 2 3 4 C7=230");
    // After a reset everything from the first record on is applied.
    assert_eq!(partition.events(3, 0).unwrap(), "B3 1 C4=130 B4 2 3 4 C7=230");
}

#[test]
fn a_heartbeat_behind_a_transaction_ends_it_and_one_before_it_does_not() {
    let mut partition = Partition::new();
    partition.transaction(0x100, &[(1, 1), (2, 2)], 0..1);
    partition.heartbeat(0x100);
    partition.heartbeat(0x130);
    partition.transaction(0x200, &[(3, 3)], 0..1);
    assert_eq!(partition.events(0, 0).unwrap(), "B0 1 C3=130 B3 3 C4=230");
}

#[test]
fn an_earlier_heartbeat_is_no_news() {
    let mut partition = Partition::new();
    partition.transaction(0x200, &[(1, 1)], 0..1);
    partition.heartbeat(0x100);
    partition.heartbeat(0x300);
    // The graph may be ahead of the whole topic: the position moves in any case.
    assert_eq!(partition.events(0, 0).unwrap(), "B0 1 C1=230 k2=230 k3=300");
    assert_eq!(partition.events(0, 0x400).unwrap(), "k1=400 k2=400 k3=400");
}

#[test]
fn a_row_that_is_read_inside_an_unfinished_transaction_keeps_its_place() {
    let changes = [(1, 1), (2, 2)];
    let mut partition = Partition::new();
    partition.transaction(0x100, &changes, 0..1);
    partition.read(7);
    partition.transaction(0x100, &changes, 0..2);
    assert_eq!(partition.events(0, 0).unwrap(), "B0 1 7 2 C4=130");
}

#[test]
fn a_transaction_without_an_end_stops() {
    let mut partition = Partition::new();
    partition.transaction(0x100, &[(1, 1), (2, 2)], 0..1);
    partition.transaction(0x200, &[(3, 3)], 0..1);
    let error = partition.events(0, 0).unwrap_err();
    assert_eq!(error, RecordError::NoEnd { open: Lsn(0x100), found: Lsn(0x200) });
}

#[test]
fn a_transaction_whose_last_record_was_passed_over_ends_where_the_next_begins() {
    let mut partition = Partition::new();
    partition.transaction(0x100, &[(1, 1), (2, 2)], 0..2);
    partition.transaction(0x200, &[(3, 3)], 0..1);
    partition.records[1].value = Some(Bytes::from_static(b"no envelope"));
    assert_eq!(partition.events(0, 0).unwrap(), "B0 1 C2=100 B2 3 C3=230");
}

#[test]
fn another_history_stops() {
    let mut partition = Partition::new();
    partition.encoder = encoder("8", &partition.catalog);
    partition.heartbeat(0x100);
    let error = partition.events(0, 0).unwrap_err();
    assert!(matches!(error, RecordError::OtherHistory { .. }), "{error}");
}

#[test]
fn a_later_timeline_is_followed_and_what_comes_of_an_earlier_one_then_is_not() {
    let mut partition = Partition::new();
    partition.transaction(0x100, &[(1, 1)], 0..1);
    let old = encoder("7", &partition.catalog);
    partition.encoder = encoder_on("7", 2, &partition.catalog);
    partition.heartbeat(0x130);
    partition.transaction(0x200, &[(2, 2)], 0..1);
    let promoted = partition.events(0, 0).unwrap();
    assert!(promoted.starts_with("B0 1 C1=130") && promoted.ends_with("B2 2 C3=230"), "{promoted}");
    // What a killed publisher had on its way says nothing new.
    partition.encoder = old;
    partition.transaction(0x100, &[(1, 1)], 0..1);
    partition.heartbeat(0x130);
    let late = partition.events(0, 0).unwrap();
    assert_eq!(late, format!("{promoted} k4=230 k5=230"));
    // The old server goes on by itself.
    partition.transaction(0x230, &[(3, 3)], 0..1);
    let error = partition.events(0, 0).unwrap_err();
    assert!(matches!(error, RecordError::OtherHistory { .. }), "{error}");
}

/// Debezium's records, and then those of `publish`, in one topic.
#[test]
fn a_record_that_names_its_source_is_of_another_publisher_where_the_graph_names_none() {
    let partition = Partition::new();
    let log = Log::Partition(TopicPartition { topic: "t".to_owned(), partition: 0 });
    let origin = Origin { system_identifier: String::new(), timeline: 0, log };
    let decoder = Decoder::new(&partition.catalog, DecodeOptions::default());
    let mut transactions = Transactions::new(decoder, origin, Lsn(0));
    let heartbeat = partition.encoder.heartbeat(Lsn(0x100), now());
    let error = transactions.record(0, &heartbeat, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("does not name its source"), "{error}");
    assert!(error.contains("of database cluster 7 on timeline") && !error.contains("from  on"));
}

#[test]
fn of_several_partitions_each_record_is_a_transaction_with_its_stamp() {
    let changes = [(2, 9), (3, 3)];
    let mut partition = Partition::new();
    partition.read(1);
    partition.transaction(0x100, &changes, 0..2);
    // The publisher publishes it again: the place identifies both halves of the key change.
    partition.transaction(0x100, &changes, 0..2);
    let events = partition.events_of_each();
    let texts: Vec<String> = events.iter().map(short).collect();
    let expected = "B0 1 C1=0 B1 other C2=0 k3=0 B3 9 C4=0 B4 3 C5=130 k6=130 k7=130 k8=130 k9=130";
    assert_eq!(texts.join(" "), expected);
    let stamps = events.iter().filter_map(|event| match event {
        Event::Begin(begin) => begin.stamp,
        _ => None,
    });
    let change = |index| Stamp::of_change(Lsn(0x100), index);
    let expected = [Stamp::of_read(Lsn(1)), change(0), change(0), change(1)];
    assert_eq!(stamps.collect::<Vec<_>>(), expected);
}

#[test]
fn a_row_that_was_read_before_what_precedes_it_is_a_late_one() {
    let mut partition = Partition::new();
    partition.read(1);
    partition.heartbeat(0x100);
    partition.read(1);
    assert_eq!(partition.events(0, 0).unwrap(), "B0 1 C1=0 k2=100 k3=100");
    // After a reset to an offset behind the heartbeat, nothing is known to precede it.
    assert_eq!(partition.events(2, 0).unwrap(), "B2 1 C3=0");
}

#[test]
fn a_position_that_was_named_stays_known_with_a_record_that_names_none() {
    let mut partition = Partition::new();
    partition.heartbeat(0x100);
    partition.transaction(0x200, &[(1, 1), (2, 2)], 0..1);
    // A reader that stops here has a record of 0x100 before its checkpoint.
    let texts: Vec<String> = partition.events_of_each().iter().map(short).collect();
    assert_eq!(texts.join(" "), "k1=100 B1 1 C2=100");
}

#[test]
fn a_transaction_whose_end_is_named_only_when_it_comes_again_has_ended() {
    let mut partition = Partition::new();
    // Its publisher had cut off a last part without changes, and died before sending it.
    partition.transaction(0x100, &[(1, 1), (2, 2)], 0..1);
    partition.transaction(0x100, &[(1, 1)], 0..1);
    partition.transaction(0x200, &[(3, 3)], 0..1);
    assert_eq!(partition.events(0, 0).unwrap(), "B0 1 C2=130 B2 3 C3=230");
    let texts: Vec<String> = partition.events_of_each().iter().map(short).collect();
    assert_eq!(texts.join(" "), "B0 1 C1=0 k2=130 B2 3 C3=230");
}

#[test]
fn the_place_of_another_transaction_than_the_one_in_part_was_shown_as_an_lsn() {
    let part = Some(Part { commit_lsn: Lsn(26), events: 3 });
    let mut engine = Engine::new(Limits::DEFAULT, Position { lsn: Lsn(26), part });
    let committed_at = Timestamp::default();
    let begin = Begin { xid: 5, commit_lsn: Lsn(40), committed_at, stamp: None };
    let error = engine.handle(Input::Event(Event::Begin(begin))).unwrap_err();
    let about = |log: Log| PipelineError::from(error.clone()).about(|_| None, &log).to_string();
    let partition = TopicPartition { topic: "t".to_owned(), partition: 0 };
    let of_topic = about(Log::Partition(partition));
    let offsets =
        "committed at offset 26, but the stream goes on with the one at offset 40: the topic";
    assert!(of_topic.contains(offsets), "{of_topic}");
    let of_slot = about(Log::Slot("s".to_owned()));
    assert!(
        of_slot.contains("at 0/1A, but the stream goes on with the one at 0/28: the slot"),
        "{of_slot}"
    );
}

#[test]
fn messages_change_nothing_wherever_they_stand_in_a_transaction() {
    let changes = [(1, 1), (2, 2)];
    let mut partition = Partition::new();
    partition.message(0x100);
    partition.transaction(0x100, &changes, 0..1);
    partition.message(0x100);
    partition.transaction(0x100, &changes, 1..2);
    // One of messages alone, and one that ends with a message: its last change names no end.
    partition.message(0x200);
    partition.transaction(0x300, &changes, 0..1);
    partition.message(0x300);
    partition.heartbeat(0x330);
    partition.transaction(0x400, &changes, 0..2);
    let expected = "k1=0 B1 1 2 C4=130 k5=130 B5 1 C8=330 B8 1 2 C10=430";
    assert_eq!(partition.events(0, 0).unwrap(), expected);
    let texts: Vec<String> = partition.events_of_each().iter().map(short).collect();
    let inserted = texts.iter().filter(|text| ["1", "2"].contains(&text.as_str())).count();
    assert_eq!(inserted, 5, "{texts:?}");
}

#[test]
fn a_heartbeat_of_the_same_pipeline_on_another_database_or_through_another_slot_counted_as_own() {
    let mut partition = Partition::new();
    partition.heartbeat(0x100);
    let with = |partition: &mut Partition, name: &str, value: &'static str| {
        let headers = &mut partition.records.last_mut().unwrap().headers;
        headers.push((name.to_owned(), Bytes::from_static(value.as_bytes())));
    };
    with(&mut partition, "wal2graph.database", "d");
    with(&mut partition, "wal2graph.slot", "s");
    let read = |partition: &Partition, database| {
        let decoder = Decoder::new(&partition.catalog, DecodeOptions::default());
        let log = Log::Partition(TopicPartition { topic: "t".to_owned(), partition: 0 });
        let origin = Origin { system_identifier: "7".to_owned(), timeline: 1, log };
        let transactions = Transactions::new(decoder, origin, Lsn(0)).of_database(database);
        partition.read_by(transactions, 0)
    };
    read(&partition, "d").unwrap();
    let (expected, found) = ("e".to_owned(), "d".to_owned());
    let error = read(&partition, "e").unwrap_err();
    assert!(error.is_of_one_record(), "a stranger may be put aside");
    assert_eq!(error, OtherPublisher::Database { expected, found }.into());
    partition.heartbeat(0x200);
    read(&partition, "d").unwrap();
    partition.heartbeat(0x300);
    with(&mut partition, "wal2graph.slot", "t");
    let error = read(&partition, "d").unwrap_err();
    assert!(!error.is_of_one_record(), "its changes are among the others");
    let (expected, found) = ("s".to_owned(), "t".to_owned());
    assert_eq!(error, OtherPublisher::Slot { expected, found }.into());
}
