//! TLS and log-ins: what a broker asks for is given to it, and what is wrong with that is said.

use std::{fs, sync::OnceLock, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use tempfile::NamedTempFile;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use wal2graph_servers::{Kafka, KafkaOptions, Secured};

use super::Published;
use crate::{
    connect::certificates::Authority,
    support::{Running, eventually, holds, until},
};

const SECRET: &str = "correct-horse-battery";

/// A broker with a listener for clients that log in, and who signed its certificate.
struct Broker {
    kafka: Kafka,
    authority: Authority,
}

static BROKER: OnceLock<Broker> = OnceLock::new();

fn broker() -> &'static Broker {
    BROKER.get_or_init(Broker::start)
}

impl Broker {
    fn start() -> Self {
        // Who logged in with a token has to do so again before this is over.
        let again = "listener.name.secured.oauthbearer.connections.max.reauth.ms";
        let properties = vec![(again.to_owned(), "6000".to_owned())];
        let authority = Authority::new();
        let server = authority.server(&["127.0.0.1"]);
        let secured = Secured {
            certificate: server.certificate,
            key: server.key,
            users: vec![("cdc".to_owned(), SECRET.to_owned())],
        };
        let options =
            KafkaOptions { secured: Some(secured), properties, ..KafkaOptions::default() };
        let kafka = Kafka::start(&options).unwrap_or_else(|error| panic!("{error}"));
        Broker { kafka, authority }
    }

    /// The file that says who signed its certificate.
    fn trusted(&self) -> String {
        let certificate = self.authority.certificate();
        self.authority.file("authority.pem", &certificate).display().to_string()
    }
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
        self.pipeline_on(&broker().kafka, name).await
    }

    /// The same on another broker.
    async fn pipeline_on(&self, kafka: &Kafka, name: &str) -> Published {
        let schema = format!(
            "CREATE TABLE {name}_things (id int PRIMARY KEY); INSERT INTO {name}_things VALUES (1)"
        );
        let published = Published::on(kafka, name, &schema, "").await;
        let password = format!("{}.password", published.path);
        fs::write(&password, self.password).unwrap();
        let LogIn { mechanism, authority, .. } = self;
        let text = format!(
            "kafka:\n  brokers: {}\n  ack: kafka\n  properties:\n    \
             security.protocol: SASL_SSL\n    sasl.mechanism: {mechanism}\n    \
             sasl.username: cdc\n    sasl.password: ${{file:{password}}}\n    \
             ssl.ca.location: {authority}\nhttp: {{listen: off}}\n",
            kafka.secured_brokers()
        );
        fs::write(&published.path, text).unwrap();
        published
    }
}

fn trusted() -> String {
    broker().trusted()
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

/// A token that nobody has signed, which Kafka's default validator takes, for so many seconds.
fn token(seconds: i64) -> String {
    let now = chrono::Utc::now().timestamp();
    let claims = format!(r#"{{"sub":"cdc","iat":{},"exp":{}}}"#, now - 60, now + seconds);
    let [head, claims] = [r#"{"alg":"none"}"#, &claims].map(|part| BASE64.encode(part));
    format!("{head}.{claims}.")
}

/// A pipeline with a table of one row, whose file names a file of tokens.
async fn with_tokens(name: &str) -> (Published, String) {
    let schema = format!(
        "CREATE TABLE {name}_things (id int PRIMARY KEY); INSERT INTO {name}_things VALUES (1)"
    );
    let published = Published::on(&broker().kafka, name, &schema, "").await;
    let file = format!("{}.token", published.path);
    let text = format!(
        "kafka:\n  brokers: {}\n  oauth_token_file: {file}\n  properties:\n    \
         security.protocol: SASL_SSL\n    sasl.mechanism: OAUTHBEARER\n    \
         ssl.ca.location: {}\nhttp: {{listen: off}}\n",
        broker().kafka.secured_brokers(),
        trusted()
    );
    fs::write(&published.path, text).unwrap();
    (published, file)
}

/// Puts a token into the file, as a signer does.
fn sign(file: &str, seconds: i64) {
    let next = format!("{file}.next");
    fs::write(&next, token(seconds)).unwrap();
    fs::rename(next, file).unwrap();
}

/// Both programs, while somebody puts tokens that live for so many seconds into the file.
struct Signed {
    published: Published,
    file: String,
    label: String,
    publish: Running,
    apply: Running,
    log: NamedTempFile,
    signer: AbortOnDropHandle<()>,
}

impl Signed {
    /// The copy is applied.
    async fn start(name: &str, seconds: i64) -> Self {
        let (published, file) = with_tokens(name).await;
        sign(&file, seconds);
        let signed = file.clone();
        let signer = tokio::spawn(async move {
            loop {
                sleep(Duration::from_secs(2)).await;
                sign(&signed, seconds);
            }
        });
        let signer = AbortOnDropHandle::new(signer);
        published.catch_up().await;
        let publish = published.start();
        let log = NamedTempFile::new().unwrap();
        let command = ["apply", "-c", &published.path];
        let apply = published.pipeline.start_logging(&command, log.reopen().unwrap());
        let label = format!("{}{}Thing", name[..1].to_uppercase(), &name[1..]);
        let signed = Signed { published, file, label, publish, apply, log, signer };
        signed.has(1).await;
        signed
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap()
    }

    async fn has(&self, id: i32) {
        let row = format!("RETURN EXISTS {{ (:{} {{id: {id}}}) }} AS yes", self.label);
        eventually(&format!("row {id} is applied: {}", self.log()), &row).await;
    }

    /// A change still comes through both programs, and no token is in their logs.
    async fn goes_on(&mut self) {
        let table = self.label.to_lowercase().replace("thing", "_things");
        let insert = format!("INSERT INTO {table} VALUES (2)");
        self.published.pipeline.sql.batch_execute(&insert).await.unwrap();
        self.has(2).await;
        for running in [&mut self.publish, &mut self.apply] {
            assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
        }
        for said in [self.published.log(), self.log()] {
            assert!(!said.contains("eyJ"), "{said}");
        }
    }
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn tokens_of_a_file_get_through_and_are_renewed_before_they_run_out() {
    // librdkafka asks for the next token when a fifth of the life is left.
    let mut signed = Signed::start("ksg", 20).await;
    // The first token runs out, and connections are to log in again several times.
    sleep(Duration::from_secs(30)).await;
    let (code, said) = signed.published.run(&["check"]).await;
    assert_eq!(code, Some(0), "{said}");
    signed.goes_on().await;
    for said in [signed.published.log(), signed.log()] {
        assert!(!said.contains("an attempt failed"), "{said}");
    }
}

/// librdkafka takes that for a log-in that failed, and `apply` took it for one that always fails.
#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_token_that_came_late_ended_the_apply_that_ran() {
    let mut signed = Signed::start("ksi", 15).await;
    signed.signer.abort();
    until("it is said", async || signed.log().contains("has run out")).await;
    sign(&signed.file, 3_600);
    signed.goes_on().await;
}

/// It logged in again with the token from before, and took the refusal for one that lasts.
#[tokio::test]
async fn a_token_that_ran_out_while_the_programs_were_frozen_ended_them() {
    let mut signed = Signed::start("ksj", 8).await;
    for _ in 0..2 {
        for running in [&signed.publish, &signed.apply] {
            running.signal("STOP");
        }
        sleep(Duration::from_secs(10)).await;
        for running in [&signed.publish, &signed.apply] {
            running.signal("CONT");
        }
        sleep(Duration::from_secs(2)).await;
    }
    signed.goes_on().await;
}

#[tokio::test]
async fn a_token_that_is_missing_or_has_run_out_is_waited_for_and_named() {
    let (published, file) = with_tokens("ksh").await;
    let said = async || {
        let output = published.pipeline.output(&["check", "-c", &published.path]).await;
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stdout).unwrap()
    };
    let missing = said().await;
    assert!(missing.contains("kafka.oauth_token_file") && missing.contains(&file), "{missing}");
    fs::write(&file, token(-5)).unwrap();
    let old = said().await;
    assert!(old.contains("has run out"), "{old}");
    // A program that begins before its signer waits.
    let mut running = published.start();
    until("it says so", async || published.log().contains("has run out")).await;
    fs::write(&file, token(3_600)).unwrap();
    until("it goes on", async || published.log().contains("publishing")).await;
    assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
    fs::write(&file, "not-a-token").unwrap();
    let refused = said().await;
    assert!(refused.contains("oauth_token_file") && !refused.contains("not-a-token"), "{refused}");
}

#[tokio::test]
async fn a_rotated_password_of_the_broker_ended_the_programs() {
    const ROTATED: &str = "another-horse-battery";
    let mut broker = Broker::start();
    let authority = broker.trusted();
    let log_in = LogIn { mechanism: "SCRAM-SHA-512", password: SECRET, authority };
    let published = log_in.pipeline_on(&broker.kafka, "ksk").await;
    let file = format!("{}.password", published.path);
    published.catch_up().await;
    let apply_log = NamedTempFile::new().unwrap();
    let mut publish = published.start();
    let command = ["apply", "-c", &published.path];
    let mut apply = published.pipeline.start_logging(&command, apply_log.reopen().unwrap());
    let said = || fs::read_to_string(apply_log.path()).unwrap();
    eventually("the copy is applied", "RETURN EXISTS { (:KskThing {id: 1}) } AS yes").await;
    until("publish runs", async || published.log().contains("publishing")).await;
    let config = format!("SCRAM-SHA-512=[password={ROTATED}]");
    let alter =
        ["--alter", "--entity-type", "users", "--entity-name", "cdc", "--add-config", &config];
    broker.kafka.tool("kafka.admin.ConfigCommand", &alter).unwrap();
    broker.kafka.kill().unwrap();
    broker.kafka.start_again().unwrap();
    let waits = format!("each time with what {file} has then");
    // A publisher that has nothing to say asks nobody.
    published.pipeline.sql.batch_execute("INSERT INTO ksk_things VALUES (2)").await.unwrap();
    until("publish waits for the file", async || published.log().contains(&waits)).await;
    until("apply waits for the file", async || said().contains(&waits)).await;
    fs::write(&file, ROTATED).unwrap();
    eventually("both go on", "RETURN EXISTS { (:KskThing {id: 2}) } AS yes").await;
    for running in [&mut publish, &mut apply] {
        assert_eq!(running.terminate(Duration::from_secs(60)).await, Some(0));
    }
    for log in [published.log(), said()] {
        assert!(!log.contains(SECRET) && !log.contains(ROTATED), "{log}");
    }
}
