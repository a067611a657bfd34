//! How records are written: by us, and by Debezium.

use schemars::JsonSchema;
use serde::Deserialize;

/// How `publish` writes records. Both are read, whatever is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Format {
    /// `json`: envelopes and keys alone.
    #[default]
    #[serde(rename = "json")]
    Json,
    /// `json-schema`: each with Kafka Connect's schema block, as its JsonConverter reads and writes.
    #[serde(rename = "json-schema")]
    WithSchemas,
}

/// How Debezium was told to write values, for records without a schema block. With one, the block
/// says it, but for bytes as text. Our own records are read the same way whatever is set here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Its `decimal.handling.mode`.
    pub decimal_handling: DecimalHandling,
    /// Its `time.precision.mode`.
    pub time_precision: TimePrecision,
    /// Its `binary.handling.mode`.
    pub binary_handling: BinaryHandling,
}

/// Debezium's `binary.handling.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BinaryHandling {
    /// `bytes`, its default: JSON has them in base64. A longer text of hexadecimal digits alone is refused: it may
    /// be `hex`, which nothing else shows.
    #[default]
    Bytes,
    /// `base64`.
    Base64,
    /// `base64-url-safe`.
    #[serde(rename = "base64-url-safe")]
    Base64UrlSafe,
    /// `hex`.
    Hex,
}

/// Debezium's `decimal.handling.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecimalHandling {
    /// `precise`, its default: the unscaled number's bytes in base64; the scale is the column's,
    /// or stands beside them.
    #[default]
    Precise,
    /// `double`: a number, rounded.
    Double,
    /// `string`: the number's text.
    String,
}

/// Debezium's `time.precision.mode`. Times with a zone are ISO-8601 text in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimePrecision {
    /// `adaptive`, its default: milli- or microseconds by the column's precision.
    #[default]
    Adaptive,
    /// `adaptive_time_microseconds`: the same, but TIME is always in microseconds.
    AdaptiveTimeMicroseconds,
    /// `connect`: milliseconds.
    Connect,
    /// `isostring`: ISO-8601 text.
    Isostring,
    /// `microseconds`.
    Microseconds,
    /// `nanoseconds`.
    Nanoseconds,
}
