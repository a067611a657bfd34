//! Frames recorded from a real server, and the decoder's results for them.
//!
//! ```text
//! tests/golden/<case>/source.sql   what was run            (record.sh runs it)
//!                     frames.hex   what the server sent    one pgoutput message a line
//!                     changes.txt  what we read in it      UPDATE_GOLDEN=1 rewrites it
//! ```
#![allow(clippy::unwrap_used)]

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use wal2graph::{
    change::{Before, Cell, Change, Event, Relation, Tuple},
    pgoutput::{Decoder, Message},
};

/// A recorded case.
pub struct Case {
    pub directory: PathBuf,
    pub frames: Vec<Bytes>,
}

/// All recorded cases, in the order of their names.
pub fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut directories: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    directories.sort();
    assert!(directories.len() >= 10, "tests/golden has lost cases: {directories:?}");
    directories.into_iter().map(Case::read).collect()
}

impl Case {
    fn read(directory: PathBuf) -> Case {
        let text = fs::read_to_string(directory.join("frames.hex")).unwrap();
        let frames = text.lines().map(from_hex).collect();
        Case { directory, frames }
    }

    /// Compares `actual` with the file `name` of the case, or writes it under `UPDATE_GOLDEN=1`.
    pub fn expect(&self, name: &str, actual: &str) {
        let path = self.directory.join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
            fs::write(&path, actual).unwrap();
            return;
        }
        let expected = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_GOLDEN=1", path.display()));
        for (number, (actual, expected)) in actual.lines().zip(expected.lines()).enumerate() {
            assert_eq!(actual, expected, "{} line {}", path.display(), number + 1);
        }
        assert_eq!(actual, expected, "{}", path.display());
    }
}

/// The bytes of a line of hexadecimal digits.
pub fn from_hex(line: &str) -> Bytes {
    assert!(line.len().is_multiple_of(2), "odd number of hexadecimal digits");
    let byte = |at| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
    (0..line.len()).step_by(2).map(byte).collect()
}

#[test]
fn recorded_frames_give_these_changes() {
    for case in cases() {
        let mut decoder = Decoder::new();
        let mut text = String::new();
        for frame in &case.frames {
            let message = Message::decode(frame.clone()).unwrap();
            let described = describe_message(&message);
            match decoder.accept(message).unwrap() {
                Some(event) => describe_event(&mut text, &event),
                None => writeln!(text, "# {}", described.trim_end()).unwrap(),
            }
        }
        assert!(!decoder.in_transaction(), "{}", case.directory.display());
        case.expect("changes.txt", &text);
    }
}

/// A message without an event is part of the recording too.
fn describe_message(message: &Message) -> String {
    match message {
        Message::Relation(relation) => {
            let columns = relation.columns.iter().map(|column| {
                let key = if column.identity { "*" } else { "" };
                format!("{key}{} {}({})", column.name, column.type_oid, column.type_modifier)
            });
            let columns = columns.collect::<Vec<_>>().join(", ");
            let (table, identity) = (table(relation), relation.replica_identity);
            format!("relation {} {table} identity {identity:?}: {columns}", relation.oid)
        }
        other => format!("{other:?}"),
    }
}

fn describe_event(text: &mut String, event: &Event) {
    match event {
        Event::Begin(begin) => writeln!(
            text,
            "begin {} commit {} at {}",
            begin.xid, begin.commit_lsn, begin.committed_at.unix_micros
        ),
        Event::Commit(commit) => writeln!(
            text,
            "commit {} end {} at {}",
            commit.commit_lsn, commit.end_lsn, commit.committed_at.unix_micros
        ),
        Event::Change(change) => writeln!(text, "  {}", describe_change(change)),
        Event::Keepalive { .. } => panic!("a pgoutput message is no keepalive"),
    }
    .unwrap();
}

fn describe_change(change: &Change) -> String {
    match change {
        Change::Insert { relation, new } => format!("insert {}", row(relation, new)),
        Change::Update { relation, before, new } => {
            let before = describe_before(relation, before);
            let arrow = if before.is_empty() { "" } else { " ->" };
            format!("update{before}{arrow} {}", row(relation, new))
        }
        Change::Delete { relation, before } => {
            format!("delete{}", describe_before(relation, before))
        }
        Change::Truncate { relations } => {
            let tables: Vec<_> = relations.iter().map(|relation| table(relation)).collect();
            format!("truncate {}", tables.join(", "))
        }
        Change::Message { prefix, content } => format!("message {prefix} {}", shortened(content)),
    }
}

fn describe_before(relation: &Relation, before: &Before) -> String {
    match before {
        Before::Absent => String::new(),
        Before::Key(tuple) => format!(" key {}", row(relation, tuple)),
        Before::Full(tuple) => format!(" full {}", row(relation, tuple)),
    }
}

fn row(relation: &Relation, tuple: &Tuple) -> String {
    let cells = relation.columns.iter().zip(tuple).map(|(column, cell)| match cell {
        Cell::Null => format!("{}=null", column.name),
        Cell::Unchanged => format!("{}=unchanged", column.name),
        Cell::Text(text) => format!("{}={}", column.name, shortened(text)),
    });
    format!("{}({})", table(relation), cells.collect::<Vec<_>>().join(", "))
}

/// Long values as their beginning and length.
fn shortened(text: &Bytes) -> String {
    const SHOWN: usize = 60;
    let text = std::str::from_utf8(text).unwrap();
    match text.char_indices().nth(SHOWN) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}... {} bytes", &text[..end], text.len()),
    }
}

fn table(relation: &Relation) -> String {
    format!("{}.{}", relation.schema, relation.name)
}
