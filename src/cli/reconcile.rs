//! What `verify` and `repair` take.

use clap::Args;

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
}
