//! The records of one change, brought together.
//!
//! ```text
//! d newkey   (tombstone)   c oldkey    ->  Update
//! t 0 of n   t 1 of n  ..  t n-1       ->  Truncate
//! anything else in between             ->  what was held alone, then that
//! ```
//!
//! Where a change's records are in several partitions, nothing is held: each record is a change of
//! its own, so that what becomes of it does not depend on which others are in the same partition.

use std::sync::Arc;

use crate::change::{Before, Change, Relation, Tuple};

use super::{Decoded, Source};

/// What a record says by itself.
pub(super) enum Next {
    /// It is complete.
    Alone(Decoded),
    /// The delete of a key change.
    KeyChangeBegins { source: Source, relation: Arc<Relation>, before: Before },
    /// The insert of a key change, with the old key if it says it in JSON.
    KeyChangeEnds { source: Source, relation: Arc<Relation>, old: Option<Before>, new: Tuple },
    /// One table of a TRUNCATE; a relation if it is known, and which part of how many.
    Truncate {
        source: Source,
        relation: Option<Arc<Relation>>,
        schema: String,
        table: String,
        part: (u64, u64),
    },
}

impl Next {
    /// Whether a tombstone of its key may follow, which says nothing more.
    pub fn is_delete(&self) -> bool {
        matches!(
            self,
            Next::KeyChangeBegins { .. }
                | Next::Alone(Decoded::Change { change: Change::Delete { .. }, .. })
        )
    }

    /// The record's own part of its change.
    fn apart(self) -> Decoded {
        match self {
            Next::Alone(alone) => alone,
            Next::KeyChangeBegins { source, relation, before } => {
                Decoded::Change { source, change: Change::Delete { relation, before } }
            }
            Next::KeyChangeEnds { source, relation, new, .. } => {
                let source = Source { part: 1, ..source };
                Decoded::Change { source, change: Change::Insert { relation, new } }
            }
            Next::Truncate { source, relation: Some(relation), .. } => {
                Decoded::Change { source, change: Change::Truncate { relations: vec![relation] } }
            }
            Next::Truncate { source, relation: None, schema, table, .. } => {
                Decoded::Foreign { source, schema, table }
            }
        }
    }
}

/// What is held until its rest comes.
#[derive(Clone, Debug)]
enum Held {
    KeyChange { source: Source, relation: Arc<Relation>, before: Before },
    Truncate { source: Source, relations: Vec<Arc<Relation>> },
}

/// Holds the beginning of a change of several records.
#[derive(Clone, Debug, Default)]
pub(super) struct Joiner {
    held: Option<Held>,
    /// Nothing is joined.
    apart: bool,
}

impl Joiner {
    /// Takes every record for itself from now on.
    pub fn take_apart(&mut self) {
        self.apart = true;
    }

    pub fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// What the next record makes of what is held, and what it is itself.
    pub fn accept(&mut self, next: Next, decoded: &mut Vec<Decoded>) {
        match next {
            next if self.apart => decoded.push(next.apart()),
            Next::Alone(Decoded::Tombstone) => decoded.push(Decoded::Tombstone),
            Next::Alone(alone) => {
                self.flush(decoded);
                decoded.push(alone);
            }
            Next::KeyChangeBegins { source, relation, before } => {
                self.flush(decoded);
                self.held = Some(Held::KeyChange { source, relation, before });
                decoded.push(Decoded::Held);
            }
            Next::KeyChangeEnds { source, relation, old, new } => {
                let held = self.key_change_of(&source, &relation);
                self.flush(decoded);
                let change = match held.or(old) {
                    Some(before) => Change::Update { relation, before, new },
                    None => Change::Insert { relation, new },
                };
                decoded.push(Decoded::Change { source, change });
            }
            Next::Truncate { source, relation, schema, table, part: (index, count) } => {
                let mut relations = self.truncate_of(&source);
                self.flush(decoded);
                relations.extend(relation);
                decoded.push(if index + 1 < count {
                    self.held = Some(Held::Truncate { source, relations });
                    Decoded::Held
                } else if relations.is_empty() {
                    Decoded::Foreign { source, schema, table }
                } else {
                    let change = Change::Truncate { relations };
                    Decoded::Change { source, change }
                });
            }
        }
    }

    /// Gives out what is held as what it is alone.
    pub fn flush(&mut self, decoded: &mut Vec<Decoded>) {
        let Some(held) = self.held.take() else { return };
        let (Held::KeyChange { source, .. } | Held::Truncate { source, .. }) = &held;
        match (source.place, held) {
            (Some(place), _) => decoded.push(Decoded::Cut { place }),
            (None, Held::KeyChange { source, relation, before }) => {
                let change = Change::Delete { relation, before };
                decoded.push(Decoded::Change { source, change });
            }
            (None, Held::Truncate { source, relations }) => {
                if !relations.is_empty() {
                    let change = Change::Truncate { relations };
                    decoded.push(Decoded::Change { source, change });
                }
            }
        }
    }

    /// The old row of the key change that `source` ends.
    fn key_change_of(&mut self, source: &Source, relation: &Arc<Relation>) -> Option<Before> {
        let is_same = matches!(&self.held, Some(Held::KeyChange { source: held, relation: it, .. })
            if is_same_change(held, source) && Arc::ptr_eq(it, relation));
        match self.held.take_if(|_| is_same)? {
            Held::KeyChange { before, .. } => Some(before),
            Held::Truncate { .. } => None,
        }
    }

    /// The tables of the TRUNCATE that `source` goes on with.
    fn truncate_of(&mut self, source: &Source) -> Vec<Arc<Relation>> {
        let is_same = matches!(&self.held, Some(Held::Truncate { source: held, .. })
            if is_same_change(held, source));
        match self.held.take_if(|_| is_same) {
            Some(Held::Truncate { relations, .. }) => relations,
            _ => Vec::new(),
        }
    }
}

/// Whether both records stand at one place: in Debezium's, at one position of one transaction.
fn is_same_change(one: &Source, other: &Source) -> bool {
    let place = |source: &Source| source.place.map(|it| (it.commit_lsn, it.event_index));
    place(one) == place(other) && (one.lsn, one.xid) == (other.lsn, other.xid)
}
