//! The configuration: flags over file over environment. First the raw YAML, then its meaning.
//!
//! ```text
//! file --serde--> RawConfig --+
//! flags ----------------------+--> Config, valid by construction
//! environment ----------------+
//! ```

mod budget;
pub mod duration;
mod error;
mod graph;
mod http;
mod kafka;
mod limits;
mod policies;
mod raw;
mod renewal;
mod source;
mod source_text;
mod substitute;

use std::path::PathBuf;

use crate::{
    cli::Global,
    health::{Side, budget::WalBudget},
    kafka::Options as KafkaOptions,
    mapping::{Kept, edit::Edits},
    neo4j,
    postgres::connect::{Environment, SourceUrl},
    secrets::Renewed,
    topic::TopicName,
};

use renewal::Variables;

pub use error::ConfigError;
pub use http::{Http, Listen};
pub use kafka::{RawDebezium, RawKafka, RawUnreadable, Setting};
pub use limits::Limits;
pub use policies::{
    Dropped, NewTables, OnError, OnSlotLost, OnStop, OnWalBudget, Policies, SchemaChanges,
};
pub use raw::{RawConfig, RawGraph, RawHttp, RawLimits, RawSource, RawWalBudget, parse};
pub use substitute::SubstituteError;

/// Names of slots and publications have at most 63 bytes, and ours begin with `wal2graph_`.
const PIPELINE_NAME_BYTES_MAX: usize = 53;

/// Everything a command needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The pipeline's name.
    pub pipeline: String,
    /// The source.
    source: Renewed<SourceUrl>,
    /// Its URL in the form for a file: complete, without a password.
    pub source_text: String,
    /// The replication slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// The graph: every command but `publish` with `ack: kafka` needs it.
    graph: Option<Renewed<neo4j::Options>>,
    /// Kafka, for `publish` and `apply`.
    kafka: Option<KafkaOptions>,
    /// The file's edits of tables.
    pub edits: Edits,
    /// How much at a time.
    pub limits: Limits,
    /// The slot is made so that standbys have it, too.
    pub failover: bool,
    /// How much log the slot may keep.
    pub wal_budget: WalBudget,
    /// What is done about what happens.
    pub policies: Policies,
    /// Metrics and health.
    pub http: Http,
}

/// Replaces the references in a key's value.
type Expand<'a> = dyn Fn(&'static str, &Option<String>) -> Result<Option<String>, ConfigError> + 'a;

impl Config {
    /// Reads the file, if one is named. Flags override it, and it overrides the environment.
    pub fn load(global: &Global, environment: Environment<'_>) -> Result<Self, ConfigError> {
        Self::from_raw(file(global)?, global, environment)
    }

    /// Combines the raw form, the flags and the environment.
    pub fn from_raw(
        raw: RawConfig,
        global: &Global,
        environment: Environment<'_>,
    ) -> Result<Self, ConfigError> {
        let variables = Variables::of(environment);
        let noting = |name: &str| variables.note(name);
        let environment: Environment<'_> = &noting;
        let expand = |key, value: &Option<String>| expand(key, value, environment);
        let (source, source_text) = source::source(&raw.source.url, global, environment)?;
        let pipeline = global.pipeline.clone().or(expand("pipeline", &raw.pipeline)?);
        let pipeline = pipeline.unwrap_or_else(|| name_of(source.database()));
        check_name("pipeline", &pipeline, PIPELINE_NAME_BYTES_MAX)?;
        let default_name = format!("wal2graph_{pipeline}");
        let slot = expand("source.slot", &raw.source.slot)?.unwrap_or_else(|| default_name.clone());
        check_name("source.slot", &slot, 63)?;
        let publication = expand("source.publication", &raw.source.publication)?;
        let publication = publication.unwrap_or(default_name);
        let graph = graph::graph(&raw.graph, global, environment, &expand)?;
        let limits = limits::limits(&raw.limits, &expand)?;
        let policies = policies::policies(&raw, &expand)?;
        let wal_budget = budget::wal_budget(&raw.source.wal_budget, &expand)?;
        let failover = raw.source.failover.unwrap_or_default();
        let mut http = http::http(&raw.http, global, &expand)?;
        let mut kafka = kafka::kafka(&raw.kafka, &pipeline, global, &expand)?;
        if policies.on_error == OnError::Park && kafka.as_ref().is_some_and(|it| it.are_foreign) {
            return Err(ConfigError::ParkOfForeign);
        }
        let again = variables.again();
        http.token = http.token.map(|token| again.token(&raw.http, token.now()));
        if let (Some(kafka), Some(raw)) = (&mut kafka, &raw.kafka) {
            again.kafka(raw, kafka);
        }
        let graph = graph.map(|graph| again.graph(&raw.graph, global, graph));
        let source = again.source(&raw.source.url, global, source);
        let edits = Edits { defaults: raw.mapping, tables: raw.tables, ..Edits::default() };
        Ok(Config {
            pipeline,
            source,
            source_text,
            slot,
            publication,
            graph,
            kafka,
            edits,
            limits,
            failover,
            wal_budget,
            policies,
            http,
        })
    }

    /// The source, with what `${file:}` names as the files have it now.
    pub fn source(&self) -> SourceUrl {
        self.source.now()
    }

    /// The graph, for a command that needs it, with what `${file:}` names as the files have it now.
    pub fn graph(&self) -> Result<neo4j::Options, ConfigError> {
        self.graph.as_ref().map(Renewed::now).ok_or(ConfigError::NoGraph)
    }

    /// The files that have something of the log-in to one side.
    pub fn login_files(&self, side: Side) -> Vec<String> {
        let mut files = match side {
            Side::Source => self.source.files().to_vec(),
            Side::Graph => self.graph.as_ref().map_or_else(Vec::new, |it| it.files().to_vec()),
            Side::Kafka => self
                .kafka
                .as_ref()
                .map_or_else(Vec::new, |it| it.properties.renewed_files().to_vec()),
        };
        if side == Side::Source {
            files.extend(self.source().password_file().map(|path| path.display().to_string()));
        }
        files
    }

    /// Kafka, for a command that needs it.
    pub fn kafka(&self) -> Result<&KafkaOptions, ConfigError> {
        self.kafka.as_ref().ok_or(ConfigError::NoBrokers)
    }

    /// The same, where inference keeps the names that a graph has.
    pub fn keeping(&self, kept: Kept) -> Self {
        let edits = Edits { kept, ..self.edits.clone() };
        Config { edits, ..self.clone() }
    }

    /// The same for `apply`, which reads these topics: those of the tables that the mapping has.
    pub fn reading(&self, topics: Vec<TopicName>) -> Result<Self, ConfigError> {
        let kafka = kafka::reading(self.kafka()?, topics)?;
        Ok(Config { kafka: Some(kafka), ..self.clone() })
    }
}

/// Where the program of this configuration serves HTTP. Source and graph need not be known.
pub fn listen(global: &Global, environment: Environment<'_>) -> Result<Listen, ConfigError> {
    let expand = |key, value: &Option<String>| expand(key, value, environment);
    Ok(http::http(&file(global)?.http, global, &expand)?.listen)
}

fn expand(
    key: &'static str,
    value: &Option<String>,
    environment: Environment<'_>,
) -> Result<Option<String>, ConfigError> {
    let Some(text) = value else { return Ok(None) };
    let expanded = substitute::expand(text, environment);
    expanded.map(Some).map_err(|source| ConfigError::Substitute { key, source })
}

fn file(global: &Global) -> Result<RawConfig, ConfigError> {
    global.config.as_ref().map_or_else(|| Ok(RawConfig::default()), read)
}

fn read(path: &PathBuf) -> Result<RawConfig, ConfigError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
        path: shown.clone(),
        cause: match error.kind() {
            std::io::ErrorKind::NotFound => {
                format!("{error}. `wal2graph init -o FILE` writes a configuration file")
            }
            _ => error.to_string(),
        },
    })?;
    parse(&text, &shown)
}

/// A database's name as a pipeline's name: every character but letters and digits becomes `_`.
fn name_of(database: &str) -> String {
    let name = database.to_lowercase();
    let name = name.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '_' });
    name.take(PIPELINE_NAME_BYTES_MAX).collect()
}

fn check_name(key: &'static str, name: &str, max: usize) -> Result<(), ConfigError> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    match (1..=max).contains(&name.len()) && name.bytes().all(allowed) {
        true => Ok(()),
        false => Err(ConfigError::Name { key, name: name.to_owned(), max }),
    }
}
