//! The measured values, and the ratios that count.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Result, lab::Lab};

/// The results of one run, as they are stored.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Results {
    /// When the run began, in UTC.
    pub started_at: String,
    /// Where it ran.
    pub machine: Machine,
    /// What ran, by name: wal2graph, postgresql, neo4j.
    pub versions: std::collections::BTreeMap<String, String>,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// What counts: one figure by another, round by round.
    pub ratios: Vec<Ratio>,
}

/// A machine.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Machine {
    /// How many processors it has.
    pub processors: usize,
    /// What they call themselves.
    pub processor: String,
    /// How much memory it has, in MiB.
    pub memory_mib: u64,
}

/// One thing that was measured in every round.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Figure {
    /// The part of the benchmark.
    pub part: String,
    /// What was measured.
    pub name: String,
    /// In which unit.
    pub unit: String,
    /// One value a round, in order.
    pub values: Vec<f64>,
}

/// Two figures of the same rounds, one by the other.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Ratio {
    /// The part of the benchmark.
    pub part: String,
    /// What by what.
    pub name: String,
    /// One value a round, in order.
    pub values: Vec<f64>,
    /// What the median should reach at least, if that is agreed.
    pub at_least: Option<f64>,
}

/// The values that a part has measured.
#[derive(Default)]
pub struct Taken {
    pub figures: Vec<Figure>,
    pub ratios: Vec<Ratio>,
}

impl Taken {
    /// Adds a value to a figure.
    pub fn value(&mut self, part: &str, name: impl Into<String>, unit: &str, value: f64) {
        let name = name.into();
        println!("  {name}: {} {unit}", short(value));
        let known =
            self.figures.iter_mut().find(|figure| figure.part == part && figure.name == name);
        match known {
            Some(figure) => figure.values.push(value),
            None => {
                let (part, unit, values) = (part.to_owned(), unit.to_owned(), vec![value]);
                self.figures.push(Figure { part, name, unit, values });
            }
        }
    }

    /// The ratio of two figures, round by round.
    pub fn ratio(&mut self, part: &str, name: &str, of: &str, by: &str, at_least: Option<f64>) {
        let values = |name: &str| {
            let figure =
                self.figures.iter().find(|figure| figure.part == part && figure.name == name);
            figure.map(|figure| figure.values.clone()).unwrap_or_default()
        };
        let values: Vec<f64> = values(of).iter().zip(values(by)).map(|(of, by)| of / by).collect();
        assert!(!values.is_empty(), "{of} and {by} were both measured");
        let (part, name) = (part.to_owned(), name.to_owned());
        self.ratios.push(Ratio { part, name, values, at_least });
    }
}

impl Results {
    /// The results of a run that starts now.
    pub async fn new(lab: &Lab) -> Result<Self> {
        Ok(Results {
            started_at: chrono::Utc::now().format("%Y-%m-%d %H:%M:%S").to_string(),
            machine: Machine::this()?,
            versions: lab.versions().await?,
            figures: Vec::new(),
            ratios: Vec::new(),
        })
    }

    /// Takes over an earlier run's values, except those of these parts.
    pub fn keep(&mut self, earlier: Results, parts: &[String]) {
        self.started_at = earlier.started_at;
        self.figures.extend(earlier.figures.into_iter().filter(|it| !parts.contains(&it.part)));
        self.ratios.extend(earlier.ratios.into_iter().filter(|it| !parts.contains(&it.part)));
    }

    /// Adds the values of a part.
    pub fn add(&mut self, taken: Taken) {
        self.figures.extend(taken.figures);
        self.ratios.extend(taken.ratios);
    }

    /// The results as a table for a terminal, and for Markdown.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| part | what | median | range | n |\n| --- | --- | ---: | ---: | ---: |\n",
        );
        for figure in &self.figures {
            let Figure { part, name, unit, values } = figure;
            line(&mut text, part, &format!("{name}, {unit}"), values, "");
        }
        for Ratio { part, name, values, at_least } in &self.ratios {
            let note = at_least.map(|bar| format!(" (bar: {bar})")).unwrap_or_default();
            line(&mut text, part, &format!("**{name}**"), values, &note);
        }
        text
    }

    /// The page of the documentation.
    pub fn page(&self) -> String {
        let Machine { processors, processor, memory_mib } = &self.machine;
        let versions: Vec<String> =
            self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        format!(
            "{}\nMeasured on {} UTC with {processors} processors ({processor}), {memory_mib} MiB of memory; {}.\n\n{}",
            include_str!("page.md"),
            self.started_at,
            versions.join(", "),
            self.table()
        )
    }
}

fn line(text: &mut String, part: &str, what: &str, values: &[f64], note: &str) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
    // Writing to a String can not fail.
    let _ = writeln!(
        text,
        "| {part} | {what} | {}{note} | {} .. {} | {} |",
        short(median(values)),
        short(least),
        short(most),
        values.len()
    );
}

/// The middle value.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// The value that this share of the values does not exceed.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        10_000.0.. => {
            let thousands = (value / 1_000.0).trunc();
            format!("{thousands},{:03}", (value - thousands * 1_000.0).abs().trunc())
        }
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

impl Machine {
    fn this() -> Result<Self> {
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let processors = std::fs::read_to_string("/proc/cpuinfo")?;
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        let kib = field(&memory, "MemTotal").unwrap_or_default();
        let kib = kib.trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
        Ok(Machine {
            processors: std::thread::available_parallelism()?.get(),
            processor: field(&processors, "model name").unwrap_or_else(|| "unknown".to_owned()),
            memory_mib: kib / 1024,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Results, Taken, percentile};

    /// `UPDATE_GOLDEN=1` rewrites it.
    #[test]
    fn the_schema_is_that_of_the_types() {
        let schema = schemars::schema_for!(Results);
        let schema = serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n";
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../schemas/benchmarks.schema.json");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &schema).expect("the checkout can be written");
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == schema, "run again with UPDATE_GOLDEN=1, and read the difference");
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        let of = |share| percentile(&values, share);
        assert_eq!([of(0.0), of(0.5), of(0.99), of(1.0)], [1.0, 3.0, 5.0, 5.0]);
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let mut taken = Taken::default();
        for (ours, theirs) in [(1.0, 2.0), (9.0, 3.0)] {
            taken.value("part", "ours", "1/s", ours);
            taken.value("part", "theirs", "1/s", theirs);
        }
        taken.ratio("part", "ours / theirs", "ours", "theirs", None);
        assert_eq!(taken.ratios[0].values, [0.5, 3.0]);
    }
}
