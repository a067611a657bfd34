//! The `wal2graph` binary.

use std::{
    io::{self, IsTerminal, Write, stderr},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use tracing_subscriber::EnvFilter;
use wal2graph::{
    cli::{Cli, Command, Exit, Global, LogFormat},
    commands,
    config::Config,
    service::{self, ServiceError},
};

/// The time that threads have to end after all is done: a member of a group leaves it meanwhile.
const THREADS_LIMIT: Duration = Duration::from_secs(10);

/// A stream is made of small allocations that end in another task than they began in, which the
/// system's allocator is slow at, and keeps the memory of.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(message) = log_to_stderr(&cli.global) {
        eprintln!("error: {message}");
        return Exit::Usage.into();
    }
    match execute(&cli) {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            let exit = error.exit();
            if exit != Exit::Done {
                tracing::error!("{error}");
            }
            exit.into()
        }
    }
}

fn execute(cli: &Cli) -> Result<(), ServiceError> {
    let config = Config::load(&cli.global, &|name| std::env::var(name).ok())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        match &cli.command {
            Command::Init(args) => commands::init::execute(&config, args).await,
            Command::Plan(args) => commands::plan::execute(&config, args).await,
            Command::Check(args) => commands::check::execute(&config, args).await,
            Command::Run(args) => service::run::execute(&config, args).await,
            #[cfg(feature = "kafka")]
            Command::Publish(args) => service::publish::execute(&config, args).await,
            #[cfg(feature = "kafka")]
            Command::Apply(args) => service::apply::execute(&config, args).await,
            #[cfg(feature = "kafka")]
            Command::Replay(args) => commands::replay::execute(&config, args).await,
            #[cfg(feature = "kafka")]
            Command::DeadLetters(args) => commands::dead_letters::execute(&config, args).await,
            #[cfg(not(feature = "kafka"))]
            Command::Publish(_)
            | Command::Apply(_)
            | Command::Replay(_)
            | Command::DeadLetters(_) => Err(ServiceError::NoKafka),
            Command::Verify(args) if args.counts => {
                commands::counts::execute(&config, &args.compared).await
            }
            Command::Verify(args) => commands::reconcile::verify(&config, args).await,
            Command::Repair(args) => commands::reconcile::repair(&config, args).await,
            Command::Status(args) => commands::status::execute(&config, args).await,
            Command::Destroy(args) => commands::destroy::execute(&config, args).await,
            Command::Wait(args) => commands::wait::execute(&config, args).await,
        }
    });
    // A thread that a client library keeps does not keep the program.
    runtime.shutdown_timeout(THREADS_LIMIT);
    ended
}

fn log_to_stderr(global: &Global) -> Result<(), String> {
    let filter = EnvFilter::try_new(&global.log_level)
        .map_err(|error| format!("--log-level {:?}: {error}", global.log_level))?;
    // The driver logs every connection it makes.
    let filter = ["neo4rs=warn", "tokio_postgres=warn"]
        .into_iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, EnvFilter::add_directive);
    let lines = tracing_subscriber::fmt().with_env_filter(filter);
    match global.log_format {
        LogFormat::Text => lines
            .with_writer(|| Indented(stderr()))
            .with_ansi(stderr().is_terminal())
            .with_target(false)
            .init(),
        LogFormat::Json => lines.with_writer(stderr).json().init(),
    }
    Ok(())
}

/// Writes events so that none looks like two: a name of the source may hold the end of a line. What
/// follows one within an event is indented, and a carriage return is shown as what it is.
struct Indented<W>(W);

impl<W: Write> Write for Indented<W> {
    /// Takes a whole event.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let (text, end) = match event.strip_suffix(b"\n") {
            Some(text) => (text, &b"\n"[..]),
            None => (event, &b""[..]),
        };
        let mut line = Vec::with_capacity(event.len());
        for byte in text {
            match byte {
                b'\n' => line.extend(b"\n    "),
                b'\r' => line.extend(b"\\r"),
                byte => line.push(*byte),
            }
        }
        line.extend(end);
        self.0.write_all(&line)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::{Indented, Write};

    #[test]
    fn a_line_end_in_a_name_made_a_log_line_of_its_own() {
        let mut written = Vec::new();
        let event = b"WARN public.a\n2026-11-28T00:00:00Z  INFO forged\r is left out\n";
        assert_eq!(Indented(&mut written).write(event).ok(), Some(event.len()));
        let expected = b"WARN public.a\n    2026-11-28T00:00:00Z  INFO forged\\r is left out\n";
        assert_eq!(written, expected);
    }
}
