//! What `plan` takes.

use clap::{Args, ValueEnum};

/// What `plan` takes.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Print JSON instead of text: as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// What is printed: text, json, or a drawing of labels and types: mermaid, dot
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: PlanFormat,
    /// Also compare with the graph that is there: what the next start of `run` does
    ///
    /// For a changed file or changed tables: which tables are read again, what is removed, and
    /// what would end it. Changes nothing.
    #[arg(long)]
    pub against_graph: bool,
}

/// What a plan is printed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// A Mermaid flowchart.
    Mermaid,
    /// A graph for Graphviz.
    Dot,
}

impl PlanArgs {
    /// What is printed.
    pub fn format(&self) -> PlanFormat {
        if self.json { PlanFormat::Json } else { self.format }
    }
}
