//! Options of brokers.

use std::{env, path::Path};

use crate::{Result, process::free_port};

/// The default version; `KAFKA_VERSION` overrides it.
const DEFAULT_VERSION: &str = "4.1.1";

/// Options of a broker.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// The version: `4.1.1`.
    pub version: String,
    /// The heap, as in Java's `-Xmx`.
    pub heap: String,
    /// Lines for server.properties. They replace existing keys.
    pub properties: Vec<(String, String)>,
    /// A second listener, for clients that must log in. Tools use the first one.
    pub secured: Option<Secured>,
    /// The maximum size of a file, in KiB. It simulates a full disk.
    pub file_kib_max: Option<u32>,
}

/// A listener with TLS, on which clients log in. It accepts SASL's PLAIN, SCRAM-SHA-512, and
/// OAUTHBEARER with unsigned tokens (`alg: none`).
#[derive(Clone, Debug)]
pub struct Secured {
    /// The broker's certificate for 127.0.0.1, in PEM.
    pub certificate: String,
    /// Its key, in PEM.
    pub key: String,
    /// The users that may log in, with their passwords.
    pub users: Vec<(String, String)>,
}

impl Secured {
    /// Lines for server.properties; `store` has certificate and key.
    pub(super) fn properties(&self, store: &Path) -> Vec<(&'static str, String)> {
        const MODULES: &str = "org.apache.kafka.common.security";
        let users: String = self
            .users
            .iter()
            .map(|(name, password)| format!(" user_{name}=\"{password}\""))
            .collect();
        let plain = format!("{MODULES}.plain.PlainLoginModule required{users};");
        let scram = format!("{MODULES}.scram.ScramLoginModule required;");
        // The broker's own log-in.
        let bearer = format!(
            "{MODULES}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";"
        );
        vec![
            (
                "listener.name.secured.sasl.enabled.mechanisms",
                "PLAIN,SCRAM-SHA-512,OAUTHBEARER".to_owned(),
            ),
            ("listener.name.secured.oauthbearer.sasl.jaas.config", bearer),
            ("listener.name.secured.plain.sasl.jaas.config", plain),
            ("listener.name.secured.scram-sha-512.sasl.jaas.config", scram),
            ("listener.name.secured.ssl.keystore.type", "PEM".to_owned()),
            ("listener.name.secured.ssl.keystore.location", store.display().to_string()),
        ]
    }
}

impl Default for KafkaOptions {
    fn default() -> Self {
        let version = env::var("KAFKA_VERSION").unwrap_or_else(|_| DEFAULT_VERSION.to_owned());
        KafkaOptions {
            version,
            heap: "512m".to_owned(),
            properties: Vec::new(),
            secured: None,
            file_kib_max: None,
        }
    }
}

/// A broker's place in its cluster.
pub(super) struct Node {
    pub(super) id: usize,
    pub(super) port: u16,
    pub(super) secured_port: u16,
    pub(super) controller: u16,
    /// All controllers, as `controller.quorum.voters` has them.
    pub(super) voters: String,
    /// The number of brokers with a replica of the group coordinators' state.
    pub(super) replicas: usize,
}

impl Node {
    /// The nodes of a cluster, on free ports.
    pub(super) fn cluster(size: usize) -> Result<Vec<Node>> {
        let mut ports = Vec::with_capacity(size);
        for id in 1..=size {
            ports.push((id, [free_port()?, free_port()?, free_port()?]));
        }
        let voter =
            |(id, [_, _, controller]): &(usize, [u16; 3])| format!("{id}@127.0.0.1:{controller}");
        let voters = ports.iter().map(voter).collect::<Vec<_>>().join(",");
        let node = |(id, [port, secured_port, controller]): (usize, [u16; 3])| {
            let voters = voters.clone();
            Node { id, port, secured_port, controller, voters, replicas: size }
        };
        Ok(ports.into_iter().map(node).collect())
    }
}
