//! Connection URLs as libpq has them: one understanding for every kind of connection.
//!
//! ```text
//! URL, over the PG* variables --> where and who (tokio-postgres's Config, as a parser only)
//!                             --> Tls, Authentication
//! ```
//!
//! What is not understood is refused: a setting that is passed over in silence may be the one that
//! was to keep somebody out.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use tokio_postgres::config::{Config, Host, SslMode};

use super::CONNECT_LIMIT;

/// A source's URL, understood. Its Debug form has no password.
#[derive(Clone)]
pub struct SourceUrl {
    /// Where, who and which database.
    pub(super) config: Config,
    /// How TLS is used.
    pub(super) tls: Tls,
    /// How the server may ask who we are.
    pub(super) authentication: Authentication,
}

/// How TLS is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Whether, and whom it trusts.
    pub mode: TlsMode,
    /// Without asking first (`sslnegotiation=direct`).
    pub direct: bool,
    /// Whom certificates are trusted from; `None`: the system's authorities.
    pub root_certificates: Option<PathBuf>,
    /// Our own certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// libpq's `sslmode`, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsMode {
    /// Never.
    Disable,
    /// If the server offers it; certificates are not looked at.
    Prefer,
    /// Always; certificates are not looked at.
    Require,
    /// Always, with a certificate of a trusted authority.
    VerifyCa,
    /// Always, with a certificate of a trusted authority for the host's name.
    VerifyFull,
}

/// How the server may ask who we are (`require_auth`, `channel_binding`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// Not at all, or by our certificate.
    pub none: bool,
    /// By SCRAM, which does not give the password away.
    pub scram: bool,
    /// By MD5: what is sent is as good as the password.
    pub md5: bool,
    /// By the password itself.
    pub password: bool,
    /// Whether SCRAM is tied to the TLS connection.
    pub binding: ChannelBinding,
}

/// libpq's `channel_binding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// Where the server can.
    Prefer,
    /// Always: nobody between us and the server can pass the log-in on.
    Require,
}

/// Why a URL is not understood. The text has no password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is none, or has a parameter that is not known.
    #[error(
        "the source URL is not understood: {0}. Expected postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=..."
    )]
    Malformed(String),
    /// A parameter has a value that it can not have.
    #[error("the source URL (or its PG* variable) has {name}={value}: expected {expected}")]
    Parameter {
        /// Which.
        name: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// Two parameters that do not go together.
    #[error("the source URL has {0}")]
    Together(&'static str),
    /// It names no user.
    #[error("the source URL names no user: postgres://USER@HOST/DATABASE")]
    NoUser,
}

/// The parameters that are ours, and libpq's variable for each.
const OURS: [(&str, &str); 9] = [
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("require_auth", "PGREQUIREAUTH"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
];

/// The values of [`OURS`]: the URL's, else the variable's.
struct Parameters([Option<String>; OURS.len()]);

impl Parameters {
    /// Cuts them out of the URL: the rest is what tokio-postgres understands.
    fn cut(url: &str, environment: &dyn Fn(&str) -> Option<String>) -> (Self, String) {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut values = OURS.map(|_| None);
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match OURS.iter().position(|(ours, _)| *ours == decode(name)) {
                Some(index) => values[index] = Some(decode(value)),
                None => rest.push(pair),
            }
        }
        for (value, (_, variable)) in values.iter_mut().zip(OURS) {
            *value = value.take().or_else(|| environment(variable)).filter(|it| !it.is_empty());
        }
        let rest =
            if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
        (Parameters(values), rest)
    }

    fn get(&self, name: &str) -> Option<&str> {
        let index = OURS.iter().position(|(ours, _)| *ours == name)?;
        self.0[index].as_deref()
    }

    /// The value as one of a few words.
    fn word<T: Copy>(
        &self,
        name: &'static str,
        expected: &'static str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, UrlError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let known = words.iter().find(|(word, _)| *word == value).map(|(_, known)| *known);
        let wrong = || UrlError::Parameter { name, value: value.to_owned(), expected };
        known.map(Some).ok_or_else(wrong)
    }

    fn tls(&self) -> Result<Tls, UrlError> {
        let modes = [
            ("disable", TlsMode::Disable),
            ("allow", TlsMode::Prefer),
            ("prefer", TlsMode::Prefer),
            ("require", TlsMode::Require),
            ("verify-ca", TlsMode::VerifyCa),
            ("verify-full", TlsMode::VerifyFull),
        ];
        let expected = "disable, prefer, require, verify-ca or verify-full";
        let mode = self.word("sslmode", expected, &modes)?;
        let system = self.get("sslrootcert") == Some("system");
        let root_certificates = self.get("sslrootcert").filter(|_| !system).map(PathBuf::from);
        let mode = match mode {
            None if system => TlsMode::VerifyFull,
            // The world's authorities sign for anybody: without the name that is no check.
            Some(mode) if system && mode != TlsMode::VerifyFull => {
                return Err(UrlError::Together(
                    "sslrootcert=system without sslmode=verify-full: anybody can have such a certificate",
                ));
            }
            // As libpq has it: who names an authority wants it looked at.
            Some(TlsMode::Require) if root_certificates.is_some() => TlsMode::VerifyCa,
            mode => mode.unwrap_or(TlsMode::Prefer),
        };
        let negotiations = [("postgres", false), ("direct", true)];
        let direct = self.word("sslnegotiation", "postgres or direct", &negotiations)?;
        if direct == Some(true) && matches!(mode, TlsMode::Disable | TlsMode::Prefer) {
            let text = "sslnegotiation=direct without sslmode=require, verify-ca or verify-full";
            return Err(UrlError::Together(text));
        }
        let identity = match (self.get("sslcert"), self.get("sslkey")) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            _ => return Err(UrlError::Together("one of sslcert and sslkey: name both")),
        };
        Ok(Tls { mode, direct: direct == Some(true), root_certificates, identity })
    }

    fn authentication(&self) -> Result<Authentication, UrlError> {
        let bindings = [
            ("disable", ChannelBinding::Disable),
            ("prefer", ChannelBinding::Prefer),
            ("require", ChannelBinding::Require),
        ];
        let binding = self.word("channel_binding", "disable, prefer or require", &bindings)?;
        let binding = binding.unwrap_or(ChannelBinding::Prefer);
        let Some(list) = self.get("require_auth") else {
            let (none, scram, md5, password) = (true, true, false, false);
            return Ok(Authentication { none, scram, md5, password, binding });
        };
        let mut allowed =
            Authentication { none: false, scram: false, md5: false, password: false, binding };
        for method in list.split(',').map(str::trim) {
            match method {
                "none" => allowed.none = true,
                "scram-sha-256" => allowed.scram = true,
                "md5" => allowed.md5 = true,
                "password" => allowed.password = true,
                _ => {
                    let expected = "a list of scram-sha-256, none, md5 and password";
                    let value = method.to_owned();
                    return Err(UrlError::Parameter { name: "require_auth", value, expected });
                }
            }
        }
        Ok(allowed)
    }

    /// We are always the primary's client, and there is one.
    fn refuse_choices(&self) -> Result<(), UrlError> {
        self.word("target_session_attrs", "any, or nothing", &[("any", ())])?;
        self.word("load_balance_hosts", "disable, or nothing", &[("disable", ())])?;
        Ok(())
    }
}

/// Puts libpq's variables where the URL says nothing.
fn complete(config: &mut Config, environment: &dyn Fn(&str) -> Option<String>) {
    if config.get_hosts().is_empty() {
        match environment("PGHOST") {
            Some(path) if path.starts_with('/') => config.host_path(path),
            name => config.host(name.unwrap_or_else(|| "localhost".to_owned())),
        };
    }
    let number = |name| environment(name)?.parse::<u16>().ok();
    if let Some(port) = number("PGPORT").filter(|_| config.get_ports().is_empty()) {
        config.port(port);
    }
    if let Some(limit) =
        number("PGCONNECT_TIMEOUT").filter(|_| config.get_connect_timeout().is_none())
    {
        config.connect_timeout(Duration::from_secs(limit.into()));
    }
    if let Some(user) = environment("PGUSER").or_else(|| environment("USER"))
        && config.get_user().is_none()
    {
        config.user(user);
    }
    if let Some(password) = environment("PGPASSWORD").filter(|_| config.get_password().is_none()) {
        config.password(password);
    }
    if let Some(database) = environment("PGDATABASE").filter(|_| config.get_dbname().is_none()) {
        config.dbname(database);
    }
    if let Some(name) = environment("PGAPPNAME").filter(|_| config.get_application_name().is_none())
    {
        config.application_name(name);
    }
}

impl FromStr for SourceUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        SourceUrl::with_environment(url, &|_| None)
    }
}

/// Undoes percent-encoding.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

impl SourceUrl {
    /// Understands a URL; what it leaves out comes from libpq's environment variables. The URL
    /// `postgres://` takes everything from there.
    pub fn with_environment(
        url: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, UrlError> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(UrlError::Malformed("it does not begin with postgres://".to_owned()));
        }
        let (parameters, rest) = Parameters::cut(url, environment);
        let mut config: Config = rest.parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), ToString::to_string);
            UrlError::Malformed(cause)
        })?;
        let tls = parameters.tls()?;
        let authentication = parameters.authentication()?;
        parameters.refuse_choices()?;
        complete(&mut config, environment);
        // tokio-postgres is handed connections that are encrypted and logged in.
        config.ssl_mode(SslMode::Disable);
        if config.get_user().is_none_or(str::is_empty) {
            return Err(UrlError::NoUser);
        }
        Ok(SourceUrl { config, tls, authentication })
    }

    /// The database it names; the user's name where it names none, as PostgreSQL has it.
    pub fn database(&self) -> &str {
        self.config.get_dbname().or(self.config.get_user()).unwrap_or_default()
    }

    /// The first host or socket directory, and its port, for messages.
    pub fn server(&self) -> String {
        let first = self.servers().next();
        first.map(|(host, port)| server_name(host, port)).unwrap_or_default()
    }

    /// Every host or socket directory, and its port, in the order in which they are tried.
    pub(super) fn servers(&self) -> impl Iterator<Item = (&Host, u16)> {
        let ports = self.config.get_ports();
        let port = move |index| {
            // One port is for all hosts.
            ports.get(index).or(ports.first()).copied().unwrap_or(5432)
        };
        self.config.get_hosts().iter().enumerate().map(move |(index, host)| (host, port(index)))
    }

    /// How long connecting and logging in may take, for each server.
    pub(super) fn connect_limit(&self) -> Duration {
        self.config.get_connect_timeout().copied().unwrap_or(CONNECT_LIMIT)
    }
}

/// A server's name in messages.
pub(super) fn server_name(host: &Host, port: u16) -> String {
    match host {
        Host::Tcp(name) => format!("{name}:{port}"),
        Host::Unix(path) => format!("{}:{port}", path.display()),
    }
}

impl fmt::Debug for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.config.get_user().unwrap_or_default();
        write!(f, "postgres://{user}@{}/{}", self.server(), self.database())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::{ChannelBinding, SourceUrl, TlsMode, UrlError};

    #[test]
    fn libpqs_parameters_are_understood() {
        let url = "postgres://cdc:secret@db:5433/shop?sslmode=verify-full&sslrootcert=%2Fca.pem&require_auth=md5\
            &sslcert=/c.pem&sslkey=/k.pem&channel_binding=require&sslnegotiation=direct";
        let url: SourceUrl = url.parse().unwrap();
        assert_eq!((url.tls.mode, url.tls.direct), (TlsMode::VerifyFull, true));
        assert_eq!(url.tls.root_certificates.as_deref(), Some(Path::new("/ca.pem")));
        assert_eq!(url.tls.identity, Some(("/c.pem".into(), "/k.pem".into())));
        assert!(url.authentication.md5 && !url.authentication.password);
        assert!(!url.authentication.scram && !url.authentication.none, "only what is named");
        assert_eq!(url.authentication.binding, ChannelBinding::Require);
        assert_eq!((url.database(), url.server().as_str()), ("shop", "db:5433"));
        assert_eq!(format!("{url:?}"), "postgres://cdc@db:5433/shop");
    }

    #[test]
    fn without_parameters_nothing_weak_is_allowed() {
        let url: SourceUrl = "postgres://u@h/d".parse().unwrap();
        assert_eq!((url.tls.mode, url.tls.direct), (TlsMode::Prefer, false));
        let allowed = url.authentication;
        assert!(allowed.none && allowed.scram && !allowed.md5 && !allowed.password);
    }

    #[test]
    fn hosts_ports_and_socket_directories() {
        for (url, servers) in [
            ("postgres://u@a/d", vec!["a:5432"]),
            ("postgres://u@a:1,b:2/d", vec!["a:1", "b:2"]),
            ("postgres://u@%2Frun%2Fpg:7/d", vec!["/run/pg:7"]),
            ("postgres://u@/d?host=/run/pg&port=7", vec!["/run/pg:7"]),
            ("postgresql://u@[::1]:7/d", vec!["::1:7"]),
        ] {
            let url: SourceUrl = url.parse().unwrap();
            let named: Vec<String> =
                url.servers().map(|(host, port)| super::server_name(host, port)).collect();
            assert_eq!(named, servers);
        }
    }

    #[test]
    fn a_named_authority_is_looked_at() {
        let mode = |query: &str| {
            let url = format!("postgres://u@h/d?{query}").parse::<SourceUrl>();
            url.map(|url| (url.tls.mode, url.tls.root_certificates.is_some()))
        };
        assert_eq!(mode("sslmode=require&sslrootcert=/ca"), Ok((TlsMode::VerifyCa, true)));
        assert_eq!(mode("sslrootcert=system"), Ok((TlsMode::VerifyFull, false)));
        assert_eq!(
            mode("sslmode=verify-full&sslrootcert=system"),
            Ok((TlsMode::VerifyFull, false))
        );
        assert!(mode("sslmode=require&sslrootcert=system").is_err());
    }

    #[test]
    fn the_environment_completes_the_url_and_never_overrides_it() {
        let environment = |name: &str| {
            let value = match name {
                "PGHOST" => "/run/pg",
                "PGPORT" => "7",
                "PGUSER" => "env",
                "PGPASSWORD" => "secret",
                "PGDATABASE" => "envdb",
                "PGSSLMODE" => "require",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let url = SourceUrl::with_environment("postgres://", &environment).unwrap();
        assert_eq!(format!("{url:?}"), "postgres://env@/run/pg:7/envdb");
        assert_eq!(url.tls.mode, TlsMode::Require);
        let url = "postgres://u:p@h:1/d?sslmode=verify-ca";
        let url = SourceUrl::with_environment(url, &environment).unwrap();
        assert_eq!(format!("{url:?}"), "postgres://u@h:1/d");
        assert_eq!(url.config.get_password(), Some(&b"p"[..]));
        assert_eq!(url.tls.mode, TlsMode::VerifyCa);
        let url = SourceUrl::with_environment("postgres://u@h/d", &environment).unwrap();
        assert_eq!(url.config.get_password(), Some(&b"secret"[..]));
    }

    #[test]
    fn what_is_not_understood_is_named_without_the_password() {
        for (url, named) in [
            ("postgres://u:secret@h/d?sslmode=maybe", "sslmode=maybe"),
            ("postgres://u:secret@h/d?require_auth=gss", "require_auth=gss"),
            ("postgres://u:secret@h/d?channel_binding=1", "channel_binding=1"),
            ("postgres://u:secret@h/d?sslnegotiation=direct", "sslnegotiation=direct without"),
            ("postgres://u:secret@h/d?sslcert=/c", "one of sslcert and sslkey"),
            ("postgres://u:secret@h/d?target_session_attrs=primary", "target_session_attrs"),
            ("postgres://u:secret@h/d?colour=red", "colour"),
            ("mysql://u:secret@h/d", "source URL"),
            // Understood by libpq, but nobody here would look at its sslmode.
            ("host=h user=u password=secret sslmode=verify-full", "source URL"),
        ] {
            let error = url.parse::<SourceUrl>().unwrap_err().to_string();
            assert!(error.contains(named) && !error.contains("secret"), "{error}");
        }
        assert_eq!("postgres://h/d".parse::<SourceUrl>().unwrap_err(), UrlError::NoUser);
    }
}
