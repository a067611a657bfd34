//! The change that an error is about.

use std::{fmt, sync::Arc};

use crate::{
    catalog::TableName,
    change::{Before, Cell, Change, Relation, ReplicaIdentity, Tuple},
    checkpoint::Log,
    engine::{Batch, Place, Share},
    lsn::Lsn,
    shown::{Shown, on_one_line},
};

/// An error shows this many characters of a key.
const KEY_CHARACTERS_MAX: usize = 100;

/// The only change of a batch, beside messages. Its text names table, operation, key and transaction. Values of a
/// key belong in the error that ends the program, and in no log.
#[derive(Clone, Debug)]
pub struct Sole {
    change: Change,
    share: Share,
    /// The columns of the row's key, where its table's replica identity has more.
    key: Option<Vec<String>>,
    /// The log that it came from.
    log: Option<Log>,
}

impl Sole {
    /// The only change of the batch; `None` unless it has exactly one.
    pub fn of(batch: &Batch) -> Option<Self> {
        let mut places =
            batch.changes.iter().zip(batch.share_of_each()).filter(|(it, _)| it.is_event());
        let (change, share) = places.next()?;
        places.next().is_none().then(|| Sole {
            change: change.clone(),
            share,
            key: None,
            log: None,
        })
    }

    /// The table of its row.
    pub fn relation(&self) -> Option<&Relation> {
        match &self.change {
            Change::Insert { relation, .. }
            | Change::Update { relation, .. }
            | Change::Delete { relation, .. } => Some(relation),
            Change::Truncate { .. } | Change::Message { .. } => None,
        }
    }

    /// Where it stands in its log.
    pub fn stands(&self) -> Place {
        Place { at: self.share.commit_lsn, number: self.share.first_event }
    }

    /// Adds the key of the row's table, and the log.
    pub fn known(self, key: Option<Vec<String>>, log: Log) -> Self {
        Sole { key, log: Some(log), ..self }
    }

    fn place(&self, lsn: Lsn) -> String {
        self.log.as_ref().map_or_else(|| lsn.to_string(), |log| log.place(lsn))
    }

    /// The same without the key's values.
    pub fn without_values(&self) -> String {
        let (what, tables) = match &self.change {
            Change::Insert { relation, .. } => ("INSERT into", name(relation).to_string()),
            Change::Update { relation, .. } => ("UPDATE of", name(relation).to_string()),
            Change::Delete { relation, .. } => ("DELETE from", name(relation).to_string()),
            Change::Truncate { relations } => ("TRUNCATE of", names(relations)),
            Change::Message { prefix, .. } => ("message", format!("{prefix:?}")),
        };
        format!("{what} {tables}{}", self.at())
    }

    /// Which change of which transaction.
    fn at(&self) -> String {
        let Share { xid, commit_lsn, first_event, stamp, .. } = self.share;
        let at = stamp.map_or_else(|| self.place(commit_lsn), |stamp| stamp.lsn.to_string());
        format!(", change {} of transaction {xid} at {at}", first_event + 1)
    }

    fn row(
        &self,
        f: &mut fmt::Formatter<'_>,
        what: &str,
        of: &Relation,
        row: &Tuple,
    ) -> fmt::Result {
        write!(f, "{what} {} ({})", name(of), self.key(of, row))
    }

    /// `column = value` for the columns of the key.
    fn key(&self, relation: &Relation, row: &Tuple) -> String {
        let is_key = |name: &String, identity: bool| match &self.key {
            Some(key) => key.contains(name),
            // Under FULL the identity is the whole row, whose values must stay private.
            None => identity && relation.replica_identity != ReplicaIdentity::Full,
        };
        let columns = relation.columns.iter().zip(row);
        let columns = columns.filter(|(column, _)| is_key(&column.name, column.identity));
        let pairs = columns.map(|(column, cell)| {
            let name = Shown(&column.name);
            match cell {
                Cell::Null => format!("{name} = NULL"),
                Cell::Unchanged => format!("{name} unchanged"),
                Cell::Text(text) => {
                    format!("{name} = {}", on_one_line(&String::from_utf8_lossy(text)))
                }
            }
        });
        shortened(&pairs.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for Sole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.change {
            Change::Insert { relation, new } => self.row(f, "INSERT into", relation, new)?,
            Change::Update { relation, before: Before::Absent, new } => {
                self.row(f, "UPDATE of", relation, new)?;
            }
            Change::Update { relation, before: Before::Key(old) | Before::Full(old), new } => {
                self.row(f, "UPDATE of", relation, old)?;
                write!(f, " to ({})", self.key(relation, new))?;
            }
            Change::Delete { relation, before: Before::Key(old) | Before::Full(old) } => {
                self.row(f, "DELETE from", relation, old)?;
            }
            Change::Delete { relation, before: Before::Absent } => {
                write!(f, "DELETE from {}", name(relation))?;
            }
            Change::Truncate { relations } => {
                write!(f, "TRUNCATE of {}", names(relations))?;
            }
            Change::Message { prefix, .. } => write!(f, "message {prefix:?}")?,
        }
        f.write_str(&self.at())
    }
}

fn name(of: &Relation) -> TableName {
    TableName::new(&of.schema, &of.name)
}

fn names(relations: &[Arc<Relation>]) -> String {
    relations.iter().map(|it| name(it).to_string()).collect::<Vec<_>>().join(", ")
}

/// The first characters of a text.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(KEY_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{change::RelationColumn, checkpoint::TopicPartition};

    fn deleted(identity: ReplicaIdentity) -> Sole {
        let column = |name: &str| RelationColumn {
            name: name.to_owned(),
            type_oid: 25,
            type_modifier: -1,
            identity: name == "id" || identity == ReplicaIdentity::Full,
        };
        let relation = Relation {
            oid: 1,
            schema: "public".to_owned(),
            name: "people".to_owned(),
            replica_identity: identity,
            columns: ["secret", "id"].map(column).into(),
            leaf: None,
        };
        let cells = ["hidden", "7"].map(|text| Cell::Text(Bytes::from_static(text.as_bytes())));
        let before = Before::Full(Box::new(cells));
        let share = Share {
            xid: 5,
            commit_lsn: Lsn(26),
            committed_at: Default::default(),
            first_event: 0,
            changes: 1,
            end: None,
            stamp: None,
        };
        let change = Change::Delete { relation: Arc::new(relation), before };
        Sole { change, share, key: None, log: None }
    }

    #[test]
    fn under_replica_identity_full_an_error_showed_the_row_as_its_key() {
        let full = deleted(ReplicaIdentity::Full);
        assert!(!full.to_string().contains("hidden"), "{full}");
        let slot = Log::Slot("s".to_owned());
        let known = full.known(Some(vec!["id".to_owned()]), slot);
        assert_eq!(
            known.to_string(),
            "DELETE from public.people (id = 7), change 1 of transaction 5 at 0/1A"
        );
        let said = deleted(ReplicaIdentity::Default).without_values();
        assert_eq!(said, "DELETE from public.people, change 1 of transaction 5 at 0/1A");
        let default = deleted(ReplicaIdentity::Default).to_string();
        assert!(default.starts_with("DELETE from public.people (id = 7),"), "{default}");
    }

    #[test]
    fn a_place_in_a_partition_was_shown_as_an_lsn() {
        let at = TopicPartition { topic: "t".to_owned(), partition: 0 };
        let known = deleted(ReplicaIdentity::Default).known(None, Log::Partition(at));
        assert!(known.to_string().ends_with("of transaction 5 at offset 26"), "{known}");
    }
}
