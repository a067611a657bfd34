//! Values in the form of the Bolt protocol.
//!
//! Rows are lists, not maps: that takes a third of the client's work, and fewer bytes. Everything
//! is built bottom-up, because the driver's own conversions of a `Vec` clone every element.

use chrono::{DateTime, FixedOffset};
use neo4rs::{
    BoltBoolean, BoltBytes, BoltDuration, BoltFloat, BoltInteger, BoltList, BoltNull, BoltPoint2D,
    BoltString, BoltType, summary::Counters,
};

use crate::value::{Duration, FixedOffsetSeconds, Float, Point, Value};

use super::cypher::{Done, Parameter, Query};

/// Plans do not depend on statistics, because every look-up names its index. So Neo4j need not plan
/// again when statistics have changed, which would delay every caller.
pub const KEEP_PLAN: &str = "CYPHER replan=skip ";

/// The statement and its rows in the driver's form. Copies the rows, because a retry needs them
/// again.
pub fn query(query: &Query) -> neo4rs::Query {
    with_text(&query.text, query)
}

/// The same for the statement's fallback texts, after it did this.
pub fn otherwise(query: &Query, did: &Counters) -> impl Iterator<Item = neo4rs::Query> {
    let needed = query.otherwise.as_ref().filter(|otherwise| {
        let for_each_row = |done: u64| done >= query.rows.len() as u64;
        !match otherwise.unless {
            Done::NodesMade => for_each_row(did.nodes_created),
            Done::RelationshipsMade => for_each_row(did.relationships_created),
            Done::NodesDeleted => for_each_row(did.nodes_deleted),
            Done::RelationshipsDeleted => for_each_row(did.relationships_deleted),
            Done::NothingMarked => did.properties_set == 0,
        }
    });
    let texts = needed.into_iter().flat_map(|otherwise| &otherwise.texts);
    texts.map(|text| with_text(text, query))
}

fn with_text(text: &str, query: &Query) -> neo4rs::Query {
    let statement = neo4rs::Query::new(format!("{KEEP_PLAN}{text}"));
    with_rows(statement, std::slice::from_ref(query))
}

/// The statement with the rows of all these queries: `$rows[0]` are those of the first.
pub fn with_rows(statement: neo4rs::Query, queries: &[Query]) -> neo4rs::Query {
    let rows = queries.iter().map(|query| list(query.rows.iter().map(parameter)));
    statement.param("rows", list(rows))
}

fn parameter(parameter: &Parameter) -> BoltType {
    match parameter {
        Parameter::Null => BoltType::Null(BoltNull),
        Parameter::Value(it) => value(it),
        Parameter::List(items) => list(items.iter().map(self::parameter)),
    }
}

/// A property value.
pub fn value(value: &Value) -> BoltType {
    match value {
        Value::Boolean(it) => BoltType::Boolean(BoltBoolean::new(*it)),
        Value::Integer(it) => BoltType::Integer(BoltInteger::new(*it)),
        Value::Float(it) => BoltType::Float(BoltFloat::new(it.0)),
        Value::String(it) => BoltType::String(BoltString { value: it.clone() }),
        Value::Bytes(it) => BoltType::Bytes(BoltBytes::new(it.clone())),
        Value::Date(it) => (*it).into(),
        Value::LocalDateTime(it) => (*it).into(),
        Value::ZonedDateTime(it) => (*it).into(),
        Value::Elsewhere(utc, offset) => {
            DateTime::<FixedOffset>::from_naive_utc_and_offset(*utc, offset_of(*offset)).into()
        }
        Value::LocalTime(it) => (*it).into(),
        Value::Time(time, offset) => (*time, offset_of(*offset)).into(),
        Value::Duration(it) => BoltType::Duration(BoltDuration::new(
            it.months.into(),
            it.days.into(),
            it.seconds.into(),
            i64::from(it.nanoseconds).into(),
        )),
        Value::Point(it) => BoltType::Point2D(BoltPoint2D {
            sr_id: BoltInteger::new(i64::from(it.srid)),
            x: BoltFloat::new(it.x.0),
            y: BoltFloat::new(it.y.0),
        }),
        Value::List(items) => list(items.iter().map(self::value)),
    }
}

/// A list; its items are not copied.
pub fn list(items: impl Iterator<Item = BoltType>) -> BoltType {
    BoltType::List(BoltList { value: items.collect() })
}

/// A map. As a parameter it has one plan for any content. Separate parameters have a plan for each
/// combination of their types, and of orders of magnitude of their lengths.
pub fn map<const N: usize>(items: [(&str, BoltType); N]) -> BoltType {
    BoltType::Map(items.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

/// The codec creates no offset of a day or more: PostgreSQL's are below 16 hours.
fn offset_of(offset: FixedOffsetSeconds) -> FixedOffset {
    match offset.to_chrono() {
        Some(offset) => offset,
        None => panic!("an offset of {} s is not below a day", offset.0),
    }
}

/// A property value, read back; `None` if it is not one that we write.
pub fn value_of(value: BoltType) -> Option<Value> {
    Some(match value {
        BoltType::Boolean(it) => Value::Boolean(it.value),
        BoltType::Integer(it) => Value::Integer(it.value),
        BoltType::Float(it) => Value::Float(Float(it.value)),
        BoltType::String(it) => Value::String(it.value),
        BoltType::Bytes(it) => Value::Bytes(it.value),
        BoltType::Date(it) => Value::Date((&it).try_into().ok()?),
        BoltType::LocalTime(it) => Value::LocalTime((&it).into()),
        BoltType::LocalDateTime(it) => Value::LocalDateTime((&it).try_into().ok()?),
        BoltType::DateTime(it) => {
            let time: DateTime<FixedOffset> = (&it).try_into().ok()?;
            match time.offset().local_minus_utc() {
                0 => Value::ZonedDateTime(time.to_utc()),
                offset => Value::Elsewhere(time.naive_utc(), FixedOffsetSeconds(offset)),
            }
        }
        BoltType::Time(it) => {
            let (time, offset): (chrono::NaiveTime, FixedOffset) = (&it).into();
            Value::Time(time, FixedOffsetSeconds(offset.local_minus_utc()))
        }
        BoltType::Duration(it) => {
            // The driver exposes its parts only through serde.
            let BoltType::Map(parts) = map([("it", BoltType::Duration(it))]) else { return None };
            let (months, days, seconds, nanoseconds): (_, _, _, i64) = parts.get("it").ok()?;
            let nanoseconds = i32::try_from(nanoseconds).ok()?;
            Value::Duration(Duration { months, days, seconds, nanoseconds })
        }
        BoltType::Point2D(it) => Value::Point(Point {
            srid: i32::try_from(it.sr_id.value).ok()?,
            x: Float(it.x.value),
            y: Float(it.y.value),
        }),
        BoltType::List(it) => {
            Value::List(it.value.into_iter().map(value_of).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}
