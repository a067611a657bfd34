//! Kafka Connect's schema block: what the names of its fields say of their values.

use std::collections::HashMap;
use std::sync::Arc;

use super::BinaryHandling;
use super::json::{Json, Object, Problem};
use super::read::Reading;
use super::temporal::Unit;

/// Blocks that are remembered: a table has one and its keys have one, and others after each change of its
/// columns.
const MAX_BLOCKS: usize = 512;

/// How the fields of a row are read, by name.
pub(super) type Fields = HashMap<String, Field>;

/// What a schema says of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// This.
    Is(Reading),
    /// That it is bits: how many is the column's business, since `bit varying` has no fixed number.
    Bits,
}

impl Field {
    /// How a column that would otherwise be read as `by_column` is read.
    pub fn reading(self, by_column: Reading) -> Reading {
        match (self, by_column) {
            // The block says `string` of bytes as text, whatever text that is.
            (Field::Is(Reading::Plain), Reading::Bytes(_)) => by_column,
            (Field::Is(reading), _) => reading,
            (Field::Bits, Reading::Bits(_)) => by_column,
            (Field::Bits, _) => Reading::Bits(None),
        }
    }
}

/// The blocks that were met: the same stands in every record of a table.
#[derive(Clone, Debug, Default)]
pub(super) struct Schemas {
    /// They are of rows and keys, not of envelopes.
    of_rows: bool,
    known: HashMap<Box<str>, Arc<Fields>>,
}

impl Schemas {
    /// Of a topic that has rows without envelopes.
    pub fn of_rows() -> Schemas {
        Schemas { of_rows: true, ..Schemas::default() }
    }

    /// The fields of the rows in an envelope, or of a key, by its schema block.
    pub fn fields(&mut self, schema: Json<'_>) -> Result<Arc<Fields>, Problem> {
        if let Some(fields) = self.known.get(schema.text()) {
            return Ok(fields.clone());
        }
        let object = schema.object()?;
        let fields = match self.of_rows {
            true => readings(struct_fields(&object)?)?,
            false => row_fields(&object)?,
        };
        let fields = Arc::new(fields);
        if self.known.len() >= MAX_BLOCKS {
            self.known.clear();
        }
        self.known.insert(schema.text().into(), fields.clone());
        Ok(fields)
    }
}

/// An envelope's rows are its fields `before` and `after`; a key is a row itself.
fn row_fields(schema: &Object<'_>) -> Result<Fields, Problem> {
    let fields = struct_fields(schema)?;
    for row in ["after", "before"] {
        if let Some((_, schema)) = fields.iter().find(|(name, _)| name == row) {
            return readings(struct_fields(schema)?).map_err(|it| it.within(row));
        }
    }
    readings(fields)
}

/// The names and schemas of a struct's fields.
fn struct_fields<'a>(schema: &Object<'a>) -> Result<Vec<(String, Object<'a>)>, Problem> {
    let field = |json: Json<'a>| {
        let schema = json.object()?;
        let name = schema.require("field", Json::string)?.into_owned();
        Ok((name, schema))
    };
    let fields = schema.read("fields", |fields| fields.array()?.into_iter().map(field).collect());
    Ok(fields?.unwrap_or_default())
}

fn readings(fields: Vec<(String, Object<'_>)>) -> Result<Fields, Problem> {
    let reading = |(name, schema): (String, Object<'_>)| Ok((name, field(&schema)?));
    fields.into_iter().map(reading).collect()
}

fn field(schema: &Object<'_>) -> Result<Field, Problem> {
    if let Some(items) = schema.read("items", Json::object)? {
        return field(&items);
    }
    let name = schema.read("name", Json::string)?.unwrap_or_default();
    Ok(Field::Is(match &*name {
        "io.debezium.time.Date" | "org.apache.kafka.connect.data.Date" => Reading::Days,
        "io.debezium.time.Time" | "org.apache.kafka.connect.data.Time" => {
            Reading::TimeOfDay(Unit::Millis)
        }
        "io.debezium.time.MicroTime" => Reading::TimeOfDay(Unit::Micros),
        "io.debezium.time.NanoTime" => Reading::TimeOfDay(Unit::Nanos),
        "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => {
            Reading::Instant(Unit::Millis)
        }
        "io.debezium.time.MicroTimestamp" => Reading::Instant(Unit::Micros),
        "io.debezium.time.NanoTimestamp" => Reading::Instant(Unit::Nanos),
        "io.debezium.time.MicroDuration" => Reading::Length(Unit::Micros),
        "io.debezium.time.NanoDuration" => Reading::Length(Unit::Nanos),
        "org.apache.kafka.connect.data.Decimal" => Reading::Decimal(scale(schema)?),
        "io.debezium.data.VariableScaleDecimal" => Reading::Decimal(None),
        "io.debezium.data.Bits" => return Ok(Field::Bits),
        _ => match schema.read("type", Json::string)?.as_deref() {
            Some("bytes") => Reading::Bytes(BinaryHandling::Base64),
            _ => Reading::Plain,
        },
    }))
}

/// Parameters are strings, numbers too.
fn scale(schema: &Object<'_>) -> Result<Option<i64>, Problem> {
    let number = |json: Json<'_>| {
        let text = json.string()?;
        text.parse().map_err(|_| Problem::new("it is not a number"))
    };
    schema
        .read("parameters", |parameters| parameters.object()?.read("scale", number))
        .map(Option::flatten)
}
