//! Keys: texts that are equal in PostgreSQL become equal values, and others become different ones.

use super::*;

pub(super) fn comparable(r#type: &Type) -> Result<Comparable, String> {
    Comparable::of(r#type, r#type, false).map_err(|cause| cause.to_string())
}

pub(super) fn key(r#type: &Type, text: &str) -> Value {
    comparable(r#type).unwrap().value(r#type, text.as_bytes()).unwrap()
}

/// `None` also if the types are not comparable.
pub(super) fn key_as(from: &Type, to: &Type, text: &str) -> Option<Value> {
    let to = comparable(to).ok().filter(|to| to.accepts(from))?;
    to.value(from, text.as_bytes())
}

/// As in a UTF-8 database with libc's `lower`.
pub(super) fn citext() -> Type {
    citext_of(|character| character.to_lowercase().next().unwrap().to_string(), false)
}

/// As in one with ICU's `lower`.
fn citext_of_icu() -> Type {
    citext_of(|character| character.to_lowercase().to_string(), true)
}

fn citext_of(lower: impl Fn(char) -> String, final_sigma: bool) -> Type {
    let changed: Vec<(char, String)> = (1..0x1_ffff)
        .filter_map(char::from_u32)
        .map(|character| (character, lower(character)))
        .filter(|(character, lower)| *lower != character.to_string())
        .collect();
    let said = |probe: &&str| match final_sigma {
        true => probe.to_lowercase(),
        false => probe.chars().map(&lower).collect(),
    };
    let probed: Vec<_> = PROBES.iter().map(|probe| Some(said(probe))).collect();
    let folding = CaseFolding::of_server(changed, &probed);
    assert!(matches!(folding, CaseFolding::Characters(_)), "{folding:?}");
    Type::Text(TextKind::CaseInsensitive(folding))
}

#[test]
fn keys_are_equal_where_postgresql_says_equal() {
    let equal: &[(Type, &[&str])] = &[
        (EXACT, &["1", "1.0", "1.00", "01", "+1", "1e0", "10e-1"]),
        (EXACT, &["0", "-0", "0.00", "-0.0", "0e5"]),
        (EXACT, &["100", "1e2", "100.0"]),
        (EXACT, &["-0.015", "-0.0150", "-15e-3"]),
        (FLOAT, &["1", "1.0", "1.00"]),
        (AUTO, &["1", "1.0", "1.00"]),
        (PADDED, &["ab", "ab   "]),
        (citext(), &["straße", "STRAßE"]),
        (citext(), &["ΟΔΟΣ", "οδοσ"]),
        (citext(), &["İI", "ii"]),
        (citext_of_icu(), &["ΣΑΣ", "σας"]),
        (citext_of_icu(), &["İx", "i̇x"]),
        (Type::Double, &["0", "-0"]),
        (Type::Double, &["NaN", "NaN"]),
        (Type::Interval, &["P1M", "P30D", "PT720H"]),
        (Type::Interval, &["P-1M", "P-30D", "PT-720H"]),
        (Type::Interval, &["P1DT-0.5S", "PT23H59M59.5S"]),
        (Type::Jsonb, &[r#"{"a": 1.0}"#, r#"{"a": 1}"#, r#"{"a": 1.00}"#]),
        (array(EXACT), &["{1,2.50}", "{1.0,2.5}"]),
        (array(citext()), &["{Foo,NULL}", "{fOO,NULL}"]),
        (range(EXACT), &["[1.0,2)", "[1,2.00)"]),
        (range(EXACT), &["(,2]", "(,2.0]"]),
        (multirange(EXACT), &["{[1.0,2),[3,4)}", "{[1,2.00),[3.0,4)}"]),
        (composite(&[("x", EXACT), ("y", Type::TEXT)]), &["(1.0,z)", "(1.00,z)"]),
        (composite(&[("only", EXACT)]), &["(1.0)", "(1)"]),
        (Type::Vector, &["[1,-0]", "[1,0]"]),
    ];
    for (r#type, texts) in equal {
        for text in *texts {
            assert_eq!(key(r#type, texts[0]), key(r#type, text), "{type:?}: {text}");
        }
    }
    let different: &[(Type, [&str; 2])] = &[
        (citext_of_icu(), ["ΟΔΟΣ", "οδοσ"]),
        (citext_of_icu(), ["İx", "ix"]),
        (CITEXT_IN_C, ["Äb", "äb"]),
        // Two numbers that round to one Float stay two keys.
        (FLOAT, ["0.1", "0.1000000000000000000001"]),
        (Type::Double, ["NaN", "Infinity"]),
        (Type::Interval, ["P1M", "P31D"]),
        (array(Type::Integer), ["{1,2}", "[0:1]={1,2}"]),
        (array(Type::Integer), ["{1,2}", "{{1,2}}"]),
        (array(Type::TEXT), ["{NULL}", "{\"NULL\"}"]),
        (Type::Jsonb, [r#"{"a": "1.0"}"#, r#"{"a": "1"}"#]),
        (Type::Jsonb, ["1", "[1]"]),
        (range(EXACT), ["[1.0,2)", "(1,2)"]),
        (range(EXACT), ["empty", "(,)"]),
        (composite(&[("x", Type::TEXT)]), ["()", "(\"\")"]),
        (Type::Hstore, [r#""a"=>NULL"#, r#""a"=>"NULL""#]),
        (Type::Date, ["infinity", "-infinity"]),
        (Type::TimeTz, ["12:00:00+00", "13:00:00+01"]),
    ];
    for (r#type, [one, other]) in different {
        assert_ne!(key(r#type, one), key(r#type, other), "{type:?}: {one}, {other}");
    }
}

#[test]
fn a_key_that_is_compared_beside_its_property_is_a_literal_of_its_type() {
    let expected = [
        (EXACT, "1.00", "1"),
        (EXACT, "-0.0150", "-0.015"),
        (EXACT, "NaN", "NaN"),
        (Type::Double, "-Infinity", "-Infinity"),
        (Type::Double, "1e+20", "100000000000000000000"),
        (Type::Real, "0.1", "0.10000000149011612"),
        (PADDED, "a b  ", "a b"),
        (citext(), "FoO", "foo"),
        (Type::Interval, "P1Y2DT3.25S", "P12M2DT3.250000S"),
        (Type::Interval, "PT-0.5S", "P0M0DT-0.500000S"),
        (
            Type::Jsonb,
            r#"{"b": "1.0 \" 2.0", "c": [1.50, -2e2]}"#,
            r#"{"b": "1.0 \" 2.0", "c": [1.5, -200]}"#,
        ),
        (array(EXACT), "[0:1]={1.0,NULL}", "[0:1]={\"1\",NULL}"),
        (range(EXACT), "[1.0,)", "[\"1\",)"),
        (composite(&[("x", EXACT), ("y", Type::TEXT)]), r#"(1.0,"a""\\b")"#, r#"("1","a\"\\b")"#),
        (Type::Hstore, r#""a"=>"1""#, r#""a"=>"1""#),
    ];
    for (r#type, text, literal) in expected {
        assert!(!comparable(&r#type).unwrap().is_property(), "{type:?}");
        assert_eq!(key(&r#type, text), string(literal), "{type:?}: {text}");
    }
}

#[test]
fn a_key_whose_equal_values_have_one_text_is_its_property() {
    let cases = [
        (
            UUID,
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            string("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ),
        (Type::TEXT, "1.00 ", string("1.00 ")),
        (Type::Integer, "42", Value::Integer(42)),
        (Type::Date, "infinity", string("infinity")),
        (range(Type::Date), "[2024-01-01,infinity)", string("[2024-01-01,infinity)")),
    ];
    for (r#type, text, value) in cases {
        assert!(comparable(&r#type).unwrap().is_property(), "{type:?}");
        assert_eq!(key(&r#type, text), value, "{type:?}: {text}");
    }
    // numeric(p, 0) has one text too, unless it is rounded to a Float.
    let whole = |mode: &Type| Comparable::of(&EXACT, mode, true).unwrap().is_property();
    assert!(whole(&EXACT) && whole(&AUTO) && !whole(&FLOAT));
}

#[test]
fn a_property_that_is_kept_as_text_compares_by_its_column() {
    let padded = Comparable::of(&PADDED, &Type::TEXT, false).unwrap();
    assert_eq!(padded.value(&PADDED, b"de   "), Some(string("de")));
    let boolean = Comparable::of(&Type::Boolean, &Type::TEXT, false).unwrap();
    assert!(boolean.is_property());
    assert_eq!(boolean.value(&Type::Boolean, b"t"), Some(string("t")));
    assert_eq!(boolean.value(&Type::TEXT, b"true"), Some(string("t")));
    let integer = Comparable::of(&Type::Integer, &Type::TEXT, false).unwrap();
    assert_eq!(integer.value(&EXACT, b"1.00"), Some(string("1")));
}

#[test]
fn what_has_no_equality_that_the_graph_could_have_is_no_key() {
    let unknown = Type::Unknown { name: "public.odd".to_owned() };
    for r#type in [Type::Json, Type::Point, Type::Geometry, unknown.clone(), array(unknown.clone())]
    {
        assert!(comparable(&r#type).is_err(), "{type:?}");
    }
    let within = composite(&[("x", unknown)]);
    assert!(comparable(&within).unwrap_err().contains("public.odd"));
    let turkish: Vec<Option<String>> = vec![Some("ι".to_owned()); PROBES.len()];
    let folding = CaseFolding::of_server([], &turkish);
    let r#type = Type::Text(TextKind::CaseInsensitive(folding));
    assert!(comparable(&r#type).unwrap_err().contains("Turkish"));
}

#[test]
fn a_reference_takes_the_type_of_its_target() {
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    let (inet, cidr) = (Type::Text(TextKind::Inet), Type::Text(TextKind::Cidr));
    let meets = [
        (EXACT, "1.00", Type::Integer, "1"),
        (Type::Integer, "1", EXACT, "1.0"),
        (Type::Integer, "1", Type::Double, "1"),
        (Type::Real, "3.3", Type::Double, "3.299999952316284"),
        (Type::Double, "3.299999952316284", Type::Real, "3.3"),
        (EXACT, "3.3", Type::Real, "3.3"),
        (Type::Double, "1e+06", Type::Integer, "1000000"),
        (Type::Double, "1e+20", EXACT, "100000000000000000000.0"),
        (EXACT, "1.50", AUTO, "1.5"),
        (EXACT, "NaN", Type::Double, "NaN"),
        (Type::TEXT, " 0042 ", Type::Integer, "42"),
        (Type::Integer, "42", Type::TEXT, "42"),
        (PADDED, "42  ", Type::Integer, "42"),
        (PADDED, "ab  ", Type::TEXT, "ab"),
        (Type::TEXT, "ab", PADDED, "ab   "),
        (Type::TEXT, "FOO", citext(), "foo"),
        (citext(), "Foo", Type::TEXT, "Foo"),
        (Type::TEXT, "{A0EEBC999C0B4EF8BB6D6BB9BD380A11}", UUID, uuid),
        (UUID, uuid, Type::TEXT, uuid),
        (Type::Date, "2024-03-04", Type::Timestamp, "2024-03-04 00:00:00"),
        (Type::Date, "0044-03-15 BC", Type::TimestampTz, "0044-03-15 00:00:00+00 BC"),
        (Type::Timestamp, "2024-03-04 05:06:07", Type::TimestampTz, "2024-03-04 05:06:07+00"),
        (Type::Timestamp, "2024-01-01 00:00:00", Type::Date, "2024-01-01"),
        (Type::TimestampTz, "0044-03-15 00:00:00+00 BC", Type::Date, "0044-03-15 BC"),
        (Type::TimestampTz, "2024-03-04 05:06:07+00", Type::Timestamp, "2024-03-04 05:06:07"),
        (Type::Date, "-infinity", Type::Timestamp, "-infinity"),
        (Type::Timestamp, "infinity", Type::Date, "infinity"),
        (Type::TEXT, "infinity", Type::Date, "infinity"),
        (Type::Boolean, "t", Type::TEXT, "true"),
        (Type::TEXT, "true", Type::Boolean, "t"),
        (inet.clone(), "10.0.0.1", cidr.clone(), "10.0.0.1/32"),
        (cidr.clone(), "10.0.0.1/32", inet.clone(), "10.0.0.1"),
        (cidr, "::1/128", inet.clone(), "::1"),
        (Type::TEXT, "10.0.0.1/32", inet, "10.0.0.1"),
    ];
    for (from, text, to, target) in meets {
        assert_eq!(key_as(&from, &to, text), Some(key(&to, target)), "{from:?} as {to:?}: {text}");
    }
    let rounded = key_as(&Type::Double, &Type::Real, "3.3").unwrap();
    assert_ne!(rounded, key(&Type::Real, "3.3"), "PostgreSQL does not call them equal");
    let fields = |name| composite(&[(name, EXACT)]);
    assert_eq!(key_as(&fields("a"), &fields("b"), "(1.0)"), Some(key(&fields("b"), "(1)")));
}

#[test]
fn a_reference_that_no_key_can_equal_has_no_value() {
    let apart = [
        (EXACT, "1.5", Type::Integer),
        (EXACT, "1e400", Type::Double),
        (Type::TEXT, "abc", Type::Integer),
        (Type::TEXT, "1.0", Type::Integer),
        (Type::TEXT, "", EXACT),
        (Type::TEXT, "soon", Type::Date),
        (Type::TEXT, "not-a-uuid", UUID),
        (Type::Timestamp, "2024-01-01 00:00:01", Type::Date),
        (Type::Timestamp, "2024-01-01 12:00:00 BC", Type::Date),
        // These types are not comparable, and refused before anything is created.
        (Type::Integer, "1", Type::Boolean),
        (Type::Time, "12:00:00", Type::TimeTz),
        (Type::Json, "{}", Type::Jsonb),
        (Type::named("macaddr"), "08:00:2b:01:02:03", Type::named("macaddr8")),
    ];
    for (from, text, to) in apart {
        assert_eq!(key_as(&from, &to, text), None, "{from:?} as {to:?}: {text}");
    }
}

fn range(element: Type) -> Type {
    Type::Range { element: Box::new(element), multi: false }
}

fn multirange(element: Type) -> Type {
    Type::Range { element: Box::new(element), multi: true }
}

/// The partition of a row goes by the text of its key, and the graph has the key's value alone.
#[test]
fn a_key_with_one_text_gives_that_text_back() {
    let whole = Comparable::of(&EXACT, &EXACT, true).unwrap();
    let of = |r#type: &Type| comparable(r#type).unwrap();
    let told: &[(Type, Comparable, &[&str])] = &[
        (Type::Integer, of(&Type::Integer), &["0", "-17", "9223372036854775807"]),
        (Type::Oid, of(&Type::Oid), &["4294967295"]),
        (Type::Boolean, of(&Type::Boolean), &["t", "f"]),
        (Type::TEXT, of(&Type::TEXT), &["", "a b", "Ünï", "\\x00"]),
        (Type::Bytes, of(&Type::Bytes), &["\\x", "\\x00ff"]),
        (EXACT, whole, &["0", "-100", "123456789012345678901234567890"]),
        (Type::Date, of(&Type::Date), &["2024-02-29", "0044-03-15 BC", "10001-01-01", "infinity"]),
        (
            Type::Timestamp,
            of(&Type::Timestamp),
            &[
                "2024-02-29 01:02:03",
                "2024-02-29 01:02:03.12",
                "2024-02-29 01:02:03.000001",
                "0044-03-15 05:06:07.1 BC",
                "-infinity",
            ],
        ),
        (
            Type::TimestampTz,
            of(&Type::TimestampTz),
            &[
                "2024-02-29 01:02:03+00",
                "2024-02-29 01:02:03.1234+00",
                "0044-03-15 05:06:07.12+00 BC",
            ],
        ),
        (Type::Time, of(&Type::Time), &["00:00:00", "01:02:03.5", "23:59:59.999999", "24:00:00"]),
    ];
    for (r#type, comparable, texts) in told {
        assert!(comparable.has_one_text(r#type), "{type:?}");
        for text in *texts {
            let value = comparable.value(r#type, text.as_bytes()).unwrap();
            let told = comparable.text(&value).map(|it| String::from_utf8(it).unwrap());
            assert_eq!(told.as_deref(), Some(*text), "{type:?}: {value:?}");
        }
    }
    let bytes = of(&Type::TEXT).value(&Type::TEXT, b"\xff").unwrap();
    assert_eq!(of(&Type::TEXT).text(&bytes), Some(b"\xff".to_vec()));
    for r#type in [EXACT, FLOAT, PADDED, citext(), Type::Double, Type::TimeTz, Type::Interval] {
        assert!(!of(&r#type).has_one_text(&r#type), "{type:?}");
    }
    assert!(!of(&Type::Integer).has_one_text(&Type::TEXT), "of another column");
}
