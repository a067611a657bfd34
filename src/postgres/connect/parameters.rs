//! libpq's parameters: how this program treats each one, and where its value comes from.
//!
//! ```text
//! URL, over the service that it or PGSERVICE names, over the PG* variables --> Settings
//! ```
//!
//! The table has every parameter of libpq: used, accepted because it has no effect here, or
//! refused. A silently ignored parameter could be the one that was meant to keep an attacker out.

use std::{collections::BTreeMap, path::PathBuf};

use super::{Environment, Origin, UrlError, service, uri};

/// The treatment of a parameter.
enum Kind {
    /// Supported.
    Used,
    /// Nothing here depends on its value.
    Harmless,
    /// Only these values ask for nothing unsupported.
    Only { values: &'static [&'static str], why: &'static str },
}

use Kind::{Harmless, Only, Used};

const NO_VALUE: &[&str] = &[];
const NO_GSS: &str = "log-in and encryption by GSSAPI are not supported";
const NO_OAUTH: &str = "log-in by OAuth is not supported";
const NO_REVOCATION: &str = "lists of revoked certificates are not supported";
const NO_SCRAM_KEYS: &str = "log-in by SCRAM keys is not supported: give the password";

/// Each parameter, its variable, and its treatment.
#[rustfmt::skip]
const PARAMETERS: &[(&str, &str, Kind)] = &[
    ("application_name", "PGAPPNAME", Used),
    ("channel_binding", "PGCHANNELBINDING", Used),
    // It is always UTF8, or SQL_ASCII for a database without an encoding.
    ("client_encoding", "PGCLIENTENCODING", Harmless),
    ("connect_timeout", "PGCONNECT_TIMEOUT", Used),
    ("dbname", "PGDATABASE", Used),
    ("fallback_application_name", "", Used),
    // We never ask for these, and refuse a server that does.
    ("gssdelegation", "PGGSSDELEGATION", Harmless),
    ("gssencmode", "PGGSSENCMODE", Only { values: &["disable", "prefer"], why: NO_GSS }),
    ("gsslib", "PGGSSLIB", Harmless),
    ("host", "PGHOST", Used),
    ("hostaddr", "PGHOSTADDR", Used),
    ("keepalives", "", Used),
    ("keepalives_count", "", Used),
    ("keepalives_idle", "", Used),
    ("keepalives_interval", "", Used),
    ("krbsrvname", "PGKRBSRVNAME", Harmless),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS", Only {
        values: &["disable"], why: "there is one primary, and servers are tried in their order" }),
    // We speak 3.0.
    ("max_protocol_version", "PGMAXPROTOCOLVERSION", Harmless),
    ("min_protocol_version", "PGMINPROTOCOLVERSION", Only {
        values: &["3.0"], why: "wal2graph speaks protocol version 3.0" }),
    ("oauth_ca_file", "PGOAUTHCAFILE", Only { values: NO_VALUE, why: NO_OAUTH }),
    ("oauth_client_id", "", Only { values: NO_VALUE, why: NO_OAUTH }),
    ("oauth_client_secret", "", Only { values: NO_VALUE, why: NO_OAUTH }),
    ("oauth_issuer", "", Only { values: NO_VALUE, why: NO_OAUTH }),
    ("oauth_scope", "", Only { values: NO_VALUE, why: NO_OAUTH }),
    ("options", "PGOPTIONS", Used),
    ("passfile", "PGPASSFILE", Used),
    ("password", "PGPASSWORD", Used),
    ("port", "PGPORT", Used),
    ("replication", "", Only { values: NO_VALUE, why: "each connection has the mode that it needs" }),
    ("require_auth", "PGREQUIREAUTH", Used),
    ("requirepeer", "PGREQUIREPEER", Used),
    ("scram_client_key", "", Only { values: NO_VALUE, why: NO_SCRAM_KEYS }),
    ("scram_server_key", "", Only { values: NO_VALUE, why: NO_SCRAM_KEYS }),
    ("service", "PGSERVICE", Used),
    ("servicefile", "PGSERVICEFILE", Used),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION", Used),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION", Used),
    ("sslcert", "PGSSLCERT", Used),
    ("sslcertmode", "PGSSLCERTMODE", Used),
    ("sslcompression", "PGSSLCOMPRESSION", Only { values: &["0"], why: "TLS never compresses" }),
    ("sslcrl", "PGSSLCRL", Only { values: NO_VALUE, why: NO_REVOCATION }),
    ("sslcrldir", "PGSSLCRLDIR", Only { values: NO_VALUE, why: NO_REVOCATION }),
    ("sslkey", "PGSSLKEY", Used),
    ("sslkeylogfile", "", Only { values: NO_VALUE, why: "keys of connections are not written down" }),
    ("sslmode", "PGSSLMODE", Used),
    ("sslnegotiation", "PGSSLNEGOTIATION", Used),
    ("sslpassword", "", Only { values: NO_VALUE, why: "encrypted keys are not supported: name one that is not" }),
    ("sslrootcert", "PGSSLROOTCERT", Used),
    ("sslsni", "PGSSLSNI", Used),
    ("target_session_attrs", "PGTARGETSESSIONATTRS", Used),
    ("tcp_user_timeout", "", Used),
    ("user", "PGUSER", Used),
];

/// A value and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub value: String,
    pub origin: Origin,
}

/// The given values, by parameter.
pub struct Settings(BTreeMap<&'static str, Given>);

impl Settings {
    /// Collects the values of the URL, its service and the environment. Refuses parameters that are
    /// unsupported or unknown to libpq.
    pub fn gather(url: &str, environment: Environment<'_>) -> Result<Self, UrlError> {
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let mut settings = Settings(BTreeMap::new());
        settings.take(uri::cut(url).map_err(UrlError::Malformed)?, &Origin::Url)?;
        if let Some(service) = settings.text("service").map(str::to_owned).or(variable("PGSERVICE"))
        {
            let file = settings.text("servicefile").map(str::to_owned);
            let look_up = |name: &str| match (name, &file) {
                ("PGSERVICEFILE", Some(file)) => Some(file.clone()),
                _ => variable(name),
            };
            let (pairs, path) = service::read(&service, &look_up).map_err(UrlError::Service)?;
            let url = std::mem::take(&mut settings.0);
            settings.take(pairs, &Origin::Service(path))?;
            settings.0.extend(url);
        }
        for (name, variable_name, _) in PARAMETERS {
            if let Some(value) = variable(variable_name).filter(|_| !settings.0.contains_key(name))
            {
                let origin = Origin::Variable(variable_name);
                settings.0.insert(name, Given { value, origin });
            }
        }
        if !settings.0.contains_key("sslmode")
            && variable("PGREQUIRESSL").is_some_and(|it| it.starts_with('1'))
        {
            let origin = Origin::Variable("PGREQUIRESSL");
            settings.0.insert("sslmode", Given { value: "require".to_owned(), origin });
        }
        settings.refuse()?;
        Ok(settings)
    }

    /// Takes the pairs of one origin; the last one of a name counts.
    fn take(&mut self, pairs: uri::Pairs, origin: &Origin) -> Result<(), UrlError> {
        for (name, value) in pairs {
            let known = PARAMETERS.iter().find(|(known, ..)| *known == name);
            let (known, ..) =
                known.ok_or_else(|| UrlError::Unknown { name, origin: origin.clone() })?;
            self.0.insert(known, Given { value, origin: origin.clone() });
        }
        Ok(())
    }

    fn refuse(&self) -> Result<(), UrlError> {
        for (name, _, kind) in PARAMETERS {
            if let (Some(given), Only { values, why }) = (self.0.get(name), kind)
                && !given.value.is_empty()
                && !values.contains(&given.value.as_str())
            {
                return Err(UrlError::Refused { name, origin: given.origin.clone(), why });
            }
        }
        Ok(())
    }

    /// A value that may be any text; an empty one counts as missing.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|given| given.value.as_str()).filter(|value| !value.is_empty())
    }

    /// The same as a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    /// The value as one of a few words.
    pub fn word<T: Copy>(
        &self,
        name: &'static str,
        expected: &'static str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, UrlError> {
        self.read(name, expected, |value| {
            words.iter().find(|(word, _)| *word == value).map(|(_, known)| *known)
        })
    }

    /// The value as a whole number.
    pub fn number(&self, name: &'static str) -> Result<Option<i64>, UrlError> {
        self.read(name, "a whole number", |value| value.trim().parse::<i32>().ok().map(i64::from))
    }

    /// The value as parsed by `understand`. If that returns nothing, the value is refused.
    pub fn read<T>(
        &self,
        name: &'static str,
        expected: &'static str,
        understand: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, UrlError> {
        let Some(given) = self.0.get(name) else { return Ok(None) };
        understand(&given.value).map(Some).ok_or_else(|| UrlError::Parameter {
            name: match given.origin {
                Origin::Variable(variable) => variable,
                Origin::Url | Origin::Service(_) => name,
            },
            origin: given.origin.clone(),
            value: given.value.clone(),
            expected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Harmless, Only, PARAMETERS, Used};

    #[test]
    fn the_page_has_every_parameter_and_what_it_is() {
        let page = include_str!("../../../docs/connections.md");
        for (name, variable, kind) in PARAMETERS {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
            let row = row.unwrap_or_else(|| panic!("docs/connections.md has no {name}"));
            assert!(row.contains(variable), "{row}");
            let what = match kind {
                Used => "used",
                Harmless => "no matter",
                Only { .. } => "refused",
            };
            assert_eq!(row.split('|').nth(3).map(str::trim), Some(what), "{row}");
        }
    }
}
