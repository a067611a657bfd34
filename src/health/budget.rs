//! The log that a slot keeps, as a budget: how much there may be, and how long it takes until it is too much.

use std::{collections::VecDeque, fmt, time::Duration};

use super::{Look, since};

/// The log's growth is that of so long.
const WINDOW: Duration = Duration::from_secs(300);
/// A shorter time says nothing of the growth.
const WINDOW_MIN: Duration = Duration::from_secs(10);

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|(power, _)| self.0 >> power > 0) {
            Some((power, unit)) => {
                write!(f, "{:.1} {unit}", self.0 as f64 / f64::from(power).exp2())
            }
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// How much log the slot may keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalBudget {
    /// Above it there is a warning.
    pub warn: Option<Bytes>,
    /// Above it the program ends.
    pub stop: Option<Bytes>,
}

/// What the log that the slot keeps means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// Nothing new.
    AsBefore,
    /// It has come to be above this one, and is to be told.
    Much(Bytes),
    /// It is below the warning again.
    LittleAgain,
    /// It is above this one, and nothing more is to be kept.
    TooMuch(Bytes),
}

impl WalBudget {
    /// Whether it is limited at all.
    pub fn is_set(&self) -> bool {
        self.warn.is_some() || self.stop.is_some()
    }

    /// What it means that the slot keeps so much. `warned`: the warning was given.
    pub fn judge(&self, retained: Bytes, warned: &mut bool) -> Spent {
        if let Some(stop) = self.stop.filter(|stop| retained > *stop) {
            return Spent::TooMuch(stop);
        }
        let above = self.warn.filter(|warn| retained > *warn);
        match (above, std::mem::replace(warned, above.is_some())) {
            (Some(warn), false) => Spent::Much(warn),
            (None, true) => Spent::LittleAgain,
            _ => Spent::AsBefore,
        }
    }
}

/// How fast the source's log grows, by the last looks at it.
#[derive(Clone, Debug, Default)]
pub struct Growth(VecDeque<Look>);

impl Growth {
    /// Another look.
    pub fn looked(&mut self, look: Look) {
        // Another server has taken over.
        if self.0.back().is_some_and(|last| last.flushed > look.flushed) {
            self.0.clear();
        }
        self.0.push_back(look);
        while self.0.front().is_some_and(|first| since(look.at, first.at) > WINDOW) {
            self.0.pop_front();
        }
    }

    /// Bytes a second; `None`: not known yet.
    pub fn rate(&self) -> Option<f64> {
        let (first, last) = (self.0.front()?, self.0.back()?);
        let time = since(last.at, first.at);
        let bytes = last.flushed.bytes_since(first.flushed);
        (time >= WINDOW_MIN).then(|| bytes as f64 / time.as_secs_f64())
    }
}

/// How long it takes until the slot can be lost if nothing more is acknowledged; `None`: the log does not
/// grow, or the slot may keep any amount of it.
pub fn safe_time(safe_bytes: Option<i64>, rate: Option<f64>) -> Option<Duration> {
    let (bytes, rate) = (safe_bytes?.max(0) as f64, rate.filter(|rate| *rate > 0.0)?);
    Duration::try_from_secs_f64(bytes / rate).ok()
}

/// A time as people say it.
pub fn roughly(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
