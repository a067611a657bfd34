//! What every command takes.
//!
//! Each flag has an environment variable: a container or a unit then needs no file. Their values are not
//! part of any help text.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What every command takes.
#[derive(Clone, Debug, Default, Args)]
pub struct Global {
    /// The configuration file
    ///
    /// YAML. Flags win over it. Without one, everything that is not given by a flag is inferred.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Configuration",
        env = "WAL2GRAPH_CONFIG",
        hide_env_values = true
    )]
    pub config: Option<PathBuf>,

    /// The PostgreSQL database: postgres://USER@HOST/DATABASE
    ///
    /// As libpq has it, with ?sslmode=disable|prefer|require|verify-ca|verify-full, sslrootcert,
    /// sslcert and sslkey (files), channel_binding, require_auth (a server that asks for an MD5 hash
    /// or the password itself gets neither unless this names `md5` or `password`), and unix sockets
    /// as ?host=/directory. What it leaves out comes from the PG* environment variables, the service
    /// that PGSERVICE names, and the password file; the password is better kept there or in
    /// PGPASSWORD. docs/connections.md has all parameters.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        help_heading = "Configuration",
        env = "WAL2GRAPH_SOURCE_URL",
        hide_env_values = true
    )]
    pub source_url: Option<String>,

    /// The Neo4j database: bolt://HOST:PORT
    ///
    /// bolt:// or neo4j://, with +s for TLS and +ssc for TLS with any certificate. May carry
    /// USER:PASSWORD@; the password is better kept in the environment variable NEO4J_PASSWORD. Without
    /// flag and file, NEO4J_URI is taken, as Aura hands it out, with NEO4J_USERNAME and NEO4J_DATABASE.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        help_heading = "Configuration",
        env = "WAL2GRAPH_GRAPH_URL",
        hide_env_values = true
    )]
    pub graph_url: Option<String>,

    /// The Neo4j user [default: neo4j]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Configuration",
        env = "WAL2GRAPH_GRAPH_USER",
        hide_env_values = true
    )]
    pub graph_user: Option<String>,

    /// The Neo4j database's name [default: the user's home database]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Configuration",
        env = "WAL2GRAPH_GRAPH_DATABASE",
        hide_env_values = true
    )]
    pub graph_database: Option<String>,

    /// A PEM file with the authorities that may sign Neo4j's certificate [default: the system's]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Configuration",
        env = "WAL2GRAPH_GRAPH_CA",
        hide_env_values = true
    )]
    pub graph_ca: Option<PathBuf>,

    /// Kafka's brokers, for `publish` and `apply`: HOST:PORT, several with commas between
    ///
    /// TLS, SASL and librdkafka's other settings go into the file, under kafka.properties.
    #[arg(
        long,
        global = true,
        value_name = "BROKERS",
        help_heading = "Configuration",
        env = "WAL2GRAPH_BROKERS",
        hide_env_values = true
    )]
    pub brokers: Option<String>,

    /// The pipeline's name [default: the source database's name]
    ///
    /// It names the slot and the publication (wal2graph_NAME) and the checkpoint in the graph,
    /// unless the file does.
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help_heading = "Configuration",
        env = "WAL2GRAPH_PIPELINE",
        hide_env_values = true
    )]
    pub pipeline: Option<String>,

    /// Where a service has metrics and health: HOST:PORT, or `off` [default: 127.0.0.1:8080]
    ///
    /// /metrics for Prometheus, /live and /ready for an orchestrator, /status as JSON, / for people.
    /// Port 0 is any free one; the log says which. If the default port is taken, the service
    /// logs a warning and serves no HTTP. A port that you name has to be free.
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        help_heading = "Configuration",
        env = "WAL2GRAPH_HTTP",
        hide_env_values = true
    )]
    pub http: Option<String>,

    /// How log lines look, on stderr
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        help_heading = "Logs",
        env = "WAL2GRAPH_LOG_FORMAT",
        hide_env_values = true
    )]
    pub log_format: LogFormat,

    /// Which log lines: error, warn, info, debug, trace, or a filter such as wal2graph::neo4j=debug
    #[arg(
        long,
        global = true,
        default_value = "info",
        value_name = "FILTER",
        help_heading = "Logs",
        env = "WAL2GRAPH_LOG_LEVEL",
        hide_env_values = true
    )]
    pub log_level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
