//! The use of TLS, and the allowed methods of authentication.

use std::path::PathBuf;

use super::{Environment, UrlError, environment::default_file, parameters::Settings};

/// How TLS is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Whether, and whom it trusts.
    pub mode: TlsMode,
    /// Without asking first (`sslnegotiation=direct`).
    pub direct: bool,
    /// Whether the client sends the host's name before the server shows its certificate.
    pub names_host: bool,
    /// The allowed versions.
    pub versions: Versions,
    /// The trusted authorities; `None`: the system's.
    pub root_certificates: Option<PathBuf>,
    /// Our own certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// libpq's `sslmode`, from the weakest to the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsMode {
    /// Never.
    Disable,
    /// If the server offers it; the certificate is not verified.
    Prefer,
    /// Always; certificates are not verified.
    Require,
    /// Always, with a certificate of a trusted authority.
    VerifyCa,
    /// Always, with a certificate of a trusted authority for the host's name.
    VerifyFull,
}

/// The allowed versions of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// 1.2 and 1.3.
    Both,
    /// 1.2.
    Only12,
    /// 1.3.
    Only13,
}

/// The allowed methods of authentication (`require_auth`, `channel_binding`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// None, or by our certificate.
    pub none: bool,
    /// By SCRAM, which does not reveal the password.
    pub scram: bool,
    /// By MD5: its answer is as good as the password.
    pub md5: bool,
    /// By the password in plain text.
    pub password: bool,
    /// Whether SCRAM is bound to the TLS connection.
    pub binding: ChannelBinding,
}

/// libpq's `channel_binding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// If the server supports it.
    Prefer,
    /// Always: no attacker between us and the server can relay the log-in.
    Require,
}

impl Tls {
    /// The settings, with libpq's files in the home directory as defaults.
    pub(super) fn of(settings: &Settings, environment: Environment<'_>) -> Result<Self, UrlError> {
        let (mode, root_certificates) = trust(settings, environment)?;
        let negotiations = [("postgres", false), ("direct", true)];
        let direct = settings.word("sslnegotiation", "postgres or direct", &negotiations)?;
        if direct == Some(true) && matches!(mode, TlsMode::Disable | TlsMode::Prefer) {
            let text = "sslnegotiation=direct without sslmode=require, verify-ca or verify-full";
            return Err(UrlError::Together(text));
        }
        let names_host = settings.word("sslsni", "0 or 1", &[("0", false), ("1", true)])?;
        Ok(Tls {
            mode,
            direct: direct == Some(true),
            names_host: names_host != Some(false),
            versions: versions(settings)?,
            root_certificates,
            identity: identity(settings, environment)?,
        })
    }
}

/// The mode, and the authorities' file.
fn trust(
    settings: &Settings,
    environment: Environment<'_>,
) -> Result<(TlsMode, Option<PathBuf>), UrlError> {
    let modes = [
        ("disable", TlsMode::Disable),
        ("allow", TlsMode::Prefer),
        ("prefer", TlsMode::Prefer),
        ("require", TlsMode::Require),
        ("verify-ca", TlsMode::VerifyCa),
        ("verify-full", TlsMode::VerifyFull),
    ];
    let expected = "disable, allow, prefer, require, verify-ca or verify-full";
    let mode = settings.word("sslmode", expected, &modes)?;
    if settings.text("sslrootcert") == Some("system") {
        return match mode {
            None | Some(TlsMode::VerifyFull) => Ok((TlsMode::VerifyFull, None)),
            // Public authorities sign for anybody: without a check of the name that proves nothing.
            Some(_) => Err(UrlError::Together(
                "sslrootcert=system without sslmode=verify-full: anybody can have such a certificate",
            )),
        };
    }
    let mode = mode.unwrap_or(TlsMode::Prefer);
    if mode <= TlsMode::Prefer {
        return Ok((mode, settings.path("sslrootcert")));
    }
    let roots = settings.path("sslrootcert").or_else(|| default_file("root.crt", environment));
    match mode {
        // As in libpq: naming an authority asks for verification.
        TlsMode::Require if roots.is_some() => Ok((TlsMode::VerifyCa, roots)),
        mode => Ok((mode, roots)),
    }
}

fn versions(settings: &Settings) -> Result<Versions, UrlError> {
    let words = [("TLSv1", 10), ("TLSv1.1", 11), ("TLSv1.2", 12), ("TLSv1.3", 13)];
    let expected = "TLSv1.2 or TLSv1.3";
    let least = settings.word("ssl_min_protocol_version", expected, &words)?.unwrap_or(12);
    let expected = "TLSv1.2 or TLSv1.3: older versions are not spoken";
    let most = settings.word("ssl_max_protocol_version", expected, &words[2..])?.unwrap_or(13);
    match (least, most) {
        (13, 12) => Err(UrlError::Together(
            "ssl_min_protocol_version=TLSv1.3 with ssl_max_protocol_version=TLSv1.2: no version is left",
        )),
        (13, _) => Ok(Versions::Only13),
        (_, 12) => Ok(Versions::Only12),
        _ => Ok(Versions::Both),
    }
}

/// Our certificate and its key.
fn identity(
    settings: &Settings,
    environment: Environment<'_>,
) -> Result<Option<(PathBuf, PathBuf)>, UrlError> {
    let expected = "disable or allow";
    let modes = [("disable", false), ("allow", true)];
    if settings.word("sslcertmode", expected, &modes)? == Some(false) {
        return Ok(None);
    }
    let named = (settings.path("sslcert"), settings.path("sslkey"));
    let by_default = |name| default_file(name, environment);
    match named {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(by_default("postgresql.crt").zip(by_default("postgresql.key"))),
        _ => Err(UrlError::Together("one of sslcert and sslkey: name both")),
    }
}

impl Authentication {
    /// The allowed methods. By default, none that reveals the password.
    pub(super) fn of(settings: &Settings) -> Result<Self, UrlError> {
        let bindings = [
            ("disable", ChannelBinding::Disable),
            ("prefer", ChannelBinding::Prefer),
            ("require", ChannelBinding::Require),
        ];
        let binding = settings.word("channel_binding", "disable, prefer or require", &bindings)?;
        let binding = binding.unwrap_or(ChannelBinding::Prefer);
        let (none, scram, md5, password) = (true, true, false, false);
        let unsaid = Authentication { none, scram, md5, password, binding };
        let expected = "a list of scram-sha-256, none, md5 and password";
        let named = settings.read("require_auth", expected, |list| methods(list, binding));
        Ok(named?.unwrap_or(unsaid))
    }
}

fn methods(list: &str, binding: ChannelBinding) -> Option<Authentication> {
    let mut allowed =
        Authentication { none: false, scram: false, md5: false, password: false, binding };
    for method in list.split(',').map(str::trim) {
        match method {
            "none" => allowed.none = true,
            "scram-sha-256" => allowed.scram = true,
            "md5" => allowed.md5 = true,
            "password" => allowed.password = true,
            _ => return None,
        }
    }
    Some(allowed)
}
