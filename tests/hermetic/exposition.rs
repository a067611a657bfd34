//! A strict parser of Prometheus' text format, for tests of the served metrics.

use std::collections::{BTreeMap, BTreeSet};

/// The samples by name and labels as written: `name{a="b"}`. Panics if the text violates the format
/// or its conventions.
pub fn read(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut families = BTreeSet::new();
    let mut lines = text.lines().peekable();
    assert!(text.ends_with('\n'), "the last line has an end");
    while let Some(line) = lines.next() {
        let help = line.strip_prefix("# HELP ").unwrap_or_else(|| panic!("{line:?} is no HELP"));
        let (family, help) = help.split_once(' ').unwrap_or_else(|| panic!("{line:?} has no text"));
        assert!(is_name(family) && !help.is_empty() && families.insert(family), "{line:?}");
        let line = lines.next().unwrap_or_default();
        let kind = line.strip_prefix(&format!("# TYPE {family} ")).unwrap_or_else(|| {
            panic!("{line:?} is not the TYPE of {family}");
        });
        assert!(["counter", "gauge", "histogram"].contains(&kind), "{line:?}");
        assert_eq!(kind == "counter", family.ends_with("_total"), "{line:?}");
        let mut of_family = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line:?} has no value"));
            let name = check_series(series);
            let suffixes: &[&str] =
                if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            let belongs = suffixes.iter().any(|suffix| format!("{family}{suffix}") == name);
            assert!(belongs, "{series} stands among {family}");
            assert!(kind == "gauge" || value >= 0.0, "{line:?}");
            assert!(samples.insert(series.to_owned(), value).is_none(), "{series} comes twice");
            of_family.push((series.to_owned(), value));
        }
        assert!(!of_family.is_empty(), "{family} has no samples");
        if kind == "histogram" {
            check_histogram(family, &of_family);
        }
    }
    samples
}

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Checks `name{label="value",...}` and returns the name.
fn check_series(series: &str) -> &str {
    let Some((name, labels)) = series.split_once('{') else {
        assert!(is_name(series), "{series:?}");
        return series;
    };
    assert!(is_name(name), "{series:?}");
    let mut rest = labels.strip_suffix('}').unwrap_or_else(|| panic!("{series:?} has no end"));
    let mut seen = BTreeSet::new();
    while !rest.is_empty() {
        let (label, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("{series:?}"));
        assert!(is_name(label) && seen.insert(label), "{series:?}");
        let mut escaped = false;
        let end = value.find(|character| {
            let ends = character == '"' && !escaped;
            escaped = character == '\\' && !escaped;
            ends
        });
        let end = end.unwrap_or_else(|| panic!("{series:?} has an open value"));
        rest = &value[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    name
}

/// The buckets of one series increase, and the last one is the count.
fn check_histogram(family: &str, samples: &[(String, f64)]) {
    let of = |suffix: &str| {
        let prefix = format!("{family}{suffix}");
        samples
            .iter()
            .filter(move |(series, _)| series.starts_with(&prefix))
            .map(|(_, value)| *value)
    };
    let buckets: Vec<f64> = of("_bucket").collect();
    assert!(buckets.is_sorted(), "{family}: {buckets:?}");
    assert_eq!(buckets.last().copied(), of("_count").next(), "{family}");
    assert!(samples.iter().any(|(series, _)| series.contains("le=\"+Inf\"")), "{family}");
}
