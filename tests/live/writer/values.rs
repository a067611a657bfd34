//! Every kind of value, to the graph and back.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, NaiveTime};
use neo4rs::BoltType;
use wal2graph::{
    neo4j::{
        cypher::{Parameter, Query},
        parameter,
    },
    value::{Duration, FixedOffsetSeconds, Float, Point, Value},
};

use super::{Graph, step};

fn values() -> Vec<(Value, &'static str)> {
    let date = |year| NaiveDate::from_ymd_opt(year, 2, 28).unwrap();
    let time = NaiveTime::from_hms_micro_opt(23, 59, 59, 999_999).unwrap();
    let duration = Duration { months: -14, days: 3, seconds: -86_401, nanoseconds: 999_999_000 };
    let point = |srid| Value::Point(Point { srid, x: Float(-1.5), y: Float(2.25) });
    let text = "a\u{0}é\u{1F980}`'\"\\ \n";
    vec![
        (Value::Boolean(true), "BOOLEAN"),
        (Value::Integer(i64::MIN), "INTEGER"),
        (Value::Integer(i64::MAX), "INTEGER"),
        (Value::Float(Float(f64::MIN_POSITIVE)), "FLOAT"),
        (Value::Float(Float(-0.0)), "FLOAT"),
        (Value::Float(Float(f64::NEG_INFINITY)), "FLOAT"),
        (Value::String(text.to_owned()), "STRING"),
        (Value::String("x".repeat(200_000)), "STRING"),
        (Value::Date(date(2024)), "DATE"),
        (Value::Date(date(-4000)), "DATE"),
        (Value::Date(date(250_000)), "DATE"),
        (Value::LocalDateTime(date(1969).and_time(time)), "LOCAL DATETIME"),
        (Value::ZonedDateTime(DateTime::from_timestamp_micros(-1).unwrap()), "ZONED DATETIME"),
        (Value::LocalTime(time), "LOCAL TIME"),
        (Value::Time(time, FixedOffsetSeconds(-12_600)), "ZONED TIME"),
        (Value::Duration(duration), "DURATION"),
        (point(7203), "POINT"),
        (point(4326), "POINT"),
        (Value::List(vec![Value::Integer(1), Value::Integer(2)]), "LIST<INTEGER NOT NULL>"),
        (Value::List(vec![Value::String(String::new())]), "LIST<STRING NOT NULL>"),
        (Value::List(vec![Value::Date(date(1))]), "LIST<DATE NOT NULL>"),
        (Value::List(vec![point(7203)]), "LIST<POINT NOT NULL>"),
        (Value::List(Vec::new()), "LIST<NOTHING>"),
    ]
}

#[tokio::test]
async fn every_value_comes_back_as_it_went() {
    let graph = Graph::new("WriterValues").await;
    let mut writer = graph.writer().await;
    let all = values();
    let rows = all.iter().enumerate().map(|(id, (value, _))| {
        let id = Parameter::Value(Value::Integer(id as i64));
        Parameter::List(vec![id, Parameter::Value(value.clone())])
    });
    let text = "UNWIND $rows[0] AS r CREATE (:WriterValues {id: r[0], value: r[1]})";
    let query = Query { text: Arc::from(text), rows: rows.collect(), otherwise: None };
    writer.write(&step(100, 200), &[query]).await.unwrap();

    let text =
        "MATCH (n:WriterValues) RETURN n.value AS value, valueType(n.value) AS type ORDER BY n.id";
    let read = graph.connection.rows(neo4rs::Query::new(text.to_owned())).await.unwrap();
    assert_eq!(read.len(), all.len());
    for (row, (value, value_type)) in read.iter().zip(&all) {
        assert_eq!(row.get::<String>("type").unwrap(), format!("{value_type} NOT NULL"));
        assert_eq!(row.get::<BoltType>("value").unwrap(), parameter::value(value), "{value_type}");
    }
}

#[tokio::test]
async fn bytes_not_a_number_and_null_are_themselves() {
    let graph = Graph::new("WriterOddValues").await;
    let mut writer = graph.writer().await;
    let row = Parameter::List(vec![
        Parameter::Value(Value::Bytes(Bytes::from_static(&[0, 255, 7]))),
        Parameter::Value(Value::Float(Float(f64::NAN))),
        Parameter::Null,
    ]);
    let text =
        "UNWIND $rows[0] AS r CREATE (:WriterOddValues {bytes: r[0], nan: r[1], none: r[2]})";
    let query = Query { text: Arc::from(text), rows: vec![row], otherwise: None };
    writer.write(&step(100, 200), &[query]).await.unwrap();
    let text = "MATCH (n:WriterOddValues) RETURN n.bytes AS bytes, isNaN(n.nan) AS nan, n.none IS NULL AS none";
    let rows = graph.connection.rows(neo4rs::Query::new(text.to_owned())).await.unwrap();
    let BoltType::Bytes(bytes) = rows[0].get::<BoltType>("bytes").unwrap() else {
        panic!("no bytes")
    };
    assert_eq!(&bytes.value[..], [0, 255, 7]);
    assert!(rows[0].get::<bool>("nan").unwrap() && rows[0].get::<bool>("none").unwrap());
}
