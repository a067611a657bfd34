//! Any message, and its bytes.

use bytes::{BufMut, Bytes};
use proptest::{collection::vec, prelude::*};
use wal2graph::{
    change::{
        Before, Begin, Cell, Commit, Relation, RelationColumn, ReplicaIdentity, Timestamp, Tuple,
    },
    lsn::Lsn,
    pgoutput::Message,
};

/// 2000-01-01 UTC in microseconds since 1970: the protocol's times count from there.
pub const EPOCH: i64 = 946_684_800_000_000;

/// The message's bytes: a second implementation of the protocol's documentation, in the other
/// direction.
pub fn encode(message: &Message) -> Bytes {
    let mut out = Vec::new();
    match message {
        Message::Begin(begin) => {
            out.put_u8(b'B');
            out.put_u64(begin.commit_lsn.0);
            out.put_i64(begin.committed_at.unix_micros - EPOCH);
            out.put_u32(begin.xid);
        }
        Message::Commit(commit) => {
            out.put_slice(b"C\0");
            out.put_u64(commit.commit_lsn.0);
            out.put_u64(commit.end_lsn.0);
            out.put_i64(commit.committed_at.unix_micros - EPOCH);
        }
        Message::Origin { commit_lsn, name } => {
            out.put_u8(b'O');
            out.put_u64(commit_lsn.0);
            put_string(&mut out, name);
        }
        Message::Relation(relation) => put_relation(&mut out, relation),
        Message::Type { oid, schema, name } => {
            out.put_u8(b'Y');
            out.put_u32(*oid);
            put_schema(&mut out, schema);
            put_string(&mut out, name);
        }
        Message::Insert { relation, new } => {
            out.put_u8(b'I');
            out.put_u32(*relation);
            put_tuple(&mut out, b'N', new);
        }
        Message::Update { relation, before, new } => {
            out.put_u8(b'U');
            out.put_u32(*relation);
            put_before(&mut out, before);
            put_tuple(&mut out, b'N', new);
        }
        Message::Delete { relation, before } => {
            out.put_u8(b'D');
            out.put_u32(*relation);
            put_before(&mut out, before);
        }
        Message::Truncate { relations, cascade, restart_identity } => {
            out.put_u8(b'T');
            out.put_u32(relations.len() as u32);
            out.put_u8(u8::from(*cascade) | u8::from(*restart_identity) << 1);
            relations.iter().for_each(|oid| out.put_u32(*oid));
        }
        Message::Logical { transactional, lsn, prefix, content } => {
            out.put_u8(b'M');
            out.put_u8(u8::from(*transactional));
            out.put_u64(lsn.0);
            put_string(&mut out, prefix);
            out.put_u32(content.len() as u32);
            out.put_slice(content);
        }
    }
    Bytes::from(out)
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.put_slice(text.as_bytes());
    out.put_u8(0);
}

fn put_schema(out: &mut Vec<u8>, schema: &str) {
    put_string(out, if schema == "pg_catalog" { "" } else { schema });
}

fn put_relation(out: &mut Vec<u8>, relation: &Relation) {
    out.put_u8(b'R');
    out.put_u32(relation.oid);
    put_schema(out, &relation.schema);
    put_string(out, &relation.name);
    out.put_u8(match relation.replica_identity {
        ReplicaIdentity::Default => b'd',
        ReplicaIdentity::Nothing => b'n',
        ReplicaIdentity::Full => b'f',
        ReplicaIdentity::Index => b'i',
    });
    out.put_u16(relation.columns.len() as u16);
    for column in &relation.columns {
        out.put_u8(u8::from(column.identity));
        put_string(out, &column.name);
        out.put_u32(column.type_oid);
        out.put_i32(column.type_modifier);
    }
}

fn put_before(out: &mut Vec<u8>, before: &Before) {
    match before {
        Before::Absent => {}
        Before::Key(tuple) => put_tuple(out, b'K', tuple),
        Before::Full(tuple) => put_tuple(out, b'O', tuple),
    }
}

fn put_tuple(out: &mut Vec<u8>, kind: u8, tuple: &Tuple) {
    out.put_u8(kind);
    out.put_u16(tuple.len() as u16);
    for cell in tuple {
        match cell {
            Cell::Null => out.put_u8(b'n'),
            Cell::Unchanged => out.put_u8(b'u'),
            Cell::Text(text) => {
                out.put_u8(b't');
                out.put_u32(text.len() as u32);
                out.put_slice(text);
            }
        }
    }
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    (i64::MIN + EPOCH..=i64::MAX).prop_map(|unix_micros| Timestamp { unix_micros })
}

fn any_lsn() -> impl Strategy<Value = Lsn> {
    prop_oneof![Just(Lsn::ZERO), any::<u64>().prop_map(Lsn)]
}

fn any_name() -> impl Strategy<Value = String> {
    "[^\0]{0,12}"
}

fn any_schema() -> impl Strategy<Value = String> {
    prop_oneof![Just("pg_catalog".to_owned()), "[^\0]{1,12}"]
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn any_tuple() -> impl Strategy<Value = Tuple> {
    let cell =
        prop_oneof![Just(Cell::Null), Just(Cell::Unchanged), any_bytes().prop_map(Cell::Text)];
    vec(cell, 0..8).prop_map(Vec::into_boxed_slice)
}

fn any_old() -> impl Strategy<Value = Before> {
    prop_oneof![any_tuple().prop_map(Before::Key), any_tuple().prop_map(Before::Full)]
}

fn any_relation() -> impl Strategy<Value = Relation> {
    use ReplicaIdentity::{Default, Full, Index, Nothing};
    let column = (any_name(), any::<u32>(), any::<i32>(), any::<bool>()).prop_map(
        |(name, type_oid, type_modifier, identity)| RelationColumn {
            name,
            type_oid,
            type_modifier,
            identity,
        },
    );
    let identity = prop::sample::select(vec![Default, Nothing, Full, Index]);
    (any::<u32>(), any_schema(), any_name(), identity, vec(column, 0..6)).prop_map(
        |(oid, schema, name, replica_identity, columns)| Relation {
            oid,
            schema,
            name,
            replica_identity,
            columns,
            leaf: None,
        },
    )
}

/// Any message of the protocol, of a size that keeps tests fast.
pub fn any_message() -> impl Strategy<Value = Message> {
    let before = prop_oneof![Just(Before::Absent), any_old()];
    prop_oneof![
        (any::<u32>(), any_lsn(), any_time()).prop_map(|(xid, commit_lsn, committed_at)| {
            Message::Begin(Begin { xid, commit_lsn, committed_at, stamp: None })
        }),
        (any_lsn(), any_lsn(), any_time()).prop_map(|(commit_lsn, end_lsn, committed_at)| {
            Message::Commit(Commit { commit_lsn, end_lsn, source_lsn: end_lsn, committed_at })
        }),
        (any_lsn(), any_name()).prop_map(|(commit_lsn, name)| Message::Origin { commit_lsn, name }),
        any_relation().prop_map(Message::Relation),
        (any::<u32>(), any_schema(), any_name()).prop_map(|(oid, schema, name)| Message::Type {
            oid,
            schema,
            name
        }),
        (any::<u32>(), any_tuple()).prop_map(|(relation, new)| Message::Insert { relation, new }),
        (any::<u32>(), before, any_tuple()).prop_map(|(relation, before, new)| Message::Update {
            relation,
            before,
            new
        }),
        (any::<u32>(), any_old())
            .prop_map(|(relation, before)| Message::Delete { relation, before }),
        (vec(any::<u32>(), 0..6), any::<bool>(), any::<bool>()).prop_map(
            |(relations, cascade, restart_identity)| Message::Truncate {
                relations,
                cascade,
                restart_identity,
            }
        ),
        (any::<bool>(), any_lsn(), any_name(), any_bytes()).prop_map(
            |(transactional, lsn, prefix, content)| Message::Logical {
                transactional,
                lsn,
                prefix,
                content,
            }
        ),
    ]
}
