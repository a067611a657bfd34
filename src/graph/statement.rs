//! The closed set of writes. Earlier modules decide; later modules only render text.

use crate::{lsn::Stamp, value::Value};

use super::{
    Key,
    letter::{Letter, LetterId},
    model::TableIndex,
};

/// The label of a node that exists only because a relationship points at it.
pub const PLACEHOLDER: &str = "_Placeholder";
/// The label of a node that lacks values which have not come yet.
pub const INCOMPLETE: &str = "_Incomplete";
/// The property of a relationship that lacks values which have not come yet.
pub const INCOMPLETE_PROPERTY: &str = "_incomplete";

/// The property with the stamp of the row's last event, where truncates need it: [`Reach::Before`].
pub const STAMP: &str = "_lsn";

/// One write, for many rows of one table. Rows are sorted and unique by their target.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// Removes every row of the node table, as [`Statement::DropNodes`] does. Runs in bounded
    /// pieces until nothing is left.
    ClearNodes {
        /// The table.
        table: TableIndex,
        /// The rows that it reaches.
        reach: Reach,
    },
    /// Removes every relationship of the join table, in bounded pieces.
    ClearRelationships {
        /// The table.
        table: TableIndex,
        /// The rows that it reaches.
        reach: Reach,
    },
    /// Removes rows and the relationships that they own. If other rows' mapped relationships point
    /// at the node, it becomes a placeholder; otherwise it is deleted with all its relationships. A
    /// key without a node needs nothing. A placeholder stays as long as something points at it.
    DropNodes {
        /// The table.
        table: TableIndex,
        /// The keys, in stream order where that matters.
        keys: Vec<Key>,
        /// The other writers.
        beside: Beside,
    },
    /// Changes the keys of rows, one after another. Without a row at `from` it does nothing.
    /// Otherwise what others put on the node at `from` is at `to` afterwards. Other rows' mapped
    /// relationships stay at the old key, on a placeholder.
    ///
    /// With a row at `to`, which a copy or a repair has written before the stream brings its key
    /// change, that node stays as it is. What others put on the node at `from` goes over to it:
    /// properties that the mapping does not write, and that `to` has not; labels; relationships with
    /// their properties, that are none of the mapping's. Then `from` is dropped.
    ///
    /// Without one the node takes the new key with all that it has and owns. A placeholder at the new
    /// key hands over its relationships and is deleted.
    MoveNodes {
        /// The table.
        table: TableIndex,
        /// Old and new keys, in stream order.
        moves: Vec<(Key, Key)>,
    },
    /// Relationships of join rows go.
    DropRelationships {
        /// The table.
        table: TableIndex,
        /// The keys.
        keys: Vec<Key>,
        /// The other writers.
        beside: Beside,
    },
    /// Changes the keys of join rows, one after another. A relationship keyed by its ends is
    /// created again at the new ends, with its properties. If one exists there, that one stays, and
    /// the old one is deleted.
    MoveRelationships {
        /// The table.
        table: TableIndex,
        /// Old and new keys, in stream order.
        moves: Vec<(Key, Key)>,
    },
    /// Makes nodes exist with these properties, not as placeholders.
    UpsertNodes {
        /// The table.
        table: TableIndex,
        /// The known properties.
        known: Known,
        /// Whether the rows have all their values.
        completeness: Completeness,
        /// The rows are new: usually no node exists.
        new: bool,
        /// The rows by key, with one value for each known property; `None` removes it.
        rows: Vec<NodeRow>,
    },
    /// Makes nodes exist with all their properties, not as placeholders, and with the relationships
    /// of all references by key. Missing targets become placeholders. For few rows, without other
    /// writers.
    FillNodes {
        /// The table.
        table: TableIndex,
        /// The rows by key, with the target of each reference by key.
        rows: Vec<(NodeRow, Vec<Option<Key>>)>,
    },
    /// Removes relationships of a reference by key that lead elsewhere than the row says (`None`:
    /// all of them), and placeholders that nothing holds any longer. Skips an owner that is no row.
    RemoveReferences {
        /// The owner's table.
        table: TableIndex,
        /// The reference's index in the table.
        reference: usize,
        /// Owner and target, sorted by owner.
        rows: Vec<(Key, Option<Key>)>,
    },
    /// The same for several references at once, without other writers.
    RemoveOutdated {
        /// The owners' table.
        table: TableIndex,
        /// The indices of its references, all by key.
        references: Vec<usize>,
        /// The owner and the target of each reference, sorted by owner.
        rows: Vec<(Key, Vec<Option<Key>>)>,
    },
    /// Makes relationships of a reference by key exist. A missing target becomes a placeholder.
    /// Skips an owner that is no row yet, missing or a placeholder: beside a copy, the stream still
    /// brings its insert.
    AddReferences {
        /// The owner's table.
        table: TableIndex,
        /// The reference's index in the table.
        reference: usize,
        /// The earlier state of the relationships.
        presence: Presence,
        /// Owner and target, sorted by target.
        rows: Vec<(Key, Key)>,
    },
    /// Makes relationships of a reference by key lead to the row's target and nowhere else, like a
    /// removal and an addition. Usually the owner has none.
    ReplaceReferences {
        /// The owner's table.
        table: TableIndex,
        /// The reference's index in the table.
        reference: usize,
        /// The other writers.
        beside: Beside,
        /// Owner and target, sorted by target.
        rows: Vec<(Key, Key)>,
    },
    /// Makes relationships of join rows exist with these properties. Missing ends become
    /// placeholders. A relationship with its own key but other ends is created again, with its
    /// properties.
    UpsertRelationships {
        /// The table.
        table: TableIndex,
        /// The known properties.
        known: Known,
        /// Whether the rows have all their values.
        completeness: Completeness,
        /// The earlier state of the relationships.
        presence: Presence,
        /// The rows, sorted by their end.
        rows: Vec<RelationshipRow>,
    },
    /// Sets these properties on existing relationships with their own key. The stream did not carry
    /// their ends.
    UpdateRelationships {
        /// The table.
        table: TableIndex,
        /// The known properties.
        known: Known,
        /// The rows by key.
        rows: Vec<NodeRow>,
    },
    /// Makes relationships of a reference by unique columns exist exactly where a target row has
    /// the value, seen from the owner.
    MatchFromOwner {
        /// The owner's table.
        table: TableIndex,
        /// The reference's index in the table.
        reference: usize,
        /// The owner and its unique value, sorted by owner.
        rows: Vec<(Key, Option<Key>)>,
    },
    /// The same, seen from the target. Finds the owners with the value by their properties.
    MatchFromTarget {
        /// The owner's table.
        table: TableIndex,
        /// The reference's index in the table.
        reference: usize,
        /// The target and its unique value, sorted by target; `None` when one of its columns is
        /// NULL.
        rows: Vec<(Key, Option<Key>)>,
    },
    /// Takes from rows what only others can have put on them, and no other statement takes. In a node
    /// table: a second relationship of one reference to the same node, one that leads to a node without a
    /// label of the mapping, and the label of a placeholder where the table can have none. In a join table:
    /// all relationships with one key but one. Which one stays is not defined. The key becomes what is written,
    /// whatever type others have given it. Nothing there needs nothing.
    Untangle {
        /// The table.
        table: TableIndex,
        /// The keys, sorted.
        keys: Vec<Key>,
    },
    /// Takes a table's label from nodes that have the label of another table, too, with the properties, extra
    /// labels and relationships that are this table's alone: others have put it on another row's node. Skips a
    /// key whose node has no other table's label.
    UnlabelNodes {
        /// The node table.
        table: TableIndex,
        /// The keys, sorted.
        keys: Vec<Key>,
    },
    /// Sets rows of a table aside: a letter for each. Of a row that has one, the later changes count with it. What the
    /// graph has of the row stays, and counts as complete: a comparison with the table is what mends it.
    KeepLetters {
        /// The table.
        table: TableIndex,
        /// One for each row.
        letters: Vec<Letter>,
    },
    /// Removes letters. One that is not there needs nothing.
    RemoveLetters {
        /// Which.
        letters: Vec<LetterId>,
    },
    /// Takes from placeholders what the mapping may write on them: properties, extra labels, marks, the
    /// relationships of the table's references. What others put there stays. A placeholder that nothing
    /// holds goes. Skips a key that has no node, or a row's.
    EmptyPlaceholders {
        /// The node table.
        table: TableIndex,
        /// The keys, sorted.
        keys: Vec<Key>,
    },
}

/// The rows that a TRUNCATE reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Rows with an earlier stamp, and rows without a stamp: another partition may have written
    /// newer rows meanwhile.
    Before(Stamp),
    /// All rows.
    All,
}

/// The properties of a shape that came: one entry for each property, in its order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Known(pub Box<[bool]>);

impl Known {
    /// How many came.
    pub fn count(&self) -> usize {
        self.0.iter().filter(|known| **known).count()
    }
}

/// Whether rows have all their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Completeness {
    /// All values came: the node is complete after this.
    Complete,
    /// The graph has the other values already. Without a complete row there, the node is marked
    /// incomplete.
    Partial,
    /// The same for a row whose key changed during a copy. It is always marked incomplete, because
    /// the values in the graph may be another row's.
    PartialMoved,
}

/// The state of a row's relationship before the row is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Presence {
    /// Unknown: the graph may have any of it, or the row's key changed.
    Unknown(Beside),
    /// It does not exist: the row is new, and the graph equalled the tables.
    New,
    /// It exists as the row had it: the row is not new, and the graph equalled the tables.
    Known,
}

/// The other writers while a statement runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Beside {
    /// None.
    Nobody,
    /// The lanes of a copy: they fill rows, add the rows' own relationships, and sweep
    /// placeholders. They remove no row.
    Lanes,
    /// Any: the writers of other partitions may remove any row.
    Anybody,
}

/// A row by key, with the values of the known properties.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeRow {
    /// Its key.
    pub key: Key,
    /// One value for each known property; `None` removes it.
    pub values: Vec<Option<Value>>,
    /// The stamp of its last event. If any row of a statement has one, the statement writes those
    /// of all rows.
    pub stamp: Option<Stamp>,
}

/// A join row.
#[derive(Clone, Debug, PartialEq)]
pub struct RelationshipRow {
    /// Its key.
    pub key: Key,
    /// The key of its start node.
    pub from: Key,
    /// The key of its end node.
    pub to: Key,
    /// One value for each known property; `None` removes it.
    pub values: Vec<Option<Value>>,
    /// The stamp of its last event. If any row of a statement has one, the statement writes those
    /// of all rows.
    pub stamp: Option<Stamp>,
}
