//! How much at a time.

use crate::health::budget::Bytes;

use super::{ConfigError, Expand, budget, raw::RawLimits};

/// More copy lanes only wait for each other.
const COPY_LANES_MAX: u8 = 16;
/// The default: larger values are not sent. Neo4j holds several copies of a value in its heap.
const VALUE_BYTES: u64 = 64 << 20;
/// The default: larger rows are not sent.
const TRANSACTION_BYTES: u64 = 128 << 20;
/// The default: more rows do not become dead letters.
const DEAD_LETTERS: u32 = 1_000;

/// How much at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The number of tables, or parts of one, that are copied at the same time.
    pub copy_lanes: usize,
    /// The largest value that is sent to the graph.
    pub value_bytes: Bytes,
    /// The largest row that is sent to the graph.
    pub transaction_bytes: Bytes,
    /// How many rows may wait as dead letters.
    pub dead_letters: usize,
}

/// Reads the limits.
pub(super) fn limits(raw: &RawLimits, expand: &Expand<'_>) -> Result<Limits, ConfigError> {
    let lanes = raw.copy_lanes.unwrap_or_else(default_lanes);
    if !(1..=COPY_LANES_MAX).contains(&lanes) {
        return Err(ConfigError::CopyLanes { lanes, max: COPY_LANES_MAX });
    }
    let size = |key, value, default| match expand(key, value)? {
        None => Ok(Bytes(default)),
        Some(text) => budget::parse(&text).ok_or(ConfigError::Size { key, text }),
    };
    let dead_letters = raw.dead_letters.unwrap_or(DEAD_LETTERS);
    Ok(Limits {
        copy_lanes: usize::from(lanes),
        value_bytes: size("limits.value_bytes", &raw.value_bytes, VALUE_BYTES)?,
        transaction_bytes: size(
            "limits.transaction_bytes",
            &raw.transaction_bytes,
            TRANSACTION_BYTES,
        )?,
        dead_letters: usize::try_from(dead_letters).unwrap_or(usize::MAX),
    })
}

/// One lane for each core, up to four: more lanes than cores only wait for Neo4j.
fn default_lanes() -> u8 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.clamp(1, 4) as u8
}
