//! What [`GraphReader`] promises.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, NaiveTime};
use wal2graph::{
    graph::{
        Cell, Found, Key, Model, Reference, Repair, Row, TableIndex, compare,
        model::{
            Direction, NodeShape, ReferenceBy, ReferenceShape, RelationshipKey, RelationshipShape,
            Shape, Table,
        },
        plan_repaired,
    },
    pipeline::{ChunkWriter, GraphReader, Store},
    value::{Duration, FixedOffsetSeconds, Float, Point, Value},
};

use super::{at, claim, log, new_checkpoint};

const ONE: TableIndex = TableIndex(0);
const TWO: TableIndex = TableIndex(1);
const BETWEEN: TableIndex = TableIndex(2);
const OWN: TableIndex = TableIndex(3);

/// Keys of one and of two values, join tables of both kinds.
pub fn model() -> Model {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let table = |name: &str, shape| Table { name: name.to_owned(), shape };
    let refers = ReferenceShape {
        relationship_type: "READ_REFERS".to_owned(),
        direction: Direction::Outgoing,
        target: ONE,
        by: ReferenceBy::Key,
    };
    let node = |label: &str, key: &[&str], references| {
        let shape = NodeShape {
            label: label.to_owned(),
            extra_labels: vec![format!("{label}Extra")],
            key: names(key),
            properties: names(&["a", "b"]),
            references,
        };
        table(label, Shape::Node(shape))
    };
    let join = |kind: &str, key| {
        let (relationship_type, properties) = (kind.to_owned(), names(&["a"]));
        let shape = RelationshipShape { relationship_type, from: TWO, to: ONE, key, properties };
        table(kind, Shape::Relationship(shape))
    };
    let one = node("ReadOne", &["k"], vec![]);
    let two = node("ReadTwo", &["k", "l"], vec![refers]);
    let own = RelationshipKey::Own(names(&["k", "l"]));
    let tables = vec![one, two, join("READ_BETWEEN", RelationshipKey::Ends), join("READ_OWN", own)];
    Model { tables }
}

/// Values of every type that a key may have, some of them easily taken for another one.
fn keys() -> Vec<Value> {
    let texts = [
        "",
        " ",
        "1",
        "a",
        "A",
        "ä",
        "a\u{308}",
        "Z",
        "z",
        "ß",
        "\u{0}",
        "\u{FFFF}",
        "\u{10000}",
        "I",
        "ı",
        "10",
        "9",
        "`'\"\\",
    ];
    let time = NaiveTime::from_hms_micro_opt(8, 0, 0, 1).unwrap();
    let day = |year| NaiveDate::from_ymd_opt(year, 3, 1).unwrap();
    let mut keys: Vec<Value> = texts.iter().map(|text| Value::String((*text).to_owned())).collect();
    keys.extend([i64::MIN, -1, 0, 1, 9, 10, (1 << 53) + 1, i64::MAX].map(Value::Integer));
    keys.extend(
        [1.5, -0.5, 1e19, 1e300, f64::INFINITY, f64::NEG_INFINITY]
            .map(|it| Value::Float(Float(it))),
    );
    keys.extend([true, false].map(Value::Boolean));
    keys.extend([-4000, 1, 1970, 2024, 200_000].map(|year| Value::Date(day(year))));
    keys.extend([1969, 2024].map(|year| Value::LocalDateTime(day(year).and_time(time))));
    keys.extend(
        [-1, 1_700_000_000_000_001]
            .map(|micros| Value::ZonedDateTime(DateTime::from_timestamp_micros(micros).unwrap())),
    );
    keys.extend([time, NaiveTime::MIN].map(Value::LocalTime));
    keys.extend([0, 7_200, -57_599].map(|offset| Value::Time(time, FixedOffsetSeconds(offset))));
    keys.extend(
        [&b""[..], b"\0", b"\x01", b"\x01\x00", b"\x7f", b"\x80", b"\xff"]
            .map(|bytes| Value::Bytes(Bytes::from_static(bytes))),
    );
    // Others' alone: no column has them. The first is the same instant as one in UTC.
    let utc = DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap().naive_utc();
    keys.extend([18_000, -19_800].map(|offset| Value::Elsewhere(utc, FixedOffsetSeconds(offset))));
    keys
}

/// Values of every type that a property may have.
fn values() -> Vec<Value> {
    let point = |srid| Value::Point(Point { srid, x: Float(-0.0), y: Float(2.5) });
    let duration = Duration { months: -14, days: 3, seconds: -86_401, nanoseconds: 999_999_000 };
    let floats =
        [f64::NAN, -0.0, 0.0, f64::MIN_POSITIVE, f64::MAX].map(|it| Value::Float(Float(it)));
    let mut values = keys();
    values.extend(floats.clone());
    values.push(Value::Duration(duration));
    values.push(Value::Duration(Duration::default()));
    values.extend([7203].map(point));
    let mut lists: Vec<Value> = [0, 18, 26, 32, 34, 39, 41, 43, 45]
        .map(|index| Value::List(vec![values[index].clone(), values[index].clone()]))
        .to_vec();
    lists.push(Value::List(Vec::new()));
    lists.push(Value::List(floats.to_vec()));
    lists.push(Value::List(vec![Value::Duration(duration)]));
    values.extend(lists);
    values
}

struct Rows<S: Store> {
    sink: S::Sink,
    reader: S::Reader,
    model: Arc<Model>,
}

impl<S: Store> Rows<S> {
    async fn new(open: impl Fn() -> S, pipeline: &str) -> Self {
        let (graph, model) = (open(), Arc::new(model()));
        graph.establish(&model).await.unwrap();
        graph.create(pipeline, &new_checkpoint(log()), &[]).await.unwrap();
        let claim = claim(&graph, pipeline).await;
        let planner = graph.planner(&model, None).unwrap();
        let sink = graph.sink(&claim, &model, &planner).unwrap();
        let reader = open().reader(&model).unwrap();
        let mut rows = Rows { sink, reader, model };
        // What an earlier run has left in a real graph.
        for table in [BETWEEN, OWN, TWO, ONE] {
            let remove = rows.all(table, 1_000).await.into_iter().map(|found| found.key).collect();
            rows.write(table, Repair { remove, ..Repair::default() }).await;
        }
        rows
    }

    async fn write(&mut self, table: TableIndex, repair: Repair) {
        let statements = plan_repaired(&self.model, table, repair);
        self.sink.write_rows(at(100), table, statements).await.unwrap();
    }

    async fn insert(&mut self, table: TableIndex, write: Vec<(Key, Row)>) {
        self.write(table, Repair { write, ..Repair::default() }).await;
    }

    async fn all(&mut self, table: TableIndex, limit: usize) -> Vec<Found> {
        let (mut all, mut seen) = (Vec::<Found>::new(), BTreeSet::new());
        loop {
            let after = all.last().map(|found| &found.key);
            let page = self.reader.page(table, after, limit).await.unwrap();
            if page.is_empty() {
                return all;
            }
            assert!(page.len() <= limit, "{} of {limit}", page.len());
            for found in page {
                assert!(seen.insert(found.key.clone()), "{:?} is on two pages", found.key);
                all.push(found);
            }
        }
    }

    async fn order(&mut self, table: TableIndex, limit: usize) -> Vec<Key> {
        self.all(table, limit).await.into_iter().map(|found| found.key).collect()
    }
}

fn row(properties: &[Option<Value>], references: Vec<Reference>) -> Row {
    let cell = |value: &Option<Value>| value.clone().map_or(Cell::Null, Cell::Value);
    Row { properties: properties.iter().map(cell).collect(), references }
}

fn one_value(value: Value) -> Key {
    Key([value].into())
}

/// Every key of whatever type is on exactly one page of whatever length, in one order, also behind
/// keys that have gone.
pub async fn pages_have_every_key_once<S: Store>(open: impl Fn() -> S, pipeline: &str) {
    let mut rows = Rows::new(&open, pipeline).await;
    assert!(rows.all(ONE, 3).await.is_empty());
    let keys: BTreeSet<Key> = keys().into_iter().map(one_value).collect();
    let new = keys.iter().map(|key| (key.clone(), row(&[None, None], vec![])));
    rows.insert(ONE, new.collect()).await;
    let order = rows.order(ONE, 1_000).await;
    assert_eq!(order.iter().cloned().collect::<BTreeSet<_>>(), keys);
    for limit in [1, 2, 7, keys.len()] {
        assert_eq!(rows.order(ONE, limit).await, order, "pages of {limit}");
    }
    for key in order.iter().step_by(5) {
        let remove = vec![key.clone()];
        rows.write(ONE, Repair { remove, ..Repair::default() }).await;
    }
    for (index, key) in order.iter().enumerate() {
        let behind = order[index + 1..].iter().zip(index + 1..).find(|(_, index)| index % 5 != 0);
        let page = rows.reader.page(ONE, Some(key), 1).await.unwrap();
        assert_eq!(page.first().map(|found| &found.key), behind.map(|(key, _)| key), "{key:?}");
    }
    let left: Vec<Key> = rows.order(ONE, 10).await;
    let asked = [order.as_slice(), &order[..3]].concat();
    let found = rows.reader.found(ONE, &asked).await.unwrap();
    assert_eq!(found.len(), left.len(), "each once");
    assert!(rows.reader.found(ONE, &[]).await.unwrap().is_empty());
    assert_eq!(rows.reader.strays(ONE).await.unwrap().count, 0);
}

/// The same of keys of several values, and of relationships between their nodes.
pub async fn pages_of_composite_keys_and_join_rows<S: Store>(open: impl Fn() -> S, pipeline: &str) {
    let mut rows = Rows::new(&open, pipeline).await;
    let some: Vec<Value> = keys().into_iter().step_by(4).collect();
    let pairs = some.iter().flat_map(|first| {
        some.iter().step_by(2).map(|second| Key([first.clone(), second.clone()].into()))
    });
    let pairs: Vec<Key> = pairs.collect();
    let refers = |key: &Key| vec![Reference::To(one_value(key.0[0].clone()))];
    let new = pairs.iter().map(|key| (key.clone(), row(&[None, None], refers(key))));
    rows.insert(TWO, new.collect()).await;
    let placeholders = rows.order(ONE, 5).await;
    assert_eq!(placeholders.len(), some.len(), "they are on the pages, too");

    let ends = |key: &Key| (key.clone(), one_value(key.0[1].clone()));
    let joined = pairs.iter().step_by(3).flat_map(|key| {
        let both = [one_value(key.0[1].clone()), one_value(key.0[0].clone())];
        both.into_iter().map(|to| {
            let key = Key(key.0.iter().chain(&to.0).cloned().collect());
            (key, row(&[None], vec![Reference::Null, Reference::Null]))
        })
    });
    let joined: std::collections::BTreeMap<Key, Row> = joined.collect();
    rows.insert(BETWEEN, joined.clone().into_iter().collect()).await;
    let own = pairs.iter().step_by(2).map(|key| {
        let (from, to) = ends(key);
        (key.clone(), row(&[None], vec![Reference::To(from), Reference::To(to)]))
    });
    let own: Vec<(Key, Row)> = own.collect();
    rows.insert(OWN, own.clone()).await;

    for (table, count) in [(TWO, pairs.len()), (BETWEEN, joined.len()), (OWN, own.len())] {
        let order = rows.order(table, 1_000).await;
        assert_eq!(order.len(), count, "of {}", rows.model.table(table).name);
        for limit in [1, 2, 7, count] {
            assert_eq!(rows.order(table, limit).await, order, "pages of {limit}");
        }
        let found = rows.reader.found(table, &order).await.unwrap();
        let found: BTreeSet<Key> = found.into_iter().map(|found| found.key).collect();
        assert_eq!(found, order.into_iter().collect());
        assert_eq!(rows.reader.strays(table).await.unwrap().count, 0);
    }
}

/// What was written is equal when it is read, whatever its type. Otherwise a repair would write it for
/// ever.
pub async fn what_was_written_is_equal_when_it_is_read<S: Store>(
    open: impl Fn() -> S,
    pipeline: &str,
) {
    let mut rows = Rows::new(&open, pipeline).await;
    let model = rows.model.clone();
    let written: Vec<(Key, Row)> = (0..)
        .zip(values())
        .map(|(id, value)| {
            let properties = match id % 2 {
                0 => [Some(value), None],
                _ => [None, Some(value)],
            };
            (one_value(Value::Integer(id)), row(&properties, vec![]))
        })
        .collect();
    rows.insert(ONE, written.clone()).await;
    let found = rows.all(ONE, 1_000).await;
    assert_eq!(found.len(), written.len());
    for (key, row) in &written {
        let found = found.iter().find(|found| found.key == *key);
        let differences = compare(&model, ONE, Some((key, row)), found);
        assert!(differences.is_empty(), "{differences:?}");
    }
}
