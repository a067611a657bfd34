//! Keys: texts that PostgreSQL calls equal become equal values.

use super::*;

pub(super) fn key(r#type: &Type, text: &str) -> Value {
    normalise_key(r#type, text.as_bytes()).unwrap()
}

pub(super) fn key_as(from: &Type, to: &Type, text: &str) -> Result<Value, KeyError> {
    normalise_key_as(from, to, text.as_bytes())
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
        (CITEXT, &["straße", "STRAßE"]),
        (CITEXT, &["ΟΔΟΣ", "οδοσ"]),
        (CITEXT, &["İI", "ii"]),
        (Type::Double, &["0", "-0"]),
        (Type::Interval, &["P1M", "P30D", "PT720H"]),
        (array(EXACT), &["{1,2.50}", "{1.0,2.5}"]),
    ];
    for (r#type, texts) in equal {
        for text in *texts {
            assert_eq!(key(r#type, texts[0]), key(r#type, text), "{type:?}: {text}");
        }
    }
    let expected = [
        (EXACT, "1.00", string("1")),
        (EXACT, "-0.0150", string("-0.015")),
        (EXACT, "NaN", string("NaN")),
        (FLOAT, "0.10", float(0.1)),
        // Two numbers that round to one Float stay two keys.
        (FLOAT, "0.1000000000000000000001", string("0.1000000000000000000001")),
        (AUTO, "1.00", Value::Integer(1)),
        (PADDED, "a b  ", string("a b")),
        (CITEXT, "FoO", string("foo")),
        (
            UUID,
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            string("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ),
        (Type::TEXT, "1.00 ", string("1.00 ")),
        (Type::Date, "infinity", string("infinity")),
        (Type::Double, "Infinity", float(f64::INFINITY)),
        (array(EXACT), "{1.0,NULL}", string("[1.0,null]")),
    ];
    for (r#type, text, value) in expected {
        assert_eq!(key(&r#type, text), value, "{type:?}: {text}");
    }
    assert_ne!(key(&CITEXT_IN_C, "Äb"), key(&CITEXT_IN_C, "äb"), "as under LC_CTYPE=C");
    assert_eq!(key(&CITEXT_IN_C, "ÄB"), key(&CITEXT_IN_C, "Äb"));
    assert_eq!(normalise_key(&Type::Double, b"NaN"), Err(KeyError::NotANumber));
    assert_eq!(normalise_key(&array(Type::Real), b"{NaN}"), Err(KeyError::NotANumber));
}

#[test]
fn a_reference_takes_the_type_of_its_target() {
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    let meets = [
        (EXACT, "1.00", Type::Integer, "1"),
        (Type::Integer, "1", EXACT, "1.0"),
        (Type::Integer, "1", Type::Double, "1"),
        (Type::Real, "3.3", Type::Double, "3.299999952316284"),
        (Type::Double, "3.299999952316284", Type::Real, "3.3"),
        (Type::Double, "1e+06", Type::Integer, "1000000"),
        (Type::Double, "1e+20", EXACT, "100000000000000000000.0"),
        (EXACT, "1.50", AUTO, "1.5"),
        (Type::TEXT, " 0042 ", Type::Integer, "42"),
        (Type::Integer, "42", Type::TEXT, "42"),
        (PADDED, "42  ", Type::Integer, "42"),
        (PADDED, "ab  ", Type::TEXT, "ab"),
        (Type::TEXT, "ab", PADDED, "ab   "),
        (Type::TEXT, "FOO", CITEXT, "foo"),
        (Type::TEXT, "{A0EEBC999C0B4EF8BB6D6BB9BD380A11}", UUID, uuid),
        (UUID, uuid, Type::TEXT, uuid),
        (Type::Date, "2024-03-04", Type::Timestamp, "2024-03-04 00:00:00"),
        (Type::Date, "0044-03-15 BC", Type::TimestampTz, "0044-03-15 00:00:00+00 BC"),
        (Type::Timestamp, "2024-03-04 05:06:07", Type::TimestampTz, "2024-03-04 05:06:07+00"),
        (Type::Date, "-infinity", Type::Timestamp, "-infinity"),
        (Type::Boolean, "t", Type::TEXT, "true"),
        (Type::TEXT, "true", Type::Boolean, "t"),
    ];
    for (from, text, to, target) in meets {
        assert_eq!(key_as(&from, &to, text), Ok(key(&to, target)), "{from:?}: {text}");
    }
    let rounded = key_as(&Type::Double, &Type::Real, "3.3").unwrap();
    assert_ne!(rounded, key(&Type::Real, "3.3"), "PostgreSQL does not call them equal");
    let apart = [
        (EXACT, "1.5", Type::Integer),
        (Type::TEXT, "abc", Type::Integer),
        (Type::TEXT, "1.0", Type::Integer),
        (Type::TEXT, "", EXACT),
        (Type::TEXT, "infinity", Type::Date),
        (Type::TEXT, "not-a-uuid", UUID),
        (Type::Integer, "1", Type::Boolean),
    ];
    for (from, text, to) in apart {
        let error = key_as(&from, &to, text).unwrap_err();
        assert!(matches!(error, KeyError::Unconvertible { .. }), "{from:?}: {text}");
        assert!(text.is_empty() || !error.to_string().contains("abc"), "no row values in errors");
    }
}
