//! Changes of rows to events of the graph.
//!
//! ```text
//! Change + Relation  --bind, once a Relation-->  column positions  --read-->  graph::Event
//! COPY row           ------------------------------------------------read-->  (Key, Row)
//! ```
//!
//! Columns are found by name in whatever Relation comes, so an ALTER TABLE does not stop the
//! stream, unless it touches the key. An old tuple of the key alone says nothing of other columns.
//! An unchanged column that the old tuple carries is taken from there; what nobody carries stays
//! unchanged.
//!
//! A translator that follows the tables' shape is stricter: see [`Followed`].

use std::collections::HashMap;
use std::sync::Arc;

use crate::catalog::TableName;
use crate::change::{Before, Cell, Change, Relation, ReplicaIdentity};
use crate::graph::{Event, Key, Row, TableIndex};
use crate::lsn::Lsn;

use super::error::TranslateError;
use super::followed::{Fit, Followed};
use super::notice::{Notice, Notices};
use super::row::{Raw, RowReader};
use super::{Mapping, Selection, TableColumns};

/// Translates the changes of one source, and the rows that are copied from it.
#[derive(Clone, Debug)]
pub struct Translator {
    mapping: Arc<Mapping>,
    bound: HashMap<u32, Bound>,
    notices: Notices,
    followed: Option<Arc<Followed>>,
}

/// A Relation, and where in its tuples the mapped columns are.
#[derive(Clone, Debug)]
struct Bound {
    relation: Arc<Relation>,
    /// `None`: the table is not mapped.
    table: Option<BoundTable>,
}

#[derive(Clone, Debug)]
struct BoundTable {
    index: TableIndex,
    /// For each column of the plan, its place in a tuple, and whether it belongs to the replica
    /// identity.
    places: Arc<[Option<Place>]>,
    /// Its changes are of an earlier shape of the table.
    is_older: bool,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    at: usize,
    identity: bool,
}

impl Translator {
    /// Translates by `mapping`.
    pub fn new(mapping: Arc<Mapping>) -> Self {
        let notices = Notices::new(&mapping.tables);
        Translator { mapping, bound: HashMap::new(), notices, followed: None }
    }

    /// Translates only what fits the shape of the tables as they were looked at, or an earlier one that is
    /// known.
    pub fn following(self, followed: Followed) -> Self {
        Translator { followed: Some(Arc::new(followed)), ..self }
    }

    /// The mapping.
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// The change in the graph's terms; `None` when its table is not mapped. Its transaction committed at
    /// this position.
    pub fn translate(
        &mut self,
        change: &Change,
        committed: Lsn,
    ) -> Result<Option<Event>, TranslateError> {
        match self.translated(change, committed) {
            // Its table is looked at again: what can not be read is found there.
            Err(error) if error.is_of_a_change() && self.is_of_an_older_shape(change) => Ok(None),
            translated => translated,
        }
    }

    fn translated(
        &mut self,
        change: &Change,
        committed: Lsn,
    ) -> Result<Option<Event>, TranslateError> {
        match change {
            Change::Insert { relation, new } => {
                let Some(BoundTable { index, places, .. }) = self.bind(relation, committed)? else {
                    return Ok(None);
                };
                let cell = |column: usize| raw(new, places[column]);
                let mut reader = self.reader(index);
                let (key, row) = (reader.key(cell)?, reader.row(cell));
                Ok(Some(Event::Insert { table: index, key, row }))
            }
            Change::Update { relation, before, new } => {
                let Some(table) = self.bind(relation, committed)? else { return Ok(None) };
                self.update(&table, before, new).map(Some)
            }
            Change::Delete { relation, before } => {
                let Some(BoundTable { index, places, .. }) = self.bind(relation, committed)? else {
                    return Ok(None);
                };
                let (Before::Key(old) | Before::Full(old)) = before else {
                    let table = self.mapping.columns(index).name.clone();
                    return Err(TranslateError::NoOldRow { table });
                };
                let key = self.reader(index).key(|column| raw(old, places[column]))?;
                Ok(Some(Event::Delete { table: index, key }))
            }
            Change::Truncate { relations } => {
                let mut tables = Vec::new();
                for relation in relations {
                    tables.extend(self.bind(relation, committed)?.map(|table| table.index));
                }
                Ok((!tables.is_empty()).then_some(Event::Truncate { tables }))
            }
            Change::Message { .. } => Ok(None),
        }
    }

    /// A copied row: the texts of a selection of its columns, `None` for NULL. What is not selected is
    /// unchanged.
    pub fn row_from_text<T: AsRef<[u8]>>(
        &mut self,
        table: TableIndex,
        selection: &Selection,
        texts: &[Option<T>],
    ) -> Result<(Key, Row), TranslateError> {
        assert_eq!(texts.len(), selection.count(), "one text a selected column");
        let cell = |column: usize| match selection.place(column).map(|place| &texts[place]) {
            Some(Some(text)) => Raw::Text(text.as_ref()),
            Some(None) => Raw::Null,
            None => Raw::Unchanged,
        };
        let mut reader = self.reader(table);
        Ok((reader.key(cell)?, reader.row(cell)))
    }

    /// A row's key, by the texts of its columns.
    pub fn key_from_texts(
        &mut self,
        table: TableIndex,
        texts: &[String],
    ) -> Result<Key, TranslateError> {
        let mapping = self.mapping.clone();
        let key = &mapping.columns(table).key;
        let cell = |column: usize| {
            let place = key.iter().position(|slot| slot.column == column);
            match place.and_then(|place| texts.get(place)) {
                Some(text) => Raw::Text(text.as_bytes()),
                None => Raw::Unchanged,
            }
        };
        self.reader(table).key(cell)
    }

    /// What was met since the last time: to be counted and logged.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.notices.take(&self.mapping.tables)
    }

    fn update(
        &mut self,
        table: &BoundTable,
        before: &Before,
        new: &[Cell],
    ) -> Result<Event, TranslateError> {
        let places = &table.places;
        let old = |column: usize| match (before, places[column]) {
            (Before::Key(old), Some(place)) if place.identity => raw(old, Some(place)),
            (Before::Full(old), place) => raw(old, place),
            _ => Raw::Unchanged,
        };
        let cell = |column: usize| match raw(new, places[column]) {
            Raw::Unchanged => old(column),
            sent => sent,
        };
        let index = table.index;
        let mut reader = self.reader(index);
        let to = reader.key(cell)?;
        let from = match before {
            Before::Absent => None,
            Before::Key(_) | Before::Full(_) => Some(reader.key(old)?),
        };
        let row = reader.row(cell);
        Ok(match from.filter(|from| *from != to) {
            Some(from) => Event::Move { table: index, from, to, row },
            None => Event::Update { table: index, key: to, row },
        })
    }

    fn reader(&mut self, table: TableIndex) -> RowReader<'_> {
        let counts = self.notices.counts(table.0);
        RowReader { columns: self.mapping.columns(table), counts }
    }

    /// Where the mapped columns are in the tuples of `relation`.
    fn bind(
        &mut self,
        relation: &Arc<Relation>,
        committed: Lsn,
    ) -> Result<Option<BoundTable>, TranslateError> {
        let bound = self.bound_to(relation)?;
        if let (Some(table), Some(followed)) = (&bound, &self.followed)
            && table.is_older
        {
            let name = &self.mapping.columns(table.index).name;
            followed.explains(name, relation, committed)?;
        }
        Ok(bound)
    }

    fn is_of_an_older_shape(&self, change: &Change) -> bool {
        change.relations().iter().any(|relation| {
            let bound = self.bound.get(&relation.oid).and_then(|bound| bound.table.as_ref());
            bound.is_some_and(|table| table.is_older)
        })
    }

    fn bound_to(&mut self, relation: &Arc<Relation>) -> Result<Option<BoundTable>, TranslateError> {
        if let Some(bound) = self.bound.get_mut(&relation.oid)
            && (Arc::ptr_eq(&bound.relation, relation) || bound.relation == *relation)
        {
            // The same description comes again after every reconnection: from now on it is known at
            // sight.
            bound.relation = relation.clone();
            return Ok(bound.table.clone());
        }
        let table = match self.mapped(relation) {
            _ if self.is_paused(relation) => None,
            Some(index) => {
                let columns = self.mapping.columns(index);
                let is_other = |followed: &Arc<Followed>| {
                    Fit::of(columns, relation) == Fit::Other || !followed.has_leaf(relation)
                };
                let is_older = self.followed.as_ref().is_some_and(is_other);
                let places = match is_older {
                    true => self.places_of_older(index, relation),
                    false => self.places(index, relation)?,
                };
                Some(BoundTable { index, places, is_older })
            }
            None => {
                self.check_unmapped(relation)?;
                None
            }
        };
        let bound = Bound { relation: relation.clone(), table: table.clone() };
        self.bound.insert(relation.oid, bound);
        Ok(table)
    }

    /// The mapped table; `None`: it is not mapped, or was dropped. Object ids tell tables from each other,
    /// also where names were exchanged. Not every source knows them.
    fn mapped(&self, relation: &Relation) -> Option<TableIndex> {
        match self.followed.is_some() && relation.oid != UNKNOWN_OID {
            true => {
                let is_of = |table: &TableColumns| table.oid == relation.oid;
                self.mapping.tables.iter().position(is_of).map(TableIndex)
            }
            false => self.mapping.table_index(&relation.schema, &relation.name),
        }
    }

    /// Its table is compared once it goes on.
    fn is_paused(&self, relation: &Relation) -> bool {
        match &self.followed {
            Some(followed) => followed.paused.contains(&relation.oid),
            None => self.mapped(relation).is_some_and(|it| self.mapping.paused().contains(&it)),
        }
    }

    /// Of an earlier shape: what the Relation lacks is unchanged.
    fn places_of_older(&self, index: TableIndex, relation: &Relation) -> Arc<[Option<Place>]> {
        let place = |name: &String| {
            let mut columns = relation.columns.iter().enumerate();
            let (at, sent) = columns.find(|(_, it)| it.name == *name)?;
            Some(Place { at, identity: sent.identity })
        };
        self.mapping.columns(index).columns.iter().map(|column| place(&column.name)).collect()
    }

    fn places(
        &mut self,
        index: TableIndex,
        relation: &Relation,
    ) -> Result<Arc<[Option<Place>]>, TranslateError> {
        let plan = self.mapping.columns(index);
        let table = || plan.name.clone();
        let known = |name: &String| {
            plan.left_out.contains(name) || plan.columns.iter().any(|column| column.name == *name)
        };
        for column in relation.columns.iter().map(|column| &column.name).filter(|it| !known(it)) {
            let column = column.clone();
            self.notices.once(Notice::ExtraColumn { table: table(), column });
        }
        let mut places = Vec::with_capacity(plan.columns.len());
        for (at_plan, column) in plan.columns.iter().enumerate() {
            let is_key = plan.key.iter().any(|slot| slot.column == at_plan);
            let found = relation.columns.iter().enumerate().find(|(_, it)| it.name == column.name);
            let name = || column.name.clone();
            match found {
                None if is_key => {
                    return Err(TranslateError::KeyColumnMissing {
                        table: table(),
                        column: name(),
                    });
                }
                None => {
                    self.notices.once(Notice::MissingColumn { table: table(), column: name() });
                }
                Some((_, sent)) => {
                    let has_identity = relation.replica_identity != ReplicaIdentity::Nothing;
                    if is_key && has_identity && !sent.identity {
                        return Err(TranslateError::KeyNotIdentity {
                            table: table(),
                            column: name(),
                        });
                    }
                    if sent.type_oid != column.type_oid && sent.type_oid != UNKNOWN_OID {
                        self.notices.once(Notice::TypeChanged { table: table(), column: name() });
                    }
                }
            }
            places.push(found.map(|(at, sent)| Place { at, identity: sent.identity }));
        }
        Ok(places.into())
    }

    /// A table that is not mapped is passed over, but not one that was mapped under another name.
    fn check_unmapped(&mut self, relation: &Relation) -> Result<(), TranslateError> {
        let name = TableName::new(&relation.schema, &relation.name);
        if self.followed.is_some() {
            return Ok(());
        }
        let known = self.mapping.tables.iter().find(|table| table.oid == relation.oid);
        match known.filter(|_| relation.oid != UNKNOWN_OID) {
            Some(table) => {
                Err(TranslateError::Renamed { table: table.name.clone(), renamed: name })
            }
            None => {
                self.notices.once(Notice::UnmappedTable { table: name });
                Ok(())
            }
        }
    }
}

/// The object id of a source that knows none (PostgreSQL's InvalidOid).
const UNKNOWN_OID: u32 = 0;

/// A column that the Relation lacks is as good as unchanged.
fn raw(tuple: &[Cell], place: Option<Place>) -> Raw<'_> {
    match place.map(|place| &tuple[place.at]) {
        Some(Cell::Null) => Raw::Null,
        Some(Cell::Text(text)) => Raw::Text(text),
        Some(Cell::Unchanged) | None => Raw::Unchanged,
    }
}
