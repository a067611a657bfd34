//! One value from JSON to PostgreSQL's text.
//!
//! ```text
//! column's type + Reading (who wrote it, and how he was told to) + JSON  ->  Cell
//! ```
//!
//! A reading says only what the JSON does not say by itself: what a number counts, and what the
//! bytes in a string are. All else is the same for every writer.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE};
use bytes::Bytes;

use crate::change::Cell;
use crate::value::{TextKind, Type, uuid};

use super::json::{Json, Object, Problem, Scalar};
use super::temporal::{self, Unit};
use super::write::BYTES;
use super::{BinaryHandling, UNAVAILABLE_VALUE, array, decimal};

/// How a column's values were written; of an array, its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// By us: see [`super::write`].
    Ours,
    /// The same with a schema block, which arrays that were not sent have to fit.
    OursBySchema,
    /// By Debezium, with nothing to be known about it.
    Plain,
    /// Numbers are days since 1970-01-01.
    Days,
    /// Numbers are a time of day.
    TimeOfDay(Unit),
    /// Numbers are a time since 1970-01-01.
    Instant(Unit),
    /// Numbers are an interval's length.
    Length(Unit),
    /// Strings are an unscaled number's bytes; without a scale it stands beside them.
    Decimal(Option<i64>),
    /// Strings are bytes.
    Bytes(BinaryHandling),
    /// Strings are bits, least significant byte first; as many as the column has, if it says so.
    Bits(Option<usize>),
}

/// The cell that a value stands for.
pub(super) fn read_cell(r#type: &Type, reading: Reading, json: Json<'_>) -> Result<Cell, Problem> {
    if json.is_null() {
        return Ok(Cell::Null);
    }
    if is_unavailable(r#type, reading, json) {
        return Ok(Cell::Unchanged);
    }
    Ok(Cell::Text(Bytes::from(read_text(r#type, reading, json)?)))
}

/// What stands for a value that was not sent. Debezium has a form for each type of JSON; in our
/// records a value never looks like it.
fn is_unavailable(r#type: &Type, reading: Reading, json: Json<'_>) -> bool {
    const STRING: &str = "\"__debezium_unavailable_value\"";
    const BASE64: &str = "\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\"";
    const HEX: &str = "\"5f5f646562657a69756d5f756e617661696c61626c655f76616c7565\"";
    // The longest form is the bytes as an array of numbers, of up to four characters with commas
    // and blanks after them.
    const MAX_FORM: usize = 8 * UNAVAILABLE_VALUE.len();
    let text = json.text();
    match text.as_bytes().first() {
        _ if text.len() > MAX_FORM => false,
        Some(b'"') if text == STRING || (*r#type == Type::Bytes && text == BASE64) => true,
        _ if reading == Reading::Ours => false,
        Some(b'"') if reading == Reading::Bytes(BinaryHandling::Hex) && text == HEX => true,
        Some(b'[') => match json.array().unwrap_or_default().as_slice() {
            [item] => item.text() == STRING,
            items => {
                let bytes = UNAVAILABLE_VALUE.bytes().map(|byte| Some(i64::from(byte)));
                items.iter().map(|item| item.i64().ok()).eq(bytes)
            }
        },
        _ if reading == Reading::OursBySchema => false,
        Some(b'{') => is_unavailable_map(json),
        Some(b'"') if *r#type == Type::Hstore => {
            let inner = json.string().unwrap_or_default();
            Json::parse(inner.as_bytes()).is_ok_and(is_unavailable_map)
        }
        _ => false,
    }
}

fn is_unavailable_map(json: Json<'_>) -> bool {
    let is_pair = |object: Object<'_>| {
        let [(name, value)] = object.0.as_slice() else { return false };
        name == UNAVAILABLE_VALUE && value.string().is_ok_and(|it| it == UNAVAILABLE_VALUE)
    };
    json.object().is_ok_and(is_pair)
}

/// The text of a value that is there.
fn read_text(r#type: &Type, reading: Reading, json: Json<'_>) -> Result<Vec<u8>, Problem> {
    let text = match json.scalar()? {
        Scalar::Null => return Err(json.is_not("a value")),
        Scalar::Boolean(value) => boolean(r#type, reading, value, json)?,
        Scalar::Number(number) => self::number(r#type, reading, number, json)?,
        Scalar::String(text) => string(r#type, reading, &text)?,
        Scalar::Array => items(r#type, reading, json)?,
        Scalar::Object => {
            let object = json.object()?;
            if matches!(reading, Reading::Ours | Reading::OursBySchema)
                && let [(name, value)] = object.0.as_slice()
                && name == BYTES
            {
                return from_base64(&value.string()?);
            }
            self::object(r#type, reading, &object, json)?
        }
    };
    Ok(text.into_bytes())
}

fn boolean(
    r#type: &Type,
    reading: Reading,
    value: bool,
    json: Json<'_>,
) -> Result<String, Problem> {
    let [yes, no] = match (r#type, reading) {
        (Type::Boolean, _) => ["t", "f"],
        (_, Reading::Bits(_)) => ["1", "0"],
        (_, _) if is_textual(r#type) => ["true", "false"],
        _ => return Err(json.is_not(&format!("{} as JSON", r#type.graph_type()))),
    };
    Ok(if value { yes } else { no }.to_owned())
}

fn number(
    r#type: &Type,
    reading: Reading,
    number: &str,
    json: Json<'_>,
) -> Result<String, Problem> {
    match (r#type, reading) {
        (Type::Date, Reading::Days) => Ok(temporal::date_of_days(json.i64()?)),
        (Type::Time | Type::TimeTz, Reading::TimeOfDay(unit)) => {
            let time = temporal::time_of(unit, json.i64()?);
            let time = time.ok_or_else(|| Problem::new("the number is no time of day"))?;
            Ok(if *r#type == Type::TimeTz { format!("{time}+00") } else { time })
        }
        (Type::Timestamp, Reading::Instant(unit)) => {
            Ok(temporal::timestamp_of(unit, json.i64()?, false))
        }
        (Type::TimestampTz, Reading::Instant(unit)) => {
            Ok(temporal::timestamp_of(unit, json.i64()?, true))
        }
        (Type::Interval, Reading::Length(unit)) => Ok(temporal::interval_of(unit, json.i64()?)),
        (Type::Numeric(_), _) => {
            decimal::plain(number).ok_or_else(|| Problem::new("the number is beyond numeric"))
        }
        (Type::Integer | Type::Oid, Reading::Ours | Reading::OursBySchema) => Ok(number.to_owned()),
        (Type::Integer | Type::Oid, _) => Ok(decimal::whole(number)),
        (Type::Real | Type::Double, _) => Ok(number.to_owned()),
        (_, _) if is_textual(r#type) => Ok(number.to_owned()),
        _ => Err(json.is_not(&format!("{} as JSON", r#type.graph_type()))),
    }
}

fn string(r#type: &Type, reading: Reading, text: &str) -> Result<String, Problem> {
    match (r#type, reading) {
        // An array's own text; its elements would be in a JSON array.
        (Type::Array { .. }, _) => Ok(text.to_owned()),
        (_, Reading::Decimal(scale)) => {
            let scale = scale.ok_or_else(|| {
                Problem::new(
                    "a decimal number's bytes without their scale: the column has none. If the \
                     connector's decimal.handling.mode is `string` or `double`, say so",
                )
            })?;
            unscaled(text, scale)
        }
        (_, Reading::Bits(length)) => Ok(bits(&from_base64(text)?, length)),
        (Type::Bytes, Reading::Bytes(handling)) => bytes(text, handling),
        (Type::Bytes, _) => Ok(hexadecimal(&from_base64(text)?)),
        (Type::Hstore, Reading::Plain) if text.starts_with('{') => {
            match Json::parse(text.as_bytes()).and_then(Json::object) {
                Ok(object) => hstore(&object),
                Err(_) => Ok(text.to_owned()),
            }
        }
        // Its one form in PostgreSQL, which is what it is compared by.
        (Type::Text(TextKind::Uuid), _) if reading != Reading::Ours => {
            Ok(uuid(text).unwrap_or_else(|| text.to_owned()))
        }
        _ => Ok(temporal::from_iso(r#type, text).unwrap_or_else(|| text.to_owned())),
    }
}

fn items(r#type: &Type, reading: Reading, json: Json<'_>) -> Result<String, Problem> {
    match r#type {
        Type::Array { element, delimiter } => {
            elements(element, *delimiter, reading, json, MAX_DIMENSIONS)
        }
        Type::Vector => {
            let mut numbers = Vec::new();
            for item in json.array()? {
                match item.scalar()? {
                    Scalar::Number(number) => numbers.push(number),
                    _ => return Err(item.is_not("a number")),
                }
            }
            Ok(format!("[{}]", numbers.join(",")))
        }
        _ if is_textual(r#type) => Ok(json.text().to_owned()),
        _ => Err(json.is_not(&format!("{} as JSON", r#type.graph_type()))),
    }
}

/// PostgreSQL's limit of an array's dimensions.
const MAX_DIMENSIONS: usize = 6;

fn elements(
    element: &Type,
    delimiter: char,
    reading: Reading,
    json: Json<'_>,
    dimensions: usize,
) -> Result<String, Problem> {
    let array = json.array()?;
    let nested = |item: &Json<'_>| matches!(item.scalar(), Ok(Scalar::Array));
    if dimensions > 1 && !array.is_empty() && *element != Type::Vector && array.iter().all(nested) {
        let inner = array.into_iter().enumerate().map(|(index, item)| {
            elements(element, delimiter, reading, item, dimensions - 1)
                .map_err(|problem| problem.within(&index.to_string()))
        });
        let inner: Vec<String> = inner.collect::<Result<_, _>>()?;
        return Ok(format!("{{{}}}", inner.join(&delimiter.to_string())));
    }
    let mut texts = Vec::with_capacity(array.len());
    for (index, item) in array.into_iter().enumerate() {
        if item.is_null() {
            texts.push(None);
            continue;
        }
        let text = read_text(element, reading, item);
        let text = text.map_err(|problem| problem.within(&index.to_string()))?;
        let text = String::from_utf8(text);
        texts.push(Some(text.map_err(|_| Problem::new("an array's element is not UTF-8"))?));
    }
    Ok(array::write_array(&texts, delimiter))
}

/// Debezium's structs.
fn object(
    r#type: &Type,
    reading: Reading,
    object: &Object<'_>,
    json: Json<'_>,
) -> Result<String, Problem> {
    match (r#type, reading) {
        (Type::Numeric(_), _) | (_, Reading::Decimal(_)) => {
            let scale = object.require("scale", Json::i64)?;
            object.require("value", |value| unscaled(&value.string()?, scale))
        }
        (Type::Point, _) => {
            let coordinate = |name| object.require(name, |it| Ok(it.text().to_owned()));
            Ok(format!("({},{})", coordinate("x")?, coordinate("y")?))
        }
        (Type::Geometry, _) => {
            let wkb = object.require("wkb", |wkb| from_base64(&wkb.string()?))?;
            let srid = object.read("srid", Json::i64)?;
            Ok(ewkb(&wkb, srid))
        }
        (Type::Hstore, _) => hstore(object),
        (_, _) if is_textual(r#type) => Ok(json.text().to_owned()),
        _ => Err(json.is_not(&format!("{} as JSON", r#type.graph_type()))),
    }
}

/// Any JSON can be such a type's text, if only as the JSON that it is.
fn is_textual(r#type: &Type) -> bool {
    matches!(
        r#type,
        Type::Text(_)
            | Type::Json
            | Type::Jsonb
            | Type::Range { .. }
            | Type::Composite(_)
            | Type::Hstore
            | Type::Unknown { .. }
    )
}

/// Bytes in PostgreSQL's text.
fn hexadecimal(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\\x{digits}")
}

/// Bytes as Debezium writes them. Hexadecimal digits are base64, too, of other bytes.
fn bytes(text: &str, handling: BinaryHandling) -> Result<String, Problem> {
    /// A shorter text may be digits alone by chance.
    const DIGITS_MIN: usize = 16;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let are_digits = text.len().is_multiple_of(2) && text.bytes().all(is_digit);
    match handling {
        BinaryHandling::Hex if are_digits => Ok(format!("\\x{text}")),
        BinaryHandling::Hex => Err(Problem::new(
            "it is not hexadecimal, as `kafka.debezium.binary_handling_mode: hex` says",
        )),
        BinaryHandling::Bytes if are_digits && text.len() >= DIGITS_MIN => Err(Problem::new(
            "it is hexadecimal digits alone, which are base64 of other bytes. If the connector's \
             binary.handling.mode is hex, set `kafka.debezium.binary_handling_mode: hex`, else `base64`",
        )),
        BinaryHandling::Base64UrlSafe => {
            let decoded = URL_SAFE.decode(text);
            let decoded = decoded.map_err(|_| Problem::new("it is no base64 for URLs"))?;
            Ok(hexadecimal(&decoded))
        }
        BinaryHandling::Bytes | BinaryHandling::Base64 => Ok(hexadecimal(&from_base64(text)?)),
    }
}

fn from_base64(text: &str) -> Result<Vec<u8>, Problem> {
    BASE64.decode(text).map_err(|_| {
        Problem::new(
            "it is no base64. If these are decimal numbers, check that the connector's \
             decimal.handling.mode is given as it is, and its binary.handling.mode",
        )
    })
}

fn unscaled(text: &str, scale: i64) -> Result<String, Problem> {
    let number = decimal::from_unscaled(&from_base64(text)?, scale);
    number.ok_or_else(|| Problem::new("the bytes are no number within numeric's limits"))
}

/// The bits, most significant first. Of `bit varying` Debezium leaves out zeros at the front.
fn bits(bytes: &[u8], length: Option<usize>) -> String {
    let all: String = bytes.iter().rev().map(|byte| format!("{byte:08b}")).collect();
    let significant = all.trim_start_matches('0');
    format!("{significant:0>width$}", width = length.unwrap_or_default())
}

/// PostGIS's text of a geometry: its extended WKB in hexadecimal digits.
fn ewkb(wkb: &[u8], srid: Option<i64>) -> String {
    const SRID_FLAG: u8 = 0x20;
    let mut bytes = wkb.to_vec();
    // The flag is in the most significant byte of the word after the byte order.
    let flag_at = if wkb.first() == Some(&0) { 1 } else { 4 };
    if let Some(srid) = srid.and_then(|srid| u32::try_from(srid).ok())
        && let Some(flags) = bytes.get_mut(flag_at).filter(|flags| **flags & SRID_FLAG == 0)
        && wkb.len() >= 5
    {
        *flags |= SRID_FLAG;
        let srid = if flag_at == 1 { srid.to_be_bytes() } else { srid.to_le_bytes() };
        bytes.splice(5..5, srid);
    }
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// An hstore of an object of strings.
fn hstore(object: &Object<'_>) -> Result<String, Problem> {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut pairs = Vec::with_capacity(object.0.len());
    for (name, value) in &object.0 {
        let value = match value.scalar()? {
            Scalar::Null => "NULL".to_owned(),
            Scalar::String(text) => quoted(&text),
            _ => return Err(value.is_not("a string").within(name)),
        };
        pairs.push(format!("{}=>{value}", quoted(name)));
    }
    Ok(pairs.join(", "))
}
