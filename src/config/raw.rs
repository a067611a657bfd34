//! The file's raw form. This module checks only the form.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::mapping::{
    edit::{Defaults, TableEdit},
    naming::nearest,
};

use super::{ConfigError, RawKafka};

/// The configuration of wal2graph.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawConfig {
    /// Names the slot, the publication and the checkpoint unless they are given. Default: the
    /// source database's name.
    pub pipeline: Option<String>,
    /// The PostgreSQL database.
    pub source: RawSource,
    /// The Neo4j database.
    pub graph: RawGraph,
    /// Kafka between, for `publish` and `apply`.
    pub kafka: Option<RawKafka>,
    /// What holds for the mapping of all tables.
    pub mapping: Defaults,
    /// How tables are mapped, by `schema.name`. A table that is not named is inferred. A key with `*`, as `auth.*`,
    /// holds for all tables that fit, where their own key does not say otherwise.
    pub tables: BTreeMap<String, TableEdit>,
    /// What `run` and `publish` do when their slot is lost, gone or made again: `stop`, or `repair`, which is
    /// `wal2graph repair --new-slot` for `run`, and `wal2graph publish --new-slot` for `publish`. Default: `stop`.
    #[schemars(regex(pattern = r"^(stop|repair|.*\$\{.*\}.*)$"))]
    pub on_slot_lost: Option<String>,
    /// What becomes of the slot when it keeps more log than `source.wal_budget.stop`: `keep` it, or `drop` it, so
    /// that the source's disk is free. The program ends in both cases. Default: `keep`.
    #[schemars(regex(pattern = r"^(keep|drop|.*\$\{.*\}.*)$"))]
    pub on_wal_budget: Option<String>,
    /// What `run` and `apply` do with a row that the graph refuses for good: `stop`, or `park` it as a dead letter
    /// and go on with everything else. `wal2graph dead-letters` shows such rows, and puts them into the graph once
    /// the cause is mended. Default: `stop`.
    #[schemars(regex(pattern = r"^(stop|park|.*\$\{.*\}.*)$"))]
    pub on_error: Option<String>,
    /// What `run`, `publish` and `apply` do after an error that only a person can end: `exit`, or `stay` up, write
    /// nothing, and say why on `/status` and `/ready` until they are stopped. With `--until` they exit. Default:
    /// `exit`.
    #[schemars(regex(pattern = r"^(exit|stay|.*\$\{.*\}.*)$"))]
    pub on_stop: Option<String>,
    /// What `run` and `apply` do when tables, publication or this file have changed: `apply` lets the graph follow,
    /// `stop` ends with an error that says what has changed, `pause` leaves the rows of a table that has changed in the
    /// database as they are, and goes on with all others. `tables.*.schema_changes` says it for one table. Default:
    /// `apply`.
    #[schemars(regex(pattern = r"^(apply|stop|pause|.*\$\{.*\}.*)$"))]
    pub schema_changes: Option<String>,
    /// What becomes of the rows of a table that is dropped: `clear` takes them out of the graph, `keep` leaves them as
    /// they are. Default: as `schema_changes` says of other changes, where `apply` takes them out.
    #[schemars(regex(pattern = r"^(clear|keep|.*\$\{.*\}.*)$"))]
    pub dropped_tables: Option<String>,
    /// Tables that come later and that this file does not name: `add` them to the publication that wal2graph has
    /// made; `ask`: leave them out, and say which statement adds them; or `ignore` them. Default: `add`.
    #[schemars(regex(pattern = r"^(add|ask|ignore|.*\$\{.*\}.*)$"))]
    pub new_tables: Option<String>,
    /// How much at a time.
    pub limits: RawLimits,
    /// Metrics and health, while `run` is up.
    pub http: RawHttp,
}

/// Metrics and health. Durations have a unit: `500ms`, `30s`, `5m`, `2h`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawHttp {
    /// `HOST:PORT`, with port 0 for any free one, or `off`. Default: `127.0.0.1:8080`, if that is
    /// free.
    pub listen: Option<String>,
    /// `/ready` fails while the graph is further behind. Default: `60s`.
    pub ready_lag: Option<String>,
    /// `/ready` fails when nothing has got into the graph for so long although there is work.
    /// Default: `60s`.
    pub progress_timeout: Option<String>,
    /// Whether `/ready` succeeds while another instance has the slot, or others in the group have all partitions, so
    /// that a rolling deployment goes on. Default: false.
    pub standby_ready: Option<bool>,
    /// A secret that requests have to show, as `Authorization: Bearer TOKEN` or as the password of a browser, for all
    /// pages but `/live` and `/ready`. Default: none.
    pub token: Option<String>,
    /// The names that requests may be sent to (`Host`), without ports. Others are refused, so that no web page of
    /// somebody else reads these through a browser. Default: all names.
    pub hosts: Option<Vec<String>>,
}

/// The PostgreSQL database.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawSource {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full`. Default: the PG*
    /// environment variables.
    pub url: Option<String>,
    /// The replication slot. Default: `wal2graph_` and the pipeline's name.
    pub slot: Option<String>,
    /// The publication. Default: `wal2graph_` and the pipeline's name.
    pub publication: Option<String>,
    /// Whether the slot is made as a failover slot, which standbys keep a copy of: PostgreSQL 17 or newer. Default:
    /// false.
    pub failover: Option<bool>,
    /// How much of the source's log the slot may keep, while `run` or `publish` is up.
    pub wal_budget: RawWalBudget,
}

/// How much log the slot may keep. Sizes have a unit: `512MB`, `5GB`, `20GiB`; each is 1024 of the one before.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawWalBudget {
    /// Above it the log has a warning. Default: none.
    pub warn: Option<String>,
    /// Above it the program ends, and `on_wal_budget` decides what becomes of the slot. Default: none.
    pub stop: Option<String>,
}

/// The Neo4j database.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawGraph {
    /// `bolt://HOST:PORT` or `neo4j://HOST:PORT`; with `+s` for TLS, `+ssc` for TLS with any
    /// certificate.
    pub url: Option<String>,
    /// Default: `neo4j`.
    pub user: Option<String>,
    /// Default: the environment variable `NEO4J_PASSWORD`.
    pub password: Option<String>,
    /// Default: the user's home database.
    pub database: Option<String>,
    /// A PEM file with the authorities that may sign the certificate of the server, in the place of the system's. Only
    /// with `bolt+s://` or `neo4j+s://`.
    pub ca: Option<String>,
}

/// How much at a time.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawLimits {
    /// How many tables, or parts of one, are copied at the same time: 1 to 16. Default: one a core,
    /// up to four.
    pub copy_lanes: Option<u8>,
    /// The largest value that is sent to the graph, as `64MiB`: Neo4j needs several times as much memory for it. A row
    /// with a larger one is refused. Default: `64MiB`.
    pub value_bytes: Option<String>,
    /// The same for the values of a row together. Default: `128MiB`.
    pub transaction_bytes: Option<String>,
    /// With `on_error: park`, how many rows may wait as dead letters. One more ends the program: then something is
    /// wrong with more than single rows. Default: 1000.
    pub dead_letters: Option<u32>,
}

/// Reads the YAML text of `path`. Errors name the path.
pub fn parse(text: &str, path: &str) -> Result<RawConfig, ConfigError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let location = error.location();
        let message = error.without_snippet().to_string();
        // Errors name the position once, in front.
        let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
        let message = ["invalid u8", "invalid u16"]
            .iter()
            .fold(message, |message, kind| message.replace(kind, "expected a whole number"));
        ConfigError::File {
            path: path.to_owned(),
            line: location.map_or(1, |location| location.line()),
            column: location.map_or(1, |location| location.column()),
            message: with_nearest(message),
        }
    })
}

/// Adds the nearest known key to a message about an unknown one.
fn with_nearest(message: String) -> String {
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
    let Some((unknown, known)) = unknown else { return message };
    let words = known.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    let known = words.filter(|word| !["", "expected", "one", "of"].contains(word));
    match nearest(unknown, known) {
        Some(meant) => format!("{message}; did you mean `{meant}`?"),
        None => message,
    }
}
