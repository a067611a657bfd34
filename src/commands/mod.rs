//! One module a command. They tie the products together; nothing else does.

#[cfg(feature = "kafka")]
pub mod apply;
pub mod check;
#[cfg(feature = "kafka")]
pub mod dead_letters;
mod graph;
pub mod init;
mod left_out;
mod lives;
pub mod plan;
mod proof;
#[cfg(feature = "kafka")]
pub mod publish;
#[cfg(feature = "kafka")]
pub mod replay;
pub mod run;
mod start;
pub mod status;

use std::io::{self, Write};

use tokio_postgres::Client;

use crate::{
    catalog::Catalog,
    cli::Exit,
    config::{Config, ConfigError},
    http::BindError,
    kafka::names::{NameRefused, TableTopics},
    mapping::{Mapping, Refusal, compile},
    neo4j,
    pipeline::{Failure, PipelineError},
    postgres::{
        self,
        connect::{ConnectError, Sql},
        replication::StreamError,
    },
    start::{Again, Refusals},
};

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// HTTP can not listen where it was told to.
    #[error(transparent)]
    Http(#[from] BindError),
    /// PostgreSQL can not be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// PostgreSQL refuses a statement.
    #[error("PostgreSQL: {}", postgres::connect::describe(.0))]
    Sql(#[from] tokio_postgres::Error),
    /// The stream does not start.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Neo4j can not be reached, or refuses.
    #[error("Neo4j: {}", .0.in_full())]
    Graph(#[from] neo4j::Error),
    /// Kafka can not be reached, or refuses.
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Kafka(#[from] crate::kafka::Error),
    /// The program was built without Kafka.
    #[error(
        "this build of wal2graph has no Kafka: build it with the feature `kafka`, which is on by default"
    )]
    NoKafka,
    /// The pipeline stopped.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The mapping can not be.
    #[error("the tables can not be mapped as they are:{}", list(.0))]
    Refused(Vec<Refusal>),
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// A start is refused.
    #[error("{0}")]
    Start(Refusals),
    /// Only a copy goes on.
    #[error("{cause}. To go on, {again}")]
    NeedsCopy {
        /// Why.
        cause: Box<CommandError>,
        /// What it takes.
        again: Box<Again>,
    },
    /// Something has to be changed first; the text says what.
    #[error("{0}")]
    Definite(String),
    /// Something is not there yet, but may be soon.
    #[error("{0}")]
    NotYet(String),
    /// Results can not be written.
    #[error("the result can not be written: {0}")]
    Output(#[from] io::Error),
}

fn list(refusals: &[Refusal]) -> String {
    refusals.iter().map(|refusal| format!("\n  - {refusal}")).collect()
}

impl From<neo4j::WriteError> for CommandError {
    fn from(error: neo4j::WriteError) -> Self {
        match error.is_transient() {
            true => CommandError::NotYet(error.to_string()),
            false => CommandError::Definite(error.in_full()),
        }
    }
}

impl CommandError {
    /// With what a copy takes, where only that goes on.
    fn with(self, again: &Again) -> Self {
        let needs_copy = match &self {
            CommandError::Stream(error) => error.needs_copy(),
            CommandError::Pipeline(error) => error.needs_copy(),
            _ => false,
        };
        match needs_copy {
            true => {
                CommandError::NeedsCopy { cause: Box::new(self), again: Box::new(again.clone()) }
            }
            false => self,
        }
    }

    /// Why the program stopped, in one line, for the graph to keep: nothing of it is a row's.
    fn for_the_graph(&self) -> String {
        let text = match self {
            CommandError::Sql(error) => {
                format!("PostgreSQL: {}", postgres::connect::describe_without_values(error))
            }
            CommandError::Stream(error) => error.without_values(),
            CommandError::Graph(error) => format!("Neo4j: {}", error.without_values()),
            CommandError::Pipeline(error) => error.without_values(),
            // What a copy takes, the next start says, which is refused.
            CommandError::NeedsCopy { cause, .. } => cause.for_the_graph(),
            other => other.to_string(),
        };
        text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
    }

    /// The exit code it leads to.
    pub fn exit(&self) -> Exit {
        match self {
            CommandError::Config(_)
            | CommandError::Http(_)
            | CommandError::NoKafka
            | CommandError::Usage(_) => Exit::Usage,
            // Whoever reads the output has seen enough.
            CommandError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            _ => Exit::Failed,
        }
    }
}

impl CommandError {
    /// A table can not have a topic of its own.
    fn topic_name(refused: NameRefused) -> Self {
        CommandError::Definite(format!("kafka.topics_by: table: {refused}"))
    }
}

impl Failure for CommandError {
    fn is_transient(&self) -> bool {
        match self {
            CommandError::Connect(error) => error.is_transient(),
            CommandError::Sql(error) => postgres::connect::is_transient(error),
            CommandError::Stream(error) => error.is_transient(),
            CommandError::Graph(error) => error.is_transient(),
            #[cfg(feature = "kafka")]
            CommandError::Kafka(error) => error.is_transient(),
            CommandError::Pipeline(error) => error.is_transient(),
            CommandError::NotYet(_) => true,
            CommandError::Start(refusals) => refusals.is_transient(),
            CommandError::Config(_)
            | CommandError::Http(_)
            | CommandError::NoKafka
            | CommandError::Usage(_)
            | CommandError::Refused(_)
            | CommandError::NeedsCopy { .. }
            | CommandError::Definite(_)
            | CommandError::Output(_) => false,
        }
    }
}

/// An ordinary connection and the catalog, with the publication's limits where it exists already.
async fn read_catalog(config: &Config) -> Result<(Sql, Catalog), CommandError> {
    let mut sql = postgres::connect::sql(&config.source).await?;
    match published_catalog(config, &mut sql.client).await {
        Ok(catalog) => Ok((sql, catalog)),
        Err(error) => Err(blocked(&sql.client, error).await),
    }
}

async fn published_catalog(
    config: &Config,
    client: &mut Client,
) -> Result<Catalog, tokio_postgres::Error> {
    let exists = postgres::setup::publication(client, &config.publication).await?.is_some();
    let publication = exists.then_some(config.publication.as_str());
    postgres::catalog::read(client, publication).await
}

/// The error of a statement; if it waited for a lock in vain, with who has one.
async fn blocked(client: &Client, error: tokio_postgres::Error) -> CommandError {
    if !postgres::locks::is_blocked(&error) {
        return error.into();
    }
    // What is asked may meet the same lock.
    let holders = postgres::locks::exclusive(client).await.unwrap_or_default();
    let holders = match holders.is_empty() {
        true => String::new(),
        false => format!(". Now {}", holders.join("; ")),
    };
    CommandError::NotYet(format!("PostgreSQL: {}{holders}", postgres::connect::describe(&error)))
}

fn mapping(config: &Config, catalog: &Catalog) -> Result<Mapping, CommandError> {
    compile(catalog, &config.edits).map_err(CommandError::Refused)
}

/// The configuration with the topics of the mapped tables, if each table has one: the topic of
/// heartbeats is the first.
fn with_topics(config: &Config, mapping: &Mapping) -> Result<Config, CommandError> {
    let kafka = config.kafka()?;
    if !kafka.is_by_table() {
        return Ok(config.clone());
    }
    let topics = TableTopics::new(&kafka.topic, mapping.published_tables());
    let topics = topics.map_err(CommandError::topic_name)?;
    Ok(config.reading(topics.all().cloned().collect())?)
}

/// The tables that a graph is made of.
#[cfg(feature = "kafka")]
async fn mapped_tables(
    client: &Client,
    catalog: &Catalog,
    mapping: &Mapping,
) -> Result<crate::kafka::copied::Tables, CommandError> {
    let mapped = mapping.published_tables().filter_map(|name| catalog.table(name));
    let oids = mapped.map(|table| table.oid).collect();
    let cluster = postgres::setup::cluster(client).await?;
    Ok(crate::kafka::copied::Tables { oids, cluster })
}

/// Writes a result to stdout.
fn print(text: &str) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        stdout.write_all(b"\n")?;
    }
    Ok(stdout.flush()?)
}

fn print_json(value: &impl serde::Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    print(&text)
}
