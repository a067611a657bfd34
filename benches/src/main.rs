//! `make bench`: wal2graph on real servers, compared with the maximum of those servers.
//!
//! ```text
//! part --rounds--> figures (every value kept) --> ratios within one run --> table, JSON, docs/benchmarks.md
//! ```
//!
//! A single figure says more about the machine than about the program. So each figure alternates
//! with its reference in one run, several times, and only the ratio counts.

mod figures;
mod lab;
mod loader;
mod parts;
mod program;
mod share;
mod shop;
mod stream;

use std::{fs, path::PathBuf};

use clap::{Parser, ValueEnum};

use figures::Results;
use lab::Lab;

/// Any error ends the run: a benchmark repairs nothing.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures wal2graph on real servers, which are fetched and started by themselves.
#[derive(Parser)]
struct Arguments {
    /// What to measure [default: everything]
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// How often each figure is taken, after one round that does not count
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The program that is measured
    #[arg(long, default_value = "target/release/wal2graph")]
    program: PathBuf,
    /// Where the results go, as JSON
    #[arg(long, default_value = "target/benchmarks.json")]
    output: PathBuf,
    /// Keep what --output has of parts that are not measured this time
    #[arg(long)]
    add: bool,
    /// Only write the page from the results that --output names, without a run
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A backlog through the replication client with a null sink, against pg_recvlogical
    Source,
    /// A backlog into the graph, against the bare loader with one lane
    Drain,
    /// The first copy of the tables, against the bare loader with as many lanes
    Copy,
    /// Fixed rates: how long after its commit a change can be read in the graph
    Steady,
    /// Transactions of one row
    Small,
    /// One transaction of two million rows
    Big,
    /// Memory in the cases that take most of it
    Bounds,
    /// The same drain into larger and larger graphs
    Growth,
    /// A transaction that changes every table of a wide schema, into a Neo4j that was just started
    Wide,
    /// A comparison of all rows with an equal graph, against their copy, and beside a stream
    Verify,
    /// Through Kafka: one partition and more, applied by one process and more
    Topic,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(page) = &arguments.page {
        let results: Results = serde_json::from_slice(&fs::read(&arguments.output)?)?;
        fs::write(page, results.page())?;
        return Ok(());
    }
    let parts = match arguments.parts.as_slice() {
        [] => Part::value_variants(),
        parts => parts,
    };
    let lab = Lab::start(&arguments.program, arguments.rounds).await?;
    let mut results = Results::new(&lab).await?;
    if arguments.add {
        let names: Vec<String> = parts.iter().map(|it| format!("{it:?}").to_lowercase()).collect();
        results.keep(serde_json::from_slice(&fs::read(&arguments.output)?)?, &names);
    }
    for part in parts {
        println!("{part:?}");
        let taken = match part {
            Part::Source => parts::source::measure(&lab).await?,
            Part::Drain => parts::drain::measure(&lab).await?,
            Part::Copy => parts::copy::measure(&lab).await?,
            Part::Steady => parts::steady::measure(&lab).await?,
            Part::Small => parts::small::measure(&lab).await?,
            Part::Big => parts::big::measure(&lab).await?,
            Part::Bounds => parts::bounds::measure(&lab).await?,
            Part::Growth => parts::growth::measure(&lab).await?,
            Part::Wide => parts::wide::measure(&lab).await?,
            Part::Verify => parts::verify::measure(&lab).await?,
            Part::Topic => parts::topic::measure(&lab).await?,
        };
        results.add(taken);
        // Measured values are kept, even if the next part fails.
        fs::write(&arguments.output, serde_json::to_vec_pretty(&results)?)?;
    }
    println!("\n{}\nAll values: {}", results.table(), arguments.output.display());
    Ok(())
}
