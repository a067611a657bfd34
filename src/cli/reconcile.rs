//! The arguments of `verify` and `repair`, and of a first copy into a graph that has rows.

use clap::{Args, ValueEnum};

/// What `verify` takes, and `repair` too.
#[derive(Debug, Args)]
pub struct ReconcileArgs {
    /// The tables, as SCHEMA.TABLE, or TABLE in the schema `public` [default: all of the mapping]
    #[arg(value_name = "TABLE")]
    pub tables: Vec<String>,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// What `repair` takes.
#[derive(Debug, Args)]
pub struct RepairArgs {
    /// What is compared.
    #[command(flatten)]
    pub compared: ReconcileArgs,
    /// Only say what would be written
    #[arg(long)]
    pub dry_run: bool,
    /// Make a new slot, and compare all tables with the graph
    ///
    /// Where the errors of `run` say so: the slot is lost, the source was restored, the mapping is another
    /// one. The old slot is dropped. The graph becomes equal to the tables as they are now; what the mapping
    /// does not have any more goes. Refused while `run` reads from the slot. After a kill, run it again.
    #[arg(long, conflicts_with_all = ["tables", "dry_run"])]
    pub new_slot: bool,
}

/// What a first copy does with nodes under the mapping's labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum IntoExistingGraph {
    /// They become the tables' rows, or go.
    Adopt,
    /// It does not begin.
    #[default]
    Refuse,
}
