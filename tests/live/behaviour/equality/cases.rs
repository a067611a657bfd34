//! Key types, the types that refer to them, and values that are equal in other spelling, or nearly.

/// Types of the cases.
pub const TYPES: &str = "
    CREATE EXTENSION citext; CREATE EXTENSION hstore;
    CREATE TYPE amount AS (x numeric, y text); CREATE TYPE named AS (other numeric, name text);
    CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN price AS numeric; CREATE DOMAIN email AS citext;
    CREATE TYPE citextrange AS RANGE (subtype = citext);
";

/// A key type.
pub struct Case {
    /// The type.
    pub key: &'static str,
    /// Its values, as SQL.
    pub values: &'static [&'static str],
    /// The types of columns that refer to it, with their values; none: those of the key.
    pub refers: &'static [(&'static str, &'static [&'static str])],
}

impl Case {
    /// The condition under which a value `$r` of that type is equal to a key `$k`: after conversion to
    /// the key's type, as a foreign key compares, unless PostgreSQL has an operator for both.
    pub fn equal(&self, of: &str) -> String {
        let families: [&[&str]; 3] = [
            &["real", "double precision"],
            &["date", "timestamp", "timestamptz"],
            &["int", "bigint", "numeric", "numeric(10,0)", "price"],
        ];
        match (self.key, of) {
            ("int" | "bigint", "text" | "char(8)") => {
                r"$k = CASE WHEN $r::text ~ '^\d+$' THEN $r::text::int END".to_owned()
            }
            ("int", "double precision") => "$k = $r".to_owned(),
            ("boolean", "text") => "$k::text = $r".to_owned(),
            ("text", "boolean") => "$k = $r::text".to_owned(),
            ("date", "text") => "$k::text = $r".to_owned(),
            ("cidr" | "inet", "cidr" | "inet") => "$k::inet = $r::inet".to_owned(),
            ("amount", "named") => "$k = $r".to_owned(),
            (key, of) if families.iter().any(|it| it.contains(&key) && it.contains(&of)) => {
                "$k = $r".to_owned()
            }
            (key, _) => format!("$k = $r::{key}"),
        }
    }
}

const NUMBERS: &[&str] =
    &["1", "1.0", "1.00", "100", "1e2", "-0.5", "-0.50", "0", "0.00", "12345678901234567890.10"];
const WHOLE: &[&str] = &["1", "1.0", "1.00", "100", "1e2", "-5", "0", "0.00"];
const WORDS: &[&str] = &[
    "'ab'",
    "'AB'",
    "'ab  '",
    "'Straße'",
    "'STRASSE'",
    "'ΣΑΣ'",
    "'σας'",
    "'σασ'",
    "'İx'",
    "'i̇x'",
    "'ix'",
    "'Ä'",
    "'ä'",
    "''",
];
const FLOATS: &[&str] = &[
    "'0.5'",
    "'-0'",
    "'0'",
    "'NaN'",
    "'Infinity'",
    "'-Infinity'",
    "'0.1'",
    "'0.10000000149011612'",
    "'1e10'",
    "'NaN'",
];
const DAYS: &[&str] = &[
    "'2024-01-01'",
    "'2024-01-02'",
    "'infinity'",
    "'-infinity'",
    "'0044-03-15 BC'",
    "'2024-01-01'",
];
const TIMES: &[&str] = &[
    "'2024-01-01 00:00:00'",
    "'2024-01-01 00:00:01'",
    "'2024-01-02 00:00:00'",
    "'infinity'",
    "'0044-03-15 00:00:00 BC'",
    "'0044-03-15 12:00:00 BC'",
    "'-infinity'",
];
const DOCUMENTS: &[&str] = &[
    r#"'{"a": 1.0}'"#,
    r#"'{"a": 1}'"#,
    r#"'{"a": 2}'"#,
    r#"'{"b": "1.0", "a": [1e1, null]}'"#,
    r#"'{"a": [10, null], "b": "1.0"}'"#,
    r#"'{"a": [10.00, null], "b": "1"}'"#,
    "'1'",
    "'[1]'",
    "'1.0'",
    r#"'{"a": "x\"1.0", "a": 2.0}'"#,
];

/// All key types.
pub const CASES: &[Case] = &[
    Case {
        key: "int",
        values: &["1", "2", "100", "0"],
        refers: &[
            ("bigint", &[]),
            ("numeric", &["1", "1.0", "1.5", "100.00", "1e2", "'NaN'"]),
            ("double precision", &["1", "2.5", "100", "'NaN'"]),
            ("text", &["'1'", "'0100'", "'x'", "'1.0'"]),
            ("char(8)", &["'1'", "'100'"]),
        ],
    },
    Case {
        key: "numeric",
        values: &[
            "1",
            "1.0",
            "2.50",
            "2.5",
            "'NaN'",
            "0.00",
            "-0.5",
            "1e2",
            "12345678901234567890.10",
        ],
        refers: &[
            ("numeric", NUMBERS),
            ("numeric", &["'NaN'", "2.5000", "2.50"]),
            ("int", &["1", "100", "3"]),
            ("price", NUMBERS),
            ("numeric(10,2)", &["1", "2.5", "-0.5"]),
        ],
    },
    Case {
        key: "numeric(10,0)",
        values: &["1", "100", "0", "-5"],
        refers: &[("numeric", WHOLE), ("bigint", &["1", "100"])],
    },
    Case {
        key: "price",
        values: &["1.0", "2.50", "1.00"],
        refers: &[("price", NUMBERS), ("numeric", &["2.5", "1"])],
    },
    Case {
        key: "real",
        values: FLOATS,
        refers: &[
            ("real", FLOATS),
            ("double precision", FLOATS),
            ("int", &["0", "1"]),
            ("numeric", &["0.5", "0.1", "'NaN'"]),
        ],
    },
    Case {
        key: "double precision",
        values: FLOATS,
        refers: &[
            ("real", FLOATS),
            ("double precision", FLOATS),
            ("numeric", &["0.5", "0.1", "0.10", "'NaN'", "1e10"]),
            ("bigint", &["0", "10000000000"]),
        ],
    },
    Case {
        key: "text",
        values: WORDS,
        refers: &[
            ("text", WORDS),
            ("varchar(20)", WORDS),
            ("char(8)", WORDS),
            ("citext", WORDS),
            ("name", WORDS),
            ("boolean", &["'t'"]),
            ("int", &["1"]),
        ],
    },
    Case {
        key: "char(8)",
        values: WORDS,
        refers: &[("char(8)", WORDS), ("char(10)", WORDS), ("text", WORDS), ("varchar", WORDS)],
    },
    Case {
        key: "citext",
        values: WORDS,
        refers: &[("citext", WORDS), ("email", WORDS), ("text", WORDS), ("varchar", WORDS)],
    },
    Case { key: "email", values: WORDS, refers: &[("email", WORDS), ("citext", WORDS)] },
    Case {
        key: "uuid",
        values: &[
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
            "'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
        ],
        refers: &[
            ("uuid", &[]),
            (
                "text",
                &["'{A0EEBC999C0B4EF8BB6D6BB9BD380A11}'", "'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
            ),
        ],
    },
    Case {
        key: "boolean",
        values: &["true", "false"],
        refers: &[("boolean", &[]), ("text", &["'true'", "'false'", "'maybe'"])],
    },
    Case {
        key: "date",
        values: DAYS,
        refers: &[
            ("date", DAYS),
            ("timestamp", TIMES),
            (
                "timestamptz",
                &[
                    "'2024-01-01 00:00:00+00'",
                    "'2024-01-01 02:00:00+02'",
                    "'2024-01-01 00:00:00+02'",
                    "'infinity'",
                ],
            ),
            ("text", &["'2024-01-01'", "'infinity'", "'soon'"]),
        ],
    },
    Case { key: "timestamp", values: TIMES, refers: &[("timestamp", TIMES), ("date", DAYS)] },
    Case {
        key: "timestamptz",
        values: &[
            "'2024-01-01 00:00:00+00'",
            "'2024-01-01 02:00:00+02'",
            "'2024-01-01 00:00:00+02'",
            "'infinity'",
            "'0044-03-15 00:00:00+00 BC'",
        ],
        refers: &[("timestamptz", &[]), ("date", DAYS), ("timestamp", TIMES)],
    },
    Case {
        key: "time",
        values: &["'12:00'", "'24:00:00'", "'00:00:00'"],
        refers: &[("time", &[])],
    },
    Case {
        key: "timetz",
        values: &["'12:00+00'", "'13:00+01'", "'24:00:00+00'", "'00:00:00+00'", "'12:00+00'"],
        refers: &[("timetz", &[])],
    },
    Case {
        key: "interval",
        values: &[
            "'1 mon'",
            "'30 days'",
            "'720 hours'",
            "'31 days'",
            "'-1 mon'",
            "'-30 days'",
            "'1 day -0.5 seconds'",
            "'23:59:59.5'",
            "'0'",
        ],
        refers: &[("interval", &[])],
    },
    Case { key: "jsonb", values: DOCUMENTS, refers: &[("jsonb", DOCUMENTS)] },
    Case {
        key: "numrange",
        values: &["'[1.0,2)'", "'[1,2.00)'", "'(1,2)'", "'empty'", "'(1,1)'", "'(,)'", "'[1,)'"],
        refers: &[("numrange", &[])],
    },
    Case {
        key: "nummultirange",
        values: &[
            "'{[1.0,2),[3,4)}'",
            "'{[1,2.00),[3.0,4)}'",
            "'{}'",
            "'{[1,2),[2,4)}'",
            "'{[1,4)}'",
        ],
        refers: &[("nummultirange", &[])],
    },
    Case {
        key: "int4range",
        values: &["'[1,2]'", "'[1,3)'", "'(0,2]'", "'empty'"],
        refers: &[("int4range", &[])],
    },
    Case {
        key: "citextrange",
        values: &["'[a,b)'", "'[A,B)'", "'[a,\"c d\"]'", "'[A,\"C D\"]'"],
        refers: &[("citextrange", &[])],
    },
    Case {
        key: "daterange",
        values: &[
            "'[2024-01-01,2024-02-01)'",
            "'[2024-01-01,2024-01-31]'",
            "'[2024-01-01,infinity)'",
            "'[2024-01-01,)'",
        ],
        refers: &[("daterange", &[])],
    },
    Case {
        key: "amount",
        values: &[
            "row(1.0,'z')",
            "row(1.00,'z')",
            "row(1,'a\"\\b')",
            "row(null,'')",
            "row(null,null)",
            "row(2,null)",
        ],
        refers: &[("amount", &[]), ("named", &["row(1.000,'z')", "row(2.0,null)"])],
    },
    Case {
        key: "int[]",
        values: &["'{1,2}'", "'[0:1]={1,2}'", "'{1,NULL}'", "'{{1,2},{3,4}}'", "'{}'", "'{1,2,3}'"],
        refers: &[("int[]", &[])],
    },
    Case {
        key: "numeric[]",
        values: &["'{1.0,2}'", "'{1,2.00}'", "'{NULL,2}'", "'[0:1]={1,2}'", "'[0:1]={1.0,2.0}'"],
        refers: &[("numeric[]", &[])],
    },
    Case {
        key: "citext[]",
        values: &[
            "'{Foo,\"NULL\"}'",
            "'{fOO,\"null\"}'",
            "'{Foo,NULL}'",
            "'{\"a b\",\"x\\\"\\\\y\"}'",
            "'{\"A B\",\"X\\\"\\\\Y\"}'",
        ],
        refers: &[("citext[]", &[])],
    },
    Case {
        key: "amount[]",
        values: &[
            "array[row(1.0,'z')::amount]",
            "array[row(1,'z')::amount]",
            "array[row(1,'y')::amount]",
        ],
        refers: &[("amount[]", &[])],
    },
    Case {
        key: "hstore",
        values: &["'a=>1,b=>NULL'", "'b=>NULL,a=>1'", "'a=>1,b=>\"NULL\"'"],
        refers: &[("hstore", &[])],
    },
    Case {
        key: "inet",
        values: &["'10.0.0.1'", "'10.0.0.1/32'", "'10.0.0.1/24'", "'::1'", "'10.0.0.0/24'"],
        refers: &[("inet", &[]), ("cidr", &["'10.0.0.1'", "'10.0.0.0/24'", "'::1/128'"])],
    },
    Case {
        key: "cidr",
        values: &["'10.0.0.1/32'", "'10.0.0.0/24'", "'::1/128'"],
        refers: &[
            ("cidr", &[]),
            ("inet", &["'10.0.0.1'", "'10.0.0.0/24'", "'10.0.0.1/24'", "'::1'"]),
        ],
    },
    Case {
        key: "macaddr",
        values: &["'08:00:2b:01:02:03'", "'08002b-010203'", "'08:00:2b:01:02:04'"],
        refers: &[("macaddr", &[])],
    },
    Case {
        key: "varbit",
        values: &["B'101'", "B'1010'", "B'0101'"],
        refers: &[("varbit", &[]), ("bit(4)", &["B'1010'", "B'0101'"])],
    },
    Case { key: "money", values: &["'1'", "'1.00'", "'-2.5'"], refers: &[("money", &[])] },
    Case { key: "bytea", values: &["'\\x00ff'", "'\\x00FF'", "'\\x'"], refers: &[("bytea", &[])] },
    Case {
        key: "mood",
        values: &["'sad'", "'happy'"],
        refers: &[("mood", &[]), ("text", &["'sad'", "'happy'"])],
    },
    Case {
        key: "tsvector",
        values: &["'a b'", "'b a a'", "'a:1 b'"],
        refers: &[("tsvector", &[])],
    },
    Case {
        key: "oid",
        values: &["1", "4294967295"],
        refers: &[
            ("oid", &[]),
            ("bigint", &["1", "4294967295"]),
            ("int", &["1", "-1"]),
            ("smallint", &["1", "-1"]),
        ],
    },
    Case { key: "pg_lsn", values: &["'0/1'", "'0/01'", "'1/0'"], refers: &[("pg_lsn", &[])] },
];
