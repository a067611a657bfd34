//! How long a topic keeps its records, in the words of settings and of people.

use std::{collections::HashMap, time::Duration};

use super::Retention;

/// The settings of a topic that keeps its records so long.
pub(super) fn settings(retention: Retention) -> Vec<(&'static str, String)> {
    match retention {
        Retention::For(time) => vec![("retention.ms", time.as_millis().to_string())],
        // What the cluster's default says of bytes would end it, too.
        Retention::Forever => {
            vec![("retention.ms", "-1".to_owned()), ("retention.bytes", "-1".to_owned())]
        }
    }
}

/// When a topic with these limits forgets records, in milliseconds and in bytes of a partition; `None`
/// if it never does.
pub(super) fn forgetting(time: Option<i64>, bytes: Option<i64>) -> Option<String> {
    let time = time.map(|millis| Duration::from_millis(millis.unsigned_abs()));
    let time = time.map(|time| format!("after {}", span(time)));
    let bytes = bytes.map(|bytes| format!("beyond {bytes} bytes of a partition"));
    match (time, bytes) {
        (Some(time), Some(bytes)) => Some(format!("{time} and {bytes}")),
        (time, bytes) => time.or(bytes),
    }
}

/// A time in its largest unit that holds it whole.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "days"), (3_600, "hours"), (60, "minutes")];
    let whole = |(unit, _): &&(u64, &str)| seconds >= 2 * unit && seconds.is_multiple_of(*unit);
    match units.iter().find(whole) {
        Some((unit, name)) => format!("{} {name}", seconds / unit),
        None => format!("{seconds} seconds"),
    }
}

/// When topics forget records by these settings of a broker.
pub(super) fn forgetting_by_default(defaults: &HashMap<String, String>) -> Option<String> {
    let number = |name: &str| defaults.get(name)?.parse::<i64>().ok();
    let in_unit = |name, millis: i64| Some(number(name)?.saturating_mul(millis));
    let time = in_unit("log.retention.ms", 1)
        .or_else(|| in_unit("log.retention.minutes", 60_000))
        .or_else(|| in_unit("log.retention.hours", 3_600_000));
    let limits = [time, number("log.retention.bytes")];
    let [time, bytes] = limits.map(|limit| limit.filter(|limit| *limit >= 0));
    forgetting(time, bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_brokers_default_is_in_the_finest_unit_that_is_set() {
        let by = |settings: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            forgetting_by_default(&settings.iter().map(owned).collect())
        };
        let hours = ("log.retention.hours", "168");
        assert_eq!(by(&[hours, ("log.retention.bytes", "-1")]).unwrap(), "after 7 days");
        assert_eq!(by(&[hours, ("log.retention.ms", "5000")]).unwrap(), "after 5 seconds");
        assert_eq!(by(&[hours, ("log.retention.ms", "-1")]), None);
        let minutes = [hours, ("log.retention.minutes", "60"), ("log.retention.bytes", "9")];
        assert_eq!(by(&minutes).unwrap(), "after 60 minutes and beyond 9 bytes of a partition");
    }
}
