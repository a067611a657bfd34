//! What `plan` takes.

use clap::Args;

/// What `plan` takes.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
    /// Also compare with the graph that is there: what the next start of `run` does
    ///
    /// For a changed file or changed tables: which tables are read again, what is removed, and
    /// what would end it. Changes nothing.
    #[arg(long)]
    pub against_graph: bool,
}
