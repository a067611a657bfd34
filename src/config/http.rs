//! The address of the metrics and health pages, and the limits of readiness.

use std::time::Duration;

use crate::{
    cli::Global,
    health::Limits,
    secrets::{Renewed, Secret},
};

use super::{ConfigError, Expand, RawHttp, duration};

/// A graph with more lag is not ready.
const READY_LAG: Duration = Duration::from_secs(60);
/// A graph that has not moved for this long, although work waits, is not ready. The writer alone
/// tries for half a minute before it reports the graph as unreachable.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(60);

/// Metrics and health.
#[derive(Clone, Debug)]
pub struct Http {
    /// The address.
    pub listen: Listen,
    /// The limits of readiness.
    pub limits: Limits,
    /// What requests have to show.
    pub token: Option<Renewed<Secret>>,
    /// The names that requests may be sent to; empty: all.
    pub hosts: Vec<String>,
}

/// The address of the HTTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// On [`Listen::DEFAULT`], if that is free.
    Default,
    /// On this `HOST:PORT`, or the program does not start.
    At(String),
}

impl Listen {
    /// For this machine only: status and table names are private.
    pub const DEFAULT: &'static str = "127.0.0.1:8080";

    fn parse(key: &'static str, text: String) -> Result<Self, ConfigError> {
        if text == "off" {
            return Ok(Listen::Off);
        }
        let is_address = text
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        match is_address {
            true => Ok(Listen::At(text)),
            false => Err(ConfigError::Listen { key, text }),
        }
    }
}

/// Combines file and flag.
pub(super) fn http(
    raw: &RawHttp,
    global: &Global,
    expand: &Expand<'_>,
) -> Result<Http, ConfigError> {
    let listen = match (&global.http, expand("http.listen", &raw.listen)?) {
        (Some(address), _) => Listen::parse("--http", address.clone())?,
        (None, Some(address)) => Listen::parse("http.listen", address)?,
        (None, None) => Listen::Default,
    };
    let duration = |key, value, default| match expand(key, value)? {
        None => Ok(default),
        Some(text) => duration::parse(&text).ok_or(ConfigError::Duration { key, text }),
    };
    let limits = Limits {
        ready_lag: duration("http.ready_lag", &raw.ready_lag, READY_LAG)?,
        progress_timeout: duration(
            "http.progress_timeout",
            &raw.progress_timeout,
            PROGRESS_TIMEOUT,
        )?,
        standby_is_ready: raw.standby_ready.unwrap_or(false),
    };
    let token = token(raw, expand)?.map(Renewed::fixed);
    Ok(Http { listen, limits, token, hosts: raw.hosts.clone().unwrap_or_default() })
}

/// What requests have to show.
pub(super) fn token(raw: &RawHttp, expand: &Expand<'_>) -> Result<Option<Secret>, ConfigError> {
    match expand("http.token", &raw.token)? {
        Some(empty) if empty.is_empty() => Err(ConfigError::EmptyToken),
        token => Ok(token.map(Secret)),
    }
}
