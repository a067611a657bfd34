//! Rules of following left out, to prove that the histories need them.

/// A rule left out or inverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfollowed {
    /// The tables are looked at for the first life, and where the stream shows another form.
    NoLook,
    /// A look takes no locks, and believes what it sees.
    LookWithoutLocks,
    /// The log's position before a look is taken for the one after it, and the other way round.
    PositionsSwapped,
    /// Older events are applied behind a comparison.
    ComparedAtOnce,
    /// The translator takes every form of a change.
    EveryFormTaken,
    /// Columns are told apart by their names.
    ColumnsByName,
    /// The row of a column in `pg_attribute` is not compared.
    UsingUnseen,
    /// A new column with a default is as good as one without.
    DefaultUnseen,
    /// The file is not compared.
    RewriteUnseen,
    /// A column that came and went between two looks.
    DropUnseen,
    /// What an earlier mapping left is no reason to look at a new column.
    LeftOverIgnored,
    /// Events that are still to come are no reason to look at a new column.
    BacklogIgnored,
    /// Changes belong to the table that has their table's name now.
    BoundByName,
    /// The key of a change's table is that of the table now.
    KeyOfNow,
    /// A table that is in the publication again is as before.
    MembershipByNameOnly,
    /// A partition that no look has seen is no reason to look at its table.
    LeavesIgnored,
    /// A partition that comes is taken for an empty one.
    LeafTakenForEmpty,
    /// A partition that was attached again is as before.
    AttachedAgainUnseen,
    /// A partition with another file is as before.
    LeafTruncatedUnseen,
    /// The names of the mapping before are not kept.
    StepsForgotten,
    /// The tables to compare are not kept.
    MarksForgotten,
    /// A table that was made anew under its name is as before.
    RecreatedByName,
    /// A table that is to be compared again goes on where it was.
    MarkedAgainGoesOn,
    /// The labels of enums are not compared.
    EnumUnseen,
    /// Changes of a paused table are applied.
    PausedApplied,
    /// A comparison of a table goes on while it is paused.
    PausedWorkGoesOn,
    /// A table that goes on is not compared.
    GoesOnUnmarked,
    /// A restart forgets that a table was paused.
    PauseForgotten,
}

/// Faults that histories catch, with a seed that does.
pub const ALL: &[(Unfollowed, u64)] = &[
    (Unfollowed::NoLook, 2),
    (Unfollowed::ComparedAtOnce, 95),
    (Unfollowed::EveryFormTaken, 5),
    (Unfollowed::ColumnsByName, 45),
    (Unfollowed::RewriteUnseen, 55),
    (Unfollowed::BoundByName, 44),
    (Unfollowed::KeyOfNow, 12),
    (Unfollowed::MembershipByNameOnly, 36),
    (Unfollowed::LeavesIgnored, 108),
    (Unfollowed::LeafTakenForEmpty, 13),
    (Unfollowed::StepsForgotten, 6),
    (Unfollowed::MarksForgotten, 0),
    (Unfollowed::MarkedAgainGoesOn, 0),
];

/// The same in histories in which tables are paused.
pub const PAUSED: &[(Unfollowed, u64)] = &[
    (Unfollowed::PausedApplied, 0),
    (Unfollowed::PausedWorkGoesOn, 0),
    (Unfollowed::GoesOnUnmarked, 0),
    (Unfollowed::PauseForgotten, 0),
];

/// Faults that a few hundred histories did not catch: `FAULT=name` searches on.
pub const RARE: &[(Unfollowed, u64)] = &[
    (Unfollowed::LookWithoutLocks, 0),
    (Unfollowed::PositionsSwapped, 0),
    (Unfollowed::UsingUnseen, 0),
    (Unfollowed::DefaultUnseen, 0),
    (Unfollowed::DropUnseen, 0),
    (Unfollowed::LeftOverIgnored, 0),
    (Unfollowed::BacklogIgnored, 0),
    (Unfollowed::AttachedAgainUnseen, 0),
    (Unfollowed::LeafTruncatedUnseen, 0),
    (Unfollowed::RecreatedByName, 0),
    (Unfollowed::EnumUnseen, 0),
];
