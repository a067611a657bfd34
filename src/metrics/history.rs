//! The last hour, for people: how far behind the graph was, and how many changes it took.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{graph::drawn::Drawing, report::Activity};

/// The time between two samples.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// An hour of samples.
const SAMPLES_MAX: usize = 360;
/// The rates of tables are those of the last minute.
const RATE_SAMPLES: usize = 6;

/// What was so at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// How long the graph lacked something, in seconds; `None`: nobody knew.
    pub lag: Option<f64>,
    /// Changes that the graph took in a second, since the sample before.
    pub rate: f64,
}

/// What people see of a run beside its facts.
#[derive(Clone, Debug)]
pub struct Recent {
    /// What the graph looks like; empty before a life has read the tables.
    pub drawing: Arc<Drawing>,
    /// The last hour, the newest last.
    pub samples: Vec<Sample>,
    /// What each table does.
    pub activity: BTreeMap<String, Activity>,
}

/// The samples of the last hour.
#[derive(Debug, Default)]
pub struct History {
    samples: VecDeque<Sample>,
    /// The counts of the last minute, the newest last.
    counts: VecDeque<BTreeMap<String, u64>>,
}

impl History {
    /// Takes a sample down: lag, and the changes of each table so far.
    pub fn take(&mut self, lag: Option<f64>, changes: BTreeMap<String, u64>) {
        let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
        let before = self.counts.back().map_or(0, sum);
        let rate = sum(&changes).saturating_sub(before) as f64 / INTERVAL.as_secs_f64();
        push(&mut self.samples, Sample { lag, rate }, SAMPLES_MAX);
        push(&mut self.counts, changes, RATE_SAMPLES + 1);
    }

    /// All samples, the newest last.
    pub fn samples(&self) -> Vec<Sample> {
        self.samples.iter().copied().collect()
    }

    /// Each table with what it does, by its changes until now.
    pub fn activity(&self, now: BTreeMap<String, u64>) -> BTreeMap<String, Activity> {
        let ends = self.counts.front().zip(self.counts.back());
        let seconds = INTERVAL.as_secs_f64() * (self.counts.len().saturating_sub(1)) as f64;
        let rate = |table: &str| {
            let (first, last) = ends?;
            let at = |counts: &BTreeMap<String, u64>| counts.get(table).copied().unwrap_or(0);
            (seconds > 0.0).then(|| at(last).saturating_sub(at(first)) as f64 / seconds)
        };
        let activity = |(table, changes): (String, u64)| {
            let rate = rate(&table).unwrap_or(0.0);
            (table, Activity { changes, rate })
        };
        now.into_iter().map(activity).collect()
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(a: u64, b: u64) -> BTreeMap<String, u64> {
        BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)])
    }

    #[test]
    fn rates_are_those_between_samples_and_of_the_last_minute() {
        let mut history = History::default();
        assert_eq!(history.activity(counts(3, 0))["a"], Activity { changes: 3, rate: 0.0 });
        history.take(None, counts(0, 0));
        history.take(Some(1.5), counts(10, 10));
        assert_eq!(history.samples()[1], Sample { lag: Some(1.5), rate: 2.0 });
        assert_eq!(history.activity(counts(11, 10))["a"], Activity { changes: 11, rate: 1.0 });
        for _ in 0..RATE_SAMPLES {
            history.take(Some(0.0), counts(70, 10));
        }
        let activity = history.activity(counts(70, 10));
        assert_eq!((activity["a"].rate, activity["b"].rate), (1.0, 0.0), "of the last minute");
    }

    #[test]
    fn an_hour_is_kept() {
        let mut history = History::default();
        for lag in 0..500 {
            history.take(Some(f64::from(lag)), BTreeMap::new());
        }
        let samples = history.samples();
        assert_eq!((samples.len(), samples[0].lag), (SAMPLES_MAX, Some(140.0)));
    }
}
