//! The parameters of a URL that tokio-postgres does not know, or not as libpq has them.

use std::path::PathBuf;

use super::url::{Authentication, ChannelBinding, Tls, TlsMode, UrlError};

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
pub struct Parameters([Option<String>; OURS.len()]);

impl Parameters {
    /// Cuts them out of the URL: the rest is what tokio-postgres understands.
    pub fn cut(url: &str, environment: &dyn Fn(&str) -> Option<String>) -> (Self, String) {
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

    /// How TLS is used.
    pub fn tls(&self) -> Result<Tls, UrlError> {
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

    /// How the server may ask who we are.
    pub fn authentication(&self) -> Result<Authentication, UrlError> {
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
    pub fn refuse_choices(&self) -> Result<(), UrlError> {
        self.word("target_session_attrs", "any, or nothing", &[("any", ())])?;
        self.word("load_balance_hosts", "disable, or nothing", &[("disable", ())])?;
        Ok(())
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
