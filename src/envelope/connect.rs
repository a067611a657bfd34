//! Kafka Connect's schema blocks around what we write.
//!
//! ```text
//! {"schema": {"type": "struct", "fields": [...], "name": "shop.public.customers.Key"}, "payload": {"id": 7}}
//!  <---------------------- a frame, made once for each table ----------------------->           <> its end
//! ```
//!
//! Names and types are Debezium's for `decimal.handling.mode=string` and
//! `time.precision.mode=isostring`. A reader that goes by the schema takes a value of another kind for
//! something else without a word. PostgreSQL does not keep an array to its dimensions, nor a text to
//! UTF-8 in every database: so a value that its column's form can not say is written in another one, and
//! the schema of that record says so ([`Odd`]).

use crate::value::{TextKind, Type};

use super::UNAVAILABLE_VALUE;
use super::fields::Fields;
use super::write::BYTES;

const SMALLINT: u32 = 21;
const SMALLINT_ARRAY: u32 = 1005;
const INTEGER: u32 = 23;
const INTEGER_ARRAY: u32 = 1007;

/// What stands around a part of a record.
#[derive(Clone, Debug, Default)]
pub(super) struct Frame(Option<Vec<u8>>);

impl Frame {
    /// The block of this schema.
    pub fn of(schema: &[u8]) -> Frame {
        Frame(Some([b"{\"schema\":", schema, b",\"payload\":"].concat()))
    }

    /// The part, written within.
    pub fn around(&self, payload: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let result = self.try_around(|out| {
            payload(out);
            Ok::<(), std::convert::Infallible>(())
        });
        match result {
            Ok(part) => part,
            Err(never) => match never {},
        }
    }

    /// The same for what may not be written.
    pub fn try_around<E>(
        &self,
        payload: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Vec<u8>, E> {
        let mut part = Vec::with_capacity(1024 + self.0.as_ref().map_or(0, Vec::len));
        part.extend_from_slice(self.0.as_deref().unwrap_or_default());
        payload(&mut part)?;
        if self.0.is_some() {
            part.push(b'}');
        }
        Ok(part)
    }
}

/// A part of one of our records without its schema block.
pub fn payload(part: &[u8]) -> &[u8] {
    // A column `schema` has no object with a type, and a schema no member of this name.
    const BEGIN: &[u8] = b"{\"schema\":{\"type\":";
    const PAYLOAD: &[u8] = b",\"payload\":";
    let find = || part.windows(PAYLOAD.len()).position(|window| window == PAYLOAD);
    match part.starts_with(BEGIN).then(find).flatten() {
        Some(at) => &part[at + PAYLOAD.len()..part.len() - 1],
        None => part,
    }
}

/// A type of Connect's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Boolean,
    Int16,
    Int32,
    Int64,
    Float,
    Double,
    Bytes,
    String,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Boolean => "boolean",
            Kind::Int16 => "int16",
            Kind::Int32 => "int32",
            Kind::Int64 => "int64",
            Kind::Float => "float",
            Kind::Double => "double",
            Kind::Bytes => "bytes",
            Kind::String => "string",
        }
    }
}

/// How a column is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    kind: Kind,
    /// What the value means beyond its type.
    meaning: Option<&'static str>,
    shape: Shape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A value of the kind.
    Plain,
    /// An array of them.
    Array,
    /// An object that has one, named [`BYTES`].
    Object,
}

/// How a value is written that its column's form can not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Odd {
    /// As PostgreSQL's text, in a string: an array of several dimensions.
    Text,
    /// As the bytes of PostgreSQL's text, in an object: a text that no string can stand for.
    Bytes,
}

impl Odd {
    fn form(self) -> Form {
        match self {
            Odd::Text => {
                Form { kind: Kind::String, meaning: Some("wal2graph.Text"), shape: Shape::Plain }
            }
            Odd::Bytes => Form {
                kind: Kind::Bytes,
                meaning: Some("wal2graph.TextBytes"),
                shape: Shape::Object,
            },
        }
    }
}

impl Form {
    pub fn of(r#type: &Type, oid: u32) -> Form {
        let element = match r#type {
            Type::Array { element, .. } => element,
            other => other,
        };
        let plain = |kind| (kind, None);
        let text = |meaning| (Kind::String, Some(meaning));
        let (kind, meaning) = match element {
            Type::Boolean => plain(Kind::Boolean),
            Type::Integer if [SMALLINT, SMALLINT_ARRAY].contains(&oid) => plain(Kind::Int16),
            Type::Integer if [INTEGER, INTEGER_ARRAY].contains(&oid) => plain(Kind::Int32),
            Type::Integer | Type::Oid => plain(Kind::Int64),
            Type::Real => plain(Kind::Float),
            Type::Double => plain(Kind::Double),
            Type::Bytes => plain(Kind::Bytes),
            Type::Date => text("io.debezium.time.IsoDate"),
            Type::Time => text("io.debezium.time.IsoTime"),
            Type::Timestamp => text("io.debezium.time.IsoTimestamp"),
            Type::TimeTz => text("io.debezium.time.ZonedTime"),
            Type::TimestampTz => text("io.debezium.time.ZonedTimestamp"),
            Type::Interval => text("io.debezium.time.Interval"),
            Type::Json | Type::Jsonb => text("io.debezium.data.Json"),
            Type::Text(TextKind::Uuid) => text("io.debezium.data.Uuid"),
            _ => plain(Kind::String),
        };
        let shape = match r#type {
            Type::Array { .. } => Shape::Array,
            _ => Shape::Plain,
        };
        Form { kind, meaning, shape }
    }

    /// How else a value has to be written; `None` if a reader that goes by the form reads what is meant.
    pub fn odd(self, json: &[u8]) -> Option<Odd> {
        match (self.fits(json), json.first()) {
            (true, _) => None,
            (false, Some(b'{')) => Some(Odd::Bytes),
            (false, _) => Some(Odd::Text),
        }
    }

    /// A float that is no number is written as Debezium does.
    fn fits(self, json: &[u8]) -> bool {
        // In a string the quote would have a backslash before it.
        const OBJECT: &[u8] = b"{\"b";
        if self.shape == Shape::Array {
            return json.starts_with(b"[")
                && !json.windows(OBJECT.len()).any(|window| window == OBJECT)
                && self.unavailable().as_deref() != Some(json);
        }
        let Some(first) = json.first() else { return false };
        let is_number = matches!(first, b'-' | b'0'..=b'9');
        match self.kind {
            Kind::Boolean => matches!(first, b't' | b'f'),
            Kind::Int16 | Kind::Int32 | Kind::Int64 => is_number,
            Kind::Float | Kind::Double => is_number || *first == b'"',
            Kind::String | Kind::Bytes => *first == b'"',
        }
    }

    /// What stands for an array that was not sent, as Debezium has it; `None` where its elements can not
    /// say it, or it is no array.
    pub fn unavailable(self) -> Option<Vec<u8>> {
        if self.shape != Shape::Array {
            return None;
        }
        match self.kind {
            Kind::String => Some(format!("[\"{UNAVAILABLE_VALUE}\"]").into_bytes()),
            Kind::Boolean | Kind::Bytes => None,
            _ => {
                let numbers: Vec<String> =
                    UNAVAILABLE_VALUE.bytes().map(|it| it.to_string()).collect();
                Some(format!("[{}]", numbers.join(",")).into_bytes())
            }
        }
    }

    /// Writes the schema of a field.
    fn write(self, field: &Field<'_>, out: &mut Vec<u8>) {
        let mut fields = Fields::open(out);
        match self.shape {
            Shape::Array => {
                fields.text("type", "array");
                let mut items = Fields::open(fields.name("items"));
                self.write_type(&mut items, true);
                items.close();
                fields.name("optional").extend_from_slice(boolean(field.optional));
            }
            Shape::Object => {
                fields.text("type", "struct");
                let mut list = List::open(fields.name("fields"));
                list.all(&[is(self.kind, BYTES, false)]);
                list.close();
                self.write_rest(&mut fields, field.optional);
            }
            Shape::Plain => self.write_type(&mut fields, field.optional),
        }
        fields.text("field", field.name);
        fields.close();
    }

    fn write_type(self, fields: &mut Fields<'_>, optional: bool) {
        fields.text("type", self.kind.name());
        self.write_rest(fields, optional);
    }

    fn write_rest(self, fields: &mut Fields<'_>, optional: bool) {
        fields.name("optional").extend_from_slice(boolean(optional));
        if let Some(meaning) = self.meaning {
            fields.text("name", meaning);
            fields.number("version", 1);
        }
    }
}

fn boolean(value: bool) -> &'static [u8] {
    if value { b"true" } else { b"false" }
}

/// A field of a struct.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    pub name: &'a str,
    pub form: Form,
    pub optional: bool,
}

impl Field<'_> {
    /// The same for a value that is written so.
    pub fn written(self, odd: Odd) -> Self {
        Field { form: odd.form(), ..self }
    }
}

const fn is(kind: Kind, name: &'static str, optional: bool) -> Field<'static> {
    Field { name, form: Form { kind, meaning: None, shape: Shape::Plain }, optional }
}

const SOURCE_NAME: &str = "io.debezium.connector.postgresql.Source";

const SOURCE: [Field<'_>; 23] = [
    is(Kind::String, "version", false),
    is(Kind::String, "connector", false),
    is(Kind::String, "name", false),
    is(Kind::Int64, "ts_ms", false),
    is(Kind::Int64, "ts_us", true),
    is(Kind::Int64, "ts_ns", true),
    is(Kind::String, "snapshot", true),
    is(Kind::String, "db", false),
    is(Kind::String, "sequence", true),
    is(Kind::String, "schema", false),
    is(Kind::String, "table", false),
    is(Kind::Int64, "relid", true),
    is(Kind::Int64, "txId", true),
    is(Kind::Int64, "lsn", true),
    is(Kind::Int64, "xmin", true),
    is(Kind::String, "system_identifier", true),
    is(Kind::Int64, "timeline", true),
    is(Kind::Int64, "commit_lsn", true),
    is(Kind::Int64, "event_index", true),
    is(Kind::Int64, "truncate_index", true),
    is(Kind::Int64, "truncate_count", true),
    is(Kind::Boolean, "tx_end", true),
    is(Kind::Int64, "end_lsn", true),
];

const TRANSACTION: [Field<'_>; 3] = [
    is(Kind::String, "id", false),
    is(Kind::Int64, "total_order", false),
    is(Kind::Int64, "data_collection_order", false),
];

const ENVELOPE: [Field<'_>; 4] = [
    is(Kind::String, "op", false),
    is(Kind::Int64, "ts_ms", true),
    is(Kind::Int64, "ts_us", true),
    is(Kind::Int64, "ts_ns", true),
];

const HEARTBEAT: [Field<'_>; 4] = [
    is(Kind::Int64, "ts_ms", false),
    is(Kind::String, "system_identifier", true),
    is(Kind::Int64, "timeline", true),
    is(Kind::Int64, "end_lsn", true),
];

/// A struct's schema; `field` is its name in the struct around it.
struct Struct<'a> {
    name: &'a str,
    version: Option<u32>,
    optional: bool,
    field: Option<&'a str>,
}

impl Struct<'_> {
    fn write(&self, out: &mut Vec<u8>, write_fields: impl FnOnce(&mut List<'_>)) {
        let mut fields = Fields::open(out);
        fields.text("type", "struct");
        let mut list = List::open(fields.name("fields"));
        write_fields(&mut list);
        list.close();
        fields.name("optional").extend_from_slice(boolean(self.optional));
        fields.text("name", self.name);
        if let Some(version) = self.version {
            fields.number("version", version);
        }
        if let Some(field) = self.field {
            fields.text("field", field);
        }
        fields.close();
    }
}

/// Writes an array, item by item.
struct List<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl<'o> List<'o> {
    fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'[');
        List { out, is_empty: true }
    }

    fn item(&mut self) -> &mut Vec<u8> {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
        self.out
    }

    fn all(&mut self, fields: &[Field<'_>]) {
        for field in fields {
            field.form.write(field, self.item());
        }
    }

    fn close(self) {
        self.out.push(b']');
    }
}

/// The frame of a table's keys; `table` is the pipeline, the schema and the table.
pub(super) fn key_frame(table: &str, columns: &[Field<'_>]) -> Frame {
    let name = format!("{table}.Key");
    let key = Struct { name: &name, version: None, optional: false, field: None };
    let mut schema = Vec::new();
    key.write(&mut schema, |list| list.all(columns));
    Frame::of(&schema)
}

/// The frame of a table's envelopes: the columns of the row before, and after.
pub(super) fn envelope_frame(table: &str, [before, after]: [&[Field<'_>]; 2]) -> Frame {
    let value = format!("{table}.Value");
    let row = |field| Struct { name: &value, version: None, optional: true, field: Some(field) };
    let source =
        Struct { name: SOURCE_NAME, version: None, optional: false, field: Some("source") };
    let transaction = Struct {
        name: "event.block",
        version: Some(1),
        optional: true,
        field: Some("transaction"),
    };
    let name = format!("{table}.Envelope");
    let envelope = Struct { name: &name, version: Some(2), optional: false, field: None };
    let mut schema = Vec::new();
    envelope.write(&mut schema, |list| {
        row("before").write(list.item(), |list| list.all(before));
        row("after").write(list.item(), |list| list.all(after));
        source.write(list.item(), |list| list.all(&SOURCE));
        list.all(&ENVELOPE);
        transaction.write(list.item(), |list| list.all(&TRANSACTION));
    });
    Frame::of(&schema)
}

/// The frames of a message's key and value, as Debezium has them.
pub(super) fn message_frames() -> [Frame; 2] {
    const PREFIX: Field<'_> = is(Kind::String, "prefix", true);
    let named = |name, field| Struct { name, version: Some(1), optional: false, field };
    let mut key = Vec::new();
    named("io.debezium.connector.postgresql.MessageKey", None)
        .write(&mut key, |list| list.all(&[PREFIX]));
    let source = Struct { version: None, ..named(SOURCE_NAME, Some("source")) };
    let transaction = Struct { optional: true, ..named("event.block", Some("transaction")) };
    let message = named("io.debezium.connector.postgresql.Message", Some("message"));
    let mut value = Vec::new();
    named("io.debezium.connector.postgresql.MessageValue", None).write(&mut value, |list| {
        list.all(&[is(Kind::String, "op", false), is(Kind::Int64, "ts_ms", true)]);
        source.write(list.item(), |list| list.all(&SOURCE));
        transaction.write(list.item(), |list| list.all(&TRANSACTION));
        message.write(list.item(), |list| list.all(&[PREFIX, is(Kind::Bytes, "content", true)]));
    });
    [Frame::of(&key), Frame::of(&value)]
}

/// The frames of a heartbeat's key and value.
pub(super) fn heartbeat_frames() -> [Frame; 2] {
    let key = [is(Kind::String, "serverName", false)];
    let parts: [(&str, &[Field<'_>]); 2] = [
        ("io.debezium.connector.common.ServerNameKey", &key),
        ("io.debezium.connector.common.Heartbeat", &HEARTBEAT),
    ];
    parts.map(|(name, fields)| {
        let part = Struct { name, version: Some(1), optional: false, field: None };
        let mut schema = Vec::new();
        part.write(&mut schema, |list| list.all(fields));
        Frame::of(&schema)
    })
}
