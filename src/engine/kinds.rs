//! Kinds of changes. A kind is a table and an operation: roughly what needs its own statements.

use crate::change::Change;

/// A set of kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kinds(Vec<Kind>);

/// A table's object id and an operation on its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind(u32, Operation);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl Kinds {
    /// Adds the change's kinds.
    pub fn add(&mut self, change: &Change) {
        kinds_of(change).for_each(|kind| self.insert(kind));
    }

    /// The number of kinds after adding the change's. Kinds in `met` do not count.
    pub fn count_with(&self, change: &Change, met: &Kinds) -> usize {
        let more = kinds_of(change).filter(|kind| !self.has(*kind) && !met.has(*kind)).count();
        self.count(met) + more
    }

    /// The number of kinds after adding `others`. Kinds in `met` do not count.
    pub fn count_with_all(&self, others: &Kinds, met: &Kinds) -> usize {
        let more = others.0.iter().filter(|kind| !self.has(**kind) && !met.has(**kind)).count();
        self.count(met) + more
    }

    fn count(&self, met: &Kinds) -> usize {
        self.0.iter().filter(|kind| !met.has(**kind)).count()
    }

    /// Adds all of these.
    pub fn merge(&mut self, others: &Kinds) {
        others.0.iter().for_each(|kind| self.insert(*kind));
    }

    fn has(&self, kind: Kind) -> bool {
        self.0.binary_search(&kind).is_ok()
    }

    fn insert(&mut self, kind: Kind) {
        if let Err(place) = self.0.binary_search(&kind) {
            self.0.insert(place, kind);
        }
    }
}

fn kinds_of(change: &Change) -> impl Iterator<Item = Kind> {
    let (one, many) = match change {
        Change::Insert { relation, .. } => (Some(Kind(relation.oid, Operation::Insert)), None),
        Change::Update { relation, .. } => (Some(Kind(relation.oid, Operation::Update)), None),
        Change::Delete { relation, .. } => (Some(Kind(relation.oid, Operation::Delete)), None),
        Change::Truncate { relations } => (None, Some(relations)),
        Change::Message { .. } => (None, None),
    };
    let many = many.into_iter().flatten();
    one.into_iter().chain(many.map(|relation| Kind(relation.oid, Operation::Truncate)))
}
