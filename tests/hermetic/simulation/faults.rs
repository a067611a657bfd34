//! Faults, planted one at a time, to prove that the histories detect them.

use wal2graph::graph::{
    Event, Key, Model, Statement, TableIndex,
    memory::Memory,
    model::{Direction, ReferenceBy, Shape},
    statement::{Beside, Presence},
};

/// A rule omitted or inverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    DetachDeleteForSoftReference,
    EnforcedReferencesRideAlong,
    KeyChangeTakesOthersRelationships,
    InsertAndDeleteCancel,
    DeleteAndInsertAsUpsert,
    CollapsedKeyChains,
    DeletesLast,
    JoinRowMovedWithoutItsProperties,
    InsertWithoutRemovalWhileCopying,
    ChunkAfterNewerBatches,
    ChunkMissesAppliedTransaction,
    RestartForgetsAppliedTransactions,
    RewriteBetweenChunksUnseen,
    IdleAcknowledgedBeforeTheCheckpoint,
    KeepaliveOutOfOrder,
    EpochClaimedBeforeTheSlot,
    SplitTransactionReplayedWhole,
    DuplicatesByLsnOnly,
    IncompleteRowsNotReadAgain,
    SweepLeftOut,
    CopyMatchesFromBothSides,
    WantedTableKept,
    LaneReadsUnlocked,
    RefusedPartTakenAsWritten,
    RefusedPartHalfWritten,
    OthersStayOnPlaceholders,
    StopToldByAnyEpoch,
    HistoryNotCompared,
    AcknowledgedBeforeTheProof,
    /// The position is that of the checkpoint as it was before the slot was held.
    PositionReadBeforeTheClaim,
    /// The same of the copy's progress.
    ProgressReadBeforeTheClaim,
    /// A repair compares rows with the graph, and nothing in the other direction.
    NoPassOverTheGraph,
    /// The pass over the graph leaves placeholders out.
    PlaceholdersNotCompared,
    /// The pass over the graph leaves join rows out.
    JoinRowsNotCompared,
    /// A page begins behind as many entities as were returned, not behind a key.
    PagesByNumber,
    /// The pass over the graph asks only which entities have no row.
    OnlyExistenceCompared,
    /// A repair removes a node with other rows' relationships.
    RemovedWithReferences,
    /// A key change onto a row drops what others put on the node.
    MovedOntoARowWithoutOthers,
    /// After a kill, a repair that goes on is taken for over by the stream.
    RepairForgottenAtARestart,
    /// A repair settles before the stream has passed its last page.
    SettledAtTheLastPage,
    /// One relationship is seen where others have made two.
    DoublesUnseen,
    /// Properties of placeholders are not compared.
    PlaceholderPropertiesUnseen,
    /// A suspect is judged by what the graph had at its look.
    JudgedByTheLastPage,
    /// The keys to which rows move are not looked at.
    NewKeysNotLookedAt,
    /// A suspect is real though the stream has named its key.
    NamedSuspectIsReal,
    /// What the stream names beside a turn of a verification is not recorded.
    NamedBesideATurnForgotten,
    /// A suspect is real before the stream has passed its look.
    SuspectIsRealAtOnce,
    /// Batches rely on the graph's state while a repair writes.
    RepairTakenForSettled,
    /// What a graph is owed with a new slot ends as a repair ends that nobody asks for any more.
    OwedWorkIsCancelled,
    /// With a new slot, rows are compared with the graph, and nothing in the other direction.
    NoPassOverTheGraphWithANewSlot,
    /// A change that is set aside is acknowledged, and no letter has it.
    SetAsideWithoutALetter,
    /// Rows that are put back are not set aside any more, and nobody writes them.
    PutBackUnwritten,
}

/// Every fault, with a seed that catches it.
pub const ALL: &[(Fault, u64)] = &[
    (Fault::DetachDeleteForSoftReference, 8),
    (Fault::EnforcedReferencesRideAlong, 307),
    (Fault::KeyChangeTakesOthersRelationships, 35),
    (Fault::InsertAndDeleteCancel, 509),
    (Fault::DeleteAndInsertAsUpsert, 32),
    (Fault::CollapsedKeyChains, 916),
    (Fault::DeletesLast, 11),
    (Fault::JoinRowMovedWithoutItsProperties, 13),
    (Fault::InsertWithoutRemovalWhileCopying, 2033),
    (Fault::ChunkAfterNewerBatches, 10),
    (Fault::ChunkMissesAppliedTransaction, 16),
    (Fault::RestartForgetsAppliedTransactions, 16),
    (Fault::RewriteBetweenChunksUnseen, 3184),
    (Fault::IdleAcknowledgedBeforeTheCheckpoint, 0),
    (Fault::KeepaliveOutOfOrder, 2),
    (Fault::EpochClaimedBeforeTheSlot, 12),
    (Fault::SplitTransactionReplayedWhole, 21),
    (Fault::DuplicatesByLsnOnly, 0),
    (Fault::IncompleteRowsNotReadAgain, 0),
    (Fault::SweepLeftOut, 5),
    (Fault::CopyMatchesFromBothSides, 2250),
    (Fault::WantedTableKept, 294),
    (Fault::LaneReadsUnlocked, 57),
    (Fault::RefusedPartTakenAsWritten, 0),
    (Fault::RefusedPartHalfWritten, 816),
    (Fault::OthersStayOnPlaceholders, 181),
    (Fault::StopToldByAnyEpoch, 1),
    (Fault::HistoryNotCompared, 45),
    (Fault::AcknowledgedBeforeTheProof, 1),
    (Fault::PositionReadBeforeTheClaim, 3),
    (Fault::ProgressReadBeforeTheClaim, 8),
    (Fault::NoPassOverTheGraph, 1031),
    (Fault::PlaceholdersNotCompared, 46),
    (Fault::JoinRowsNotCompared, 2),
    (Fault::OnlyExistenceCompared, 0),
    (Fault::RemovedWithReferences, 58),
    (Fault::RepairForgottenAtARestart, 2),
    (Fault::SettledAtTheLastPage, 12),
    (Fault::DoublesUnseen, 0),
    (Fault::PlaceholderPropertiesUnseen, 164),
    (Fault::JudgedByTheLastPage, 13),
    (Fault::NamedSuspectIsReal, 115),
    (Fault::NamedBesideATurnForgotten, 357),
    (Fault::SuspectIsRealAtOnce, 8),
    (Fault::RepairTakenForSettled, 1946),
    (Fault::OwedWorkIsCancelled, 3),
    (Fault::NoPassOverTheGraphWithANewSlot, 16),
    (Fault::SetAsideWithoutALetter, 91),
    (Fault::PutBackUnwritten, 19),
];

/// Faults that thousands of histories catch now and then: `FAULT=name` searches on.
pub const RARE: &[(Fault, u64)] = &[
    (Fault::PagesByNumber, 0),
    (Fault::MovedOntoARowWithoutOthers, 0),
    (Fault::NewKeysNotLookedAt, 0),
];

impl Fault {
    /// A batch's events under the fault.
    pub fn spoil_events(self, events: Vec<Event>) -> Vec<Event> {
        match self {
            Fault::InsertAndDeleteCancel => cancel(events),
            Fault::DeleteAndInsertAsUpsert => upsert(events),
            Fault::CollapsedKeyChains => collapse(events),
            _ => events,
        }
    }

    /// A batch's statements under the fault.
    pub fn spoil_statements(self, model: &Model, statements: Vec<Statement>) -> Vec<Statement> {
        match self {
            Fault::DeletesLast => {
                let drops = |statement: &Statement| {
                    matches!(
                        statement,
                        Statement::DropNodes { .. } | Statement::DropRelationships { .. }
                    )
                };
                let (last, mut first): (Vec<_>, Vec<_>) = statements.into_iter().partition(drops);
                first.extend(last);
                first
            }
            Fault::JoinRowMovedWithoutItsProperties => statements
                .into_iter()
                .map(|statement| forget_properties(model, statement))
                .collect(),
            _ => statements,
        }
    }
}

/// Removes the references by key to nodes that are about to be dropped.
pub fn take_references(memory: &mut Memory, model: &Model, dropped: TableIndex, keys: &[Key]) {
    let label = &model.node(dropped).label;
    let contents = memory.contents(model);
    for (table, index, reference) in model.references_to(dropped) {
        if reference.by != ReferenceBy::Key {
            continue;
        }
        let owner_label = &model.node(table).label;
        for relationship in contents.relationships.keys() {
            let (owner, target) = match reference.direction {
                Direction::Outgoing => (&relationship.from, &relationship.to),
                Direction::Incoming => (&relationship.to, &relationship.from),
            };
            let is_one = relationship.relationship_type == reference.relationship_type
                && owner.label == *owner_label
                && target.label == *label
                && keys.iter().any(|key| *key.0 == *target.key);
            if is_one {
                let rows = vec![(Key(owner.key.clone().into()), None)];
                let remove = Statement::RemoveReferences { table, reference: index, rows };
                apply_without_sweep(memory, model, &remove);
            }
        }
    }
}

/// Applies a statement without the sweep after its removals: removals of references to unique
/// columns do not sweep.
pub fn apply_without_sweep(memory: &mut Memory, model: &Model, statement: &Statement) {
    match statement {
        Statement::RemoveReferences { table, reference, rows } => {
            remove_without_sweep(memory, model, (*table, *reference), rows.clone());
        }
        Statement::RemoveOutdated { table, references, rows } => {
            for (at, reference) in references.iter().enumerate() {
                let rows = rows.iter().map(|(owner, targets)| (owner.clone(), targets[at].clone()));
                remove_without_sweep(memory, model, (*table, *reference), rows.collect());
            }
        }
        other => memory.apply(model, other),
    }
}

fn remove_without_sweep(
    memory: &mut Memory,
    model: &Model,
    (table, reference): (TableIndex, usize),
    rows: Vec<(Key, Option<Key>)>,
) {
    let mut model = model.clone();
    let target_properties = model.node(model.node(table).references[reference].target).key.clone();
    if let Shape::Node(node) = &mut model.tables[table.0].shape {
        let owner_properties = Vec::new();
        node.references[reference].by = ReferenceBy::Unique { owner_properties, target_properties };
    }
    memory.apply(&model, &Statement::MatchFromOwner { table, reference, rows });
}

/// Lets other rows' references follow a node to its new key.
pub fn take_others_along(
    memory: &mut Memory,
    model: &Model,
    moved: TableIndex,
    from: &Key,
    to: &Key,
) {
    let label = &model.node(moved).label;
    let contents = memory.contents(model);
    for (table, index, reference) in model.references_to(moved) {
        let left_behind = contents.relationships.keys().filter(|relationship| {
            relationship.relationship_type == reference.relationship_type
                && relationship.to.label == *label
                && relationship.to.key == from.0.to_vec()
        });
        for relationship in left_behind {
            let owner = Key(relationship.from.key.clone().into());
            let rows = vec![(owner.clone(), to.clone())];
            let presence = Presence::Known;
            let add = Statement::AddReferences { table, reference: index, presence, rows };
            memory.apply(model, &add);
            let rows = vec![(owner, Some(to.clone()))];
            memory.apply(model, &Statement::RemoveReferences { table, reference: index, rows });
        }
    }
}

fn table_and_key(event: &Event) -> Option<(usize, &Key)> {
    match event {
        Event::Insert { table, key, .. }
        | Event::Update { table, key, .. }
        | Event::Delete { table, key } => Some((table.0, key)),
        Event::Move { .. } | Event::Truncate { .. } => None,
    }
}

/// Cancels an insert and the delete of the same key.
fn cancel(events: Vec<Event>) -> Vec<Event> {
    let mut kept: Vec<Event> = Vec::new();
    for event in events {
        if let Event::Delete { table, key } = &event
            && let Some(at) = kept.iter().rposition(|other| {
                matches!(other, Event::Insert { .. })
                    && table_and_key(other) == Some((table.0, key))
            })
            && kept[at..].iter().all(|other| !matches!(other, Event::Move { .. }))
        {
            let target = (table.0, key.clone());
            let tail = kept.split_off(at);
            kept.extend(
                tail.into_iter()
                    .filter(|other| table_and_key(other) != Some((target.0, &target.1))),
            );
            continue;
        }
        kept.push(event);
    }
    kept
}

/// Omits a delete before the insert of the same key.
fn upsert(events: Vec<Event>) -> Vec<Event> {
    let mut kept: Vec<Event> = Vec::new();
    for event in events {
        if let Event::Insert { table, key, .. } = &event
            && let Some(at) = kept.iter().rposition(|other| {
                matches!(other, Event::Delete { table: from, key: gone } if from == table && gone == key)
            })
        {
            kept.remove(at);
        }
        kept.push(event);
    }
    kept
}

/// Turns `a -> b` and `b -> c` into `a -> c`, in the first one's place.
fn collapse(events: Vec<Event>) -> Vec<Event> {
    let mut kept: Vec<Event> = Vec::new();
    for event in events {
        if let Event::Move { table, from, to, row } = &event
            && let Some(at) = kept.iter().rposition(
                |other| matches!(other, Event::Move { table: moved, to: at, .. } if moved == table && at == from),
            )
            && let Event::Move { from: first, .. } = &kept[at]
            && first != to
        {
            let (table, first, to, row) = (*table, first.clone(), to.clone(), row.clone());
            kept[at] = Event::Move { table, from: first, to, row };
            continue;
        }
        kept.push(event);
    }
    kept
}

/// Turns a join row's key change into a delete: values that the stream does not carry are lost.
fn forget_properties(model: &Model, statement: Statement) -> Statement {
    match statement {
        Statement::MoveRelationships { table, moves }
            if matches!(model.table(table).shape, Shape::Relationship(_)) =>
        {
            let keys = moves.into_iter().map(|(from, _)| from).collect();
            let beside = Beside::Nobody;
            Statement::DropRelationships { table, keys, beside }
        }
        other => other,
    }
}
