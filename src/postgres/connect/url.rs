//! Connection URLs as libpq has them: one understanding for every kind of connection.
//!
//! ```text
//! Settings --> Servers, who and which database, Tls, Authentication, Limits
//! ```
//!
//! What is not understood is refused: a setting that is passed over in silence may be the one that
//! was to keep somebody out.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use super::{
    CONNECT_LIMIT,
    parameters::{Environment, Origin, Settings, default_file, home},
    security::{Authentication, Tls, TlsMode},
    servers::{Host, Server, servers},
    session,
};

/// Data that nobody has acknowledged for this long is on its way to nobody: without a limit the
/// kernel tries for a quarter of an hour.
const UNANSWERED: Duration = Duration::from_secs(60);
/// A connection that is silent for this long is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(30);
/// How often it is asked, without an answer, before it is given up.
const PROBES: u32 = 3;

/// A source's URL, understood. Its Debug form has no password.
#[derive(Clone)]
pub struct SourceUrl {
    /// Where; in this order.
    pub(super) servers: Vec<Server>,
    /// Which of them will do.
    pub(super) target: Target,
    /// Who.
    pub(super) user: String,
    database: Option<String>,
    /// The password, or where it is looked up.
    pub(super) password: Option<String>,
    pub(super) passfile: Option<PathBuf>,
    /// The startup packet's `options`.
    pub(super) options: String,
    /// What the server shows of us.
    pub(super) application_name: String,
    /// How long connecting to one address and logging in may take.
    pub(super) connect_limit: Option<Duration>,
    pub(super) silence: Silence,
    /// How TLS is used.
    pub(super) tls: Tls,
    /// How the server may ask who we are.
    pub(super) authentication: Authentication,
}

/// Which of several servers will do (`target_session_attrs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Any,
    Primary,
}

/// When a connection that says nothing is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Silence {
    /// After which silence, how often and at which intervals it is asked; `None`: never.
    pub keepalive: Option<(Duration, u32, Duration)>,
    /// How long data may stay unacknowledged; `None`: as long as the kernel has it.
    pub unanswered: Option<Duration>,
}

/// Why a URL is not understood. The text has no password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is none.
    #[error(
        "the source URL is not understood: {0}. Expected postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=..."
    )]
    Malformed(String),
    /// It has a parameter that libpq does not know.
    #[error("{origin} has the parameter {name:?}, which is none: docs/connections.md lists them")]
    Unknown {
        /// Which.
        name: String,
        /// Where.
        origin: Origin,
    },
    /// A parameter has a value that it can not have.
    #[error("{origin} has {name}={value}: expected {expected}")]
    Parameter {
        /// Which.
        name: &'static str,
        /// Where.
        origin: Origin,
        /// What it is.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A parameter of libpq's that asks for something that is not done.
    #[error("{origin} has {name}: {why}. Remove it")]
    Refused {
        /// Which.
        name: &'static str,
        /// Where.
        origin: Origin,
        /// Why.
        why: &'static str,
    },
    /// Two parameters that do not go together.
    #[error("the source URL, its service or the PG* variables have {0}")]
    Together(&'static str),
    /// The service can not be read.
    #[error("{0}")]
    Service(String),
    /// It names no user.
    #[error("the source URL names no user: postgres://USER@HOST/DATABASE")]
    NoUser,
}

impl FromStr for SourceUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        SourceUrl::with_environment(url, &|_| None)
    }
}

impl SourceUrl {
    /// Understands a URL; what it leaves out comes from the service that it names, and from libpq's
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

    /// The database it names; the user's name where it names none, as PostgreSQL has it.
    pub fn database(&self) -> &str {
        self.database.as_deref().unwrap_or(&self.user)
    }
}

/// What to look for among the servers: several are one cluster, whose primary alone has the slot.
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

/// As libpq has it: 0 or less is no limit, and less than 2 seconds are 2.
fn connect_limit(settings: &Settings) -> Result<Option<Duration>, UrlError> {
    Ok(match settings.number("connect_timeout")? {
        None => Some(CONNECT_LIMIT),
        Some(seconds) => u64::try_from(seconds)
            .ok()
            .filter(|it| *it > 0)
            .map(|seconds| Duration::from_secs(seconds.max(2))),
    })
}

/// As libpq has it, with defaults of ours: the kernel's hours are too long.
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
