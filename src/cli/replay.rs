//! The arguments of `replay`.

use chrono::{DateTime, FixedOffset};
use clap::Args;

/// What `replay` takes.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// From where: `earliest`, `offset N`, or `datetime T`
    ///
    /// A time is written as 2026-05-01T08:00:00Z; it means the first record that was published then
    /// or later.
    #[arg(long = "from", num_args = 1..=2, value_names = ["WHERE", "VALUE"], required = true)]
    from: Vec<String>,
    /// Only this partition: `N`, or `TOPIC/N` [default: all]
    #[arg(long, value_name = "PARTITION")]
    pub partition: Option<String>,
    /// Reset even if this skips records that were never applied, or leaves rows missing
    #[arg(long)]
    pub yes: bool,
}

/// Where a replay begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayFrom {
    /// With the topic's first record.
    Earliest,
    /// With this one.
    Offset(u64),
    /// With the first one that was published then or later.
    DateTime(DateTime<FixedOffset>),
}

impl ReplayArgs {
    /// Where it begins.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn from(&self) -> Result<ReplayFrom, String> {
        let words: Vec<&str> = self.from.iter().map(String::as_str).collect();
        let expected =
            "--from: expected `earliest`, `offset 12000` or `datetime 2026-05-01T08:00:00Z`";
        let from = match words[..] {
            ["earliest"] => Some(ReplayFrom::Earliest),
            ["offset", offset] => offset.parse().ok().map(ReplayFrom::Offset),
            ["datetime", at] => DateTime::parse_from_rfc3339(at).ok().map(ReplayFrom::DateTime),
            _ => None,
        };
        from.ok_or_else(|| expected.to_owned())
    }
}
