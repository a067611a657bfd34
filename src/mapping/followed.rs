//! Which changes a translator may translate while the tables' shape changes.
//!
//! ```text
//! Relation as the tables were looked at                      -> translated
//! another one, of a change before that look, that is known   -> translated, by name
//! another one, of a change before that look                  -> the table is looked at again
//! another one, of a change behind it                         -> all tables are looked at again
//! ```
//!
//! A change of an earlier shape may lack values that the table has got without an event. That is fine
//! if that shape is known, because then the difference was judged. Otherwise nobody knows what
//! happened in between.

use std::collections::{BTreeSet, HashMap};

use crate::catalog::TableName;
use crate::change::{Relation, ReplicaIdentity, Sent};
use crate::lsn::Lsn;

use super::columns::TableColumns;
use super::error::TranslateError;

/// The shapes that changes may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// What commits from here on is as the tables were looked at, or newer.
    pub from: Lsn,
    /// Earlier shapes.
    pub known: Vec<Known>,
    /// The partitions of tables, by object id, as the tables were looked at.
    pub leaves: HashMap<u32, BTreeSet<u32>>,
    /// Tables whose changes are passed over, by object id: they are paused.
    pub paused: BTreeSet<u32>,
}

/// An earlier shape of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The form of its changes.
    pub sent: Sent,
    /// Of changes that committed before this position.
    pub before: Lsn,
}

/// Whether a Relation is of a table as it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Same,
    Other,
}

impl Fit {
    pub fn of(table: &TableColumns, relation: &Relation) -> Self {
        let sent = relation.columns.iter().map(|column| (&column.name, column.type_oid));
        let has_columns = sent.eq(table.sent.iter().map(|(name, oid)| (name, *oid)));
        let has_identity = relation.replica_identity != ReplicaIdentity::Nothing;
        let is_identity = |name: &String| {
            relation.columns.iter().any(|column| column.name == *name && column.identity)
        };
        let mut key = table.key.iter().map(|slot| &table.column(slot).name);
        let is_same = has_columns
            && relation.schema == table.name.schema
            && relation.name == table.name.name
            && (!has_identity || key.all(is_identity));
        if is_same { Fit::Same } else { Fit::Other }
    }
}

impl Followed {
    /// Whether a change with another Relation than the table's may be translated.
    pub(super) fn explains(
        &self,
        table: &TableName,
        relation: &Relation,
        committed: Lsn,
    ) -> Result<(), TranslateError> {
        if committed >= self.from {
            return Err(TranslateError::Reshaped { table: table.clone() });
        }
        let (sent, has_leaf) = (relation.sent(), self.has_leaf(relation));
        let is_of = |known: &&Known| {
            committed < known.before
                && known.sent.oid == sent.oid
                && known.sent.columns == sent.columns
                // Old rows may have had another key for a while.
                && known.sent.identity.iter().all(|column| sent.identity.contains(column))
                && (has_leaf || known.sent.leaf == sent.leaf)
        };
        match self.known.iter().any(|known| is_of(&known)) {
            true => Ok(()),
            false => Err(TranslateError::Unexplained { table: table.clone(), sent }),
        }
    }

    /// Whether the partition that the rows are from was there when the tables were looked at. One that was not
    /// may have come and gone, with rows.
    pub(super) fn has_leaf(&self, relation: &Relation) -> bool {
        let leaves = self.leaves.get(&relation.oid);
        relation.leaf.is_none_or(|leaf| leaves.is_some_and(|leaves| leaves.contains(&leaf)))
    }
}
