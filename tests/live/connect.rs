//! Log-ins against real servers: TLS, passwords, certificates, sockets. Every one by both kinds of
//! connections, which must agree to the word.

pub mod certificates;
mod graph;
mod impostors;
mod servers;
mod settings;

use std::{
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use tokio::time::sleep;
use wal2graph::{
    pipeline::Failure,
    postgres::connect::{ConnectError, SourceUrl, replication, sql},
};
use wal2graph_servers::{Postgres, PostgresOptions};

use crate::support::{Running, client, neo4j, output, postgres, unique};

use self::certificates::{Authority, Identity, self_signed};

/// Each role may log in in one way.
const AUTHENTICATION: &str = "\
hostssl   all secure   127.0.0.1/32 scram-sha-256
host      all secure   127.0.0.1/32 reject
host      all anywhere 127.0.0.1/32 scram-sha-256
host      all weak     127.0.0.1/32 md5
host      all plain    127.0.0.1/32 password
hostssl   all holder   127.0.0.1/32 cert
host      all nobody   127.0.0.1/32 reject";

const ROLES: &str = "\
    CREATE ROLE secure LOGIN REPLICATION PASSWORD 'right'; \
    CREATE ROLE anywhere LOGIN REPLICATION PASSWORD 'right'; \
    CREATE ROLE plain LOGIN REPLICATION PASSWORD 'right'; \
    CREATE ROLE holder LOGIN SUPERUSER; \
    CREATE ROLE unprivileged LOGIN; \
    SET password_encryption = md5; CREATE ROLE weak LOGIN REPLICATION PASSWORD 'right'";

/// A server with TLS, whose certificate is for `localhost` alone.
struct Secured {
    server: Postgres,
    authority: Authority,
}

fn with_tls(identity: &Identity, authority: &str, version: u32) -> PostgresOptions {
    let settings = [
        ("ssl", "on"),
        ("ssl_cert_file", "server.crt"),
        ("ssl_key_file", "server.key"),
        ("ssl_ca_file", "ca.crt"),
    ];
    let files = [
        ("server.crt", identity.certificate.as_str()),
        ("server.key", &identity.key),
        ("ca.crt", authority),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    PostgresOptions {
        version,
        settings: settings.map(owned).to_vec(),
        authentication: AUTHENTICATION.to_owned(),
        files: files.map(owned).to_vec(),
    }
}

async fn secured() -> &'static Secured {
    static SERVER: OnceLock<Secured> = OnceLock::new();
    static ROLES_ARE_MADE: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    let secured = SERVER.get_or_init(|| {
        let authority = Authority::new();
        let identity = authority.server(&["localhost"]);
        let version = PostgresOptions::default().version;
        let options = with_tls(&identity, &authority.certificate(), version);
        let server = Postgres::start(&options).unwrap_or_else(|error| panic!("{error}"));
        Secured { server, authority }
    });
    let make = async || {
        let admin = client(&secured.server.url("postgres")).await;
        admin.batch_execute(ROLES).await.unwrap();
    };
    ROLES_ARE_MADE.get_or_init(make).await;
    secured
}

/// A URL of the secured server. `login`: user and password.
fn url(server: &Postgres, login: &str, host: &str, query: &str) -> String {
    format!("postgres://{login}@{host}:{}/postgres?{query}", server.port())
}

/// Logs in by both kinds of connections, which must fare alike, and says whether TLS was used.
async fn log_in(url: &str) -> Result<bool, ConnectError> {
    let name = unique("connect");
    let separator = if url.contains('?') { '&' } else { '?' };
    let url: SourceUrl = format!("{url}{separator}application_name={name}").parse().unwrap();
    let (ordinary, walsender) = (sql(&url).await, replication(&url).await);
    match (ordinary, walsender) {
        (Ok(ordinary), Ok(_walsender)) => {
            let query = "SELECT count(*) = 2, bool_and(ssl), bool_or(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                WHERE application_name = $1 AND backend_type IN ('client backend', 'walsender')";
            let row = ordinary.client.query_one(query, &[&name]).await.unwrap();
            assert!(row.get::<_, bool>(0), "both are there");
            // Only the owner and superusers see: then NULL counts for no.
            assert_eq!(
                row.get::<_, Option<bool>>(1),
                row.get::<_, Option<bool>>(2),
                "both or none"
            );
            Ok(row.get::<_, Option<bool>>(1).unwrap_or_default())
        }
        (Err(ordinary), Err(walsender)) => {
            assert_eq!(ordinary.to_string(), walsender.to_string(), "both say the same");
            assert_eq!(ordinary.is_transient(), walsender.is_transient());
            assert!(!ordinary.to_string().contains("right"), "a password: {ordinary}");
            Err(ordinary)
        }
        (ordinary, walsender) => {
            panic!("they differ: {:?}, {:?}", ordinary.err(), walsender.err())
        }
    }
}

/// The log-in fails for good, and the text has these parts.
async fn refused(url: &str, parts: &[&str]) {
    let error = log_in(url).await.expect_err(url);
    assert!(!error.is_transient(), "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{url}: {error:?} has no {part:?}");
    }
}

#[tokio::test]
async fn every_sslmode_against_every_certificate() {
    let Secured { server, authority } = secured().await;
    let right = authority.file("ca.crt", &authority.certificate());
    let wrong = authority.file("other.crt", &Authority::new().certificate());
    let (right, wrong) = (right.display(), wrong.display());
    let as_secure = |host, query: String| url(server, "secure:right", host, &query);
    // Encrypted, whoever it is.
    for mode in ["prefer", "require"] {
        assert!(log_in(&as_secure("127.0.0.1", format!("sslmode={mode}"))).await.unwrap());
    }
    // An authority that signed it.
    for (host, mode) in
        [("localhost", "verify-full"), ("localhost", "verify-ca"), ("127.0.0.1", "verify-ca")]
    {
        let query = format!("sslmode={mode}&sslrootcert={right}");
        assert!(log_in(&as_secure(host, query)).await.unwrap(), "{mode} {host}");
    }
    // Another name.
    let query = format!("sslmode=verify-full&sslrootcert={right}");
    refused(&as_secure("127.0.0.1", query), &["not for 127.0.0.1", "sslmode=verify-ca"]).await;
    // Another authority, the one named in a file and the system's.
    for mode in ["verify-ca", "verify-full", "require"] {
        let query = format!("sslmode={mode}&sslrootcert={wrong}");
        refused(&as_secure("localhost", query), &["nobody who is trusted", "sslrootcert"]).await;
    }
    refused(&as_secure("localhost", "sslrootcert=system".to_owned()), &["sslrootcert"]).await;
    let query = "sslmode=verify-full&sslrootcert=/not/there".to_owned();
    refused(&as_secure("localhost", query), &["/not/there"]).await;
    // Not encrypted where the server wants it.
    refused(&as_secure("127.0.0.1", "sslmode=disable".to_owned()), &["pg_hba.conf", "hostssl"])
        .await;
    assert!(!log_in(&url(server, "anywhere:right", "127.0.0.1", "sslmode=disable")).await.unwrap());
}

/// The recipe of PostgreSQL's manual makes such certificates with OpenSSL 3.0.
#[tokio::test]
async fn certificates_of_x509_version_1_were_refused_even_where_none_is_looked_at() {
    let authority = Authority::new();
    let identity = authority.in_version_1(authority.server(&["localhost"]));
    let root = authority.file("ca.crt", &authority.certificate());
    for tls in ["TLSv1.2", "TLSv1.3"] {
        let version = PostgresOptions::default().version;
        let mut options = with_tls(&identity, &authority.certificate(), version);
        options.settings.push(("ssl_max_protocol_version".to_owned(), tls.to_owned()));
        let server = Postgres::start(&options).unwrap();
        client(&server.url("postgres")).await.batch_execute(ROLES).await.unwrap();
        let at = |login, query: &str| url(&server, login, "localhost", query);
        for query in ["", "sslmode=prefer", "sslmode=require", "channel_binding=require"] {
            assert!(log_in(&at("secure:right", query)).await.unwrap(), "{tls} {query}");
        }
        for mode in ["verify-ca", "verify-full"] {
            let query = format!("sslmode={mode}&sslrootcert={}", root.display());
            let fix = ["X.509 version 1", "-extfile", "DNS:localhost", "sslmode=require"];
            refused(&at("secure:right", &query), &fix).await;
        }
        // Our own: the server looks at it, and OpenSSL takes it.
        let own = authority.in_version_1(authority.client("holder"));
        let other = authority.in_version_1(authority.client("holder"));
        let key = authority.file("holder.key", &own.key);
        let with = |certificate: &str| {
            let certificate = authority.file("holder.crt", certificate);
            let (certificate, key) = (certificate.display(), key.display());
            at("holder", &format!("sslmode=require&sslcert={certificate}&sslkey={key}"))
        };
        assert!(log_in(&with(&own.certificate)).await.unwrap(), "{tls}");
        refused(&with(&other.certificate), &["do not fit", "for another key"]).await;
    }
}

#[tokio::test]
async fn a_server_without_the_key_of_its_certificate_is_refused_in_every_mode() {
    let authority = Authority::new();
    let root = authority.file("ca.crt", &authority.certificate());
    let verify = format!("sslmode=verify-ca&sslrootcert={}", root.display());
    let key = authority.server(&["localhost"]);
    let old = authority.in_version_1(authority.server(&["localhost"]));
    for shown in [old, authority.server(&["localhost"])] {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let port = impostors::without_the_key(&shown, &key, version).await;
            for query in ["", "sslmode=require", &verify] {
                let url = format!("postgres://u:right@localhost:{port}/d?{query}");
                let error = log_in(&url).await.unwrap_err();
                assert!(matches!(error, ConnectError::Tls(_)), "{version:?} {query}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn a_server_without_tls_gets_none_and_only_where_that_is_allowed() {
    let plain = |mode: &str| format!("{}?sslmode={mode}", postgres().url("postgres"));
    for mode in ["disable", "prefer"] {
        assert!(!log_in(&plain(mode)).await.unwrap());
    }
    refused(&plain("require"), &["does not offer it", "ssl = on"]).await;
    refused(&plain("verify-full"), &["127.0.0.1"]).await;
}

#[tokio::test]
async fn a_certificate_that_signed_itself_is_trusted_where_it_is_named() {
    let identity = self_signed("localhost");
    let authority = Authority::new();
    let version = PostgresOptions::default().version;
    let server = Postgres::start(&with_tls(&identity, &authority.certificate(), version)).unwrap();
    let itself = authority.file("server.crt", &identity.certificate);
    let other = authority.file("other.crt", &self_signed("localhost").certificate);
    let with = |path: &std::path::Path, host| {
        let query = format!("sslmode=verify-full&sslrootcert={}", path.display());
        url(&server, "postgres", host, &query)
    };
    assert!(log_in(&with(&itself, "localhost")).await.unwrap());
    refused(&with(&itself, "127.0.0.1"), &["not for 127.0.0.1"]).await;
    refused(&with(&other, "localhost"), &["certificate"]).await;
}

#[tokio::test]
async fn tls_without_asking_first() {
    let authority = Authority::new();
    let identity = authority.server(&["localhost"]);
    let server = Postgres::start(&with_tls(&identity, &authority.certificate(), 17)).unwrap();
    let root = authority.file("ca.crt", &authority.certificate());
    let query = format!("sslmode=verify-full&sslnegotiation=direct&sslrootcert={}", root.display());
    assert!(log_in(&url(&server, "postgres", "localhost", &query)).await.unwrap());
}

#[tokio::test]
async fn scram_is_tied_to_the_tls_connection() {
    let Secured { server, authority } = secured().await;
    let with = |binding: &str| format!("sslmode=require&channel_binding={binding}");
    for binding in ["require", "prefer", "disable"] {
        assert!(log_in(&url(server, "secure:right", "localhost", &with(binding))).await.unwrap());
    }
    let query = "sslmode=disable&channel_binding=require";
    refused(&url(server, "anywhere:right", "localhost", query), &["needs TLS"]).await;
    for role in ["weak", "plain"] {
        let query = format!("{}&require_auth=md5,password", with("require"));
        let login = format!("{role}:right");
        refused(&url(server, &login, "localhost", &query), &["SCRAM-SHA-256-PLUS"]).await;
    }
    // Somebody in the middle can pass a log-in on only if it is not tied.
    let identity = Authority::new().server(&["localhost"]);
    let middle = impostors::in_the_middle(&identity, &authority.certificate(), server.port()).await;
    let through = |binding: &str| {
        format!("postgres://secure:right@localhost:{middle}/postgres?{}", with(binding))
    };
    assert!(log_in(&through("disable")).await.is_ok(), "the man in the middle works");
    for binding in ["require", "prefer"] {
        refused(&through(binding), &["channel binding"]).await;
    }
}

#[tokio::test]
async fn weak_methods_only_where_the_url_names_them() {
    let Secured { server, .. } = secured().await;
    for (role, method) in [("weak", "md5"), ("plain", "password")] {
        let login = format!("{role}:right");
        let fix = format!("require_auth={method}");
        refused(&url(server, &login, "localhost", ""), &[method, &fix]).await;
        refused(&url(server, &login, "localhost", "require_auth=scram-sha-256"), &[&fix]).await;
        assert!(log_in(&url(server, &login, "localhost", &fix)).await.is_ok(), "{method}");
    }
    // Whoever asks for SCRAM wants no server that asks nothing.
    let query = "require_auth=scram-sha-256";
    refused(&url(server, "postgres", "localhost", query), &["none", "require_auth"]).await;
    assert!(log_in(&url(server, "anywhere:right", "localhost", query)).await.is_ok());
}

#[tokio::test]
async fn an_impostor_hears_no_password() {
    for question in [impostors::ASKS_FOR_PASSWORD, impostors::ASKS_FOR_MD5] {
        for allowed in [false, true] {
            for is_sql in [false, true] {
                let (port, answer) = impostors::asking(question).await;
                let query = if allowed { "?require_auth=md5,password" } else { "" };
                let url = format!("postgres://u:right@127.0.0.1:{port}/d{query}");
                let url: SourceUrl = url.parse().unwrap();
                let connecting = async {
                    match is_sql {
                        true => sql(&url).await.map(drop),
                        false => replication(&url).await.map(drop),
                    }
                };
                assert!(connecting.await.is_err(), "it is no server");
                let answer = answer.await.unwrap();
                // With leave to say it, it is said: the impostor does listen.
                assert_eq!(answer.first(), allowed.then_some(&b'p'), "{answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn wrong_log_ins_are_refused_for_good_and_say_what_to_do() {
    let Secured { server, .. } = secured().await;
    let at = |login: &str| url(server, login, "localhost", "");
    refused(&at("secure:wrong"), &["28P01", "Check the user and the password"]).await;
    refused(&at("secure"), &["asks for a password", "PGPASSWORD"]).await;
    refused(&at("nobody:right"), &["pg_hba.conf"]).await;
    refused(&at("missing"), &["\"missing\" does not exist"]).await;
    let elsewhere = format!("postgres://postgres@localhost:{}/not_there", server.port());
    refused(&elsewhere, &["3D000", "Name a database that exists"]).await;
    let unprivileged: SourceUrl = at("unprivileged").parse().unwrap();
    assert!(sql(&unprivileged).await.is_ok());
    let error = replication(&unprivileged).await.err().expect("no right to replicate");
    assert!(!error.is_transient() && error.to_string().contains("REPLICATION"), "{error}");
}

#[tokio::test]
async fn a_certificate_logs_in() {
    let Secured { server, authority } = secured().await;
    let root = authority.file("ca.crt", &authority.certificate());
    let with = |role: &str, authority: &Authority| {
        let Identity { certificate, key } = authority.client(role);
        let certificate = authority.file(&format!("{role}.crt"), &certificate);
        let key = authority.file(&format!("{role}.key"), &key);
        let query = format!(
            "sslmode=verify-full&sslrootcert={}&sslcert={}&sslkey={}",
            root.display(),
            certificate.display(),
            key.display()
        );
        url(server, "holder", "localhost", &query)
    };
    assert!(log_in(&with("holder", authority)).await.unwrap());
    refused(&with("somebody", authority), &["28000", "sslcert and sslkey"]).await;
    refused(&with("holder", &Authority::new()), &["refuses our certificate", "sslcert"]).await;
    refused(&url(server, "holder", "localhost", "sslmode=require"), &["sslcert"]).await;
    let query = "sslmode=require&sslcert=/not/there&sslkey=/not/there";
    refused(&url(server, "holder", "localhost", query), &["sslcert /not/there"]).await;
    // The program, from the copy to the checkpoint, by certificate alone.
    let database = unique("certified");
    let admin = client(&server.url("postgres")).await;
    admin.batch_execute(&format!("CREATE DATABASE {database}")).await.unwrap();
    let schema = "CREATE TABLE ct_things (id int PRIMARY KEY); INSERT INTO ct_things VALUES (1)";
    client(&server.url(&database)).await.batch_execute(schema).await.unwrap();
    let source = with("holder", authority).replace("/postgres?", &format!("/{database}?"));
    let mut command = program(&["run", "--until", "current"]);
    command.args(["--source-url", &source]);
    let output = output(command).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn unix_sockets() {
    let server = postgres();
    let directory = server.socket_directory().display().to_string();
    let port = server.port();
    let encoded = directory.replace('/', "%2F");
    for url in [
        format!("postgres://postgres@/postgres?host={directory}&port={port}"),
        format!("postgres://postgres@{encoded}:{port}/postgres?sslmode=verify-full"),
    ] {
        assert!(!log_in(&url).await.unwrap(), "{url}");
    }
    let missing = format!("postgres://postgres@/postgres?host={directory}/none&port={port}");
    assert!(log_in(&missing).await.unwrap_err().is_transient());
}

#[tokio::test]
async fn of_several_servers_the_first_that_is_there() {
    let (dead, port) = (dead_port(), postgres().port());
    let url = format!("postgres://postgres@127.0.0.1:{dead},127.0.0.1:{port}/postgres");
    assert!(log_in(&url).await.is_ok());
}

fn dead_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wal2graph"));
    command.args(arguments).args(["--graph-url", &neo4j().url()]);
    command
}

#[tokio::test]
async fn the_program_waits_for_a_server_that_is_down_and_gives_up_on_a_wrong_password() {
    let down = format!("postgres://postgres@127.0.0.1:{}/postgres", dead_port());
    assert!(log_in(&down).await.unwrap_err().is_transient());
    let mut command = program(&["run", "--source-url", &down]);
    let mut waiting = Running(command.stderr(Stdio::null()).spawn().unwrap());
    sleep(Duration::from_secs(2)).await;
    assert_eq!(waiting.0.try_wait().unwrap(), None, "it waits");
    assert_eq!(waiting.terminate(Duration::from_secs(60)).await, Some(0));
    let Secured { server, .. } = secured().await;
    let wrong = url(server, "secure:wrong", "localhost", "");
    let output = output(program(&["run", "--source-url", &wrong])).await;
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("Check the user and the password") && !log.contains("wrong"), "{log}");
}

#[tokio::test]
async fn the_environment_is_enough() {
    let Secured { server, .. } = secured().await;
    let mut command = program(&["plan"]);
    let (port, user) = (server.port().to_string(), "anywhere");
    let variables = [
        ("PGHOST", "127.0.0.1"),
        ("PGPORT", port.as_str()),
        ("PGUSER", user),
        ("PGDATABASE", "postgres"),
        ("PGSSLMODE", "require"),
        ("PGREQUIREAUTH", "scram-sha-256"),
    ];
    command.envs(variables).env_remove("PGPASSWORD");
    let mut without = program(&["plan"]);
    without.envs(variables).env_remove("PGPASSWORD");
    command.env("PGPASSWORD", "right");
    let (with, without) = (output(command).await, output(without).await);
    assert!(with.status.success(), "{}", String::from_utf8_lossy(&with.stderr));
    let log = String::from_utf8_lossy(&without.stderr);
    assert!(!without.status.success() && log.contains("PGPASSWORD"), "{log}");
}
