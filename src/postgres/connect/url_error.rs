//! Why a URL is invalid.

use std::{fmt, path::PathBuf};

/// The reason why a URL is invalid. The text has no password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The text is not a URL.
    #[error(
        "the source URL is not understood: {0}. Expected postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=..."
    )]
    Malformed(String),
    /// libpq does not know the parameter.
    #[error("{origin} has the parameter {name:?}, which is none: docs/connections.md lists them")]
    Unknown {
        /// The parameter.
        name: String,
        /// Its origin.
        origin: Origin,
    },
    /// A parameter has an invalid value.
    #[error("{origin} has {name}={value}: expected {expected}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// Its origin.
        origin: Origin,
        /// Its value.
        value: String,
        /// The valid values.
        expected: &'static str,
    },
    /// A parameter of libpq asks for something unsupported.
    #[error("{origin} has {name}: {why}. Remove it")]
    Refused {
        /// The parameter.
        name: &'static str,
        /// Its origin.
        origin: Origin,
        /// The reason.
        why: &'static str,
    },
    /// Two parameters contradict each other.
    #[error("the source URL, its service or the PG* variables have {0}")]
    Together(&'static str),
    /// The service can not be read.
    #[error("{0}")]
    Service(String),
    /// It names no user.
    #[error("the source URL names no user: postgres://USER@HOST/DATABASE")]
    NoUser,
}

/// The origin of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The URL.
    Url,
    /// A service file.
    Service(PathBuf),
    /// An environment variable.
    Variable(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Url => f.write_str("the source URL"),
            Origin::Service(path) => write!(f, "the service file {}", path.display()),
            Origin::Variable(_) => f.write_str("the environment"),
        }
    }
}
