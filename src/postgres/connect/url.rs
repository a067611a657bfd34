//! Parses connection URLs like libpq, with one meaning for every kind of connection.
//!
//! ```text
//! Settings --> Servers, who and which database, Tls, Authentication, Limits
//! ```
//!
//! It refuses what it does not understand: a silently ignored setting could be the one that was
//! meant to keep an attacker out.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use super::{
    CONNECT_LIMIT, Environment, UrlError,
    environment::{default_file, home},
    parameters::Settings,
    security::{Authentication, Tls, TlsMode},
    servers::{Host, Server, servers},
    session,
};

/// Data without an acknowledgement for this long will not arrive. Without a limit the kernel tries
/// for a quarter of an hour.
const UNANSWERED: Duration = Duration::from_secs(60);
/// A connection that is silent for this long gets a keepalive probe.
const SILENCE: Duration = Duration::from_secs(30);
/// Unanswered probes before the connection is closed.
const PROBES: u32 = 3;

/// A parsed source URL. Its Debug form has no password.
#[derive(Clone)]
pub struct SourceUrl {
    /// The servers, in the order of the attempts.
    pub(super) servers: Vec<Server>,
    /// The kind of server that qualifies.
    pub(super) target: Target,
    /// The user.
    pub(super) user: String,
    database: Option<String>,
    /// The password, or its source.
    pub(super) password: Option<String>,
    pub(super) passfile: Option<PathBuf>,
    /// The startup packet's `options`.
    pub(super) options: String,
    /// The name that the server shows for us.
    pub(super) application_name: String,
    /// The time limit for connecting to one address and logging in.
    pub(super) connect_limit: Option<Duration>,
    pub(super) silence: Silence,
    /// How TLS is used.
    pub(super) tls: Tls,
    /// The allowed methods of authentication.
    pub(super) authentication: Authentication,
}

/// Which of several servers qualify (`target_session_attrs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Any,
    Primary,
}

/// When a silent connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Silence {
    /// The silence before the first probe, the number of probes and their interval; `None`: no
    /// probes.
    pub keepalive: Option<(Duration, u32, Duration)>,
    /// How long data may stay unacknowledged; `None`: the kernel's limit.
    pub unanswered: Option<Duration>,
}

impl FromStr for SourceUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        SourceUrl::with_environment(url, &|_| None)
    }
}

impl SourceUrl {
    /// The servers, for people.
    pub fn places(&self) -> String {
        let servers: Vec<String> = self.servers.iter().map(ToString::to_string).collect();
        servers.join(", ")
    }

    /// Parses a URL. Missing values come from the service that it names, and from libpq's
    /// environment variables. The URL `postgres://` takes everything from there.
    pub fn with_environment(url: &str, environment: Environment<'_>) -> Result<Self, UrlError> {
        let settings = Settings::gather(url, environment)?;
        let servers = servers(&settings)?;
        let tls = Tls::of(&settings, environment)?;
        if tls.mode >= TlsMode::VerifyCa && default_file("root.crl", environment).is_some() {
            return Err(UrlError::Together(
                "a list of revoked certificates (~/.postgresql/root.crl): it is not supported. Remove it",
            ));
        }
        let has_socket = servers.iter().any(|server| matches!(server.host, Host::Unix(_)));
        if has_socket && settings.text("requirepeer").is_some() {
            return Err(UrlError::Together(
                "requirepeer with a unix socket: it is not supported. Remove it",
            ));
        }
        let user = settings.text("user").map(str::to_owned);
        let user = user.or_else(|| environment("USER")).filter(|user| !user.is_empty());
        let name = settings.text("application_name").or(settings.text("fallback_application_name"));
        let passfile = settings.path("passfile");
        Ok(SourceUrl {
            target: target(&settings, &servers)?,
            servers,
            user: user.ok_or(UrlError::NoUser)?,
            database: settings.text("dbname").map(str::to_owned),
            password: settings.text("password").map(str::to_owned),
            passfile: passfile.or_else(|| home(environment).map(|home| home.join(".pgpass"))),
            options: session::options(options(&settings)?),
            application_name: name.unwrap_or("wal2graph").to_owned(),
            connect_limit: connect_limit(&settings)?,
            silence: silence(&settings)?,
            authentication: Authentication::of(&settings)?,
            tls,
        })
    }

    /// The password file, if the password comes from one. It is read for each connection.
    pub fn password_file(&self) -> Option<&Path> {
        let file = self.passfile.as_deref().filter(|_| self.password.is_none());
        file.filter(|file| file.exists())
    }

    /// The database, or by default the user's name, as in PostgreSQL.
    pub fn database(&self) -> &str {
        self.database.as_deref().unwrap_or(&self.user)
    }
}

/// The kind of server to look for. Several servers are one cluster, and only its primary has the
/// slot.
fn target(settings: &Settings, servers: &[Server]) -> Result<Target, UrlError> {
    let words =
        [("any", Target::Any), ("read-write", Target::Primary), ("primary", Target::Primary)];
    let expected = "any, read-write or primary: slots are the primary's";
    let named = settings.word("target_session_attrs", expected, &words)?;
    Ok(named.unwrap_or(if servers.len() > 1 { Target::Primary } else { Target::Any }))
}

fn options(settings: &Settings) -> Result<Option<&str>, UrlError> {
    let expected = "settings alone: -c NAME=VALUE -c NAME=VALUE";
    settings.read("options", expected, |text| session::are_settings(text).then_some(()))?;
    Ok(settings.text("options"))
}

/// As in libpq: 0 or less means no limit, and less than 2 seconds means 2.
fn connect_limit(settings: &Settings) -> Result<Option<Duration>, UrlError> {
    Ok(match settings.number("connect_timeout")? {
        None => Some(CONNECT_LIMIT),
        Some(seconds) => u64::try_from(seconds)
            .ok()
            .filter(|it| *it > 0)
            .map(|seconds| Duration::from_secs(seconds.max(2))),
    })
}

/// As in libpq, with our own defaults: the kernel's hours are too long.
fn silence(settings: &Settings) -> Result<Silence, UrlError> {
    let positive =
        |number: Option<i64>| number.and_then(|it| u64::try_from(it).ok()).filter(|it| *it > 0);
    let seconds =
        |name| Ok::<_, UrlError>(positive(settings.number(name)?).map(Duration::from_secs));
    let idle = seconds("keepalives_idle")?.unwrap_or(SILENCE);
    let interval = seconds("keepalives_interval")?.unwrap_or(SILENCE / PROBES);
    let count = positive(settings.number("keepalives_count")?);
    let count = count.and_then(|count| u32::try_from(count).ok()).unwrap_or(PROBES);
    let is_asked = settings.number("keepalives")? != Some(0);
    let unanswered = match settings.number("tcp_user_timeout")? {
        None => Some(UNANSWERED),
        milliseconds => positive(milliseconds).map(Duration::from_millis),
    };
    Ok(Silence { keepalive: is_asked.then_some((idle, count, interval)), unanswered })
}

impl fmt::Debug for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<String> = self.servers.iter().map(Server::to_string).collect();
        write!(f, "postgres://{}@{}/{}", self.user, servers.join(","), self.database())
    }
}

#[cfg(test)]
mod tests;
