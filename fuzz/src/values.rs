//! PostgreSQL's texts of values.

use wal2graph::value::{ArrayItem, Comparable, NumericMode, Type, Value, read_array, write_quoted};

/// The text that values of a type are compared by. It is its own: a text that is compared by another
/// one would be two values to PostgreSQL and one to us, or the other way round.
fn is_compared_by_one_text(r#type: &Type, text: &str) {
    let Ok(comparable) = Comparable::of(r#type, r#type, false) else { return };
    if comparable.is_property() {
        return;
    }
    let Some(Value::String(once)) = comparable.value(r#type, text.as_bytes()) else { return };
    let twice = comparable.value(r#type, once.as_bytes());
    assert_eq!(twice, Some(Value::String(once)), "{type:?} {text:?}");
}

/// Any text is a number or none, in every mode.
pub fn numeric(data: &[u8]) {
    for mode in [NumericMode::Exact, NumericMode::Float, NumericMode::Auto] {
        let value = Type::Numeric(mode).parse(data).into_value();
        let Ok(text) = str::from_utf8(data) else { continue };
        is_compared_by_one_text(&Type::Numeric(mode), text);
        if let Value::Integer(integer) = value {
            let exact = Type::Numeric(NumericMode::Exact);
            let comparable = Comparable::of(&exact, &exact, false);
            let same = comparable.is_ok_and(|it| {
                it.value(&exact, data) == it.value(&exact, integer.to_string().as_bytes())
            });
            assert!(same, "{integer} is not {text:?}");
        }
    }
    let _ = Type::Double.parse(data);
    let _ = Type::Real.parse(data);
}

fn write(items: &[ArrayItem<'_>], out: &mut String) {
    out.push('{');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match item {
            ArrayItem::Null => out.push_str("NULL"),
            ArrayItem::Text(text) => write_quoted(text, out),
            ArrayItem::Array(items) => write(items, out),
        }
    }
    out.push('}');
}

/// The parser takes any text, as an array or as an error. An array that is written is parsed to the same array.
pub fn array(data: &[u8]) {
    let field = |name: &str, r#type| wal2graph::value::Field { name: name.to_owned(), r#type };
    let row = Type::Composite([field("a", Type::TEXT), field("b", Type::Double)].into());
    let range = |multi| Type::Range { element: Box::new(Type::Numeric(NumericMode::Exact)), multi };
    let elements = [
        Type::TEXT,
        Type::Numeric(NumericMode::Auto),
        Type::Double,
        Type::Boolean,
        Type::Bytes,
        Type::Timestamp,
        Type::Interval,
        Type::Jsonb,
        range(false),
        range(true),
        row,
    ];
    let text = str::from_utf8(data);
    for element in elements {
        let r#type = Type::array_of(element);
        let _ = r#type.parse(data);
        if let Ok(text) = text {
            is_compared_by_one_text(&r#type, text);
        }
    }
    let Ok(text) = text else { return };
    let Some(items) = read_array(text, ',') else { return };
    let mut written = String::new();
    write(&items, &mut written);
    assert_eq!(read_array(&written, ','), Some(items), "{text:?}");
}
