//! Connection URLs: what tokio-postgres understands, and the TLS and authentication settings of
//! libpq beside it.

use std::{fmt, path::PathBuf, str::FromStr};

use tokio_postgres::config::{Config, Host, SslMode};

/// A source's URL, understood. Its Debug form has no password.
#[derive(Clone)]
pub struct SourceUrl {
    /// Where, who and which database.
    pub(super) config: Config,
    /// How TLS is used.
    pub(super) tls: TlsMode,
    /// Whom certificates are trusted from; `None`: the system's authorities.
    pub(super) root_certificates: Option<PathBuf>,
    /// Authentication methods beyond SCRAM that the URL allows.
    pub(super) weak_authentication: WeakAuthentication,
}

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Methods that give the password, or something as good, to whoever answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeakAuthentication {
    /// `require_auth` names `md5`.
    pub md5: bool,
    /// `require_auth` names `password`.
    pub password: bool,
}

/// Why a URL is not understood. The text has no password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// tokio-postgres does not understand it.
    #[error(
        "the source URL is not understood: {0}. Expected postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=..."
    )]
    Malformed(String),
    /// A parameter has a value that it can not have.
    #[error("the source URL has {name}={value}: expected {expected}")]
    Parameter {
        /// Which.
        name: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// It names no user.
    #[error("the source URL names no user: postgres://USER@HOST/DATABASE")]
    NoUser,
}

impl FromStr for SourceUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut tls, mut root_certificates) = (TlsMode::Prefer, None);
        let mut weak_authentication = WeakAuthentication::default();
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("sslmode", value) => tls = tls_mode(value)?,
                ("sslrootcert", "system") => root_certificates = None,
                ("sslrootcert", path) => root_certificates = Some(PathBuf::from(decode(path))),
                ("require_auth", value) => weak_authentication = authentication(value)?,
                _ => rest.push(pair),
            }
        }
        let url =
            if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), ToString::to_string);
            UrlError::Malformed(cause)
        })?;
        config.ssl_mode(match tls {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
        if config.get_hosts().is_empty() {
            config.host("localhost");
        }
        if config.get_user().is_none() {
            return Err(UrlError::NoUser);
        }
        Ok(SourceUrl { config, tls, root_certificates, weak_authentication })
    }
}

fn tls_mode(value: &str) -> Result<TlsMode, UrlError> {
    Ok(match value {
        "disable" => TlsMode::Disable,
        "prefer" | "allow" => TlsMode::Prefer,
        "require" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" => TlsMode::VerifyFull,
        _ => {
            let expected = "disable, prefer, require, verify-ca or verify-full";
            return Err(UrlError::Parameter { name: "sslmode", value: value.to_owned(), expected });
        }
    })
}

fn authentication(value: &str) -> Result<WeakAuthentication, UrlError> {
    let mut allowed = WeakAuthentication::default();
    for method in decode(value).split(',') {
        match method {
            "md5" => allowed.md5 = true,
            "password" => allowed.password = true,
            "scram-sha-256" | "none" => {}
            _ => {
                let expected = "a list of scram-sha-256, none, md5 and password";
                let value = method.to_owned();
                return Err(UrlError::Parameter { name: "require_auth", value, expected });
            }
        }
    }
    Ok(allowed)
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
    /// The database it names; the user's name where it names none, as PostgreSQL has it.
    pub fn database(&self) -> &str {
        self.config.get_dbname().or(self.config.get_user()).unwrap_or_default()
    }

    /// The host or socket directory, and the port, for messages.
    pub fn server(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "localhost".to_owned(),
        };
        format!("{host}:{}", self.port())
    }

    pub(super) fn port(&self) -> u16 {
        self.config.get_ports().first().copied().unwrap_or(5432)
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

    use super::{SourceUrl, TlsMode, UrlError};

    #[test]
    fn libpqs_parameters_are_understood() {
        let url = "postgres://cdc:secret@db:5433/shop?sslmode=verify-full&sslrootcert=%2Fca.pem&require_auth=md5";
        let url: SourceUrl = url.parse().unwrap();
        assert_eq!(url.tls, TlsMode::VerifyFull);
        assert_eq!(url.root_certificates.as_deref(), Some(std::path::Path::new("/ca.pem")));
        assert!(url.weak_authentication.md5 && !url.weak_authentication.password);
        assert_eq!((url.database(), url.port()), ("shop", 5433));
        assert_eq!(format!("{url:?}"), "postgres://cdc@db:5433/shop");
    }

    #[test]
    fn what_is_not_understood_is_named_without_the_password() {
        for (url, named) in [
            ("postgres://u:secret@h/d?sslmode=maybe", "sslmode=maybe"),
            ("postgres://u:secret@h/d?require_auth=gss", "require_auth=gss"),
            ("postgres://u:secret@h/d?colour=red", "colour"),
            ("mysql://u:secret@h/d", "source URL"),
        ] {
            let error = url.parse::<SourceUrl>().unwrap_err().to_string();
            assert!(error.contains(named) && !error.contains("secret"), "{error}");
        }
        assert_eq!("postgres://h/d".parse::<SourceUrl>().unwrap_err(), UrlError::NoUser);
    }
}
