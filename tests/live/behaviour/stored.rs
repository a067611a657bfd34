//! What a column makes of a value, asked of PostgreSQL itself.

use tokio_postgres::{Client, SimpleQueryMessage};
use wal2graph::{
    catalog::{TableName, quote_identifier, quote_literal},
    postgres::catalog::read,
    value::TypeCatalog,
};

use crate::support::{client, new_database, postgres};

/// Columns, and values for each: some it takes as they are, some it changes, some it refuses.
const COLUMNS: &[(&str, &[&str])] = &[
    (
        "numeric(6,2)",
        &[
            "1.005",
            "1.004",
            "1.5",
            "7",
            "-0.005",
            "-0.004",
            "9999.99",
            "9999.995",
            "1234567",
            "-9999.994",
            "1e3",
            "1.5e-1",
            "0.00",
            "007.10",
            "NaN",
            "Infinity",
            "x",
            "",
            "99999e-1",
            "0.0049999",
        ],
    ),
    (
        "numeric",
        &[
            "1.50",
            "007.10",
            "1e3",
            "1.50e1",
            "12e-3",
            "-0",
            "0.00",
            "Infinity",
            "-0.10",
            "123456789012345678901",
        ],
    ),
    ("numeric(3)", &["999.4", "999.5", "-999.5", "0.5", "0.49"]),
    ("short_price", &["12.345", "123.4", "99.995"]),
    ("char(5)", &["ab", "ab   ", "ab        ", "abcde", "abcdef", "", "größe", "größen"]),
    ("char", &["a", "", "ab", "a  "]),
    ("bpchar", &["ab  ", ""]),
    ("varchar(3)", &["abc", "abcd", "abc  ", "ab   ", "", "äöü", "äöüß"]),
    ("short_name", &["abc", "abcd", "ab "]),
    ("text", &["anything  ", ""]),
    (
        "name",
        &[
            "short",
            "a name that is longer than the sixty-three bytes that PostgreSQL keeps of one",
            "ääääääääääääääääääääääääääääääääää",
        ],
    ),
    ("mood", &["sad", "happy", "Happy", "glum", ""]),
    ("mood[]", &["{sad,happy}", "{sad,NULL}", "{glum}", "{}"]),
    ("numeric(4,1)[]", &["{1.25,NULL}", "{12345}", "{{1,2},{3,4.44}}"]),
    ("varchar(2)[]", &["{ab,a}", "{abc}"]),
    ("smallint", &["32767", "32768", "007"]),
    ("integer", &["-2147483648", "2147483648"]),
    ("bigint", &["9223372036854775807", "9223372036854775808"]),
    ("real", &["1.5", "1e30", "1e39", "1e-50", "-1e39"]),
    ("double precision", &["1.5", "1e300", "1e309"]),
    (
        "date",
        &[
            "2024-02-29",
            "2023-02-29",
            "0000-01-01",
            "0001-01-01 BC",
            "4714-11-24 BC",
            "4714-11-23 BC",
            "5874897-12-31",
            "5874898-01-01",
            "infinity",
        ],
    ),
    (
        "timestamp",
        &[
            "2024-03-04 05:06:07.123456",
            "4714-11-24 00:00:00 BC",
            "4714-11-23 23:59:59 BC",
            "infinity",
            "294276-12-31 23:59:59.999999",
            "294277-01-01 00:00:00",
            "0000-01-01 00:00:00",
            "2024-13-01 00:00:00",
        ],
    ),
    (
        "timestamp(0)",
        &[
            "2024-03-04 05:06:07.5",
            "2024-12-31 23:59:59.5",
            "1999-12-31 23:59:59.5",
            "1999-12-31 23:59:59.4",
            "2024-03-04 05:06:07",
        ],
    ),
    (
        "timestamp(3)",
        &["2024-03-04 05:06:07.1235", "1969-12-31 23:59:59.9995", "0044-03-15 12:00:00.1234 BC"],
    ),
    (
        "timestamptz",
        &[
            "2024-03-04 05:06:07+05:30",
            "2024-03-04 05:06:07-08",
            "2024-03-04 05:06:07.12+00",
            "294276-12-31 23:59:59-01",
            "0001-01-01 00:00:00+01",
        ],
    ),
    ("time", &["05:06:07.123456", "24:00:00", "24:00:01", "25:00:00"]),
    ("time(0)", &["05:06:07.5", "23:59:59.5", "05:06:07.4"]),
    ("timetz", &["05:06:07+05:30", "24:00:00-15:59", "05:06:07+16", "05:06:07.1-15:59:59"]),
    ("timetz(1)", &["05:06:07.16+05:30"]),
    ("interval", &["P1Y2M3DT4H5M6.7S", "PT-0.5S", "P14M"]),
    ("interval(0)", &["PT1.5S", "PT-1.5S", "PT-0.4S", "P1DT0.6S"]),
    ("interval year", &["P14MT5S", "P-14M"]),
    ("interval year to month", &["P14M3DT5S"]),
    ("interval day", &["P1M3DT5H"]),
    ("interval day to hour", &["P3DT5H59M"]),
    ("interval hour to minute", &["PT5H59M59S", "PT-5H-59M-59S"]),
    ("interval second(1)", &["PT1M6.16S"]),
    ("bit(3)", &["101", "10", "1011", "1x1"]),
    ("varbit(3)", &["101", "10", "1011"]),
    ("uuid", &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0ee"]),
];

#[tokio::test]
async fn a_key_of_others_is_what_postgresql_would_make_of_it() {
    let mut sql = client(&postgres().url(&new_database("stored").await)).await;
    let mut schema =
        "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN short_name AS varchar(3); \
        CREATE DOMAIN short_price AS numeric(4,2); SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; \
        SET IntervalStyle = 'iso_8601'; SET extra_float_digits = 3;"
            .to_owned();
    for (at, (of, _)) in COLUMNS.iter().enumerate() {
        schema += &format!("CREATE TABLE t{at} (v {of});");
    }
    sql.batch_execute(&schema).await.unwrap();
    let catalog = read(&mut sql, None).await.unwrap();
    let types = TypeCatalog::new(catalog.types.clone());
    for (at, (of, texts)) in COLUMNS.iter().enumerate() {
        let name = TableName::new("public", format!("t{at}"));
        let column = &catalog.table(&name).unwrap().columns[0];
        let column = types.column_type(column.type_oid, column.type_modifier);
        for text in *texts {
            let kept = insert(&sql, &name, text).await;
            let ours = column.stored(text.as_bytes());
            let mut ours = ours.map(|it| String::from_utf8(it.to_vec()).unwrap());
            let is_written_in_another_form = of.starts_with("interval")
                || of.ends_with("[]")
                || matches!(*of, "real" | "double precision");
            if let Some(text) = ours.as_mut().filter(|_| is_written_in_another_form) {
                let base = of.split(['(', ' ']).next().unwrap();
                let base = if of.ends_with("[]") {
                    of
                } else {
                    if base == "double" { "float8" } else { base }
                };
                let select = format!("SELECT {}::{base}::text", quote_literal(text));
                *text = first(&sql.simple_query(&select).await.unwrap());
            }
            assert_eq!(ours, kept, "{of}: {text:?}");
        }
    }
}

async fn insert(sql: &Client, table: &TableName, text: &str) -> Option<String> {
    let table = quote_identifier(&table.name);
    let insert = format!("INSERT INTO {table} VALUES ({}) RETURNING v", quote_literal(text));
    Some(first(&sql.simple_query(&insert).await.ok()?))
}

fn first(rows: &[SimpleQueryMessage]) -> String {
    let row = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    row.unwrap().to_owned()
}
