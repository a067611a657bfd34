//! The arguments of `verify` and `repair`, and of a first copy into a graph that has rows.

use clap::{Args, ValueEnum};

/// What both take.
#[derive(Debug, Args)]
pub struct ReconcileArgs {
    /// The tables, as SCHEMA.TABLE, or TABLE in the schema `public` [default: all of the mapping]
    #[arg(value_name = "TABLE")]
    pub tables: Vec<String>,
    /// Only the rows of the one TABLE that fulfil this SQL condition
    ///
    /// The command asks the source which rows these are, in a transaction that can only read. Rows that
    /// are in the graph only have no row that could fulfil a condition: they are not looked at.
    #[arg(long = "where", value_name = "SQL", requires = "tables")]
    pub condition: Option<String>,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// What `verify` takes.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Which rows, and how they are told.
    #[command(flatten)]
    pub compared: ReconcileArgs,
    /// Only compare how many rows and relationships there are: fast, and no proof
    ///
    /// Equal numbers do not prove that graph and tables are equal: a row may be there with other values,
    /// or another one in its place. Numbers that differ while nothing changes prove that they are not.
    #[arg(long, conflicts_with = "condition")]
    pub counts: bool,
}

/// What `repair` takes.
#[derive(Debug, Args)]
pub struct RepairArgs {
    /// Which rows, and how they are told.
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
    #[arg(long, conflicts_with_all = ["tables", "condition", "dry_run"])]
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
