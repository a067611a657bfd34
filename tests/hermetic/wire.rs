//! The pgoutput decoder: any bytes.
#![allow(clippy::unwrap_used)]

mod messages;

use std::sync::Arc;

use bytes::{BufMut, Bytes};
use proptest::prelude::*;
use wal2graph::{
    change::{
        Before, Begin, Cell, Change, Commit, Event, Relation, RelationColumn, ReplicaIdentity,
        Timestamp, Tuple,
    },
    lsn::Lsn,
    pgoutput::{
        DecodeError, Decoder, Malformed, Message, StreamError,
        frame::{Frame, Keepalive, StatusUpdate, XLogData},
    },
};

use crate::golden;

use messages::{EPOCH, any_message, encode};

proptest! {
    #[test]
    fn a_message_is_read_as_it_was_written(message in any_message()) {
        prop_assert_eq!(Message::decode(encode(&message)).unwrap(), message);
    }

    #[test]
    fn no_part_of_a_message_and_nothing_longer_is_a_message(message in any_message()) {
        let frame = encode(&message);
        for length in 0..frame.len() {
            let error = Message::decode(frame.slice(..length)).unwrap_err();
            prop_assert!(error.offset <= length, "{:?} in {} bytes", error, length);
        }
        let mut longer = frame.to_vec();
        longer.push(0);
        let error = Message::decode(Bytes::from(longer)).unwrap_err();
        let trailing = Malformed::Trailing { bytes: 1 };
        prop_assert_eq!(error, DecodeError { offset: frame.len(), what: trailing });
    }
}

// Any bytes.

/// Pseudo-random numbers, equal for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn seeded() -> Random {
        let given = std::env::var("SEED").ok().map(|seed| seed.parse().unwrap());
        let clock = || std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let seed = given.unwrap_or_else(clock);
        println!("SEED={seed}");
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

fn mutate(random: &mut Random, frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len().max(1)).min(bytes.len());
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 if at < bytes.len() => bytes[at] = [0, 0x7F, 0x80, 0xFF][random.below(4)],
            3 => bytes.truncate(at),
            4 => bytes.insert(at, random.next() as u8),
            _ => bytes.extend((0..random.below(9)).map(|_| random.next() as u8)),
        }
    }
    bytes
}

#[test]
fn damaged_frames_never_panic_and_errors_point_into_the_frame() {
    const MUTATIONS: usize = 240_000;
    let mut random = Random::seeded();
    // Long values add time, not cases.
    let frames: Vec<Bytes> = golden::cases()
        .into_iter()
        .flat_map(|case| case.frames)
        .filter(|frame| frame.len() < 400)
        .collect();
    let (mut read, mut refused) = (0, 0);
    for _ in 0..MUTATIONS {
        let whole = &frames[random.below(frames.len())];
        let bytes = Bytes::from(mutate(&mut random, whole));
        match Message::decode(bytes.clone()) {
            // The message covers all of the frame: nothing was skipped or invented.
            Ok(message) => {
                read += 1;
                assert_eq!(canonical(encode(&message)), canonical(bytes));
            }
            Err(error) => {
                refused += 1;
                assert!(error.offset <= bytes.len(), "{error:?} in {} bytes", bytes.len());
            }
        }
    }
    assert!(read > MUTATIONS / 100 && refused > MUTATIONS / 100, "{read} read, {refused} refused");
}

/// An empty schema and `pg_catalog` are two spellings of one name.
fn canonical(frame: Bytes) -> Bytes {
    let rest = match frame.first() {
        Some(b'R' | b'Y') => frame.get(5..).and_then(|rest| rest.strip_prefix(b"pg_catalog")),
        _ => None,
    };
    match rest {
        Some(rest) => [&frame[..5], rest].concat().into(),
        None => frame,
    }
}

#[test]
fn damaged_streams_never_panic() {
    let mut random = Random::seeded();
    let cases = golden::cases();
    let mut refused = 0;
    for _ in 0..2_000 {
        let case = &cases[random.below(cases.len())];
        let mut frames = case.frames.clone();
        let (at, other) = (random.below(frames.len()), random.below(frames.len()));
        match random.below(4) {
            0 => drop(frames.remove(at)),
            1 => frames.swap(at, other),
            2 => frames.insert(at, frames[other].clone()),
            _ => frames[at] = mutate(&mut random, &frames[at]).into(),
        }
        let mut decoder = Decoder::new();
        let done = frames.into_iter().try_for_each(|frame| decoder.decode(frame).map(drop));
        refused += usize::from(done.is_err());
    }
    assert!(refused > 500, "only {refused} of 2000 damaged streams were refused");
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random::seeded();
    for _ in 0..60_000 {
        let mut bytes: Vec<u8> =
            (0..random.below(64)).map(|_| random.next() as u8 & random.next() as u8).collect();
        if let Some(first) = bytes.first_mut() {
            *first = b"BCORYIUDTMwk"[random.below(12)];
        }
        let bytes = Bytes::from(bytes);
        let _ = Message::decode(bytes.clone());
        let _ = Frame::decode(bytes);
    }
}

fn refusal(frame: &[u8]) -> DecodeError {
    Message::decode(Bytes::copy_from_slice(frame)).unwrap_err()
}

fn claims(offset: usize, claimed: u64, rest: usize, error: DecodeError) {
    let Malformed::Claims { claimed: said, rest: follows, .. } = error.what else {
        panic!("{error:?}");
    };
    assert_eq!((error.offset, said, follows), (offset, claimed, rest));
}

/// The error comes before anything is read or allocated for the claim.
#[test]
fn a_claim_beyond_the_frame_is_refused_where_it_stands() {
    claims(1, 1 << 31, 4, refusal(b"T\x80\0\0\0\0abcd"));
    claims(1, 2, 4, refusal(b"T\0\0\0\x02\0abcd"));
    claims(6, 0xFFFF, 1, refusal(b"I\0\0\0\x01N\xFF\xFFn"));
    claims(9, 0xFFFF_FFFF, 3, refusal(b"I\0\0\0\x01N\0\x01t\xFF\xFF\xFF\xFFabc"));
    claims(9, 0x8000_0000, 0, refusal(b"I\0\0\0\x01N\0\x01t\x80\0\0\0"));
    claims(9, 0xFFFF, 10, refusal(b"R\0\0\0\x01a\0\0d\xFF\xFF0123456789"));
    claims(11, 0x7FFF_FFFF, 2, refusal(b"M\0\0\0\0\0\0\0\0\0\0\x7F\xFF\xFF\xFFab"));
}

#[test]
fn errors_name_the_cause() {
    let says = |frame: &[u8], offset: usize, words: &str| {
        let error = refusal(frame);
        assert_eq!(error.offset, offset, "{error}");
        assert!(error.to_string().contains(words), "{error} does not say {words:?}");
    };
    says(b"", 0, "ends inside the message's type");
    says(b"S\0\0\0\x01\0", 0, "0x53 is no message type of protocol version 1");
    says(b"I\0\0\0\x01N\0\x01b\0\0\0\x01a", 8, "without the option `binary`");
    says(b"I\0\0\0\x01N\0\x01x", 8, "kind of value");
    says(b"I\0\0\0\x01K\0\x01n", 5, "kind of row in an Insert");
    says(b"D\0\0\0\x01N\0\x01n", 5, "kind of row in a Delete");
    says(b"U\0\0\0\x01K\0\x01nK\0\x01n", 9, "kind of second row");
    says(b"T\0\0\0\x01\x04\0\0\0\x01", 5, "Truncate's flags");
    says(
        b"R\0\0\0\x01ab\xFFc\0n\0d\0\0",
        7,
        "is not UTF-8, in a database of the encoding SQL_ASCII: rename it",
    );
    says(b"B\0\0\0\0\0\0\0\0\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\x01", 9, "out of range");
    says(b"C\x01", 1, "Commit's flags");
}

#[test]
fn values_share_the_frames_memory() {
    let frame = Bytes::from_static(b"I\0\0\0\x01N\0\x01t\0\0\0\x03abc");
    let Message::Insert { new, .. } = Message::decode(frame.clone()).unwrap() else { panic!() };
    let Cell::Text(text) = &new[0] else { panic!() };
    assert_eq!(text.as_ptr(), frame[13..].as_ptr());
}

// The order of messages.

const COMMIT: Lsn = Lsn(0x100);

fn begin() -> Message {
    Message::Begin(Begin {
        xid: 7,
        commit_lsn: COMMIT,
        committed_at: Timestamp::default(),
        stamp: None,
    })
}

fn commit(commit_lsn: Lsn, end_lsn: Lsn) -> Message {
    let committed_at = Timestamp::default();
    Message::Commit(Commit { commit_lsn, end_lsn, source_lsn: end_lsn, committed_at })
}

fn people(columns: &[&str]) -> Relation {
    let column = |name: &&str| RelationColumn {
        name: (*name).to_owned(),
        type_oid: 25,
        type_modifier: -1,
        identity: false,
    };
    Relation {
        oid: 1,
        schema: "public".to_owned(),
        name: "people".to_owned(),
        replica_identity: ReplicaIdentity::Default,
        columns: columns.iter().map(column).collect(),
        leaf: None,
    }
}

fn nulls(count: usize) -> Tuple {
    vec![Cell::Null; count].into_boxed_slice()
}

fn insert(columns: usize) -> Message {
    Message::Insert { relation: 1, new: nulls(columns) }
}

fn truncate(relations: &[u32]) -> Message {
    let relations = relations.to_vec();
    Message::Truncate { relations, cascade: false, restart_identity: false }
}

fn logical(transactional: bool) -> Message {
    let (prefix, content) = ("p".to_owned(), Bytes::new());
    Message::Logical { transactional, lsn: Lsn::ZERO, prefix, content }
}

/// The result of the last message. The decoder must accept the ones before it.
fn last(messages: Vec<Message>) -> Result<Option<Event>, StreamError> {
    let mut decoder = Decoder::new();
    let mut result = Ok(None);
    for message in messages {
        result.unwrap();
        result = decoder.accept(message);
    }
    result
}

fn last_error(messages: Vec<Message>) -> StreamError {
    last(messages).unwrap_err()
}

#[test]
fn what_breaks_the_order_of_messages_is_refused() {
    use StreamError::{Columns, CommitEnd, Nested, OtherCommit, Outside, UnknownRelation};
    let described = || Message::Relation(people(&["id", "name"]));
    let end = Lsn(0x130);

    assert_eq!(last_error(vec![begin(), begin()]), Nested { open: COMMIT, inner: COMMIT });
    let outside = |message| Outside { message };
    assert_eq!(last_error(vec![described(), insert(2)]), outside("Insert"));
    assert_eq!(last_error(vec![described(), truncate(&[1])]), outside("Truncate"));
    assert_eq!(last_error(vec![commit(COMMIT, end)]), outside("Commit"));
    assert_eq!(last_error(vec![logical(true)]), outside("Message"));
    let origin = Message::Origin { commit_lsn: COMMIT, name: "o".to_owned() };
    assert_eq!(last_error(vec![origin]), outside("Origin"));

    assert_eq!(last_error(vec![begin(), insert(2)]), UnknownRelation { message: "Insert", oid: 1 });
    assert_eq!(
        last_error(vec![described(), begin(), truncate(&[1, 2])]),
        UnknownRelation { message: "Truncate", oid: 2 }
    );
    let columns = |message, cells| Columns {
        message,
        relation: "public.people".to_owned(),
        cells,
        columns: 2,
    };
    let update = |before, new| Message::Update { relation: 1, before, new: nulls(new) };
    let delete = |before| Message::Delete { relation: 1, before };
    for (message, error) in [
        (insert(3), columns("Insert", 3)),
        (update(Before::Absent, 1), columns("Update", 1)),
        (update(Before::Key(nulls(1)), 2), columns("Update", 1)),
        (update(Before::Full(nulls(2)), 3), columns("Update", 3)),
        (delete(Before::Full(nulls(0))), columns("Delete", 0)),
    ] {
        assert_eq!(last_error(vec![described(), begin(), message]), error);
    }
    assert_eq!(
        last_error(vec![begin(), commit(Lsn(0x101), end)]),
        OtherCommit { open: COMMIT, commit: Lsn(0x101) }
    );
    assert_eq!(
        last_error(vec![begin(), commit(COMMIT, COMMIT)]),
        CommitEnd { commit: COMMIT, end: COMMIT }
    );
}

#[test]
fn what_tells_of_no_change_gives_no_event() {
    let type_ = Message::Type { oid: 9, schema: "public".to_owned(), name: "mood".to_owned() };
    let described = || Message::Relation(people(&["id"]));
    let outside = [type_.clone(), described(), logical(false)];
    let inside = [type_, described(), logical(false)];
    for message in outside {
        assert_eq!(last(vec![message]), Ok(None));
    }
    for message in inside {
        assert_eq!(last(vec![begin(), message]), Ok(None));
    }
}

#[test]
fn a_message_of_a_transaction_is_one_of_its_changes_and_no_event_that_counts() {
    let Ok(Some(Event::Change(message))) = last(vec![begin(), logical(true)]) else { panic!() };
    assert!(matches!(&message, Change::Message { prefix, .. } if prefix == "p"), "{message:?}");
    assert!(!message.is_event());
    assert_eq!(last(vec![logical(true)]), Err(StreamError::Outside { message: "Message" }));
}

/// The relation of the next row.
fn relation_of_row(decoder: &mut Decoder, columns: usize) -> Arc<Relation> {
    match decoder.accept(insert(columns)).unwrap() {
        Some(Event::Change(Change::Insert { relation, .. })) => relation,
        other => panic!("{other:?}"),
    }
}

/// With publish_via_partition_root, a partition is described right behind its root.
#[test]
fn a_partition_is_known_by_the_row_behind_its_description() {
    let described = |oid| Message::Relation(Relation { oid, ..people(&["id"]) });
    let mut decoder = Decoder::new();
    let mut leaf_after = |messages: Vec<Message>| {
        messages.into_iter().for_each(|it| drop(decoder.accept(it).unwrap()));
        relation_of_row(&mut decoder, 1).leaf
    };
    assert_eq!(leaf_after(vec![begin(), described(1)]), None);
    assert_eq!(leaf_after(vec![described(1), described(7)]), Some(7));
    assert_eq!(leaf_after(vec![]), Some(7), "until another one is named");
    let of_type = Message::Type { oid: 9, schema: "public".to_owned(), name: "mood".to_owned() };
    assert_eq!(leaf_after(vec![described(1), of_type, described(8)]), Some(8));
    // TRUNCATE of a root and of another table: both are described.
    assert_eq!(leaf_after(vec![described(1), described(9), truncate(&[1, 9])]), Some(8));
    assert_eq!(leaf_after(vec![described(2), described(9)]), Some(8), "another root's");
}

#[test]
fn a_relation_is_what_was_described_last() {
    let mut decoder = Decoder::new();
    decoder.accept(Message::Relation(people(&["id"]))).unwrap();
    decoder.accept(begin()).unwrap();
    let first = relation_of_row(&mut decoder, 1);
    decoder.accept(Message::Relation(people(&["id"]))).unwrap();
    let repeated = relation_of_row(&mut decoder, 1);
    assert!(Arc::ptr_eq(&first, &repeated), "an equal description made a new relation");
    decoder.accept(Message::Relation(people(&["id", "age"]))).unwrap();
    assert_eq!(*relation_of_row(&mut decoder, 2), people(&["id", "age"]));
    assert_eq!(*first, people(&["id"]), "what was handed out changed");
    decoder.accept(commit(COMMIT, Lsn(0x130))).unwrap();
    assert!(!decoder.in_transaction());
    decoder.accept(begin()).unwrap();
    relation_of_row(&mut decoder, 2);
}

// The frames of the replication connection.

#[test]
fn frames_of_the_connection_are_read() {
    let mut bytes = vec![b'w'];
    bytes.put_u64(0x16_B374_D848);
    bytes.put_u64(0);
    bytes.put_i64(1_000_000);
    bytes.put_slice(b"payload");
    let data = Frame::XLogData(XLogData {
        wal_start: Lsn(0x16_B374_D848),
        wal_end: Lsn::ZERO,
        sent_at: Timestamp { unix_micros: EPOCH + 1_000_000 },
        payload: Bytes::from_static(b"payload"),
    });
    assert_eq!(Frame::decode(bytes.clone().into()), Ok(data));
    for length in 0..25 {
        assert!(Frame::decode(Bytes::copy_from_slice(&bytes[..length])).is_err(), "{length}");
    }

    let mut bytes = vec![b'k'];
    bytes.put_u64(0x20);
    bytes.put_i64(-EPOCH);
    bytes.put_u8(1);
    let keepalive = Frame::Keepalive(Keepalive {
        wal_end: Lsn(0x20),
        sent_at: Timestamp { unix_micros: 0 },
        reply_requested: true,
    });
    assert_eq!(Frame::decode(bytes.clone().into()), Ok(keepalive));
    for length in 0..bytes.len() {
        assert!(Frame::decode(Bytes::copy_from_slice(&bytes[..length])).is_err(), "{length}");
    }
    bytes.push(0);
    assert!(Frame::decode(bytes.into()).is_err());
    assert!(Frame::decode(Bytes::from_static(b"s")).is_err());
}

/// The CopyData bodies of a walsender that sent one inserted row, and the answer that it accepted.
#[test]
fn recorded_frames_of_a_connection_are_read() {
    const RECORDED: [&str; 5] = [
        "6b0000000003f4a138000303c06b384b9b00",
        "770000000003f4a1380000000003f4a138000303c06b384ca1420000000003f4a218000303c06b36\
         7f9c0000036c",
        "7700000000000000000000000000000000000303c06b384d0352000041147075626c696300660064\
         00010169640000000017ffffffff",
        "770000000003f4a1380000000003f4a138000303c06b384d2449000041144e0001740000000131",
        "770000000003f4a2480000000003f4a248000303c06b384d2843000000000003f4a2180000000003f4a24800\
         0303c06b367f9c",
    ];
    let mut frames = RECORDED.map(|hex| Frame::decode(golden::from_hex(hex)).unwrap()).into_iter();
    let wal_end = Lsn(0x3F4_A138);
    let Some(Frame::Keepalive(keepalive)) = frames.next() else { panic!("no keepalive") };
    assert_eq!((keepalive.wal_end, keepalive.reply_requested), (wal_end, false));

    let mut decoder = Decoder::new();
    let mut starts = Vec::new();
    let mut end = None;
    for frame in frames {
        let Frame::XLogData(data) = frame else { panic!("{frame:?}") };
        assert_eq!(data.wal_start, data.wal_end);
        starts.push(data.wal_start);
        if let Some(Event::Commit(commit)) = decoder.decode(data.payload).unwrap() {
            end = Some(commit.end_lsn);
        }
    }
    let end = end.unwrap();
    assert_eq!(starts, [wal_end, Lsn::ZERO, wal_end, end]);

    let clock = Timestamp { unix_micros: EPOCH };
    let (written, flushed, applied) = (end, end, end);
    let update = StatusUpdate { written, flushed, applied, clock, reply_requested: true };
    let taken = "720000000003f4a2480000000003f4a2480000000003f4a248000000000000000001";
    assert_eq!(update.encode(), golden::from_hex(taken));
}

#[test]
fn a_status_update_is_written_as_documented() {
    let update = StatusUpdate {
        written: Lsn(0x0102),
        flushed: Lsn(0x03),
        applied: Lsn(0x0405_0607_0809_0A0B),
        clock: Timestamp { unix_micros: EPOCH + 258 },
        reply_requested: true,
    };
    let expected = b"r\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x03\x04\x05\x06\x07\x08\x09\x0A\x0B\
        \0\0\0\0\0\0\x01\x02\x01";
    assert_eq!(&update.encode()[..], expected);
}
