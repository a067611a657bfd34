//! The `wal2graph` binary.

use std::{
    io::{Write, stderr},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use wal2graph::{
    cli::{Cli, Command, Exit},
    commands,
    config::{self, Config},
    logging,
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
    if let Err(message) = logging::start(&cli.global) {
        let _ = writeln!(stderr(), "error: {message}");
        return Exit::Usage.into();
    }
    let exit = match execute(&cli) {
        Ok(()) => Exit::Done,
        Err(error) => {
            let exit = error.exit();
            if exit != Exit::Done {
                tracing::error!("{error}");
            }
            exit
        }
    };
    logging::finish();
    exit.into()
}

fn execute(cli: &Cli) -> Result<(), ServiceError> {
    let environment = |name: &str| std::env::var(name).ok();
    // These need neither source nor graph.
    match &cli.command {
        Command::Completions(args) => return commands::shell::completions(args),
        Command::Man(args) => return commands::shell::man(args),
        Command::Status(args) if args.ready => {
            return commands::status::ready::execute(&config::listen(&cli.global, &environment)?);
        }
        _ => {}
    }
    let config = Config::load(&cli.global, &environment)?;
    logging::of_pipeline(&config.pipeline);
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
            Command::DeadLetters(args) => commands::dead_letters::execute(&config, args).await,
            #[cfg(not(feature = "kafka"))]
            Command::Publish(_) | Command::Apply(_) | Command::Replay(_) => {
                Err(ServiceError::NoKafka)
            }
            Command::Verify(args) if args.counts => {
                commands::counts::execute(&config, &args.compared).await
            }
            Command::Verify(args) => commands::reconcile::verify(&config, args).await,
            Command::Repair(args) => commands::reconcile::repair(&config, args).await,
            Command::Status(args) => commands::status::execute(&config, args).await,
            Command::Destroy(args) => commands::destroy::execute(&config, args).await,
            Command::Wait(args) => commands::wait::execute(&config, args).await,
            Command::Completions(_) | Command::Man(_) => unreachable!("done above"),
        }
    });
    // A thread that a client library keeps does not keep the program.
    runtime.shutdown_timeout(THREADS_LIMIT);
    ended
}
