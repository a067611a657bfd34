//! How long the turns of a copy last.

use std::time::Duration;

/// How long one turn lasts. Chunks in progress when it ends are finished, and may extend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnLength {
    /// The limit while the stream waits.
    pub waiting: Duration,
    /// The limit while it does not: a turn's end costs every lane a pause.
    pub idle: Duration,
}

impl TurnLength {
    /// While tables are copied, a change may be late by one second.
    pub const DEFAULT: TurnLength =
        TurnLength { waiting: Duration::from_secs(1), idle: Duration::from_secs(10) };

    /// While a repair compares tables and graph, nobody waits for the end as one waits for a copy's.
    pub const COMPARED: TurnLength =
        TurnLength { waiting: Duration::from_millis(100), ..TurnLength::DEFAULT };
}
