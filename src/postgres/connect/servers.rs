//! The servers of a URL: hosts, addresses and ports, in lists of one length.

use std::{fmt, net::IpAddr, path::PathBuf};

use super::{UrlError, parameters::Settings};

/// PostgreSQL's port.
const DEFAULT_PORT: u16 = 5432;

/// A server and its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub host: Host,
    pub port: u16,
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// By its name, which the certificate is for, and at its address if one is given (`hostaddr`).
    Tcp { name: String, address: Option<IpAddr> },
    /// By the directory of its unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp { name, .. } => write!(f, "{name}:{}", self.port),
            Host::Unix(path) => write!(f, "{}:{}", path.display(), self.port),
        }
    }
}

impl Server {
    /// The host's name in the password file: `localhost` for the usual socket directories.
    pub fn name_in_passfile(&self) -> String {
        match &self.host {
            Host::Tcp { name, .. } => name.clone(),
            Host::Unix(path)
                if ["/tmp", "/var/run/postgresql"].iter().any(|it| path.as_os_str() == *it) =>
            {
                "localhost".to_owned()
            }
            Host::Unix(path) => path.display().to_string(),
        }
    }
}

/// The servers of `host`, `hostaddr` and `port`, in the order of the attempts.
pub fn servers(settings: &Settings) -> Result<Vec<Server>, UrlError> {
    let list =
        |name| settings.text(name).map(|text| text.split(',').map(str::trim).collect::<Vec<_>>());
    let addresses = settings.read("hostaddr", "a list of IP addresses", |text| {
        let mut addresses = Vec::new();
        for address in text.split(',').map(str::trim) {
            addresses.push(if address.is_empty() {
                None
            } else {
                Some(address.parse::<IpAddr>().ok()?)
            });
        }
        Some(addresses)
    })?;
    let expected = "a list of numbers from 1 to 65535";
    let ports = settings.read("port", expected, |text| {
        let number = |port: &str| match port.trim() {
            "" => Some(DEFAULT_PORT),
            port => port.parse::<u16>().ok().filter(|port| *port > 0),
        };
        text.split(',').map(number).collect::<Option<Vec<u16>>>()
    })?;
    let (hosts, addresses) = match (list("host"), addresses) {
        (None, None) => (vec![""], vec![None]),
        (None, Some(addresses)) => (vec![""; addresses.len()], addresses),
        (Some(hosts), None) => (hosts.clone(), vec![None; hosts.len()]),
        (Some(hosts), Some(addresses)) => (hosts, addresses),
    };
    if hosts.len() != addresses.len() {
        return Err(UrlError::Together("lists in host and hostaddr that are not equally long"));
    }
    let ports = ports.unwrap_or_else(|| vec![DEFAULT_PORT]);
    if ports.len() != 1 && ports.len() != hosts.len() {
        return Err(UrlError::Together(
            "a list in port that is neither one port nor one for each host",
        ));
    }
    // A single port applies to all hosts.
    let ports = ports.iter().cycle();
    let servers = hosts.into_iter().zip(addresses).zip(ports);
    servers
        .map(|((host, address), port)| Ok(Server { host: place(host, address)?, port: *port }))
        .collect()
}

fn place(host: &str, address: Option<IpAddr>) -> Result<Host, UrlError> {
    if host.starts_with('/') {
        return Ok(Host::Unix(host.into()));
    }
    if host.starts_with('@') {
        return Err(UrlError::Together(
            "a host that begins with @: abstract sockets are not supported",
        ));
    }
    let name = match (host, address) {
        ("", Some(address)) => address.to_string(),
        ("", None) => "localhost".to_owned(),
        (name, _) => name.to_owned(),
    };
    Ok(Host::Tcp { name, address })
}
