//! TLS and log-ins: what a broker asks for is given to it, and what is wrong with that is said.

use std::{fs, sync::OnceLock};

use wal2graph_servers::{Kafka, KafkaOptions, Secured};

use super::Published;
use crate::{connect::certificates::Authority, support::holds};

const SECRET: &str = "correct-horse-battery";

/// A broker with a listener for clients that log in, and who signed its certificate.
struct Broker {
    kafka: Kafka,
    authority: Authority,
}

static BROKER: OnceLock<Broker> = OnceLock::new();

fn broker() -> &'static Broker {
    BROKER.get_or_init(|| {
        let authority = Authority::new();
        let server = authority.server(&["127.0.0.1"]);
        let secured = Secured {
            certificate: server.certificate,
            key: server.key,
            users: vec![("cdc".to_owned(), SECRET.to_owned())],
        };
        let options = KafkaOptions { secured: Some(secured), ..KafkaOptions::default() };
        let kafka = Kafka::start(&options).unwrap_or_else(|error| panic!("{error}"));
        Broker { kafka, authority }
    })
}

/// How a test logs in.
struct LogIn<'a> {
    mechanism: &'a str,
    password: &'a str,
    /// Who the client believes: a file.
    authority: String,
}

impl LogIn<'_> {
    /// A pipeline with a table of one row, whose file says so.
    async fn pipeline(&self, name: &str) -> Published {
        let schema = format!(
            "CREATE TABLE {name}_things (id int PRIMARY KEY); INSERT INTO {name}_things VALUES (1)"
        );
        let published = Published::on(&broker().kafka, name, &schema, "").await;
        let password = format!("{}.password", published.path);
        fs::write(&password, self.password).unwrap();
        let LogIn { mechanism, authority, .. } = self;
        let text = format!(
            "kafka:\n  brokers: {}\n  ack: kafka\n  properties:\n    \
             security.protocol: SASL_SSL\n    sasl.mechanism: {mechanism}\n    \
             sasl.username: cdc\n    sasl.password: ${{file:{password}}}\n    \
             ssl.ca.location: {authority}\nhttp: {{listen: off}}\n",
            broker().kafka.secured_brokers()
        );
        fs::write(&published.path, text).unwrap();
        published
    }
}

fn trusted() -> String {
    let authority = &broker().authority;
    authority.file("authority.pem", &authority.certificate()).display().to_string()
}

async fn gets_through(name: &str, mechanism: &str) {
    let log_in = LogIn { mechanism, password: SECRET, authority: trusted() };
    let published = log_in.pipeline(name).await;
    published.catch_up().await;
    for command in [&["apply", "--until", "current"][..], &["check"], &["status"]] {
        let (code, log) = published.run(command).await;
        assert_eq!(code, Some(0), "{command:?}: {log}");
        assert!(!log.contains(SECRET), "{log}");
    }
    let label = format!("{}{}Thing", name[..1].to_uppercase(), &name[1..]);
    assert!(holds(&format!("RETURN EXISTS {{ (:{label} {{id: 1}}) }} AS yes")).await);
}

/// Every command that talks to Kafka ends by itself, and says this.
async fn is_refused(log_in: LogIn<'_>, name: &str, said: &str) {
    let published = log_in.pipeline(name).await;
    for command in [&["publish"][..], &["apply"], &["check"], &["replay", "--from", "earliest"]] {
        let started = std::time::Instant::now();
        let program = published.pipeline.command(&[command, &["-c", &published.path]].concat());
        let output = crate::support::output(program).await;
        let [out, log] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
        println!("{command:?}: {:?} after {:?}\n{out}{log}", output.status, started.elapsed());
        assert_eq!(output.status.code(), Some(1), "{command:?}: {log}");
        assert!(format!("{out}{log}").contains(said), "{command:?}: {said:?} is not in {out}{log}");
        for secret in [SECRET, "not-the-password"] {
            assert!(!log.contains(secret) && !out.contains(secret), "{out}{log}");
        }
    }
}

#[tokio::test]
async fn scram_over_tls_gets_through() {
    gets_through("ksa", "SCRAM-SHA-512").await;
}

#[tokio::test]
async fn plain_over_tls_gets_through() {
    gets_through("ksb", "PLAIN").await;
}

#[tokio::test]
async fn a_wrong_password_stops_it_and_says_where_to_look() {
    for (name, mechanism) in [("ksc", "SCRAM-SHA-512"), ("ksd", "PLAIN")] {
        let log_in = LogIn { mechanism, password: "not-the-password", authority: trusted() };
        is_refused(log_in, name, "sasl.password").await;
    }
}

#[tokio::test]
async fn a_broker_whose_certificate_nobody_signed_stops_it() {
    let other = Authority::new();
    let authority = other.file("other.pem", &other.certificate()).display().to_string();
    let log_in = LogIn { mechanism: "PLAIN", password: SECRET, authority };
    is_refused(log_in, "kse", "ssl.ca.location").await;
}

#[tokio::test]
async fn a_client_that_does_not_speak_tls_is_told_so() {
    let published = Published::on(&broker().kafka, "ksf", "", "").await;
    let text = format!(
        "kafka: {{brokers: '{}', ack: kafka}}\nhttp: {{listen: off}}\n",
        broker().kafka.secured_brokers()
    );
    fs::write(&published.path, text).unwrap();
    let command = published.pipeline.command(&["check", "-c", &published.path]);
    let output = crate::support::output(command).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("security.protocol"), "{said}");
}
