//! The command line.

mod global;
mod plan;
mod reconcile;
mod replay;
mod shell;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::lsn::Lsn;

pub use global::{Global, LogFormat};
pub use plan::{PlanArgs, PlanFormat};
pub use reconcile::{IntoExistingGraph, ReconcileArgs, RepairArgs, VerifyArgs};
pub use replay::{ReplayArgs, ReplayFrom};
pub use shell::{CompletionsArgs, ManArgs};

const EXAMPLES: &str = "\
Examples:
  wal2graph run --source-url postgres://cdc@localhost/shop --graph-url bolt://localhost:7687
  wal2graph init --source-url postgres://cdc@localhost/shop -o wal2graph.yaml
  wal2graph run -c wal2graph.yaml";

/// Keeps a Neo4j graph equal to a PostgreSQL database, all the time.
///
/// Tables become nodes, foreign keys become relationships. A logical replication slot streams what
/// changes, and the slot moves on only after the graph has committed it.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 98,
    after_long_help = EXAMPLES,
    help_expected = true
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Writes a complete, commented configuration file from the source's catalog
    ///
    /// Looks at tables, keys and foreign keys, infers the mapping that `run` would use, and writes
    /// it to a file for editing. Changes nothing else. If a table cannot be mapped as it is, the file
    /// has an edit with the mark `mended:`, or a comment that says what to do. Needs no graph.
    #[command(
        after_long_help = "Example:\n  wal2graph init --source-url postgres://cdc@localhost/shop \
        -o wal2graph.yaml"
    )]
    Init(InitArgs),
    /// Shows what the graph will look like, and what is left out and why
    ///
    /// Labels with their keys, relationships with direction and the foreign key behind each,
    /// constraints, tables that are left out, clashes, columns at risk. Changes nothing.
    #[command(after_long_help = "Examples:\n  wal2graph plan -c wal2graph.yaml\n  \
        wal2graph plan -c wal2graph.yaml --against-graph    (before a changed file is deployed)")]
    Plan(PlanArgs),
    /// Checks source, graph, rights and settings, each failure with its fix
    ///
    /// Exits with 1 when something would keep `run` from working. Changes nothing.
    #[command(after_long_help = "Examples:\n  wal2graph check -c wal2graph.yaml\n  \
        wal2graph check --sql cdc -c wal2graph.yaml | psql -v ON_ERROR_STOP=1 -d shop    \
        (as the owner: makes the role `cdc` and the publication)")]
    Check(CheckArgs),
    /// Copies the tables, then keeps the graph equal to them
    ///
    /// Makes the publication, the slot and the constraints that are missing, copies what is not
    /// copied yet, and streams until SIGTERM, SIGINT or SIGHUP. It can be stopped or killed at any moment
    /// and goes on where the graph is.
    #[command(after_long_help = "Examples:\n  wal2graph run -c wal2graph.yaml\n  \
        wal2graph run -c wal2graph.yaml --until current    (for scripts: exits when the graph has caught up)")]
    Run(RunArgs),
    /// Publishes the tables and what changes in them to a Kafka topic
    ///
    /// Makes the publication, the slot and the topic that are missing, publishes the rows that are
    /// there, and streams until SIGTERM, SIGINT or SIGHUP. It can be stopped or killed at any moment and goes
    /// on where the topic ends. `apply` brings the topic to the graph.
    #[command(after_long_help = "Examples:\n  \
        wal2graph publish -c wal2graph.yaml\n  \
        wal2graph publish --source-url postgres://cdc@localhost/shop \
        --graph-url bolt://localhost:7687 --brokers localhost:9092")]
    Publish(PublishArgs),
    /// Applies a Kafka topic to the graph, and keeps following it
    ///
    /// Reads what `publish` brought to the topic, as a member of a consumer group, and goes on where
    /// the graph is until SIGTERM, SIGINT or SIGHUP. If the group's offsets were reset, what is behind them
    /// is applied again. Types and keys come from the source database's catalog, which is read at the
    /// start.
    #[command(after_long_help = "Examples:\n  wal2graph apply -c wal2graph.yaml\n  \
        wal2graph apply -c wal2graph.yaml --until current    (for scripts: exits at the topic's end)")]
    Apply(ApplyArgs),
    /// Resets the group's offsets, so that the next `apply` applies records again
    ///
    /// Works while no `apply` runs, like Kafka's own reset tool, which does the same. Says what the
    /// next `apply` will do. Refuses a reset that would skip records that were never applied, unless
    /// --yes is given.
    #[command(after_long_help = "Examples:\n  \
        wal2graph replay -c wal2graph.yaml --from earliest\n  \
        wal2graph replay -c wal2graph.yaml --from offset 12000\n  \
        wal2graph replay -c wal2graph.yaml --from datetime 2026-05-01T08:00:00Z")]
    Replay(ReplayArgs),
    /// Lists rows and records that were set aside, shows them, puts them back or gives them up
    ///
    /// With `on_error: park`, a row that the graph refuses becomes a dead letter in the graph, and everything else goes
    /// on. With `kafka.unreadable: park`, so does a record that is no envelope, in a topic. Each waits until a person
    /// decides.
    #[command(
        disable_help_subcommand = true,
        after_long_help = "Examples:\n  \
        wal2graph dead-letters list -c wal2graph.yaml\n  \
        wal2graph dead-letters show row-1a2b3c4d5e6f7081 -c wal2graph.yaml\n  \
        wal2graph dead-letters retry --all -c wal2graph.yaml\n  \
        wal2graph dead-letters drop shop.public.orders/0/1234 -c wal2graph.yaml"
    )]
    DeadLetters(DeadLettersArgs),
    /// Compares the graph with the tables, and says what differs
    ///
    /// Every mapped property, label and relationship, in both directions, while `run` goes on. Writes
    /// nothing. If no `run` is up, the command follows the source itself until it is done. Exits with 1
    /// if anything differs, and with 3 if it could not compare.
    #[command(after_long_help = "Examples:\n  wal2graph verify -c wal2graph.yaml\n  \
        wal2graph verify orders sales.customers -c wal2graph.yaml --json\n  \
        wal2graph verify orders --where \"placed_at > now() - interval '1 day'\" -c wal2graph.yaml\n  \
        wal2graph verify --counts -c wal2graph.yaml")]
    Verify(VerifyArgs),
    /// Compares the graph with the tables, and writes what differs
    ///
    /// Rows that the graph lacks or has otherwise are written, and what has no row is removed. What
    /// others put on the nodes of rows stays. Works beside `run`, and goes on after a kill.
    #[command(after_long_help = "Examples:\n  wal2graph repair -c wal2graph.yaml\n  \
        wal2graph repair orders -c wal2graph.yaml --dry-run\n  \
        wal2graph repair -c wal2graph.yaml --new-slot")]
    Repair(RepairArgs),
    /// Shows how far the graph is: slot, positions, lag, copy, placeholders
    ///
    /// Works whether or not `run` is up. Of one that stopped for good, says why. If something would keep
    /// it from starting again, says what, with the fix, and exits with 1.
    #[command(after_long_help = "Examples:\n  wal2graph status -c wal2graph.yaml --json\n  \
        wal2graph status --ready    (for a health check beside the program)")]
    Status(StatusArgs),
    /// Waits until the graph has everything up to a position of the source
    ///
    /// For scripts and tests that read from the graph what they have written to the source. Exits with 0
    /// once the graph has it, and with 1 if it does not within the timeout. Reads the checkpoint in the
    /// graph, so it works for `run` and for `apply`, and whether or not they serve HTTP.
    #[command(after_long_help = "Examples:\n  \
        wal2graph wait -c wal2graph.yaml\n  \
        wal2graph wait -c wal2graph.yaml --lsn 16/B374D848 --timeout 30s")]
    Wait(WaitArgs),
    /// Removes what a pipeline made: slot, publication, checkpoint, constraints; with --graph also its rows
    ///
    /// Shows all of it and asks for the pipeline's name. Refuses while the pipeline runs. If it is
    /// killed, the same command goes on. Kafka's topics and group are named with the command that
    /// deletes them, and stay.
    #[command(after_long_help = "Examples:\n  \
        wal2graph destroy -c wal2graph.yaml\n  \
        wal2graph destroy -c wal2graph.yaml --graph --yes    (for scripts: does not ask)")]
    Destroy(DestroyArgs),
    /// Prints the completions of a shell
    ///
    /// The help of each shell says where it reads them from.
    #[command(after_long_help = "Example:\n  wal2graph completions bash \
        > ~/.local/share/bash-completion/completions/wal2graph")]
    Completions(CompletionsArgs),
    /// Writes the manual pages into a folder: one for the program, one for each command
    #[command(after_long_help = "Example:\n  wal2graph man ~/.local/share/man/man1")]
    Man(ManArgs),
}

/// What `wait` takes.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// This position of the source's log, such as 16/B374D848
    #[arg(long, value_name = "LSN")]
    pub lsn: Option<Lsn>,
    /// Everything that is committed when the command starts; the default
    #[arg(long, conflicts_with = "lsn")]
    pub now: bool,
    /// How long it waits: a number and a unit, such as 500ms, 5s, 2m
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub timeout: String,
}

/// What `destroy` takes.
#[derive(Debug, Args)]
pub struct DestroyArgs {
    /// Also remove the nodes of the mapping's labels, with all their relationships
    ///
    /// These are the rows of the tables and the placeholders. What others put on these nodes goes with
    /// them. Nodes whose label another pipeline of the graph has, too, stay.
    #[arg(long)]
    pub graph: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// What `init` takes.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The file to write [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Overwrite the file if it exists
    #[arg(long)]
    pub force: bool,
}

/// What commands take that report.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// What `status` takes.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
    /// Only ask the program on this machine whether it is ready
    ///
    /// Reads /ready at the address of --http or http.listen, and nothing else: no server is asked. Exits
    /// with 0 if it is ready, else with 1 and the reason.
    #[arg(long, conflicts_with = "json")]
    pub ready: bool,
}

/// What `check` takes.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
    /// Instead of checking: print the least rights for a role of this name on the source, for psql
    ///
    /// The role, GRANTs on the mapped tables, and the publication of them, as far as they are not there. Any role
    /// that may log in can ask; a superuser or the owner runs the result. Without a value: `wal2graph`. Changes
    /// nothing.
    #[arg(long, num_args = 0..=1, value_name = "ROLE", default_missing_value = "wal2graph",
        conflicts_with_all = ["json", "cypher"])]
    pub sql: Option<String>,
    /// The same for a user of this name on Neo4j Enterprise, for cypher-shell
    ///
    /// Without a value: `wal2graph`. Asks neither server.
    #[arg(long, num_args = 0..=1, value_name = "USER", default_missing_value = "wal2graph",
        conflicts_with = "json")]
    pub cypher: Option<String>,
    /// Check for a `run` or `apply` with this flag
    ///
    /// Without it, nodes under the mapping's labels are a failure before a first copy.
    #[arg(long, value_enum, num_args = 0..=1, value_name = "HOW",
        default_value = "refuse", default_missing_value = "adopt")]
    pub into_existing_graph: IntoExistingGraph,
}

/// What `run` takes.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Stop when the graph has everything up to this position: `current`, or an LSN
    ///
    /// `current` is what is committed when the command starts. Exits with 0 when it is reached, for
    /// scripts and schedules.
    #[arg(long, value_name = "LSN", value_parser = until)]
    pub until: Option<UntilArg>,
    /// What a first copy does with nodes under the mapping's labels that are in the graph already
    ///
    /// `refuse` ends with how many there are. `adopt` makes the graph equal to the tables: a node with a
    /// row's key becomes that row, and keeps what others put on it; nodes and relationships of the mapping
    /// without a row go. Without a value: `adopt`.
    #[arg(long, value_enum, num_args = 0..=1, value_name = "HOW",
        default_value = "refuse", default_missing_value = "adopt")]
    pub into_existing_graph: IntoExistingGraph,
}

/// What `publish` takes.
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// Stop when the topic has everything up to this position: `current`, or an LSN
    ///
    /// `current` is what is committed when the command starts. Exits with 0 when it is reached, for
    /// scripts and schedules.
    #[arg(long, value_name = "LSN", value_parser = until)]
    pub until: Option<UntilArg>,
    /// Begin a new topic where the graph of `run` is, without a copy
    ///
    /// Puts Kafka between a graph that `run` keeps and its source: the topic begins with what the
    /// graph may not have yet. Stop `run` first; `apply` then takes the graph over. The flag changes
    /// nothing for a topic that has records.
    #[arg(long)]
    pub from_graph: bool,
    /// Go on with a new slot where the slot has lost changes, and say so in the topic
    ///
    /// Where the errors of `publish` say so: the slot is lost, was dropped, made again or advanced. A record in
    /// every partition of every topic says which changes were never published. `apply` that reads it compares
    /// all tables with the graph. The flag changes nothing while the slot has everything, and counts until
    /// publishing has begun. `on_slot_lost: repair` in the file does the same each time.
    #[arg(long)]
    pub new_slot: bool,
}

/// What `apply` takes.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Stop when the graph has everything before this offset: `current`, or a number
    ///
    /// `current` is the topic's end when the command starts. Exits with 0 when it is reached, for
    /// scripts and schedules.
    #[arg(long, value_name = "OFFSET", value_parser = until_offset)]
    pub until: Option<UntilOffset>,
    /// Copy into a graph that holds nodes under the mapping's labels
    ///
    /// Without this flag a first copy into such a graph is refused. A copy removes nothing: a node
    /// with a row's key becomes that row, and all other nodes stay.
    #[arg(long)]
    pub into_existing_graph: bool,
}

/// Where `apply` stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UntilOffset {
    /// At the topic's end as it is now.
    Current,
    /// At this offset.
    Offset(u64),
}

fn until_offset(text: &str) -> Result<UntilOffset, String> {
    match text {
        "current" => Ok(UntilOffset::Current),
        _ => text
            .parse()
            .map(UntilOffset::Offset)
            .map_err(|_| "expected `current` or an offset such as 12000".to_owned()),
    }
}

/// What `dead-letters` takes.
#[derive(Debug, Args)]
pub struct DeadLettersArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub action: DeadLettersAction,
}

/// What is done with dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLettersAction {
    /// Lists those that wait: name, time, reason
    ///
    /// A row is shown with its table and key. The name of a record says where it stood: TOPIC/PARTITION/OFFSET. Of a
    /// topic that was made again it is TOPIC/PARTITION/OFFSET@ID where letters of both topics wait. No other values are
    /// shown.
    List(ReportArgs),
    /// Shows one whole, values of rows included
    Show(ShowArgs),
    /// Puts them back
    ///
    /// A row is compared with its table as it is by then, and written, by the pipeline that runs or by this command. A
    /// record goes behind everything that its partition has. One that could still not be read is refused; so is one
    /// whose row has changed since, unless --yes says so.
    Retry(RetryArgs),
    /// Gives them up: they are listed and counted no more
    ///
    /// A row stays in the graph as it is, and its later changes are written again. `wal2graph verify` names it if it
    /// differs.
    Drop(DropArgs),
}

/// What `dead-letters show` takes.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The dead letter's name, as `list` has it
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// Which dead letters.
#[derive(Debug, Args)]
pub struct Chosen {
    /// Their names, as `list` has them
    #[arg(value_name = "NAME", required_unless_present = "all")]
    pub names: Vec<String>,
    /// All that wait
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
}

/// What `dead-letters retry` takes.
#[derive(Debug, Args)]
pub struct RetryArgs {
    /// Which.
    #[command(flatten)]
    pub chosen: Chosen,
    /// Also where the row has changed since, or may have: the graph goes back to the older state
    #[arg(long)]
    pub yes: bool,
}

/// What `dead-letters drop` takes.
#[derive(Debug, Args)]
pub struct DropArgs {
    /// Which.
    #[command(flatten)]
    pub chosen: Chosen,
}

/// Where `run` or `publish` stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UntilArg {
    /// At what is committed now.
    Current,
    /// At this position.
    Lsn(Lsn),
}

fn until(text: &str) -> Result<UntilArg, String> {
    match text {
        "current" => Ok(UntilArg::Current),
        _ => text
            .parse()
            .map(UntilArg::Lsn)
            .map_err(|_| "expected `current` or an LSN such as 16/B374D848".to_owned()),
    }
}

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// A definite failure; the log or the report says which.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// `verify` or `repair` could not compare: nothing is known of differences.
    NotCompared = 3,
    /// Ended by a second signal.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit as u8)
    }
}
