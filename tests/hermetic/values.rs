//! PostgreSQL's text in, Neo4j's property out. A PostgreSQL 15 server wrote the texts of these
//! tables under the pinned settings.
#![allow(clippy::unwrap_used)]

mod keys;
mod random;
mod resolution;

use bytes::Bytes;
use chrono::{NaiveDate, NaiveTime};
use wal2graph::value::{
    CaseFolding, Comparable, Conversion, Duration, Field, FixedOffsetSeconds, Float, NumericMode,
    PROBES, Point, TextKind, Type, Value,
};

use resolution::{ADDRESS, NESTED, catalog};

fn mapped(r#type: &Type, text: &str) -> Value {
    match r#type.parse(text.as_bytes()) {
        Conversion::Mapped(value) => value,
        Conversion::Fallback(value) => panic!("{type:?}: {text} fell back to {value:?}"),
    }
}

/// The text form, and counted.
fn falls_back(r#type: &Type, text: &str) {
    let expected = Conversion::Fallback(string(text));
    assert_eq!(r#type.parse(text.as_bytes()), expected, "{type:?}: {text}");
}

fn string(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn float(float: f64) -> Value {
    Value::Float(Float(float))
}

fn integers(integers: &[i64]) -> Value {
    Value::List(integers.iter().copied().map(Value::Integer).collect())
}

fn strings(strings: &[&str]) -> Value {
    Value::List(strings.iter().copied().map(string).collect())
}

fn date(year: i32, month: u32, day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, month, day).unwrap()
}

fn time(hour: u32, minute: u32, second: u32, micro: u32) -> NaiveTime {
    NaiveTime::from_hms_micro_opt(hour, minute, second, micro).unwrap()
}

fn duration(months: i64, days: i64, seconds: i64, nanoseconds: i32) -> Value {
    Value::Duration(Duration { months, days, seconds, nanoseconds })
}

fn composite(fields: &[(&str, Type)]) -> Type {
    let field =
        |(name, r#type): &(&str, Type)| Field { name: (*name).to_owned(), r#type: r#type.clone() };
    Type::Composite(fields.iter().map(field).collect())
}

fn array(element: Type) -> Type {
    Type::array_of(element)
}

const EXACT: Type = Type::Numeric(NumericMode::Exact);
const FLOAT: Type = Type::Numeric(NumericMode::Float);
const AUTO: Type = Type::Numeric(NumericMode::Auto);
const PADDED: Type = Type::Text(TextKind::Padded);
const CITEXT_IN_C: Type = Type::Text(TextKind::CaseInsensitive(CaseFolding::Ascii));
const UUID: Type = Type::Text(TextKind::Uuid);

#[test]
fn scalars() {
    let cases = [
        (Type::Boolean, "t", Value::Boolean(true)),
        (Type::Boolean, "f", Value::Boolean(false)),
        (Type::Integer, "-32768", Value::Integer(-32768)),
        (Type::Integer, "-9223372036854775808", Value::Integer(i64::MIN)),
        (Type::Integer, "4294967295", Value::Integer(4_294_967_295)),
        (Type::Real, "3.3", float(3.3)),
        (Type::Double, "-0", float(0.0)),
        (Type::Double, "NaN", float(f64::NAN)),
        (Type::Double, "Infinity", float(f64::INFINITY)),
        (Type::Double, "-Infinity", float(f64::NEG_INFINITY)),
        (Type::Double, "1e+300", float(1e300)),
        (Type::Double, "1e-07", float(1e-7)),
        (Type::Double, "1.2345678901234568e+20", float(123_456_789_012_345_680_000.0)),
        (EXACT, "1.10", string("1.10")),
        (EXACT, "NaN", string("NaN")),
        (FLOAT, "1.10", float(1.1)),
        (FLOAT, "NaN", float(f64::NAN)),
        (FLOAT, "-Infinity", float(f64::NEG_INFINITY)),
        (AUTO, "12300", Value::Integer(12300)),
        (AUTO, "-9223372036854775808", Value::Integer(i64::MIN)),
        (AUTO, "1.00", float(1.0)),
        (AUTO, "0.1", float(0.1)),
        (AUTO, "100000000000000000000", float(1e20)),
        (AUTO, "9223372036854775809", string("9223372036854775809")),
        (AUTO, "0.12345678901234567890", string("0.12345678901234567890")),
        (Type::TEXT, "$1,234.56", string("$1,234.56")),
        (Type::TEXT, "", string("")),
        (PADDED, "ab   ", string("ab   ")),
        (CITEXT_IN_C, "Foo", string("Foo")),
        (Type::Bytes, "\\xdead00", Value::Bytes(Bytes::from_static(b"\xde\xad\0"))),
        (Type::Bytes, "\\x", Value::Bytes(Bytes::new())),
        (Type::Json, r#"{"a" : 1}"#, string(r#"{"a" : 1}"#)),
    ];
    for (r#type, text, expected) in cases {
        assert_eq!(mapped(&r#type, text), expected, "{type:?}: {text}");
    }
}

/// The moments in Debezium's `time_table`, and PostgreSQL's own limits.
#[test]
fn temporal_values() {
    let stamp = |date: NaiveDate, time| date.and_time(time);
    let local = |date, time| Value::LocalDateTime(stamp(date, time));
    let zoned = |date, time| Value::ZonedDateTime(stamp(date, time).and_utc());
    let offset =
        |hour, micro, seconds| Value::Time(time(hour, 0, 0, micro), FixedOffsetSeconds(seconds));
    let midnight = time(0, 0, 0, 0);
    let last = time(23, 59, 59, 999_999);
    let cases = [
        (Type::Date, "2024-03-04", Value::Date(date(2024, 3, 4))),
        (Type::Date, "4714-11-24 BC", Value::Date(date(-4713, 11, 24))),
        (Type::Date, "0001-01-01 BC", Value::Date(date(0, 1, 1))),
        (Type::Date, "10000-01-02", Value::Date(date(10_000, 1, 2))),
        (Type::Date, "262142-12-31", Value::Date(NaiveDate::MAX)),
        (Type::Timestamp, "2024-03-04 05:06:07", local(date(2024, 3, 4), time(5, 6, 7, 0))),
        (Type::Timestamp, "2024-03-04 05:06:07.0001", local(date(2024, 3, 4), time(5, 6, 7, 100))),
        (Type::Timestamp, "2024-03-04 05:06:07.1", local(date(2024, 3, 4), time(5, 6, 7, 100_000))),
        (Type::Timestamp, "4714-11-24 00:00:00 BC", local(date(-4713, 11, 24), midnight)),
        (
            Type::Timestamp,
            "21016-11-04 13:51:30.123456",
            local(date(21_016, 11, 4), time(13, 51, 30, 123_456)),
        ),
        (
            Type::Timestamp,
            "0044-03-15 01:02:03.4 BC",
            local(date(-43, 3, 15), time(1, 2, 3, 400_000)),
        ),
        (
            Type::TimestampTz,
            "2024-03-03 23:36:07.12+00",
            zoned(date(2024, 3, 3), time(23, 36, 7, 120_000)),
        ),
        (Type::TimestampTz, "4714-11-24 00:00:00+00 BC", zoned(date(-4713, 11, 24), midnight)),
        (
            Type::TimestampTz,
            "2024-01-01 00:00:00+05:30",
            zoned(date(2023, 12, 31), time(18, 30, 0, 0)),
        ),
        (Type::Time, "00:00:00", Value::LocalTime(midnight)),
        (Type::Time, "23:59:59.999999", Value::LocalTime(last)),
        (Type::TimeTz, "12:00:00+05:30", offset(12, 0, 19_800)),
        (Type::TimeTz, "12:00:00-15:59:59", offset(12, 0, -57_599)),
        (Type::TimeTz, "12:00:00.5+15:59", offset(12, 500_000, 57_540)),
        (Type::TimeTz, "12:00:00+00", offset(12, 0, 0)),
        (Type::TimeTz, "01:00:00-08", offset(1, 0, -28_800)),
    ];
    for (r#type, text, expected) in cases {
        assert_eq!(mapped(&r#type, text), expected, "{type:?}: {text}");
    }
}

#[test]
fn intervals_keep_each_part_and_its_sign() {
    let cases = [
        ("P1Y2M3DT4H5M6.789S", duration(14, 3, 14_706, 789_000_000)),
        ("PT0S", duration(0, 0, 0, 0)),
        ("P-10M", duration(-10, 0, 0, 0)),
        ("PT-0.5S", duration(0, 0, -1, 500_000_000)),
        ("PT-1M-0.000001S", duration(0, 0, -61, 999_999_000)),
        ("P1M-1DT-0.000001S", duration(1, -1, -1, 999_999_000)),
        ("P1DT-4H-5M-6.7S", duration(0, 1, -14_707, 300_000_000)),
        ("P-1DT2H3M", duration(0, -1, 7_380, 0)),
        ("PT1M", duration(0, 0, 60, 0)),
        ("P2147483647D", duration(0, 2_147_483_647, 0, 0)),
        ("P-178956970Y-8M", duration(-2_147_483_648, 0, 0, 0)),
        ("PT2562047788H54.775807S", duration(0, 0, 9_223_372_036_854, 775_807_000)),
    ];
    for (text, expected) in cases {
        assert_eq!(mapped(&Type::Interval, text), expected, "{text}");
    }
}

#[test]
fn what_neo4j_cannot_hold_is_its_text_form_and_counted() {
    let unknown = Type::Unknown { name: "public.odd".to_owned() };
    let cases: &[(Type, &[&str])] = &[
        (Type::Boolean, &["", "true", "T"]),
        (Type::Integer, &["", "1.0", "9223372036854775808", "x", "1 "]),
        (Type::Double, &["", "1,5", "one"]),
        (FLOAT, &["", "x", "1e400"]),
        (AUTO, &["NaN", "Infinity", "-Infinity", ""]),
        (Type::Bytes, &["", "\\xa", "\\xgg", "dead", "\\336\\000"]),
        (
            Type::Date,
            &["infinity", "-infinity", "5874897-12-31", "2024-02-30", "2024-3-4", "04.03.2024"],
        ),
        (Type::Date, &["2024-03-04 BCE", "2024-03-04x", "9999999999999999999-01-01"]),
        (Type::Timestamp, &["infinity", "-infinity", "294247-01-01 00:00:00"]),
        (Type::Timestamp, &["294276-12-31 23:59:59.999999", "2024-03-04T05:06:07"]),
        (Type::Timestamp, &["2024-03-04 05:06:07.", "2024-03-04 05:06:07.1234567"]),
        (Type::TimestampTz, &["infinity", "294247-01-01 00:00:00+00", "2024-03-04 05:06:07"]),
        (Type::TimestampTz, &["04.03.2024 14:06:07 JST", "2024-03-04 05:06:07+99"]),
        (Type::Time, &["24:00:00", "23:59:60", "1:00:00", ""]),
        (Type::TimeTz, &["24:00:00+00", "12:00:00", "12:00:00+24"]),
        (
            Type::Interval,
            &["", "P", "PT", "P1YT", "1 day", "P1S", "PT1D", "P1.5D", "infinity", "-infinity"],
        ),
        (Type::Interval, &["P999999999999999999Y", "PT9999999999999999999S", "P--1D"]),
        (Type::Point, &["(NaN,Infinity)", "(1)", "1,2", ""]),
        (Type::Vector, &["", "[1,x]", "{1:2}/3"]),
        (Type::Hstore, &["\"a\"", "\"a\"=>1", "\"a\"=>\"1\",", "\"a\"=>\"1\", "]),
        (unknown, &["anything", ""]),
    ];
    for (r#type, texts) in cases {
        for text in *texts {
            falls_back(r#type, text);
        }
    }
    falls_back(&FLOAT, &format!("1{}", "0".repeat(400)));
    let latin_1 = Conversion::Fallback(Value::Bytes(Bytes::from_static(b"caf\xe9")));
    assert_eq!(Type::TEXT.parse(b"caf\xe9"), latin_1);
}

#[test]
fn a_flat_array_is_a_list() {
    let boxes = Type::Array { element: Box::new(Type::TEXT), delimiter: ';' };
    let quoted = r#"{"a\"b","c\\d","NULL","","x y","{","a,b",ü}"#;
    let point = |x, y| Value::Point(Point { srid: 7203, x: Float(x), y: Float(y) });
    let cases = [
        (array(Type::Integer), "{}", Value::List(vec![])),
        (array(Type::Integer), "{1,-2}", integers(&[1, -2])),
        (array(Type::TEXT), quoted, strings(&["a\"b", "c\\d", "NULL", "", "x y", "{", "a,b", "ü"])),
        (boxes, "{(1,1),(0,0);(2,2),(1,1)}", strings(&["(1,1),(0,0)", "(2,2),(1,1)"])),
        (
            array(Type::TEXT),
            r#"{sad,"so so","happy, \"x\""}"#,
            strings(&["sad", "so so", "happy, \"x\""]),
        ),
        (array(PADDED), r#"{"a  ","b  "}"#, strings(&["a  ", "b  "])),
        (
            array(Type::Boolean),
            "{t,f}",
            Value::List(vec![Value::Boolean(true), Value::Boolean(false)]),
        ),
        (
            array(Type::Point),
            r#"{"(1,2)","(3,4)"}"#,
            Value::List(vec![point(1.0, 2.0), point(3.0, 4.0)]),
        ),
        (array(Type::Date), "{2024-03-04}", Value::List(vec![Value::Date(date(2024, 3, 4))])),
        (
            array(Type::Double),
            "{1.5,NaN,-Infinity}",
            Value::List(vec![float(1.5), float(f64::NAN), float(f64::NEG_INFINITY)]),
        ),
        (array(EXACT), "{1.10,2}", strings(&["1.10", "2"])),
        (array(AUTO), "{1,2}", integers(&[1, 2])),
        (array(AUTO), "{1,2.50}", Value::List(vec![float(1.0), float(2.5)])),
        (array(AUTO), "{9007199254740993,2.5}", strings(&["9007199254740993", "2.5"])),
        (array(AUTO), "{1,0.12345678901234567890}", strings(&["1", "0.12345678901234567890"])),
        (
            array(Type::Interval),
            "{P1D,PT1S}",
            Value::List(vec![duration(0, 1, 0, 0), duration(0, 0, 1, 0)]),
        ),
        (Type::Vector, "[1,-2.5,3e-05]", Value::List(vec![float(1.0), float(-2.5), float(3e-5)])),
    ];
    for (r#type, text, expected) in cases {
        assert_eq!(mapped(&r#type, text), expected, "{type:?}: {text}");
    }
}

#[test]
fn an_array_that_does_not_count_from_1_keeps_its_bounds_as_its_text() {
    for text in ["[0:2]={1,2,3}", "[3:5]={1,2,3}", "[1:2][-1:0]={{1,2},{3,4}}"] {
        falls_back(&array(Type::Integer), text);
    }
    let within = composite(&[("a", array(Type::Integer))]);
    let json = r#"{"a":"[0:1]={1,2}"}"#;
    let expected = Conversion::Fallback(string(json));
    assert_eq!(within.parse(br#"("[0:1]={1,2}")"#), expected);
}

#[test]
fn other_arrays_are_json_text() {
    let cases = [
        (array(Type::Integer), "{1,2,NULL}", "[1,2,null]"),
        (array(Type::Integer), "{{1,2},{3,4}}", "[[1,2],[3,4]]"),
        (array(Type::Boolean), "{t,NULL,f}", "[true,null,false]"),
        (array(Type::TEXT), r#"{NULL,"NULL","a\"\\b"}"#, r#"[null,"NULL","a\"\\b"]"#),
        (array(Type::Double), "{1e+300,NULL,NaN,-Infinity}", r#"[1e+300,null,"NaN","-Infinity"]"#),
        (array(EXACT), "{1.10,NULL,NaN}", r#"[1.10,null,"NaN"]"#),
        (array(Type::Bytes), r#"{"\\xdead","\\x"}"#, r#"["\\xdead","\\x"]"#),
        (array(Type::Bytes), "{}", "[]"),
        (array(Type::Json), r#"{"{\"a\": 1}","[]"}"#, r#"[{"a": 1},[]]"#),
        (array(Type::Hstore), r#"{"\"a\"=>\"1\""}"#, r#"[{"a":"1"}]"#),
        (array(array(Type::Integer)), r#"{"{1,2}","{3}"}"#, "[[1,2],[3]]"),
        (array(Type::Date), "{infinity,NULL}", r#"["infinity",null]"#),
    ];
    for (r#type, text, expected) in cases {
        assert_eq!(mapped(&r#type, text), string(expected), "{type:?}: {text}");
    }
    // A list whose type differs from the column's other lists would be a surprise: it becomes JSON,
    // and counts.
    let mixed = r#"{"2024-03-04 05:06:07+00",infinity}"#;
    let json = Conversion::Fallback(string(r#"["2024-03-04 05:06:07+00","infinity"]"#));
    assert_eq!(array(Type::TimestampTz).parse(mixed.as_bytes()), json);
    let odd = Conversion::Fallback(string(r#"["x",null,1]"#));
    assert_eq!(array(Type::Integer).parse(b"{x,NULL,1}"), odd);
    let unknown = array(Type::Unknown { name: "public.odd".to_owned() });
    assert_eq!(unknown.parse(b"{a,b}"), Conversion::Fallback(strings(&["a", "b"])));
    for malformed in
        ["", "{", "{1", "{1,}", "{,1}", "{1}x", "1", "[0:1={1}", "[a]={1}", "{\"a", "{a\\b}"]
    {
        falls_back(&array(Type::Integer), malformed);
    }
    falls_back(&array(Type::Integer), &format!("{}1{}", "{".repeat(7), "}".repeat(7)));
    falls_back(&array(Type::Integer), &"{".repeat(1_000_000));
}

#[test]
fn composite_and_hstore_become_json_objects() {
    let catalog = catalog();
    let address = catalog.resolve(ADDRESS);
    let nested = catalog.resolve(NESTED);
    let cases = [
        (
            &address,
            r#"("a ""q"" \\ b",1,t,"{x,""y z""}",1.5,1.50,"{""a"": [1]}",3)"#,
            r#"{"street":"a \"q\" \\ b","no":1,"ok":true,"tags":["x","y z"],"f":1.5,"n":1.50,"j":{"a": [1]},"sub":3}"#,
        ),
        (
            &address,
            r#"("",1,,,,,,)"#,
            r#"{"street":"","no":1,"ok":null,"tags":null,"f":null,"n":null,"j":null,"sub":null}"#,
        ),
        (
            &nested,
            r#"("(s,1,t,{},1,1,,)","{""(s,1,t,\\""{a,b}\\"",1,1,,)""}")"#,
            r#"{"a":{"street":"s","no":1,"ok":true,"tags":[],"f":1,"n":1,"j":null,"sub":null},"b":[{"street":"s","no":1,"ok":true,"tags":["a","b"],"f":1,"n":1,"j":null,"sub":null}]}"#,
        ),
        (
            &Type::Hstore,
            r#""a"=>"1", "b c"=>NULL, "q\"x"=>"back\\slash""#,
            r#"{"a":"1","b c":null,"q\"x":"back\\slash"}"#,
        ),
        (&Type::Hstore, "", "{}"),
        (
            &array(composite(&[("a", Type::TEXT), ("b\"q", Type::TEXT), ("j", Type::Json)])),
            r#"{"(\"}() () N\",\"N(LL\",\"{\"\"x\"\": \"\") \"\"}\")","(,NULL,)"}"#,
            r#"[{"a":"}() () N","b\"q":"N(LL","j":{"x": ") "}},{"a":null,"b\"q":"NULL","j":null}]"#,
        ),
    ];
    for (r#type, text, expected) in cases {
        let json = mapped(r#type, text);
        assert_eq!(json, string(expected), "{text}");
        serde_json::from_str::<serde_json::Value>(expected).unwrap();
    }
    for malformed in ["", "(", "(1)", "(,,,,,,,,)", "(,,,,,,,", "(a(b,,,,,,,)", "(\"a,,,,,,,)"] {
        falls_back(&address, malformed);
    }
}

#[test]
fn points() {
    let point = |srid, x, y| Value::Point(Point { srid, x: Float(x), y: Float(y) });
    assert_eq!(mapped(&Type::Point, "(1.5,-2)"), point(7203, 1.5, -2.0));
    assert_eq!(mapped(&Type::Point, "(1e+300,1e-07)"), point(7203, 1e300, 1e-7));
    // SRID=4326;POINT(4.9 52.4), in either byte order.
    let berlin = ewkb(true, 0x2000_0001, Some(4326), &[13.4, 52.5]);
    assert_eq!(mapped(&Type::Geometry, &berlin), point(4326, 13.4, 52.5));
    let berlin = ewkb(false, 0x2000_0001, Some(4326), &[13.4, 52.5]);
    assert_eq!(mapped(&Type::Geometry, &berlin), point(4326, 13.4, 52.5));
    let others = [
        ewkb(true, 1, None, &[13.4, 52.5]),
        ewkb(true, 0x2000_0001, Some(3857), &[1.0, 2.0]),
        ewkb(true, 0xa000_0001, Some(4326), &[1.0, 2.0, 3.0]),
        ewkb(true, 0x2000_0001, Some(4326), &[f64::NAN, f64::NAN]),
        ewkb(true, 0x2000_0001, Some(4326), &[13.4, 91.0]),
        ewkb(true, 0x2000_0002, Some(4326), &[]),
        "0101".to_owned(),
    ];
    for text in others {
        assert_eq!(mapped(&Type::Geometry, &text), string(&text));
    }
}

/// PostGIS's output: upper-case hexadecimal.
fn ewkb(little: bool, kind: u32, srid: Option<u32>, coordinates: &[f64]) -> String {
    let mut bytes = vec![u8::from(little)];
    for word in [Some(kind), srid].into_iter().flatten() {
        bytes.extend(if little { word.to_le_bytes() } else { word.to_be_bytes() });
    }
    for double in coordinates {
        bytes.extend(if little { double.to_le_bytes() } else { double.to_be_bytes() });
    }
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
