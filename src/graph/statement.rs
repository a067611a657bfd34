//! The closed set of writes. Everything before it decides, everything after it is text.

use crate::{lsn::Stamp, value::Value};

use super::{model::TableIndex, mutation::Key};

/// The label of a node that is there only because a relationship points at it.
pub const PLACEHOLDER: &str = "_Placeholder";
/// The label of a node some of whose values did not come yet.
pub const INCOMPLETE: &str = "_Incomplete";
/// The property of a relationship some of whose values did not come yet.
pub const INCOMPLETE_PROPERTY: &str = "_incomplete";

/// The property that says where in the source's log what filled a row stands, where truncates need
/// it: [`Reach::Before`].
pub const STAMP: &str = "_lsn";

/// One write, for many rows of one table. Rows are sorted, and unique by what they write.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// Every row of the node table goes, as [`Statement::DropNodes`] would have it. Run in bounded
    /// pieces until nothing is left.
    ClearNodes {
        /// Whose rows.
        table: TableIndex,
        /// Which of them.
        reach: Reach,
    },
    /// Every relationship of the join table goes, in bounded pieces.
    ClearRelationships {
        /// Whose rows.
        table: TableIndex,
        /// Which of them.
        reach: Reach,
    },
    /// Rows go: the relationships they own go; the node becomes a placeholder if other rows' mapped
    /// relationships point at it, else it is deleted with whatever else hangs on it. A key without
    /// a node is nothing to do; a placeholder stays as long as something points at it.
    DropNodes {
        /// Whose rows.
        table: TableIndex,
        /// Which, in stream order where it matters.
        keys: Vec<Key>,
        /// Who writes meanwhile.
        beside: Beside,
    },
    /// Rows change their key, one after another. No row at `from`: nothing. A row at `to` already:
    /// `from` is dropped. Else the node takes the new key with all it has and owns; other rows'
    /// mapped relationships stay at the old key, on a placeholder; a placeholder at the new key
    /// hands its relationships over and goes.
    MoveNodes {
        /// Whose rows.
        table: TableIndex,
        /// From which key to which, in stream order.
        moves: Vec<(Key, Key)>,
    },
    /// Relationships of join rows go.
    DropRelationships {
        /// Whose rows.
        table: TableIndex,
        /// Which.
        keys: Vec<Key>,
        /// Who writes meanwhile.
        beside: Beside,
    },
    /// Join rows change their key, one after another. Keyed by its ends, the relationship is made
    /// again at the new ends with its properties; one that is there already wins, and the old one
    /// goes.
    MoveRelationships {
        /// Whose rows.
        table: TableIndex,
        /// From which key to which, in stream order.
        moves: Vec<(Key, Key)>,
    },
    /// Nodes exist, with these properties, and are no placeholders.
    UpsertNodes {
        /// Whose rows.
        table: TableIndex,
        /// Which properties came.
        known: Known,
        /// What the rows say about values that did not come.
        completeness: Completeness,
        /// The rows are new: mostly, no node is there.
        new: bool,
        /// The rows by key: one value for each known property; `None` removes it.
        rows: Vec<NodeRow>,
    },
    /// Nodes exist with all their properties, are no placeholders, and have the relationships of all
    /// references by key that their rows say; missing targets become placeholders. Few rows, while
    /// nobody else writes.
    FillNodes {
        /// Whose rows.
        table: TableIndex,
        /// The rows by key, with the target of each reference by key.
        rows: Vec<(NodeRow, Vec<Option<Key>>)>,
    },
    /// Relationships of a reference by key that lead elsewhere than the row says go (`None`: all of
    /// them), and placeholders that nothing holds any more. An owner that is no row is passed
    /// over.
    RemoveReferences {
        /// The owner's table.
        table: TableIndex,
        /// Which of its references.
        reference: usize,
        /// Owner and target, sorted by owner.
        rows: Vec<(Key, Option<Key>)>,
    },
    /// The same for several references at once, while nobody else writes.
    RemoveOutdated {
        /// The owners' table.
        table: TableIndex,
        /// Which of its references, all by key.
        references: Vec<usize>,
        /// Owner and the target of each reference, sorted by owner.
        rows: Vec<(Key, Vec<Option<Key>>)>,
    },
    /// Relationships of a reference by key exist; a missing target becomes a placeholder. An owner
    /// that is no row yet, missing or a placeholder, is passed over: its insert is still to come in
    /// the stream beside a copy.
    AddReferences {
        /// The owner's table.
        table: TableIndex,
        /// Which of its references.
        reference: usize,
        /// What is known of the relationships before.
        presence: Presence,
        /// Owner and target, sorted by target.
        rows: Vec<(Key, Key)>,
    },
    /// Relationships of a reference by key lead where the row says and nowhere else: what removing
    /// them and adding them does. Mostly the owner has none.
    ReplaceReferences {
        /// The owner's table.
        table: TableIndex,
        /// Which of its references.
        reference: usize,
        /// Who writes meanwhile.
        beside: Beside,
        /// Owner and target, sorted by target.
        rows: Vec<(Key, Key)>,
    },
    /// Relationships of join rows exist, with these properties; missing ends become placeholders.
    /// Keyed by properties of its own, one with other ends is made again with its properties.
    UpsertRelationships {
        /// Whose rows.
        table: TableIndex,
        /// Which properties came.
        known: Known,
        /// What the rows say about values that did not come.
        completeness: Completeness,
        /// What is known of the relationships before.
        presence: Presence,
        /// The rows, sorted by their end.
        rows: Vec<RelationshipRow>,
    },
    /// Relationships with a key of their own, whose ends did not come, get these properties where
    /// they exist.
    UpdateRelationships {
        /// Whose rows.
        table: TableIndex,
        /// Which properties came.
        known: Known,
        /// The rows by key.
        rows: Vec<NodeRow>,
    },
    /// Relationships of a reference by unique columns exist exactly where a row of the target has
    /// the value, seen from the owner.
    MatchFromOwner {
        /// The owner's table.
        table: TableIndex,
        /// Which of its references.
        reference: usize,
        /// Owner and unique value, sorted by owner.
        rows: Vec<(Key, Option<Key>)>,
    },
    /// The same, seen from the target: owners that hold the value are found by their properties.
    MatchFromTarget {
        /// The owner's table.
        table: TableIndex,
        /// Which of its references.
        reference: usize,
        /// Target and its unique value, sorted by target; `None` when one of its columns is NULL.
        rows: Vec<(Key, Option<Key>)>,
    },
}

/// Which rows a TRUNCATE reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Those that were filled by what stands before this in the source's log, and those that do not
    /// say: what another partition brought in the meantime may be newer.
    Before(Stamp),
    /// All that are there.
    All,
}

/// Which properties of a shape came: one entry a property, in its order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Known(pub Box<[bool]>);

impl Known {
    /// How many came.
    pub fn count(&self) -> usize {
        self.0.iter().filter(|known| **known).count()
    }
}

/// What rows say about values that did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Completeness {
    /// Everything came: the node is complete after this.
    Complete,
    /// What did not come is in the graph already. Where there is no complete row, it is marked
    /// incomplete.
    Partial,
    /// The same for a row whose key changed while tables are copied: always marked incomplete,
    /// because what the graph has may be another row's.
    PartialMoved,
}

/// What is known of a row's relationship before the row is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Presence {
    /// Nothing: the graph may have any of it, or the row's key changed.
    Unknown(Beside),
    /// It is not there: the row is new, and the graph was equal to the tables.
    New,
    /// The row is not new, and the graph was equal to the tables: what it said before is there.
    Known,
}

/// Who writes to the graph while a statement runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Beside {
    /// Nobody.
    Nobody,
    /// Lanes of a copy: they fill rows, add what these own, and sweep placeholders. They take no row.
    Lanes,
    /// Anybody: the writers of other partitions may take any row.
    Anybody,
}

/// A row by key, with the values of the known properties.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeRow {
    /// Its key.
    pub key: Key,
    /// One value for each known property; `None` removes it.
    pub values: Vec<Option<Value>>,
    /// What filled it. A statement with a stamp on any row writes those of all.
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
    /// What filled it. A statement with a stamp on any row writes those of all.
    pub stamp: Option<Stamp>,
}
