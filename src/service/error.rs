//! Why a service or a command ends.

use std::io;

use crate::{
    checkpoint::PutBack,
    cli::Exit,
    config::ConfigError,
    health::Side,
    http::BindError,
    mapping::Refusal,
    pipeline::{Failure, PipelineError, StoreError, Verdict},
    postgres::{self, connect::ConnectError, replication::StreamError},
    start::{Again, FromGraphRefusal, Refusals, TablesRefusal, TakeOverRefusal, TopicRefusal},
    topic::names::NameRefused,
};

use super::over_budget::OverBudget;

/// Why a service or a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
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
    /// The graph can not be reached, or refuses.
    #[error("{}: {}", .0.product(), .0.in_full())]
    Graph(#[from] StoreError),
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
    /// `publish` does not go on with its topics.
    #[error(transparent)]
    Topic(Box<TopicRefusal>),
    /// A topic can not begin where the graph is.
    #[error(transparent)]
    FromGraph(Box<FromGraphRefusal>),
    /// The graph of `run` is not handed over to a topic.
    #[error(transparent)]
    TakeOver(Box<TakeOverRefusal>),
    /// Only a copy goes on.
    #[error("{cause}. To go on, {again}")]
    NeedsCopy {
        /// Why.
        cause: Box<ServiceError>,
        /// What it takes.
        again: Box<Again>,
    },
    /// The graph is not as it was left.
    #[error(transparent)]
    PutBack(#[from] PutBack),
    /// The slot keeps more of the source's log than it may.
    #[error(transparent)]
    WalBudget(Box<OverBudget>),
    /// Something has to be changed first; the text says what.
    #[error("{0}")]
    Definite(String),
    /// The tables have changed, and are to be looked at again, at once.
    #[error("{0}")]
    Reshaped(String),
    /// The client that reads is of no use any more: another one begins, at once.
    #[error("{0}")]
    Deaf(String),
    /// Something is not there yet, but may be soon.
    #[error("{0}")]
    NotYet(String),
    /// Tables and graph could not be compared.
    #[error(transparent)]
    NotCompared(Box<ServiceError>),
    /// Results can not be written.
    #[error("the result can not be written: {0}")]
    Output(#[from] io::Error),
}

fn list(refusals: &[Refusal]) -> String {
    refusals.iter().map(|refusal| format!("\n  - {refusal}")).collect()
}

impl ServiceError {
    /// The graph does not take a write.
    pub fn of_write(error: StoreError) -> Self {
        match (error.is_transient(), error.refused_login()) {
            (_, Some(_)) => ServiceError::Graph(error),
            (true, None) => ServiceError::NotYet(error.to_string()),
            (false, None) => ServiceError::Definite(error.in_full()),
        }
    }

    /// Another instance has the slot.
    pub fn is_of_another_instance(&self) -> bool {
        matches!(self, ServiceError::Stream(StreamError::SlotActive { .. }))
    }

    /// All partitions begin again: one that stands still would not notice that the graph was put back, and somebody has
    /// to look at the tables, or to make clients with what they log in with by then.
    pub fn is_of_all_partitions(&self) -> bool {
        self.verdict() == Verdict::PutBack
            || self.refused_login().is_some()
            || matches!(self, ServiceError::Reshaped(_) | ServiceError::Deaf(_))
    }

    /// With what a copy takes, where only that goes on.
    pub fn with(self, again: &Again) -> Self {
        let needs_copy = match &self {
            ServiceError::Stream(error) => error.needs_copy(),
            ServiceError::Pipeline(error) => error.needs_copy(),
            _ => false,
        };
        match needs_copy {
            true => {
                ServiceError::NeedsCopy { cause: Box::new(self), again: Box::new(again.clone()) }
            }
            false => self,
        }
    }

    /// Why the program stopped, in one line, for the graph to keep: nothing of it is a row's.
    pub fn for_the_graph(&self) -> String {
        let text = match self {
            ServiceError::Sql(error) => {
                format!("PostgreSQL: {}", postgres::connect::describe_without_values(error))
            }
            ServiceError::Stream(error) => error.without_values(),
            ServiceError::Graph(error) => {
                format!("{}: {}", error.product(), error.without_values())
            }
            ServiceError::Pipeline(error) => error.without_values(),
            ServiceError::NeedsCopy { cause, again } => {
                format!("{}. To go on, {again}", cause.for_the_graph())
            }
            ServiceError::NotCompared(cause) => cause.for_the_graph(),
            other => other.to_string(),
        };
        text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
    }

    /// Why tables and graph could not be compared.
    pub fn not_compared(self) -> Self {
        ServiceError::NotCompared(Box::new(self))
    }

    /// The exit code it leads to.
    pub fn exit(&self) -> Exit {
        match self {
            ServiceError::Config(_)
            | ServiceError::Http(_)
            | ServiceError::NoKafka
            | ServiceError::Usage(_) => Exit::Usage,
            // The reader of the output has seen enough.
            ServiceError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            ServiceError::NotCompared(cause) => match cause.exit() {
                Exit::Failed => Exit::NotCompared,
                exit => exit,
            },
            _ => Exit::Failed,
        }
    }
}

impl ServiceError {
    /// A table can not have a topic of its own.
    pub fn topic_name(refused: NameRefused) -> Self {
        ServiceError::Definite(format!("kafka.topics_by: table: {refused}"))
    }
}

impl From<TopicRefusal> for ServiceError {
    fn from(refusal: TopicRefusal) -> Self {
        ServiceError::Topic(Box::new(refusal))
    }
}

impl From<TablesRefusal> for ServiceError {
    fn from(refusal: TablesRefusal) -> Self {
        ServiceError::Start(Refusals::of(refusal))
    }
}

impl From<FromGraphRefusal> for ServiceError {
    fn from(refusal: FromGraphRefusal) -> Self {
        ServiceError::FromGraph(Box::new(refusal))
    }
}

impl From<TakeOverRefusal> for ServiceError {
    fn from(refusal: TakeOverRefusal) -> Self {
        ServiceError::TakeOver(Box::new(refusal))
    }
}

impl Failure for ServiceError {
    fn refused_login(&self) -> Option<Side> {
        match self {
            ServiceError::Connect(error) => error.refused_login(),
            ServiceError::Graph(error) => error.refused_login(),
            #[cfg(feature = "kafka")]
            ServiceError::Kafka(error) => error.refused_login(),
            ServiceError::Pipeline(error) => error.refused_login(),
            ServiceError::NotCompared(cause) => cause.refused_login(),
            _ => None,
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            ServiceError::Connect(error) => error.verdict(),
            ServiceError::Sql(error) => Verdict::again_if(postgres::connect::is_transient(error)),
            ServiceError::Stream(error) => error.verdict(),
            ServiceError::Graph(error) => error.verdict(),
            #[cfg(feature = "kafka")]
            ServiceError::Kafka(error) => error.verdict(),
            ServiceError::Pipeline(error) => error.verdict(),
            ServiceError::NotYet(_) | ServiceError::Deaf(_) | ServiceError::Reshaped(_) => {
                Verdict::Again
            }
            ServiceError::PutBack(_) => Verdict::PutBack,
            ServiceError::Start(refusals) => Verdict::again_if(refusals.is_transient()),
            ServiceError::NotCompared(cause) => cause.verdict(),
            ServiceError::Config(_)
            | ServiceError::Http(_)
            | ServiceError::NoKafka
            | ServiceError::Usage(_)
            | ServiceError::Refused(_)
            | ServiceError::NeedsCopy { .. }
            | ServiceError::Topic(_)
            | ServiceError::FromGraph(_)
            | ServiceError::TakeOver(_)
            | ServiceError::WalBudget(_)
            | ServiceError::Definite(_)
            | ServiceError::Output(_) => Verdict::Stop,
        }
    }
}
