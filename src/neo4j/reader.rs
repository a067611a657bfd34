//! What Neo4j has of the tables' rows, read beside the writers.
//!
//! ```text
//! page:   level by level of the key, the deepest first, until there are enough --> lists --> Found*
//! found:  by key
//! ```
//!
//! The order of keys is that of Neo4j's range indexes: by the kinds of values (`KINDS`), within a kind by
//! value, strings by their code points. Every look-up is a range of the key's index.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use neo4rs::{BoltInteger, BoltList, BoltType, Query};

use crate::{
    graph::{
        Found, Key, Model, TableIndex,
        found::{End, Entity, FoundNode, FoundReference, FoundRelationship, State, Stored},
    },
    pipeline::{GraphReader, Strays},
    shown::Shown,
    value::{FixedOffsetSeconds, Float, Value},
};

use super::{
    connect::Connection,
    cypher::{Bounds, Layout, Level, Reads, reads},
    error::Error,
    parameter::{self, KEEP_PLAN},
};

/// Keys are looked up in portions of this many.
const KEYS: usize = 5_000;
/// A page of about this many bytes is long enough, however many keys are wanted.
const PAGE_SIZE: usize = 8 << 20;

/// Reads rows' nodes and relationships on a connection of its own.
pub struct Reader {
    connection: Connection,
    model: Arc<Model>,
    tables: BTreeMap<TableIndex, Arc<Texts>>,
}

struct Texts {
    reads: Reads,
    layout: Layout,
}

impl Reader {
    /// A reader on this connection, which is its own.
    pub fn new(connection: Connection, model: Arc<Model>) -> Self {
        Reader { connection, model, tables: BTreeMap::new() }
    }

    fn texts(&mut self, table: TableIndex) -> Arc<Texts> {
        let model = &self.model;
        let made = || {
            let (reads, layout) = (reads(model, table), Layout::of(model, table));
            Arc::new(Texts { reads, layout })
        };
        self.tables.entry(table).or_insert_with(made).clone()
    }

    /// The answer's lists, and whether they are all that there are within the size.
    async fn lists(&self, query: Query, size: usize) -> Result<(Vec<BoltList>, bool), Error> {
        let list = |row: &neo4rs::Row| match row.get::<BoltType>("x") {
            Ok(BoltType::List(list)) => {
                let size = list.value.iter().map(size_of).sum();
                Ok((list, size))
            }
            _ => Err(Error::Fatal("a row that was read is no list".to_owned())),
        };
        self.connection.rows_within(query, size, list).await
    }

    /// The lists behind a key, at most `limit`, in order, and whether these are all.
    async fn lists_after(
        &self,
        texts: &Texts,
        after: Option<&[BoltType]>,
        limit: usize,
    ) -> Result<(Vec<BoltList>, bool), Error> {
        let mut lists = Vec::new();
        for Level { text, bounds } in &texts.reads.levels {
            let rows = match (after, bounds) {
                (Some(key), bounds) => rows_of(key, *bounds),
                (None, Bounds::At(0)) => kinds_from(0).map(|bound| row([], bound, true)).collect(),
                (None, _) => continue,
            };
            let wanted = limit - lists.len();
            let query = with_rows(text, rows).param("limit", wanted as i64);
            let (more, is_whole) = self.lists(query, PAGE_SIZE).await?;
            lists.extend(more);
            if lists.len() >= limit || !is_whole {
                return Ok((lists, false));
            }
        }
        Ok((lists, true))
    }

    fn unreadable(&self, table: TableIndex) -> Error {
        let name = Shown(&self.model.table(table).name).to_string();
        Error::Fatal(format!("what was read of {name} has another form than was asked for"))
    }
}

impl GraphReader for Reader {
    type Error = Error;

    async fn page(
        &mut self,
        table: TableIndex,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Found>, Error> {
        let texts = self.texts(table);
        let mut cursor: Option<Vec<BoltType>> = after.map(bolt_key);
        loop {
            let (lists, is_end) = self.lists_after(&texts, cursor.as_deref(), limit).await?;
            let Some(last) = lists.last() else { return Ok(Vec::new()) };
            cursor = texts.layout.raw_key(last);
            let entries: Option<Vec<Entry>> =
                lists.into_iter().map(|list| texts.layout.read(list)).collect();
            let entries = entries.ok_or_else(|| self.unreadable(table))?;
            // A key's entities that were cut off at the end of the page are read again with the rest.
            let last = entries.last().and_then(|(key, _)| key.clone());
            let mut found = grouped(entries);
            if let (false, Some(last)) = (is_end, last) {
                match found.len() {
                    1 => found = self.found(table, &[last]).await?,
                    _ => found.truncate(found.len() - 1),
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
            if cursor.is_none() {
                return Err(self.unreadable(table));
            }
        }
    }

    async fn found(&mut self, table: TableIndex, keys: &[Key]) -> Result<Vec<Found>, Error> {
        let texts = self.texts(table);
        let mut keys: Vec<&Key> = keys.iter().collect();
        keys.sort_unstable();
        keys.dedup();
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(KEYS) {
            let rows = keys.iter().map(|key| parameter::list(bolt_key(key).into_iter()));
            let query = with_rows(&texts.reads.by_key, rows.collect());
            let (lists, _) = self.lists(query, usize::MAX).await?;
            let entries: Option<Vec<Entry>> =
                lists.into_iter().map(|list| texts.layout.read(list)).collect();
            found.extend(grouped(entries.ok_or_else(|| self.unreadable(table))?));
        }
        Ok(found)
    }

    async fn missing(&mut self, table: TableIndex, keys: &[Key]) -> Result<Vec<Key>, Error> {
        let texts = self.texts(table);
        let mut missing = Vec::new();
        for keys in keys.chunks(KEYS) {
            let row = |(number, key): (usize, &Key)| {
                parameter::list(bolt_key(key).into_iter().chain([(number as i64).into()]))
            };
            let rows = keys.iter().enumerate().map(row).collect();
            let query = with_rows(&texts.reads.missing, rows);
            let (lists, _) = self.lists(query, usize::MAX).await?;
            for list in lists {
                let key = match list.value.first() {
                    Some(BoltType::Integer(number)) => keys.get(number.value as usize),
                    _ => None,
                };
                missing.push(key.ok_or_else(|| self.unreadable(table))?.clone());
            }
        }
        Ok(missing)
    }

    async fn strays(&mut self, table: TableIndex) -> Result<Strays, Error> {
        let texts = self.texts(table);
        let rows = self.connection.rows(Query::new(texts.reads.strays.count())).await?;
        let count = rows.first().and_then(|row| row.get::<i64>("count").ok());
        let count = count.and_then(|count| u64::try_from(count).ok());
        let count = count.ok_or_else(|| self.unreadable(table))?;
        Ok(Strays { count, queries: self.texts(table).reads.strays.queries() })
    }
}

/// About how many bytes a value takes.
fn size_of(value: &BoltType) -> usize {
    let inner = match value {
        BoltType::String(it) => it.value.len(),
        BoltType::Bytes(it) => it.value.len(),
        BoltType::List(it) => it.value.iter().map(size_of).sum(),
        _ => 0,
    };
    std::mem::size_of::<BoltType>() + inner
}

fn with_rows(text: &str, rows: Vec<BoltType>) -> Query {
    let rows = parameter::list(std::iter::once(parameter::list(rows.into_iter())));
    Query::new(format!("{KEEP_PLAN}{text}")).param("rows", rows)
}

/// The rows of a level behind a key.
fn rows_of(key: &[BoltType], bounds: Bounds) -> Vec<BoltType> {
    match bounds {
        Bounds::At(at) => {
            let before = || key[..at].iter().cloned();
            let own = row(before(), key[at].clone(), false);
            let kinds = kinds_from(behind(&key[at]));
            std::iter::once(own).chain(kinds.map(|least| row(before(), least, true))).collect()
        }
        Bounds::Ends(from) => {
            let (start, end) = key.split_at(from);
            let end = end
                .iter()
                .flat_map(|value| [value.clone(), parameter::list(kinds_from(behind(value)))]);
            vec![parameter::list(start.iter().cloned().chain(end))]
        }
    }
}

fn row(
    before: impl IntoIterator<Item = BoltType>,
    bound: BoltType,
    is_inclusive: bool,
) -> BoltType {
    parameter::list(before.into_iter().chain([bound, is_inclusive.into()]))
}

/// The least value of each kind that has an order, in Neo4j's order of kinds. A byte array is a list of
/// numbers there.
fn kinds() -> [BoltType; 16] {
    let least = |value: Value| parameter::value(&value);
    let time = Value::Time(NaiveTime::MIN, FixedOffsetSeconds(18 * 3600));
    let zoned = Value::ZonedDateTime(NaiveDateTime::MIN.and_utc());
    let local = Value::LocalDateTime(NaiveDateTime::MIN);
    let (date, local_time) = (Value::Date(NaiveDate::MIN), Value::LocalTime(NaiveTime::MIN));
    let list = |value: &Value| Value::List(vec![value.clone()]);
    [
        least(list(&zoned)),
        least(list(&local)),
        least(list(&date)),
        least(list(&time)),
        least(list(&local_time)),
        least(Value::List(Vec::new())),
        least(list(&Value::Boolean(false))),
        least(Value::Bytes(bytes::Bytes::new())),
        least(zoned),
        least(local),
        least(date),
        least(time),
        least(local_time),
        least(Value::String(String::new())),
        least(Value::Boolean(false)),
        least(Value::Float(Float(f64::NEG_INFINITY))),
    ]
}

fn kinds_from(first: usize) -> impl Iterator<Item = BoltType> {
    kinds().into_iter().skip(first)
}

/// The first kind behind that of a value. Points come before all single values, durations before strings.
fn behind(value: &BoltType) -> usize {
    match value {
        BoltType::List(list) => match list.value.first() {
            None | Some(BoltType::String(_)) => 6,
            Some(BoltType::DateTime(_) | BoltType::DateTimeZoneId(_)) => 1,
            Some(BoltType::LocalDateTime(_)) => 2,
            Some(BoltType::Date(_)) => 3,
            Some(BoltType::Time(_)) => 4,
            Some(BoltType::LocalTime(_) | BoltType::Duration(_)) => 5,
            Some(BoltType::Boolean(_)) => 7,
            Some(BoltType::Integer(_) | BoltType::Float(_)) => 8,
            Some(_) => 0,
        },
        BoltType::Bytes(_) | BoltType::Point2D(_) | BoltType::Point3D(_) => 8,
        BoltType::DateTime(_) | BoltType::DateTimeZoneId(_) => 9,
        BoltType::LocalDateTime(_) => 10,
        BoltType::Date(_) => 11,
        BoltType::Time(_) => 12,
        BoltType::LocalTime(_) | BoltType::Duration(_) => 13,
        BoltType::String(_) => 14,
        BoltType::Boolean(_) => 15,
        _ => 16,
    }
}

fn bolt_key(key: &Key) -> Vec<BoltType> {
    key.0.iter().map(parameter::value).collect()
}

/// An entity that was read. Without a key it is a stray.
type Entry = (Option<Key>, Entity);

/// Entities with one key become one; strays are left out.
fn grouped(entries: Vec<Entry>) -> Vec<Found> {
    let mut all: Vec<Found> = Vec::with_capacity(entries.len());
    for (key, entity) in entries {
        let Some(key) = key else { continue };
        match (all.last_mut(), entity) {
            (
                Some(Found { key: last, entity: Entity::Relationships(there) }),
                Entity::Relationships(more),
            ) if *last == key => there.extend(more),
            (Some(Found { key: last, entity: Entity::Node(there) }), Entity::Node(more))
                if *last == key =>
            {
                let times = there.times + 1;
                if more.state == State::Row && there.state != State::Row {
                    *there = more;
                }
                there.times = times;
            }
            (_, entity) => all.push(Found { key, entity }),
        }
    }
    all
}

impl Layout {
    /// The key of an entity as it is there, whatever its type.
    fn raw_key(&self, list: &BoltList) -> Option<Vec<BoltType>> {
        let items = &list.value;
        match self {
            Layout::Node { key: own, .. } | Layout::Relationship { own: own @ 1.., .. } => {
                items.get(..*own).map(<[BoltType]>::to_vec)
            }
            Layout::Relationship { from, to, .. } => {
                let mut key = parts(items.first()?.clone(), *from)?;
                key.extend(parts(items.get(1)?.clone(), *to)?);
                Some(key)
            }
        }
    }

    /// `None` if the list is not of this layout.
    fn read(&self, list: BoltList) -> Option<Entry> {
        let mut items = list.value.into_iter();
        match self {
            Layout::Node { key, labels, properties, references } => {
                let key = key_of((&mut items).take(*key));
                let state = match items.next()? {
                    BoltType::Integer(BoltInteger { value: 0 }) => State::Row,
                    BoltType::Integer(BoltInteger { value }) => {
                        State::Placeholder { is_held: value == 1 }
                    }
                    _ => return None,
                };
                let is_incomplete = flag(items.next()?)?;
                let extra_labels =
                    (&mut items).take(*labels).map(flag).collect::<Option<Vec<bool>>>()?;
                let properties = (&mut items).take(*properties).map(stored).collect();
                let mut found = Vec::with_capacity(references.len());
                for (is_unique, width) in references {
                    let ends = ends(items.next()?, *width)?;
                    let expected = match is_unique {
                        true => Some(self::ends(items.next()?, *width)?),
                        false => None,
                    };
                    found.push(FoundReference { ends, expected });
                }
                let references = found;
                let node = FoundNode {
                    times: 1,
                    state,
                    is_incomplete,
                    extra_labels,
                    properties,
                    references,
                };
                Some((key, Entity::Node(node)))
            }
            Layout::Relationship { own, from, to, properties } => {
                let own_key = key_of((&mut items).take(*own));
                let from = end(items.next()?, *from);
                let to = end(items.next()?, *to);
                let key = match own {
                    0 => match (&from, &to) {
                        (End::At(from), End::At(to)) => {
                            Some(Key(from.0.iter().chain(&to.0).cloned().collect()))
                        }
                        _ => None,
                    },
                    _ => own_key,
                };
                let is_incomplete = flag(items.next()?)?;
                let properties = (&mut items).take(*properties).map(stored).collect();
                let found = FoundRelationship { from, to, is_incomplete, properties };
                Some((key, Entity::Relationships(vec![found])))
            }
        }
    }
}

fn flag(value: BoltType) -> Option<bool> {
    match value {
        BoltType::Boolean(it) => Some(it.value),
        _ => None,
    }
}

fn stored(value: BoltType) -> Stored {
    match value {
        BoltType::Null(_) => Stored::Nothing,
        value => parameter::value_of(value).map_or(Stored::Foreign, Stored::Value),
    }
}

/// A key, if all of its values may be a key's.
fn key_of(values: impl Iterator<Item = BoltType>) -> Option<Key> {
    let value = |value| match parameter::value_of(value)? {
        Value::Duration(_) | Value::Point(_) => None,
        Value::Float(Float(it)) if it.is_nan() => None,
        value => Some(value),
    };
    values.map(value).collect::<Option<_>>().map(Key)
}

/// The values of a key that came as one.
fn parts(value: BoltType, width: usize) -> Option<Vec<BoltType>> {
    match (width, value) {
        (1, value) => Some(vec![value]),
        (_, BoltType::List(list)) => Some(list.value),
        _ => None,
    }
}

fn end(value: BoltType, width: usize) -> End {
    let key = parts(value, width).and_then(|parts| key_of(parts.into_iter()));
    key.map_or(End::Keyless, End::At)
}

fn ends(value: BoltType, width: usize) -> Option<Vec<End>> {
    let BoltType::List(list) = value else { return None };
    let mut ends: Vec<End> = list.value.into_iter().map(|value| end(value, width)).collect();
    ends.sort_unstable();
    Some(ends)
}
